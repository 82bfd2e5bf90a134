"""Record, try, document: see the package's own words."""

from __future__ import annotations

import json
import sys
import tempfile
from pathlib import Path
from typing import TYPE_CHECKING

from tests.differential import harness
from tests.differential.document import document, explained
from tests.differential.table import ROWS
from tests.support import default_signals, peers

if TYPE_CHECKING:
    from collections.abc import Callable

    from tests.differential.harness import Observation, Row

HERE = Path(__file__).resolve().parent
GOLDEN = HERE / "golden.json"
OURS = HERE / "ours.json"
PAGE = HERE.parents[1] / "docs" / "differences.md"


def run(rows: list[Row], install: Callable[[Path], None]) -> dict[str, Observation]:
    """Run rows one after the other: what was seen of each."""
    seen: dict[str, Observation] = {}
    world = harness.World()
    try:
        with tempfile.TemporaryDirectory() as scratch:
            programs = Path(scratch, "bin")
            programs.mkdir()
            install(programs)
            for row in rows:
                directory = Path(scratch, row.name)
                try:
                    seen[row.name] = harness.observe(row, world, programs, directory)
                except Exception as error:
                    error.add_note(f"in the row {row.name}: {row.command}")
                    raise
    finally:
        world.close()
    return seen


def theirs(rows: list[Row]) -> dict[str, Observation]:
    """What Debian's programs do."""
    return run(rows, lambda directory: harness.install_theirs(directory, peers()))


def _write(path: Path, seen: dict[str, Observation]) -> None:
    path.write_text(json.dumps(seen, indent=1, ensure_ascii=True) + "\n")


def main(arguments: list[str]) -> int:
    """Do what was asked."""
    default_signals()
    match arguments:
        case ["record"]:
            _write(GOLDEN, theirs(list(ROWS)))
        case ["accept"]:
            golden = json.loads(GOLDEN.read_text())
            seen = run(list(ROWS), harness.install_ours)
            differing = {name: one for name, one in seen.items() if one != golden[name]}
            unexplained = [name for name in differing if not explained(name)]
            crashed = [name for name in differing if "Traceback" in str(differing[name])]
            if unexplained or crashed:
                print("without a reason:", *unexplained, "\nwith a traceback:", *crashed, file=sys.stderr)
                return 1
            _write(OURS, differing)
        case []:
            PAGE.write_text(document(ROWS, json.loads(GOLDEN.read_text()), json.loads(OURS.read_text())))
        case ["try", *names]:
            rows = [row for row in ROWS if not names or any(name in row.name for name in names)]
            golden = json.loads(GOLDEN.read_text())
            for name, one in run(rows, harness.install_ours).items():
                if one != golden[name]:
                    print(f"== {name}\n   {next(row.command for row in rows if row.name == name)}")
                    for field in sorted({*one, *golden[name]}):
                        if one.get(field) != golden[name].get(field):
                            print(f"   {field}:\n     C:    {golden[name].get(field)!r}\n     ours: {one.get(field)!r}")
        case _:
            print(__doc__, file=sys.stderr)
            return 2
    return 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
