"""What the tests around the PROXY protocol share: a connected pair of TCP sockets, and the program that reports."""

from __future__ import annotations

import contextlib
import json
import socket
import sys
from pathlib import Path
from typing import TYPE_CHECKING, NamedTuple

from tests.support import PATIENCE, listening

if TYPE_CHECKING:
    from collections.abc import Iterator

REPORT = [sys.executable, "-I", str(Path(__file__).with_name("report.py"))]


class Report(NamedTuple):
    """What the reporting program said."""

    remote: str
    local: str
    proto: str
    evidence: str
    tls: bool
    problems: list[str]
    kernel: str | None
    variables: dict[str, str]
    rest: str
    arguments: list[str]


def report(answer: bytes) -> Report:
    assert answer, "the program has not answered"
    return Report(**json.loads(answer))


@contextlib.contextmanager
def connected(host: str = "127.0.0.1", source: str | None = None) -> Iterator[tuple[socket.socket, socket.socket]]:
    """A TCP connection over loopback: the client's end and the server's."""
    with listening(host) as (listener, port):
        client = socket.create_connection((host, port), PATIENCE, (source, 0) if source else None)
        server, _ = listener.accept()
        server.settimeout(None)  # as the sockets of a server are; pytest's own limit ends a test that hangs
    with client, server:
        yield client, server


def read_all(sock: socket.socket) -> bytes:
    """Everything up to the end, or to a reset: a server that drops unread bytes resets."""
    received = bytearray()
    with contextlib.suppress(ConnectionResetError):
        while chunk := sock.recv(65536):
            received += chunk
    return bytes(received)
