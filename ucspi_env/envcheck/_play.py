"""Running one program on one made-up connection, and writing down what it did."""

from __future__ import annotations

import contextlib
import os
import selectors
import signal
import socket
import subprocess
import threading
import time

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Generator, Mapping, Sequence

LONGEST = 65536
"""Bytes of output and of errors that are kept of one run; what comes behind is read and dropped."""
_PIECE = 65536


class Run:
    """What a program did.

    Attributes:
        output: what it sent to the caller.
        errors: what it wrote to stderr.
        status: its exit code, or minus the number of the signal that ended it; None where it had to be killed.
        seconds: how long it took.
        pid: the process id it had.
        start: when it was started, in seconds since the epoch.
    """

    def __init__(
        self, output: bytes, errors: bytes, status: int | None, seconds: float, pid: int = 0, start: float = 0.0
    ) -> None:
        self.output = output
        self.errors = errors
        self.status = status
        self.seconds = seconds
        self.pid = pid
        self.start = start

    def __repr__(self) -> str:
        # What a failing assertion shows: the reason first, since long values are cut in the middle.
        end = "hung" if self.hung else f"status={self.status}"
        return f"<Run {end} errors={self.errors!r} output={self.output!r} seconds={self.seconds:.3f}>"

    @property
    def hung(self) -> bool:
        """Whether the program outlived its time and was killed."""
        return self.status is None


@contextlib.contextmanager
def watched(program: subprocess.Popen[bytes]) -> Generator[socket.socket, None, None]:
    """A socket that becomes readable when ``program`` has ended; its process id stays taken until it is waited for."""
    reader, writer = socket.socketpair()

    def watch() -> None:
        # After an interrupt the program may have been waited for already; it has ended all the same.
        with writer, contextlib.suppress(ChildProcessError):
            if hasattr(os, "waitid"):
                os.waitid(os.P_PID, program.pid, os.WEXITED | os.WNOWAIT)
            else:
                program.wait()

    watcher = threading.Thread(target=watch, name=f"wait for {program.pid}", daemon=True)
    watcher.start()
    with reader:
        yield reader
        watcher.join()


def play(
    argv: Sequence[str],
    environ: Mapping[str, str],
    server: socket.socket,
    client: socket.socket,
    *,
    dialogue: bytes = b"",
    timeout: float = 5.0,
) -> Run:
    """Start ``argv`` with ``server`` as descriptors 0 and 1, be its caller on ``client``, and wait for its end.

    The caller sends ``dialogue``, then ends its side, and reads until the program has ended and nobody holds the
    connection any more.

    Args:
        argv: the program and its arguments.
        environ: its whole environment.
        server: its end of the connection; closed here.
        client: the caller's end; closed here.
        dialogue: what the caller says.
        timeout: seconds until the program and its children are killed.

    Raises:
        OSError: the program cannot be started.
    """
    start, clock = time.monotonic(), time.time()
    with client:
        with server:
            program = subprocess.Popen(
                list(argv),
                stdin=server.fileno(),
                stdout=server.fileno(),
                stderr=subprocess.PIPE,
                env=dict(environ),
                start_new_session=True,
            )
        with program, watched(program) as ended:
            output, errors, done = _converse(program, client, ended, dialogue, start + timeout)
            seconds = time.monotonic() - start
            # Children of the program may be left in either case, and must not outlive the trial. The program itself has
            # not been waited for, so its number is still its own.
            with contextlib.suppress(ProcessLookupError, PermissionError):
                os.killpg(program.pid, signal.SIGKILL)
        return Run(bytes(output), bytes(errors), program.wait() if done else None, seconds, program.pid, clock)


def _converse(
    program: subprocess.Popen[bytes],
    client: socket.socket,
    ended: socket.socket,
    dialogue: bytes,
    deadline: float,
) -> tuple[bytearray, bytearray, bool]:
    """Talk until the program and the connection have ended, or the deadline has passed; the last value says which.

    A child that is left with nothing but stderr in its hands does not count.
    """
    output, errors = bytearray(), bytearray()
    client.setblocking(False)
    stderr = program.stderr
    assert stderr is not None  # noqa: S101 - asked for as a pipe
    os.set_blocking(stderr.fileno(), False)
    awaited = {client, ended}
    with selectors.DefaultSelector() as selector:
        selector.register(stderr, selectors.EVENT_READ, errors)
        selector.register(ended, selectors.EVENT_READ, bytearray())
        selector.register(client, selectors.EVENT_READ | selectors.EVENT_WRITE, output)
        unsent = memoryview(dialogue)
        while awaited:
            remaining = deadline - time.monotonic()
            if remaining <= 0:
                return output, errors, False
            for key, events in selector.select(remaining):
                if events & selectors.EVENT_WRITE:
                    unsent = _say(selector, client, unsent)
                if events & selectors.EVENT_READ and not _hear(key.fd, key.data):
                    selector.unregister(key.fileobj)
                    awaited.discard(key.fileobj)
    while _hear(stderr.fileno(), errors, waiting=False):
        pass
    return output, errors, True


def _say(selector: selectors.BaseSelector, client: socket.socket, unsent: memoryview) -> memoryview:
    try:
        unsent = unsent[client.send(unsent) :] if unsent else unsent
        if unsent:
            return unsent
        client.shutdown(socket.SHUT_WR)
    except BlockingIOError:
        return unsent
    except OSError:
        pass  # the program has hung up already; what it said is still to be read
    selector.modify(client, selectors.EVENT_READ, selector.get_key(client).data)
    return memoryview(b"")


def _hear(fd: int, heard: bytearray, *, waiting: bool = True) -> bool:
    """Read once; False at the end of the stream and, unless ``waiting``, where there is nothing more by now."""
    try:
        piece = os.read(fd, _PIECE)
    except BlockingIOError:
        return waiting
    except OSError:  # reset by a program that left without reading
        return False
    heard += piece[: max(0, LONGEST - len(heard))]
    return bool(piece)
