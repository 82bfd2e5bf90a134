"""The task that connects, with real sockets on loopback."""

from __future__ import annotations

import contextlib
import errno
import os
import socket
from typing import TYPE_CHECKING

import pytest

from tests.support import listening, refusing_port
from ucspi_env import Endpoint
from ucspi_env.tools._connect import AllFailedError, SetupError, Source, connect
from ucspi_env.tools._eyeballs import Race, Serial
from ucspi_env.tools._tasks import complete

if TYPE_CHECKING:
    import _socket
    from collections.abc import Iterator

    from ucspi_env.tools._eyeballs import Plan

LONG = 3600.0
OWN = f"127.9.{os.getpid() >> 8 & 255}.{os.getpid() & 255}"  # nobody else binds here, so any of its ports is free


def ignore(_endpoint: Endpoint, _number: int) -> None:
    """Take a report."""


@contextlib.contextmanager
def silent(host: str) -> Iterator[Endpoint]:
    """Nobody answers here: the queue of the listener is full, so the kernel drops what comes."""
    with listening(host, backlog=0) as (_, port), socket.create_connection((host, port)):
        yield Endpoint(host, port)


@contextlib.contextmanager
def answering(host: str) -> Iterator[Endpoint]:
    with listening(host) as (_, port):
        yield Endpoint(host, port)


@contextlib.contextmanager
def refusing(host: str) -> Iterator[Endpoint]:
    with refusing_port(host) as port:
        yield Endpoint(host, port)


def race(*endpoints: Endpoint) -> Race:
    return Race(endpoints, LONG)


def win(plan: Plan, source: Source | None = None) -> tuple[_socket.socket, list[tuple[Endpoint, int]]]:
    failures: list[tuple[Endpoint, int]] = []
    sock = complete(connect(plan, source or Source(), lambda endpoint, number: failures.append((endpoint, number))))
    return sock, failures


def lose(plan: Plan, source: Source | None = None) -> list[tuple[Endpoint, int]]:
    failures: list[tuple[Endpoint, int]] = []
    with pytest.raises(AllFailedError):
        complete(connect(plan, source or Source(), lambda endpoint, number: failures.append((endpoint, number))))
    return failures


def open_sockets() -> int:
    count = 0
    for name in os.listdir("/proc/self/fd"):
        with contextlib.suppress(OSError):  # the directory's own descriptor is gone by now
            count += os.readlink(f"/proc/self/fd/{name}").startswith("socket:")
    return count


def test_an_address_that_keeps_silent_does_not_keep_the_next_one_from_answering() -> None:
    with silent("::1") as dead, answering("127.0.0.1") as alive:
        sock, failures = win(race(dead, alive))
        assert sock.getpeername() == ("127.0.0.1", alive.port)
        assert failures == []
        sock.close()


def test_the_winner_is_blocking_and_the_losers_are_closed() -> None:
    with silent("::1") as dead, silent("127.0.0.1") as dead2, answering("127.0.0.2") as alive:
        before = open_sockets()
        sock, _ = win(race(dead, dead2, alive))
        assert open_sockets() == before + 1
        assert sock.getblocking()
        assert not os.get_inheritable(sock.fileno())
        sock.close()


def test_each_failure_is_reported_in_its_order_and_the_next_address_tried() -> None:
    with refusing("::1") as one, refusing("127.0.0.1") as two, answering("127.0.0.2") as three:
        sock, failures = win(race(one, two, three))
        assert failures == [(one, errno.ECONNREFUSED), (two, errno.ECONNREFUSED)]
        assert sock.getpeername()[0] == "127.0.0.2"
        sock.close()


@pytest.mark.parametrize("kind", ["race", "serial"])
def test_all_have_failed(kind: str) -> None:
    with refusing("::1") as one, refusing("127.0.0.1") as two:
        plan: Plan = race(one, two) if kind == "race" else Serial([one, two], 2, 58)
        before = open_sockets()
        assert lose(plan) == [(one, errno.ECONNREFUSED), (two, errno.ECONNREFUSED)]
        assert open_sockets() == before


@pytest.mark.parametrize("kind", ["race", "serial"])
def test_patience_ends(kind: str) -> None:
    with silent("127.0.0.1") as dead:
        assert lose(Race([dead], 0) if kind == "race" else Serial([dead], 0, 0)) == [(dead, errno.ETIMEDOUT)]


def test_the_serial_order_gives_silent_addresses_a_second_chance_without_a_word() -> None:
    with silent("::1") as dead, answering("127.0.0.1") as alive:
        sock, failures = win(Serial([dead, alive], 0, LONG))
        assert failures == []
        assert sock.getpeername()[0] == "127.0.0.1"
        sock.close()


def test_a_connection_that_is_there_wins_over_a_patience_that_has_ended_meanwhile() -> None:
    with answering("127.0.0.1") as alive:
        task = connect(Race([alive], 0), Source(), lambda endpoint, number: pytest.fail(f"{endpoint}: {number}"))
        next(task)
        with pytest.raises(StopIteration) as done:
            task.send([])  # as if this process had slept until the deadline
        done.value.value.close()


def test_of_two_that_have_answered_the_one_tried_first_is_taken() -> None:
    with answering("::1") as first, answering("127.0.0.1") as second:
        task = connect(Race([first, second], LONG, delay=0), Source(), ignore)
        waiting = next(task)
        assert len(waiting.write) == 2
        with pytest.raises(StopIteration) as done:
            task.send([waiting.write[1]])
        assert done.value.value.getpeername()[0] == "::1"
        done.value.value.close()


def test_a_task_that_is_given_up_closes_its_sockets() -> None:
    with silent("127.0.0.1") as dead:
        before = open_sockets()
        task = connect(race(dead), Source(), ignore)
        next(task)
        assert open_sockets() == before + 1
        task.close()
        assert open_sockets() == before


@pytest.mark.parametrize(
    ("host", "sockets", "family", "peer"),
    [
        ("127.0.0.1", "native", socket.AF_INET, "127.0.0.1"),
        ("::1", "native", socket.AF_INET6, "::1"),
        ("127.0.0.1", "ipv4", socket.AF_INET, "127.0.0.1"),
        ("127.0.0.1", "ipv6", socket.AF_INET6, "::ffff:127.0.0.1"),
        ("::1", "ipv6", socket.AF_INET6, "::1"),
    ],
)
def test_the_family_of_the_socket(host: str, sockets: str, family: int, peer: str) -> None:
    with answering(host) as alive:
        sock, _ = win(race(alive), Source(sockets=sockets))  # type: ignore[arg-type]  # a parametrized literal
        assert (sock.family, sock.getpeername()[0]) == (family, peer)
        sock.close()


def test_ipv4_alone_cannot_reach_an_ipv6_address_not_even_loopback() -> None:
    with answering("::1") as alive:
        assert lose(race(alive), Source(sockets="ipv4")) == [(alive, errno.EAFNOSUPPORT)]


@pytest.mark.parametrize(
    ("local", "host", "number"),
    [("::1", "127.0.0.1", errno.ENETUNREACH), ("127.0.0.1", "::1", errno.EAFNOSUPPORT)],
)
def test_a_local_address_of_the_other_family_fails_as_in_c_and_the_right_family_still_connects(
    local: str, host: str, number: int
) -> None:
    with answering(host) as wrong, answering(local) as right:
        sock, failures = win(race(wrong, right), Source(Endpoint(local)))
        assert failures == [(wrong, number)]
        assert sock.getsockname()[0] == local
        sock.close()


@pytest.mark.parametrize("host", ["127.0.0.1", "::1"])
def test_the_unspecified_ipv6_address_as_local_one_is_any_of_both_families(host: str) -> None:
    with answering(host) as alive:
        sock, failures = win(race(alive), Source(Endpoint("::")))
        assert failures == []
        sock.close()


def test_a_foreign_local_address_ends_everything() -> None:
    with answering("127.0.0.1") as alive, pytest.raises(SetupError) as caught:
        complete(connect(race(alive), Source(Endpoint("192.0.2.1")), ignore))
    assert (caught.value.step, caught.value.errno) == ("bind socket", errno.EADDRNOTAVAIL)


def free_port() -> int:
    with socket.socket() as holder:
        holder.bind((OWN, 0))
        return int(holder.getsockname()[1])


def test_parallel_attempts_share_the_local_port_and_the_winner_keeps_it_to_itself() -> None:
    with silent("127.0.0.1") as dead, silent("127.0.0.2") as dead2, answering("127.0.0.3") as alive:
        port = free_port()
        sock, failures = win(race(dead, dead2, alive), Source(Endpoint(OWN), port))
        assert failures == []
        assert sock.getsockname() == (OWN, port)
        assert not sock.getsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR)
        sock.close()


@pytest.mark.parametrize("reuse", [0, 1])
def test_a_local_port_that_somebody_else_has_is_busy_even_if_he_would_share_it(reuse: int) -> None:
    with socket.socket() as holder, answering("127.0.0.1") as alive:
        holder.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, reuse)
        holder.bind((OWN, 0))
        source = Source(Endpoint(OWN), holder.getsockname()[1])
        with pytest.raises(SetupError) as caught:
            complete(connect(race(alive), source, ignore))
    assert (caught.value.step, caught.value.errno) == ("bind socket", errno.EADDRINUSE)


@pytest.mark.parametrize("host", ["127.0.0.1", "::1"])
def test_a_local_port_without_an_address_is_taken_in_the_family_of_the_remote_one(host: str) -> None:
    with answering(host) as alive:
        for _ in range(20):
            port = free_port()
            try:
                sock, _ = win(race(alive), Source(port=port))
            except SetupError as error:  # somebody has this one on another address
                if error.errno != errno.EADDRINUSE:
                    raise
                continue
            assert sock.getsockname()[1] == port
            sock.close()
            return
    pytest.fail("no local port was free on every address")
