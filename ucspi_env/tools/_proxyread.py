"""Taking a PROXY header off a connection, and what it means for the program behind it.

Whoever calls this has made sure that the peer is a trusted balancer: a header from anybody else must not even be read.
Not one byte behind the header is taken, since it belongs to the program.
"""

from __future__ import annotations

import os
import time

from ucspi_env._address import plausible_host
from ucspi_env._errors import ProxyError
from ucspi_env._model import Connection, Endpoint
from ucspi_env._networks import Networks
from ucspi_env._variables import PROXY_PEER
from ucspi_env.proxy import CLIENT_SSL, V2_MAX, decode, safe_to_read
from ucspi_env.tools._errtext import error_text

TYPE_CHECKING = False
if TYPE_CHECKING:
    from _socket import socket

    from ucspi_env.proxy import ProxyHeader
    from ucspi_env.tools._tasks import Task

DEFAULT_TIMEOUT = 5
"""Seconds to wait for a header: the specification asks for at least 3, for one lost packet to be sent again."""
_TEXT_MAX = 100  # of a TLS version or cipher; real ones have about 30


class BalancerGone(ProxyError):  # noqa: N818 - not an error either: how HAProxy's health checks end
    """The balancer reset the connection before the whole header could be read.

    HAProxy's plain ``check`` connects, sends LOCAL and resets at once, so this is what a health check looks like to
    those who are not quick enough. Nobody is there to be served, and nothing is wrong.
    """


def balancers(text: str) -> Networks:
    """Read the networks of trusted balancers: addresses and prefixes, separated by commas.

    Raises:
        ValueError: one of them is no network, or there is none.
    """
    networks = Networks.parse(word for word in text.replace(",", " ").split())
    if not networks:
        raise ValueError("names no network")
    return networks


def read_header(fd: int, timeout: float) -> ProxyHeader:
    """Take the header from a descriptor of any kind, blocking; what follows stays where it is.

    Args:
        fd: the descriptor.
        timeout: seconds until the header has to be complete.

    Raises:
        BalancerGone: the connection was reset before the header was complete.
        ProxyError: no header came, or something else did; the message is a reason such as "timed out".
    """
    import select

    until = time.monotonic() + min(timeout, 86400.0)  # poll(2) counts milliseconds in an int
    poll = select.poll()
    poll.register(fd, select.POLLIN)
    data = b""
    while poll.poll(max(0.0, until - time.monotonic()) * 1000):
        try:
            chunk = os.read(fd, safe_to_read(data))
        except BlockingIOError:
            continue
        except OSError as error:
            raise _failed(error) from error
        if not chunk:
            raise _ended(data)
        data += chunk
        found = decode(data)
        if found is not None:
            return found[0]
        if time.monotonic() >= until:
            break
    raise ProxyError("timed out")


def proxy_header(sock: socket, timeout: float) -> Task[ProxyHeader]:
    """Take the header from a stream socket, as a task; what follows stays in the socket's buffer.

    The socket may be blocking or not (but not have a timeout, which Python would wait for): it is never waited on, and
    its flags are left alone.

    Args:
        sock: the connection. The task does not close it.
        timeout: seconds, from the task's start, until the header has to be complete.

    Raises:
        BalancerGone: the connection was reset before the header was complete.
        ProxyError: no header came, or something else did; the message is a reason such as "timed out".
    """
    from socket import MSG_DONTWAIT, MSG_PEEK

    from ucspi_env.tools._tasks import Wait

    until = time.monotonic() + timeout
    data = b""
    while True:
        try:
            seen = sock.recv(V2_MAX + 1 - len(data), MSG_PEEK | MSG_DONTWAIT)
            if not seen:
                raise _ended(data)
            found = decode(data + seen)
            # As long as there is no whole header, all that was seen is a part of it.
            length = len(data) + len(seen) if found is None else found[1]
            data += sock.recv(length - len(data), MSG_DONTWAIT)
        except BlockingIOError:
            if not (yield Wait(until, read=[sock])):
                raise ProxyError("timed out") from None
        except OSError as error:
            raise _failed(error) from error
        else:
            if found is not None and len(data) == length:
                return found[0]
            if time.monotonic() >= until:
                raise ProxyError("timed out")


def _failed(error: OSError) -> ProxyError:
    return (BalancerGone if isinstance(error, ConnectionResetError) else ProxyError)(error_text(error))


def _ended(data: bytes) -> ProxyError:
    return ProxyError(f"connection ended after {len(data)} bytes" if data else "connection ended without a byte")


def proxied(header: ProxyHeader) -> Connection | None:
    """The connection that a header speaks of, or None if it names no caller over TCP.

    None is LOCAL, UNKNOWN, an unspecified family or transport, datagrams, UNIX-domain sockets: the specification wants
    all of them treated as "unspecified" by receivers that have no use for them.

    Raises:
        ProxyError: it names a caller that cannot be one.
    """
    source, destination = header.source, header.destination
    if source is None or destination is None or header.transport != "stream":
        return None
    if source.ip.is_unspecified or source.ip.is_multicast:
        raise ProxyError(f"{source.ip} cannot be a caller")
    ssl = header.ssl
    return Connection(
        remote=source,
        local=None if destination.ip.is_unspecified else destination,
        tls=ssl is not None and bool(ssl.client & CLIENT_SSL),
        dialect="proxy",
        evidence="proxy",
    )


def nameless(header: ProxyHeader) -> str:
    """What a header that names no caller is, for a log line."""
    if header.command == "LOCAL":
        return "LOCAL"
    if header.family == "unspec":
        return "UNKNOWN" if header.version == 1 else "UNSPEC"
    return "a UNIX-domain socket" if header.family == "unix" else "UDP"


def proxy_variables(header: ProxyHeader, balancer: Endpoint | str) -> dict[str, str]:
    """What a program is told beside its dialect's own variables: the balancer, and the TLS that the balancer took off.

    ``UCSPI_PROXY_PEER`` is the peer as the kernel knows it: for `ucspi_env.remote` the proof that the rewrite is fresh.
    ``SSL_PROTOCOL``, ``SSL_CIPHER`` and ``SSL_TLS_SNI_SERVERNAME`` have the names and meanings of s6-tlsserver's, and
    are only there if the balancer said so and the text is harmless. Inherited ones have to be removed, as `build` does.
    """
    variables = {PROXY_PEER: str(balancer)}
    ssl = header.ssl
    if ssl is not None and ssl.client & CLIENT_SSL:
        authority = header.authority
        texts = {
            "SSL_PROTOCOL": ssl.version,
            "SSL_CIPHER": ssl.cipher,
            "SSL_TLS_SNI_SERVERNAME": plausible_host(authority) if authority else None,
        }
        for name, text in texts.items():
            if (
                text
                and text.isascii()
                and text.isprintable()
                and (len(text) <= _TEXT_MAX or name.startswith("SSL_TLS"))
            ):
                variables[name] = text
    return variables
