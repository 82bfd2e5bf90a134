"""Sockets of other processes, as the kernel knows them: by netlink (``sock_diag(7)``, Linux), else from /proc.

A process that may look at another one's descriptors sees the inode numbers of its sockets. What these are connected to
is in the kernel's tables. netlink answers about one connection (by its ports) and about one UNIX-domain socket (by its
inode), so the cost does not grow with the machine's other connections; it needs no privilege, but a sandbox may forbid
it (``RestrictAddressFamilies=`` of systemd).
"""

import _socket
import sys
from errno import ENOENT

from ucspi_env._facts import Descriptor, interface_name
from ucspi_env._model import Endpoint

TYPE_CHECKING = False
if TYPE_CHECKING:
    from typing import Any, Self

# linux/netlink.h, linux/sock_diag.h, linux/inet_diag.h, linux/unix_diag.h
_NETLINK_SOCK_DIAG = 4
_SOCK_DIAG_BY_FAMILY = 20
_ERROR, _DONE = 2, 3
_REQUEST, _DUMP = 0x1, 0x300
_HEADER = 16  # length, type, flags, sequence number, port id
_NO_COOKIE = b"\xff" * 8
_ENDS = slice(4, 40)  # of an answer about an INET socket: ports and addresses of both ends, in network order
_INTERFACE, _INODE = slice(40, 44), slice(68, 72)
_BYTECODE, _PEER_IS = 1, 8
_V6ONLY = 11
_UNIX_SHOW_PEER, _UNIX_PEER = 4, 2
_UNIX_ANSWER = 16  # family, type, state, inode, cookie; attributes follow

_TCP, _UDP = 6, 17
KINDS = tuple((family, protocol) for protocol in (_TCP, _UDP) for family in (_socket.AF_INET, _socket.AF_INET6))
"""Family and protocol of the sockets that have addresses and ports."""
_LISTEN = 10
# All states that have a peer: neither TIME_WAIT (6), CLOSE (7) nor LISTEN (10).
_CONNECTED = sum(1 << state for state in (1, 2, 3, 4, 5, 8, 9, 11))
_MOST = 1 << 18
"""Sockets that are looked at before the search is given up."""


class TooManyError(Exception):
    """There are more sockets than this is willing to read."""


class SocketTable:
    """The sockets of this network namespace. A context manager.

    Raises:
        OSError: netlink is not to be had.
    """

    def __init__(self) -> None:
        self._socket: Any = _socket.socket(getattr(_socket, "AF_NETLINK", -1), _socket.SOCK_RAW, _NETLINK_SOCK_DIAG)
        # The kernel answers within the call; a time limit keeps a strange one from blocking a server.
        self._socket.settimeout(1.0)

    def __enter__(self) -> "Self":
        return self

    def __exit__(self, *error: object) -> None:
        self._socket.close()

    def find(self, remote: Endpoint, local: Endpoint) -> "list[tuple[int, Descriptor]]":
        """The TCP socket of one connection: inode and addresses; nothing where there is none.

        Both ends have ports. This is a look-up in the kernel's hash table, whatever else is connected.

        Raises:
            OSError: the kernel does not answer.
        """
        if remote.ip.version != local.ip.version:
            return []
        # An IPv6 socket whose addresses are IPv4-mapped is found as the IPv4 one that it stands for.
        family = _socket.AF_INET if remote.ip.version == 4 else _socket.AF_INET6
        question = _question(family, _TCP, 0xFFFFFFFF, local, remote)
        return [found for answer in self._ask(question, 0) if (found := _read(answer, _TCP))[1].peername is not None]

    def connected(
        self, kind: "tuple[int, int]", wanted: "set[int]", remote: "Endpoint | None" = None
    ) -> "list[tuple[int, Descriptor]]":
        """Inode and addresses of connected sockets.

        Args:
            kind: one of `KINDS`.
            wanted: the inodes to tell about.
            remote: only those with this peer, with any port where it has none; None for all.

        Raises:
            OSError: the kernel does not answer.
            TooManyError: there are too many.
        """
        family, protocol = kind
        question = _question(family, protocol, _CONNECTED)
        if remote is not None:
            question += _only(remote)
        return [_read(answer, protocol) for answer in self._ask(question, _DUMP) if _number(answer[_INODE]) in wanted]

    def listeners(self, endpoint: Endpoint) -> "list[tuple[int, Descriptor]]":
        """Inode and address of the TCP sockets that listen on this address, or on all addresses, and port.

        Raises:
            OSError: the kernel does not answer.
            TooManyError: there are too many.
        """
        found: list[tuple[int, Descriptor]] = []
        for family, protocol in KINDS[:2]:
            question = _question(family, protocol, 1 << _LISTEN, Endpoint("0.0.0.0", endpoint.port))  # noqa: S104
            for answer in self._ask(question, _DUMP):
                inode, listener = _read(answer, protocol)
                if is_called_by(listener, endpoint, both_families=_takes_both_families(answer)):
                    found.append((inode, listener))
        return found

    def unix_peer(self, inode: int) -> "int | None":
        """The inode of the socket at the other end of a connected UNIX-domain socket; 0 where it has none.

        None where ``inode`` is not a UNIX-domain socket of this network namespace.
        """
        question = bytes([_socket.AF_UNIX, 0, 0, 0]) + _word(0xFFFFFFFF) + _word(inode) + _word(_UNIX_SHOW_PEER)
        for answer in self._ask(question + _NO_COOKIE, 0):
            peer = _attribute(answer, _UNIX_ANSWER, _UNIX_PEER)
            return 0 if peer is None else _number(peer)
        return None

    def _ask(self, question: bytes, flags: int) -> "list[bytes]":
        """All answers to one question; none where the kernel has no such socket."""
        header = _word(_HEADER + len(question)) + _half(_SOCK_DIAG_BY_FAMILY) + _half(_REQUEST | flags)
        self._socket.send(header + _word(1) + _word(0) + question)
        answers: list[bytes] = []
        while True:
            data = self._socket.recv(1 << 16)
            at = 0
            while at + _HEADER <= len(data):
                length, kind = _number(data[at : at + 4]), _number(data[at + 4 : at + 6])
                if kind == _DONE:
                    return answers
                if kind == _ERROR:
                    error = -int.from_bytes(data[at + 16 : at + 20], sys.byteorder, signed=True)
                    if error in (0, ENOENT):  # there is no such socket
                        return answers
                    raise OSError(error, "sock_diag")
                if len(answers) == _MOST:
                    raise TooManyError
                answers.append(data[at + _HEADER : at + length])
                at += max(length + 3 & ~3, _HEADER)
            if not flags:
                return answers


def _number(data: bytes) -> int:
    return int.from_bytes(data, sys.byteorder)


def _word(number: int) -> bytes:
    return number.to_bytes(4, sys.byteorder)


def _half(number: int) -> bytes:
    return number.to_bytes(2, sys.byteorder)


def _attribute(answer: bytes, at: int, wanted: int) -> "bytes | None":
    """One of the attributes (``struct rtattr``) that begin at ``at`` in an answer; None where it is not there."""
    while at + 4 <= len(answer):
        length, kind = _number(answer[at : at + 2]), _number(answer[at + 2 : at + 4])
        if kind == wanted:
            return answer[at + 4 : at + length]
        at += max(length + 3 & ~3, 4)
    return None


def _takes_both_families(answer: bytes) -> bool:
    """Whether an answer about a listening IPv6 socket says that it is not IPv6-only."""
    return _attribute(answer, _INODE.stop, _V6ONLY) == b"\0"


def _question(
    family: int, protocol: int, states: int, local: "Endpoint | None" = None, remote: "Endpoint | None" = None
) -> bytes:
    """A question about INET sockets (``inet_diag_req_v2``): only ports count where many are asked about."""
    ports = b"".join((end.port or 0 if end else 0).to_bytes(2, "big") for end in (local, remote))
    addresses = b"".join((end.ip.packed if end else b"").ljust(16, b"\0") for end in (local, remote))
    return bytes([family, protocol, 0, 0]) + _word(states) + ports + addresses + bytes(4) + _NO_COOKIE


def is_called_by(listener: Descriptor, endpoint: Endpoint, *, both_families: bool = False) -> bool:
    """Whether a listening socket takes the calls to this address and port.

    Args:
        listener: the socket.
        endpoint: the address that was called.
        both_families: whether a listener on ``::`` takes IPv4 calls, too; otherwise that counts as not known.
    """
    here = listener.sockname
    if not isinstance(here, Endpoint) or here.port != endpoint.port:
        return False
    if here.ip == endpoint.ip:
        return True
    version = 4 if listener.family == "inet" else 6
    return not int(here.ip) and (version == endpoint.ip.version or (version == 6 and both_families))


def _only(remote: Endpoint) -> bytes:
    """A filter for the kernel (INET_DIAG_REQ_BYTECODE): one condition about the other end."""
    # Matched by sockets of both families: an IPv4 condition is true of IPv4-mapped addresses, too.
    address = remote.ip.packed
    family = _socket.AF_INET if len(address) == 4 else _socket.AF_INET6
    port = 0xFFFFFFFF if remote.port is None else remote.port  # -1: any
    condition = bytes([family, len(address) * 8, 0, 0]) + _word(port) + address
    # Code, how far to go on if it is true, and if it is false: past the end, which refuses the socket.
    length = 4 + len(condition)
    code = bytes([_PEER_IS, length]) + _half(length + 4) + condition
    return _half(4 + len(code)) + _half(_BYTECODE) + code


def _read(answer: bytes, protocol: int) -> "tuple[int, Descriptor]":
    family, state = answer[0], answer[1]
    ends = answer[_ENDS]
    size = 4 if family == _socket.AF_INET else 16
    here = _socket.inet_ntop(family, ends[4 : 4 + size])
    there = _socket.inet_ntop(family, ends[20 : 20 + size])
    index = _number(answer[_INTERFACE])
    zone = interface_name(index) if index else None
    peer = Endpoint(there, int.from_bytes(ends[2:4], "big"), zone) if _CONNECTED >> state & 1 else None
    return _number(answer[_INODE]), Descriptor(
        "socket",
        family="inet" if size == 4 else "inet6",
        type="stream" if protocol == _TCP else "dgram",
        sockname=Endpoint(here, int.from_bytes(ends[:2], "big"), zone),
        peername=peer,
        listening=state == _LISTEN,
    )


# -- /proc, for other network namespaces, and where netlink is forbidden --

_TABLES = (("tcp", 4), ("tcp6", 16), ("udp", 4), ("udp6", 16))
_LONGEST_TABLE = 16 << 20


def read_tables(folder: int) -> "list[tuple[int, Descriptor]]":
    """Inode and addresses of the connected and the listening sockets of one process's network namespace.

    Args:
        folder: a descriptor of the process's folder in /proc.

    Raises:
        OSError: it cannot be read.
        TooManyError: it is too long.
    """
    import os

    found: list[tuple[int, Descriptor]] = []
    for name, size in _TABLES:
        try:
            fd = os.open(f"net/{name}", os.O_RDONLY | os.O_CLOEXEC, dir_fd=folder)
        except FileNotFoundError:  # a kernel without IPv6
            continue
        try:
            parts: list[bytes] = []
            length = 0
            while part := os.read(fd, 1 << 20):
                parts.append(part)
                length += len(part)
                if length > _LONGEST_TABLE:
                    raise TooManyError
        finally:
            os.close(fd)
        for line in b"".join(parts).split(b"\n")[1:]:
            words = line.split()
            if len(words) < 10:
                continue
            state = int(words[3], 16)
            listening = name.startswith("tcp") and state == _LISTEN
            if not (listening or _CONNECTED >> state & 1):
                continue
            found.append(
                (
                    int(words[9]),
                    Descriptor(
                        "socket",
                        family="inet" if size == 4 else "inet6",
                        type="stream" if name.startswith("tcp") else "dgram",
                        sockname=_hexadecimal(words[1]),
                        peername=None if listening else _hexadecimal(words[2]),
                        listening=listening,
                    ),
                )
            )
    return found


def _hexadecimal(text: bytes) -> Endpoint:
    """An address as /proc/net has it: 32-bit words of this machine's byte order, and the port."""
    address, _, port = text.partition(b":")
    raw = bytes.fromhex(address.decode())
    if sys.byteorder == "little":
        raw = b"".join(raw[at : at + 4][::-1] for at in range(0, len(raw), 4))
    family = _socket.AF_INET if len(raw) == 4 else _socket.AF_INET6
    return Endpoint(_socket.inet_ntop(family, raw), int(port, 16))
