"""What callers saw against what the log says: each connection must be in both, and both must agree. Pure.

A connection's name is its caller's address and port. Ports come back, so what is kept for a name is a queue: the n-th
connection of a name belongs to the n-th verdict about it.
"""

from __future__ import annotations

import json
from collections import Counter, deque
from typing import NamedTuple, TypeAlias

Name: TypeAlias = tuple[str, int]
"""Address and port of a caller."""

ANSWERED = "answered"  # all of it came
UNANSWERED = "unanswered"  # the end came, and no (whole) answer
REFUSED = "refused"  # the end came, as it should for this caller
WHATEVER = "whatever"  # this caller did not wait for anything

KILLED = (9, 15)  # what a program may end by without having answered: we kill some, --lifetime ends others


class Verdict(NamedTuple):
    """What became of a connection, by the log.

    Attributes:
        word: ``"ok"`` (a program has served it), ``"deny"``, ``"limit"`` or ``"drop"``.
        code: the program's exit code, negative for a signal, as `os.waitstatus_to_exitcode` has it.
        reason: why it was dropped.
    """

    word: str
    code: int = 0
    reason: str = ""


def disagreement(outcome: str, verdict: Verdict) -> str:
    """Why a caller's outcome and the log's verdict cannot both be true; empty if they can."""
    if verdict.word == "drop" and not verdict.reason:
        return "dropped without a reason"
    if outcome == ANSWERED and verdict.word != "ok":
        return f"answered, but the log says {verdict.word}"
    if outcome == REFUSED and verdict.word == "ok":
        return "should have been refused, but the log says ok"
    if outcome == UNANSWERED and verdict.word == "ok" and -verdict.code not in KILLED:
        return f"not answered, but the program ended by itself ({verdict.code})"
    return ""


class Ledger:
    """Both sides of the account.

    Attributes:
        outcomes: how many callers had each.
        words: how many verdicts there were of each.
        reasons: why connections were dropped, with numbers.
        killed: programs that ended by a signal.
        wrong: disagreements, in words.
    """

    def __init__(self) -> None:
        self.outcomes: Counter[str] = Counter()
        self.words: Counter[str] = Counter()
        self.reasons: Counter[str] = Counter()
        self.killed = 0
        self.wrong: list[str] = []
        self._seen: dict[Name, deque[str]] = {}
        self._said: dict[Name, deque[Verdict]] = {}
        self._running: dict[int, Name] = {}

    def called(self, name: Name, outcome: str) -> None:
        """A caller's connection is over for them."""
        self.outcomes[outcome] += 1
        self._seen.setdefault(name, deque()).append(outcome)
        self._match(name)

    def line(self, text: str) -> None:
        """A line of tcpserver's log, as JSON."""
        event = json.loads(text)
        word = event["event"]
        if word == "lost":
            self.wrong.append(f"{event['count']} log lines dropped")
        if word not in ("ok", "end", "deny", "limit", "drop"):
            return
        name = (event["remote_ip"], event["remote_port"])
        if word == "ok":
            self._running[event["pid"]] = name
        elif word == "end":
            if self._running.pop(event["pid"], None) != name:
                self.wrong.append(f"{name}: end without a beginning")
            code = event.get("exit_code", -event.get("signal", 0))
            self.killed += code < 0
            self._verdict(name, Verdict("ok", code))
        else:
            reason = event.get("reason", "")
            if word == "drop":
                self.reasons[_without_names(reason)] += 1
            self._verdict(name, Verdict(word, reason=reason))

    def open(self) -> int:
        """Connections that only one side knows of yet, and programs without an end."""
        return sum(map(len, self._seen.values())) + sum(map(len, self._said.values())) + len(self._running)

    def lost(self) -> list[str]:
        """Connections that only one side knows of, when nothing more can come."""
        unlogged = [f"{name}: {outcome}, and not in the log" for name, queue in self._seen.items() for outcome in queue]
        unknown = [
            f"{name}: in the log as {verdict.word}, and nobody's" for name, q in self._said.items() for verdict in q
        ]
        endless = [f"{name}: process {pid} has no end in the log" for pid, name in self._running.items()]
        return unlogged + unknown + endless

    def _verdict(self, name: Name, verdict: Verdict) -> None:
        self.words[verdict.word] += 1
        self._said.setdefault(name, deque()).append(verdict)
        self._match(name)

    def _match(self, name: Name) -> None:
        seen, said = self._seen.get(name), self._said.get(name)
        if not (seen and said):
            return
        why = disagreement(seen.popleft(), said.popleft())
        if why:
            self.wrong.append(f"{name}: {why}")
        if not seen:
            del self._seen[name]
        if not said:
            del self._said[name]


def _without_names(reason: str) -> str:
    return " ".join("…" if any(letter.isdigit() for letter in word) else word for word in reason.split())
