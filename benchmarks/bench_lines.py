"""fixcrio and recordio against Debian's in bytes a second, and the start of line tools against Python's own.

Rounds alternate between the programs, so that a busy moment of the machine hits both; what is printed are medians and
their ratio, with the bounds that the suite promises. ``--megabytes N --rounds N --starts N`` change the load.
"""

from __future__ import annotations

import argparse
import os
import re
import shutil
import statistics
import subprocess
import sys
import tempfile
import time
from pathlib import Path
from typing import TYPE_CHECKING

from ucspi_env.tools import link

if TYPE_CHECKING:
    from collections.abc import Sequence

MIN_FIXCRIO = 3.0
MIN_RECORDIO = 1.0
MAX_START = 1.3
SEGMENT = 1 << 20


def text(megabytes: int) -> bytes:
    """Lines as a mail server sees them, a CR missing here and there."""
    lines = b"".join(
        b"%d: %s%s\n" % (number, b"word " * (number % 15), b"\r" * (number & 1)) for number in range(20000)
    )
    return (lines * (megabytes * SEGMENT // len(lines) + 1))[: megabytes * SEGMENT]


def seconds(argv: Sequence[str], stdin: Path, stderr: int = subprocess.DEVNULL) -> float:
    """How long one run takes from its start to its end."""
    with stdin.open("rb") as source:
        started = time.perf_counter()
        subprocess.run(argv, stdin=source, stdout=subprocess.DEVNULL, stderr=stderr, check=True)
        return time.perf_counter() - started


def log(program: str, stdin: Path, directory: Path) -> tuple[list[bytes], list[bytes]]:
    """What recordio logs of input and of output, process ids taken out."""
    file = directory / "log"
    with file.open("wb") as stderr:
        seconds([program, "cat"], stdin, stderr.fileno())
    entries = re.findall(rb"^\d+ ([<>]) (.*)$", file.read_bytes(), re.MULTILINE)
    return [line for arrow, line in entries if arrow == b"<"], [line for arrow, line in entries if arrow == b">"]


def compare(name: str, ours: str, theirs: str, stdin: Path, rounds: int, bound: float) -> bool:
    """Move the same bytes through both; whether ours keeps its promise."""
    size = stdin.stat().st_size / SEGMENT
    mine, other = [], []
    for _ in range(rounds):
        mine.append(seconds([ours, "cat"], stdin))
        other.append(seconds([theirs, "cat"], stdin))
    rate, other_rate = size / statistics.median(mine), size / statistics.median(other)
    ratio = rate / other_rate
    print(f"  {name:9} {rate:8.1f} MiB/s   Debian's {other_rate:8.1f} MiB/s   {ratio:6.2f} x (at least {bound:.1f})")
    return ratio >= bound


def spawn(argv: list[str], null: int) -> float:
    """How long a process takes from its start to its end, without the weight of the subprocess module."""
    actions = [(os.POSIX_SPAWN_DUP2, null, fd) for fd in (0, 1, 2)]
    started = time.perf_counter()
    child = os.posix_spawn(argv[0], argv, os.environ, file_actions=actions)
    os.waitpid(child, 0)
    return time.perf_counter() - started


def starts(directory: Path, count: int) -> bool:
    """Start each line tool through link and compare with a bare interpreter; whether all keep the promise.

    recordio, fixcrio and argv0 run a program; /bin/true is that, and the time it takes alone is taken off.
    """
    true = shutil.which("true") or "/bin/true"
    tools: dict[str, list[str]] = {
        "addcr": [],
        "delcr": [],
        "argv0": [true, "x"],
        "fixcrio": [true],
        "recordio": [true],
    }
    cases = {"bare": [sys.executable, "-I", "-S", "-c", "pass"], "true": [true]}
    cases |= {name: [str(directory / name), *arguments] for name, arguments in tools.items()}
    taken: dict[str, list[float]] = {name: [] for name in cases}
    null = os.open(os.devnull, os.O_RDWR)
    for _ in range(count):
        for name, argv in cases.items():
            taken[name].append(spawn(argv, null))
    os.close(null)
    median = {name: statistics.median(times) for name, times in taken.items()}
    print(f"  python3 -I -S -c pass {median['bare'] * 1000:6.2f} ms, true {median['true'] * 1000:.2f} ms")
    kept = True
    for name, arguments in tools.items():
        own = median[name] - (median["true"] if arguments else 0.0)
        ratio = own / median["bare"]
        print(f"  {name:9} {own * 1000:6.2f} ms   {ratio:5.2f} x (at most {MAX_START})")
        kept = kept and ratio <= MAX_START
    return kept


def main() -> int:
    """Print the table; 1 if a promise is broken."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--megabytes", type=int, default=64)
    parser.add_argument("--rounds", type=int, default=5)
    parser.add_argument("--starts", type=int, default=100)
    options = parser.parse_args()
    theirs = {name: shutil.which(name) for name in ("fixcrio", "recordio")}
    with tempfile.TemporaryDirectory() as scratch:
        directory = Path(scratch)
        launchers = directory / "bin"
        made = subprocess.run([sys.executable, "-m", link.__name__, launchers], stdout=subprocess.DEVNULL, check=False)
        if made.returncode:
            return 1
        print("start, through link")
        kept = [starts(launchers, options.starts)]
        print("throughput, through `cat`")
        large, small = directory / "large", directory / "small"
        large.write_bytes(text(options.megabytes))
        small.write_bytes(text(max(1, options.megabytes // 8)))
        for name, file, bound in (("fixcrio", large, MIN_FIXCRIO), ("recordio", small, MIN_RECORDIO)):
            other = theirs[name]
            if other is None:
                print(f"  {name} (Debian's ucspi-tcp-ipv6) is not here: no ratio", file=sys.stderr)
            else:
                kept.append(compare(name, str(launchers / name), other, file, options.rounds, bound))
        if theirs["recordio"]:
            same = log(str(launchers / "recordio"), small, directory) == log(theirs["recordio"], small, directory)
            print(f"  recordio's log is {'the same to the letter' if same else 'NOT THE SAME'}")
            kept.append(same)
    return 0 if all(kept) else 1


if __name__ == "__main__":
    sys.exit(main())
