"""Moving bytes between descriptors: a plain filter, and the pipes that recordio and fixcrio put around a program.

Descriptors 0 and 1 belong to others as well (a socket's O_NONBLOCK would be shared with its other users), so they are
used as they are, blocking, and each direction has a thread of its own: a side that stalls holds up nobody else, and
back pressure is the kernel's.
"""

from __future__ import annotations

import os

from ucspi_env.tools._exec import become, default_signals

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Iterator, Sequence
    from typing import NoReturn

    from ucspi_env.tools._lines import Filter

THREAD_STACK = 256 * 1024
"""Bytes of stack for the thread of the second direction, which calls nothing deep."""
CHUNK = 65536
"""Bytes per read: what a pipe holds, and a multiple of recordio's pieces."""

POLLIN, POLLOUT = 1, 4  # the same on every POSIX system; saves an import where nothing has to be waited for


def wait(fd: int, events: int, milliseconds: int | None = None) -> bool:
    """Whether a descriptor got ready (or broke) in time; without a time, wait for it."""
    import select

    poll = select.poll()
    poll.register(fd, events)
    return bool(poll.poll(milliseconds))


def read(fd: int, size: int = CHUNK) -> bytes:
    """Read, waiting for input even if somebody else made the descriptor non-blocking; empty at the end.

    Raises:
        OSError: the read failed.
    """
    while True:
        try:
            return os.read(fd, size)
        except BlockingIOError:
            wait(fd, POLLIN)


def write(fd: int, data: bytes) -> None:
    """Write everything, however many writes it takes.

    Raises:
        OSError: a write failed; what was written before is gone.
    """
    rest: bytes | memoryview = data
    while rest:
        try:
            written = os.write(fd, rest)
        except BlockingIOError:
            wait(fd, POLLOUT)
            continue
        if written == len(rest):
            return
        rest = memoryview(rest)[written:]


def chunks(fd: int) -> Iterator[bytes]:
    """What can be read from a descriptor until its end.

    A read error is an end, as for C: a reset connection has no more to say.
    """
    while True:
        try:
            data = read(fd)
        except OSError:
            return
        if not data:
            return
        yield data


def filter_stream(line_filter: Filter, source: int = 0, target: int = 1) -> int:
    """Copy source to target through a filter, passing on what there is before each wait for more: the exit code.

    Returns:
        0, or 111 for a failed read or write, the last write included.
    """
    try:
        while data := read(source):
            write(target, line_filter.feed(data))
        write(target, line_filter.finish())
    except OSError:
        return 111
    return 0


def relay(source: Iterable[bytes], target: int, feed: Callable[[bytes], bytes], finish: Callable[[], bytes]) -> bool:
    """Copy one direction until its end: whether the target took everything."""
    try:
        for data in source:
            write(target, feed(data))
        write(target, finish())
    except OSError:
        return False
    return True


class Direction:
    """One direction of a program's conversation, as recordio and fixcrio see it: everything as it came.

    The copier asks `chunks` for what there is to read, hands each chunk to `feed` and writes what that returns; at the
    end it writes what `finish` returns.
    """

    def chunks(self, fd: int) -> Iterator[bytes]:
        """Read the descriptor to its end."""
        return chunks(fd)

    def feed(self, data: bytes) -> bytes:
        """See a chunk; return what to pass on for it."""
        return data

    def finish(self) -> bytes:
        """See the end; return what is still to be passed on."""
        return b""


class Filtered(Direction):
    """A direction through a line filter."""

    def __init__(self, line_filter: Filter) -> None:
        self._filter = line_filter

    def feed(self, data: bytes) -> bytes:
        """Filter a chunk."""
        return self._filter.feed(data)

    def finish(self) -> bytes:
        """End the filter."""
        return self._filter.finish()


def run_between(
    program: str,
    argv: Sequence[str],
    incoming: Direction,
    outgoing: Direction,
    leaving: Callable[[], object] = bool,
) -> NoReturn:
    """Run a program with a copier on its descriptors 0 and 1.

    As in C this process becomes the program, so process id, exit status and signals are the program's own, and the
    copier is a child that it knows nothing of. The copier ends when the program's output does. A program that closes
    its input early loses nothing else by it (C's copier quits then, and with it goes the output).

    Args:
        program: who says so if something fails.
        argv: the program's command line.
        incoming: from descriptor 0 to the program.
        outgoing: from the program to descriptor 1.
        leaving: called by the copier just before it ends.

    Raises:
        Stop: pipes, processes or descriptors ran out, or the program cannot be run; exit 111.
    """
    from ucspi_env.tools._program import fatal, write_line

    try:
        ends = pipe() + pipe()
    except OSError as error:
        raise fatal(program, "unable to create pipe", error) from None
    program_in, to_program, from_program, program_out = ends
    try:
        child = os.fork()
    except OSError as error:
        raise fatal(program, "unable to fork", error) from None
    if child == 0:
        status = 111
        try:
            os.close(program_in)
            os.close(program_out)
            _copy(to_program, from_program, incoming, outgoing, leaving)
            status = 0
        except RuntimeError as error:  # no thread to be had
            write_line(f"{program}: fatal: unable to copy: {error}")
        finally:
            os._exit(status)
    try:
        os.dup2(program_in, 0)
        os.dup2(program_out, 1)
    except OSError as error:
        raise fatal(program, "unable to move descriptors", error) from None
    for fd in ends:
        os.close(fd)
    become(program, argv)


def _copy(
    to_program: int, from_program: int, incoming: Direction, outgoing: Direction, leaving: Callable[[], object]
) -> None:
    """The copier's life. The thread of the input may still be waiting for some when it ends."""
    import _thread

    # SIGPIPE stays ignored, as Python left it: a write error is how the end of a reader shows.
    default_signals(pipe=False)

    def copy_input() -> None:
        relay(incoming.chunks(0), to_program, incoming.feed, incoming.finish)
        os.close(to_program)

    # The stack that a thread gets by itself is as large as the limit for stacks, which softlimit -m makes as large as
    # the limit for all of memory.
    _thread.stack_size(THREAD_STACK)
    _thread.start_new_thread(copy_input, ())
    relay(outgoing.chunks(from_program), 1, outgoing.feed, outgoing.finish)
    leaving()


def pipe() -> tuple[int, int]:
    """A pipe whose ends are not descriptors 0 to 2, even where those were closed.

    Raises:
        OSError: there is none to be had.
    """
    reader, writer = os.pipe()
    return _above_stderr(reader), _above_stderr(writer)


def _above_stderr(fd: int) -> int:
    if fd > 2:
        return fd
    import fcntl

    lifted: int = fcntl.fcntl(fd, fcntl.F_DUPFD_CLOEXEC, 3)
    os.close(fd)
    return lifted
