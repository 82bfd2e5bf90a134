"""tcpcat: print what a TCP server says.

Interface: ``tcpcat [ host [ port ] ]``; host ``0`` is this machine, the port 17 (qotd). Sends nothing.

Exit codes: 0 at the end of what the server says; 111, with tcpclient's message, if it cannot be reached.
"""

from __future__ import annotations

from ucspi_env.tools._clients import RECEIVE, argument, client
from ucspi_env.tools._exec import become

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Sequence
    from typing import NoReturn

PROGRAM = "tcpcat"


def main(arguments: Sequence[str]) -> int:
    """Become tcpclient; it returns only by raising Stop."""
    become(PROGRAM, client(argument(arguments, 0, "0"), argument(arguments, 1, "17"), *RECEIVE))


def run() -> NoReturn:
    """Be the program."""
    from ucspi_env.tools._program import start

    start(main)


if __name__ == "__main__":
    run()
