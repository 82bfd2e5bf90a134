"""Comparing servers: rounds in which each is called in turns, medians of them, and ratios within a round.

A busy moment of the machine hits all servers of a round alike, and the order is turned round from one round to the
next; so what counts is the ratio. The absolute numbers are this machine's, with the callers on the same cores.
"""

from __future__ import annotations

import argparse
import statistics
from collections.abc import Mapping
from typing import NamedTuple

from benchmarks.load import Tally, load
from benchmarks.servers import Server

WARM_UP = 0.3  # seconds


class Options(NamedTuple):
    """How much is measured.

    Attributes:
        rounds: rounds.
        seconds: for each server in a round.
        callers: connections at the same time.
        quick: the least that shows that everything works; no number of it means anything.
    """

    rounds: int
    seconds: float
    callers: int
    quick: bool


def options(description: str | None, *, rounds: int = 5, seconds: float = 1.5, callers: int = 32) -> Options:
    """Read the command line of a benchmark."""
    parser = argparse.ArgumentParser(description=(description or "").partition("\n")[0])
    parser.add_argument("--rounds", type=int, default=rounds)
    parser.add_argument("--seconds", type=float, default=seconds)
    parser.add_argument("--callers", type=int, default=callers)
    parser.add_argument("--quick", action="store_true", help="one short round: whether it works, not how fast")
    given = parser.parse_args()
    if given.quick:
        return Options(1, 0.2, given.callers, quick=True)
    return Options(given.rounds, given.seconds, given.callers, quick=False)


class Rounds:
    """The tallies of some servers, round by round."""

    def __init__(self, tallies: Mapping[str, list[Tally]], spent: Mapping[str, float]) -> None:
        self._tallies = tallies
        self._spent = spent
        self.names = list(tallies)

    def rate(self, name: str) -> float:
        """Connections per second, the median of all rounds."""
        return statistics.median(tally.rate for tally in self._tallies[name])

    def tail(self, name: str) -> float:
        """The 99th percentile of latencies in milliseconds, the median of all rounds."""
        return self._latency(name, 0.99)

    def middle(self, name: str) -> float:
        """The median latency in milliseconds, the median of all rounds."""
        return self._latency(name, 0.5)

    def processor_time(self, name: str) -> float:
        """Microseconds of processor time for each answered connection, the programs' own included."""
        answered = sum(tally.answered for tally in self._tallies[name])
        return self._spent[name] * 1e6 / answered if answered else float("nan")

    def failed(self, name: str) -> int:
        """Connections that were not answered, of all rounds."""
        return sum(tally.failed for tally in self._tallies[name])

    def rate_ratio(self, name: str, base: str) -> float:
        """How many times the connections per second of ``base``: the median of the rounds' ratios."""
        pairs = zip(self._tallies[name], self._tallies[base], strict=True)
        return statistics.median(mine.rate / theirs.rate if theirs.rate else float("nan") for mine, theirs in pairs)

    def tail_ratio(self, name: str, base: str) -> float:
        """As `rate_ratio`, of the 99th percentile of latencies."""
        pairs = zip(self._tallies[name], self._tallies[base], strict=True)
        return statistics.median(mine.percentile(0.99) / theirs.percentile(0.99) for mine, theirs in pairs)

    def _latency(self, name: str, share: float) -> float:
        return statistics.median(tally.percentile(share) for tally in self._tallies[name]) * 1000


def compare(servers: Mapping[str, Server], how: Options) -> Rounds:
    """Call all servers in turns."""
    tallies: dict[str, list[Tally]] = {name: [] for name in servers}
    for server in servers.values():
        load(server.port, callers=how.callers, seconds=WARM_UP)
    began = {name: server.processor_time() for name, server in servers.items()}
    for number in range(how.rounds):
        for name in list(servers)[:: -1 if number % 2 else 1]:
            tallies[name].append(load(servers[name].port, callers=how.callers, seconds=how.seconds))
    return Rounds(tallies, {name: server.processor_time() - began[name] for name, server in servers.items()})


def show(rounds: Rounds, how: Options, *bases: str) -> None:
    """Print the table; ratios are to ``bases``, as far as they are there.

    ``cpu µs`` is the processor time for a connection, of server and program together: load of others changes it least.
    """
    present = [base for base in bases if base in rounds.names]
    print(f"{how.callers} callers, {how.rounds} rounds of {how.seconds:g} s, medians")
    titles = "".join(f"{'x ' + base:>{_wide(base)}}{'p99':>7}" for base in present)
    print(f"{'':32}{'conn/s':>9}{'p50 ms':>9}{'p99 ms':>9}{'failed':>8}{'cpu µs':>8}{titles}")
    for name in rounds.names:
        ratios = "".join(
            f"{rounds.rate_ratio(name, base):{_wide(base)}.2f}{rounds.tail_ratio(name, base):7.2f}" for base in present
        )
        numbers = (
            f"{rounds.rate(name):9.0f}{rounds.middle(name):9.2f}{rounds.tail(name):9.2f}"
            f"{rounds.failed(name):8}{rounds.processor_time(name):8.0f}"
        )
        print(f"{name:32}{numbers}{ratios}", flush=True)


def _wide(base: str) -> int:
    return len(base) + 4
