"""Calling a server as a plain client: what is sent, what comes back, and the kernel's word on who called."""

from __future__ import annotations

import contextlib
import errno
import socket
import struct
from typing import TYPE_CHECKING, NamedTuple

from tests.support.programs import PATIENCE

if TYPE_CHECKING:
    from collections.abc import Iterator


class Answer(NamedTuple):
    """One finished call."""

    data: bytes
    ip: str  # the caller's own address, from getsockname(2): the truth that a server should have seen
    port: int
    reset: bool = False  # the server closed with unread input, so the kernel sent a reset instead of an end


def call(
    port: int,
    host: str = "127.0.0.1",
    send: bytes = b"",
    *,
    half_close: bool = True,
    source: str | None = None,
    over: socket.socket | None = None,
    timeout: float = PATIENCE,
) -> Answer:
    """Connect, send, say that no more follows, read everything.

    Args:
        port: where the server listens.
        host: its address, a literal; ``fe80::1%lo`` names the zone.
        send: written at once.
        half_close: shut the writing side down after sending.
        source: the address to call from.
        over: an unconnected socket to use, for instance one that lives in a `Namespace`.
        timeout: seconds for each wait; a limit for tests that would hang, not a measure of speed.
    """
    family, kind, protocol, _, address = socket.getaddrinfo(
        host, port, type=socket.SOCK_STREAM, flags=socket.AI_NUMERICHOST | socket.AI_NUMERICSERV
    )[0]
    with over or socket.socket(family, kind, protocol) as connection:
        connection.settimeout(timeout)
        if source is not None:
            connection.bind((source, 0))
        connection.connect(address)
        ip, own_port = connection.getsockname()[:2]
        received = bytearray()
        reset = False
        try:
            if send:
                connection.sendall(send)
            if half_close:
                connection.shutdown(socket.SHUT_WR)
            while chunk := connection.recv(65536):
                received += chunk
        except OSError as error:
            # ENOTCONN: the reset came before the shutdown.
            if error.errno not in (errno.ECONNRESET, errno.EPIPE, errno.ENOTCONN):
                raise
            reset = True
    return Answer(bytes(received), str(ip), own_port, reset)


def reset_at_close(connection: socket.socket) -> None:
    """Let the end of this connection be a reset for the other side, as of a caller who does not wait for an answer."""
    connection.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))  # on, 0 seconds


@contextlib.contextmanager
def listening(host: str = "127.0.0.1", backlog: int = 16) -> Iterator[tuple[socket.socket, int]]:
    """A listening socket of the test's own and its port."""
    family = socket.AF_INET6 if ":" in host else socket.AF_INET
    with socket.socket(family, socket.SOCK_STREAM) as listener:
        listener.settimeout(PATIENCE)
        listener.bind((host, 0))
        listener.listen(backlog)
        yield listener, listener.getsockname()[1]


@contextlib.contextmanager
def refusing_port(host: str = "127.0.0.1") -> Iterator[int]:
    """A port that refuses connections while the block runs: bound, so nobody else gets it, and not listening."""
    family = socket.AF_INET6 if ":" in host else socket.AF_INET
    with socket.socket(family, socket.SOCK_STREAM) as holder:
        holder.bind((host, 0))
        yield holder.getsockname()[1]
