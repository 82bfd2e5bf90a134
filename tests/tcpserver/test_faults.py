"""Shortages and errors of accept(2): a warning, a pause, and on it goes."""

from __future__ import annotations

import os
import socket
import subprocess
from pathlib import Path
from typing import TYPE_CHECKING

import pytest

from tests.support import Server, call, reset_at_close
from tests.support.dns_server import DNSServer, reverse
from tests.tcpserver.faults import injected

if TYPE_CHECKING:
    from collections.abc import Callable


def ticks(pid: int) -> int:
    """Processor time so far, in clock ticks."""
    words = Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()
    return int(words[11]) + int(words[12])


def test_out_of_descriptors_it_warns_once_does_not_spin_and_recovers(tcpserver: Callable[..., Server]) -> None:
    """A1: C retries at once, silently, at full speed."""
    server = tcpserver("-vRHl0", "127.0.0.1", "0", "cat")
    assert call(server.port, send=b"before").data == b"before"
    server.wait_for_line("status: 0/40", count=2)
    subprocess.run(["prlimit", "--pid", str(server.pid), "--nofile=3:1024"], check=True)
    callers = [socket.create_connection(("127.0.0.1", server.port)) for _ in range(3)]
    warning = "tcpserver: warning: unable to accept, trying again every 0.1 s: process cannot open more files"
    server.wait_for_line(warning)
    before = ticks(server.pid)
    # Ten answered signals are ten turns of a loop that is awake; each is a moment, not a measure.
    for number in range(10):
        server.signal(10)
        server.wait_for_line("tcpserver: status: 0/40", count=3 + number)
    assert ticks(server.pid) - before < os.sysconf("SC_CLK_TCK") // 4
    subprocess.run(["prlimit", "--pid", str(server.pid), "--nofile=1024:1024"], check=True)
    for one in callers:
        with one:
            one.sendall(b"after")
            assert one.recv(100) == b"after"
    assert server.lines.count(warning) == 1


@pytest.mark.peer("strace")
@pytest.mark.parametrize("error", ["ENFILE", "ENOMEM", "ENOBUFS"])
def test_a_shortage_of_the_machine_is_waited_out(tcpserver: Callable[..., Server], error: str) -> None:
    server = tcpserver("-RHl0", "127.0.0.1", "0", "cat", command=injected(f"accept4:error={error}:when=1..3"))
    assert call(server.port, send=b"x").data == b"x"
    assert call(server.port, send=b"y").data == b"y"
    assert len([line for line in server.stop() if "unable to accept" in line]) == 1


@pytest.mark.peer("strace")
@pytest.mark.parametrize("error", ["ECONNABORTED", "EPROTO", "ENETDOWN", "EHOSTUNREACH", "EPERM"])
def test_an_error_of_one_caller_is_not_even_mentioned(tcpserver: Callable[..., Server], error: str) -> None:
    server = tcpserver("-RHl0", "127.0.0.1", "0", "cat", command=injected(f"accept4:error={error}:when=1..3"))
    assert call(server.port, send=b"x").data == b"x"
    assert server.stop() == []


@pytest.mark.peer("strace")
def test_a_listening_socket_that_is_broken_is_fatal(tcpserver: Callable[..., Server]) -> None:
    server = tcpserver("-RHl0", "127.0.0.1", "0", "cat", command=injected("accept4:error=EINVAL"))
    with socket.create_connection(("127.0.0.1", server.port)):
        assert server.wait() == 111
    assert server.stop() == ["tcpserver: fatal: unable to accept: invalid argument"]


@pytest.mark.peer("strace")
def test_a_process_that_cannot_be_made_costs_its_caller_only(tcpserver: Callable[..., Server]) -> None:
    server = tcpserver(
        "-vRHl0", "127.0.0.1", "0", "cat", command=injected("clone3:error=EAGAIN:when=1", "vfork:error=EAGAIN:when=1")
    )
    first = call(server.port, send=b"x")
    assert first.data == b""
    assert call(server.port, send=b"y").data == b"y"
    server.wait_for_line(" end ")
    assert server.lines[1:5] == [
        "tcpserver: status: 1/40",
        "tcpserver: pid 0 from 127.0.0.1",
        "tcpserver: warning: dropping connection, unable to fork: temporary failure",
        "tcpserver: status: 0/40",
    ]


def test_a_caller_who_does_not_read_the_banner_delays_nobody(tcpserver: Callable[..., Server]) -> None:
    # Larger than what the kernel takes for a caller with a small buffer who reads nothing.
    banner = "x" * 100_000
    server = tcpserver("-vRHl0", "-B", banner, "127.0.0.1", "0", "echo", "!")
    with socket.socket() as slow:
        slow.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 2048)
        slow.connect(("127.0.0.1", server.port))
        server.wait_for_line("status: 1/40")
        assert call(server.port).data == banner.encode() + b"!\n"
        received = 0
        while chunk := slow.recv(65536):
            received += len(chunk)
    assert received == len(banner) + 2


def test_a_caller_who_is_gone_before_the_banner_costs_nothing_but_a_line(tcpserver: Callable[..., Server]) -> None:
    server = tcpserver("-RHl0", "-B", "x" * 100_000, "127.0.0.1", "0", "true")
    with socket.socket() as gone:
        gone.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 2048)
        gone.connect(("127.0.0.1", server.port))
        reset_at_close(gone)
        gone.recv(1)
    assert call(server.port).data == b"x" * 100_000


@pytest.mark.peer("strace")
@pytest.mark.parametrize("error", ["ENOSPC", "ENOMEM"])
def test_a_look_up_that_cannot_be_watched_counts_as_failed(tcpserver: Callable[..., Server], error: str) -> None:
    """epoll(7) has no watches left for the resolver's socket; the caller is served without a name."""
    # Numbers 1 and 2 are the signals and the listening socket.
    command = injected(f"epoll_ctl:error={error}:when=3")
    with DNSServer({reverse("127.0.0.1"): {"PTR": ["caller.example"]}}) as dns:
        environ = {"PATH": os.environ["PATH"], "DNSCACHEIP": dns.address}
        server = tcpserver("-vRl0", "127.0.0.1", "0", "printenv", "TCPREMOTEHOST", command=command, env=environ)
        assert call(server.port).data == b""
        assert call(server.port).data == b"caller.example\n"


@pytest.mark.peer("strace")
@pytest.mark.parametrize("number", [2, 3])  # 1 is the signals
def test_a_listening_socket_that_cannot_be_watched_is_watched_later(
    tcpserver: Callable[..., Server], number: int
) -> None:
    """It is no longer watched whenever the limit is reached, so that can happen at any time."""
    server = tcpserver("-RHl0", "0", "0", "cat", command=injected(f"epoll_ctl:error=ENOSPC:when={number}"))
    for host in ("127.0.0.1", "::1"):
        assert call(server.port, host, send=b"x").data == b"x"
    warning = "tcpserver: warning: unable to wait for callers, trying again every 0.1 s: out of disk space"
    assert server.stop() == [warning]
