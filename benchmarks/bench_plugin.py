"""What the pytest plugin costs people who do not use it: a run of one empty test, with and without the plugin.

The median of the differences between two runs, one after the other, so that a busy moment of the machine hits both.
``--runs N`` changes their number.
"""

from __future__ import annotations

import argparse
import statistics
import subprocess
import sys
import tempfile
import time
from pathlib import Path

ROOT = Path(__file__).resolve().parent.parent
MAX_MILLISECONDS = 10.0
# Other plugins that happen to be installed are left out; the plugin is named where it is to be loaded.
PYTEST = [sys.executable, "-m", "pytest", "-q", "--disable-plugin-autoload"]
WITH = [*PYTEST, "-p", "ucspi_env.pytest_plugin"]


def seconds(argv: list[str], folder: str) -> float:
    """One run, from exec to exit."""
    started = time.perf_counter()
    subprocess.run(argv, cwd=folder, env={"PYTHONPATH": str(ROOT)}, check=True, stdout=subprocess.DEVNULL)
    return time.perf_counter() - started


def main() -> int:
    """Print the table; 1 if the plugin costs more than promised."""
    parser = argparse.ArgumentParser()
    parser.add_argument("--runs", type=int, default=31)
    runs = parser.parse_args().runs
    with tempfile.TemporaryDirectory() as folder:
        (Path(folder) / "test_one.py").write_text("def test_one(): pass\n")
        taken: dict[str, list[float]] = {"without": [], "with": []}
        commands = {"without": PYTEST, "with": WITH}
        for argv in commands.values():
            seconds(argv, folder)  # writes the .pyc files, fills the page cache
        for _ in range(runs):
            for name, argv in commands.items():
                taken[name].append(1000 * seconds(argv, folder))
    without, with_ = (statistics.median(taken[name]) for name in ("without", "with"))
    added = statistics.median(b - a for a, b in zip(taken["without"], taken["with"], strict=True))
    print(f"pytest of one test, {runs} runs each: {without:.1f} ms without the plugin, {with_:.1f} ms with it")
    print(f"added {added:.1f} ms, goal {MAX_MILLISECONDS:.0f} ms")
    return int(added > MAX_MILLISECONDS)


if __name__ == "__main__":
    sys.exit(main())
