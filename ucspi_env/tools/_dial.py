"""Starting a connection without waiting for it: what the resolver, ident and every other client in the suite need."""

from __future__ import annotations

import _socket
import errno
import os

from ucspi_env._model import Endpoint
from ucspi_env.tools._tasks import Wait

TYPE_CHECKING = False
if TYPE_CHECKING:
    from ucspi_env.tools._tasks import Task

SOCK_DGRAM = _socket.SOCK_DGRAM
SOCK_STREAM = _socket.SOCK_STREAM
MAX_SCOPE = 0xFFFFFFFF
"""The largest number of an interface; Python's sockets take a larger one for what its low 32 bits say."""


def address_of(endpoint: Endpoint, port: int | None = None) -> tuple[int, tuple[str, int] | tuple[str, int, int, int]]:
    """Family and socket address of an endpoint, its zone looked up.

    Args:
        endpoint: where to.
        port: instead of the endpoint's own.

    Raises:
        OSError: there is no interface of that name.
    """
    family = _socket.AF_INET if endpoint.ip.version == 4 else _socket.AF_INET6
    scope = 0
    if endpoint.zone is not None and not (endpoint.zone.isascii() and endpoint.zone.isdigit()):
        scope = _socket.if_nametoindex(endpoint.zone)
    if port is not None:
        endpoint = Endpoint(endpoint.ip, port, endpoint.zone)
    return family, endpoint.sockaddr(scope)


def endpoint_of(address: tuple[str, int] | tuple[str, int, int, int]) -> Endpoint:
    """The way back: an endpoint from what getsockname(2) or getpeername(2) say, its zone by name."""
    zone = None
    if len(address) == 4 and address[3]:
        try:
            zone = _socket.if_indextoname(address[3])
        except OSError:  # the interface has gone since
            zone = str(address[3])
    # Some systems write the zone into the text as well.
    return Endpoint(address[0].partition("%")[0], address[1], zone)


def dial(
    remote: Endpoint, kind: int = SOCK_STREAM, *, port: int | None = None, local: Endpoint | None = None
) -> _socket.socket:
    """Make a non-blocking socket and start connecting it; for UDP that is all there is to do.

    Args:
        remote: where to.
        kind: SOCK_STREAM or SOCK_DGRAM.
        port: instead of the remote endpoint's own.
        local: the address to come from; its port is not used. None leaves the choice to the kernel.

    Raises:
        OSError: no socket, the local address is not this machine's, or the kernel knows at once that it cannot connect.
    """
    family, address = address_of(remote, port)
    sock = _socket.socket(family, kind)
    try:
        sock.setblocking(False)
        if local is not None:
            sock.bind(address_of(local, 0)[1])
        sock.connect(address)
    except BlockingIOError:  # EINPROGRESS: it will
        return sock
    except BaseException:
        sock.close()
        raise
    return sock


def connected(sock: _socket.socket, until: float) -> Task[None]:
    """Wait until a socket of `dial` is connected.

    Raises:
        OSError: it could not be; TimeoutError if ``until`` has come.
    """
    ready = yield Wait(until, write=[sock])
    if not ready:
        raise TimeoutError(errno.ETIMEDOUT, os.strerror(errno.ETIMEDOUT))
    failure = sock.getsockopt(_socket.SOL_SOCKET, _socket.SO_ERROR)
    if failure:
        raise OSError(failure, os.strerror(failure))
