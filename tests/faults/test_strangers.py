"""Callers, name servers and ident servers that do not behave."""

from __future__ import annotations

import contextlib
import os
import signal
import socket
import threading
from typing import TYPE_CHECKING

import pytest

from tests.support import Namespace, Server, call, reset_at_close
from tests.support.dns_server import DNSServer, Query, garbage, record, respond, reverse
from tests.support.processes import state, wait_until

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

HOST = ("sh", "-c", 'echo "${TCPREMOTEHOST-unset} ${TCPREMOTEINFO-unset}"')


@pytest.mark.parametrize("how", ["garbage", "late", "false", "truncated", "elsewhere"])
def test_a_name_server_that_misbehaves_first_is_heard_out(tcpserver: Callable[..., Server], how: str) -> None:
    """Packets that are no answer are passed over; a lost question is asked again."""
    asked: list[Query] = []

    def special(query: Query) -> list[bytes] | None:
        asked.append(query)
        right = dns.ordinary(query)
        wrong = bytes([right[0] ^ 1]) + right[1:]
        if how == "elsewhere":  # the right question and number, from a port that was not asked
            lie = respond(query, record(query.name, "PTR", "liar.example"))
            with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as stray:
                stray.sendto(lie, query.source)
        return {
            "garbage": [garbage(1), garbage(600), b"", right],
            "late": [] if len(asked) == 1 else [right],
            "false": [wrong, right],
            "truncated": [right[:11], right],
            "elsewhere": [right],
        }[how]

    with DNSServer({reverse("127.0.0.1"): {"PTR": ["caller.example"]}}, special) as dns:
        environ = {"PATH": os.environ["PATH"], "DNSCACHEIP": dns.address}
        server = tcpserver("-Rl0", "127.0.0.1", "0", *HOST, env=environ)
        assert call(server.port).data == b"caller.example unset\n"
    assert server.stop() == []


def test_a_name_server_that_says_it_has_failed_leaves_the_name_unset(tcpserver: Callable[..., Server]) -> None:
    with DNSServer({}, lambda query: [respond(query, rcode=2)]) as dns:
        environ = {"PATH": os.environ["PATH"], "DNSCACHEIP": dns.address}
        server = tcpserver("-Rl0", "127.0.0.1", "0", *HOST, env=environ)
        assert call(server.port).data == b"unset unset\n"


@contextlib.contextmanager
def ident(inside: Namespace, host: str, serve: Callable[[socket.socket], None]) -> Iterator[None]:
    """An ident server at port 113 that answers one question by ``serve(connection)``."""
    with inside.socket(socket.AF_INET) as listener:
        listener.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        listener.bind((host, 113))
        listener.listen()

        def run() -> None:
            client, _ = listener.accept()
            with client, contextlib.suppress(ConnectionError):
                serve(client)

        thread = threading.Thread(target=run)
        thread.start()
        yield
        thread.join()


def trickle(client: socket.socket) -> None:
    """A byte at a time, until the other end has had enough."""
    while True:
        client.sendall(b"1")
        threading.Event().wait(0.05)


@pytest.mark.netns
@pytest.mark.parametrize("what", ["trickle", "megabyte", "binary", "nothing"])
def test_an_ident_server_that_misbehaves_has_no_say(
    tcpserver: Callable[..., Server], netns: Callable[..., Namespace], what: str
) -> None:
    inside = netns()
    answers: dict[str, Callable[[socket.socket], None]] = {
        "trickle": trickle,
        "megabyte": lambda client: client.sendall(b"x" * 2**20),
        "binary": lambda client: client.sendall(bytes(range(256))),
        "nothing": lambda client: client.shutdown(socket.SHUT_RDWR),
    }
    server = tcpserver("-Hl0", "-t1", "127.0.0.1", "0", *HOST, namespace=inside)
    with ident(inside, "127.0.0.9", answers[what]):
        answer = call(server.port, source="127.0.0.9", over=inside.socket(socket.AF_INET))
    assert answer.data == b"unset unset\n"
    assert server.stop() == []


def test_callers_who_are_gone_before_accept_cost_nothing(tcpserver: Callable[..., Server]) -> None:
    server = tcpserver("-vRHl0", "-c60", "-b100", "127.0.0.1", "0", "cat")
    server.signal(signal.SIGSTOP)
    wait_until(lambda: state(server.pid) == "T", "the server stops")
    for _ in range(40):
        with socket.create_connection(("127.0.0.1", server.port)) as gone:
            reset_at_close(gone)
    server.signal(signal.SIGCONT)
    assert call(server.port, send=b"x").data == b"x"

    def settled() -> bool:
        lines = server.lines
        return sum(" ok " in line for line in lines) == sum(" end " in line for line in lines) > 0

    wait_until(settled, "every program has ended")
    assert server.process.poll() is None


def test_callers_who_say_nothing_before_the_program_are_sent_away_in_time(tcpserver: Callable[..., Server]) -> None:
    """A slow start: with --proxy there is something to wait for, so there is a limit to waiting."""
    server = tcpserver("-RHl0", "--proxy=127.0.0.0/8", "--proxy-timeout=1", "127.0.0.1", "0", "cat")
    with contextlib.ExitStack() as stack:
        silent = [
            stack.enter_context(socket.create_connection(("127.0.0.1", server.port), timeout=60)) for _ in range(60)
        ]
        for number, one in enumerate(silent):
            if number % 2:
                with contextlib.suppress(ConnectionError):  # on a slow machine that was in vain
                    one.sendall(b"PROXY TCP4 192.0.2.1 ")
        header = b"PROXY TCP4 192.0.2.9 192.0.2.1 9 25\r\n"
        assert call(server.port, send=header + b"x").data == b"x"
        for one in silent:
            with contextlib.suppress(ConnectionResetError):  # the end of a connection whose bytes nobody has read
                assert one.recv(1) == b""
    server.wait_for_line("unable to read PROXY header from 127.0.0.1", count=60)


def test_callers_who_stay_and_say_nothing_lose_their_slot_by_a_lifetime(tcpserver: Callable[..., Server]) -> None:
    server = tcpserver("-RHl0", "-c2", "--lifetime=1", "127.0.0.1", "0", "cat")
    with (
        socket.create_connection(("127.0.0.1", server.port)),
        socket.create_connection(("127.0.0.1", server.port)),
    ):
        assert call(server.port, send=b"x").data == b"x"


@pytest.mark.netns
def test_a_caller_who_never_reads_the_banner_delays_neither_others_nor_the_end(
    tcpserver: Callable[..., Server], netns: Callable[..., Namespace]
) -> None:
    inside = netns()
    inside.set("net/ipv4/tcp_wmem", "4096 4096 4096")  # or the kernel would take it all
    server = tcpserver("-RHl0", "-B", "x" * 100_000, "127.0.0.1", "0", "true", namespace=inside)
    with inside.socket(socket.AF_INET) as slow:
        slow.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 2048)
        slow.connect(("127.0.0.1", server.port))
        assert call(server.port, over=inside.socket(socket.AF_INET)).data == b"x" * 100_000
        server.signal(signal.SIGTERM)
        assert server.wait() == 0
    assert server.stop() == ["tcpserver: warning: dropping connection, stopping"]
