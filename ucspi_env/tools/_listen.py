"""From a host operand, or a service manager's descriptors, to listening sockets.

Host ``0`` means both families on one port, by a socket for each: an IPv4 caller then has a true AF_INET socket, which
the program can ask as it always did, where a single dual-stack socket would show it as ``::ffff:…`` or as 0.0.0.0. A
name that has several addresses is served on all of them; C takes one at random.
"""

from __future__ import annotations

import errno
import os
import socket

from ucspi_env._address import parse_ip
from ucspi_env._model import Endpoint
from ucspi_env.tools._dial import MAX_SCOPE
from ucspi_env.tools._errtext import error_text
from ucspi_env.tools._program import fatal, leading_number

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Callable, Mapping, Sequence

    from ucspi_env._address import IPAddress

ANY = ("", "0")
PORT_ATTEMPTS = 100  # of finding one port that is free in both families
FIRST_FD = 3  # SD_LISTEN_FDS_START, sd_listen_fds(3)
ACTIVATION_VARIABLES = ("LISTEN_FDS", "LISTEN_PID", "LISTEN_FDNAMES")
_ANY4 = Endpoint("0.0.0.0")  # noqa: S104 - what host 0 means
_ANY6 = Endpoint("::")
_NO_FAMILY = (errno.EAFNOSUPPORT, errno.EADDRNOTAVAIL)
_LARGEST_BACKLOG = 2**31 - 1


def open_listeners(
    program: str,
    host: str,
    port: int,
    *,
    backlog: int,
    only_ipv4: bool,
    interface: str | None,
    resolve: Callable[[str], Sequence[Endpoint]],
    warn: Callable[[str], None],
) -> list[socket.socket]:
    """Bind and listen on everything that ``host`` stands for.

    Args:
        program: the name that messages begin with.
        host: ``0``, empty or ``::`` for every address of both families; an address; a name.
        port: 0: one that the kernel chooses, the same for all sockets.
        backlog: for listen(2).
        only_ipv4: ``-4``.
        interface: ``-I``, the zone of a link-local address that does not name its own.
        resolve: gives the addresses of a name, none if it has none.
        warn: takes a warning.

    Returns:
        Non-blocking sockets, close-on-exec, at least one.

    Raises:
        Stop: nobody has this address, or it cannot be listened on.
    """
    addresses, optional = _addresses(program, host, only_ipv4=only_ipv4, resolve=resolve)
    targets = [(end.ip, _scope(program, end.ip, end.zone or interface)) for end in addresses]
    for attempt in range(PORT_ATTEMPTS):
        try:
            return _listen_all(targets, port, backlog, optional=optional, warn=warn)
        except _CannotListenError as failed:
            # The port that the kernel chose for the first socket may be taken in the other family.
            if failed.error.errno != errno.EADDRINUSE or port or attempt == PORT_ATTEMPTS - 1:
                raise fatal(program, f"unable to {failed.step}", failed.error) from None
    raise AssertionError("unreachable: the last attempt returns or raises")


class _CannotListenError(Exception):
    """Which step failed, in C's words, and why."""

    def __init__(self, step: str, error: OSError) -> None:
        super().__init__(step, error)
        self.step = step
        self.error = error


def _addresses(
    program: str, host: str, *, only_ipv4: bool, resolve: Callable[[str], Sequence[Endpoint]]
) -> tuple[Sequence[Endpoint], bool]:
    """The addresses to listen on, and whether it is enough to get one of them."""
    try:
        ip, zone = (_ANY6.ip, None) if host in ANY else parse_ip(host)
    except ValueError:
        found = list(dict.fromkeys(resolve(host)))
        if only_ipv4:
            found = [end for end in found if end.ip.version == 4]
        if not found:
            raise fatal(program, f"no IP address for {host}") from None
        return found, True
    if ip == _ANY6.ip:
        return ([_ANY4], False) if only_ipv4 else ([_ANY6, _ANY4], True)
    if only_ipv4 and ip.version == 6:
        raise fatal(program, "unable to bind", errno.EAFNOSUPPORT)
    return [Endpoint(ip, zone=zone)], False


def _scope(program: str, ip: IPAddress, zone: str | None) -> int:
    if zone is None or ip.version == 4 or not ip.is_link_local:
        return 0
    try:
        return socket.if_nametoindex(zone)
    except OSError:
        if zone.isascii() and zone.isdigit() and leading_number(zone) <= MAX_SCOPE:
            return leading_number(zone)
        raise fatal(program, f"unable to bind: no interface is called {zone}") from None


def _listen_all(
    targets: Sequence[tuple[IPAddress, int]],
    port: int,
    backlog: int,
    *,
    optional: bool,
    warn: Callable[[str], None],
) -> list[socket.socket]:
    sockets: list[socket.socket] = []
    missing: list[tuple[IPAddress, _CannotListenError]] = []
    for ip, scope in targets:
        try:
            sock = _listen(ip, scope, port, backlog)
        except _CannotListenError as failed:
            missing.append((ip, failed))
            if not (optional and failed.error.errno in _NO_FAMILY):
                for sock in sockets:
                    sock.close()
                raise
        else:
            sockets.append(sock)
            port = sock.getsockname()[1]
    if not sockets:
        raise missing[0][1]
    for ip, failure in missing:
        what = f"IPv{ip.version}" if ip.is_unspecified else str(ip)
        warn(f"not listening on {what}, unable to {failure.step}: {error_text(failure.error)}")
    return sockets


def _listen(ip: IPAddress, scope: int, port: int, backlog: int) -> socket.socket:
    version6 = ip.version == 6
    try:
        sock = socket.socket(socket.AF_INET6 if version6 else socket.AF_INET, socket.SOCK_STREAM)
    except OSError as error:
        raise _CannotListenError("create socket", error) from None
    step = "bind"
    try:
        sock.setblocking(False)
        sock.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        if version6:
            sock.setsockopt(socket.IPPROTO_IPV6, socket.IPV6_V6ONLY, 1)
        sock.bind((str(ip), port, 0, scope) if version6 else (str(ip), port))
        step = "listen"
        sock.listen(min(backlog, _LARGEST_BACKLOG))
    except OSError as error:
        sock.close()
        raise _CannotListenError(step, error) from None
    return sock


def inherited_listeners(program: str, environ: Mapping[str, str]) -> list[socket.socket]:
    """The listening TCP sockets that a service manager started us with (sd_listen_fds(3), s6-fdholder).

    Raises:
        Stop: there are none, they are not meant for this process, or one of them is something else.
    """
    count, pid = environ.get("LISTEN_FDS", ""), environ.get("LISTEN_PID", "")
    if not (count.isascii() and count.isdigit() and 0 < leading_number(count) < os.sysconf("SC_OPEN_MAX")):
        state = f"is {count!r}" if count else "is not set"
        raise fatal(program, f"unable to take listening sockets: $LISTEN_FDS {state}")
    if pid != str(os.getpid()):
        state = f"is {pid!r}, this is process {os.getpid()}" if pid else "is not set"
        raise fatal(program, f"unable to take listening sockets: $LISTEN_PID {state}")
    sockets: list[socket.socket] = []
    for fd in range(FIRST_FD, FIRST_FD + int(count)):
        try:
            sock = socket.socket(fileno=fd)
        except OSError as error:
            raise fatal(program, f"unable to take listening socket {fd}", error) from None
        if (
            sock.family not in (socket.AF_INET, socket.AF_INET6)
            or sock.type != socket.SOCK_STREAM
            or not sock.getsockopt(socket.SOL_SOCKET, socket.SO_ACCEPTCONN)
        ):
            raise fatal(program, f"unable to take listening socket {fd}: it is no listening TCP socket")
        sock.setblocking(False)
        sock.set_inheritable(False)
        sockets.append(sock)
    return sockets
