"""`make soak`: ``python -m tests.soak [--seconds N] [--seed N] [SERVER ...]``.

Exit status 1 if a connection was lost, anything is left behind, or a limit was exceeded.
"""

from __future__ import annotations

import argparse
import sys
import tempfile
import time
from pathlib import Path

from tests.soak.servers import SETUPS
from tests.soak.soak import run
from tests.support import default_signals


def main() -> int:
    parser = argparse.ArgumentParser(
        prog="python -m tests.soak", description="Mixed traffic, and everything going wrong."
    )
    parser.add_argument("--seconds", type=float, default=600.0, help="how long (600)")
    parser.add_argument(
        "--seed", type=int, default=int(time.time()), help="of an earlier run, to make its choices again"
    )
    known = {setup.name: setup for setup in SETUPS}
    parser.add_argument("servers", nargs="*", metavar="SERVER", help=f"of {', '.join(known)}; all by default")
    arguments = parser.parse_args()
    for name in arguments.servers:
        if name not in known:
            parser.error(f"there is no server {name!r}")
    default_signals()
    print(f"soak: {arguments.seconds:g} s, seed {arguments.seed}", flush=True)
    with tempfile.TemporaryDirectory(prefix="soak.") as directory:
        setups = [known[name] for name in arguments.servers or known]
        reports, failures = run(arguments.seconds, Path(directory), arguments.seed, setups)
    for report in reports:
        print(f"\n{report}")
    print(f"\n{len(failures)} failures" if failures else "\nnothing lost, nothing left behind, no limit exceeded")
    for failure in failures[:50]:
        print(f"  {failure}")
    return 1 if failures else 0


if __name__ == "__main__":
    sys.exit(main())
