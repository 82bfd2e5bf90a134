"""Shortages and ends that --preload and --handler have of their own: requests, descriptors on their way, zygotes."""

from __future__ import annotations

import os
import signal
import socket
import subprocess
import sys
from pathlib import Path
from typing import TYPE_CHECKING

import pytest

from tests.support import Server, call, tool
from tests.support.processes import wait_until
from tests.tcpserver.faults import injected

if TYPE_CHECKING:
    from collections.abc import Callable

pytestmark = [
    pytest.mark.skipif(not sys.platform.startswith("linux"), reason="--preload and --handler need Linux"),
    pytest.mark.usefixtures("users_python"),
]

PRELOAD = ("--preload",)
HANDLER = ("--handler",)
REUSE = ("--handler", "--reuse=10", "--pool=1")
ECHO = """\
import os, sys


def main(*_):
    os.write(1, b"%d\\n" % os.getppid())
    while data := os.read(0, 65536):
        os.write(1, data)


if __name__ == "__main__":
    main()
"""


@pytest.fixture
def start(tcpserver: Callable[..., Server], tmp_path: Path) -> Callable[..., Server]:
    """Start a server of one kind, whose program says the number of its parent and then what the caller says."""
    (tmp_path / "echo.py").write_text(ECHO)

    def begin(kind: tuple[str, ...], *options: str, **more: object) -> Server:
        program = "./echo.py" if kind == PRELOAD else "echo:main"
        return tcpserver("-RHl0", *kind, *options, "127.0.0.1", "0", program, cwd=tmp_path, **more)

    return begin


def served(server: Server) -> bool:
    return call(server.port, send=b"x").data.endswith(b"\nx")


@pytest.mark.peer("strace")
@pytest.mark.parametrize(
    ("kind", "fault", "why"),
    [
        (PRELOAD, "sendmsg:error=ENOBUFS:when=1", "out of buffer space"),
        (HANDLER, "sendmsg:error=ETOOMANYREFS:when=1", "too many references"),
        (REUSE, "sendmsg:error=ENOMEM:when=1", "out of memory"),
        # The first goes to the zygote, the others to the process that it has started.
        (REUSE, "sendmsg:error=ETOOMANYREFS:when=2", "too many references"),
        (REUSE, "sendmsg:error=EMFILE:when=3", "process cannot open more files"),
    ],
)
def test_what_cannot_be_sent_costs_its_caller_only(
    start: Callable[..., Server], kind: tuple[str, ...], fault: str, why: str
) -> None:
    """A pool of one process is as good afterwards as before."""
    server = start(kind, command=injected(fault))
    answers = [served(server) for _ in range(5)]
    assert sorted(answers) == [False, True, True, True, True]
    (line,) = server.stop()
    assert line.startswith("tcpserver: warning: dropping connection, unable to ")
    assert line.endswith(f": {why}")


@pytest.mark.peer("strace")
@pytest.mark.parametrize("kind", [PRELOAD, HANDLER, REUSE])
def test_a_zygote_that_cannot_fork_costs_its_caller_only(start: Callable[..., Server], kind: tuple[str, ...]) -> None:
    """fork(2) is another system call than posix_spawn(3)'s, and is counted for each process."""
    command = injected("clone:error=EAGAIN:when=1")
    server = start(kind, command=[command[0], "-f", *command[1:]])
    assert [served(server) for _ in range(3)] == [False, True, True]
    assert server.stop() == ["tcpserver: warning: dropping connection, unable to fork: temporary failure"]


@pytest.mark.peer("prlimit")
@pytest.mark.parametrize("kind", [PRELOAD, HANDLER])
def test_a_zygote_out_of_descriptors_costs_its_callers_only(
    start: Callable[..., Server], kind: tuple[str, ...]
) -> None:
    server = start(kind)
    zygote = call(server.port).data.decode().strip()
    taken = len(os.listdir(f"/proc/{zygote}/fd"))
    subprocess.run(["prlimit", "--pid", zygote, f"--nofile={taken}:1024"], check=True)
    assert not served(server)
    subprocess.run(["prlimit", "--pid", zygote, "--nofile=1024:1024"], check=True)
    assert served(server)
    (line,) = server.stop()
    assert line.endswith(": process cannot open more files")


@pytest.mark.parametrize("kind", [PRELOAD, HANDLER, REUSE])
def test_programs_outlive_a_killed_server_which_leaves_nothing_else_behind(
    start: Callable[..., Server], kind: tuple[str, ...]
) -> None:
    server = start(kind)
    with socket.create_connection(("127.0.0.1", server.port), timeout=60) as caller, caller.makefile("rb") as lines:
        zygote = int(lines.readline())
        server.signal(signal.SIGKILL)
        server.wait()
        wait_until(lambda: not Path(f"/proc/{zygote}/exe").exists(), "the zygote ends")
        with Server([*tool("tcpserver"), "-1RHl0", "127.0.0.1", str(server.port), "cat"]) as successor:
            successor.read_port()
            assert call(successor.port, send=b"new").data == b"new"
        caller.sendall(b"old")
        caller.shutdown(socket.SHUT_WR)
        assert lines.read() == b"old"
    server.wait_for_silence()
