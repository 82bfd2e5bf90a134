"""Run the benchmarks: all of them, or those named, ``python -m benchmarks rules tcpserver``.

Each is a program of its own (`bench_<name>.py`) that prints a table and knows what to compare with; they run one after
the other, in fresh interpreters, so that none warms or slows the next. At the end stands the table of goals. A run of
all that are behind the goals is what the README shows: it replaces `results.json` here, and the image drawn from it.

``--quick``: whether those behind the goals work, in a minute; no number of it means anything. ``--plot``: draw again.
"""

from __future__ import annotations

import argparse
import json
import subprocess
import sys
from pathlib import Path

from benchmarks import results
from benchmarks.plot import draw

HERE = Path(__file__).resolve().parent
RESULTS = HERE / "results.json"
IMAGE = HERE.parent / "docs" / "benchmarks.svg"
GOALS = ("access", "handlers", "load", "tcpserver")  # those that know --quick, and whose results are kept


def main(arguments: list[str]) -> int:
    """Run the named benchmarks, or all; 1 if one failed, 2 for a name that is not there."""
    known = {path.stem.removeprefix("bench_"): path for path in sorted(HERE.glob("bench_*.py"))}
    parser = argparse.ArgumentParser(prog="python -m benchmarks", description=(__doc__ or "").partition("\n")[0])
    parser.add_argument("names", nargs="*", metavar="NAME", help=", ".join(known))
    parser.add_argument("--quick", action="store_true", help="one short round of those behind the goals")
    parser.add_argument("--plot", action="store_true", help="only draw the image, from the results that are kept")
    options = parser.parse_args(arguments)
    if options.plot:
        IMAGE.write_text(draw(json.loads(RESULTS.read_text())))
        return 0
    unknown = [name for name in options.names if name not in known]
    if unknown:
        print(f"no benchmark called {', '.join(unknown)}; there are: {', '.join(known) or 'none'}", file=sys.stderr)
        return 2
    results.forget()
    failed = []
    for name in options.names or (GOALS if options.quick else known):
        print(f"\n== {name}", flush=True)
        quick = ["--quick"] if options.quick and name in GOALS else []
        if subprocess.run([sys.executable, str(known[name]), *quick], check=False, cwd=HERE.parent).returncode:
            failed.append(name)
    found = results.gather()
    if found["goals"]:
        print(f"\n== goals, {found['machine']}\n{results.table(found['goals'])}")
    if options.quick or not set(GOALS) <= set(options.names or known):
        results.DIRECTORY.mkdir(parents=True, exist_ok=True)
        (results.DIRECTORY / "image.svg").write_text(draw(found))
        print(f"\nimage: {results.DIRECTORY / 'image.svg'}")
    elif not set(GOALS) & set(failed):
        RESULTS.write_text(json.dumps(found, indent=1) + "\n")
        IMAGE.write_text(draw(found))
    if failed:
        print(f"\nfailed: {', '.join(failed)}", file=sys.stderr)
    return 1 if failed else 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
