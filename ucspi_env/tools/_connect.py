"""Making a connection by a plan of `_eyeballs`, with non-blocking sockets, as a task of `_tasks`.

IPv4 addresses get AF_INET sockets and IPv6 addresses AF_INET6 ones that are for IPv6 alone. So both families can
share a local port, and the program finds a socket of the family that its variables speak of. C's tcpclient makes
AF_INET6 sockets for both; here that is for callers who ask for it, and for a local address of the other family, where
the kernel then says what is wrong in the words that C's users know.
"""

from __future__ import annotations

import _socket
import errno
import os
import time

from ucspi_env.tools._dial import SOCK_STREAM, address_of
from ucspi_env.tools._tasks import Wait

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Callable
    from typing import Literal, TypeAlias

    from ucspi_env._model import Endpoint
    from ucspi_env.tools._eyeballs import Attempt, Plan
    from ucspi_env.tools._tasks import Task

    Sockets: TypeAlias = Literal["native", "ipv4", "ipv6"]

# What socket(2) says where the kernel has no such family: the other one may still do.
_NO_FAMILY = (errno.EAFNOSUPPORT, errno.EPROTONOSUPPORT)


class SetupError(OSError):
    """A socket could not be made or bound. No address is at fault, so no other one is tried.

    Attributes:
        step: ``"create socket"`` or ``"bind socket"``.
    """

    def __init__(self, step: str, error: OSError) -> None:
        super().__init__(error.errno, error.strerror)
        self.step = step


class AllFailedError(Exception):
    """Every address has failed; `connect` has reported each."""


class Source:
    """Where connections come from, and what kind of sockets they use.

    Args:
        local: the local address, with its zone; its port is not looked at. None and ``::`` leave the choice to the
            kernel.
        port: the local port; 0 leaves the choice to the kernel. Parallel attempts share it, nobody else does.
        sockets: ``"native"`` for each address's own family; ``"ipv4"`` for AF_INET alone, which cannot reach IPv6
            addresses; ``"ipv6"`` for AF_INET6, which reaches IPv4 addresses as mapped ones (RFC 4291, 2.5.5.2), except
            where the kernel has no IPv6.
    """

    def __init__(self, local: Endpoint | None = None, port: int = 0, sockets: Sockets = "native") -> None:
        self._local = None if local is not None and local.ip.version == 6 and local.ip.is_unspecified else local
        self._port = port
        self._sockets = sockets
        self._sharing = False  # one of our sockets has held the port

    def dial(self, remote: Endpoint) -> _socket.socket:
        """Make a non-blocking socket, bind it if need be, and start connecting.

        Raises:
            SetupError: the socket could not be made or bound.
            OSError: this address cannot be reached, and that is clear already.
        """
        family = self._family(remote)
        try:
            sock = self._create(family, remote)
        except OSError as error:
            if error.errno in _NO_FAMILY:
                raise
            raise SetupError("create socket", error) from error
        try:
            sock.setblocking(False)
            if sock.family == _socket.AF_INET6:
                alone = self._sockets == "native" and remote.ip.version == 6 and not self._is_ipv4(self._local)
                sock.setsockopt(_socket.IPPROTO_IPV6, _socket.IPV6_V6ONLY, int(alone))
            if self._local is not None or self._port:
                self._bind(sock)
            _begin(sock, remote)
        except BaseException:
            sock.close()
            raise
        return sock

    def settle(self, sock: _socket.socket) -> None:
        """Make a connected socket what a program expects: blocking, and alone on its local port."""
        sock.setblocking(True)
        if self._port:
            sock.setsockopt(_socket.SOL_SOCKET, _socket.SO_REUSEADDR, 0)

    def _family(self, remote: Endpoint) -> int:
        if self._sockets == "ipv4":
            return _socket.AF_INET
        if self._sockets == "ipv6" or not self._is_ipv4(remote):
            return _socket.AF_INET6
        return _socket.AF_INET if self._local is None or self._is_ipv4(self._local) else _socket.AF_INET6

    def _create(self, family: int, remote: Endpoint) -> _socket.socket:
        try:
            return _socket.socket(family, SOCK_STREAM)
        except OSError as error:
            if family == _socket.AF_INET6 and self._is_ipv4(remote) and error.errno in _NO_FAMILY:
                return _socket.socket(_socket.AF_INET, SOCK_STREAM)
            raise

    def _bind(self, sock: _socket.socket) -> None:
        # The first socket takes the port as C's do: it must be free. Only then may the others join, which the kernel
        # allows among sockets that all have this option and do not listen.
        try:
            if self._sharing:
                sock.setsockopt(_socket.SOL_SOCKET, _socket.SO_REUSEADDR, 1)
            if self._local is not None:
                sock.bind(_address(self._local, self._port, sock.family))
            else:
                sock.bind(("", self._port))
        except OSError as error:
            if self._sharing and error.errno == errno.EADDRINUSE:
                raise  # a kernel that does not let them join: this address has to do without
            raise SetupError("bind socket", error) from error
        if self._port:
            sock.setsockopt(_socket.SOL_SOCKET, _socket.SO_REUSEADDR, 1)
            self._sharing = True

    @staticmethod
    def _is_ipv4(endpoint: Endpoint | None) -> bool:
        return endpoint is not None and endpoint.ip.version == 4


def _address(endpoint: Endpoint, port: int, family: int) -> tuple[str, int] | tuple[str, int, int, int]:
    """The socket address of an endpoint for a socket of this family, IPv4 mapped for AF_INET6."""
    if endpoint.ip.version == 6 and family == _socket.AF_INET:
        raise OSError(errno.EAFNOSUPPORT, os.strerror(errno.EAFNOSUPPORT))
    if endpoint.ip.version == 4 and family == _socket.AF_INET6:
        return f"::ffff:{endpoint.ip}", port, 0, 0
    return address_of(endpoint, port)[1]


def _begin(sock: _socket.socket, remote: Endpoint) -> None:
    failure = sock.connect_ex(_address(remote, remote.port or 0, sock.family))
    if failure not in (0, errno.EINPROGRESS):
        raise OSError(failure, os.strerror(failure))


def connect(plan: Plan, source: Source, report: Callable[[Endpoint, int], None]) -> Task[_socket.socket]:
    """Connect to one of the plan's addresses: the first that answers.

    Args:
        plan: which addresses, and when; used up afterwards.
        source: where from.
        report: told about each address that failed for good, with the error number.

    Returns:
        A blocking socket, close-on-exec. Every other one is closed, as they all are if the task is.

    Raises:
        AllFailedError: nobody answered.
        SetupError: no socket could be made, or the local address or port cannot be had.
    """
    pending: dict[_socket.socket, Attempt] = {}
    now = time.monotonic()
    try:
        while True:
            while (attempt := plan.due(now)) is not None:
                try:
                    pending[source.dial(attempt.endpoint)] = attempt
                except SetupError:
                    raise
                except OSError as error:
                    _settle_failure(plan, attempt, now, error.errno or errno.EIO, report)
            wake = plan.wake()
            if wake is None:
                raise AllFailedError
            ready = yield Wait(wake, write=list(pending))
            now = time.monotonic() if ready else max(time.monotonic(), wake)
            # All are asked, not only those said to be ready: after a late wake-up a connection that is there must win
            # over a patience that has ended, and an address that was to be preferred over its rivals.
            for sock, attempt in list(pending.items()):
                failure = _outcome(sock)
                if failure is None:
                    if now < attempt.until:
                        continue
                    failure = errno.ETIMEDOUT
                del pending[sock]
                if failure == 0:
                    source.settle(sock)
                    return sock
                sock.close()
                _settle_failure(plan, attempt, now, failure, report)
    finally:
        for sock in pending:
            sock.close()


def _settle_failure(
    plan: Plan, attempt: Attempt, now: float, number: int, report: Callable[[Endpoint, int], None]
) -> None:
    if plan.failed(attempt, now, timed_out=number == errno.ETIMEDOUT):
        report(attempt.endpoint, number)


def _outcome(sock: _socket.socket) -> int | None:
    """0 for a socket that is connected, the error number of one that could not be, None while nobody knows."""
    failure = sock.getsockopt(_socket.SOL_SOCKET, _socket.SO_ERROR)
    if failure:
        return failure
    try:
        sock.getpeername()
    except OSError as error:
        return None if error.errno == errno.ENOTCONN else error.errno
    return 0
