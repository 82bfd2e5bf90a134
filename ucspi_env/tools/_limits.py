"""How many connections there may be at once. Pure: numbers in, yes or no out.

Two limits, counted apart. *Slots* (``-c``) bound the programs that run at the same moment; C counts connections whose
caller is still being looked up as well, so that slow DNS of strangers locks everybody out (``-c 1`` and one silent
ident server: nobody is served for 26 seconds). Here a slot is taken when the look-ups are over, and what waits for them
is bounded by `WAITING_LIMIT` instead. *Sources* (``-C``) bound the connections of one caller, running or waiting.
"""

from __future__ import annotations

from ipaddress import IPv4Address

TYPE_CHECKING = False
if TYPE_CHECKING:
    from ucspi_env._address import IPAddress

WAITING_LIMIT = 128  # each may hold some descriptors for DNS and ident; the usual 1024 suffice for all of them


class Limits:
    """The counters.

    Args:
        slots: programs at the same time; 0: none ever.
        per_source: connections per source at the same time, or None for no limit.
        v4: how much of an IPv4 address is its source, in bits.
        v6: how much of an IPv6 address is its source; 64, since that is what one customer gets (RFC 6177).

    Attributes:
        taken: how many slots are taken now; who takes one adds to it.
    """

    def __init__(self, slots: int, per_source: int | None = None, *, v4: int = 32, v6: int = 64) -> None:
        self.slots = slots
        self.per_source = per_source
        self.taken = 0
        self._shift4 = 32 - v4
        self._shift6 = 128 - v6
        self._sources: dict[tuple[bool, int], int] = {}

    def open(self, ready: int, waiting: int) -> bool:
        """Whether one more connection may be accepted.

        Args:
            ready: connections that will take a slot next.
            waiting: connections whose caller is still being looked up.
        """
        return self.taken + ready < self.slots and ready + waiting < WAITING_LIMIT

    def free(self) -> bool:
        """Whether one more program may be started."""
        return self.taken < self.slots

    def enter(self, ip: IPAddress) -> bool:
        """Count a connection of this source; False, and not counted, if it has as many as it may have."""
        if self.per_source is None:
            return True
        source = self._source(ip)
        count = self._sources.get(source, 0)
        if count >= self.per_source:
            return False
        self._sources[source] = count + 1
        return True

    def leave(self, ip: IPAddress) -> None:
        """A connection that had entered is over."""
        if self.per_source is None:
            return
        source = self._source(ip)
        count = self._sources[source] - 1
        if count:
            self._sources[source] = count
        else:
            del self._sources[source]

    def _source(self, ip: IPAddress) -> tuple[bool, int]:
        version4 = isinstance(ip, IPv4Address)
        return version4, int(ip) >> (self._shift4 if version4 else self._shift6)
