"""What tcpserver counts, and the text that Prometheus reads (its text exposition format 0.0.4). Pure.

Every accepted connection is counted once more when it is over, or counts as waiting or active until then::

    accepted = waiting + active + ended + denied + launch failures + dropped + health checks

The counters are numbers in a row, so that several processes can have theirs in shared memory. A row is read from its
beginning: what is counted later in the life of a connection stands first, so that whoever reads while others count
never finds more ends than beginnings.
"""

from __future__ import annotations

from bisect import bisect_left

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Iterator, MutableSequence, Sequence

PREFIX = "ucspi_tcpserver"
BUCKETS = (0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1.0, 2.5, 5.0, 10.0, 30.0, 60.0, 300.0, 1800.0, 3600.0)
"""Seconds; from an answer out of memory to a session of an hour."""

_ENDED = len(BUCKETS) + 1  # so many cells for the durations of connections that had a program
(
    SECONDS,  # all those durations, added up
    DENIED_RULE,  # turned away by a rule,
    DENIED_LIMIT,  # by -C,
    DENIED_PROXY,  # or for their PROXY header
    LAUNCH_FAILURES,  # connections whose program could not be started
    DROPPED,  # connections lost otherwise: look-ups or banner cut short, rules unreadable, reset, stopping
    HEALTH_CHECKS,  # connections by which a balancer found out that we are there
    EXPIRED,  # programs that were told to end by --lifetime
    LINES_DROPPED,  # log lines that could not be written
    STARTED,  # programs
    ACCEPTED,  # connections that accept(2) gave us
    CELLS,  # how many cells a row has
) = range(_ENDED, _ENDED + 12)
_NEVER_STARTED = (DENIED_RULE, DENIED_LIMIT, DENIED_PROXY, LAUNCH_FAILURES, DROPPED, HEALTH_CHECKS)


class Metrics:
    """The counters of one process; who sees something happen counts it.

    Args:
        cells: where they are, `CELLS` numbers; a list of its own if there is nobody to share them with.
    """

    __slots__ = ("_cells",)

    def __init__(self, cells: MutableSequence[float] | memoryview[float] | None = None) -> None:
        self._cells: MutableSequence[float] | memoryview[float] = [0.0] * CELLS if cells is None else cells

    def count(self, what: int, by: int = 1) -> None:
        """Count one more of ``what``, ``ACCEPTED`` for example."""
        self._cells[what] += by

    def ended(self, seconds: float) -> None:
        """A connection with a program is over, ``seconds`` after it was accepted."""
        self._cells[SECONDS] += seconds
        self._cells[bisect_left(BUCKETS, seconds)] += 1

    def cells(self) -> list[float]:
        """The numbers of this moment."""
        return list(self._cells)

    def active(self) -> int:
        """How many programs have been started and have not ended."""
        return _active(self._cells)

    def waiting(self) -> int:
        """How many connections have been accepted and have no program yet."""
        return _waiting(self._cells)


def _active(cells: Sequence[float] | MutableSequence[float] | memoryview[float]) -> int:
    return int(cells[STARTED] - sum(cells[:_ENDED]))


def _waiting(cells: Sequence[float] | MutableSequence[float] | memoryview[float]) -> int:
    return int(cells[ACCEPTED] - cells[STARTED] - sum(cells[what] for what in _NEVER_STARTED))


def exposition(rows: Sequence[Sequence[float]], limit: int) -> str:
    """The text, of the sums of all rows.

    Args:
        rows: what `Metrics.cells` gave, of each process.
        limit: programs that may run at once.
    """
    return "".join(f"{line}\n" for line in _lines([sum(column) for column in zip(*rows, strict=True)], limit))


def _lines(cells: Sequence[float], limit: int) -> Iterator[str]:
    def counter(name: str, what: int, text: str) -> Iterator[str]:
        return _family(f"{name}_total", "counter", text, ("", cells[what]))

    yield from counter("accepted", ACCEPTED, "Connections accepted.")
    yield from _family(
        "denied_total",
        "counter",
        "Connections turned away, by whose decision.",
        ('{by="rule"}', cells[DENIED_RULE]),
        ('{by="limit"}', cells[DENIED_LIMIT]),
        ('{by="proxy"}', cells[DENIED_PROXY]),
    )
    yield from counter("launch_failures", LAUNCH_FAILURES, "Connections whose program did not start.")
    yield from counter("dropped", DROPPED, "Connections lost by nobody's decision.")
    yield from counter("health_checks", HEALTH_CHECKS, "Connections by which a balancer tried us.")
    yield from counter("expired", EXPIRED, "Programs ended by --lifetime.")
    yield from counter("log_lines_dropped", LINES_DROPPED, "Log lines that could not be written.")
    yield from _family("active", "gauge", "Programs running.", ("", _active(cells)))
    yield from _family("waiting", "gauge", "Connections without a program yet.", ("", _waiting(cells)))
    yield from _family("limit", "gauge", "Programs that may run at once (-c).", ("", limit))
    count = 0.0
    samples: list[tuple[str, float]] = []
    for bound, number in zip((*map(repr, BUCKETS), "+Inf"), cells[:_ENDED], strict=True):
        count += number
        samples.append((f'_bucket{{le="{bound}"}}', count))
    samples += [("_sum", cells[SECONDS]), ("_count", count)]
    what = "From accept to the end of the program, in seconds."
    yield from _family("duration_seconds", "histogram", what, *samples)


def _family(name: str, kind: str, what: str, *samples: tuple[str, float]) -> Iterator[str]:
    yield f"# HELP {PREFIX}_{name} {what}"
    yield f"# TYPE {PREFIX}_{name} {kind}"
    for suffix, value in samples:
        whole = int(value)
        yield f"{PREFIX}_{name}{suffix} {whole if whole == value else round(value, 6)}"
