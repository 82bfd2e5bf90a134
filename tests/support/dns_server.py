"""A name server for tests: a few names, and every kind of misbehaviour, over UDP and TCP.

It has an encoder of its own, so that an error in the suite's codec cannot hide by being on both sides. It runs in a
thread, on a port that the kernel chose, or on port 53 of a `Namespace`, where programs without a port setting find it::

    with DNSServer({"a.example": {"A": ["192.0.2.1"]}, "2.2.0.192.in-addr.arpa": {"PTR": ["b.example"]}}) as dns:
        resolver = Resolver([dns.endpoint])
    with DNSServer(zone, namespace=namespace, host="127.0.0.53", port=53) as dns:
        namespace.run([tcpclient, ...], env={"DNSCACHEIP": "127.0.0.53"})
"""

from __future__ import annotations

import ipaddress
import os
import selectors
import socket
import struct
import threading
from typing import TYPE_CHECKING, NamedTuple, Self

from ucspi_env import Endpoint

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping, Sequence

    from tests.support.netns import Namespace

    Zone = Mapping[str, Mapping[str, Sequence[str | bytes]]]

TYPES = {"A": 1, "NS": 2, "CNAME": 5, "SOA": 6, "PTR": 12, "TXT": 16, "AAAA": 28}
NOERROR, FORMERR, SERVFAIL, NXDOMAIN, REFUSED = 0, 1, 2, 3, 5


class Query(NamedTuple):
    """A question that arrived."""

    name: str  # as asked, without the trailing dot; bytes that are not ASCII letters and such as backslash and octal
    kind: str  # "A", "AAAA", …
    ident: int
    transport: str  # "udp" or "tcp"
    source: tuple[str, int]
    packet: bytes

    @property
    def question(self) -> bytes:
        """The question section."""
        return self.packet[12:]


def encode_name(text: str | bytes) -> bytes:
    """A name as it travels; ``bytes`` are taken to be that already."""
    if isinstance(text, bytes):
        return text
    labels = [label.encode("latin-1") for label in text.split(".") if label]
    return b"".join(bytes([len(label)]) + label for label in labels) + b"\0"


def encode_data(kind: str, value: str | bytes) -> bytes:
    """The data of one record; ``bytes`` are taken to be that already, except for TXT, where they are the text."""
    if kind == "TXT":
        text = value if isinstance(value, bytes) else value.encode()
        pieces = [text[at : at + 255] for at in range(0, len(text), 255)] or [b""]
        return b"".join(bytes([len(piece)]) + piece for piece in pieces)
    if isinstance(value, bytes):
        return value
    if kind in ("A", "AAAA"):
        return ipaddress.ip_address(value).packed
    return encode_name(value)


def record(owner: str | bytes, kind: str, value: str | bytes, ttl: int = 60) -> bytes:
    """One record of an answer."""
    data = encode_data(kind, value)
    return encode_name(owner) + struct.pack("!HHIH", TYPES[kind], 1, ttl, len(data)) + data


def respond(
    query: Query, *records: bytes, rcode: int = NOERROR, flags: int = 0x8180, count: int | None = None
) -> bytes:
    """A response: header, the question again, these answer records."""
    number = len(records) if count is None else count
    return struct.pack("!6H", query.ident, flags | rcode, 1, number, 0, 0) + query.question + b"".join(records)


class DNSServer:
    """Answers from ``zone``; what ``special`` says about a query comes first.

    Args:
        zone: name → type → values. A name that is not there gets NXDOMAIN, a type that is not there an empty answer.
            A CNAME is followed within the zone. Names are compared without regard to case.
        special: gets each query; returns None for the ordinary answer, or the packets to send instead (``[]``: none).
        host: the address to listen on.
        port: 0 for one that the kernel chooses.
        namespace: where the sockets live.
        tcp: whether to listen for TCP as well.
    """

    def __init__(
        self,
        zone: Zone,
        special: Callable[[Query], list[bytes] | None] | None = None,
        *,
        host: str = "127.0.0.1",
        port: int = 0,
        namespace: Namespace | None = None,
        tcp: bool = True,
    ) -> None:
        self.zone = {name.lower(): records for name, records in zone.items()}
        self.queries: list[Query] = []
        self.udp_limit = 512
        self._special = special
        self._lock = threading.Lock()
        self._make = namespace.socket if namespace else socket.socket
        self._family = socket.AF_INET6 if ":" in host else socket.AF_INET
        self._udp, self._tcp = self._listen(host, port, tcp)
        self.endpoint = Endpoint(host, self._udp.getsockname()[1])
        self._wake, self._woken = socket.socketpair()
        self._selector = selectors.DefaultSelector()
        self._thread = threading.Thread(target=self._run, name="fake DNS", daemon=True)

    def _listen(self, host: str, port: int, tcp: bool) -> tuple[socket.socket, socket.socket | None]:
        for _ in range(20):
            udp = self._make(self._family, socket.SOCK_DGRAM)
            udp.bind((host, port))
            if not tcp:
                return udp, None
            listener = self._make(self._family, socket.SOCK_STREAM)
            listener.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
            try:
                listener.bind((host, udp.getsockname()[1]))
            except OSError:  # somebody else's TCP port has this number
                udp.close()
                listener.close()
                if port:
                    raise
                continue
            listener.listen(64)
            return udp, listener
        raise RuntimeError("found no port that is free for both UDP and TCP")

    def __enter__(self) -> Self:
        self._thread.start()
        return self

    def __exit__(self, *_: object) -> None:
        self._wake.send(b"x")
        self._thread.join()
        self._selector.close()
        for sock in (self._udp, self._tcp, self._wake, self._woken):
            if sock is not None:
                sock.close()

    @property
    def address(self) -> str:
        """What `$DNSCACHEIP` takes, ucspi-env's extension for the port included."""
        return str(self.endpoint)

    def asked(self) -> list[tuple[str, str]]:
        """Name and type of all queries so far, in order."""
        with self._lock:
            return [(query.name, query.kind) for query in self.queries]

    def _run(self) -> None:
        selector = self._selector
        selector.register(self._woken, selectors.EVENT_READ)
        selector.register(self._udp, selectors.EVENT_READ)
        if self._tcp is not None:
            selector.register(self._tcp, selectors.EVENT_READ)
        clients: dict[socket.socket, bytes] = {}
        try:
            while True:
                for key, _ in selector.select():
                    sock = key.fileobj
                    assert isinstance(sock, socket.socket)
                    if sock is self._woken:
                        return
                    if sock is self._udp:
                        packet, source = sock.recvfrom(65535)
                        for answer in self._answers(packet, "udp", source):
                            sock.sendto(answer, source)
                    elif sock is self._tcp:
                        client = sock.accept()[0]
                        clients[client] = b""
                        selector.register(client, selectors.EVENT_READ)
                    elif not self._serve(sock, clients):
                        selector.unregister(sock)
                        del clients[sock]
                        sock.close()
        finally:
            for client in clients:
                client.close()

    def _serve(self, sock: socket.socket, clients: dict[socket.socket, bytes]) -> bool:
        """Take what a TCP client sent; False when it is gone."""
        try:
            data = sock.recv(65535)
            clients[sock] += data
            while len(clients[sock]) >= 2 and len(clients[sock]) >= 2 + struct.unpack("!H", clients[sock][:2])[0]:
                end = 2 + struct.unpack("!H", clients[sock][:2])[0]
                packet, clients[sock] = clients[sock][2:end], clients[sock][end:]
                for answer in self._answers(packet, "tcp", sock.getpeername()):
                    sock.sendall(struct.pack("!H", len(answer)) + answer)
        except ConnectionError:
            return False
        return bool(data)

    def _answers(self, packet: bytes, transport: str, source: tuple[str, int]) -> list[bytes]:
        name, at = _decode_name(packet, 12)
        number = struct.unpack("!H", packet[at : at + 2])[0]
        kind = next((kind for kind, code in TYPES.items() if code == number), str(number))
        query = Query(name, kind, struct.unpack("!H", packet[:2])[0], transport, source[:2], packet)
        with self._lock:
            self.queries.append(query)
        answers = self._special(query) if self._special else None
        if answers is not None:
            return answers
        answer = self.ordinary(query)
        if transport == "udp" and len(answer) > self.udp_limit:
            answer = respond(query, flags=0x8380)
        return [answer]

    def ordinary(self, query: Query) -> bytes:
        """The answer that the zone gives."""
        name = query.name.lower()
        records: list[bytes] = []
        if name not in self.zone:
            return respond(query, rcode=NXDOMAIN)
        while "CNAME" in self.zone.get(name, {}) and query.kind != "CNAME":
            target = self.zone[name]["CNAME"][0]
            assert isinstance(target, str)
            records.append(record(name, "CNAME", target))
            name = target.lower()
        for value in self.zone.get(name, {}).get(query.kind, ()):
            records.append(record(name, query.kind, value))
        return respond(query, *records)


def _decode_name(packet: bytes, at: int) -> tuple[str, int]:
    labels = []
    while packet[at]:
        label = packet[at + 1 : at + 1 + packet[at]]
        labels.append("".join(chr(c) if 32 < c < 127 and c not in b".\\" else f"\\{c:03o}" for c in label))
        at += 1 + packet[at]
    return ".".join(labels), at + 1


def silent_port(host: str = "127.0.0.1") -> tuple[socket.socket, Endpoint]:
    """A UDP socket that nobody reads (close it), and where it is: a server that never answers."""
    sock = socket.socket(socket.AF_INET6 if ":" in host else socket.AF_INET, socket.SOCK_DGRAM)
    sock.bind((host, 0))
    return sock, Endpoint(host, sock.getsockname()[1])


def reverse(ip: str) -> str:
    """Where an address's PTR record is."""
    return ipaddress.ip_address(ip).reverse_pointer


def garbage(size: int = 64) -> bytes:
    """Bytes that are no answer to anything."""
    return os.urandom(size)
