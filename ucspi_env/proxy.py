r"""The PROXY protocol, versions 1 and 2: how a load balancer tells the server behind it who really called.

    >>> from ucspi_env.proxy import decode
    >>> header, length = decode(b"PROXY TCP4 192.0.2.7 198.51.100.1 4711 25\r\nHELO x")
    >>> str(header.source), length
    ('192.0.2.7:4711', 43)

Values and pure functions on bytes; whoever uses them brings the I/O. The invariant: any bytes give a header and its
length, None ("no header yet: more bytes, please"), or a `ProxyError`, and never another exception. Bytes that can no
longer become a header are an error at once, not when the line or the block is complete.

A header is only as good as the one who sent it: read it from balancers that you know and from nobody else, and never
guess whether one is there. `ucspi_env.tools.proxyserver` and ``ucspi-tcpserver --proxy`` do that for any program.

Source: "The PROXY protocol, versions 1 & 2", W. Tarreau, HAProxy (proxy-protocol.txt, 2020/03/05); its section numbers
stand in parentheses below.
"""

from __future__ import annotations

from ipaddress import IPv4Address, IPv6Address

from ucspi_env._address import djb_text6, parse_ip, shown
from ucspi_env._errors import ProxyError
from ucspi_env._model import Endpoint, Value

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator
    from typing import Literal, Self, TypeAlias

    Command: TypeAlias = Literal["PROXY", "LOCAL"]
    Family: TypeAlias = Literal["unspec", "inet", "inet6", "unix"]
    Transport: TypeAlias = Literal["unspec", "stream", "dgram"]
    Tlvs: TypeAlias = tuple[tuple[int, bytes], ...]

__all__ = [
    "SIGNATURE",
    "V1_MAX",
    "V2_MAX",
    "ProxyError",
    "ProxyHeader",
    "ProxySSL",
    "crc32c",
    "decode",
    "encode",
    "safe_to_read",
]

V1_MAX = 107
"""The longest version 1 line with its CRLF, in bytes (2.1)."""
SIGNATURE = b"\r\n\r\n\0\r\nQUIT\n"
"""The first 12 bytes of every version 2 header (2.2)."""
_FIXED = 16  # signature, version and command, family and transport, length
V2_MAX = _FIXED + 0xFFFF
"""The longest version 2 header, in bytes: the length field has 16 bits."""
_UNIX_PATH = 108  # sun_path
_UNIQUE_ID_MAX = 128  # 2.2.5

TLV_ALPN = 0x01
TLV_AUTHORITY = 0x02
TLV_CRC32C = 0x03
TLV_NOOP = 0x04
TLV_UNIQUE_ID = 0x05
TLV_SSL = 0x20
TLV_SSL_VERSION = 0x21
TLV_SSL_CN = 0x22
TLV_SSL_CIPHER = 0x23
TLV_SSL_SIG_ALG = 0x24
TLV_SSL_KEY_ALG = 0x25
TLV_NETNS = 0x30

CLIENT_SSL = 0x01
CLIENT_CERT_CONN = 0x02
CLIENT_CERT_SESS = 0x04

_COMMANDS: tuple[Command, ...] = ("LOCAL", "PROXY")
_FAMILIES: tuple[Family, ...] = ("unspec", "inet", "inet6", "unix")
_TRANSPORTS: tuple[Transport, ...] = ("unspec", "stream", "dgram")
_ADDRESSES = {"unspec": 0, "inet": 2 * 4 + 4, "inet6": 2 * 16 + 4, "unix": 2 * _UNIX_PATH}


class ProxySSL(Value):
    """What the balancer says about the TLS that it took off (2.2.6). The texts are the client's and its certificate's.

    Attributes:
        client: the bit field: 1 the client spoke TLS, 2 it gave a certificate on this connection, 4 in this session.
        verify: 0 if it gave a certificate and that was verified; anything else is not.
        version: the TLS version (``TLSv1.3``), or None.
        cn: the common name of the client's certificate, or None.
        cipher: the cipher's name, or None.
        sig_alg: the algorithm that signed the balancer's certificate, or None.
        key_alg: the algorithm of the balancer's key, or None.
    """

    __slots__ = ("cipher", "client", "cn", "key_alg", "sig_alg", "verify", "version")
    client: int
    verify: int
    version: str | None
    cn: str | None
    cipher: str | None
    sig_alg: str | None
    key_alg: str | None

    def __init__(
        self,
        client: int = CLIENT_SSL,
        verify: int = 1,
        *,
        version: str | None = None,
        cn: str | None = None,
        cipher: str | None = None,
        sig_alg: str | None = None,
        key_alg: str | None = None,
    ) -> None:
        if not (0 <= client <= 0xFF and 0 <= verify <= 0xFFFFFFFF):
            raise ProxyError("an SSL TLV has 8 bits for client and 32 for verify")
        self._set(client=client, verify=verify, version=version, cn=cn, cipher=cipher, sig_alg=sig_alg, key_alg=key_alg)

    @property
    def verified(self) -> bool:
        """Whether the client gave a certificate, now or earlier in its session, that the balancer verified."""
        return self.verify == 0 and bool(self.client & (CLIENT_CERT_CONN | CLIENT_CERT_SESS))

    def tlv(self) -> tuple[int, bytes]:
        """The TLV that says this, for `ProxyHeader`."""
        subs = (
            (TLV_SSL_VERSION, self.version),
            (TLV_SSL_CN, self.cn),
            (TLV_SSL_CIPHER, self.cipher),
            (TLV_SSL_SIG_ALG, self.sig_alg),
            (TLV_SSL_KEY_ALG, self.key_alg),
        )
        block = _write_tlvs((kind, text.encode("utf-8")) for kind, text in subs if text is not None)
        return TLV_SSL, bytes((self.client,)) + self.verify.to_bytes(4, "big") + block


class ProxyHeader(Value):
    """One PROXY header.

    Attributes:
        version: 1 (a line of text) or 2 (binary).
        command: ``"PROXY"``: relayed for the caller named here; ``"LOCAL"``: the balancer's own, a health check.
        family: ``"inet"``, ``"inet6"``, ``"unix"``, or ``"unspec"`` where the balancer could not say (as UNKNOWN).
        transport: ``"stream"``, ``"dgram"`` or ``"unspec"``.
        source: the caller, or None (unix, unspec, LOCAL). IPv4-mapped addresses are IPv4 here, as everywhere.
        destination: the address that the caller called, or None.
        source_path: for unix the path that the caller bound, empty for none; a leading NUL is the abstract namespace.
        destination_path: for unix the path that was called, in the same form.
        tlvs: type and value of the version 2 extensions, as they came, the checksum taken out.
        checksum: whether the header carries a CRC32C (when decoded: a right one).
    """

    __slots__ = (
        "checksum",
        "command",
        "destination",
        "destination_path",
        "family",
        "source",
        "source_path",
        "tlvs",
        "transport",
        "version",
    )
    version: int
    command: Command
    family: Family
    transport: Transport
    source: Endpoint | None
    destination: Endpoint | None
    source_path: bytes | None
    destination_path: bytes | None
    tlvs: Tlvs
    checksum: bool

    def __init__(
        self,
        version: int = 2,
        command: Command = "PROXY",
        family: Family = "unspec",
        transport: Transport = "unspec",
        *,
        source: Endpoint | None = None,
        destination: Endpoint | None = None,
        source_path: bytes | None = None,
        destination_path: bytes | None = None,
        tlvs: Iterable[tuple[int, bytes]] = (),
        checksum: bool = False,
    ) -> None:
        """Check that the protocol can say this; names of the endpoints, which it cannot, are dropped.

        So are zones, except in version 1, where stunnel writes them (``fe80::1%eth0``). `between` leaves them out.

        Raises:
            ProxyError: it cannot.
        """
        tlvs = tuple((kind, bytes(value)) for kind, value in tlvs)
        ends = (source, destination)
        paths = (source_path, destination_path)
        if version not in (1, 2) or command not in _COMMANDS:
            raise ProxyError("a header is of version 1 or 2, with the command PROXY or LOCAL")
        if family not in _FAMILIES or transport not in _TRANSPORTS:
            raise ProxyError(f"family {family!r} with transport {transport!r} is not in the protocol")
        if (family == "unspec") != (transport == "unspec"):
            raise ProxyError("family and transport are unspecified together or not at all")
        if family == "unspec" and (tlvs or checksum):
            raise ProxyError("an unspecified or LOCAL header has nothing behind its length, so no TLVs and no checksum")
        if command == "LOCAL" and (version, family) != (2, "unspec"):
            raise ProxyError("LOCAL is of version 2 and carries no addresses")
        if version == 1 and (family == "unix" or transport == "dgram" or tlvs or checksum):
            raise ProxyError("version 1 knows TCP4, TCP6 and UNKNOWN, without TLVs")
        with_ends, with_paths = family in ("inet", "inet6"), family == "unix"
        if any((end is not None) != with_ends for end in ends) or any((p is not None) != with_paths for p in paths):
            raise ProxyError(
                f"family {family!r} goes with {'endpoints' if with_ends else 'paths' if with_paths else 'nothing'}"
            )
        for end in ends:
            if end is not None and (end.port is None or (family == "inet" and isinstance(end.ip, IPv6Address))):
                raise ProxyError(f"{end} has no port, or is no IPv4 address for the family inet")
        for path in paths:
            if path is not None and not (len(path) <= _UNIX_PATH and _path(path) == path):
                raise ProxyError(f"a path has at most {_UNIX_PATH} bytes and no NUL but a leading one")
        if any(kind == TLV_CRC32C for kind, _ in tlvs):
            raise ProxyError("the checksum is asked for with checksum=True, not with a TLV")
        for kind, value in tlvs:
            _check_tlv(kind, value)
        self._set(
            version=version,
            command=command,
            family=family,
            transport=transport,
            source=source and Endpoint(source.ip, source.port, source.zone if version == 1 else None),
            destination=destination
            and Endpoint(destination.ip, destination.port, destination.zone if version == 1 else None),
            source_path=source_path,
            destination_path=destination_path,
            tlvs=tlvs,
            checksum=checksum,
        )

    @classmethod
    def between(
        cls,
        source: Endpoint,
        destination: Endpoint,
        *,
        version: int = 2,
        tlvs: Iterable[tuple[int, bytes]] = (),
        checksum: bool = False,
    ) -> Self:
        """The header for a TCP connection: IPv4 if both ends are, else IPv6 (an IPv4 end then travels IPv4-mapped).

        Raises:
            ProxyError: an endpoint has no port, or version 1 is asked to carry TLVs.
        """
        both = isinstance(source.ip, IPv4Address) and isinstance(destination.ip, IPv4Address)
        return cls(
            version,
            "PROXY",
            "inet" if both else "inet6",
            "stream",
            source=Endpoint(source.ip, source.port),
            destination=Endpoint(destination.ip, destination.port),
            tlvs=tlvs,
            checksum=checksum,
        )

    def tlv(self, kind: int) -> bytes | None:
        """The value of the first TLV of this type, or None."""
        return next((value for found, value in self.tlvs if found == kind), None)

    @property
    def alpn(self) -> bytes | None:
        """The upper protocol that TLS negotiated (2.2.1), or None."""
        return self.tlv(TLV_ALPN)

    @property
    def authority(self) -> str | None:
        """The host name that the client asked for (SNI, 2.2.2), or None. Untrusted; bad UTF-8 is shown as escapes."""
        return _text(self.tlv(TLV_AUTHORITY))

    @property
    def unique_id(self) -> bytes | None:
        """The balancer's id for this connection, up to 128 opaque bytes (2.2.5), or None."""
        return self.tlv(TLV_UNIQUE_ID)

    @property
    def netns(self) -> str | None:
        """The name of the network namespace (2.2.7), or None."""
        return _text(self.tlv(TLV_NETNS))

    @property
    def ssl(self) -> ProxySSL | None:
        """What the balancer says about TLS (2.2.6), or None."""
        value = self.tlv(TLV_SSL)
        if value is None:
            return None
        subs = dict(reversed(list(_read_tlvs(value[5:]))))  # the first of each type counts
        return ProxySSL(
            value[0],
            int.from_bytes(value[1:5], "big"),
            version=_text(subs.get(TLV_SSL_VERSION)),
            cn=_text(subs.get(TLV_SSL_CN)),
            cipher=_text(subs.get(TLV_SSL_CIPHER)),
            sig_alg=_text(subs.get(TLV_SSL_SIG_ALG)),
            key_alg=_text(subs.get(TLV_SSL_KEY_ALG)),
        )


def decode(data: bytes) -> tuple[ProxyHeader, int] | None:
    """Read the header that ``data`` begins with.

    Returns:
        The header and its length in bytes (what follows is the client's), or None: all bytes so far belong to a header
        that is not complete yet.

    Raises:
        ProxyError: this is not, and cannot become, a header.
    """
    data = bytes(data[:V2_MAX])
    if data[:1] == b"P":
        return _decode_v1(data)
    if not SIGNATURE.startswith(data[: len(SIGNATURE)]):
        raise ProxyError(f"{shown(_latin(data[:24]))} is not a PROXY header")
    return _decode_v2(data)


def encode(header: ProxyHeader) -> bytes:
    """Write a header.

    Raises:
        ProxyError: the TLVs do not fit behind a 16-bit length.
    """
    return _encode_v1(header) if header.version == 1 else _encode_v2(header)


def safe_to_read(data: bytes) -> int:
    """How many bytes may be read after ``data`` that belong to the header for certain: never more, at least 1.

    With this, a header can be taken from a pipe, where reading is for good, without touching what follows. ``data`` is
    what `decode` answered None to.
    """
    have = len(data)
    if data[:1] != b"P":
        if have < _FIXED:
            # Both versions have at least 15 bytes, and the first one tells which it is.
            return (_FIXED if have else len(_UNKNOWN) + 2) - have
        return _FIXED + int.from_bytes(data[14:16], "big") - have
    if data.endswith(b"\r"):
        return 1
    shortest = next((length for prefix, length in _V1_SHORTEST if data.startswith(prefix)), len(_UNKNOWN) + 2)
    return max(shortest - have, 2)  # the CRLF itself is still to come


def crc32c(data: bytes) -> int:
    """CRC-32C (Castagnoli) of some bytes: RFC 4960, appendix B; 32 bits."""
    table = _CRC_TABLE or _make_crc_table()
    value = 0xFFFFFFFF
    for byte in data:
        value = table[(value ^ byte) & 0xFF] ^ value >> 8
    return value ^ 0xFFFFFFFF


# -- version 1 ---------------------------------------------------------------------------------------------------------

_TCP4 = b"PROXY TCP4 "
_TCP6 = b"PROXY TCP6 "
_UNKNOWN = b"PROXY UNKNOWN"
_V1_SHORTEST = (
    (_TCP4, len(_TCP4) + len("0.0.0.0 0.0.0.0 0 0\r\n")),
    (_TCP6, len(_TCP6) + len(":: :: 0 0\r\n")),
)
_V1_FAMILIES: tuple[tuple[bytes, Family], ...] = ((_TCP4, "inet"), (_TCP6, "inet6"))
_V4_TEXT = frozenset("0123456789.")
_V6_TEXT = frozenset("0123456789abcdefABCDEF:.")
_V4_MAX = 15
_V6_MAX = 39
_DIGITS = frozenset("0123456789")
# One of these completes the beginning of an address that can be completed at all, and none is longer than it has to be.
_V4_TAILS = ("", "0", ".0", "0.0", ".0.0", "0.0.0", ".0.0.0", "0.0.0.0")  # noqa: S104 - text, not bound
_V6_TAILS = ("", "0", ":", ":0", "::", ".0", "0.0", ".0.0", "0.0.0", ".0.0.0")


def _decode_v1(data: bytes) -> tuple[ProxyHeader, int] | None:
    end = data.find(b"\r\n", 0, V1_MAX)
    line = data[:V1_MAX] if end < 0 else data[:end]
    # A CR that waits for its LF ends the text: what stands before it has to be whole.
    whole = end >= 0 or line.endswith(b"\r")
    if end < 0:
        line = line.removesuffix(b"\r")
    if b"\r" in line or b"\n" in line:
        raise ProxyError(f"{_quoted(line)} has a CR or an LF that is not the CRLF at the end")
    header = _v1_line(line, whole=whole)
    if end >= 0:
        assert header is not None  # noqa: S101 - a whole line is a header or an error
        return header, end + 2
    if len(line) > V1_MAX - 2:
        raise ProxyError(f"{_quoted(line)} has no CRLF within {V1_MAX} bytes")
    return None


def _v1_line(line: bytes, *, whole: bool) -> ProxyHeader | None:
    """The header in a line, or None for a right beginning of one; ``whole``: nothing will follow."""
    if line.startswith(_UNKNOWN) and line[len(_UNKNOWN) :][:1] in (b"", b" "):
        # What follows is to be ignored (2.1).
        return ProxyHeader(1) if whole else None
    for prefix, family in _V1_FAMILIES:
        if line.startswith(prefix):
            return _v1_ends(line, len(prefix), family, whole=whole)
    if not whole and any(prefix.startswith(line) for prefix in (_TCP4, _TCP6, _UNKNOWN)):
        return None
    raise ProxyError(f"{_quoted(line)} is not a PROXY line")


def _v1_ends(line: bytes, at: int, family: Family, *, whole: bool) -> ProxyHeader | None:
    words = [_latin(word) for word in line[at:].split(b" ")]
    if len(words) > 4 or (whole and len(words) < 4):
        raise ProxyError(f"{_quoted(line)} has not two addresses and two ports")
    for index, word in enumerate(words):
        begun = not whole and index == len(words) - 1
        usable = _ip(word, family, begun=begun) if index < 2 else _port(word, begun=begun)
        if not usable:
            what = "a port" if index >= 2 else f"an IPv{4 if family == 'inet' else 6} address"
            raise ProxyError(f"{shown(word)} in {_quoted(line)} is not {what}")
    if not whole:
        return None
    source, destination, source_port, destination_port = words
    return ProxyHeader(
        1,
        "PROXY",
        family,
        "stream",
        source=Endpoint(source, int(source_port)),
        destination=Endpoint(destination, int(destination_port)),
    )


def _ip(word: str, family: str, *, begun: bool) -> bool:
    """Whether a word is an address of this family; ``begun``: or becomes one with more characters behind it."""
    characters, longest, tails, cls = (
        (_V4_TEXT, _V4_MAX, _V4_TAILS, IPv4Address) if family == "inet" else (_V6_TEXT, _V6_MAX, _V6_TAILS, IPv6Address)
    )
    address, percent, zone = word.partition("%")
    if percent and family == "inet6" and len(address) <= longest:  # stunnel's, for a link-local caller
        if not characters.issuperset(address):
            return False
        try:
            cls(address)  # as strictly as without a zone
            return parse_ip(f"{address}%{zone or 'z'}" if begun else word)[1] is not None
        except ValueError:
            return False
    if not characters.issuperset(word):
        return False
    for tail in tails if begun else ("",):
        if len(word) + len(tail) <= longest:
            try:
                cls(word + tail)
            except ValueError:
                continue
            return True
    return False


def _port(word: str, *, begun: bool) -> bool:
    if not word:
        return begun
    return _DIGITS.issuperset(word) and len(word) <= 5 and int(word) <= 65535 and (word == "0" or word[0] != "0")


def _encode_v1(header: ProxyHeader) -> bytes:
    source, destination = header.source, header.destination
    if source is None or destination is None:
        return _UNKNOWN + b"\r\n"
    if header.family == "inet":
        return f"PROXY TCP4 {source.ip} {destination.ip} {source.port} {destination.port}\r\n".encode("ascii")
    ends = " ".join(
        djb_text6(end.ip) if isinstance(end.ip, IPv4Address) else str(Endpoint(end.ip, None, end.zone))
        for end in (source, destination)
    )
    return f"PROXY TCP6 {ends} {source.port} {destination.port}\r\n".encode("ascii")


# -- version 2 ---------------------------------------------------------------------------------------------------------


def _decode_v2(data: bytes) -> tuple[ProxyHeader, int] | None:
    if len(data) > 12 and (data[12] >> 4 != 2 or data[12] & 15 >= len(_COMMANDS)):
        raise ProxyError(f"0x{data[12]:02x} is not version 2 with a command of 0 (LOCAL) or 1 (PROXY)")
    command = _COMMANDS[data[12] & 15] if len(data) > 12 else "PROXY"
    family: Family = "unspec"
    transport: Transport = "unspec"
    if len(data) > 13 and command == "PROXY":
        family_number, transport_number = data[13] >> 4, data[13] & 15
        if family_number >= len(_FAMILIES) or transport_number >= len(_TRANSPORTS):
            raise ProxyError(f"0x{data[13]:02x} is not an address family and transport of the protocol")
        if family_number and transport_number:
            family, transport = _FAMILIES[family_number], _TRANSPORTS[transport_number]
    if len(data) < _FIXED:
        return None
    size, addresses = int.from_bytes(data[14:_FIXED], "big"), _ADDRESSES[family]
    if size < addresses:
        raise ProxyError(f"a length of {size} is too short for addresses of the family {family} ({addresses} bytes)")
    if len(data) < _FIXED + size:
        # An incomplete block is not looked into (2.2): its checksum is still to come.
        return None
    length = _FIXED + size
    if family == "unspec":
        # LOCAL, or nothing known: the block is skipped, whatever stands in it.
        return ProxyHeader(2, command), length
    block = data[_FIXED:length]
    tlvs: list[tuple[int, bytes]] = []
    checksum = False
    at = _FIXED + addresses
    for kind, value in _read_tlvs(block[addresses:]):
        _check_tlv(kind, value)
        at += 3
        if kind == TLV_CRC32C:
            if checksum or len(value) != 4:
                raise ProxyError("the checksum stands twice, or has not four bytes")
            computed = crc32c(data[:at] + bytes(4) + data[at + 4 : length])
            if computed != int.from_bytes(value, "big"):
                raise ProxyError(f"the checksum is wrong: 0x{value.hex()} instead of 0x{computed:08x}")
            checksum = True
        else:
            tlvs.append((kind, value))
        at += len(value)
    source = destination = None
    source_path = destination_path = None
    if family == "unix":
        source_path, destination_path = _path(block[:_UNIX_PATH]), _path(block[_UNIX_PATH:addresses])
    else:
        width = 4 if family == "inet" else 16
        cls = IPv4Address if family == "inet" else IPv6Address
        source_port, destination_port = (
            int.from_bytes(block[2 * width + n : 2 * width + n + 2], "big") for n in (0, 2)
        )
        source = Endpoint(cls(block[:width]), source_port)
        destination = Endpoint(cls(block[width : 2 * width]), destination_port)
    header = ProxyHeader(
        2,
        command,
        family,
        transport,
        source=source,
        destination=destination,
        source_path=source_path,
        destination_path=destination_path,
        tlvs=tlvs,
        checksum=checksum,
    )
    return header, length


def _encode_v2(header: ProxyHeader) -> bytes:
    family, transport = _FAMILIES.index(header.family), _TRANSPORTS.index(header.transport)
    block = b""
    if header.source is not None and header.destination is not None:
        ends = (header.source, header.destination)
        block = b"".join(_packed(end.ip, header.family) for end in ends)
        block += b"".join((end.port or 0).to_bytes(2, "big") for end in ends)
    elif header.source_path is not None and header.destination_path is not None:
        block = header.source_path.ljust(_UNIX_PATH, b"\0") + header.destination_path.ljust(_UNIX_PATH, b"\0")
    block += _write_tlvs(header.tlvs)
    if header.checksum:
        block += _write_tlvs([(TLV_CRC32C, bytes(4))])
    if len(block) > V2_MAX - _FIXED:
        raise ProxyError(f"addresses and TLVs of {len(block)} bytes do not fit behind a 16-bit length")
    command = _COMMANDS.index(header.command)
    data = SIGNATURE + bytes((2 << 4 | command, family << 4 | transport)) + len(block).to_bytes(2, "big") + block
    return data[:-4] + crc32c(data).to_bytes(4, "big") if header.checksum else data


def _packed(ip: IPv4Address | IPv6Address, family: str) -> bytes:
    return b"\0" * 10 + b"\xff\xff" + ip.packed if family == "inet6" and isinstance(ip, IPv4Address) else ip.packed


def _path(raw: bytes) -> bytes:
    """What is meant by a NUL-padded sun_path; a leading NUL is the abstract namespace (unix(7)), all NULs no name."""
    return raw.rstrip(b"\0") if raw[:1] == b"\0" else raw.partition(b"\0")[0]


def _read_tlvs(block: bytes) -> Iterator[tuple[int, bytes]]:
    at = 0
    while at < len(block):
        end = at + 3 + int.from_bytes(block[at + 1 : at + 3], "big")
        if at + 3 > len(block) or end > len(block):
            raise ProxyError("a TLV is longer than what is left of the header")
        value = block[at + 3 : end]
        yield block[at], value
        at = end


def _check_tlv(kind: int, value: bytes) -> None:
    if not 0 <= kind <= 0xFF or len(value) > 0xFFFF:
        raise ProxyError("a TLV has a type of 8 bits and at most 65535 bytes")
    if kind == TLV_UNIQUE_ID and len(value) > _UNIQUE_ID_MAX:
        raise ProxyError(f"a unique id of {len(value)} bytes is longer than {_UNIQUE_ID_MAX}")
    if kind == TLV_SSL:
        if len(value) < 5:
            raise ProxyError("an SSL TLV has at least five bytes")
        for _ in _read_tlvs(value[5:]):
            pass  # one level of nesting is defined, so what is inside is not looked into any further


def _write_tlvs(tlvs: Iterable[tuple[int, bytes]]) -> bytes:
    return b"".join(bytes((kind,)) + len(value).to_bytes(2, "big") + value for kind, value in tlvs)


# -- shared ------------------------------------------------------------------------------------------------------------

_CRC_TABLE: list[int] = []
_CRC_POLYNOMIAL = 0x82F63B78  # 0x1EDC6F41, bits reversed


def _make_crc_table() -> list[int]:
    table: list[int] = []
    for value in range(256):
        for _ in range(8):
            value = value >> 1 ^ (_CRC_POLYNOMIAL if value & 1 else 0)  # noqa: PLW2901 - shifted out bit by bit
        table.append(value)
    _CRC_TABLE[:] = table
    return table


def _text(value: bytes | None) -> str | None:
    return None if value is None else value.decode("utf-8", "backslashreplace")


def _latin(raw: bytes) -> str:
    """Bytes as characters of the same numbers, for messages and for checks that only ASCII passes."""
    return raw.decode("latin-1")


def _quoted(line: bytes) -> str:
    return shown(_latin(line[:V1_MAX]))
