"""What a server pays for asking who is calling, and a script for ucspi-envcheck's quick commands: start-up time and
instructions.

Each number is the median of fresh interpreters, taken in turns so that a busy moment of the machine hits all alike; the
interpreter's own start is subtracted. Where valgrind is installed, instructions are counted too, which no load
disturbs. ``--starts N`` changes the number of starts, ``--python PATH`` the interpreter (default: the system's).
"""

from __future__ import annotations

import argparse
import re
import shutil
import socket
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path

import ucspi_env

ROOT = Path(__file__).resolve().parent.parent
MAX_IMPORT = 1.5
VALGRIND = shutil.which("valgrind")
MAX_LEAN = 2.0
MAX_REPORT = 2.2
ENVIRON = {"PROTO": "TCP6", "TCPREMOTEIP": "2001:db8::1", "TCPREMOTEPORT": "4711"}
ASK_VARIABLES = f"import ucspi_env; ucspi_env.remote({ENVIRON})"
ASK = "import ucspi_env; ucspi_env.remote()"


@dataclass(frozen=True)
class Start:
    """One command, and what it finds at its start."""

    argv: list[str]
    environ: dict[str, str] = field(default_factory=lambda: ENVIRON)
    stdin: int = subprocess.DEVNULL

    def run(self, before: Sequence[str] = ()) -> subprocess.CompletedProcess[str]:
        """Run it to its end, behind the words of ``before``."""
        return subprocess.run(
            [*before, *self.argv], env=self.environ, stdin=self.stdin, capture_output=True, text=True, check=False
        )


def seconds(start: Start) -> float:
    """One start, from exec to exit."""
    started = time.perf_counter()
    start.run()
    return time.perf_counter() - started


def medians(commands: dict[str, Start], starts: int) -> dict[str, float]:
    """The median of each command's starts, in milliseconds."""
    for start in commands.values():
        seconds(start)  # writes the .pyc files, fills the page cache
    taken: dict[str, list[float]] = {name: [] for name in commands}
    for _ in range(starts):
        for name, start in commands.items():
            taken[name].append(seconds(start))
    return {name: 1000 * statistics.median(values) for name, values in taken.items()}


def instructions(start: Start) -> int:
    """Instructions of one start, by valgrind's callgrind: the median of three, as hashes are random."""
    counts: list[int] = []
    for _ in range(3):
        done = start.run(["valgrind", "--tool=callgrind", "--callgrind-out-file=/dev/null"])
        counts.append(int(re.findall(r"Collected : (\d+)", done.stderr)[-1]))
    return round(statistics.median(counts))


def connection(family: socket.AddressFamily, host: str) -> tuple[socket.socket, socket.socket]:
    """Both ends of a TCP connection over the loopback interface: the caller's, and the server's."""
    with socket.create_server((host, 0), family=family) as listener:
        caller = socket.create_connection(listener.getsockname()[:2])
        return caller, listener.accept()[0]


def variables(connected: socket.socket) -> dict[str, str]:
    """What Debian's tcpserver would set for this connection."""
    (peer, port), (here, service) = connected.getpeername()[:2], connected.getsockname()[:2]
    remote = ucspi_env.Endpoint(peer, port, host="localhost")
    local = ucspi_env.Endpoint(here, service, host="localhost")
    return ucspi_env.build(ucspi_env.Connection(remote=remote, local=local)).set


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
        door = "from ucspi_env.envcheck._entry import run; sys.argv[1:] = "

        def isolated(code: str) -> list[str]:
            return [options.python, "-I", "-c", path + code]

        # The cases of a server that asks: what it finds, and the question.
        cases = {"variables alone": (ENVIRON, subprocess.DEVNULL, ASK_VARIABLES)}
        ends: list[socket.socket] = []  # which close the connections, at the end of this function
        for name, family, host in (("IPv4", socket.AF_INET, "127.0.0.1"), ("IPv6", socket.AF_INET6, "::1")):
            caller, connected = connection(family, host)
            ends += caller, connected
            cases[f"{name} socket"] = (variables(connected), connected.fileno(), ASK)
        asking = {}
        for name, (environ, stdin, ask) in cases.items():
            for what, code in (("bare", ""), ("ipaddress", "import ipaddress"), ("remote()", ask)):
                asking[f"{name}: {what}"] = Start(isolated(code), environ, stdin)
        commands = {
            "import ipaddress": Start(isolated("import ipaddress")),
            "envcheck shell": Start(isolated(f"{door}['shell']; run()")),
            "envcheck shim": Start(isolated(f"{door}['shim', '--ipv6', 'pass', '--', 'true']; run()")),
            "envcheck run": Start(isolated(f"{door}['run', '--', 'true']; run()")),
            "import click": Start([sys.executable, "-c", path + "import click"]),
            "envcheck report": Start([sys.executable, "-c", f"{path}{door}[]; run()"]),
        }
        taken = medians(asking | commands, options.starts)
        counted = {name: instructions(start) for name, start in asking.items()} if VALGRIND else {}
    print(f"{options.python}, {options.starts} starts each")
    rows: list[tuple[str, str, float, float, str, float]] = []
    for figures, unit in ((taken, "ms"), ({name: count / 1e6 for name, count in counted.items()}, "M instr.")):
        for name in cases if figures else ():
            bare, theirs, ours = (figures[f"{name}: {what}"] for what in ("bare", "ipaddress", "remote()"))
            added = ours - bare, theirs - bare
            rows.append((f"remote(), {name}", "import ipaddress", *added, f"{unit} added", MAX_IMPORT))
    for name in ("envcheck shell", "envcheck shim", "envcheck run"):
        rows.append((name, "import ipaddress", taken[name], taken["import ipaddress"], "ms", MAX_LEAN))
    rows.append(("envcheck report", "import click", taken["envcheck report"], taken["import click"], "ms", MAX_REPORT))
    print(f"{'':26} {'':>8} {'against':>20} {'':>8} {'ratio':>7} {'goal':>6}")
    failed = False
    for name, other, mine, theirs, unit, goal in rows:
        ratio = mine / theirs
        # Where instructions are counted they decide about remote(): a busy machine disturbs milliseconds.
        judged = not (counted and unit == "ms added")
        missed = judged and ratio > goal
        failed |= missed
        word = "  NOT KEPT" if missed else ""
        print(f"{name:26} {mine:8.2f} {other:>20} {theirs:8.2f} {ratio:7.2f} {goal:6.2f} {unit}{word}")
    return int(failed)


if __name__ == "__main__":
    sys.exit(main())
