"""finger@: ask about users of another machine (RFC 1288).

Interface: ``finger@ [ host [ user ] ]``; host ``0`` is this machine. Sends the user, as typed, and CRLF to port 79;
    prints the reply
with CRs at line ends removed and unprintable bytes made visible as by ``cat -v``.

Exit codes: 0 at the end of the reply; 111, with tcpclient's message, if the server cannot be reached.

Notes: the connection is half-closed behind the question. C's leaves it open, and its echo(1) interprets ``-n`` and
    backslashes.
"""

from __future__ import annotations

import os

from ucspi_env.tools._clients import argument, show
from ucspi_env.tools._lines import Chain, DelCr, Visible

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Sequence
    from typing import NoReturn

PROGRAM = "finger@"
PORT = "79"


def main(arguments: Sequence[str]) -> int:
    """Ask and print; the exit code."""
    question = os.fsencode(argument(arguments, 1, "")) + b"\n"
    return show(PROGRAM, argument(arguments, 0, "0"), PORT, Chain(DelCr(), Visible()), say=question, half_close=True)


def run() -> NoReturn:
    """Be the program."""
    from ucspi_env.tools._program import start

    start(main)


if __name__ == "__main__":
    run()
