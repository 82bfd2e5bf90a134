"""Signals, children, stopping: what the server does besides serving."""

from __future__ import annotations

import contextlib
import os
import signal
import socket
import subprocess
import threading
from pathlib import Path
from typing import TYPE_CHECKING

import pytest

from tests.support import Server, call, tool
from tests.support.dns_server import DNSServer, Query

if TYPE_CHECKING:
    from collections.abc import Callable


def test_term_ends_the_server_and_lets_programs_live(tcpserver: Callable[..., Server]) -> None:
    server = tcpserver("-vRHl0", "127.0.0.1", "0", "cat")
    with socket.create_connection(("127.0.0.1", server.port)) as caller:
        server.wait_for_line(" ok ")
        server.signal(signal.SIGTERM)
        assert server.wait() == 0
        with pytest.raises(ConnectionRefusedError):
            call(server.port)
        caller.sendall(b"still here")
        assert caller.recv(100) == b"still here"
    assert server.lines[-1].startswith("tcpserver: ok ")


def test_drain_waits_for_programs_to_end(tcpserver: Callable[..., Server]) -> None:
    server = tcpserver("-vRHl0", "--drain", "3600", "127.0.0.1", "0", "cat")
    with socket.create_connection(("127.0.0.1", server.port)) as caller:
        server.wait_for_line(" ok ")
        server.signal(signal.SIGTERM)
        # It still answers signals, and reports programs that end, but takes no more callers.
        server.signal(signal.SIGUSR1)
        server.wait_for_line("tcpserver: connected ")
        caller.sendall(b"x")
        assert caller.recv(1) == b"x"
        assert server.process.poll() is None
    server.wait_for_line("status 0")
    assert server.wait() == 0


def test_drain_gives_up_after_its_time_and_says_so(tcpserver: Callable[..., Server]) -> None:
    server = tcpserver("-RHl0", "--drain", "0", "127.0.0.1", "0", "sh", "-c", "echo; cat")
    with socket.create_connection(("127.0.0.1", server.port)) as caller:
        assert caller.recv(1) == b"\n"
        server.signal(signal.SIGTERM)
        assert server.wait() == 0
        server.wait_for_line("tcpserver: warning: stopping, programs still running: 1")
        caller.sendall(b"y")
        assert caller.recv(1) == b"y"


def test_a_second_term_ends_a_drain(tcpserver: Callable[..., Server]) -> None:
    server = tcpserver("-RHl0", "--drain", "99999999999", "127.0.0.1", "0", "sh", "-c", "echo; cat")
    with socket.create_connection(("127.0.0.1", server.port)) as caller:
        assert caller.recv(1) == b"\n"
        server.signal(signal.SIGTERM)
        server.signal(signal.SIGUSR1)
        server.wait_for_line("tcpserver: connected ")
        server.signal(signal.SIGTERM)
        assert server.wait() == 0


def test_term_drops_who_is_still_looked_up_with_a_line_each(tcpserver: Callable[..., Server]) -> None:
    asked = threading.Event()

    def special(_: Query) -> list[bytes] | None:
        asked.set()
        return []

    with DNSServer({}, special) as dns:
        environ = {"PATH": os.environ["PATH"], "DNSCACHEIP": dns.address}
        server = tcpserver("-Rl0", "127.0.0.1", "0", "echo", "served", env=environ)
        with socket.create_connection(("127.0.0.1", server.port)) as caller:
            assert asked.wait(60)
            server.signal(signal.SIGTERM)
            assert server.wait() == 0
            assert caller.recv(100) == b""
            port = caller.getsockname()[1]
        assert server.stop() == [f"tcpserver: warning: dropping connection, stopping: 127.0.0.1:{port}"]


def test_hup_changes_nothing_for_callers(tcpserver: Callable[..., Server]) -> None:
    """A28: C dies of it."""
    server = tcpserver("-vRHl0", "127.0.0.1", "0", "cat")
    with socket.create_connection(("127.0.0.1", server.port)) as caller:
        server.wait_for_line(" ok ")
        server.signal(signal.SIGHUP)
        assert call(server.port, send=b"new").data == b"new"
        caller.sendall(b"old")
        assert caller.recv(100) == b"old"


def test_usr1_prints_who_is_connected(tcpserver: Callable[..., Server]) -> None:
    server = tcpserver("-RHl0", "0", "0", "sh", "-c", "echo $$; cat")
    wanted = {}
    with (
        socket.create_connection(("127.0.0.1", server.port)) as four,
        socket.create_connection(("::1", server.port)) as six,
    ):
        for caller, address in ((four, "127.0.0.1"), (six, "[::1]")):
            with caller.makefile() as lines:
                pid = lines.readline().strip()
            wanted[pid] = f"0:{address}:{server.port} :{address}::{caller.getsockname()[1]}"
        server.signal(signal.SIGUSR1)
        server.wait_for_line("tcpserver: status: 2/40")
    said = [line.split() for line in server.lines if " connected " in line]
    assert {words[2]: " ".join(words[4:]) for words in said} == wanted
    assert all(words[3][:-1].isdigit() and words[3].endswith("s") for words in said)


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGALRM, signal.SIGQUIT])
def test_other_signals_end_it_as_they_end_c(tcpserver: Callable[..., Server], number: int) -> None:
    server = tcpserver("-RHl0", "127.0.0.1", "0", "true")
    server.signal(number)
    assert server.wait() == -number
    assert server.stop() == []


def test_foreign_children_are_reaped_and_not_counted() -> None:
    """A29: in C they appear in the log, and take a slot away from the count."""
    script = 'sh -c "exit 3" & exec "$@"'
    with Server(["sh", "-c", script, "sh", *tool("tcpserver"), "-1vRHl0", "127.0.0.1", "0", "cat"]) as server:
        server.read_port()
        with socket.create_connection(("127.0.0.1", server.port)):
            server.wait_for_line(" ok ")
        server.wait_for_line("status: 0/40", count=2)
        ends = [line for line in server.lines if " end " in line]
        assert len(ends) == 1
        assert ends[0].endswith("status 0")
        assert children(server.pid) == []


def children(pid: int) -> list[str]:
    """The states of a process's children, Z for zombies."""
    found = []
    for path in Path("/proc").glob("[0-9]*/stat"):
        with contextlib.suppress(FileNotFoundError, ProcessLookupError):  # gone since
            state, parent = path.read_text().rpartition(")")[2].split()[:2]
            if int(parent) == pid:
                found.append(state)
    return found


def test_a_burst_of_ends_is_reaped_to_the_last(tcpserver: Callable[..., Server]) -> None:
    server = tcpserver("-vRHl0", "-c60", "-b60", "127.0.0.1", "0", "cat")
    callers = [socket.create_connection(("127.0.0.1", server.port)) for _ in range(50)]
    server.wait_for_line("status: 50/60")
    for one in callers:
        one.close()
    server.wait_for_line("status: 0/60", count=2)
    assert sum(" end " in line for line in server.lines) == 50


def test_a_server_that_nobody_reads_the_log_of_serves_on() -> None:
    """stderr is a pipe whose reader is gone."""
    reader, writer = os.pipe()
    process = subprocess.Popen(
        [*tool("tcpserver"), "-1vRHl0", "127.0.0.1", "0", "cat"],
        stdin=subprocess.DEVNULL,
        stdout=subprocess.PIPE,
        stderr=writer,
    )
    os.close(writer)
    with process:
        assert process.stdout is not None
        port = int(process.stdout.readline())
        os.close(reader)
        assert call(port, send=b"x").data == b"x"
        assert call(port, send=b"y").data == b"y"
        process.terminate()
        assert process.wait() == 0
