"""Which address is tried when: plans for a connection to a host that has several, without sockets and without a clock.

Rule 1: time is an argument, in seconds from anywhere; a plan never asks what time it is.
Rule 2: a plan decides when an attempt begins and when it has taken too long. What became of it, it is told.
Rule 3: success is nobody's business here: whoever drives a plan stops with the first connection.

`Race` is happy eyeballs (RFC 8305): families take turns, the next attempt begins when the one before has failed or
has had a quarter of a second, and nobody's attempt is given up for another's. `Serial` is ucspi-tcp's order: one
after the other, each with a short patience first, and a second round with a longer one for those that kept silent.
"""

from __future__ import annotations

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Iterable, Sequence

    from ucspi_env._model import Endpoint

ATTEMPT_DELAY = 0.25
"""Seconds between the beginnings of two attempts; RFC 8305, section 8, recommends 250 ms."""
FIRST_FAMILY_COUNT = 1
"""Addresses of the preferred family before the other one gets a turn; RFC 8305, section 8."""
SLACK = 0.02
"""Seconds that C's programs add to every patience, so that one of 0 still reaches a server on the same machine."""


def interleave(endpoints: Iterable[Endpoint], first_family_count: int = FIRST_FAMILY_COUNT) -> list[Endpoint]:
    """Let the families take turns, each in the order it came in (RFC 8305, section 4).

    The family of the first endpoint is the preferred one: whoever sorted them (RFC 6724) has said so.

    Args:
        endpoints: sorted by preference; repeated ones are tried once.
        first_family_count: how many of the preferred family come before the first of the other, at least 1.
    """
    waiting = list(dict.fromkeys(endpoints))
    if not waiting:
        return []
    preferred = [endpoint for endpoint in waiting if endpoint.ip.version == waiting[0].ip.version]
    other = [endpoint for endpoint in waiting if endpoint.ip.version != waiting[0].ip.version]
    order = preferred[:first_family_count]
    preferred = preferred[first_family_count:]
    for turn in range(max(len(preferred), len(other))):
        order += other[turn : turn + 1]
        order += preferred[turn : turn + 1]
    return order


class Attempt:
    """One try at one address.

    Attributes:
        endpoint: where to.
        until: when it has taken too long.
    """

    __slots__ = ("endpoint", "until")

    def __init__(self, endpoint: Endpoint, until: float) -> None:
        self.endpoint = endpoint
        self.until = until

    def __repr__(self) -> str:
        return f"Attempt({str(self.endpoint)!r}, until={self.until})"


class Plan:
    """What `Race` and `Serial` have in common.

    To be driven like this: begin what `due` gives until it gives None; wait for the sockets, not longer than `wake`;
    tell `failed` about each attempt that failed or passed its ``until``; and again, until `wake` is None: all have
    failed.
    """

    def __init__(self) -> None:
        self._running: list[Attempt] = []

    def due(self, now: float) -> Attempt | None:
        """The attempt that has to begin now, if there is one."""
        raise NotImplementedError

    def failed(self, attempt: Attempt, now: float, *, timed_out: bool = False) -> bool:
        """Take note of a failure at ``now``.

        Args:
            attempt: one that `due` gave.
            now: the time.
            timed_out: nobody answered: its time was up, or the kernel gave up (ETIMEDOUT).

        Returns:
            Whether that was the last word on this address.
        """
        raise NotImplementedError

    def wake(self) -> float | None:
        """When to look again at the latest; None when nothing is left to try."""
        raise NotImplementedError

    def _begin(self, endpoint: Endpoint, until: float) -> Attempt:
        attempt = Attempt(endpoint, until)
        self._running.append(attempt)
        return attempt


class Race(Plan):
    """Happy eyeballs.

    Args:
        endpoints: sorted by preference.
        patience: seconds that each attempt may take.
        delay: seconds after the beginning of an attempt when the next begins, if that one has not failed before.
        first_family_count: see `interleave`.
    """

    def __init__(
        self,
        endpoints: Iterable[Endpoint],
        patience: float,
        *,
        delay: float = ATTEMPT_DELAY,
        first_family_count: int = FIRST_FAMILY_COUNT,
    ) -> None:
        super().__init__()
        self._waiting = interleave(endpoints, first_family_count)
        self._patience = patience + SLACK
        self._delay = delay
        self._next = float("-inf")

    def due(self, now: float) -> Attempt | None:
        """The next address in turn. After a late call one begins, not all that should have: they still take turns."""
        if not self._waiting or now < self._next:
            return None
        self._next = now + self._delay
        return self._begin(self._waiting.pop(0), now + self._patience)

    def failed(self, attempt: Attempt, now: float, *, timed_out: bool = False) -> bool:  # noqa: ARG002 - how does not matter
        """The next one begins at once (RFC 8305, section 5); every address has one attempt."""
        self._running.remove(attempt)
        self._next = now
        return True

    def wake(self) -> float | None:
        """The next beginning or the first end of patience; only the latter once every address has had its turn."""
        times = [attempt.until for attempt in self._running]
        if self._waiting:
            times.append(self._next)
        return min(times, default=None)


class Serial(Plan):
    """The order of ucspi-tcp's tcpclient: addresses as they came, one at a time.

    Args:
        endpoints: in the order to try them in.
        first: seconds for each at first. One that keeps silent for so long is put off without a word.
        second: seconds for those put off, when all have been tried. 0: there is no second round. A lone address gets
            both times at once.
    """

    def __init__(self, endpoints: Sequence[Endpoint], first: float, second: float) -> None:
        super().__init__()
        self._waiting = list(dict.fromkeys(endpoints))
        self._put_off: list[Endpoint] = []
        if len(self._waiting) == 1:
            first, second = first + second, 0
        self._patience = first + SLACK
        self._second = second

    def due(self, now: float) -> Attempt | None:
        """The next address, unless one is being tried."""
        if self._running:
            return None
        if not self._waiting:
            self._waiting, self._put_off = self._put_off, []
            self._patience, self._second = self._second + SLACK, 0
        return self._begin(self._waiting.pop(0), now + self._patience) if self._waiting else None

    def failed(self, attempt: Attempt, now: float, *, timed_out: bool = False) -> bool:  # noqa: ARG002 - the next is due anyway
        """A silent address is put off to the second round if there will be one; any other failure is final."""
        self._running.remove(attempt)
        if timed_out and self._second:
            self._put_off.append(attempt.endpoint)
            return False
        return True

    def wake(self) -> float | None:
        """The end of the only attempt's patience; at once if the next one is due."""
        if self._running:
            return self._running[0].until
        return float("-inf") if self._waiting or self._put_off else None
