r"""DNS messages as a stub resolver needs them (RFC 1035; AAAA: RFC 3596): build a question, read the answer to it.

Invariant: any bytes are an `Answer`, None ("not an answer to this question", so keep waiting) or a `WireError`; never
another exception, and never more work than the named limits allow.

A name is a tuple of labels without the root's empty one. Its text is DJB's: labels joined by dots, ``\ooo`` (three
octal digits) for a byte that would not survive as text.
"""

from __future__ import annotations

import os

TYPE_CHECKING = False
if TYPE_CHECKING:
    from ipaddress import IPv4Address, IPv6Address
    from typing import TypeAlias

    Name: TypeAlias = tuple[bytes, ...]

# Record types.
A = 1
CNAME = 5
PTR = 12
TXT = 16
AAAA = 28

# Response codes.
NOERROR = 0
NXDOMAIN = 3

MAX_LABEL = 63
MAX_NAME = 255  # on the wire, with length bytes and the root (RFC 1035, section 2.3.4)
MAX_HOPS = 32  # compression pointers in one name; real ones need one or two
MAX_RECORDS = 1024  # in one answer section; a UDP answer has room for 40
MAX_ALIASES = 16  # CNAMEs from the name asked for to the records

_INTERNET = 1
_PLAIN = frozenset(b"abcdefghijklmnopqrstuvwxyz0123456789-_")
_OCTAL = b"01234567"


class WireError(ValueError):
    """A name that DNS cannot carry, or an answer to our question that breaks the rules of the format."""


class Answer:
    """What a server says about a question.

    Attributes:
        rcode: the response code, 0 to 15.
        truncated: the answer did not fit (TC); ask again over TCP.
        lame: the server neither answers nor speaks with authority nor looks further; it only points elsewhere.
        records: the data of the records that were asked for, at the end of the chain of aliases if there is one, in the
            order of the message. 4 bytes for A, 16 for AAAA, a sequence of strings for TXT (`text_of`), an uncompressed
            name for PTR (`name_of`).
    """

    __slots__ = ("lame", "rcode", "records", "truncated")

    def __init__(self, rcode: int, *, truncated: bool = False, lame: bool = False, records: list[bytes]) -> None:
        self.rcode = rcode
        self.truncated = truncated
        self.lame = lame
        self.records = records


def name_from_text(text: str) -> Name:
    r"""Read a name: dots separate labels, ``\ooo`` is a byte, ``\`` before anything else takes it literally.

    Empty labels are dropped, as DJB's tools do, so a trailing dot changes nothing.

    Raises:
        WireError: a label has more than 63 bytes, the whole more than 255, or it is not text at all.
    """
    try:
        raw = os.fsencode(text)
    except UnicodeEncodeError:
        raise WireError("is not text") from None
    labels: list[bytes] = []
    label = bytearray()
    at = 0
    while at < len(raw):
        byte = raw[at]
        at += 1
        if byte == ord("."):
            labels.append(bytes(label))
            label.clear()
            continue
        if byte == ord("\\"):
            if at == len(raw):
                break
            byte = raw[at]
            at += 1
            if byte in _OCTAL:
                value = byte - ord("0")
                end = min(at + 2, len(raw))
                while at < end and raw[at] in _OCTAL:
                    value = value * 8 + raw[at] - ord("0")
                    at += 1
                byte = value & 0xFF
        label.append(byte)
    labels.append(bytes(label))
    name = tuple(label for label in labels if label)
    if any(len(label) > MAX_LABEL for label in name):
        raise WireError("has a label of more than 63 bytes")
    if _wire_length(name) > MAX_NAME:
        raise WireError("is longer than 255 bytes")
    return name


def name_to_text(name: Name) -> str:
    r"""Write a name as ucspi-tcp does: A–Z lowered, bytes other than ``a-z 0-9 - _`` as ``\ooo``; the root is ``.``."""
    if not name:
        return "."
    return ".".join(
        "".join(chr(byte) if byte in _PLAIN else f"\\{byte:03o}" for byte in label.lower()) for label in name
    )


def reverse_name(ip: IPv4Address | IPv6Address) -> Name:
    """Where an address's PTR records are: octets under in-addr.arpa, nibbles under ip6.arpa (RFC 3596, section 2.5)."""
    return tuple(ip.reverse_pointer.encode("ascii").split(b"."))


def encode_query(ident: int, name: Name, kind: int) -> bytes:
    """A question with recursion desired.

    Args:
        ident: 0 to 65535; unpredictable, or anybody can answer (RFC 5452).
        name: the name to ask about.
        kind: the record type.
    """
    header = ident.to_bytes(2, "big") + b"\x01\x00" + b"\x00\x01" + bytes(6)
    return header + wire_name(name) + kind.to_bytes(2, "big") + _INTERNET.to_bytes(2, "big")


def decode_answer(packet: bytes, ident: int, name: Name, kind: int) -> Answer | None:
    """Read what claims to answer ``encode_query(ident, name, kind)``.

    Returns:
        The answer, or None where the packet does not answer this question: another ID, another question, no response at
        all. Such packets are strays or forgeries and say nothing about the server.

    Raises:
        WireError: it answers this question, but its answer section cannot be read.
    """
    if len(packet) < 12 or packet[:2] != ident.to_bytes(2, "big"):
        return None
    flags = packet[2]
    if flags & 0xF8 != 0x80:  # not a response, or not to a standard query
        return None
    rcode = packet[3] & 0x0F
    authoritative, truncated = bool(flags & 4), bool(flags & 2)
    questions, count, referrals = (int.from_bytes(packet[at : at + 2], "big") for at in (4, 6, 8))
    if questions == 0 and rcode not in (NOERROR, NXDOMAIN):
        return Answer(rcode, records=[])  # a refusal need not repeat what it refuses
    if questions != 1:
        return None
    try:
        asked, at = _read_name(packet, 12)
    except WireError:
        return None
    tail = kind.to_bytes(2, "big") + _INTERNET.to_bytes(2, "big")
    if packet[at : at + 4] != tail or _folded(asked) != _folded(name):
        return None
    if truncated or rcode != NOERROR:
        return Answer(rcode, truncated=truncated, records=[])
    records = _read_answers(packet, at + 4, count, _folded(name), kind)
    lame = not (count or authoritative or packet[3] & 0x80) and referrals > 0
    return Answer(rcode, lame=lame, records=records)


def _read_answers(packet: bytes, at: int, count: int, name: Name, kind: int) -> list[bytes]:
    if count > MAX_RECORDS:
        raise WireError("has too many records")
    aliases: dict[Name, Name] = {}
    found: dict[Name, list[bytes]] = {}
    for _ in range(count):
        owner, at = _read_name(packet, at)
        if at + 10 > len(packet):
            raise WireError("ends inside a record")
        kind_here, class_here = (int.from_bytes(packet[i : i + 2], "big") for i in (at, at + 2))
        start = at + 10
        at = start + int.from_bytes(packet[at + 8 : start], "big")
        if at > len(packet):
            raise WireError("ends inside a record's data")
        if class_here != _INTERNET or kind_here not in (kind, CNAME):
            continue
        owner = _folded(owner)
        if kind_here == CNAME and kind != CNAME:
            target, end = _read_name(packet, start)
            if end != at:
                raise WireError("has an alias of the wrong length")
            aliases.setdefault(owner, _folded(target))
        else:
            found.setdefault(owner, []).append(_read_data(packet, start, at, kind))
    for _ in range(MAX_ALIASES + 1):
        if name not in aliases or name in found:
            return found.get(name, [])
        name = aliases[name]
    raise WireError("has too long a chain of aliases")


def _read_data(packet: bytes, start: int, end: int, kind: int) -> bytes:
    if kind in (PTR, CNAME):
        target, after = _read_name(packet, start)
        if after != end:
            raise WireError("has a name of the wrong length")
        return wire_name(target)
    data = packet[start:end]
    if len(data) != {A: 4, AAAA: 16}.get(kind, len(data)):
        raise WireError("has an address of the wrong length")
    if kind == TXT:
        text_of(data)
    return data


def _read_name(packet: bytes, at: int) -> tuple[Name, int]:
    """The name at ``at``, and the offset behind it."""
    labels: list[bytes] = []
    length = 1
    start, after = at, 0
    hops = 0
    while True:
        if at >= len(packet):
            raise WireError("ends inside a name")
        size = packet[at]
        at += 1
        if size == 0:
            return tuple(labels), after or at
        if size <= MAX_LABEL:
            labels.append(packet[at : at + size])
            at += size
            length += size + 1
            if at > len(packet):
                raise WireError("ends inside a label")
            if length > MAX_NAME:
                raise WireError("has a name of more than 255 bytes")
            continue
        if size & 0xC0 != 0xC0:
            raise WireError("has a label of an unknown kind")
        if at >= len(packet):
            raise WireError("ends inside a pointer")
        target = (size & 0x3F) << 8 | packet[at]
        after = after or at + 1
        hops += 1
        # Only back: what is pointed at must have been there before, so pointers cannot lead in circles.
        if target >= start or hops > MAX_HOPS:
            raise WireError("has a looping name")
        start = at = target


def wire_name(name: Name) -> bytes:
    """A name as it travels, uncompressed."""
    return b"".join(bytes((len(label),)) + label for label in name) + b"\x00"


def name_of(record: bytes) -> Name:
    """The name that a PTR record holds, from `Answer.records`."""
    return _read_name(record, 0)[0]


def text_of(record: bytes) -> bytes:
    """The strings of a TXT record, joined as they stand (RFC 7208, section 3.3, and every user of such records).

    Raises:
        WireError: a string is longer than the record.
    """
    strings: list[bytes] = []
    at = 0
    while at < len(record):
        end = at + 1 + record[at]
        if end > len(record):
            raise WireError("has a text that is longer than its record")
        strings.append(record[at + 1 : end])
        at = end
    return b"".join(strings)


def _wire_length(name: Name) -> int:
    return sum(map(len, name)) + len(name) + 1


def _folded(name: Name) -> Name:
    return tuple(label.lower() for label in name)


class Framed:
    """Takes one message out of a TCP stream, where its length precedes it (RFC 1035, section 4.2.2).

    Attributes:
        unused: bytes behind the message.
    """

    def __init__(self) -> None:
        self._buffer = bytearray()
        self.unused = b""

    def feed(self, data: bytes) -> bytes | None:
        """Add what was read; returns the message once it is complete, None before."""
        self._buffer += data
        end = 2 + int.from_bytes(self._buffer[:2], "big")
        if len(self._buffer) < max(end, 2):
            return None
        self.unused = bytes(self._buffer[end:])
        return bytes(self._buffer[2:end])
