"""Being the caller of a program by hand: standard input goes to it, what it says comes to standard output."""

from __future__ import annotations

import os
import selectors
import socket
import subprocess
import sys

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

_PIECE = 65536


def relay(argv: Sequence[str], environ: Mapping[str, str], server: socket.socket, client: socket.socket) -> int:
    """Run ``argv`` with ``server`` as its descriptors 0 and 1 and relay between ``client`` and ours until it ends.

    Returns:
        Its exit code, 128 plus the number of the signal that ended it.

    Raises:
        OSError: the program cannot be started.
    """
    with client:
        with server:
            program = subprocess.Popen(list(argv), stdin=server.fileno(), stdout=server.fileno(), env=dict(environ))
        with program:
            _copy(client)
            status = program.wait()
    return 128 - status if status < 0 else status


def _copy(client: socket.socket) -> None:
    """Copy both ways until the program has closed its side."""
    with selectors.DefaultSelector() as selector:
        selector.register(client, selectors.EVENT_READ)
        try:
            selector.register(sys.stdin, selectors.EVENT_READ)
        except (PermissionError, ValueError, OSError):
            # A regular file is always ready, and epoll refuses it; a closed standard input says nothing.
            _send_all(client)
        while True:
            for key, _ in selector.select():
                if key.fileobj is client:
                    if not _pass_on(client):
                        return
                else:
                    piece = os.read(0, _PIECE)
                    try:
                        if piece:
                            client.sendall(piece)
                        else:
                            selector.unregister(sys.stdin)
                            client.shutdown(socket.SHUT_WR)
                    except OSError:
                        selector.unregister(sys.stdin)  # it listens no more; what it says may still come


def _send_all(client: socket.socket) -> None:
    try:
        while piece := os.read(0, _PIECE):
            client.sendall(piece)
        client.shutdown(socket.SHUT_WR)
    except OSError:
        return


def _pass_on(client: socket.socket) -> bool:
    try:
        piece = client.recv(_PIECE)
    except ConnectionResetError:
        return False
    if piece:
        view = memoryview(piece)
        while view:
            view = view[os.write(1, view) :]
    return bool(piece)
