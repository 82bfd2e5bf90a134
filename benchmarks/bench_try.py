"""How long ``ucspi-envcheck try`` takes for all its callers, with a server that answers after five milliseconds.

Beside it: as many runs of that server, one after the other, which is what a plain loop in a shell would need.
``--jobs N`` changes how many callers there are at once; the goal is for two processors.
"""

from __future__ import annotations

import argparse
import json
import os
import subprocess
import sys
import time

GOAL = 10.0
SERVER = ["sh", "-c", 'echo "220 hello $TCPREMOTEIP"; exec sleep 0.005']


def seconds(argv: list[str]) -> tuple[float, bytes]:
    """One run, from start to end, and what it said."""
    started = time.perf_counter()
    done = subprocess.run(argv, stdin=subprocess.DEVNULL, stdout=subprocess.PIPE, check=False)
    return time.perf_counter() - started, done.stdout


def main() -> int:
    """Print the table; 1 if a promise is not kept."""
    parser = argparse.ArgumentParser()
    parser.add_argument("--jobs", type=int)
    parser.add_argument("--runs", type=int, default=5)
    options = parser.parse_args()
    jobs = ["--jobs", str(options.jobs)] if options.jobs else []
    envcheck = [sys.executable, "-m", "ucspi_env", "try", "--json", *jobs, "--", *SERVER]
    runs = [seconds(envcheck) for _ in range(options.runs)]
    trial = json.loads(runs[0][1])
    callers = len(trial["callers"])
    taken = sorted(run for run, _ in runs)
    one = sorted(seconds(SERVER)[0] for _ in range(21))[10]
    print(f"{callers} callers, {os.cpu_count()} processors, {options.runs} runs; the server takes {1000 * one:.1f} ms")
    print(f"{'try, median':24} {taken[len(taken) // 2]:6.2f} s   goal {GOAL:.0f} s")
    print(f"{'try, slowest':24} {taken[-1]:6.2f} s")
    print(f"{'one after the other':24} {callers * one:6.2f} s")
    if not trial["ready"]:
        print(f"the verdict is wrong: {trial['verdict']}", file=sys.stderr)
    return int(taken[-1] > GOAL or not trial["ready"])


if __name__ == "__main__":
    sys.exit(main())
