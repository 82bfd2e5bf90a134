"""mconnect-io: the conversation of mconnect, run by tcpclient (or any other UCSPI client).

Interface: ``mconnect-io``; arguments are ignored. Copies descriptor 0 to descriptor 7 with a CR put before every LF,
    and
descriptor 6 to descriptor 1 as it is.

Exit codes: 0 when descriptor 6 comes to its end; 111 if a thread cannot be made, or if descriptor 1 takes no more.

Notes: the end of the input shuts down the sending side of descriptor 7 (closes it, if it is no socket). C's leaves it
    open, so a
server that waits for it and its client wait for each other; C's also spins where descriptor 1 is a closed pipe.
"""

from __future__ import annotations

import errno
import os

from ucspi_env.tools._copier import chunks, relay
from ucspi_env.tools._exec import default_signals, leave
from ucspi_env.tools._lines import AddCr, Verbatim

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Sequence
    from typing import NoReturn

PROGRAM = "mconnect-io"


def end_sending(fd: int) -> None:
    """Tell the other side that no more comes: half-close a socket (there may be copies of it), close all else."""
    import socket

    try:
        connection = socket.socket(fileno=fd)
    except OSError:
        os.close(fd)
        return
    try:
        connection.shutdown(socket.SHUT_WR)
    except OSError:
        connection.close()  # it is not connected any more, so nothing will be sent here
    else:
        connection.detach()


def main(arguments: Sequence[str]) -> int:
    """Converse until the other side ends; the exit code.

    Raises:
        Stop: no thread can be made; exit 111.
    """
    del arguments
    import _thread

    default_signals(pipe=False)
    crs = AddCr()

    def send() -> None:
        if relay(chunks(0), 7, crs.feed, crs.finish):
            end_sending(7)

    try:
        _thread.start_new_thread(send, ())
    except RuntimeError:
        from ucspi_env.tools._program import fatal

        raise fatal(PROGRAM, "unable to fork", errno.EAGAIN) from None
    plain = Verbatim()
    return 0 if relay(chunks(6), 1, plain.feed, plain.finish) else 111


def run() -> NoReturn:
    """Be the program."""
    from ucspi_env.tools._program import start

    # The other thread may be waiting for a terminal; leaving does not wait for it.
    start(lambda arguments: leave(main(arguments)))


if __name__ == "__main__":
    run()
