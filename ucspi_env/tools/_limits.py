"""How many connections there may be at once. Pure: numbers in, yes or no out.

Two limits, counted apart. *Slots* (``-c``) bound the programs that run at the same moment; C counts connections whose
caller is still being looked up as well, so that slow DNS of strangers locks everybody out (``-c 1`` and one silent
ident server: nobody is served for 26 seconds). Here a slot is taken when the look-ups are over, and what waits for them
is bounded by `WAITING_LIMIT` instead. *Sources* (``-C``) bound the connections of one caller, running or waiting.

`Limits` counts for one process; `_board.SharedLimits` has the same methods, for processes that share their limits.
"""

from __future__ import annotations

from ipaddress import IPv4Address

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Callable
    from typing import TypeAlias

    from ucspi_env._address import IPAddress

    Said: TypeAlias = Callable[[int], None]
    """Called with the number of slots that are taken now, before anybody can change it again."""

WAITING_LIMIT = 128  # each may hold some descriptors for DNS and ident; the usual 1024 suffice for all of them


class Sources:
    """Which callers count as one.

    Args:
        v4: how much of an IPv4 address is its source, in bits.
        v6: how much of an IPv6 address is its source; 64, since that is what one customer gets (RFC 6177).
    """

    def __init__(self, v4: int = 32, v6: int = 64) -> None:
        self._shift4 = 32 - v4
        self._shift6 = 128 - v6

    def key(self, ip: IPAddress) -> bytes:
        """The source of an address: 16 bytes, an IPv4 one in the form of mapped addresses; never all zero."""
        if isinstance(ip, IPv4Address):
            return (0xFFFF << 32 | int(ip) >> self._shift4 << self._shift4).to_bytes(16, "big")
        # No caller is ::/96 (RFC 4291: unspecified, or deprecated), except ::1.
        return (int(ip) >> self._shift6 << self._shift6 or 1).to_bytes(16, "big")


class Limits:
    """The counters.

    Args:
        slots: programs at the same time; 0: none ever.
        per_source: connections per source at the same time, or None for no limit.
        sources: what a source is.

    Attributes:
        taken: how many slots are taken now.
        per_source: the limit for one source.
    """

    def __init__(self, slots: int, per_source: int | None = None, sources: Sources | None = None) -> None:
        self.taken = 0
        self.per_source = per_source
        self._slots = slots
        self._key = (sources or Sources()).key
        self._sources: dict[bytes, int] = {}
        self._serial = 0
        self._entries: dict[int, bytes] = {}

    def open(self, ready: int, waiting: int) -> bool:
        """Whether one more connection may be accepted.

        Args:
            ready: connections that will take a slot next.
            waiting: connections whose caller is still being looked up.
        """
        return self.taken + ready < self._slots and ready + waiting < WAITING_LIMIT

    def free(self) -> bool:
        """Whether one more program may be started."""
        return self.taken < self._slots

    def take(self, said: Said | None = None, most: int = 1) -> int:
        """Take up to ``most`` slots and return how many there were."""
        got = max(0, min(most, self._slots - self.taken))
        for _ in range(got):
            self.taken += 1
            if said is not None:
                said(self.taken)
        return got

    def running(self, pid: int, entry: int | None) -> None:
        """A slot that was taken has its program: this process, for the connection that entered as ``entry``."""

    def give_back(self, pid: int, said: Said | None = None) -> None:  # noqa: ARG002 - who shares needs to know
        """A slot is free again; ``pid`` ran in it, 0 if there was no program."""
        self.taken -= 1
        if said is not None:
            said(self.taken)

    def settle(self) -> None:
        """Let those who share the limits know what was given back."""

    def assisted_by(self, pid: int) -> None:
        """Programs will be children of this process, which is one of ours."""

    def enter(self, ip: IPAddress) -> int | None:
        """Count a connection of this source: what to `leave` with; None if it has as many as it may have."""
        source = self._key(ip)
        count = self._sources.get(source, 0)
        if self.per_source is not None and count >= self.per_source:
            return None
        self._sources[source] = count + 1
        self._serial += 1
        self._entries[self._serial] = source
        return self._serial

    def leave(self, entry: int) -> None:
        """A connection that had entered is over."""
        source = self._entries.pop(entry)
        count = self._sources[source] - 1
        if count:
            self._sources[source] = count
        else:
            del self._sources[source]
