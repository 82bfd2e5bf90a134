"""What the kernel says, as a value: the other half of the evidence beside the environment.

`Facts` is data. `Facts.observe` is the one place of the library that asks the operating system, and it asks no more
than the decision can use: for the usual case, a connected INET socket on descriptor 0, that is three system calls. What
only /proc tells is in `ucspi_env._procfs`.
"""

from ucspi_env._model import Endpoint, Value

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Mapping
    from typing import Any, Literal, Self, TypeAlias

    from ucspi_env._relay import Relay

    Kind: TypeAlias = Literal["socket", "pipe", "chr", "file", "other", "closed"]

__all__ = ["Descriptor", "Facts"]

_NOBODY_AT_ALL = 0xFFFFFFFF  # (uid_t)-1


class Descriptor(Value):
    """What the kernel says about one open descriptor.

    Attributes:
        kind: ``"socket"``, ``"pipe"``, ``"chr"`` (a terminal, /dev/null), ``"file"``, ``"other"`` or ``"closed"``.
        family: for sockets ``"inet"``, ``"inet6"``, ``"unix"`` or ``"other"``, else None.
        type: for sockets ``"stream"``, ``"dgram"`` or ``"other"``, else None.
        sockname: its own name: an `Endpoint`, or for UNIX-domain sockets a path (``@name`` in the abstract namespace,
            empty where it is unnamed); None where there is none.
        peername: the name of the peer it is connected to, in the same form; None where it is not connected.
        listening: whether it is a listening socket.
        peercred: pid, uid and gid of the peer on a connected UNIX-domain socket, or None.
    """

    __slots__ = ("family", "kind", "listening", "peercred", "peername", "sockname", "type")
    kind: "Kind"
    family: "str | None"
    type: "str | None"
    sockname: "Endpoint | str | None"
    peername: "Endpoint | str | None"
    listening: bool
    peercred: "tuple[int, int, int] | None"

    def __init__(
        self,
        kind: "Kind",
        *,
        family: "str | None" = None,
        type: "str | None" = None,
        sockname: "Endpoint | str | None" = None,
        peername: "Endpoint | str | None" = None,
        listening: bool = False,
        peercred: "tuple[int, int, int] | None" = None,
    ) -> None:
        self._set(
            kind=kind,
            family=family,
            type=type,
            sockname=sockname,
            peername=peername,
            listening=listening,
            peercred=peercred,
        )

    @property
    def inet(self) -> bool:
        """Whether it is an IPv4 or IPv6 socket."""
        return self.family in ("inet", "inet6")


class Facts(Value):
    """Everything outside the environment that `identify` may look at. The default is "nothing is known".

    Attributes:
        fd: the descriptor that is meant to be the connection.
        descriptors: what is known about it and about others that matter, as pairs of number and `Descriptor`.
        pid: the process's own id, or None.
        ppid: its parent's, or None.
        grandparent: its parent's parent's, or None: socat's where a shell, or its own fork for one, is in between.
        duplicates: names that are more than once in the raw environment, with their values in order.
        relay: the process at the other end of a connection that is a pipe, a socket pair or a terminal; else None.
    """

    __slots__ = ("descriptors", "duplicates", "fd", "grandparent", "pid", "ppid", "relay")
    fd: int
    descriptors: "tuple[tuple[int, Descriptor], ...]"
    pid: "int | None"
    ppid: "int | None"
    grandparent: "int | None"
    duplicates: "tuple[tuple[str, tuple[str, ...]], ...]"
    relay: "Relay | None"

    def __init__(
        self,
        descriptors: "Mapping[int, Descriptor] | tuple[tuple[int, Descriptor], ...]" = (),
        *,
        fd: int = 0,
        pid: "int | None" = None,
        ppid: "int | None" = None,
        grandparent: "int | None" = None,
        duplicates: "Mapping[str, tuple[str, ...]] | tuple[tuple[str, tuple[str, ...]], ...]" = (),
        relay: "Relay | None" = None,
    ) -> None:
        self._set(
            fd=fd,
            descriptors=tuple(sorted(dict(descriptors).items())),
            pid=pid,
            ppid=ppid,
            grandparent=grandparent,
            duplicates=tuple((name, tuple(values)) for name, values in dict(duplicates).items()),
            relay=relay,
        )

    def descriptor(self, fd: int) -> "Descriptor | None":
        """What is known about descriptor ``fd``, or None."""
        for number, descriptor in self.descriptors:
            if number == fd:
                return descriptor
        return None

    def connected(self) -> "Descriptor | None":
        """The connected INET socket the program was given: on ``fd``, or where that is 0 on 1 (faucet --out)."""
        for fd in (self.fd, 1) if self.fd == 0 else (self.fd,):
            found = self.descriptor(fd)
            if found is not None and found.inet:
                # A socket on 0 that is not connected is the answer, whatever 1 may be.
                return found if isinstance(found.peername, Endpoint) else None
        return None

    @classmethod
    def observe(cls, fd: int = 0, *, trust: "str | None" = None, environ: "Mapping[str, str] | None" = None) -> "Self":
        """Ask the operating system what `identify` can use about this process and its descriptor ``fd``.

        Works wherever Python has sockets; what only Linux tells (peers of other descriptors, the relay, the
        grandparent, duplicate names) is left out elsewhere.

        Args:
            fd: the descriptor that is meant to be the connection.
            trust: what `identify` will be asked with; ``"proxy"`` makes duplicate names part of the question.
            environ: the environment that it will be asked about, None for the process's own. The connections that it
                names are the ones that the kernel is asked about where there is a relay.
        """
        import os

        first = observe_descriptor(fd)
        if first.inet:
            # Two questions only the raw environment can answer: stunnel's pair, and a PROXY wrapper that appends.
            doubtful = (
                trust not in (None, "kernel")
                or (trust is None and "UCSPI_TRUST" in (os.environ if environ is None else environ))
                or (_loopback_pair(first) and "REMOTE_HOST" in os.environ)
            )
            if not doubtful:
                return cls(((fd, first),), fd=fd)
            from ucspi_env import _procfs

            return cls(((fd, first),), fd=fd, duplicates=_procfs.duplicate_names())
        from ucspi_env import _procfs

        descriptors = {fd: first}
        if fd == 0:
            descriptors[1] = observe_descriptor(1)
        if not descriptors.get(1, first).inet:
            for number in _procfs.open_descriptors():
                if number > 2 and number not in descriptors:
                    inherited = observe_descriptor(number)
                    if inherited.kind == "socket":
                        descriptors[number] = inherited
        ppid = os.getppid()
        relay = None
        if first.kind in ("pipe", "chr") or (first.family == "unix" and not (first.sockname or first.peername)):
            from ucspi_env import _relay

            relay = _relay.find(fd, os.environ if environ is None else environ)
        return cls(
            descriptors,
            fd=fd,
            pid=os.getpid(),
            ppid=ppid,
            grandparent=_procfs.parent_of(ppid),
            duplicates=_procfs.duplicate_names(),
            relay=relay,
        )


def _loopback_pair(descriptor: "Descriptor") -> bool:
    """Whether both ends are the same IPv4 loopback address: a local caller, or stunnel's private pair."""
    peer, here = descriptor.peername, descriptor.sockname
    return (
        isinstance(peer, Endpoint)
        and isinstance(here, Endpoint)
        and peer.ip == here.ip
        and peer.ip.version == 4
        and peer.ip.is_loopback
    )


def observe_descriptor(fd: int) -> "Descriptor":
    """What the kernel says about one descriptor of this process; never raises for one that is closed or no socket."""
    kind = _file_kind(fd)
    if kind is not None:
        return Descriptor(kind)
    # The C module under `socket`: that one takes longer to import than the whole library, for enums that are not
    # needed here.
    import _socket

    try:
        sock = _socket.socket(fileno=fd)
    except OSError:  # a socket that will not tell its family
        return Descriptor("socket", family="other")
    try:
        family = {_socket.AF_INET: "inet", getattr(_socket, "AF_INET6", -1): "inet6", _socket.AF_UNIX: "unix"}.get(
            sock.family, "other"
        )
        type = {_socket.SOCK_STREAM: "stream", _socket.SOCK_DGRAM: "dgram"}.get(sock.type, "other")
        sockname = _name(family, sock.getsockname())
        peername: Endpoint | str | None = None
        listening = False
        peercred = None
        try:
            peername = _name(family, sock.getpeername())
        except OSError:
            listening = _listening(sock)
        if family == "unix" and not listening:  # those of a listening socket are of whoever called listen(2)
            peercred = _peercred(sock)
    except OSError:
        return Descriptor("socket", family="other")
    finally:
        sock.detach()
    return Descriptor(
        "socket", family=family, type=type, sockname=sockname, peername=peername, listening=listening, peercred=peercred
    )


def _name(family: str, address: "Any") -> "Endpoint | str | None":
    if family == "unix":
        if isinstance(address, bytes):
            text = address.decode("utf-8", "surrogateescape")
            return "@" + text[1:] if text.startswith("\0") else text
        return str(address)
    if family == "other":
        return None
    host: str = address[0]
    port: int = address[1]
    # (host, port, flow information, scope id) for IPv6
    zone = interface_name(address[3]) if family == "inet6" and address[3] else None
    # Some systems write the zone into the text as well.
    return Endpoint(host.partition("%")[0], port, zone)


def interface_name(index: int) -> str:
    """The name of an interface, or its number where it has gone."""
    import _socket

    try:
        return _socket.if_indextoname(index)
    except OSError:  # the interface has gone since the call came in
        return str(index)


def _listening(sock: "Any") -> bool:
    import _socket

    try:
        return bool(sock.getsockopt(_socket.SOL_SOCKET, _socket.SO_ACCEPTCONN))
    except (OSError, AttributeError):  # not every BSD answers this: the socket then counts as unconnected
        return False


def _peercred(sock: "Any") -> "tuple[int, int, int] | None":
    import _socket
    import sys

    # Linux's: three 32-bit numbers. OpenBSD's has another layout, the others have none.
    if sys.platform != "linux":
        return None
    try:
        raw: bytes = sock.getsockopt(_socket.SOL_SOCKET, _socket.SO_PEERCRED, 12)
    except OSError:
        return None
    pid, uid, gid = (int.from_bytes(raw[at : at + 4], sys.byteorder) for at in (0, 4, 8))
    # A caller in another PID namespace has process id 0; a socket without a peer has user id -1.
    return None if uid == _NOBODY_AT_ALL else (pid, uid, gid)


def _file_kind(fd: int) -> "Kind | None":
    """What kind of descriptor it is; None for a socket."""
    import os
    import stat

    try:
        mode = os.fstat(fd).st_mode
    except (OSError, OverflowError):
        return "closed"
    if stat.S_ISSOCK(mode):
        return None
    if stat.S_ISFIFO(mode):
        return "pipe"
    if stat.S_ISCHR(mode):
        return "chr"
    if stat.S_ISREG(mode):
        return "file"
    return "other"
