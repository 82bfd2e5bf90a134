"""What a server pays for asking who is calling, and a script for ucspi-envcheck's quick commands: start-up time and
instructions.

Each number is the median of fresh interpreters, taken in turns so that a busy moment of the machine hits all alike; the
interpreter's own start is subtracted. Where valgrind is installed, instructions are counted too, which no load
disturbs. ``--starts N`` changes the number of starts, ``--python PATH`` the interpreter (default: the system's).
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

ROOT = Path(__file__).resolve().parent.parent
MAX_IMPORT = 1.5
MAX_LEAN = 2.0
MAX_REPORT = 2.2
ASK = "import ucspi_env; ucspi_env.remote({'PROTO': 'TCP6', 'TCPREMOTEIP': '2001:db8::1', 'TCPREMOTEPORT': '4711'})"
ENVIRON = {"PROTO": "TCP6", "TCPREMOTEIP": "2001:db8::1", "TCPREMOTEPORT": "4711"}


def seconds(argv: list[str]) -> float:
    """One start, from exec to exit."""
    started = time.perf_counter()
    subprocess.run(
        argv, env=ENVIRON, stdin=subprocess.DEVNULL, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL, check=False
    )
    return time.perf_counter() - started


def medians(commands: dict[str, list[str]], starts: int) -> dict[str, float]:
    """The median of each command's starts, in milliseconds."""
    for argv in commands.values():
        seconds(argv)  # writes the .pyc files, fills the page cache
    taken: dict[str, list[float]] = {name: [] for name in commands}
    for _ in range(starts):
        for name, argv in commands.items():
            taken[name].append(seconds(argv))
    return {name: 1000 * statistics.median(values) for name, values in taken.items()}


def instructions(argv: list[str], folder: str) -> int | None:
    """Instructions of one start, by valgrind's callgrind, or None without it."""
    if not shutil.which("valgrind"):
        return None
    out = os.path.join(folder, "callgrind.out")
    done = subprocess.run(
        ["valgrind", "--tool=callgrind", f"--callgrind-out-file={out}", *argv],
        env=ENVIRON | {"PYTHONHASHSEED": "0"},
        stdin=subprocess.DEVNULL,
        capture_output=True,
        text=True,
        check=False,
    )
    found = re.search(r"Collected : (\d+)", done.stderr)
    return int(found[1]) if found else None


def main() -> int:
    """Print the table; 1 if a promise is not kept."""
    parser = argparse.ArgumentParser()
    parser.add_argument("--starts", type=int, default=101)
    parser.add_argument("--python", default="/usr/bin/python3" if Path("/usr/bin/python3").exists() else sys.executable)
    options = parser.parse_args()
    with tempfile.TemporaryDirectory() as folder:
        # A copy of its own: the .pyc files are this interpreter's, whoever owns the checkout.
        shutil.copytree(ROOT / "ucspi_env", Path(folder) / "ucspi_env", ignore=shutil.ignore_patterns("__pycache__"))
        path = f"import sys; sys.path.insert(0, {folder!r}); "
        door = path + "from ucspi_env.envcheck._entry import run; sys.argv[1:] = "

        def isolated(code: str) -> list[str]:
            return [options.python, "-I", "-c", code]

        commands = {
            "bare interpreter": isolated(path),
            "import ipaddress": isolated(path + "import ipaddress"),
            "ucspi_env.remote()": isolated(path + ASK),
            "envcheck shell": isolated(f"{door}['shell']; run()"),
            "envcheck shim": isolated(f"{door}['shim', '--ipv6', 'pass', '--', 'true']; run()"),
            "envcheck run": isolated(f"{door}['run', '--', 'true']; run()"),
            "import click": [sys.executable, "-c", path + "import click"],
            "envcheck report": [sys.executable, "-c", f"{door}[]; run()"],
        }
        taken = medians(commands, options.starts)
        counted = {name: instructions(commands[name], folder) for name in list(commands)[:3]}
    bare = taken["bare interpreter"]
    rows = [
        ("ucspi_env.remote()", "import ipaddress", MAX_IMPORT, bare),
        ("envcheck shell", "import ipaddress", MAX_LEAN, 0.0),
        ("envcheck shim", "import ipaddress", MAX_LEAN, 0.0),
        ("envcheck run", "import ipaddress", MAX_LEAN, 0.0),
        ("envcheck report", "import click", MAX_REPORT, 0.0),
    ]
    failed = False
    print(f"{options.python}, {options.starts} starts each; bare start {bare:.2f} ms")
    print(f"{'':20} {'ms':>8} {'against':>20} {'ms':>8} {'ratio':>7} {'goal':>6}")
    for name, other, goal, base in rows:
        ratio = (taken[name] - base) / (taken[other] - base)
        failed |= ratio > goal
        what = "added" if base else ""
        mine, theirs = taken[name] - base, taken[other] - base
        print(f"{name:20} {mine:8.2f} {other:>20} {theirs:8.2f} {ratio:7.2f} {goal:6.2f} {what}")
    numbers = list(counted.values())
    if None not in numbers:
        start, ipaddress, ours = (number or 0 for number in numbers)
        ratio = (ours - start) / (ipaddress - start)
        print(f"instructions added: {ours - start:,} against {ipaddress - start:,} of ipaddress: {ratio:.2f}")
    return int(failed)


if __name__ == "__main__":
    sys.exit(main())
