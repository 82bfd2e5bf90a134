"""addcr: put a CR before every LF, standard input to standard output.

Interface: ``addcr``; arguments are ignored, as by C's.

Exit codes: 0 at the end of the input; 111, silently, if reading or writing fails.
"""

from __future__ import annotations

from ucspi_env.tools._copier import filter_stream
from ucspi_env.tools._exec import default_signals, leave
from ucspi_env.tools._lines import AddCr

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Sequence
    from typing import NoReturn


def main(arguments: Sequence[str]) -> int:
    """Copy until the end of the input; the exit code."""
    del arguments
    return filter_stream(AddCr())


def run() -> NoReturn:
    """Be the program."""
    default_signals()
    leave(main(()))


if __name__ == "__main__":
    run()
