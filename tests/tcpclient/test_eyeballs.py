"""The plans alone, played against made-up fates: no sockets, no clock."""

from __future__ import annotations

from typing import TYPE_CHECKING, NamedTuple

import pytest
from hypothesis import given
from hypothesis import strategies as st

from ucspi_env import Endpoint
from ucspi_env.tools._eyeballs import SLACK, Race, Serial, interleave

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

    from ucspi_env.tools._eyeballs import Attempt, Plan

SIX, SIX2, SIX3 = "2001:db8::1", "2001:db8::2", "2001:db8::3"
FOUR, FOUR2, FOUR3 = "192.0.2.1", "192.0.2.2", "192.0.2.3"
SILENT = (1e9, "silent")

Fate = tuple[float, str]


class Played(NamedTuple):
    winner: str | None
    at: float
    begun: list[tuple[str, float]]
    reported: list[str]


def endpoints(*addresses: str) -> list[Endpoint]:
    return [Endpoint(address, 25) for address in addresses]


def play(plan: Plan, fates: Mapping[str, Fate], now: float = 0.0) -> Played:
    """Drive a plan; each attempt at an address ends so many seconds after it began, as its fate says."""
    begun: list[tuple[str, float]] = []
    reported: list[str] = []
    running: list[tuple[float, Attempt, str]] = []
    while True:
        while (attempt := plan.due(now)) is not None:
            seconds, fate = fates[str(attempt.endpoint.ip)]
            begun.append((str(attempt.endpoint.ip), now))
            running.append((now + seconds, attempt, fate))
        wake = plan.wake()
        if wake is None:
            return Played(None, now, begun, reported)
        assert wake > now or running, "a plan that wants to be asked again at once must then have something to say"
        now = max(now, min([wake, *(end for end, _, fate in running if fate != "silent")]))
        for entry in sorted(running, key=lambda entry: entry[0]):
            end, attempt, fate = entry
            if fate == "ok" and end <= now:
                return Played(str(attempt.endpoint.ip), now, begun, reported)
            if (fate == "refused" and end <= now) or attempt.until <= now:
                running.remove(entry)
                if plan.failed(attempt, now, timed_out=fate != "refused" or end > now):
                    reported.append(str(attempt.endpoint.ip))


@pytest.mark.parametrize(
    ("given_order", "first_family_count", "tried"),
    [
        ([], 1, []),
        ([FOUR], 1, [FOUR]),
        ([SIX, FOUR], 1, [SIX, FOUR]),
        ([FOUR, SIX], 1, [FOUR, SIX]),  # whoever sorted them prefers IPv4
        ([SIX, SIX2, FOUR, FOUR2], 1, [SIX, FOUR, SIX2, FOUR2]),
        ([SIX, SIX2, SIX3, FOUR], 1, [SIX, FOUR, SIX2, SIX3]),
        ([SIX, FOUR, FOUR2, FOUR3], 1, [SIX, FOUR, FOUR2, FOUR3]),
        ([SIX, SIX2, SIX3, FOUR, FOUR2], 2, [SIX, SIX2, FOUR, SIX3, FOUR2]),
        ([FOUR, SIX, SIX2, FOUR2], 1, [FOUR, SIX, FOUR2, SIX2]),
        ([SIX, FOUR, SIX, FOUR], 1, [SIX, FOUR]),  # once each
    ],
)
def test_families_take_turns_in_the_order_they_came_in(
    given_order: Sequence[str], first_family_count: int, tried: Sequence[str]
) -> None:
    assert interleave(endpoints(*given_order), first_family_count) == endpoints(*tried)


addresses = st.lists(st.sampled_from([SIX, SIX2, SIX3, FOUR, FOUR2, FOUR3]), unique=True)


@given(addresses, st.integers(1, 4))
def test_interleaving_loses_nothing_and_keeps_the_order_of_each_family(order: list[str], count: int) -> None:
    tried = [str(endpoint.ip) for endpoint in interleave(endpoints(*order), count)]
    assert sorted(tried) == sorted(order)
    for colon in (True, False):
        assert [ip for ip in tried if (":" in ip) is colon] == [ip for ip in order if (":" in ip) is colon]


@pytest.mark.parametrize(
    ("fates", "winner", "at", "begun"),
    [
        # The first answers before the second is due.
        ({SIX: (0.20, "ok"), FOUR: (0.01, "ok")}, SIX, 0.20, [(SIX, 0.0)]),
        # It does not answer in time: the other one starts beside it, and the faster wins.
        ({SIX: (0.30, "ok"), FOUR: (0.01, "ok")}, FOUR, 0.26, [(SIX, 0.0), (FOUR, 0.25)]),
        ({SIX: (0.30, "ok"), FOUR: (0.20, "ok")}, SIX, 0.30, [(SIX, 0.0), (FOUR, 0.25)]),
        ({SIX: SILENT, FOUR: (0.01, "ok")}, FOUR, 0.26, [(SIX, 0.0), (FOUR, 0.25)]),
        # A failure starts the next at once, at the beginning and in the middle.
        ({SIX: (0.00, "refused"), FOUR: (0.01, "ok")}, FOUR, 0.01, [(SIX, 0.0), (FOUR, 0.0)]),
        ({SIX: (0.10, "refused"), FOUR: (0.01, "ok")}, FOUR, 0.11, [(SIX, 0.0), (FOUR, 0.10)]),
        (
            {SIX: SILENT, FOUR: (0.05, "refused"), SIX2: (0.01, "ok")},
            SIX2,
            0.31,
            [(SIX, 0.0), (FOUR, 0.25), (SIX2, 0.30)],
        ),
        # Also if it is an older attempt that fails.
        (
            {SIX: (0.30, "refused"), FOUR: SILENT, SIX2: (0.01, "ok")},
            SIX2,
            0.31,
            [(SIX, 0.0), (FOUR, 0.25), (SIX2, 0.30)],
        ),
        # Everybody is tried, a quarter of a second apart, and the slow first one still counts.
        (
            {SIX: (0.80, "ok"), FOUR: SILENT, SIX2: SILENT, FOUR2: SILENT},
            SIX,
            0.80,
            [(SIX, 0.0), (FOUR, 0.25), (SIX2, 0.50), (FOUR2, 0.75)],
        ),
        # The last one has all its time.
        ({SIX: (0.0, "refused"), FOUR: (59.0, "ok")}, FOUR, 59.0, [(SIX, 0.0), (FOUR, 0.0)]),
    ],
)
def test_a_race(fates: dict[str, Fate], winner: str, at: float, begun: list[tuple[str, float]]) -> None:
    played = play(Race(endpoints(*fates), 60), fates)
    assert played.winner == winner
    assert played.at == pytest.approx(at)
    assert dict(played.begun) == pytest.approx(dict(begun))
    assert [ip for ip, _ in played.begun] == [ip for ip, _ in begun]


def test_a_race_that_nobody_wins_ends_with_the_patience_of_the_last() -> None:
    fates = {SIX: SILENT, FOUR: SILENT, SIX2: (0.1, "refused")}
    played = play(Race(endpoints(*fates), 60), fates)
    assert played.winner is None
    assert played.at == pytest.approx(60 + SLACK + 0.25)
    assert played.reported == [SIX2, SIX, FOUR]


def test_a_patience_shorter_than_the_delay_makes_a_race_go_faster() -> None:
    fates = {SIX: SILENT, FOUR: (0.01, "ok")}
    played = play(Race(endpoints(*fates), 0), fates)
    assert played.winner == FOUR
    assert played.at == pytest.approx(SLACK + 0.01)
    assert played.reported == [SIX]


def test_after_a_late_call_a_race_goes_on_with_one_and_not_with_all_that_were_due() -> None:
    plan = Race(endpoints(SIX, FOUR, SIX2), 60)
    assert plan.due(0.0) is not None
    assert plan.due(10.0) is not None
    assert plan.due(10.0) is None
    assert plan.wake() == pytest.approx(10.25)


def test_nobody_to_race_is_over_at_once() -> None:
    assert play(Race([], 60), {}) == (None, 0.0, [], [])
    assert play(Serial([], 2, 58), {}) == (None, 0.0, [], [])


fates_of_all = st.dictionaries(
    st.sampled_from([SIX, SIX2, SIX3, FOUR, FOUR2, FOUR3]),
    st.tuples(st.floats(0, 5), st.sampled_from(["ok", "refused", "silent"])),
    min_size=1,
)


@given(fates_of_all, st.floats(0, 100))
def test_a_race_is_won_if_anybody_answers_in_time_and_every_address_is_tried_once(
    fates: dict[str, Fate], start: float
) -> None:
    played = play(Race(endpoints(*fates), 60), fates, start)
    answering = [seconds for seconds, fate in fates.values() if fate == "ok"]
    assert (played.winner is not None) == bool(answering)
    if answering:
        assert played.at - start <= min(answering) + 0.25 * (len(fates) - 1) + 1e-6
    tried = [ip for ip, _ in played.begun]
    assert len(set(tried)) == len(tried)
    assert set(played.reported) <= set(tried)
    if not answering:
        assert sorted(played.reported) == sorted(tried) == sorted(fates)


@given(fates_of_all)
def test_in_a_race_only_a_failure_shortens_the_delay(fates: dict[str, Fate]) -> None:
    played = play(Race(endpoints(*fates), 60), fates)
    failures = {when + fates[ip][0] for ip, when in played.begun if fates[ip][1] == "refused"}
    for (_, before), (_, after) in zip(played.begun, played.begun[1:], strict=False):
        assert after - before >= 0.25 - 1e-6 or after in failures


@pytest.mark.parametrize(
    ("fates", "first", "second", "winner", "at", "begun", "reported"),
    [
        # A lone address gets both times at once.
        ({FOUR: SILENT}, 2, 58, None, 60 + SLACK, [(FOUR, 0.0)], [FOUR]),
        ({FOUR: (30.0, "ok")}, 2, 58, FOUR, 30.0, [(FOUR, 0.0)], []),
        # One after the other, in the order given; failures are told at once.
        ({SIX: (0.1, "refused"), FOUR: (0.1, "ok")}, 2, 58, FOUR, 0.2, [(SIX, 0.0), (FOUR, 0.1)], [SIX]),
        ({SIX: (1.9, "ok"), FOUR: (0.0, "ok")}, 2, 58, SIX, 1.9, [(SIX, 0.0)], []),
        # Silence is put off, without a word.
        ({SIX: SILENT, FOUR: (0.1, "ok")}, 2, 58, FOUR, 2.12, [(SIX, 0.0), (FOUR, 2.02)], []),
        # The second round: the longer time, and the last word.
        (
            {SIX: (5.0, "ok"), FOUR: SILENT, FOUR2: (0.0, "refused")},
            2,
            58,
            SIX,
            9.04,
            [(SIX, 0.0), (FOUR, 2.02), (FOUR2, 4.04), (SIX, 4.04)],
            [FOUR2],
        ),
        (
            {SIX: SILENT, FOUR: SILENT},
            2,
            58,
            None,
            2 * 2.02 + 2 * 58.02,
            [(SIX, 0.0), (FOUR, 2.02), (SIX, 4.04), (FOUR, 62.06)],
            [SIX, FOUR],
        ),
        # No second time, no second round.
        ({SIX: SILENT, FOUR: SILENT}, 2, 0, None, 4.04, [(SIX, 0.0), (FOUR, 2.02)], [SIX, FOUR]),
        ({SIX: SILENT, FOUR: (0.01, "ok")}, 0, 0, FOUR, 0.03, [(SIX, 0.0), (FOUR, 0.02)], [SIX]),
    ],
)
def test_the_serial_order(
    fates: dict[str, Fate],
    first: float,
    second: float,
    winner: str | None,
    at: float,
    begun: list[tuple[str, float]],
    reported: list[str],
) -> None:
    played = play(Serial(endpoints(*fates), first, second), fates)
    assert played.winner == winner
    assert played.at == pytest.approx(at)
    assert dict(played.begun) == pytest.approx(dict(begun))
    assert [ip for ip, _ in played.begun] == [ip for ip, _ in begun]
    assert played.reported == reported


@given(fates_of_all, st.integers(0, 3), st.integers(0, 3))
def test_the_serial_order_has_one_attempt_at_a_time_and_one_word_per_failed_address(
    fates: dict[str, Fate], first: int, second: int
) -> None:
    played = play(Serial(endpoints(*fates), first, second), fates)
    tried = [ip for ip, _ in played.begun]
    assert all(tried.count(ip) <= (2 if second else 1) for ip in tried)
    assert len(set(played.reported)) == len(played.reported)
    if played.winner is None:
        assert sorted(played.reported) == sorted(fates)
    else:
        assert fates[played.winner][1] == "ok"
        assert played.winner not in played.reported


def test_the_serial_order_waits_for_its_only_attempt() -> None:
    plan = Serial(endpoints(SIX, FOUR), 2, 58)
    first = plan.due(0.0)
    assert first is not None
    assert plan.due(1.0) is None
    assert plan.wake() == first.until
    assert not plan.failed(first, 2.02, timed_out=True)
    assert plan.wake() is not None
