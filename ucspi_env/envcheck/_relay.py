"""Being the caller of a program by hand: standard input goes to it, what it says comes to standard output."""

from __future__ import annotations

import os
import selectors
import socket
import subprocess

from ucspi_env.envcheck._play import watched

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

_PIECE = 65507
"""The most that is read at once; as much as a UDP datagram can hold."""


def relay(argv: Sequence[str], environ: Mapping[str, str], server: socket.socket, client: socket.socket) -> int:
    """Run ``argv`` with ``server`` as its descriptors 0 and 1 and relay between ``client`` and ours until it ends.

    Where the connection is UDP each piece of standard input is a datagram, and an empty one says that it has ended.

    Args:
        argv: the program and its arguments.
        environ: its whole environment.
        server: its end of the connection; closed here.
        client: the caller's end; closed here.

    Returns:
        Its exit code, 128 plus the number of the signal that ended it.

    Raises:
        BrokenPipeError: nobody reads our standard output any more; the program was told by the end of the connection.
        OSError: the program cannot be started, or standard output cannot be written.
    """
    with client:
        with server:
            program = subprocess.Popen(list(argv), stdin=server.fileno(), stdout=server.fileno(), env=dict(environ))
        with program:
            with watched(program) as ended, client:
                _copy(client, ended)
            status = program.wait()
    return 128 - status if status < 0 else status


def _copy(client: socket.socket, ended: socket.socket) -> None:
    """Copy both ways until the program has closed its side, or, where UDP has no such thing, until it has ended."""
    client.setblocking(False)
    unsent = b""
    # poll(2) takes regular files and closed descriptors as well: reading them does not wait.
    with selectors.PollSelector() as selector:
        selector.register(0, selectors.EVENT_READ)
        selector.register(client, selectors.EVENT_READ)
        if client.type == socket.SOCK_DGRAM:
            selector.register(ended, selectors.EVENT_READ)
        while True:
            ready = {key.fd: events for key, events in selector.select()}
            heard = ready.get(client.fileno(), 0)
            if heard & selectors.EVENT_READ and not _pass_on(client):
                return
            if ended.fileno() in ready:
                while _pass_on(client, waiting=False):
                    pass
                return
            if 0 in ready:
                unsent = _read()
                selector.unregister(0)
                if unsent:
                    selector.modify(client, selectors.EVENT_READ | selectors.EVENT_WRITE)
                else:
                    _hang_up(client)
            elif heard & selectors.EVENT_WRITE:
                rest = _say(client, unsent)
                if rest is None:
                    selector.modify(client, selectors.EVENT_READ)
                elif not rest:
                    selector.modify(client, selectors.EVENT_READ)
                    selector.register(0, selectors.EVENT_READ)
                unsent = rest or b""


def _read() -> bytes:
    try:
        return os.read(0, _PIECE)
    except OSError:  # closed, or a terminal that has gone: nothing more will be said
        return b""


def _say(client: socket.socket, unsent: bytes) -> bytes | None:
    """Send what can be sent: what is left, or None where the program does not listen any more (it may still talk)."""
    try:
        return unsent[client.send(unsent) :]
    except BlockingIOError:
        return unsent
    except OSError:
        return None


def _hang_up(client: socket.socket) -> None:
    try:
        if client.type == socket.SOCK_DGRAM:
            client.send(b"")
        else:
            client.shutdown(socket.SHUT_WR)
    except OSError:
        return  # the program was quicker


def _pass_on(client: socket.socket, *, waiting: bool = True) -> bool:
    """Pass one piece on; False at the end of the connection and, unless ``waiting``, where nothing more has come."""
    try:
        piece = client.recv(_PIECE)
    except BlockingIOError:
        return waiting
    except OSError:  # reset, or refused over UDP
        return False
    view = memoryview(piece)
    while view:
        view = view[os.write(1, view) :]
    return bool(piece) or client.type == socket.SOCK_DGRAM
