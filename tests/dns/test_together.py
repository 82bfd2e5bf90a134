"""Look-ups of several callers at once: one address is one question, and every caller gets its answer."""

from __future__ import annotations

import errno
import selectors
import time
from typing import TYPE_CHECKING

import pytest

from tests.dns.test_tasks import drive
from tests.support.dns_server import DNSServer, Query, reverse
from tests.support.processes import wait_until
from ucspi_env import Endpoint
from ucspi_env.tools._lookups import Lookups
from ucspi_env.tools._resolve import LookupTroubleError
from ucspi_env.tools._tasks import Bell, Outcome, Task, Tasks, Wait

if TYPE_CHECKING:
    Names = Outcome[tuple[Endpoint, Endpoint]]

ZONE = {
    reverse("192.0.2.9"): {"PTR": ["joe.example"]},
    reverse("192.0.2.10"): {"PTR": ["ann.example"]},
    "joe.example": {"A": ["192.0.2.9"]},
}
HERE = Endpoint("192.0.2.1", 25)
UNTIL = float("inf")


@pytest.fixture
def tasks(selector: selectors.BaseSelector) -> Tasks:
    return Tasks(selector)


def listener(bell: Bell, heard: list[str], name: str) -> Task[None]:
    yield Wait(UNTIL, read=[bell])
    heard.append(name)


def ignore(_outcome: Outcome[None]) -> None:
    pass


def test_a_bell_rings_for_all_who_wait_and_for_whoever_comes_later(
    tasks: Tasks, selector: selectors.BaseSelector
) -> None:
    bell, heard = Bell(), list[str]()
    given_up, late = listener(bell, heard, "given up"), listener(bell, heard, "late")
    for task in (listener(bell, heard, "one"), listener(bell, heard, "two"), given_up, late):
        tasks.start(task, ignore)
    tasks.cancel(given_up)
    assert tasks.next_deadline() == UNTIL
    bell.ring()
    assert (heard, tasks.next_deadline()) == ([], 0.0)
    tasks.cancel(late)
    tasks.start(listener(bell, heard, "later"), ignore)
    drive(tasks, selector)
    assert heard == ["one", "two", "later"]


def names_of(lookups: Lookups, tasks: Tasks, *ips: str) -> tuple[list[Task[tuple[Endpoint, Endpoint]]], list[Names]]:
    """Start the look-ups of these callers, without time for an answer in between; the tasks and what comes of them."""
    started = [lookups.task(Endpoint(ip, 1000 + number), HERE) for number, ip in enumerate(ips)]
    ended: list[Names] = []
    for task in started:
        tasks.start(task, ended.append)
    return started, ended


@pytest.mark.parametrize("paranoid", [False, True])
def test_callers_from_one_address_are_one_question(
    paranoid: bool, tasks: Tasks, selector: selectors.BaseSelector, monkeypatch: pytest.MonkeyPatch
) -> None:
    with DNSServer(ZONE) as dns:
        monkeypatch.setenv("DNSCACHEIP", dns.address)
        lookups = Lookups(local_name="0", remote_name=True, paranoid=paranoid, ident=None)
        for asked in (1, 2):  # what was answered is not kept
            _, ended = names_of(lookups, tasks, "192.0.2.9", "192.0.2.9", "192.0.2.10", "192.0.2.9")
            drive(tasks, selector)
            found = sorted((remote.port or 0, remote.host) for remote, _ in (outcome.result() for outcome in ended))
            ann = None if paranoid else "ann.example"
            assert found == [(1000, "joe.example"), (1001, "joe.example"), (1002, ann), (1003, "joe.example")]
            assert [query.name for query in dns.queries].count(reverse("192.0.2.9")) == asked


def test_a_caller_that_is_its_own_other_end_is_one_question(
    tasks: Tasks, selector: selectors.BaseSelector, monkeypatch: pytest.MonkeyPatch
) -> None:
    with DNSServer(ZONE) as dns:
        monkeypatch.setenv("DNSCACHEIP", dns.address)
        lookups = Lookups(local_name=None, remote_name=True, paranoid=False, ident=None)
        end = Endpoint("192.0.2.9", 25)
        ended: list[Names] = []
        tasks.start(lookups.task(end, end), ended.append)
        drive(tasks, selector)
        assert [name.host for name in ended[0].result()] == ["joe.example", "joe.example"]
        assert len(dns.queries) == 1


def test_when_the_one_who_has_asked_is_given_up_another_asks(
    tasks: Tasks, selector: selectors.BaseSelector, monkeypatch: pytest.MonkeyPatch
) -> None:
    silent = True

    def special(_query: Query) -> list[bytes] | None:
        return [] if silent else None

    with DNSServer(ZONE, special) as dns:
        monkeypatch.setenv("DNSCACHEIP", dns.address)
        lookups = Lookups(local_name="0", remote_name=True, paranoid=False, ident=None)
        (first, *_), ended = names_of(lookups, tasks, "192.0.2.9", "192.0.2.9", "192.0.2.9")
        wait_until(lambda: dns.queries, "the question has come")
        silent = False
        tasks.cancel(first)
        drive(tasks, selector)
        assert [outcome.result()[0].host for outcome in ended] == ["joe.example"] * 2
        assert len(dns.queries) == 2


def test_a_question_without_an_answer_leaves_all_names_unset(
    tasks: Tasks, selector: selectors.BaseSelector, monkeypatch: pytest.MonkeyPatch
) -> None:
    lookups = Lookups(local_name="0", remote_name=True, paranoid=False, ident=None)
    asked: list[object] = []

    def ptr(ip: object) -> Task[str]:
        asked.append(ip)
        yield Wait(time.monotonic())
        raise LookupTroubleError(errno.ETIMEDOUT)

    monkeypatch.setattr(lookups.resolver, "ptr", ptr)
    _, ended = names_of(lookups, tasks, "192.0.2.9", "192.0.2.9")
    drive(tasks, selector)
    assert [outcome.result()[0].host for outcome in ended] == [None, None]
    assert len(asked) == 1


def test_after_sighup_nobody_waits_for_what_was_asked_before(
    tasks: Tasks, selector: selectors.BaseSelector, monkeypatch: pytest.MonkeyPatch
) -> None:
    with DNSServer(ZONE) as dns:
        monkeypatch.setenv("DNSCACHEIP", dns.address)
        lookups = Lookups(local_name="0", remote_name=True, paranoid=False, ident=None)
        _, before = names_of(lookups, tasks, "192.0.2.9")
        lookups.forget()
        _, after = names_of(lookups, tasks, "192.0.2.9")
        drive(tasks, selector)
        assert [outcome.result()[0].host for outcome in (*before, *after)] == ["joe.example"] * 2
        assert len(dns.queries) == 2
