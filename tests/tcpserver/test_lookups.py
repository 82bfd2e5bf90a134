"""Look-ups: what they find, what they must not delay, and that their answers stay in their places."""

from __future__ import annotations

import contextlib
import functools
import os
import socket
import threading
from typing import TYPE_CHECKING

import pytest

from tests.support import Server, call
from tests.support.dns_server import DNSServer, Query, respond, reverse

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator, Mapping, Sequence

    from tests.support import Namespace

NAMES = (
    "sh",
    "-c",
    "printf '%s %s %s %s\n' "
    '"${TCPLOCALHOST-unset}" "${TCPREMOTEHOST-unset}" "${TCPREMOTEINFO-unset}" "${TCP6REMOTEHOST-unset}"',
)
ZONE: Mapping[str, Mapping[str, Sequence[str | bytes]]] = {
    reverse("127.0.0.1"): {"PTR": ["Home.Example"]},
    reverse("::1"): {"PTR": ["home6.example"]},
    reverse("127.0.0.9"): {"PTR": ["joe.example"]},
    reverse("127.0.0.10"): {"PTR": ["liar.example"]},
    reverse("127.0.0.4"): {"PTR": ["127.0.0.4"]},
    reverse("127.0.0.11"): {"PTR": [b"\x04a:\n\x01\x07example\x00"]},
    "joe.example": {"A": ["127.0.0.9", "127.0.0.8"]},
    "liar.example": {"A": ["127.0.0.99"]},
    "home6.example": {"AAAA": ["::1"]},
}


@pytest.fixture
def zone() -> Iterator[dict[str, str]]:
    """An environment in which the zone is asked."""
    with DNSServer(ZONE) as dns:
        yield {"PATH": os.environ["PATH"], "DNSCACHEIP": dns.address, "TCPREMOTEHOST": "stale", "TCPREMOTEINFO": "old"}


@pytest.mark.parametrize(
    ("options", "source", "found"),
    [
        ("-RH", "127.0.0.9", "home.example unset unset unset"),
        ("-RHl0", "127.0.0.9", "0 unset unset unset"),
        ("-RHl", "127.0.0.9", " unset unset unset"),
        ("-Rl0", "127.0.0.9", "0 joe.example unset joe.example"),
        ("-Rl0", "127.0.0.8", "0 unset unset unset"),
        ("-Rl0", "127.0.0.10", "0 liar.example unset liar.example"),
        ("-pRl0", "127.0.0.9", "0 joe.example unset joe.example"),
        ("-pRl0", "127.0.0.10", "0 unset unset unset"),
        ("-pRl0", "127.0.0.4", "0 unset unset unset"),
        ("-pRl0", "::1", "0 home6.example unset home6.example"),
        ("-6pRl0", "127.0.0.9", "0 joe.example unset joe.example"),
        ("-6pRl0", "127.0.0.10", "0 unset unset unset"),
        ("-Rl0", "::1", "0 home6.example unset home6.example"),
    ],
)
def test_names_come_from_dns_and_are_unset_where_there_are_none(
    tcpserver: Callable[..., Server], zone: dict[str, str], options: str, source: str, found: str
) -> None:
    arguments = [options, ""] if options == "-RHl" else [options]
    server = tcpserver(*arguments, "0", "0", *NAMES, env=zone)
    host = "::1" if ":" in source else "127.0.0.1"
    assert call(server.port, host, source=source).data.decode() == f"{found}\n"


def test_a_name_with_any_bytes_in_it_is_escaped_and_forges_nothing(
    tcpserver: Callable[..., Server], zone: dict[str, str]
) -> None:
    server = tcpserver("-vRl0", "0", "0", *NAMES, env=zone)
    answer = call(server.port, source="127.0.0.11").data.decode().split()
    assert answer[1] == r"a\072\012\001.example"
    assert "a\\072\\012\\001.example:127.0.0.11::" in server.wait_for_line(" ok ")


def test_a_resolver_that_is_not_there_leaves_the_name_unset(tcpserver: Callable[..., Server]) -> None:
    environ = {"PATH": os.environ["PATH"], "DNSCACHEIP": "127.0.0.1:9"}
    server = tcpserver("-R", "127.0.0.1", "0", *NAMES, env=environ)
    assert call(server.port).data == b"unset unset unset unset\n"


def test_a_resolver_setting_that_is_no_address_is_mentioned_at_start(tcpserver: Callable[..., Server]) -> None:
    environ = {"PATH": os.environ["PATH"], "DNSCACHEIP": "127.0.0.1:9,nonsense"}
    server = tcpserver("-Rl0", "127.0.0.1", "0", *NAMES, env=environ)
    assert call(server.port).data == b"0 unset unset unset\n"
    assert server.lines[0].startswith("tcpserver: warning: DNSCACHEIP: 'nonsense' is not an IP address")


def test_one_callers_slow_dns_delays_nobody_else(tcpserver: Callable[..., Server]) -> None:
    """The first caller's query is answered only when the second one has been served; also with a single slot (A27)."""
    asked = threading.Event()

    def special(query: Query) -> list[bytes] | None:
        if query.name == reverse("127.0.0.9"):
            asked.set()
            return []
        return None

    with DNSServer(ZONE, special) as dns:
        environ = {"PATH": os.environ["PATH"], "DNSCACHEIP": dns.address}
        server = tcpserver("-vRl0", "-c1", "127.0.0.1", "0", *NAMES, env=environ)
        slow = socket.socket()
        slow.bind(("127.0.0.9", 0))
        with slow:
            slow.connect(("127.0.0.1", server.port))
            assert asked.wait(60)
            assert call(server.port, source="127.0.0.4").data == b"0 127.0.0.4 unset 127.0.0.4\n"
        assert not any("127.0.0.9" in line for line in server.lines)


def test_answers_go_to_the_caller_they_are_about(tcpserver: Callable[..., Server], zone: dict[str, str]) -> None:
    server = tcpserver("-Rl0", "-c9", "127.0.0.1", "0", *NAMES, env=zone)
    wanted = {"127.0.0.9": "joe.example", "127.0.0.10": "liar.example", "127.0.0.4": "127.0.0.4", "127.0.0.5": "unset"}
    wrong: list[str] = []

    def caller(source: str) -> None:
        for _ in range(10):
            said = call(server.port, source=source).data.decode().split()[1]
            if said != wanted[source]:
                wrong.append(f"{source}: {said}")

    callers = [threading.Thread(target=caller, args=(source,)) for source in wanted for _ in range(2)]
    for one in callers:
        one.start()
    for one in callers:
        one.join()
    assert wrong == []


@contextlib.contextmanager
def ident_server(inside: Namespace, host: str, reply: bytes | None) -> Iterator[list[bytes]]:
    """An ident server on port 113: repeats the ports of each question before ``reply``, or never answers."""
    heard: list[bytes] = []
    with inside.socket(socket.AF_INET) as listener:
        listener.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        listener.bind((host, 113))
        listener.listen()
        listener.settimeout(None)
        silent: list[socket.socket] = []

        def serve() -> None:
            with contextlib.suppress(OSError):  # the end of the test shuts the listener down
                while True:
                    client, _ = listener.accept()
                    question = client.recv(100)
                    heard.append(question)
                    if reply is None:
                        silent.append(client)
                        continue
                    client.sendall(question.rstrip() + reply)
                    client.close()

        thread = threading.Thread(target=serve)
        thread.start()
        try:
            yield heard
        finally:
            listener.shutdown(socket.SHUT_RDWR)
            thread.join()
            for client in silent:
                client.close()


@pytest.mark.netns
def test_ident_is_asked_and_an_error_is_no_answer(
    tcpserver: Callable[..., Server], netns: Callable[..., Namespace]
) -> None:
    inside = netns()
    server = tcpserver("-vHl0", "127.0.0.1", "0", *NAMES, namespace=inside)
    make = functools.partial(inside.socket, socket.AF_INET)
    with (
        ident_server(inside, "127.0.0.9", b" : USERID : UNIX :joe:admin\r\n") as heard,
        ident_server(inside, "127.0.0.10", b" : ERROR : NO-USER\r\n"),
    ):
        answer = call(server.port, source="127.0.0.9", over=make())
        assert answer.data == b"0 unset joe:admin unset\n"
        assert heard == [f"{answer.port} , {server.port}\r\n".encode()]
        assert ":127.0.0.9:joe?admin:" in server.wait_for_line(" ok ")
        assert call(server.port, source="127.0.0.10", over=make()).data == b"0 unset unset unset\n"
        assert call(server.port, source="127.0.0.11", over=make()).data == b"0 unset unset unset\n"


@pytest.mark.netns
def test_what_was_said_of_a_caller_is_not_said_of_the_next_one_from_the_same_address(
    tcpserver: Callable[..., Server], netns: Callable[..., Namespace]
) -> None:
    inside = netns()
    server = tcpserver("-Hl0", "127.0.0.1", "0", *NAMES, namespace=inside)

    def said() -> bytes:
        return call(server.port, source="127.0.0.9", over=inside.socket(socket.AF_INET)).data

    for user in (b"joe", b"jane", b"joe"):
        with ident_server(inside, "127.0.0.9", b" : USERID : UNIX :" + user + b"\r\n"):
            assert [said(), said()] == [b"0 unset " + user + b" unset\n"] * 2
    assert said() == b"0 unset unset unset\n"


@pytest.mark.netns
def test_a_silent_ident_server_delays_nobody_but_its_own_caller(
    tcpserver: Callable[..., Server], netns: Callable[..., Namespace]
) -> None:
    inside = netns()
    # More seconds than epoll_wait(2) can be told.
    server = tcpserver("-vHl0", "-c1", "-t99999999999", "127.0.0.1", "0", *NAMES, namespace=inside)
    make = functools.partial(inside.socket, socket.AF_INET)
    with ident_server(inside, "127.0.0.9", None), make() as slow:
        slow.bind(("127.0.0.9", 0))
        slow.connect(("127.0.0.1", server.port))
        # Whoever is in the look-up has no slot yet, and shows in the answer to SIGUSR1.
        assert call(server.port, source="127.0.0.11", over=make()).data == b"0 unset unset unset\n"
        server.signal(10)
        server.wait_for_line(lambda line: line.startswith("tcpserver: connected 0 ") and ":127.0.0.9:" in line)


@pytest.mark.netns
def test_an_ident_server_has_its_time_and_no_more(
    tcpserver: Callable[..., Server], netns: Callable[..., Namespace]
) -> None:
    inside = netns()
    server = tcpserver("-Hl0", "-t0", "127.0.0.1", "0", *NAMES, namespace=inside)
    with ident_server(inside, "127.0.0.9", None):
        answer = call(server.port, source="127.0.0.9", over=inside.socket(socket.AF_INET))
    assert answer.data == b"0 unset unset unset\n"


def test_settings_are_read_again_on_hup(tcpserver: Callable[..., Server]) -> None:
    """With $DNSCACHEIP there is nothing to change; the server lives through the signal and goes on looking up."""
    with DNSServer(ZONE) as dns:
        environ = {"PATH": os.environ["PATH"], "DNSCACHEIP": dns.address}
        server = tcpserver("-Rl0", "127.0.0.1", "0", *NAMES, env=environ)
        assert call(server.port, source="127.0.0.9").data.split()[1] == b"joe.example"
        server.signal(1)
        assert call(server.port, source="127.0.0.9").data.split()[1] == b"joe.example"


def test_an_answer_that_is_malformed_is_no_name(tcpserver: Callable[..., Server]) -> None:
    def special(query: Query) -> list[bytes] | None:
        return [respond(query, b"\xc0\x0c\x00\x0c\x00\x01\0\0\0\x3c\x00\x02\xc0\xff", count=1)]

    with DNSServer(ZONE, special) as dns:
        environ = {"PATH": os.environ["PATH"], "DNSCACHEIP": dns.address}
        server = tcpserver("-Rl0", "127.0.0.1", "0", *NAMES, env=environ)
        assert call(server.port).data == b"0 unset unset unset\n"
