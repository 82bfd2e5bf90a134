"""Log lines on their way out: nobody who is served waits for whoever reads them.

A log reader that stops reading fills its pipe, and the next write(2) waits for it; one that goes away makes it fail.
Here a line that does not fit at once waits in a queue, and a line that does not fit into the queue is counted instead
of kept. The count is the first thing said when lines can leave again.

stderr belongs to the programs as well, so its mode must stay as it is: O_NONBLOCK would hit them. A pipe is opened a
second time through /proc for a mode of our own; a socket can be asked not to wait each time.
"""

from __future__ import annotations

import os
import select
import socket
import stat
import time
from collections import deque

from ucspi_env.tools._program import as_bytes
from ucspi_env.tools._tasks import Wait

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Callable
    from typing import Any

    from ucspi_env.tools._tasks import Outcome, Task, Tasks

QUEUE_LIMIT = 1000
"""Texts that wait while nobody reads; one is a line, or the two lines that say what became of a connection."""
RETRY = 1.0  # seconds, in case that the selector does not tell


class LogWriter:
    """Writes lines to a descriptor without ever waiting.

    Args:
        tasks: where to wait for the reader.
        lost: the line that says how many lines were not written.
        dropped: told how many lines could not be written, whenever there are more.
        fd: where to write.
    """

    def __init__(
        self, tasks: Tasks, lost: Callable[[int], str], dropped: Callable[[int], None], *, fd: int = 2
    ) -> None:
        self._tasks = tasks
        self._lost = lost
        self._dropped = dropped
        self._output = _Output(fd)
        self._queue: deque[bytes] = deque()
        self._unreported = 0
        self._waiting = False

    def __call__(self, text: str) -> None:
        """Write ``text`` and a newline now, or later, or count it; nothing if it is empty."""
        if not text:
            return
        data = _encoded(text)
        if self._queue or self._unreported:
            self._flush()
        if self._queue:
            if len(self._queue) < QUEUE_LIMIT:
                self._queue.append(data)
            else:
                self._drop(data)
        else:
            self._put(data)
        if self._queue and not self._waiting:
            self._waiting = True
            self._tasks.start(self._drain(), self._drained)

    def close(self) -> None:
        """Write what can be written without waiting, and count the rest as dropped."""
        self._flush()
        while self._queue:
            self._drop(self._queue.popleft())
        self._output.close()

    def _flush(self) -> None:
        while self._queue and self._put(self._queue.popleft()):
            pass
        if not self._queue and self._unreported:
            count, self._unreported = self._unreported, 0
            if not self._put(_encoded(self._lost(count)), notice=True) and not self._queue:
                self._unreported = count

    def _put(self, data: bytes, *, notice: bool = False) -> bool:
        """Write; what does not fit goes back to the head of the queue, what cannot be written is dropped.

        A notice that cannot be written is no loss: it comes again.
        """
        try:
            written = self._output.write(data)
        except BlockingIOError:
            written = 0
        except OSError:  # reader gone, disk full: nowhere left to report it to, until something can be written again
            if not notice:
                self._drop(data)
            return False
        if written < len(data):
            self._queue.appendleft(data[written:])
            return False
        return True

    def _drop(self, data: bytes) -> None:
        lines = data.count(b"\n")
        self._unreported += lines
        self._dropped(lines)

    def _drain(self) -> Task[None]:
        while self._queue:
            yield Wait(time.monotonic() + RETRY, write=[self._output])  # type: ignore[list-item]  # has fileno(): enough
            self._flush()

    def _drained(self, _outcome: Outcome[Any]) -> None:
        # If the descriptor could not be watched, the next line will try again.
        self._waiting = False


class _Output:
    """Where lines go: `write` writes what fits without waiting, or raises BlockingIOError."""

    def __init__(self, fd: int) -> None:
        self._fd = fd
        self._own: int | None = None
        self._socket: socket.socket | None = None
        self._poll: select.poll | None = None
        try:
            mode = os.fstat(fd).st_mode
        except OSError:  # closed; every write will say so
            return
        if stat.S_ISSOCK(mode):
            self._socket = socket.socket(fileno=os.dup(fd))
        elif not stat.S_ISREG(mode):
            if stat.S_ISFIFO(mode):
                try:
                    self._own = os.open(f"/proc/self/fd/{fd}", os.O_WRONLY | os.O_NONBLOCK | os.O_NOCTTY)
                except OSError:  # no /proc, a pipe of another user's, or no reader any more
                    self._own = None
            if self._own is None:
                self._poll = select.poll()
                self._poll.register(fd, select.POLLOUT)

    def fileno(self) -> int:
        if self._socket is not None:
            return self._socket.fileno()
        return self._fd if self._own is None else self._own

    def write(self, data: bytes) -> int:
        if self._socket is not None:
            return self._socket.send(data, socket.MSG_DONTWAIT)
        if self._own is not None:
            return os.write(self._own, data)
        if self._poll is None:
            return os.write(self._fd, data)
        # A pipe that is writable takes this much without waiting, unless another writer is quicker.
        if not self._poll.poll(0):
            raise BlockingIOError
        return os.write(self._fd, data[: select.PIPE_BUF])

    def close(self) -> None:
        if self._socket is not None:
            self._socket.close()
        if self._own is not None:
            os.close(self._own)


def _encoded(text: str) -> bytes:
    return as_bytes(text) + b"\n"


def utc_now() -> str:
    """The time in RFC 3339's form, to the millisecond."""
    seconds, milliseconds = divmod(time.time_ns() // 1_000_000, 1000)
    return f"{time.strftime('%Y-%m-%dT%H:%M:%S', time.gmtime(seconds))}.{milliseconds:03d}Z"
