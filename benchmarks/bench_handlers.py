"""Python behind tcpserver: --preload and --handler against the same script under Debian's tcpserver.

Every server answers each caller with one line made of its environment. Rounds alternate between the servers. The peer
is Debian's tcpserver with the script run by a bare `/usr/bin/python3`; a static C program under it is the second
measure, for pooled handlers. All servers of ours run under the same `/usr/bin/python3`. What counts is the ratio.

``--rounds N --seconds S --callers N`` change the load.
"""

from __future__ import annotations

import argparse
import os
import shutil
import statistics
import subprocess
import sys
import tempfile
from pathlib import Path

from benchmarks.bench_tcpserver import Server, load, percentile

ROOT = Path(__file__).resolve().parent.parent
PYTHON = "/usr/bin/python3"
# What calls() of the other benchmark takes for a whole answer is the byte "x".
SCRIPT = """#!/usr/bin/python3
import os
import socket
import sys

if __name__ == "__main__":
    sys.stdout.write("x" if os.environ["TCPREMOTEIP"] else "")
"""
HANDLER = """
def answer(session):
    session.writer.write(b"x" if session.remote.ip else b"")
"""
LAUNCHER = """import sys
sys.path.insert(0, {0!r})
from ucspi_env.tools.tcpserver import run
run()
"""
PROGRAM = 'int write(int, const void *, unsigned long); int main(void) { write(1, "x", 1); return 0; }\n'


def main() -> int:
    """Run it."""
    parser = argparse.ArgumentParser(description=__doc__.partition("\n")[0])
    parser.add_argument("--rounds", type=int, default=5)
    parser.add_argument("--seconds", type=float, default=2.0)
    parser.add_argument("--callers", type=int, default=32)
    options = parser.parse_args()
    debian = shutil.which("tcpserver", path="/usr/bin:/bin")
    compiler = shutil.which("cc") or shutil.which("gcc")
    if not Path(PYTHON).exists():
        print(f"{PYTHON} is not here: nothing to run", file=sys.stderr)
        return 1
    with tempfile.TemporaryDirectory() as directory:
        script = Path(directory, "server.py")
        script.write_text(SCRIPT)
        script.chmod(0o755)
        Path(directory, "app.py").write_text(HANDLER)
        program = str(Path(directory, "program"))
        if compiler:
            subprocess.run(
                [compiler, "-O2", "-static", "-x", "c", "-o", program, "-"], input=PROGRAM.encode(), check=True
            )
        # A bare environment: no site-packages of a developer on any side.
        os.environ.clear()
        os.environ["PATH"] = "/usr/bin:/bin"
        os.chdir(directory)
        launcher = Path(directory, "tcpserver")
        launcher.write_text(LAUNCHER.format(str(ROOT)))
        ours = [PYTHON, "-I", "-S", str(launcher)]
        rows = {}
        if debian:
            rows["C tcpserver, script"] = ([debian], str(script))
            if compiler:
                rows["C tcpserver, static program"] = ([debian], program)
        else:
            print("Debian's tcpserver is not installed (ucspi-tcp-ipv6): no ratios")
        rows |= {
            "ours, script": (ours, str(script)),
            "ours, --preload": ([*ours, "--preload"], str(script)),
            "ours, --handler": ([*ours, "--handler"], "app:answer"),
            "ours, --handler --reuse 10000": (
                [*ours, "--handler", "--reuse", "10000", "--pool", "4"], "app:answer",
            ),
        }  # fmt: skip
        measure(rows, options.rounds, options.seconds, options.callers)
    return 0


def measure(rows: dict[str, tuple[list[str], str]], rounds: int, seconds: float, callers: int) -> None:
    """Print the table."""
    servers = {name: Server(command, program) for name, (command, program) in rows.items()}
    rates: dict[str, list[float]] = {name: [] for name in servers}
    tails: dict[str, list[float]] = {name: [] for name in servers}
    try:
        for server in servers.values():
            load(server.port, callers, 0.3)
        for number in range(rounds):
            for name in list(servers)[:: 1 if number % 2 else -1]:
                rate, latencies = load(servers[name].port, callers, seconds)
                rates[name].append(rate)
                tails[name].append(percentile(latencies, 0.99))
    finally:
        for server in servers.values():
            server.stop()
    bases = [statistics.median(rates[name]) for name in servers if name.startswith("C ")]
    print(f"{callers} callers, {rounds} rounds of {seconds:g} s, medians; ratios to C tcpserver")
    print(f"{'':32}{'conn/s':>9}{'p99 ms':>9}{'x script':>10}{'x static C':>12}")
    for name in servers:
        rate = statistics.median(rates[name])
        ratios = [f"{rate / base:.2f}" for base in bases] + ["-"] * (2 - len(bases))
        print(f"{name:32}{rate:9.0f}{statistics.median(tails[name]):9.1f}{ratios[0]:>10}{ratios[1]:>12}")


if __name__ == "__main__":
    sys.exit(main())
