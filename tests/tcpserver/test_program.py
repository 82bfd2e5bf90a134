"""What a program gets: descriptors, signals, environment, arguments; and what happens when it cannot be run."""

from __future__ import annotations

import os
import signal
import socket
import subprocess
import sys
from pathlib import Path
from typing import TYPE_CHECKING

import pytest

from tests.support import Server, call, reset_at_close, tool

if TYPE_CHECKING:
    from collections.abc import Callable

LIST_FDS = ("sh", "-c", "ls -l /proc/$$/fd")


def masks(text: str) -> dict[str, int]:
    """The signal masks of /proc/PID/status, without the two numbers that belong to the C library."""
    found = dict(line.split(":\t") for line in text.splitlines() if line.startswith("Sig"))
    # glibc's posix_spawn(3) leaves its private signals 32 and 33 ignored, in every program that is started by it.
    return {name: int(found[name], 16) & ~0x180000000 for name in ("SigBlk", "SigIgn", "SigCgt")}


def test_a_program_has_the_connection_stderr_and_nothing_else(tcpserver: Callable[..., Server]) -> None:
    server = tcpserver("-RHl0", "0", "0", *LIST_FDS)
    with socket.create_connection(("127.0.0.1", server.port)):
        lines = call(server.port, "::1").data.decode().splitlines()
    descriptors = {line.split()[-3]: line.split()[-1] for line in lines if "->" in line}
    assert set(descriptors) == {"0", "1", "2"}
    assert descriptors["0"] == descriptors["1"]
    assert descriptors["0"].startswith("socket:")


@pytest.mark.skipif(not Path("/proc/self/fd").exists(), reason="needs /proc")
def test_a_descriptor_that_the_server_inherits_stays_with_the_server(tmp_path: Path) -> None:
    """A30: C hands everything on."""
    with (tmp_path / "file").open("wb") as file:
        command = [*tool("tcpserver"), "-1RHl0", "127.0.0.1", "0", *LIST_FDS]
        with Server(command, pass_fds=[file.fileno()]) as server:
            server.read_port()
            assert b"file" not in call(server.port).data


def test_signals_are_at_their_defaults_and_none_is_blocked(tcpserver: Callable[..., Server]) -> None:
    blocked = [signal.SIGHUP, signal.SIGTERM, signal.SIGCHLD, signal.SIGUSR2]
    previous = signal.pthread_sigmask(signal.SIG_BLOCK, blocked)
    ignored = {number: signal.signal(number, signal.SIG_IGN) for number in (signal.SIGQUIT, signal.SIGALRM)}
    try:
        server = tcpserver("-RHl0", "127.0.0.1", "0", "cat", "/proc/self/status")
    finally:
        signal.pthread_sigmask(signal.SIG_SETMASK, previous)
        for number, handler in ignored.items():
            signal.signal(number, handler)
    assert masks(call(server.port).data.decode()) == {"SigBlk": 0, "SigIgn": 0, "SigCgt": 0}


def test_the_log_has_the_wait_status_of_a_program(tcpserver: Callable[..., Server]) -> None:
    server = tcpserver("-vRHl0", "127.0.0.1", "0", "sh", "-c", "read how; eval $how")
    for how, status in ((b"exit 3\n", 768), (b"exit 111\n", 28416), (b"kill -9 $$\n", 9)):
        call(server.port, send=how)
        server.wait_for_line(f" status {status}")


@pytest.mark.parametrize(
    ("program", "why"),
    [
        ("./nosuch", "file does not exist"),
        ("nosuch-program-anywhere", "file does not exist"),
        ("", "access denied"),
        ("/", "access denied"),
        ("./text", "access denied"),
        ("./script", "exec format error"),
        ("./orphan", "file does not exist"),
        ("./text/x", "not a directory"),
    ],
)
def test_a_program_that_cannot_be_run_costs_its_caller_only(
    tcpserver: Callable[..., Server], tmp_path: Path, program: str, why: str
) -> None:
    (tmp_path / "text").write_text("no program\n")
    for name, content in (("script", "echo\n"), ("orphan", "#!/nosuch/interpreter\n")):
        (tmp_path / name).write_text(content)
        (tmp_path / name).chmod(0o755)
    server = tcpserver("-vRHl0", "127.0.0.1", "0", program, "argument", cwd=tmp_path)
    for number in (1, 2):
        assert call(server.port).data == b""
        server.wait_for_line("status: 0/40", count=number + 1)
    warning = f"tcpserver: warning: dropping connection, unable to run {program}: {why}"
    first = server.lines[1:6]
    port = first[2].rpartition(":")[2]
    assert first == [
        "tcpserver: status: 1/40",
        "tcpserver: pid 0 from 127.0.0.1",
        f"tcpserver: ok 0 0:127.0.0.1:{server.port} :127.0.0.1::{port}",
        warning,
        "tcpserver: status: 0/40",
    ]


def test_a_program_is_looked_for_as_c_does(tcpserver: Callable[..., Server], tmp_path: Path) -> None:
    """Denied goes on and is remembered, a missing directory goes on, an empty element is the current directory."""
    for directory in ("one", "two"):
        (tmp_path / directory).mkdir()
        (tmp_path / directory / "prog").write_text("#!/bin/sh\necho $0 $1\n")
    (tmp_path / "two" / "prog").chmod(0o755)
    (tmp_path / "one" / "only").write_text("")
    path = f"/nosuch:{tmp_path}/one:{tmp_path}/two:"
    server = tcpserver("-RHl0", "127.0.0.1", "0", "prog", "word", env={"PATH": path})
    assert call(server.port).data.decode() == f"{tmp_path}/two/prog word\n"
    server = tcpserver("-RHl0", "127.0.0.1", "0", "only", env={"PATH": path})
    assert call(server.port).data == b""
    server.wait_for_line("unable to run only: access denied")


def test_a_program_named_like_an_option_is_run(tcpserver: Callable[..., Server], tmp_path: Path) -> None:
    (tmp_path / "-v").write_text("#!/bin/sh\necho ran\n")
    (tmp_path / "-v").chmod(0o755)
    server = tcpserver("-RHl0", "--", "127.0.0.1", "0", "-v", env={"PATH": f"{tmp_path}:/bin:/usr/bin"})
    assert call(server.port).data == b"ran\n"


def test_no_process_is_left_for_a_caller_who_hangs_up(tcpserver: Callable[..., Server]) -> None:
    server = tcpserver("-vRHl0", "127.0.0.1", "0", "cat")
    with socket.create_connection(("127.0.0.1", server.port)) as caller:
        server.wait_for_line("status: 1/40")
        reset_at_close(caller)
    server.wait_for_line("tcpserver: end ")


def test_arguments_and_environment_pass_as_bytes(tcpserver: Callable[..., Server]) -> None:
    odd = b"\xff\xe9".decode("utf-8", "surrogateescape")
    server = tcpserver(
        "-RHl0", "127.0.0.1", "0", "sh", "-c", 'printf "%s %s" "$1" "$ODD"', "sh", odd,
        env={"PATH": os.environ["PATH"], "ODD": odd},
    )  # fmt: skip
    assert call(server.port).data == b"\xff\xe9 \xff\xe9"


def test_python_leaves_no_trace_in_the_environment(tcpserver: Callable[..., Server]) -> None:
    """PEP 538 adds LC_CTYPE where the locale is C."""
    server = tcpserver("-RHl0", "127.0.0.1", "0", "env", env={"PATH": "/bin:/usr/bin", "KEPT": "yes"})
    names = {line.partition("=")[0] for line in call(server.port).data.decode().splitlines()}
    families = {name for name in names if name.startswith(("TCP", "PROTO"))}
    assert names - families == {"PATH", "KEPT"}


def test_failing_to_fork_is_told_apart(tcpserver: Callable[..., Server]) -> None:
    # The superuser is not limited in processes.
    options = ["-u", "nobody"] if os.geteuid() == 0 else []
    command = ["prlimit", "--nproc=0:0", *tool("tcpserver")]
    server = tcpserver(*options, "-RHl0", "127.0.0.1", "0", "true", command=command)
    assert call(server.port).data == b""
    server.wait_for_line("tcpserver: warning: dropping connection, unable to fork: temporary failure")


@pytest.mark.parametrize("closed", ["0", "1", "2", "0 1 2"])
def test_standard_descriptors_closed_at_start_are_not_taken_by_sockets(
    closed: str, unused: Callable[[], int], tmp_path: Path
) -> None:
    """A5: C's listening socket lands there, is closed, and the process spins."""
    port = unused()
    done = tmp_path / "fds"
    script = f"""
import os, sys
for fd in {[int(fd) for fd in closed.split()]}:
    os.close(fd)
os.execv(sys.argv[1], sys.argv[1:])
"""
    command = [*tool("tcpserver"), "-RHl0", "127.0.0.1", str(port), "sh", "-c", f"ls -l /proc/$$/fd >{done}; echo hi"]
    process = subprocess.Popen(
        [sys.executable, "-c", script, *command], stdin=subprocess.DEVNULL, stdout=subprocess.DEVNULL
    )
    try:
        while True:
            try:
                assert call(port).data == b"hi\n"
                break
            except ConnectionRefusedError:
                assert process.poll() is None
        descriptors = {line.split()[-3]: line.split()[-1] for line in done.read_text().splitlines() if "->" in line}
        assert descriptors["0"].startswith("socket:")
        if "2" in closed:
            assert descriptors["2"] == "/dev/null"
    finally:
        process.terminate()
        assert process.wait() == 0
