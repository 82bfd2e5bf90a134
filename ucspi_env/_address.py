"""IP addresses as text: every spelling that super-servers use in, the standard ones out.

Rule 1: an IPv4-mapped address *is* the IPv4 address (RFC 4291, section 2.5.5.2); nothing behind this file ever sees
one.
Rule 2: a zone (RFC 4007) travels beside the address, never inside it.
Rule 3: text is parsed, not guessed: what is not an address is a `ValueError`.
"""

from ipaddress import IPv4Address, IPv6Address

TYPE_CHECKING = False
if TYPE_CHECKING:
    from typing import TypeAlias

    IPAddress: TypeAlias = IPv4Address | IPv6Address

# "[" + 39 digits and colons + "%" + an interface name + "]:65535", with room for zero-padded IPv4 tails.
MAX_TEXT = 96
# What if_indextoname(3) can give or a person may type, less what would end the address or start a path.
_ZONE_CHARACTERS = frozenset("abcdefghijklmnopqrstuvwxyzABCDEFGHIJKLMNOPQRSTUVWXYZ0123456789-_.:@+=~")
_MAX_ZONE = 15  # IF_NAMESIZE less the NUL
_MAPPED = 0xFFFF
_MAPPED_START = "::ffff:"
_REMEMBERED = 64  # texts: a server's own addresses, and a few of its callers'
_parsed: "dict[str, tuple[IPAddress, str | None]]" = {}


def parse_ip(text: str) -> "tuple[IPAddress, str | None]":
    """Read one address, without a port, in any legal spelling.

    IPv4 octets may have leading zeros, which are decimal (``127.000.000.001``, as in DJB's tools) and at most three
    digits long. IPv6 is read by RFC 4291 with an optional ``%zone`` (RFC 4007) and one optional pair of brackets.

    Returns:
        The address, IPv4 where the text was IPv4-mapped, and the zone: None except for link-local IPv6 addresses,
        since no other address needs one.

    Raises:
        ValueError: it is not an address.
    """
    # One connection brings each of its two addresses several times: by variables and by the kernel.
    found = _parsed.get(text)
    if found is None:
        found = _parse_ip(text)
        if len(_parsed) >= _REMEMBERED:
            _parsed.clear()
        _parsed[text] = found
    return found


def _parse_ip(text: str) -> "tuple[IPAddress, str | None]":
    if len(text) > MAX_TEXT:
        raise ValueError("is too long for an IP address")
    if text.startswith("[") and text.endswith("]"):
        text = text[1:-1]
        if ":" not in text:
            raise ValueError("has brackets around something that is not an IPv6 address")
    if ":" not in text:
        return _parse_ipv4(text), None
    text, percent, zone = text.partition("%")
    if percent and not (0 < len(zone) <= _MAX_ZONE and _ZONE_CHARACTERS.issuperset(zone)):
        raise ValueError("has an unusable zone after the percent sign")
    if text.startswith(_MAPPED_START):
        tail = text[len(_MAPPED_START) :]
        if ":" not in tail and "." in tail:  # as tcpserver writes IPv4; what follows says the same, slowly
            return _parse_ipv4(tail), None
    try:
        if "." in text:
            # ipaddress refuses leading zeros in the IPv4 tail, DJB's tools write none but take them.
            head, _, tail = text.rpartition(":")
            if head == "::ffff":  # as each TCP6REMOTEIP of an IPv4 peer
                return _parse_ipv4(tail), None
            text = f"{head}:{_parse_ipv4(tail)}"
        ip = IPv6Address(text)
    except ValueError:
        raise ValueError("is not an IP address") from None
    number = int(ip)
    if number >> 32 == _MAPPED:
        return IPv4Address(number & 0xFFFFFFFF), None
    return ip, zone if percent and ip.is_link_local else None


def _parse_ipv4(text: str) -> "IPv4Address":
    octets = text.split(".")
    number = 0
    if len(octets) == 4:
        for octet in octets:
            if not (len(octet) <= 3 and octet.isascii() and octet.isdigit()):
                break
            value = int(octet)
            if value > 255:
                break
            number = number << 8 | value
        else:
            return IPv4Address(number)
    raise ValueError("is not an IP address")


def parse_port(text: str) -> int:
    """Read a port: one to five ASCII digits, 0 to 65535.

    Raises:
        ValueError: it is not a port.
    """
    if len(text) <= 5 and text.isascii() and text.isdigit():
        port = int(text)
        if port <= 65535:
            return port
    raise ValueError("is not a port (0 to 65535)")


def split_port(text: str) -> "tuple[str, str | None]":
    """Split ``[address]:port``, ``a.b.c.d:port``, or either alone, into the address and the port's text.

    A colon outside brackets belongs to an IPv6 address unless it is the only one.
    """
    if text.startswith("["):
        address, bracket, rest = text.partition("]")
        if bracket and rest.startswith(":"):
            return address + bracket, rest[1:]
        return text, None
    if text.count(":") == 1:
        address, _, port = text.partition(":")
        return address, port
    return text, None


def is_unspecified(ip: "IPAddress") -> bool:
    """Whether it is 0.0.0.0 or ::, which is no end of any connection; ipaddress compares objects to find out."""
    return not int(ip)


def normalised(ip: "IPAddress") -> "IPAddress":
    """The address without its IPv4-mapped disguise and without a zone."""
    if isinstance(ip, IPv6Address):
        if int(ip) >> 32 == _MAPPED:
            return IPv4Address(int(ip) & 0xFFFFFFFF)
        if ip.scope_id is not None:
            return IPv6Address(int(ip))
    return ip


def djb_text(ip: "IPAddress") -> str:
    """The spelling of ucspi-tcp's IPv6 patch.

    Like RFC 5952, but the longest run of zero groups becomes ``::`` even where it is a single group, and no form
    other than IPv4-mapped ever has a dotted tail.
    """
    if isinstance(ip, IPv4Address):
        return str(ip)
    number = int(ip)
    groups = [number >> shift & 0xFFFF for shift in range(112, -16, -16)]
    best_start = best_length = start = 0
    while start < 8:
        end = start
        while end < 8 and groups[end] == 0:
            end += 1
        if end - start > best_length:
            best_start, best_length = start, end - start
        start = end + 1
    words = [f"{group:x}" for group in groups]
    if not best_length:
        return ":".join(words)
    return ":".join(words[:best_start]) + "::" + ":".join(words[best_start + best_length :])


def djb_text6(ip: "IPAddress") -> str:
    """The spelling in a ``TCP6…`` variable: as `djb_text`, an IPv4 address as ``::ffff:a.b.c.d``."""
    return f"::ffff:{ip}" if isinstance(ip, IPv4Address) else djb_text(ip)


def plausible_host(text: str) -> "str | None":
    """A host name that a stranger's DNS gave us, if it can be one: lower case, no trailing dot.

    Letters, digits, hyphens and underscores in labels of 1 to 63, 253 in all (RFC 1123, section 2.1). None for
    anything else: text that reads as an address or a number (a last label of digits, RFC 3696, section 2; ``0`` of
    ``tcpserver -l 0``), the words that servers put where look-ups failed, and everything with other characters in it.
    """
    name = text[:-1] if text.endswith(".") else text
    if not 0 < len(name) <= 253 or not name.isascii():
        return None
    name = name.lower()
    if name in ("softdnserr", "softdnserror"):  # couriertcpd's and qmail tcp-env's word for "DNS did not answer"
        return None
    labels = name.split(".")
    for label in labels:
        if not 0 < len(label) <= 63 or label.startswith("-") or label.endswith("-"):
            return None
        if not label.replace("-", "a").replace("_", "a").isalnum():
            return None
    last = labels[-1]
    if last.isdigit() or (last.startswith("0x") and all(digit in "0123456789abcdef" for digit in last[2:])):
        return None
    return name


def plausible_info(text: str) -> "str | None":
    """An ident answer that is safe to show: 1 to 512 printable ASCII characters (RFC 1413, section 6), else None."""
    return text if 0 < len(text) <= 512 and text.isascii() and text.isprintable() else None


def shown(value: str) -> str:
    """An untrusted value for a message: quoted, escaped, and cut to one readable line."""
    text = ascii(value)
    if "\\udc" in text:  # a byte that is no UTF-8, as Python keeps it
        text = text[0] + "".join(map(escaped, value)).replace(text[0], "\\" + text[0]) + text[0]
    return text if len(text) <= 120 else text[:110] + "…" + text[-1]


def escaped(character: str) -> str:
    r"""A character in ASCII; a byte that is no UTF-8 (PEP 383) as ``\xff``."""
    byte = ord(character) - 0xDC00
    return f"\\x{byte:02x}" if 0x80 <= byte <= 0xFF else ascii(character)[1:-1]
