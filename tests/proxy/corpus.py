"""Headers as real senders write them, each with what it says: name, bytes, header."""

from __future__ import annotations

from ucspi_env import Endpoint
from ucspi_env.proxy import SIGNATURE, ProxyHeader, ProxySSL


def v1(family: str, source: str, destination: str) -> ProxyHeader:
    return ProxyHeader(
        1,
        "PROXY",
        family,  # type: ignore[arg-type]  # the words are checked by the value itself
        "stream",
        source=Endpoint.parse(source),
        destination=Endpoint.parse(destination),
    )


def v2(source: str, destination: str, **options: object) -> ProxyHeader:
    return ProxyHeader.between(
        Endpoint.parse(source),
        Endpoint.parse(destination),
        **options,  # type: ignore[arg-type]  # keywords of the constructor
    )


def binary(version_command: int, family_transport: int, block: bytes, length: int | None = None) -> bytes:
    """A version 2 header from its parts; ``length`` where it is to lie."""
    size = len(block) if length is None else length
    return SIGNATURE + bytes((version_command, family_transport)) + size.to_bytes(2, "big") + block


_V4 = bytes.fromhex("c0000207 c6336401 1267 0019")
_V6 = bytes.fromhex("20010db8000000000000000000000007 20010db8000000000000000000000001 1267 0019")

HEADERS = {
    "the specification's example": (
        b"PROXY TCP4 192.168.0.1 192.168.0.11 56324 443\r\n",
        v1("inet", "192.168.0.1:56324", "192.168.0.11:443"),
    ),
    "haproxy send-proxy over IPv4": (
        b"PROXY TCP4 127.0.0.1 127.0.0.1 41236 23001\r\n",
        v1("inet", "127.0.0.1:41236", "127.0.0.1:23001"),
    ),
    "haproxy send-proxy over IPv6": (
        b"PROXY TCP6 2001:db8::7 2001:db8::1 4711 25\r\n",
        v1("inet6", "[2001:db8::7]:4711", "[2001:db8::1]:25"),
    ),
    "haproxy send-proxy, IPv4 caller on a dual-stack listener": (
        b"PROXY TCP6 ::ffff:192.0.2.7 ::ffff:198.51.100.1 4711 25\r\n",
        v1("inet6", "192.0.2.7:4711", "198.51.100.1:25"),
    ),
    "haproxy health check of version 1": (b"PROXY UNKNOWN\r\n", ProxyHeader(1)),
    "an UNKNOWN of the longest form": (
        b"PROXY UNKNOWN " + b" ".join([b"ffff:" * 7 + b"ffff"] * 2) + b" 65535 65535\r\n",
        ProxyHeader(1),
    ),
    "nginx stream proxy_protocol": (
        b"PROXY TCP4 203.0.113.9 192.0.2.1 60466 110\r\n",
        v1("inet", "203.0.113.9:60466", "192.0.2.1:110"),
    ),
    "an Amazon classic load balancer": (
        b"PROXY TCP4 198.51.100.22 203.0.113.7 35646 80\r\n",
        v1("inet", "198.51.100.22:35646", "203.0.113.7:80"),
    ),
    "upper-case, unabbreviated IPv6": (
        b"PROXY TCP6 2001:0DB8:0000:0000:0000:0000:0000:0007 2001:0db8::0001 4711 25\r\n",
        v1("inet6", "[2001:db8::7]:4711", "[2001:db8::1]:25"),
    ),
    "the lowest addresses and ports": (b"PROXY TCP4 0.0.0.0 0.0.0.0 0 0\r\n", v1("inet", "0.0.0.0:0", "0.0.0.0:0")),
    "the highest addresses and ports": (
        b"PROXY TCP4 255.255.255.255 255.255.255.255 65535 65535\r\n",
        v1("inet", "255.255.255.255:65535", "255.255.255.255:65535"),
    ),
    "haproxy send-proxy-v2 over IPv4": (binary(0x21, 0x11, _V4), v2("192.0.2.7:4711", "198.51.100.1:25")),
    "haproxy send-proxy-v2 over IPv6": (binary(0x21, 0x21, _V6), v2("[2001:db8::7]:4711", "[2001:db8::1]:25")),
    "haproxy send-proxy-v2 check": (binary(0x20, 0x00, b""), ProxyHeader(2, "LOCAL")),
    "a LOCAL that carries addresses, which are to be ignored": (binary(0x20, 0x11, _V4), ProxyHeader(2, "LOCAL")),
    "a LOCAL with a family that is none, which is to be ignored": (binary(0x20, 0xFF, b"?"), ProxyHeader(2, "LOCAL")),
    "UNSPEC with a block that is to be skipped": (binary(0x21, 0x00, b"12345"), ProxyHeader(2)),
    "IPv4 over an unspecified transport": (binary(0x21, 0x10, _V4), ProxyHeader(2)),
    "a mapped IPv4 caller in an IPv6 block": (
        binary(0x21, 0x21, bytes(10) + b"\xff\xff" + _V4[:4] + bytes(10) + b"\xff\xff" + _V4[4:8] + _V4[8:]),
        ProxyHeader(
            2,
            "PROXY",
            "inet6",
            "stream",
            source=Endpoint("192.0.2.7", 4711),
            destination=Endpoint("198.51.100.1", 25),
        ),
    ),
    "UDP over IPv4": (
        binary(0x21, 0x12, _V4),
        ProxyHeader(
            2,
            "PROXY",
            "inet",
            "dgram",
            source=Endpoint("192.0.2.7", 4711),
            destination=Endpoint("198.51.100.1", 25),
        ),
    ),
    "a UNIX-domain caller without a name": (
        binary(0x21, 0x31, bytes(108) + b"/run/front".ljust(108, b"\0")),
        ProxyHeader(2, "PROXY", "unix", "stream", source_path=b"", destination_path=b"/run/front"),
    ),
    "an abstract UNIX-domain caller": (
        binary(0x21, 0x31, b"\0me".ljust(108, b"\0") + b"/run/front\0left over".ljust(108, b"\0")),
        ProxyHeader(2, "PROXY", "unix", "stream", source_path=b"\0me", destination_path=b"/run/front"),
    ),
    "an Amazon network load balancer with its VPC endpoint id": (
        binary(0x21, 0x11, _V4 + bytes.fromhex("ea0017 01") + b"vpce-08d2bf15fac5001c9"),
        v2("192.0.2.7:4711", "198.51.100.1:25", tlvs=[(0xEA, b"\x01vpce-08d2bf15fac5001c9")]),
    ),
    "haproxy proxy-v2-options ssl,cert-cn,ssl-cipher,authority,crc32c": (
        binary(
            0x21,
            0x11,
            _V4
            + bytes.fromhex("030004 2dc7d128")
            + b"\x02\x00\x0bexample.org"
            + b"\x20\x00\x28\x01\x00\x00\x00\x01"
            + b"\x21\x00\x07TLSv1.3"
            + b"\x23\x00\x16TLS_AES_256_GCM_SHA384",
        ),
        v2(
            "192.0.2.7:4711",
            "198.51.100.1:25",
            tlvs=[(0x02, b"example.org"), ProxySSL(1, 1, version="TLSv1.3", cipher="TLS_AES_256_GCM_SHA384").tlv()],
            checksum=True,
        ),
    ),
    "a no-op for alignment, an ALPN, a unique id, a namespace": (
        binary(
            0x21,
            0x11,
            _V4 + b"\x04\x00\x02\0\0" + b"\x01\x00\x02h2" + b"\x05\x00\x04\x00\x01\x02\xff" + b"\x30\x00\x03red",
        ),
        v2(
            "192.0.2.7:4711",
            "198.51.100.1:25",
            tlvs=[(0x04, b"\0\0"), (0x01, b"h2"), (0x05, b"\x00\x01\x02\xff"), (0x30, b"red")],
        ),
    ),
}

# Bytes that are no header, each with the number of its first bytes that could still have become one.
GARBAGE = {
    "an HTTP request": (b"GET / HTTP/1.1\r\n", 0),
    "an HTTP POST": (b"POST / HTTP/1.1\r\n", 1),
    "HTTP/2": (b"PRI * HTTP/2.0\r\n", 2),
    "an SMTP greeting": (b"EHLO example.org\r\n", 0),
    "a TLS client hello": (b"\x16\x03\x01\x02\x00\x01\x00\x01\xfc", 0),
    "an empty line": (b"\r\n\r\n\r\n", 4),
    "a lower-case word": (b"proxy TCP4 192.0.2.7 192.0.2.1 1 2\r\n", 0),
    "two spaces": (b"PROXY  TCP4 192.0.2.7 192.0.2.1 1 2\r\n", 6),
    "a tabulator": (b"PROXY\tTCP4 192.0.2.7 192.0.2.1 1 2\r\n", 5),
    "a protocol that version 1 has not": (b"PROXY UDP4 192.0.2.7 192.0.2.1 1 2\r\n", 7),
    "TCP without a family": (b"PROXY TCP 192.0.2.7 192.0.2.1 1 2\r\n", 9),
    "an UNKNOWN with more letters": (b"PROXY UNKNOWNS\r\n", 13),
    "IPv6 text under TCP4": (b"PROXY TCP4 2001:db8::7 192.0.2.1 1 2\r\n", 14),
    "mapped text under TCP4": (b"PROXY TCP4 ::ffff:192.0.2.7 192.0.2.1 1 2\r\n", 11),
    "IPv4 text under TCP6": (b"PROXY TCP6 192.0.2.7 192.0.2.1 1 2\r\n", 14),
    "IPv4 text for the second address under TCP6": (b"PROXY TCP6 ::1 192.0.2.1 1 2\r\n", 18),
    "an octet above 255": (b"PROXY TCP4 192.0.2.256 192.0.2.1 1 2\r\n", 21),
    "an octet with a leading zero": (b"PROXY TCP4 192.0.02.7 192.0.2.1 1 2\r\n", 18),
    "three octets": (b"PROXY TCP4 192.0.2 192.0.2.1 1 2\r\n", 18),
    "five octets": (b"PROXY TCP4 192.0.2.7.1 192.0.2.1 1 2\r\n", 20),
    "an empty address": (b"PROXY TCP4  192.0.2.1 1 2\r\n", 11),
    "a zone of an address that has none": (b"PROXY TCP6 ::1%eth0 ::1 1 2\r\n", 14),
    "brackets around an address with a zone": (b"PROXY TCP6 [fe80::1%eth0] ::1 1 2\r\n", 11),
    "an address with zeros before a zone": (b"PROXY TCP6 fe80::127.000.0.1%x ::1 1 2\r\n", 22),
    "an unusable zone": (b"PROXY TCP6 fe80::1%e/0 ::1 1 2\r\n", 20),
    "brackets": (b"PROXY TCP6 [::1] ::1 1 2\r\n", 11),
    "five hexadecimal digits": (b"PROXY TCP6 12001::1 ::1 1 2\r\n", 15),
    "two double colons": (b"PROXY TCP6 1::2::3 ::1 1 2\r\n", 16),
    "nine groups": (b"PROXY TCP6 1:2:3:4:5:6:7:8:9 ::1 1 2\r\n", 26),
    "seven groups": (b"PROXY TCP6 1:2:3:4:5:6:7 ::1 1 2\r\n", 24),
    "an address of 41 characters": (b"PROXY TCP6 0000:0000:0000:0000:0000:ffff:192.0.2.177 ::1 1 2\r\n", 50),
    "a letter in an address": (b"PROXY TCP6 ::g ::1 1 2\r\n", 13),
    "digits that are not ASCII": ("PROXY TCP4 192.0.2.7 192.0.2.1 ١ 2\r\n".encode(), 31),
    "an underscore in a port": (b"PROXY TCP4 192.0.2.7 192.0.2.1 1_0 2\r\n", 32),
    "a sign in a port": (b"PROXY TCP4 192.0.2.7 192.0.2.1 +10 2\r\n", 31),
    "a negative port": (b"PROXY TCP4 192.0.2.7 192.0.2.1 -1 2\r\n", 31),
    "a leading zero in a port": (b"PROXY TCP4 192.0.2.7 192.0.2.1 010 2\r\n", 32),
    "port 65536": (b"PROXY TCP4 192.0.2.7 192.0.2.1 65536 2\r\n", 35),
    "port 65536 at the end": (b"PROXY TCP4 192.0.2.7 192.0.2.1 1 65536\r\n", 37),
    "port 100000": (b"PROXY TCP4 192.0.2.7 192.0.2.1 100000 2\r\n", 36),
    "a hexadecimal port": (b"PROXY TCP4 192.0.2.7 192.0.2.1 0x10 2\r\n", 32),
    "an empty port": (b"PROXY TCP4 192.0.2.7 192.0.2.1 1 \r\n", 33),
    "no second port": (b"PROXY TCP4 192.0.2.7 192.0.2.1 1\r\n", 32),
    "a third port": (b"PROXY TCP4 192.0.2.7 192.0.2.1 1 2 3\r\n", 34),
    "a space before the CRLF": (b"PROXY TCP4 192.0.2.7 192.0.2.1 1 2 \r\n", 34),
    "no CR": (b"PROXY TCP4 192.0.2.7 192.0.2.1 1 2\nHELO", 34),
    "a CR without its LF": (b"PROXY TCP4 192.0.2.7 192.0.2.1 1 2\rHELO", 35),
    "a NUL": (b"PROXY TCP4 192.0.2.7\x00 192.0.2.1 1 2\r\n", 20),
    "a bare LF in what UNKNOWN ignores": (b"PROXY UNKNOWN a\nb\r\n", 15),
    "an UNKNOWN that is too long": (b"PROXY UNKNOWN " + b"x" * 92 + b"\r\n", 105),
    "5,000 bytes without a newline": (b"PROXY UNKNOWN " + b"x" * 4986, 105),
    "a signature with one wrong byte": (b"\r\n\r\n\0\r\nQUIT\r", 11),
    "version 1 in binary": (binary(0x11, 0x11, _V4), 12),
    "version 3": (binary(0x31, 0x11, _V4), 12),
    "the command 2": (binary(0x22, 0x11, _V4), 12),
    "the family 4": (binary(0x21, 0x41, _V4), 13),
    "the transport 3": (binary(0x21, 0x13, _V4), 13),
    "an IPv4 block that is one byte short": (binary(0x21, 0x11, _V4[:-1]), 15),
    "an IPv4 block under IPv6": (binary(0x21, 0x21, _V4), 15),
    "a UNIX-domain block that is one byte short": (binary(0x21, 0x31, bytes(215)), 15),
    "a TLV of which only the type is left": (binary(0x21, 0x11, _V4 + b"\x04"), 28),
    "a TLV of which half the length is left": (binary(0x21, 0x11, _V4 + b"\x04\x00"), 29),
    "a TLV that is longer than the header": (binary(0x21, 0x11, _V4 + b"\x04\x00\x05abcd"), 34),
    "a wrong checksum": (binary(0x21, 0x11, _V4 + bytes.fromhex("030004 deadbeef")), 34),
    "a checksum of three bytes": (binary(0x21, 0x11, _V4 + bytes.fromhex("030003 000000")), 33),
    "an SSL TLV of four bytes": (binary(0x21, 0x11, _V4 + bytes.fromhex("200004 01000000")), 34),
    "an SSL TLV whose sub-TLV is too long": (binary(0x21, 0x11, _V4 + bytes.fromhex("200008 0100000000 210009")), 38),
    "a unique id of 129 bytes": (binary(0x21, 0x11, _V4 + b"\x05\x00\x81" + bytes(129)), 159),
}
