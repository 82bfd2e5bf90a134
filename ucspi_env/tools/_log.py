"""The lines of tcpserver's log: their exact text, and no more. Pure.

`Lines` says them the way ucspi-tcp does, which scripts and log filters parse::

    tcpserver: status: 1/40
    tcpserver: pid 4711 from 127.0.0.1
    tcpserver: ok 4711 local.example:127.0.0.1:25 remote.example:127.0.0.1:joe:54321
    tcpserver: end 4711 status 0

Rule 1: a line has as many fields as it says, whatever strangers put into their DNS and ident answers: a colon inside a
field becomes ``?``, and IPv6 addresses, which need theirs, stand in brackets.
Rule 2: a line is one line: control characters, wherever they come from, become ``?``.
Rule 3: an IPv4 caller looks as it did before there was IPv6, unless ``-6`` asks for the other form.
"""

from __future__ import annotations

import os
from ipaddress import IPv4Address

from ucspi_env._address import djb_text, djb_text6

TYPE_CHECKING = False
if TYPE_CHECKING:
    from ucspi_env._model import Endpoint

NAME = "tcpserver"
FIELD_LIMIT = 100  # bytes of a name or an ident answer that are shown; C's
_QUESTION = ord("?")
# C0, DEL and C1, the latter as characters and as undecodable bytes.
_CONTROL = dict.fromkeys((*range(32), *range(127, 160), *range(0xDC80, 0xDCA0)), "?")
_SHOWN = bytes(byte if 33 <= byte <= 126 and byte not in b"%:" else _QUESTION for byte in range(256))


def field(text: str | None) -> str:
    """An untrusted text as one field: printable ASCII without blank, percent sign and colon, cut where it is long.

    A text of exactly `FIELD_LIMIT` bytes gets the dots as well, as in C.
    """
    if not text:
        return ""
    raw = os.fsencode(text).translate(_SHOWN).decode("ascii")
    return raw if len(raw) < FIELD_LIMIT else f"{raw[:FIELD_LIMIT]}..."


def address(endpoint: Endpoint, *, as_ipv6: bool = False) -> str:
    """An address as a field: IPv4 dotted, IPv6 in brackets with the zone that a link-local one needs."""
    ip = endpoint.ip
    if isinstance(ip, IPv4Address):
        return f"[{djb_text6(ip)}]" if as_ipv6 else str(ip)
    return f"[{djb_text(ip)}%{field(endpoint.zone)}]" if endpoint.zone else f"[{djb_text(ip)}]"


class Lines:
    """The lines without their newline. A text that is empty is not written.

    Args:
        limit: the number behind the slash of status lines.
        as_ipv6: whether IPv4 addresses are shown as ``::ffff:…`` (``-6``).
    """

    def __init__(self, limit: int, *, as_ipv6: bool = False) -> None:
        self._limit = limit
        self._as_ipv6 = as_ipv6

    def status(self, active: int) -> str:
        """How many slots are taken."""
        return f"{NAME}: status: {active}/{self._limit}"

    def caller(self, pid: int, remote: Endpoint) -> str:
        """A connection has been given to process ``pid``; 0: it never got one."""
        return f"{NAME}: pid {pid} from {address(remote, as_ipv6=self._as_ipv6)}"

    def verdict(self, word: str, pid: int, local: Endpoint, remote: Endpoint) -> str:
        """What became of a connection.

        Args:
            word: ``"ok"``, ``"deny"`` (a rule), ``"limit"`` (too many connections from its source).
            pid: its process, 0 where it has none.
            local: the called end, with the name of ``-l`` or of DNS.
            remote: the caller, with the answers of DNS and ident.
        """
        return f"{NAME}: {word} {pid} {self._ends(local, remote)}"

    def admitted(self, word: str, pid: int, local: Endpoint, remote: Endpoint) -> str:
        """What became of a connection that had a slot, as `verdict`; C says who it is first, on a line of its own."""
        return f"{self.caller(pid, remote)}\n{self.verdict(word, pid, local, remote)}"

    def undelivered(self, word: str, local: Endpoint, remote: Endpoint) -> str:
        """What precedes `dropped` for a connection that had a slot; ``word`` is empty if there was no verdict."""
        return self.admitted(word, 0, local, remote) if word else self.caller(0, remote)

    def dropped(self, why: str, _local: Endpoint, _remote: Endpoint) -> str:
        """A connection was lost by nobody's decision."""
        return self.warning(f"dropping connection, {why}")

    def end(self, pid: int, status: int, _seconds: float, _local: Endpoint, _remote: Endpoint) -> str:
        """A process has ended; ``status`` is wait(2)'s word: exit code 1 is 256, SIGKILL is 9."""
        return f"{NAME}: end {pid} status {status}"

    def left(self, pid: int, status: int) -> str:
        """As `end`, of a process about whose connection nobody knows any more: a worker has died (``--workers``)."""
        return f"{NAME}: end {pid} status {status}"

    def connected(self, pid: int, seconds: int, local: Endpoint, remote: Endpoint) -> str:
        """One line of the answer to SIGUSR1; pid 0: still in its look-ups."""
        return f"{NAME}: connected {pid} {seconds}s {self._ends(local, remote)}"

    def warning(self, what: str) -> str:
        """Something that costs a connection, or is odd."""
        return f"{NAME}: warning: {what.translate(_CONTROL)}"

    def lost(self, count: int) -> str:
        """So many lines could not be written before this one."""
        return self.warning(f"{count} log lines dropped, nobody reads them fast enough")

    def _ends(self, local: Endpoint, remote: Endpoint) -> str:
        here, there = (address(end, as_ipv6=self._as_ipv6) for end in (local, remote))
        return (
            f"{field(local.host)}:{here}:{local.port or 0} "
            f"{field(remote.host)}:{there}:{field(remote.info)}:{remote.port or 0}"
        )
