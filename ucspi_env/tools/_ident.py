"""Asking the caller's host who made the connection (RFC 1413), as a task."""

from __future__ import annotations

import time

from ucspi_env.tools._dial import connected, dial
from ucspi_env.tools._identwire import PORT, Reply, request
from ucspi_env.tools._tasks import Wait

TYPE_CHECKING = False
if TYPE_CHECKING:
    from ucspi_env._model import Endpoint
    from ucspi_env.tools._tasks import Task

SLACK = 0.02  # seconds added to the timeout, as in C: with -t 0 a quick answer still comes through


def ident(remote: Endpoint, local: Endpoint, timeout: float, *, port: int = PORT) -> Task[str | None]:
    """Who the caller's host says the caller is; None if it does not say.

    The question comes from the address that was called, since the other side finds the connection by both addresses.

    Args:
        remote: the caller, with its port.
        local: what it called, with its port.
        timeout: seconds for everything from connecting to the end of the answer.
        port: where the ident server listens.
    """
    deadline = time.monotonic() + timeout + SLACK
    try:
        sock = dial(remote, port=port, local=local)
    except OSError:
        return None
    try:
        yield from connected(sock, deadline)
        # A new connection's buffer takes these few bytes at once.
        ports = (remote.port or 0, local.port or 0)
        sock.send(request(*ports))
        reply = Reply(*ports)
        while True:
            if not (yield Wait(deadline, read=[sock])):
                return None
            try:
                data = sock.recv(1024)
            except BlockingIOError:
                continue
            if not data:
                return None
            if reply.feed(data):
                return reply.user
    except OSError:
        return None
    finally:
        sock.close()
