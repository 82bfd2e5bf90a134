"""Sockets of other processes, as the kernel knows them: by netlink (``sock_diag(7)``, Linux), else from /proc.

A process that may look at another one's descriptors sees the inode numbers of its sockets. What these are connected to
is in the kernel's tables. netlink answers about one connection (by its ports) and about one UNIX-domain socket (by its
inode), so the cost does not grow with the machine's other connections; it needs no privilege, but a sandbox may forbid
it (``RestrictAddressFamilies=`` of systemd).
"""

import _socket
import struct
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
_MESSAGE = struct.Struct("=IHHII")  # length, type, flags, sequence number, port id
_INET_QUESTION = struct.Struct("=BBBxI")  # family, protocol, extensions, states; `_INET_ID` follows
_INET_ID = struct.Struct("!HH16s16s")  # ports and addresses in network order; interface and cookie follow
_NO_COOKIE = b"\xff" * 8
_INET_ANSWER = struct.Struct("=BB2x48s16xI")  # family, state, `_INET_ID` …, expiry, queues and user, inode
_INODE = slice(68, 72)
_BYTECODE, _PEER_IS = 1, 8
_OPERATION = struct.Struct("=BBH")  # code, how far to go on if it is true, and if it is false
_CONDITION = struct.Struct("=BBxxi")  # family, prefix length, port; the address follows
_UNIX_QUESTION = struct.Struct("=BBHIII8s")  # family, protocol, pad, states, inode, what to show, cookie
_UNIX_SHOW_PEER = 4
_UNIX_ANSWER_LENGTH = 16
_ATTRIBUTE = struct.Struct("=HH")
_UNIX_PEER = 2

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
        identity = _INET_ID.pack(local.port or 0, remote.port or 0, local.ip.packed, remote.ip.packed)
        question = _INET_QUESTION.pack(family, _TCP, 0, 0xFFFFFFFF) + identity + bytes(4) + _NO_COOKIE
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
        question = _INET_QUESTION.pack(family, protocol, 0, _CONNECTED) + bytes(44) + _NO_COOKIE
        if remote is not None:
            question += _only(remote)
        return [
            _read(answer, protocol)
            for answer in self._ask(question, _DUMP)
            if int.from_bytes(answer[_INODE], sys.byteorder) in wanted
        ]

    def listeners(self, endpoint: Endpoint) -> "list[tuple[int, Descriptor]]":
        """Inode and address of the TCP sockets that listen on this address, or on all addresses, and port.

        Raises:
            OSError: the kernel does not answer.
            TooManyError: there are too many.
        """
        identity = _INET_ID.pack(endpoint.port or 0, 0, b"", b"")
        found: list[tuple[int, Descriptor]] = []
        for family, protocol in KINDS[:2]:
            question = _INET_QUESTION.pack(family, protocol, 0, 1 << _LISTEN) + identity + bytes(4) + _NO_COOKIE
            found += [
                listener
                for listener in (_read(answer, protocol) for answer in self._ask(question, _DUMP))
                if is_called_by(listener[1], endpoint)
            ]
        return found

    def unix_peer(self, inode: int) -> "int | None":
        """The inode of the socket at the other end of a connected UNIX-domain socket; 0 where it has none.

        None where ``inode`` is not a UNIX-domain socket of this network namespace.
        """
        question = _UNIX_QUESTION.pack(_socket.AF_UNIX, 0, 0, 0xFFFFFFFF, inode, _UNIX_SHOW_PEER, _NO_COOKIE)
        for answer in self._ask(question, 0):
            at = _UNIX_ANSWER_LENGTH
            while at + _ATTRIBUTE.size <= len(answer):
                length, kind = _ATTRIBUTE.unpack_from(answer, at)
                if kind == _UNIX_PEER:
                    return int.from_bytes(answer[at + 4 : at + 8], sys.byteorder)
                at += max(length + 3 & ~3, 4)
            return 0
        return None

    def _ask(self, question: bytes, flags: int) -> "list[bytes]":
        """All answers to one question; none where the kernel has no such socket."""
        length = _MESSAGE.size + len(question)
        self._socket.send(_MESSAGE.pack(length, _SOCK_DIAG_BY_FAMILY, _REQUEST | flags, 1, 0) + question)
        answers: list[bytes] = []
        while True:
            data = self._socket.recv(1 << 16)
            at = 0
            while at + _MESSAGE.size <= len(data):
                length, kind, _, _, _ = _MESSAGE.unpack_from(data, at)
                if kind == _DONE:
                    return answers
                if kind == _ERROR:
                    error = -int.from_bytes(data[at + 16 : at + 20], sys.byteorder, signed=True)
                    if error in (0, ENOENT):  # there is no such socket
                        return answers
                    raise OSError(error, "sock_diag")
                if len(answers) == _MOST:
                    raise TooManyError
                answers.append(data[at + _MESSAGE.size : at + length])
                at += max(length + 3 & ~3, _MESSAGE.size)
            if not flags:
                return answers


def is_called_by(listener: Descriptor, endpoint: Endpoint) -> bool:
    """Whether a listening socket takes the calls to this address and port."""
    here = listener.sockname
    return isinstance(here, Endpoint) and here.port == endpoint.port and (not int(here.ip) or here.ip == endpoint.ip)


def _only(remote: Endpoint) -> bytes:
    """A filter for the kernel (INET_DIAG_REQ_BYTECODE): one condition about the other end."""
    # Matched by sockets of both families: an IPv4 condition is true of IPv4-mapped addresses, too.
    address = remote.ip.packed
    family = _socket.AF_INET if len(address) == 4 else _socket.AF_INET6
    condition = _CONDITION.pack(family, len(address) * 8, -1 if remote.port is None else remote.port) + address
    length = _OPERATION.size + len(condition)
    code = _OPERATION.pack(_PEER_IS, length, length + _OPERATION.size) + condition
    return _ATTRIBUTE.pack(_ATTRIBUTE.size + len(code), _BYTECODE) + code


def _read(answer: bytes, protocol: int) -> "tuple[int, Descriptor]":
    family, state, identity, inode = _INET_ANSWER.unpack_from(answer)
    here, there, source, destination = _INET_ID.unpack_from(identity)
    size = 4 if family == _socket.AF_INET else 16
    index = int.from_bytes(identity[36:40], sys.byteorder)
    zone = interface_name(index) if index else None
    return inode, Descriptor(
        "socket",
        family="inet" if size == 4 else "inet6",
        type="stream" if protocol == _TCP else "dgram",
        sockname=Endpoint(_socket.inet_ntop(family, source[:size]), here, zone),
        peername=Endpoint(_socket.inet_ntop(family, destination[:size]), there, zone)
        if _CONNECTED >> state & 1
        else None,
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
