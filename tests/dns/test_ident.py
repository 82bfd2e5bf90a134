"""Asking ident, against real ident servers on loopback; the port is the task's parameter."""

from __future__ import annotations

import contextlib
import socket
import threading
from typing import TYPE_CHECKING

import pytest

from tests.support import listening, refusing_port
from ucspi_env import Endpoint
from ucspi_env.tools._ident import ident
from ucspi_env.tools._tasks import complete

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

    from tests.support import Namespace

LONG = 60.0  # never used up
REMOTE, LOCAL = Endpoint("127.0.0.1", 6193), Endpoint("127.0.0.2", 23)


@contextlib.contextmanager
def ident_server(*pieces: bytes, host: str = "127.0.0.1") -> Iterator[tuple[int, list[tuple[str, bytes]]]]:
    """Answers one call with these pieces and an end; yields its port and whom it heard say what."""
    heard: list[tuple[str, bytes]] = []
    with listening(host) as (listener, port):

        def serve() -> None:
            client, address = listener.accept()
            with client, client.makefile("rb") as lines:
                heard.append((address[0], lines.readline()))
                for piece in pieces:
                    client.sendall(piece)

        thread = threading.Thread(target=serve)
        thread.start()
        try:
            yield port, heard
        finally:
            thread.join()


def test_the_question_comes_from_the_address_that_was_called() -> None:
    with ident_server(b"6193 , 23 : USERID : UNIX : joe\r\n") as (port, heard):
        assert complete(ident(REMOTE, LOCAL, LONG, port=port)) == "joe"
    assert heard == [("127.0.0.2", b"6193 , 23\r\n")]


def test_it_works_over_ipv6() -> None:
    with ident_server(b"1 , 2 : USERID : UNIX : joe\r\n", host="::1") as (port, heard):
        assert complete(ident(Endpoint("::1", 1), Endpoint("::1", 2), LONG, port=port)) == "joe"
    assert heard == [("::1", b"1 , 2\r\n")]


def test_an_answer_may_come_in_pieces() -> None:
    with ident_server(b"6193,23:USER", b"ID:UNIX:j", b"oe\r", b"\nmore") as (port, _):
        assert complete(ident(REMOTE, LOCAL, LONG, port=port)) == "joe"


@pytest.mark.parametrize(
    "pieces",
    [
        [b"6193 , 23 : ERROR : NO-USER\r\n"],
        [b"6193,23:USERID:UNIX:joe"],
        [b"1 , 2 : USERID : UNIX : joe\r\n"],
        [],
        [b"x" * 5000],
        [b"\xff" * 100 + b"\n"],
    ],
    ids=["error", "no line feed", "about another connection", "nothing", "endless", "binary"],
)
def test_every_other_answer_is_no_information(pieces: list[bytes]) -> None:
    """A32: in C an error is an empty value, which rules with @ match."""
    with ident_server(*pieces) as (port, _):
        assert complete(ident(REMOTE, LOCAL, LONG, port=port)) is None


def test_nobody_who_answers_is_no_information() -> None:
    with refusing_port() as port:
        assert complete(ident(REMOTE, LOCAL, LONG, port=port)) is None


def test_a_foreign_local_address_is_no_information() -> None:
    assert complete(ident(REMOTE, Endpoint("192.0.2.1", 23), LONG, port=1)) is None


def test_a_server_that_accepts_and_says_nothing_costs_the_timeout_and_no_more() -> None:
    with listening() as (_, port):
        assert complete(ident(REMOTE, LOCAL, 0.05, port=port)) is None


def test_a_server_that_drips_does_not_stretch_the_deadline() -> None:
    stop = threading.Event()
    with listening() as (listener, port):

        def serve() -> None:
            client, _ = listener.accept()
            with client, contextlib.suppress(OSError):
                while not stop.wait(0.01):
                    client.sendall(b" ")

        thread = threading.Thread(target=serve)
        thread.start()
        try:
            assert complete(ident(REMOTE, LOCAL, 0.1, port=port)) is None
        finally:
            stop.set()
            thread.join()


def test_closing_the_task_closes_its_socket() -> None:
    with listening() as (listener, port):
        task = ident(REMOTE, LOCAL, LONG, port=port)
        next(task)
        client, _ = listener.accept()
        task.close()
        with client:
            assert client.recv(10) == b""


def ask(remote: str, local: str, zone: str | None) -> str | None:
    return complete(ident(Endpoint(remote, 1, zone), Endpoint(local, 2, zone), LONG))


@pytest.mark.netns
def test_port_113_of_a_link_local_caller_is_asked_through_its_zone(netns: Callable[..., Namespace]) -> None:
    namespace = netns("fe80::1/64")
    listener = namespace.socket(socket.AF_INET6)
    with listener:
        listener.bind(("::", 113))
        listener.listen()

        def serve() -> None:
            client, _ = listener.accept()
            with client:
                client.recv(100)
                client.sendall(b"1,2:USERID:UNIX:joe\n")

        thread = threading.Thread(target=serve)
        thread.start()
        try:
            assert namespace.call(ask, "fe80::1", "fe80::1", "lo") == "joe"
        finally:
            thread.join()
