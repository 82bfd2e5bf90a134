"""A log that nobody reads, or nobody any more: accepting goes on, and what is missing is counted."""

from __future__ import annotations

import fcntl
import os
import re
import signal
import socket
import subprocess
from pathlib import Path

import pytest

from tests.support import call, tool
from ucspi_env.tools._logwriter import QUEUE_LIMIT

CALLERS = QUEUE_LIMIT // 3 + 150  # each denied one leaves three texts of four lines together
LOST = re.compile(rb'tcpserver: warning: (\d+) log lines dropped.*|\{"time":"[^"]+","event":"lost","count":(\d+)\}')


@pytest.fixture
def deny_all(tmp_path: Path) -> str:
    command = [*tool("tcprules"), str(tmp_path / "cdb"), str(tmp_path / "tmp")]
    subprocess.run(command, input=b":deny\n", check=True)
    return str(tmp_path / "cdb")


class Unread:
    """A tcpserver whose stderr leads to ``reader``, through little room."""

    def __init__(self, kind: str, *arguments: str) -> None:
        if kind == "socket":
            one, other = socket.socketpair()
            other.setsockopt(socket.SOL_SOCKET, socket.SO_SNDBUF, 4096)
            self.reader, writer = one.detach(), other.detach()
        else:
            self.reader, writer = os.pipe()
            fcntl.fcntl(writer, 1031, 4096)  # F_SETPIPE_SZ
        self.process = subprocess.Popen(
            [*tool("tcpserver"), "-1vRHl0", *arguments],
            stdin=subprocess.DEVNULL,
            stdout=subprocess.PIPE,
            stderr=writer,
        )
        os.close(writer)
        assert self.process.stdout is not None
        self.port = int(self.process.stdout.readline())

    def close(self) -> None:
        self.process.kill()
        self.process.communicate()
        if self.reader >= 0:
            os.close(self.reader)
            self.reader = -1


@pytest.fixture(params=["pipe", "socket"])
def kind(request: pytest.FixtureRequest) -> str:
    return str(request.param)


@pytest.mark.parametrize("log_format", ["djb", "json"])
def test_a_log_that_is_not_read_stalls_nobody_and_says_what_is_missing(
    kind: str, log_format: str, deny_all: str
) -> None:
    server = Unread(kind, f"--log-format={log_format}", "-x", deny_all, "127.0.0.1", "0", "true")
    try:
        for _ in range(CALLERS):
            call(server.port)
        # Its programs share the descriptor: it must still be a blocking one.
        flags = re.search(r"^flags:\s+(\d+)$", Path(f"/proc/{server.process.pid}/fdinfo/2").read_text(), re.MULTILINE)
        assert flags is not None
        assert not int(flags[1], 8) & os.O_NONBLOCK

        said = b""
        while not (notice := LOST.search(said)) or not said.endswith(b"\n"):
            chunk = os.read(server.reader, 65536)
            assert chunk
            said += chunk
        lost = int(notice[1] or notice[2])
        *lines, end = said.split(b"\n")
        assert end == b""
        each = 4 if log_format == "djb" else 3
        assert len(lines) - 1 + lost == 1 + each * CALLERS
        assert lost > 0
        # And now it is read again.
        call(server.port)
        assert b"status" in os.read(server.reader, 65536)
    finally:
        server.close()


def test_a_log_whose_reader_is_gone_stops_nobody(kind: str, deny_all: str) -> None:
    server = Unread(kind, "-x", deny_all, "127.0.0.1", "0", "true")
    try:
        os.close(server.reader)
        server.reader = -1
        for _ in range(20):
            assert call(server.port).data == b""
        server.process.send_signal(signal.SIGTERM)
        assert server.process.wait() == 0
    finally:
        server.close()


def test_a_reader_that_goes_while_lines_wait_stops_nobody_and_nothing_spins(kind: str, deny_all: str) -> None:
    server = Unread(kind, "-x", deny_all, "127.0.0.1", "0", "true")
    try:
        for _ in range(100):
            call(server.port)
        os.close(server.reader)
        server.reader = -1
        call(server.port)
        stat = Path(f"/proc/{server.process.pid}/stat")

        def ticks() -> int:
            words = stat.read_text().rpartition(")")[2].split()
            return int(words[11]) + int(words[12])

        before = ticks()
        for _ in range(10):
            call(server.port)
        assert ticks() - before < os.sysconf("SC_CLK_TCK") // 4
    finally:
        server.close()


def test_a_full_disk_costs_lines_and_no_callers(deny_all: str) -> None:
    full = Path("/dev/full")
    if not full.exists():
        pytest.skip("no /dev/full here")
    with full.open("wb") as log:
        command = [*tool("tcpserver"), "-1vRHl0", "-x", deny_all, "127.0.0.1", "0", "true"]
        with subprocess.Popen(command, stdin=subprocess.DEVNULL, stdout=subprocess.PIPE, stderr=log) as process:
            assert process.stdout is not None
            port = int(process.stdout.readline())
            for _ in range(5):
                assert call(port).data == b""
            process.terminate()
            assert process.wait() == 0
