"""The callers of all benchmarks: ``load.c``, compiled when it is needed, in several processes.

What a connection was worth is told apart: only one that brought the whole answer and was closed in order is *answered*,
and only answered ones count for speed and latency.
"""

from __future__ import annotations

import hashlib
import os
import shutil
import subprocess
import sys
from array import array
from pathlib import Path
from typing import NamedTuple

HERE = Path(__file__).resolve().parent
BUILD = HERE.parent / "build" / "benchmarks"
PROCESSES = 2


class NoCompilerError(Exception):
    """There is no C compiler, without which nothing can be measured."""

    def __init__(self) -> None:
        super().__init__("no C compiler (cc, gcc): nothing to call with, and nothing to run")


class Tally(NamedTuple):
    """What became of the connections of one run.

    Attributes:
        rate: answered connections per second, from the first call to the last answer.
        answered, wrong, empty, reset, refused, timed_out: every connection is one of these. Wrong: another answer, or
            a part of it. Empty: closed without a byte. Reset: by an RST, whatever came before. Timed out: not over
            when the caller's patience was, and abandoned.
        latencies: of the answered ones, from connect(2) to the end of the answer, in seconds, in ascending order.
    """

    rate: float
    answered: int
    wrong: int
    empty: int
    reset: int
    refused: int
    timed_out: int
    latencies: list[float]

    @property
    def failed(self) -> int:
        """Connections that were not answered."""
        return self.wrong + self.empty + self.reset + self.refused + self.timed_out

    def percentile(self, share: float) -> float:
        """The latency in seconds that this share of the answered connections did not exceed; NaN if there are none."""
        if not self.latencies:
            return float("nan")
        return self.latencies[min(len(self.latencies) - 1, int(len(self.latencies) * share))]


def compiled(source: Path | str, *options: str) -> str:
    """The path of a compiled C program: of a file, or of a text. Compiled once for each text and compiler options.

    Raises:
        NoCompilerError: there is none.
    """
    compiler = shutil.which("cc") or shutil.which("gcc")
    if compiler is None:
        raise NoCompilerError
    text = source.read_bytes() if isinstance(source, Path) else source.encode()
    name = hashlib.sha256(b"\0".join([text, *map(str.encode, options)])).hexdigest()[:16]
    program = BUILD / name
    if not program.exists():
        BUILD.mkdir(parents=True, exist_ok=True)
        fresh = program.with_suffix(f".{os.getpid()}")
        subprocess.run([compiler, "-O2", *options, "-x", "c", "-o", str(fresh), "-"], input=text, check=True)
        fresh.replace(program)
    return str(program)


def load(
    port: int,
    *,
    address: str = "127.0.0.1",
    callers: int = 32,
    seconds: float = 1.5,
    patience: float = 10.0,
    answer: str = "x",
    processes: int = PROCESSES,
) -> Tally:
    """Call a server and say what came of it.

    Args:
        port: where it listens.
        address: the same, numeric.
        callers: connections at the same time.
        seconds: how long to begin new ones.
        patience: seconds after which a connection is given up.
        answer: the whole answer, exactly; empty: any.
        processes: that the callers are shared out to.

    Raises:
        NoCompilerError: there is no C compiler.
        subprocess.CalledProcessError: calling was impossible for a reason of our own, which is on stderr.
    """
    program = compiled(HERE / "load.c")
    processes = min(processes, callers)
    shares = [callers // processes + (number < callers % processes) for number in range(processes)]
    running = [
        subprocess.Popen(
            [program, address, str(port), str(share), str(seconds), str(patience), answer], stdout=subprocess.PIPE
        )
        for share in shares
    ]
    rate = 0.0
    counts = [0] * 6  # in the order of load.c, which is that of Tally
    latencies = array("I")
    for process in running:
        output, _ = process.communicate()
        if process.returncode:
            raise subprocess.CalledProcessError(process.returncode, process.args)
        line, _, rest = output.partition(b"\n")
        duration, *more = map(int, line.split())
        if duration:
            rate += more[0] * 1e6 / duration
        counts = [sum(pair) for pair in zip(counts, more, strict=True)]
        latencies.frombytes(rest)
    answered, wrong, empty, reset, refused, timed_out = counts
    seconds_each = sorted(value / 1e6 for value in latencies)
    return Tally(rate, answered, wrong, empty, reset, refused, timed_out, seconds_each)


def main() -> int:
    """Call a server by hand: ``python -m benchmarks.load PORT``."""
    if len(sys.argv) != 2 or not sys.argv[1].isdecimal():
        print("usage: python -m benchmarks.load PORT", file=sys.stderr)
        return 100
    tally = load(int(sys.argv[1]), answer="")
    print(f"{tally.rate:.0f} connections/s, p99 {tally.percentile(0.99) * 1000:.1f} ms; {tally._replace(latencies=[])}")
    return 0


if __name__ == "__main__":
    sys.exit(main())
