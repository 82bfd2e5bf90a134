"""How many at once: the counters, and the promise under churn."""

from __future__ import annotations

import contextlib
import socket
import sys
import threading
from ipaddress import ip_address
from typing import TYPE_CHECKING

import pytest
from hypothesis import given
from hypothesis import strategies as st

from tests.support import Namespace, Server, call
from ucspi_env.tools._board import Board, SharedLimits
from ucspi_env.tools._limits import WAITING_LIMIT, Limits

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator
    from pathlib import Path

# Counts itself in a directory while it lives, and answers how many there are.
COUNTING = 'n=$(mktemp "$1/XXXXXX"); ls "$1" | wc -l; cat >/dev/null; rm "$n"'


@contextlib.contextmanager
def limits(kind: str, slots: int, per_source: int | None = None) -> Iterator[Limits | SharedLimits]:
    if kind == "alone":
        yield Limits(slots, per_source)
    else:
        with contextlib.closing(Board(1, slots)) as board:
            yield SharedLimits(board, 1, slots, per_source)


either = pytest.mark.parametrize(
    "kind", ["alone", pytest.param("shared", marks=pytest.mark.skipif(sys.platform != "linux", reason="needs Linux"))]
)


@either
@given(st.lists(st.tuples(st.booleans(), st.sampled_from(["192.0.2.1", "192.0.2.2", "2001:db8::1", "2001:db8::2"]))))
def test_a_source_never_has_more_than_its_share_and_nothing_is_left_behind(
    kind: str, steps: list[tuple[bool, str]]
) -> None:
    with limits(kind, 10, per_source=2) as counted:
        here: list[tuple[str, int]] = []
        for arrives, text in steps:
            source = "six" if ":" in text else text
            mine = [entry for whose, entry in here if whose == source]
            if arrives:
                entry = counted.enter(ip_address(text))
                assert (entry is not None) is (len(mine) < 2)
                if entry is not None:
                    here.append((source, entry))
            elif mine:
                counted.leave(mine[0])
                here.remove((source, mine[0]))
        for _, entry in here:
            counted.leave(entry)
        entries = [counted.enter(ip_address(text)) for text in ("192.0.2.1", "192.0.2.1", "2001:db8::4", "2001:db8::4")]
        assert None not in entries


@either
def test_the_source_of_an_ipv6_caller_is_a_64(kind: str) -> None:
    with limits(kind, 10, per_source=1) as counted:
        assert counted.enter(ip_address("2001:db8::1")) is not None
        assert counted.enter(ip_address("2001:db8::ffff:1")) is None
        assert counted.enter(ip_address("2001:db8:0:1::1")) is not None
        assert counted.enter(ip_address("::1")) is not None
        assert counted.enter(ip_address("192.0.2.1")) is not None


@either
def test_look_ups_do_not_take_slots_but_are_bounded(kind: str) -> None:
    with limits(kind, 1) as counted:
        assert counted.open(ready=0, waiting=WAITING_LIMIT - 1)
        assert not counted.open(ready=0, waiting=WAITING_LIMIT)
        assert not counted.open(ready=1, waiting=0)


@either
def test_slots_are_taken_and_given_back_and_each_change_is_told(kind: str) -> None:
    with limits(kind, 2) as counted:
        told: list[int] = []
        assert [counted.take(told.append) for _ in range(3)] == [True, True, False]
        assert not counted.free()
        counted.running(4711, None)
        counted.give_back(4711, told.append)
        counted.give_back(0, told.append)
        assert told == [1, 2, 1, 0]
        assert counted.free()


def test_the_limit_is_exact_under_churn(tcpserver: Callable[..., Server], tmp_path: Path) -> None:
    server = tcpserver("-vRHl0", "-c3", "127.0.0.1", "0", "sh", "-c", COUNTING, "sh", str(tmp_path))
    seen: list[int] = []

    def caller() -> None:
        for _ in range(15):
            seen.append(int(call(server.port).data))

    callers = [threading.Thread(target=caller) for _ in range(8)]
    for one in callers:
        one.start()
    for one in callers:
        one.join()
    assert len(seen) == 120
    assert max(seen) <= 3
    server.wait_for_line("end ", count=120)
    counts = [int(line.split()[2].split("/")[0]) for line in server.lines if " status: " in line]
    assert (min(counts), max(counts)) == (0, 3)


def test_excess_callers_are_served_in_order_when_a_slot_frees(tcpserver: Callable[..., Server]) -> None:
    server = tcpserver("-vRHl0", "-c1", "127.0.0.1", "0", "cat")
    first = socket.create_connection(("127.0.0.1", server.port))
    with first:
        server.wait_for_line("status: 1/1")
        waiting = [socket.create_connection(("127.0.0.1", server.port)) for _ in range(3)]
        ports = [one.getsockname()[1] for one in waiting]
    for one in waiting:
        one.shutdown(socket.SHUT_WR)
        while one.recv(100):
            pass
        one.close()
    server.wait_for_line("tcpserver: ok ", count=4)
    assert [int(line.rpartition(":")[2]) for line in server.lines if " ok " in line][1:] == ports


def test_a_limit_of_zero_never_accepts_as_in_c(tcpserver: Callable[..., Server]) -> None:
    for zero in ("0", "abc"):
        server = tcpserver("-vRHl0", "-c", zero, "127.0.0.1", "0", "true")
        server.wait_for_line("status: 0/0")
        with socket.create_connection(("127.0.0.1", server.port)):
            server.signal(15)
            assert server.wait() == 0
        assert server.stop() == ["tcpserver: status: 0/0"]


def test_a_source_beyond_its_share_is_refused_and_told_apart_in_the_log(tcpserver: Callable[..., Server]) -> None:
    server = tcpserver("-vRHl0", "-C2", "0", "0", "cat")
    kept = [socket.create_connection(("127.0.0.1", server.port)) for _ in range(2)]
    server.wait_for_line("status: 2/40")
    refused = call(server.port, send=b"hello")
    assert refused.data == b""
    line = server.wait_for_line("tcpserver: limit ")
    assert line == f"tcpserver: limit 0 0:127.0.0.1:{server.port} :127.0.0.1::{refused.port}"
    assert call(server.port, "::1", b"six").data == b"six"
    assert call(server.port, "127.0.0.1", b"other", source="127.0.0.2").data == b"other"
    for one in kept:
        one.close()
    server.wait_for_line("tcpserver: end ", count=4)
    assert call(server.port, send=b"again").data == b"again"


def test_per_source_says_how_much_of_an_address_is_one_source(tcpserver: Callable[..., Server]) -> None:
    server = tcpserver("-vRHl0", "-C1", "--per-source=24/128", "127.0.0.1", "0", "cat")
    with socket.create_connection(("127.0.0.1", server.port)):
        server.wait_for_line(" ok ")
        assert call(server.port, source="127.0.0.9", send=b"x").data == b""
        assert call(server.port, source="127.0.1.1", send=b"x").data == b"x"


def test_exempt_networks_have_no_limit_and_take_nothing_from_others(tcpserver: Callable[..., Server]) -> None:
    options = ["-C1", "--per-source=8/64", "--exempt", "127.0.0.8/30, ::1"]
    server = tcpserver("-vRHl0", *options, "127.0.0.1", "0", "cat")
    with (
        socket.create_connection(("127.0.0.1", server.port), source_address=("127.0.0.8", 0)),
        socket.create_connection(("127.0.0.1", server.port), source_address=("127.0.0.9", 0)),
    ):
        server.wait_for_line("status: 2/40")
        with socket.create_connection(("127.0.0.1", server.port)):
            server.wait_for_line("status: 3/40")
            assert call(server.port, source="127.0.0.12").data == b""
            server.wait_for_line("tcpserver: limit ")
            assert call(server.port, source="127.0.0.11", send=b"x").data == b"x"
    server.wait_for_line("tcpserver: end ", count=4)
    assert call(server.port, send=b"y").data == b"y"


def test_who_is_turned_away_can_be_told_why(tcpserver: Callable[..., Server]) -> None:
    server = tcpserver("-vRHl0", "-C1", "--limit-message", "421 too many connections", "127.0.0.1", "0", "cat")
    with socket.create_connection(("127.0.0.1", server.port)):
        server.wait_for_line(" ok ")
        assert call(server.port, half_close=False).data == b"421 too many connections\r\n"


@pytest.mark.netns
def test_callers_of_one_64_share_what_one_source_may_have(
    tcpserver: Callable[..., Server], netns: Callable[..., Namespace]
) -> None:
    inside = netns("2001:db8:0:1::1/128", "2001:db8:0:1:ffff::2/128", "2001:db8:0:2::1/128")
    server = tcpserver("-vRHl0", "-C1", "::", "0", "cat", namespace=inside)
    with inside.socket() as held:
        held.bind(("2001:db8:0:1::1", 0))
        held.connect(("::1", server.port))
        server.wait_for_line(" ok ")
        for source, answer in (("2001:db8:0:1:ffff::2", b""), ("2001:db8:0:2::1", b"x")):
            assert call(server.port, "::1", b"x", source=source, over=inside.socket()).data == answer
        assert ":[2001:db8:0:1:ffff::2]:" in server.wait_for_line("tcpserver: limit ")
