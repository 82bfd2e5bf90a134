"""A stage for made-up connections: real TCP between any two addresses, without touching the machine's network.

An agent process moves into a network namespace of its own (with a user namespace around it, so that no privilege is
needed), takes the claimed addresses onto its loopback, makes the connections there and hands their ends out over a
UNIX-domain socket. A socket belongs for life to the namespace it was made in, so a program outside that is given one
end sees, when it asks the kernel, exactly the addresses that were claimed.

Where namespaces are not allowed (other systems, some containers) there is only an unnamed socket pair: `Stage.reason`
says why.
"""

from __future__ import annotations

import ctypes
import errno
import os
import socket
import struct
import sys
import time

from ucspi_env._model import Endpoint

TYPE_CHECKING = False
if TYPE_CHECKING:
    from typing import NoReturn, Self

CLONE_NEWUSER = 0x10000000
CLONE_NEWNET = 0x40000000

# linux/rtnetlink.h, linux/if_addr.h, linux/if_link.h
RTM_NEWLINK, RTM_NEWADDR = 16, 20
NLM_F_REQUEST, NLM_F_ACK, NLM_F_EXCL, NLM_F_CREATE = 1, 4, 0x200, 0x400
NLMSG_ERROR = 2
IFLA_IFNAME, IFLA_LINKINFO, IFLA_INFO_KIND = 3, 18, 1
IFA_ADDRESS, IFA_LOCAL = 1, 2
IFA_F_NODAD = 0x02
IFF_UP = 1

_KINDS = (b"dummy", b"ifb", b"bridge", b"veth")  # which of them a kernel has is its builder's choice
_OK = b"+"
_PATIENCE = 5.0  # seconds
_PAUSE = 0.005
_NO_SUCH_INDEX = 0x10000  # an interface number that no machine has


class StageError(Exception):
    """A connection that was asked for cannot be made; the message says why."""


class Stage:
    """Makes connections between claimed addresses. A context manager; the agent lives as long as it.

    Attributes:
        reason: empty, or why there are only unnamed socket pairs here.
    """

    def __init__(self) -> None:
        self.reason = ""
        self._agent = 0
        self._link: socket.socket | None = None

    def __enter__(self) -> Self:
        if sys.platform != "linux":
            self.reason = "only Linux has network namespaces"
            return self
        ours, theirs = socket.socketpair(socket.AF_UNIX, socket.SOCK_SEQPACKET)
        self._agent = os.fork()
        if not self._agent:
            ours.close()
            _agent(theirs)
        theirs.close()
        said = ours.recv(1000)
        if said == _OK:
            self._link = ours
        else:
            self.reason = said.decode(errors="replace") or "the namespace agent did not start"
            ours.close()
            os.waitpid(self._agent, 0)
        return self

    def __exit__(self, *error: object) -> None:
        if self._link is not None:
            self._link.close()
            self._link = None
            os.waitpid(self._agent, 0)

    def connect(
        self, remote: Endpoint, local: Endpoint, *, mapped: bool = False
    ) -> tuple[socket.socket, socket.socket]:
        """Connect ``remote`` to ``local``; ports that are None or 0 are the kernel's choice.

        Args:
            remote: the caller.
            local: the called address, of the same family.
            mapped: accept an IPv4 caller on a dual-stack socket, whose kernel peer is IPv4-mapped then.

        Returns:
            The server's end and the client's end, both blocking and close-on-exec.

        Raises:
            StageError: the addresses cannot be used (two families, a multicast address, a taken port).
        """
        if remote.ip.version != local.ip.version:
            msg = f"{remote.ip} cannot call {local.ip}: two families"
            raise StageError(msg)
        if self._link is None:
            return socket.socketpair()
        self._link.send(bytes([mapped]) + f"{remote} {local} {_index_here(remote.zone or local.zone)}".encode())
        said, fds, _, _ = socket.recv_fds(self._link, 1000, 2)
        if said != _OK:
            raise StageError(said.decode(errors="replace") or "the namespace agent has died")
        server, client = (socket.socket(fileno=fd) for fd in fds)
        return server, client


def _index_here(zone: str | None) -> int:
    """The number that the zone's interface has out here, where the program will ask for its name."""
    if zone is None or zone.isdigit():
        return 0
    try:
        return socket.if_nametoindex(zone)
    except OSError:
        return _NO_SUCH_INDEX


# -- inside the agent --


def _agent(link: socket.socket) -> NoReturn:
    """Serve requests until the stage closes its end; never returns into the caller's code."""
    status = 1
    try:
        _enter_namespace()
        link.send(_OK)
        owned: set[str] = set()
        while request := link.recv(1000):
            *names, index = request[1:].decode().split(" ")
            remote, local = (Endpoint.parse(name) for name in names)
            try:
                for end in (remote, local):
                    name = str(Endpoint(end.ip, None, end.zone))
                    if name not in owned:
                        _own(end, int(index))
                        owned.add(name)
                server, client = _connection(remote, local, mapped=bool(request[0]))
            except OSError as error:
                link.send(f"cannot connect {remote} to {local}: {error.strerror}".encode())
            else:
                socket.send_fds(link, [_OK], [server.fileno(), client.fileno()])
                server.close()
                client.close()
        status = 0
    except OSError as error:
        link.send(f"network namespaces are not allowed here: {error.strerror}".encode())
    finally:
        os._exit(status)


def _enter_namespace() -> None:
    """Move into new user and network namespaces; where a user namespace is refused, root may do without."""
    libc = ctypes.CDLL(None, use_errno=True)
    if libc.unshare(CLONE_NEWUSER | CLONE_NEWNET) and libc.unshare(CLONE_NEWNET):
        number = ctypes.get_errno()
        raise OSError(number, os.strerror(number))
    with _netlink() as link:
        _talk(link, RTM_NEWLINK, struct.pack("=BxHiII", 0, 0, socket.if_nametoindex("lo"), IFF_UP, IFF_UP), 0)


def _connection(remote: Endpoint, local: Endpoint, *, mapped: bool) -> tuple[socket.socket, socket.socket]:
    """Listen, call and accept, as soon as the kernel is ready to use addresses that it has just been given.

    Linux puts a new IPv6 address into its routes from a work queue, so for a moment it can be neither bound nor called.
    """
    deadline = time.monotonic() + _PATIENCE
    while True:
        try:
            server, client = _call(remote, local, mapped=mapped)
        except OSError as error:
            if error.errno not in (errno.ENETUNREACH, errno.EADDRNOTAVAIL) or time.monotonic() > deadline:
                raise
            time.sleep(_PAUSE)
        else:
            if Endpoint(server.getpeername()[0].partition("%")[0]).ip == remote.ip:
                return server, client
            server.close()
            client.close()
            raise OSError(errno.EADDRNOTAVAIL, "the kernel calls from another address")


def _call(remote: Endpoint, local: Endpoint, *, mapped: bool) -> tuple[socket.socket, socket.socket]:
    family = socket.AF_INET6 if mapped or local.ip.version == 6 else socket.AF_INET
    with socket.socket(family) as listener:
        listener.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        if mapped:
            listener.setsockopt(socket.IPPROTO_IPV6, socket.IPV6_V6ONLY, 0)
            listener.bind((f"::ffff:{local.ip}", local.port or 0))
        else:
            listener.bind(local.sockaddr(_scope(local)))
        listener.listen(1)
        client = socket.socket(socket.AF_INET6 if remote.ip.version == 6 else socket.AF_INET)
        try:
            client.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
            client.bind(remote.sockaddr(_scope(remote)))
            there = Endpoint(local.ip, listener.getsockname()[1], local.zone)
            client.connect(there.sockaddr(_scope(local)))
        except OSError:
            client.close()
            raise
        return listener.accept()[0], client


def _scope(end: Endpoint) -> int:
    return socket.if_nametoindex(end.zone) if end.zone and not end.zone.isdigit() else 0


def _own(end: Endpoint, zone_index: int) -> None:
    """Take an address: onto the loopback, a link-local one onto an interface with the name and number of its zone."""
    if end.ip.is_loopback:
        return
    index = socket.if_nametoindex("lo")
    with _netlink() as link:
        if end.zone and not end.zone.isdigit():
            index = _interface(link, end.zone, zone_index)
        family = socket.AF_INET6 if end.ip.version == 6 else socket.AF_INET
        length = end.ip.max_prefixlen
        body = struct.pack("=BBBBi", family, length, IFA_F_NODAD, 0, index)
        packed = end.ip.packed
        _talk(link, RTM_NEWADDR, body + _attribute(IFA_LOCAL, packed) + _attribute(IFA_ADDRESS, packed))


def _interface(link: socket.socket, name: str, number: int) -> int:
    """The number of the interface ``name``, which is made if it is not there: nothing ever leaves it."""
    for kind in _KINDS:
        try:
            return socket.if_nametoindex(name)
        except OSError:
            info = _attribute(IFLA_LINKINFO, _attribute(IFLA_INFO_KIND, kind))
            body = struct.pack("=BxHiII", 0, 0, number, IFF_UP, IFF_UP) + _attribute(IFLA_IFNAME, name.encode() + b"\0")
            try:
                _talk(link, RTM_NEWLINK, body + info)
            except OSError as error:
                if error.errno != errno.EOPNOTSUPP:
                    raise
    return socket.if_nametoindex(name)


def _netlink() -> socket.socket:
    return socket.socket(socket.AF_NETLINK, socket.SOCK_RAW, socket.NETLINK_ROUTE)


def _attribute(kind: int, value: bytes) -> bytes:
    """One attribute of rtnetlink(7), padded to four bytes."""
    length = 4 + len(value)
    return struct.pack("=HH", length, kind) + value + bytes(-length % 4)


def _talk(link: socket.socket, kind: int, body: bytes, flags: int = NLM_F_CREATE | NLM_F_EXCL) -> None:
    """Send one request of rtnetlink(7) and wait for its acknowledgement; what exists already is no error."""
    flags |= NLM_F_REQUEST | NLM_F_ACK
    link.send(struct.pack("=IHHII", 16 + len(body), kind, flags, 1, 0) + body)
    reply = link.recv(4096)
    number = -struct.unpack_from("=i", reply, 16)[0] if struct.unpack_from("=H", reply, 4)[0] == NLMSG_ERROR else 0
    if number and number != errno.EEXIST:
        raise OSError(number, os.strerror(number))
