"""date@: ask the time on another machine.

Interface: ``date@ [ host ]``; host ``0`` is this machine. Prints what port 13 (daytime) says, CRs at line ends removed
    and
unprintable bytes made visible as by ``cat -v``. Sends nothing.

Exit codes: 0 at the end of the reply; 111, with tcpclient's message, if the server cannot be reached.
"""

from __future__ import annotations

from ucspi_env.tools._clients import argument, show
from ucspi_env.tools._lines import Chain, DelCr, Visible

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Sequence
    from typing import NoReturn

PROGRAM = "date@"
PORT = "13"


def main(arguments: Sequence[str]) -> int:
    """Ask and print; the exit code."""
    return show(PROGRAM, argument(arguments, 0, "0"), PORT, Chain(DelCr(), Visible()))


def run() -> NoReturn:
    """Be the program."""
    from ucspi_env.tools._program import start

    start(main)


if __name__ == "__main__":
    run()
