"""tcprules and look-ups against Debian's: seconds for a million rules, microseconds for a decision.

Rounds alternate between the programs, so that a busy moment of the machine hits both; what is printed are medians and
their ratio, with the bounds that the suite promises. ``--rules N --rounds N`` change the load.
"""

from __future__ import annotations

import argparse
import filecmp
import statistics
import subprocess
import sys
import tempfile
import time
import timeit
from collections.abc import Iterator
from functools import partial
from ipaddress import IPv4Address, IPv6Address, ip_address
from pathlib import Path

sys.path.insert(0, str(Path(__file__).resolve().parents[1]))

from tests.support.peers import peers
from ucspi_env.tools._rules import Decision
from ucspi_env.tools._rulesfile import RulesFile

OURS = [sys.executable, "-I", "-m", "ucspi_env.tools.tcprules"]
MAX_RATIO = 20.0
MAX_DECISION = 60.0  # microseconds


def ipv4(count: int) -> Iterator[str]:
    """Addresses as in a block list."""
    for number in range(count):
        verb = 'allow,RELAYCLIENT=""' if number % 4 == 0 else "deny"
        yield f"{10 + number % 200}.{number >> 16 & 255}.{number >> 8 & 255}.{number & 255}:{verb}\n"


def ipv6(count: int) -> Iterator[str]:
    """Addresses with nothing in common but the first groups."""
    for number in range(count):
        yield f"2001:db8:{number * 40503 & 0xFFFF | 1:x}:{number >> 8 | 1:x}::{number | 1:x}:deny\n"


def networks(count: int) -> Iterator[str]:
    """Networks of a handful of lengths, which only we have."""
    for number in range(count):
        length = (12, 19, 20, 22, 28)[number % 5]
        yield f"{ip_address((number * 2654435761 & 0xFFFFFFFF) >> (32 - length) << (32 - length))}/{length}:deny\n"


def seconds(command: list[str], rules: Path, directory: Path) -> float:
    """How long one run takes."""
    with rules.open("rb") as file:
        started = time.perf_counter()
        subprocess.run(command, stdin=file, cwd=directory, check=True, stderr=subprocess.DEVNULL)
        return time.perf_counter() - started


def compare(name: str, lines: Iterator[str], directory: Path, rounds: int, theirs: str | None) -> bool:
    """Compile the same rules with both; whether ours keeps its promise."""
    rules = directory / name
    rules.write_text("".join(lines))
    ours: list[float] = []
    c: list[float] = []
    for _ in range(rounds):
        ours.append(seconds([*OURS, f"{name}.cdb", f"{name}.tmp"], rules, directory))
        if theirs:
            c.append(seconds([theirs, f"{name}.c.cdb", f"{name}.tmp"], rules, directory))
    mine = statistics.median(ours)
    if not c:
        print(f"{name:10} ours {mine:6.2f} s")
        return True
    ratio = mine / statistics.median(c)
    same = filecmp.cmp(directory / f"{name}.cdb", directory / f"{name}.c.cdb", shallow=False)
    times = (
        f"{name:10} ours {mine:6.2f} s   C {statistics.median(c):6.2f} s   ratio {ratio:5.1f} (at most {MAX_RATIO:.0f})"
    )
    print(f"{times}   files {'identical' if same else 'different'}")
    return same and ratio <= MAX_RATIO


def _decide(path: str, ip: IPv4Address | IPv6Address, host: str | None, info: str | None) -> Decision:
    return RulesFile(path).decide(ip, host, info)


def decisions(path: Path, rounds: int) -> bool:
    """Time decisions about callers that match early, late and never; whether each is quick enough.

    Each is of a new `RulesFile`, which remembers none.
    """
    kept = True
    for ip, host, info in (
        ("10.0.0.0", None, None),
        ("192.0.2.1", None, None),
        ("192.0.2.1", "mail.example.com", "joe"),
        ("2001:db8:1:2:3:4:5:6", None, None),
        ("2001:db8:1:2:3:4:5:6", "mail.example.com", "joe"),
    ):
        decide = partial(_decide, str(path), ip_address(ip), host, info)
        times = timeit.repeat(decide, number=1000, repeat=2 * rounds + 1)
        micro = statistics.median(times) * 1000
        quick = micro < MAX_DECISION
        kept = kept and quick
        who = f"{ip} {host or ''} {info or ''}".strip()
        bound = f"(less than {MAX_DECISION:.0f}{'' if quick else ': NOT KEPT'})"
        print(f"  {path.stem:10} {who:42} {micro:6.1f} µs {bound}   rule {decide().key}")
    return kept


def main() -> int:
    """Print the table; 1 if a promise is broken."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--rules", type=int, default=1_000_000)
    parser.add_argument("--rounds", type=int, default=5)
    options = parser.parse_args()
    theirs = peers().find("ucspi-tcp-ipv6/tcprules")
    if theirs is None:
        print("tcprules (Debian's ucspi-tcp-ipv6) is not here: no ratios", file=sys.stderr)
    with tempfile.TemporaryDirectory() as scratch:
        directory = Path(scratch)
        kept = [
            compare("ipv4", ipv4(options.rules), directory, options.rounds, theirs),
            compare("ipv6", ipv6(options.rules), directory, options.rounds, theirs),
            compare("networks", networks(options.rules // 10), directory, options.rounds, None),
            compare("few", ipv4(100), directory, options.rounds, None),
        ]
        print("decisions")
        kept += [decisions(directory / f"{name}.cdb", options.rounds) for name in ("few", "ipv4", "ipv6", "networks")]
    return 0 if all(kept) else 1


if __name__ == "__main__":
    sys.exit(main())
