"""The agent of `_stage`: a program of its own, started without the package, that owns a private network.

It moves into new user and network namespaces, then serves one request after the other over the UNIX-domain socket that
is its descriptor 0: ``KIND MAPPED IP PORT ZONE IP PORT ZONE INDEX`` (the caller's end first, ``-`` for no zone). The
answer is ``+`` with the two ends, or why it cannot be. It ends when the other end of that socket is closed.
"""

from __future__ import annotations

import ctypes
import errno
import os
import socket
import struct
import time
from ipaddress import IPv4Address, ip_address

TYPE_CHECKING = False
if TYPE_CHECKING:
    from ipaddress import IPv6Address
    from typing import TypeAlias

    End: TypeAlias = tuple[IPv4Address | IPv6Address, int, str]
    Ends: TypeAlias = tuple[socket.socket, socket.socket]

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
_PATIENCE = 5.0  # seconds
_PAUSE = 0.002


def serve(link: socket.socket) -> None:
    """Enter the namespace and answer requests until the other end is closed."""
    try:
        _enter_namespace()
    except OSError as error:
        link.send(f"network namespaces are not allowed here: {error.strerror}".encode())
        return
    link.send(b"+")
    owned: set[tuple[object, str]] = set()
    while request := link.recv(1000):
        kind, mapped, *words, index = request.decode().split(" ")
        remote, local = _end(words[:3]), _end(words[3:])
        try:
            for ip, _, zone in (remote, local):
                if (ip, zone) not in owned:
                    _own(ip, zone, int(index))
                    owned.add((ip, zone))
            server, client = _connection(remote, local, udp=kind == "udp", mapped=mapped == "1")
        except OSError as error:
            link.send(f"cannot connect {_text(remote)} to {_text(local)}: {error.strerror}".encode())
        else:
            with server, client:
                socket.send_fds(link, [b"+"], [server.fileno(), client.fileno()])


def _end(words: list[str]) -> End:
    ip, port, zone = words
    return ip_address(ip), int(port), "" if zone == "-" else zone


def _text(end: End) -> str:
    ip, port, zone = end
    return f"{ip}:{port}" if ip.version == 4 else f"[{ip}{'%' if zone else ''}{zone}]:{port}"


def _enter_namespace() -> None:
    """Move into new user and network namespaces; where a user namespace is refused, root may do without."""
    libc = ctypes.CDLL(None, use_errno=True)
    if libc.unshare(CLONE_NEWUSER | CLONE_NEWNET) and libc.unshare(CLONE_NEWNET):
        number = ctypes.get_errno()
        raise OSError(number, os.strerror(number))
    with _netlink() as link:
        _talk(link, RTM_NEWLINK, struct.pack("=BxHiII", 0, 0, socket.if_nametoindex("lo"), IFF_UP, IFF_UP), 0)


def _connection(remote: End, local: End, *, udp: bool, mapped: bool) -> Ends:
    """Connect, and make sure that the kernel did not choose another source address."""
    server, client = (_pair if udp else _call)(remote, local, mapped=mapped)
    seen = ip_address(server.getpeername()[0].partition("%")[0])
    if seen == remote[0] or getattr(seen, "ipv4_mapped", None) == remote[0]:
        return server, client
    server.close()
    client.close()
    raise OSError(errno.EADDRNOTAVAIL, "the kernel calls from another address")


def _call(remote: End, local: End, *, mapped: bool) -> Ends:
    """Listen, call and accept."""
    with _bound(socket.SOCK_STREAM, local, mapped=mapped) as listener:
        listener.listen(1)
        client = _bound(socket.SOCK_STREAM, remote)
        try:
            client.connect(_address((local[0], listener.getsockname()[1], local[2])))
        except OSError:
            client.close()
            raise
        return listener.accept()[0], client


def _pair(remote: End, local: End, *, mapped: bool) -> Ends:
    """Two UDP sockets, each connected to the other."""
    server = _bound(socket.SOCK_DGRAM, local, mapped=mapped)
    try:
        client = _bound(socket.SOCK_DGRAM, remote)
        try:
            client.connect(_address((local[0], server.getsockname()[1], local[2])))
            server.connect(_address((remote[0], client.getsockname()[1], remote[2]), mapped=mapped))
        except OSError:
            client.close()
            raise
    except OSError:
        server.close()
        raise
    return server, client


def _bound(kind: socket.SocketKind, end: End, *, mapped: bool = False) -> socket.socket:
    sock = socket.socket(socket.AF_INET6 if mapped or end[0].version == 6 else socket.AF_INET, kind)
    try:
        sock.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        if mapped:
            sock.setsockopt(socket.IPPROTO_IPV6, socket.IPV6_V6ONLY, 0)
        sock.bind(_address(end, mapped=mapped))
    except OSError:
        sock.close()
        raise
    return sock


def _address(end: End, *, mapped: bool = False) -> tuple[str, int] | tuple[str, int, int, int]:
    ip, port, zone = end
    if ip.version == 4:
        return (f"::ffff:{ip}", port, 0, 0) if mapped else (str(ip), port)
    return str(ip), port, 0, (int(zone) if zone.isdigit() else socket.if_nametoindex(zone)) if zone else 0


def _own(ip: IPv4Address | IPv6Address, zone: str, zone_index: int) -> None:
    """Take an address: onto the loopback, a link-local one onto an interface with the name and number of its zone."""
    if ip.is_loopback:
        return
    index = socket.if_nametoindex("lo")
    with _netlink() as link:
        if zone.isdigit():
            index = _interface(link, f"zone{zone}", int(zone))
        elif zone:
            index = _interface(link, zone, zone_index)
        family = socket.AF_INET6 if ip.version == 6 else socket.AF_INET
        body = struct.pack("=BBBBi", family, ip.max_prefixlen, IFA_F_NODAD, 0, index)
        _talk(link, RTM_NEWADDR, body + _attribute(IFA_LOCAL, ip.packed) + _attribute(IFA_ADDRESS, ip.packed))
    _await((ip, 0, zone))


def _await(end: End) -> None:
    """Wait until packets to this address arrive.

    Linux puts a new IPv6 address into its routes from a work queue. For a moment it can be neither bound nor called, or
    can be, and the first packets are lost: TCP would take a second to send them again.
    """
    deadline = time.monotonic() + _PATIENCE
    while True:
        try:
            with _bound(socket.SOCK_DGRAM, end) as probe:
                probe.connect(probe.getsockname())
                probe.setblocking(False)
                probe.send(b"?")
                if probe.recv(1):
                    return
        except OSError as error:
            late = error.errno in (errno.ENETUNREACH, errno.EADDRNOTAVAIL, errno.EAGAIN, errno.ECONNREFUSED)
            if not late or time.monotonic() > deadline:
                raise
        time.sleep(_PAUSE)


def _interface(link: socket.socket, name: str, number: int) -> int:
    """The number of the interface ``name``, which is made if it is not there: nothing ever leaves it."""
    if number and number == socket.if_nametoindex("lo"):
        return number
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


if __name__ == "__main__":
    with socket.socket(fileno=0) as own_link:
        serve(own_link)
