"""Machines that lack something, or are short of it."""

from __future__ import annotations

import os
import socket
import subprocess
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


@pytest.mark.peer("prlimit")
def test_a_disk_that_is_full_leaves_the_old_rules_in_place(tmp_path: Path) -> None:
    """A limit on file sizes fails as a full disk does: in the middle of a file."""
    cdb, temporary = tmp_path / "cdb", tmp_path / "tmp"
    compile_rules = [*tool("tcprules"), str(cdb), str(temporary)]
    subprocess.run(compile_rules, input=b"127.0.0.9:deny\n:allow\n", check=True)
    before = cdb.read_bytes()
    done = subprocess.run(
        ["prlimit", "--fsize=100", *compile_rules], input=b":deny\n", capture_output=True, check=False
    )
    assert done.returncode == 111
    assert done.stderr.startswith(b"tcprules: fatal: unable to write ")
    assert cdb.read_bytes() == before
