"""fixcrio: run a program with the CRs added that line ends lack, in both directions.

Interface: ``fixcrio program [ arg ... ]``. A CR is put before each LF that has none; other CRs stay.

Exit codes: the program's; 100 for a usage error; 111 if the program cannot be run.

Notes: the program has the process id that fixcrio had; the copying is done by its unexpected child.
"""

from __future__ import annotations

from ucspi_env.tools._copier import Filtered, run_between
from ucspi_env.tools._lines import FixCr

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Sequence
    from typing import NoReturn

PROGRAM = "fixcrio"


def main(arguments: Sequence[str]) -> int:
    """Become the program named by the arguments; it returns only by raising Stop."""
    if not arguments:
        from ucspi_env.tools._program import usage

        raise usage(PROGRAM, f"{PROGRAM} program [ arg ... ]")
    run_between(PROGRAM, arguments, Filtered(FixCr()), Filtered(FixCr()))


def run() -> NoReturn:
    """Be the program."""
    from ucspi_env.tools._program import start

    start(main)


if __name__ == "__main__":
    run()
