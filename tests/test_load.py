"""The benchmarks' callers: whatever a server does to them, no failure counts as an answer."""

from __future__ import annotations

import socket
import sys
import threading
from contextlib import contextmanager
from typing import TYPE_CHECKING

import pytest

from tests.support import refusing_port, reset_at_close
from tests.support.peers import ROOT

# At the end: where the wheel is tested, the package must not come from the checkout.
sys.path.append(str(ROOT))
from benchmarks.load import Tally, load

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

pytestmark = pytest.mark.peer("cc")


def answer(*parts: bytes) -> Callable[[socket.socket], None]:
    def behave(connection: socket.socket) -> None:
        for part in parts:
            connection.sendall(part)

    return behave


def reset(*, after: bytes) -> Callable[[socket.socket], None]:
    def behave(connection: socket.socket) -> None:
        connection.sendall(after)
        reset_at_close(connection)

    return behave


def silence(connection: socket.socket) -> None:
    connection.recv(1)  # until the caller has had enough, which resets the connection


class Misbehaving:
    """Treats its callers in turns by each of its behaviours; counts them."""

    def __init__(self, *behaviours: Callable[[socket.socket], None], address: str = "127.0.0.1") -> None:
        family = socket.AF_INET6 if ":" in address else socket.AF_INET
        self._behaviours = behaviours
        self._listener = socket.create_server((address, 0), family=family)
        self._threads: list[threading.Thread] = []
        self.port: int = self._listener.getsockname()[1]
        self.treated = [0] * len(behaviours)

    @contextmanager
    def serving(self) -> Iterator[Misbehaving]:
        acceptor = threading.Thread(target=self._accept)
        acceptor.start()
        try:
            yield self
        finally:
            self._listener.shutdown(socket.SHUT_RDWR)
            acceptor.join()
            for thread in self._threads:
                thread.join()
            self._listener.close()

    def _accept(self) -> None:
        number = 0
        while True:
            try:
                connection, _ = self._listener.accept()
            except OSError:  # shut down
                return
            which = number % len(self._behaviours)
            number += 1
            self.treated[which] += 1
            thread = threading.Thread(target=self._treat, args=(connection, self._behaviours[which]))
            self._threads.append(thread)
            thread.start()

    def _treat(self, connection: socket.socket, behave: Callable[[socket.socket], None]) -> None:
        with connection:
            try:
                behave(connection)
            except (ConnectionResetError, BrokenPipeError):
                return


def counts(tally: Tally) -> dict[str, int]:
    names = ("answered", "wrong", "empty", "reset", "refused", "timed_out")
    return {name: getattr(tally, name) for name in names if getattr(tally, name)}


@pytest.mark.parametrize(
    ("behaviour", "outcome"),
    [
        (answer(b"whole"), "answered"),
        (answer(b"who", b"le"), "answered"),
        (answer(b"whole", b"more"), "wrong"),
        (answer(b"who"), "wrong"),
        (answer(b"other"), "wrong"),
        (lambda _: None, "empty"),
        (reset(after=b""), "reset"),
        (reset(after=b"who"), "reset"),
        (reset(after=b"whole"), "reset"),
        (silence, "timed_out"),
    ],
    ids=[
        *("whole", "in two parts", "too long", "cut", "other", "empty"),
        *("reset", "reset in it", "reset at its end", "silent"),
    ],
)  # fmt: skip
def test_each_connection_is_counted_as_what_it_was(behaviour: Callable[[socket.socket], None], outcome: str) -> None:
    with Misbehaving(behaviour).serving() as server:
        patience = 0.05 if behaviour is silence else 30.0
        tally = load(server.port, callers=3, seconds=0.05, patience=patience, answer="whole")
    assert counts(tally) == {outcome: server.treated[0]}
    assert server.treated[0] >= 3
    assert len(tally.latencies) == tally.answered
    assert (tally.rate > 0) == (outcome == "answered")
    assert tally.failed == (0 if outcome == "answered" else server.treated[0])


def test_outcomes_that_come_mixed_are_counted_apart() -> None:
    behaviours = (answer(b"whole"), answer(b"who"), lambda _: None, reset(after=b"who"))
    with Misbehaving(*behaviours).serving() as server:
        tally = load(server.port, callers=8, seconds=0.1, patience=30.0, answer="whole")
    assert counts(tally) == dict(zip(("answered", "wrong", "empty", "reset"), server.treated, strict=True))


def test_a_closed_port_refuses_and_nothing_is_answered() -> None:
    with refusing_port() as port:
        tally = load(port, callers=4, seconds=0.05)
    assert set(counts(tally)) == {"refused"}
    assert tally.refused >= 4
    assert tally.rate == 0
    assert tally.percentile(0.99) != tally.percentile(0.99)  # NaN: there is no such latency


def test_any_answer_will_do_where_none_is_named_but_no_answer_will_not() -> None:
    with Misbehaving(answer(b"this"), answer(b"that"), lambda _: None).serving() as server:
        tally = load(server.port, callers=3, seconds=0.05, patience=30.0, answer="")
    assert counts(tally) == {"answered": server.treated[0] + server.treated[1], "empty": server.treated[2]}


def test_servers_are_called_on_ipv6_too() -> None:
    with Misbehaving(answer(b"x"), address="::1").serving() as server:
        tally = load(server.port, address="::1", callers=1, seconds=0.05, patience=30.0)
    assert counts(tally) == {"answered": server.treated[0]}
