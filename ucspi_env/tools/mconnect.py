"""mconnect: talk to a TCP server line by line, from a terminal or a script.

Interface: ``mconnect [ host [ port ] ]``; host ``0`` is this machine, the port 25 (smtp). Lines of the input are sent
    with CRLF
(see `mconnect_io`), the server's bytes are printed as they come.

Exit codes: 0 when the server has closed the connection; 111, with tcpclient's message, if it cannot be reached.

Notes: the end of the input half-closes the connection, which C's leaves open.
"""

from __future__ import annotations

from ucspi_env.tools._catalogue import command
from ucspi_env.tools._clients import argument, client
from ucspi_env.tools._exec import become

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Sequence
    from typing import NoReturn

PROGRAM = "mconnect"


def main(arguments: Sequence[str]) -> int:
    """Become tcpclient; it returns only by raising Stop."""
    become(PROGRAM, client(argument(arguments, 0, "0"), argument(arguments, 1, "25"), *command("mconnect-io")))


def run() -> NoReturn:
    """Be the program."""
    from ucspi_env.tools._program import start

    start(main)


if __name__ == "__main__":
    run()
