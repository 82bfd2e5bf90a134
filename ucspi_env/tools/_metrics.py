"""What tcpserver counts, and the text that Prometheus reads (its text exposition format 0.0.4). Pure.

Every accepted connection is counted once more when it is over, or counts as waiting or active until then::

    accepted = waiting + active + ended + denied + launch failures + dropped + health checks
"""

from __future__ import annotations

from bisect import bisect_left

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Iterator

PREFIX = "ucspi_tcpserver"
BUCKETS = (0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1.0, 2.5, 5.0, 10.0, 30.0, 60.0, 300.0, 1800.0, 3600.0)
"""Seconds; from an answer out of memory to a session of an hour."""


class Metrics:
    """The counters; who sees something happen adds to them.

    Attributes:
        accepted: connections that accept(2) gave us.
        denied_rule, denied_limit, denied_proxy: turned away by a rule, by ``-C``, or for their PROXY header.
        launch_failures: connections whose program could not be started.
        dropped: connections lost otherwise: look-ups or banner cut short, rules unreadable, reset, stopping.
        health_checks: connections by which a balancer found out that we are there.
        expired: programs that were told to end by ``--lifetime``.
        seconds: all durations of connections with a program, added up.
    """

    __slots__ = (
        "_buckets",
        "accepted",
        "denied_limit",
        "denied_proxy",
        "denied_rule",
        "dropped",
        "expired",
        "health_checks",
        "launch_failures",
        "seconds",
    )

    def __init__(self) -> None:
        self.accepted = 0
        self.denied_rule = 0
        self.denied_limit = 0
        self.denied_proxy = 0
        self.launch_failures = 0
        self.dropped = 0
        self.health_checks = 0
        self.expired = 0
        self.seconds = 0.0
        self._buckets = [0] * (len(BUCKETS) + 1)

    def ended(self, seconds: float) -> None:
        """A connection with a program is over, ``seconds`` after it was accepted."""
        self.seconds += seconds
        self._buckets[bisect_left(BUCKETS, seconds)] += 1

    def text(self, *, active: int, waiting: int, limit: int, lines_dropped: int) -> str:
        """The exposition.

        Args:
            active: programs running now.
            waiting: connections without a program yet.
            limit: programs that may run at once.
            lines_dropped: log lines that could not be written.
        """
        return "".join(f"{line}\n" for line in self._lines(active, waiting, limit, lines_dropped))

    def _lines(self, active: int, waiting: int, limit: int, lines_dropped: int) -> Iterator[str]:
        yield from _family("accepted_total", "counter", "Connections accepted.", ("", self.accepted))
        yield from _family(
            "denied_total",
            "counter",
            "Connections turned away, by whose decision.",
            ('{by="rule"}', self.denied_rule),
            ('{by="limit"}', self.denied_limit),
            ('{by="proxy"}', self.denied_proxy),
        )
        yield from _family(
            "launch_failures_total", "counter", "Connections whose program did not start.", ("", self.launch_failures)
        )
        yield from _family("dropped_total", "counter", "Connections lost by nobody's decision.", ("", self.dropped))
        yield from _family(
            "health_checks_total", "counter", "Connections by which a balancer tried us.", ("", self.health_checks)
        )
        yield from _family("expired_total", "counter", "Programs ended by --lifetime.", ("", self.expired))
        yield from _family(
            "log_lines_dropped_total", "counter", "Log lines that could not be written.", ("", lines_dropped)
        )
        yield from _family("active", "gauge", "Programs running.", ("", active))
        yield from _family("waiting", "gauge", "Connections without a program yet.", ("", waiting))
        yield from _family("limit", "gauge", "Programs that may run at once (-c).", ("", limit))
        count = 0
        samples: list[tuple[str, float]] = []
        for bound, number in zip((*map(repr, BUCKETS), "+Inf"), self._buckets, strict=True):
            count += number
            samples.append((f'_bucket{{le="{bound}"}}', count))
        samples += [("_sum", round(self.seconds, 6)), ("_count", count)]
        what = "From accept to the end of the program, in seconds."
        yield from _family("duration_seconds", "histogram", what, *samples)


def _family(name: str, kind: str, what: str, *samples: tuple[str, float]) -> Iterator[str]:
    yield f"# HELP {PREFIX}_{name} {what}"
    yield f"# TYPE {PREFIX}_{name} {kind}"
    for suffix, value in samples:
        yield f"{PREFIX}_{name}{suffix} {value}"
