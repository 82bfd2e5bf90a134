"""A few seconds of `make soak`, and that its account would show what it is there to show."""

from __future__ import annotations

import json
import os
import socket
import tempfile
from ipaddress import ip_address
from pathlib import Path

import pytest

from tests.soak.ledger import ANSWERED, REFUSED, UNANSWERED, WHATEVER, Ledger, Verdict, disagreement
from tests.soak.processes import connections, family, kill, served_at_once
from tests.soak.soak import run
from tests.support import Program, listening

NAME = ("127.0.0.1", 4711)


def log(event: str, name: tuple[str, int] = NAME, **more: object) -> str:
    return json.dumps({"time": "now", "event": event, "remote_ip": name[0], "remote_port": name[1], **more})


def test_nothing_is_lost_and_nothing_is_left_in_a_few_seconds() -> None:
    with tempfile.TemporaryDirectory(prefix="soak.") as directory:  # pytest's own is too long a name for sockets
        reports, failures = run(2.0, Path(directory), seed=1)
    assert failures == [], "\n".join(reports)


@pytest.mark.parametrize(
    ("outcome", "verdict", "agree"),
    [
        (ANSWERED, Verdict("ok"), True),
        (ANSWERED, Verdict("ok", -9), True),
        (ANSWERED, Verdict("deny"), False),
        (ANSWERED, Verdict("drop", reason="stopping"), False),
        (UNANSWERED, Verdict("ok"), False),
        (UNANSWERED, Verdict("ok", 1), False),
        (UNANSWERED, Verdict("ok", -11), False),
        (UNANSWERED, Verdict("ok", -15), True),
        (UNANSWERED, Verdict("limit"), True),
        (UNANSWERED, Verdict("drop", reason="unable to fork"), True),
        (UNANSWERED, Verdict("drop"), False),
        (REFUSED, Verdict("deny"), True),
        (REFUSED, Verdict("ok"), False),
        (WHATEVER, Verdict("ok", 1), True),
    ],
)
def test_what_callers_and_log_may_both_say(outcome: str, verdict: Verdict, agree: bool) -> None:
    assert (disagreement(outcome, verdict) == "") is agree


def test_the_account_is_even_whoever_speaks_first() -> None:
    ledger = Ledger()
    ledger.line(log("ok", pid=7))
    ledger.called(NAME, ANSWERED)
    assert ledger.open() == 2
    ledger.line(log("end", pid=7, exit_code=0))
    ledger.line(log("limit"))
    ledger.called(NAME, UNANSWERED)
    assert (ledger.open(), ledger.lost(), ledger.wrong) == (0, [], [])


@pytest.mark.parametrize(
    ("lines", "outcomes", "said"),
    [
        ([], [ANSWERED], "answered, and not in the log"),
        ([log("deny")], [], "in the log as deny, and nobody's"),
        ([log("ok", pid=7)], [ANSWERED], "process 7 has no end in the log"),
        ([log("end", pid=7, exit_code=0)], [ANSWERED], "end without a beginning"),
        ([log("lost", count=3)], [], "3 log lines dropped"),
        ([log("ok", pid=7), log("end", pid=7, exit_code=0)], [UNANSWERED], "ended by itself"),
        ([log("ok", pid=7), log("end", pid=7, exit_code=0)], [ANSWERED, ANSWERED], "answered, and not in the log"),
    ],
)
def test_what_is_lost_shows(lines: list[str], outcomes: list[str], said: str) -> None:
    ledger = Ledger()
    for line in lines:
        ledger.line(line)
    for outcome in outcomes:
        ledger.called(NAME, outcome)
    assert said in "\n".join(ledger.lost() + ledger.wrong)


@pytest.mark.parametrize("host", ["127.0.0.1", "::1"])
def test_what_is_served_at_once_is_seen_by_its_descriptor(host: str) -> None:
    with (
        listening(host) as (listener, port),
        socket.create_connection((host, port)) as caller,
        listener.accept()[0] as accepted,
    ):
        name = caller.getsockname()[:2]
        assert (ip_address(name[0]), name[1]) in connections(port).values()
        assert served_at_once(os.getpid(), port).total() == 0
        with Program(["cat"], stdin=accepted.fileno()) as program:
            relatives = family(os.getpid())
            (cat,) = [one for one in relatives if one.pid == program.pid]
            assert served_at_once(os.getpid(), port) == {ip_address(name[0]): 1, None: 1}
            assert not kill(os.getpid(), cat._replace(connection="another"))
            assert kill(os.getpid(), cat)
            assert program.wait() == -9
