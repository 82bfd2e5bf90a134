"""Machines that lack something, or are short of it."""

from __future__ import annotations

import json
import os
import signal
import socket
import subprocess
import sys
from typing import TYPE_CHECKING

import pytest

from tests.support import Namespace, Server, call, tool
from tests.tcpserver.faults import injected

if TYPE_CHECKING:
    from collections.abc import Callable
    from pathlib import Path

WHO = ("sh", "-c", 'echo "$PROTO $TCPREMOTEIP"')


@pytest.mark.netns
@pytest.mark.parametrize("value", ["0", "1"])
@pytest.mark.parametrize("host", ["0", "::"])
def test_bindv6only_changes_nothing(
    tcpserver: Callable[..., Server], netns: Callable[..., Namespace], value: str, host: str
) -> None:
    inside = netns()
    inside.set("net/ipv6/bindv6only", value)
    server = tcpserver("-RHl0", host, "0", *WHO, namespace=inside)
    assert call(server.port, over=inside.socket(socket.AF_INET)).data == b"TCP 127.0.0.1\n"
    assert call(server.port, "::1", over=inside.socket(socket.AF_INET6)).data == b"TCP6 ::1\n"


@pytest.mark.netns
def test_without_resolv_conf_callers_have_no_names_and_are_served(tcpserver: Callable[..., Server]) -> None:
    """/etc is empty in a mount namespace of the server's own."""
    user = [] if os.geteuid() == 0 else ["-r"]
    prepare = 'ip link set lo up && mount -t tmpfs none /etc && exec "$@"'
    command = ["unshare", *user, "-n", "-m", "sh", "-c", prepare, "sh", *tool("tcpserver")]
    server = tcpserver("-Rl0", "127.0.0.1", "0", "sh", "-c", "echo ${TCPREMOTEHOST-unset}", command=command)
    inside = ["nsenter", f"--net=/proc/{server.pid}/ns/net"]
    if user:
        inside += [f"--user=/proc/{server.pid}/ns/user", "--preserve-credentials"]
    done = subprocess.run(
        [*inside, *tool("tcpcat"), "127.0.0.1", str(server.port)], capture_output=True, check=True, timeout=110
    )
    assert done.stdout == b"unset\n"


@pytest.mark.peer("strace")
@pytest.mark.parametrize(
    ("fault", "options", "why"),
    [
        ("pipe2:error=EMFILE:when=1", ["--rlimit=core=0"], "unable to run cat: process cannot open more files"),
        ("pipe2:error=ENFILE:when=1", ["--rlimit=core=0"], "unable to run cat: system cannot open more files"),
        ("clone3:error=ENOMEM:when=1", [], "unable to fork: out of memory"),
    ],
)
def test_a_shortage_while_launching_costs_its_caller_only(
    tcpserver: Callable[..., Server], fault: str, options: list[str], why: str
) -> None:
    server = tcpserver("-RHl0", *options, "127.0.0.1", "0", "cat", command=injected(fault))
    assert call(server.port, send=b"x").data == b""
    assert call(server.port, send=b"y").data == b"y"
    assert server.stop() == [f"tcpserver: warning: dropping connection, {why}"]


@pytest.mark.peer("prlimit", "strace")
@pytest.mark.parametrize(
    "full",
    [
        ["prlimit", "--fsize=100"],  # fails as a full disk may: in the middle of a file
        ["strace", "-qq", "-o", os.devnull, "-e", "trace=write", "-e", "inject=write:error=ENOSPC:when=1"],
        ["strace", "-qq", "-o", os.devnull, "-e", "trace=fsync", "-e", "inject=fsync:error=EDQUOT:when=1"],
    ],
)
def test_a_disk_that_is_full_leaves_the_old_rules_in_place(tmp_path: Path, full: list[str]) -> None:
    cdb, temporary = tmp_path / "cdb", tmp_path / "tmp"
    compile_rules = [*tool("tcprules"), str(cdb), str(temporary)]
    subprocess.run(compile_rules, input=b"127.0.0.9:deny\n:allow\n", check=True)
    before = cdb.read_bytes()
    done = subprocess.run([*full, *compile_rules], input=b":deny\n", capture_output=True, check=False)
    assert done.returncode == 111
    assert done.stderr.startswith(b"tcprules: fatal: unable to write ")
    assert cdb.read_bytes() == before


@pytest.mark.netns
@pytest.mark.parametrize("host", ["0", "192.0.2.1"])
def test_an_interface_that_goes_and_comes_back_costs_nobody_but_its_callers(
    tcpserver: Callable[..., Server], netns: Callable[..., Namespace], host: str
) -> None:
    """Also where the server listens on the very address that goes with it."""
    inside = netns()
    address, caller = "192.0.2.1", "192.0.2.2/24"
    outside = inside.neighbour(caller, own=[f"{address}/24"])
    server = tcpserver("-vRHl0", host, "0", "cat", namespace=inside)
    with outside.socket(socket.AF_INET) as cut_off:
        cut_off.connect((address, server.port))
        server.wait_for_line(" ok ")
        inside.ip("link", "delete", "veth0")
        if host == "0":
            assert call(server.port, over=inside.socket(socket.AF_INET), send=b"x").data == b"x"
        server.signal(signal.SIGUSR1)
        server.wait_for_line(lambda line: line.startswith("tcpserver: connected ") and ":192.0.2.2:" in line)
        outside = inside.neighbour(caller, own=[f"{address}/24"])
        assert call(server.port, address, over=outside.socket(socket.AF_INET), send=b"y").data == b"y"
    assert not [line for line in server.lines if "warning" in line]


@pytest.mark.peer("faketime")
@pytest.mark.parametrize("kind", [(), ("--preload",)])
def test_a_clock_that_jumps_changes_nothing_but_the_times_in_the_log(
    tcpserver: Callable[..., Server], tmp_path: Path, kind: tuple[str, ...]
) -> None:
    """What is measured is measured by the clock that does not jump."""
    if kind and not sys.platform.startswith("linux"):
        pytest.skip("--preload needs Linux")
    (tmp_path / "echo.py").write_text(
        "import sys\nwhile d := sys.stdin.buffer.read1(99): sys.stdout.buffer.raw.write(d)\n"
    )
    clock = tmp_path / "clock"

    def jump(offset: str) -> None:
        (tmp_path / "new").write_text(f"{offset}\n")
        (tmp_path / "new").replace(clock)

    jump("+0d")
    library = subprocess.run(["faketime", "-f", "+0d", "printenv", "LD_PRELOAD"], capture_output=True, check=True)
    environ = {
        "PATH": os.environ["PATH"],
        "LD_PRELOAD": library.stdout.decode().strip(),
        "FAKETIME_TIMESTAMP_FILE": str(clock),
        "FAKETIME_NO_CACHE": "1",
        "FAKETIME_DONT_FAKE_MONOTONIC": "1",
        "DONT_FAKE_MONOTONIC": "1",
    }
    limits = ["--handler-timeout=3600"] if kind else ["--lifetime=3600"]
    program = ["./echo.py"] if kind else ["cat"]
    options = ["-vRHl0", "--log-format=json", "--drain=3600", *kind, *limits]
    server = tcpserver(*options, "127.0.0.1", "0", *program, env=environ, cwd=tmp_path)
    years = []
    with socket.create_connection(("127.0.0.1", server.port), timeout=60) as held:
        held.sendall(b"a")
        assert held.recv(1) == b"a"
        for number, offset in enumerate(("+800d", "-800d", "+0d"), 1):
            jump(offset)
            assert call(server.port, send=b"x").data == b"x"
            line = server.wait_for_line('"event":"end"', count=number)
            years.append(int(json.loads(line)["time"][:4]))
            held.sendall(b"b")
            assert held.recv(1) == b"b"
        jump("+800d")
        server.signal(signal.SIGTERM)
        held.sendall(b"c")
        assert held.recv(1) == b"c"
    assert server.wait() == 0
    assert years[1] < years[2] < years[0]
    ends = [json.loads(line) for line in server.stop() if '"event":"end"' in line]
    assert [end["exit_code"] for end in ends] == [0] * 4
    assert max(end["seconds"] for end in ends) < 3600
