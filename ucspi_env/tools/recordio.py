"""recordio: run a program and log on stderr what goes in and out.

Interface: ``recordio program [ arg ... ]``. The log has one entry per line, ``PID < line`` for input and ``PID > line``
    for output,
with a blank after a complete line and ``+`` after a part of one; ``[EOF]`` is the end of a direction. PID is the
program's. Bytes are logged raw, passwords too: not a thing to leave in a run script.

Exit codes: the program's; 100 for a usage error; 111 if the program cannot be run.

Notes: the program has the process id that recordio had; the copying is done by its unexpected child. An entry is
    written before
the bytes are passed on, and never torn by another process that logs to the same pipe.
"""

from __future__ import annotations

import os

from ucspi_env.tools._copier import CHUNK, POLLIN, Direction, read, run_between, wait, write
from ucspi_env.tools._lines import PIECE, RecordLog

TYPE_CHECKING = False
if TYPE_CHECKING:
    from _thread import LockType
    from collections.abc import Iterator, Sequence
    from typing import NoReturn

PROGRAM = "recordio"

ATOMIC = 4096
"""Bytes that Linux writes to a pipe in one go (PIPE_BUF). All entries of one piece are shorter."""


class Recorded(Direction):
    """A direction whose bytes are logged before they are passed on.

    Args:
        log: makes the entries.
        lock: held while entries are written, by both directions.
    """

    def __init__(self, log: RecordLog, lock: LockType) -> None:
        self._log = log
        self._lock = lock

    def chunks(self, fd: int) -> Iterator[bytes]:
        """Read the descriptor to its end, in chunks that C's recordio could have read in pieces of 256 bytes.

        C takes what is there in pieces and only the last one is shorter. So a large read that does not end with a piece
        is filled up with what came in the meantime: C's would have found it there by then as well.
        """
        ended = False
        while not ended:
            try:
                data = read(fd)
                while len(data) > PIECE and len(data) % PIECE and wait(fd, POLLIN, 0):
                    more = os.read(fd, CHUNK - len(data))
                    data += more
                    if not more:
                        ended = True
                        break
            except OSError:
                return
            if not data:
                return
            yield data

    def feed(self, data: bytes) -> bytes:
        """Log a chunk."""
        self._write(self._log.entries(data))
        return data

    def finish(self) -> bytes:
        """Log the end."""
        self._write(self._log.end())
        return b""

    def _write(self, entries: bytes) -> None:
        """Write whole entries, as many at once as nobody else's can tear apart. Without stderr there is no log."""
        with self._lock:
            try:
                start = 0
                while len(entries) - start > ATOMIC:
                    end = entries.rfind(b"\n", start, start + ATOMIC) + 1
                    write(2, entries[start:end])
                    start = end
                write(2, entries[start:])
            except OSError:
                return


def main(arguments: Sequence[str]) -> int:
    """Become the program named by the arguments; it returns only by raising Stop."""
    if not arguments:
        from ucspi_env.tools._program import usage

        raise usage(PROGRAM, f"{PROGRAM} program [ arg ... ]")
    import _thread

    pid = os.getpid()
    lock = _thread.allocate_lock()
    # The copier leaves without waiting for its other thread, but not while that is writing an entry.
    run_between(
        PROGRAM,
        arguments,
        Recorded(RecordLog(pid, "<"), lock),
        Recorded(RecordLog(pid, ">"), lock),
        leaving=lock.acquire,
    )


def run() -> NoReturn:
    """Be the program."""
    from ucspi_env.tools._program import start

    start(main)


if __name__ == "__main__":
    run()
