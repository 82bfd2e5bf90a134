"""tcpserver's log as JSON: one object a line, for programs that read it. Pure.

Every object has ``time`` (RFC 3339, UTC, milliseconds) and ``event``; the others depend on the event:

========== ===========================================================================================================
event      further members
========== ===========================================================================================================
status     ``active``, ``limit``: programs running, and how many may
ok         ``pid`` and both ends: a connection got its program
deny       both ends: a rule turned a connection away
limit      both ends: its source had as many connections as ``-C`` grants
drop       ``reason`` and both ends: a connection was lost by nobody's decision
end        ``pid``, ``exit_code`` or ``signal``, ``seconds`` and both ends: a program has ended; only the former if
           the worker that knew the rest has died (``--workers``)
connected  ``pid`` (null: no program yet), ``seconds`` and both ends: the answer to SIGUSR1
warning    ``message``
lost       ``count``: so many lines before this one could not be written
========== ===========================================================================================================

Both ends are ``remote_ip``, ``remote_port``, ``local_ip``, ``local_port``, and, where they are known, ``remote_host``,
``remote_info``, ``remote_zone``, ``local_host`` and ``local_zone``. Addresses are in RFC 5952's form whatever ``-6``
says; host and info are a stranger's words, cut after `TEXT_LIMIT` characters.

Rule: a line is ASCII, and what a stranger says stays inside its string, escaped by the encoder.
"""

from __future__ import annotations

import json
import os

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Callable

    from ucspi_env._model import Endpoint

TEXT_LIMIT = 255


class JSONLines:
    """The same events as `ucspi_env.tools._log.Lines`, which documents the methods.

    Args:
        limit: of programs at once.
        clock: the time of now, as text.
    """

    def __init__(self, limit: int, clock: Callable[[], str]) -> None:
        self._limit = limit
        self._clock = clock

    def status(self, active: int) -> str:
        """How many slots are taken."""
        return self._object("status", active=active, limit=self._limit)

    def verdict(self, word: str, pid: int, local: Endpoint, remote: Endpoint) -> str:
        """What became of a connection."""
        members: dict[str, object] = {"pid": pid} if pid else {}
        return self._object(word, **members, **_ends(local, remote))

    admitted = verdict

    def undelivered(self, _word: str, _local: Endpoint, _remote: Endpoint) -> str:
        """Nothing: `dropped` says it all."""
        return ""

    def dropped(self, why: str, local: Endpoint, remote: Endpoint) -> str:
        """A connection was lost by nobody's decision."""
        return self._object("drop", reason=_text(why), **_ends(local, remote))

    def end(self, pid: int, status: int, seconds: float, local: Endpoint, remote: Endpoint) -> str:
        """A process has ended."""
        return self._object("end", pid=pid, **_how(status), seconds=round(seconds, 3), **_ends(local, remote))

    def left(self, pid: int, status: int) -> str:
        """As `end`, without what only a worker knew that has died."""
        return self._object("end", pid=pid, **_how(status))

    def connected(self, pid: int, seconds: int, local: Endpoint, remote: Endpoint) -> str:
        """One line of the answer to SIGUSR1."""
        return self._object("connected", pid=pid or None, seconds=seconds, **_ends(local, remote))

    def warning(self, what: str) -> str:
        """Something that is odd."""
        return self._object("warning", message=_text(what))

    def lost(self, count: int) -> str:
        """So many lines could not be written before this one."""
        return self._object("lost", count=count)

    def _object(self, event: str, **members: object) -> str:
        return json.dumps({"time": self._clock(), "event": event, **members}, separators=(",", ":"))


def _how(status: int) -> dict[str, int]:
    code = os.waitstatus_to_exitcode(status)
    return {"exit_code": code} if code >= 0 else {"signal": -code}


def _ends(local: Endpoint, remote: Endpoint) -> dict[str, object]:
    members: dict[str, object] = {}
    for side, end in (("remote", remote), ("local", local)):
        members[f"{side}_ip"] = str(end.ip)
        members[f"{side}_port"] = end.port
        for what, text in (("zone", end.zone), ("host", end.host), ("info", end.info)):
            if text:
                members[f"{side}_{what}"] = _text(text)
    return members


def _text(text: str) -> str:
    """A text that is UTF-8 again: undecodable bytes become U+FFFD, since many a reader refuses lone surrogates."""
    text = text.encode("utf-8", "surrogateescape").decode("utf-8", "replace")
    return text if len(text) <= TEXT_LIMIT else f"{text[:TEXT_LIMIT]}..."
