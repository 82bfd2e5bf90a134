"""Running one program on one made-up connection, and writing down what it did."""

from __future__ import annotations

import contextlib
import os
import selectors
import signal
import socket
import subprocess
import time

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

LONGEST = 65536
"""Bytes of output and of errors that are kept of one run; what comes behind is read and dropped."""


class Run:
    """What a program did.

    Attributes:
        output: what it sent to the caller.
        errors: what it wrote to stderr.
        status: its exit code, or minus the number of the signal that ended it; None where it had to be killed.
        seconds: how long it took.
    """

    def __init__(self, output: bytes, errors: bytes, status: int | None, seconds: float) -> None:
        self.output = output
        self.errors = errors
        self.status = status
        self.seconds = seconds

    @property
    def hung(self) -> bool:
        """Whether the program outlived its time and was killed."""
        return self.status is None


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

    The caller sends ``dialogue``, then ends its side, and reads until the program is done.

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
    start = time.monotonic()
    try:
        with server:
            program = subprocess.Popen(
                list(argv),
                stdin=server.fileno(),
                stdout=server.fileno(),
                stderr=subprocess.PIPE,
                env=dict(environ),
                start_new_session=True,
            )
    except OSError:
        client.close()
        raise
    with program, client:
        output, errors, ended = _converse(program, client, dialogue, start + timeout)
        status = None
        if ended:
            try:
                status = program.wait(max(0.0, start + timeout - time.monotonic()))
            except subprocess.TimeoutExpired:
                ended = False
        seconds = time.monotonic() - start
        # Children of the program may be left in either case, and must not outlive the trial.
        with contextlib.suppress(ProcessLookupError):
            os.killpg(program.pid, signal.SIGKILL)
        program.wait()
    return Run(bytes(output), bytes(errors), status, seconds)


def _converse(
    program: subprocess.Popen[bytes], client: socket.socket, dialogue: bytes, deadline: float
) -> tuple[bytearray, bytearray, bool]:
    """Talk until both streams have ended or the deadline has passed; the last value says which."""
    output, errors = bytearray(), bytearray()
    client.setblocking(False)
    assert program.stderr is not None  # noqa: S101 - asked for as a pipe
    with selectors.DefaultSelector() as selector:
        selector.register(program.stderr, selectors.EVENT_READ, errors)
        selector.register(client, selectors.EVENT_READ | selectors.EVENT_WRITE, output)
        unsent = memoryview(dialogue)
        while selector.get_map():
            remaining = deadline - time.monotonic()
            if remaining <= 0:
                return output, errors, False
            for key, events in selector.select(remaining):
                if events & selectors.EVENT_WRITE:
                    unsent = _say(selector, client, unsent)
                if events & selectors.EVENT_READ and not _hear(key.fd, key.data):
                    selector.unregister(key.fileobj)
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


def _hear(fd: int, heard: bytearray) -> bool:
    """Read once; False at the end of the stream."""
    try:
        piece = os.read(fd, 65536)
    except BlockingIOError:
        return True
    except OSError:  # reset by a program that left without reading
        return False
    heard += piece[: max(0, LONGEST - len(heard))]
    return bool(piece)
