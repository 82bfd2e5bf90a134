"""tcprules' language without its files: rule lines in, records out, and the search that decides about a caller.

A rule is ``ADDRESS:allow`` or ``ADDRESS:deny`` with ``,NAME="value"`` appended any number of times;
docs/rules-language.md is the reference. It becomes a record of a cdb whose key is the address and whose data are ``D``
(deny) and ``+NAME=value`` items, each ended by a NUL. Deciding is looking up keys, the most specific first; the first
record found decides.

What DJB's tools and their IPv6 patch know is stored as they store it, byte for byte. Beyond that:

- **Networks** (``10.64.0.0/10``, ``2001:db8::/29``) become records whose keys begin with a NUL, which no C program
  ever asks for, and one index record (`INDEX_KEY`) says which prefix lengths there are, so that a search tries those
  and no others. Where a textual prefix says the same (``10.0.0.0/8`` is ``10.``) that is stored instead, and the C
  programs see it too.
- **Addresses match by value.** A rule's address is stored in the spelling that the look-up uses (`djb_text`). Prefixes
  keep their spelling, as C would look for some of them, and the search tries each spelling that a prefix of the caller
  can have.
- An IPv4 caller is also looked for as ``::ffff:a.b.c.d``: rules that were written for ``tcpserver -6`` hold without it.
"""

from __future__ import annotations

import os
from ipaddress import IPv4Address, IPv6Address

from ucspi_env._address import djb_text, djb_text6, parse_ip

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Callable, Iterator, Sequence

    from ucspi_env._address import IPAddress

INDEX_KEY = b"\0"
_NETWORK4, _NETWORK6 = b"\x004", b"\x006"
# The index record's data: the prefix lengths in use, longest first, IPv4's and IPv6's, with this byte between them.
_INDEX_DIVIDER = b"\xff"
_PLAIN = b"0123456789abcdef:."
# Tells a zero that begins a number (and may have to go) from other digits.
_SHAPE = bytes(0x31 if byte in b"123456789abcdef" else byte for byte in range(256))
# Distinct instructions that a compiler remembers; files repeat a few, or have one for each line.
_MAX_REMEMBERED = 10_000


class RulesError(ValueError):
    """Rules that cannot be followed, so that nobody gets in by them. The text says what is wrong with them."""


class RuleSyntaxError(ValueError):
    """A line that is not a rule.

    Attributes:
        number: which line of the input, counted from 1.
        line: its text, without line feed and trailing blanks.
        reason: what is wrong with it.
    """

    def __init__(self, number: int, line: bytes, reason: str) -> None:
        super().__init__(number, line, reason)
        self.number = number
        self.line = line
        self.reason = reason

    def __str__(self) -> str:
        return f"line {self.number}: {self.reason}"


class Decision:
    """What the rules say about one caller.

    Attributes:
        allowed: whether it may connect.
        environment: variables to set for the program, in the order of the rule; of one name the last counts.
        unset: variables to remove before that; only rules directories can ask for it.
        key: the address of the rule that decided, None where none matched.
    """

    __slots__ = ("allowed", "environment", "key", "unset")

    def __init__(
        self,
        allowed: bool,
        environment: tuple[tuple[str, str], ...] = (),
        key: str | None = None,
        unset: tuple[str, ...] = (),
    ) -> None:
        self.allowed = allowed
        self.environment = environment
        self.key = key
        self.unset = unset

    def __eq__(self, other: object) -> bool:
        if not isinstance(other, Decision):
            return NotImplemented
        return all(getattr(self, name) == getattr(other, name) for name in self.__slots__)

    __hash__ = None  # type: ignore[assignment]  # a value to look at, not a key

    def __repr__(self) -> str:
        return f"Decision({self.allowed}, {self.environment}, key={self.key!r}, unset={self.unset})"


# --- Writing: lines to records --------------------------------------------------------------------


class Compiler:
    """Turns lines into records, many at a time.

    Attributes:
        notes: what a C tcpserver makes of rules that mean more here, each with its line's number.
    """

    def __init__(self) -> None:
        self.notes: list[tuple[int, str]] = []
        self._lines = 0
        self._remembered: dict[bytes, bytes] = {}
        self._networks: set[bytes] = set()

    def compile(self, lines: Sequence[bytes]) -> tuple[list[bytes], list[bytes]]:
        """The keys and the data of the records that these next lines of the input stand for.

        Raises:
            RuleSyntaxError: the first line that is not a rule.
        """
        keys: list[bytes] = []
        datas: list[bytes] = []
        remembered = self._remembered
        for number, line in enumerate(lines, self._lines + 1):
            # The common lines first: an address or prefix in the usual spelling, instructions that were seen before.
            address, _, instructions = line.rpartition(b":")
            data = remembered.get(instructions)
            if data is not None and not address.translate(None, _PLAIN) and _is_usual(address):
                keys.append(address)
                datas.append(data)
            elif line[:1] not in (b"#", b"\n"):
                try:
                    self._compile_one(number, line, keys, datas)
                except ValueError as error:
                    raise RuleSyntaxError(number, _stripped(line), str(error)) from None
        self._lines += len(lines)
        return keys, datas

    def index(self) -> tuple[list[bytes], list[bytes]]:
        """The record that comes last: the index of networks, if there are any."""
        if not self._networks:
            return [], []
        lengths4, lengths6 = (
            bytes(sorted({key[2] for key in self._networks if key.startswith(family)}, reverse=True))
            for family in (_NETWORK4, _NETWORK6)
        )
        return [INDEX_KEY], [lengths4 + _INDEX_DIVIDER + lengths6]

    def _compile_one(self, number: int, line: bytes, keys: list[bytes], datas: list[bytes]) -> None:
        address, instructions = split_rule(_stripped(line))
        data = encode_instructions(instructions)
        end = line.rpartition(b":")[2]
        if _stripped(end) == instructions:
            if len(self._remembered) >= _MAX_REMEMBERED:
                self._remembered.clear()
            self._remembered[end] = data
        for expanded in expand_range(address):
            key, note = rule_key(expanded)
            if note:
                self.notes.append((number, note))
            if key[:1] == b"\0":
                if key in self._networks:
                    continue  # the first one counts, and no C program counts these records
                self._networks.add(key)
            keys.append(key)
            datas.append(data)


def _is_usual(address: bytes) -> bool:
    """Whether an address of digits, a–f, dots and colons is stored as it is: no leading zeros, no ``::`` at its end."""
    if address[-2:] == b"::":
        return address == b"::"
    if address[:1] == b"0" or b":0" in address:
        return False
    if b".0" in address:
        shape = address.translate(_SHAPE)
        return b".00" not in shape and b".01" not in shape
    return True


def _stripped(line: bytes) -> bytes:
    return line.removesuffix(b"\n").rstrip(b" \t")


def split_rule(line: bytes) -> tuple[bytes, bytes]:
    """Split a line at the first colon that ``allow`` or ``deny`` follows, which lets IPv6 addresses keep theirs."""
    cuts = [cut for cut in (line.find(b":deny"), line.find(b":allow")) if cut >= 0]
    if not cuts:
        raise ValueError("no :allow or :deny follows the address")
    cut = min(cuts)
    return line[:cut], line[cut + 1 :]


def encode_instructions(text: bytes) -> bytes:
    """The data of a record: what ``allow`` or ``deny`` and the variables after it become."""
    parts = [b"D\0"] if text.startswith(b"deny") else []
    at = 4 if parts else 5
    verb = text[:at].decode("ascii")
    while at < len(text):
        if text[at:] == b"\r":
            raise ValueError("it ends with a carriage return: rules are lines with a line feed only")
        if text[at] != 0x2C:
            raise ValueError(f'a comma and NAME="value", or the end of the line, must follow {verb}')
        equals = text.find(b"=", at + 1)
        if equals < 0:
            raise ValueError(f'a variable is not of the form NAME="value" after {verb}')
        name = text[at + 1 : equals]
        quote = text[equals + 1 : equals + 2]
        end = text.find(quote, equals + 2) if quote else -1
        shown = ascii(name.decode("utf-8", "replace"))
        if end < 0:
            raise ValueError(f"the value of variable {shown} has no closing quote")
        if not name or any(byte <= 0x20 or byte == 0x7F for byte in name):
            raise ValueError(f"{shown} cannot be the name of a variable")
        if b"\0" in text[equals:end]:
            raise ValueError(f"the value of variable {shown} contains a NUL")
        parts.append(b"+" + name + b"=" + text[equals + 2 : end] + b"\0")
        verb = "the value"
        at = end + 1
    return b"".join(parts)


def expand_range(address: bytes) -> list[bytes]:
    """``1.2.3.37-53`` as the addresses it stands for; anything without a range as it is."""
    if b"-" not in address or b"=" in address or b"@" in address:
        return [address]
    before, _, after = address.partition(b"-")
    head, dot, low = before.rpartition(b".")
    high, tail_dot, tail = after.partition(b".")
    if not (_is_number(low) and _is_number(high)):
        raise ValueError("a range of addresses is written with numbers, as in 1.2.3.37-53")
    values = range(_octet(low), min(_octet(high), 255) + 1)
    return [b"%b%b%d%b%b" % (head, dot, value, tail_dot, tail) for value in values]


def _is_number(text: bytes) -> bool:
    return not text.translate(None, b"0123456789")


def _octet(digits: bytes) -> int:
    """What digits say, none of them being 0; beyond any octet it does not matter by how much (C wraps at 2 ** 64)."""
    significant = digits.lstrip(b"0")
    return int(significant or b"0") if len(significant) <= 3 else 1000


def rule_key(address: bytes) -> tuple[bytes, str]:
    """The key that a rule with this address (ranges already expanded) is stored under.

    Returns:
        The key, and what a person should know who runs C's tcpserver on the same file: empty if it does the same.

    Raises:
        ValueError: the address cannot be meant.
    """
    if b"\0" in address:
        raise ValueError("the address contains a NUL")
    if address[:1] == b"=":
        return address, ""
    info, at, ip = address.rpartition(b"@")
    if b"%" in ip and b":" in ip:
        raise ValueError("rules know no zones: leave out the percent sign and what follows")
    if at:
        if b"/" in ip and ip[:1] != b"=":
            raise ValueError("a rule with an ident answer is for one address, not for a network")
        return info + at + (ip if ip[:1] == b"=" else _canonical(ip)), ""
    if b"/" in address:
        return _network_key(address)
    key = _canonical(address)
    if key.endswith(b":0") and key.count(b":") == 7 and b"::" not in key:
        return key, f'a C tcpserver does not see "{to_text(address)}", only the prefix that is spelled like it'
    groups = prefix_groups(key)
    if groups and (key.endswith(b"::") or b"0" in groups):
        return key, f'a C tcpserver applies "{to_text(address)}" only to callers whose address is spelled like this'
    return key, ""


def _canonical(address: bytes) -> bytes:
    """An address or prefix in the spelling that look-ups use; what is neither stays as it is, and matches nobody."""
    if not address.translate(None, _PLAIN) and address[:1] != b"0" and b":0" not in address and b".0" not in address:
        return address
    if not address.isascii():
        return address
    text = address.decode("ascii")
    if text.endswith(":"):
        groups = text[:-1].lower().split(":")
        if all(len(group) <= 4 and not group.strip("0123456789abcdef") for group in groups):
            return (":".join(group and (group.lstrip("0") or "0") for group in groups) + ":").encode("ascii")
        return address
    if text.endswith("."):
        mapped = text[:7].lower() == "::ffff:"
        octets = text[7 if mapped else 0 : -1].split(".")
        if len(octets) < 4 and all(0 < len(octet) <= 3 and not octet.strip("0123456789") for octet in octets):
            return (("::ffff:" if mapped else "") + "".join(f"{int(octet)}." for octet in octets)).encode("ascii")
        return address
    try:
        ip = parse_ip(text)[0]
    except ValueError:
        return address
    return djb_text6(ip).encode("ascii") if ":" in text and isinstance(ip, IPv4Address) else exact_key(ip)


def exact_key(ip: IPAddress) -> bytes:
    """The key of a rule for this address alone.

    The usual spelling, but all eight groups where that ends in ``::`` and would be taken for a prefix.
    """
    text = djb_text(ip).encode("ascii")
    return b"".join(groups6(int(ip)))[:-1] if text.endswith(b":") else text


def prefix_groups(key: bytes) -> list[bytes]:
    """The groups of an IPv6 prefix that reads as a value: ``a:b:`` and ``a:b::``, not ``a::b:`` or a lone ``::``."""
    if key[-1:] != b":" or key.translate(None, _PLAIN):
        return []
    groups = key[:-1].removesuffix(b":").split(b":")
    return groups if len(groups) < 8 and all(groups) else []


def _network_key(address: bytes) -> tuple[bytes, str]:
    text, _, digits = address.decode("ascii", "replace").partition("/")
    try:
        ip, _ = parse_ip(text)
    except ValueError:
        raise ValueError(f"{text!a} before the slash is not an IP address") from None
    length = int(digits) if 0 < len(digits) <= 3 and not digits.strip("0123456789") else -1
    bits = ip.max_prefixlen
    if ":" in text and bits == 32:
        length -= 96  # ::ffff:10.0.0.0/104 is 10.0.0.0/8
    if not 0 <= length <= bits:
        raise ValueError(f"{digits!a} is not a prefix length of {ip}")
    network = int(ip) >> (bits - length) << (bits - length)
    if network != int(ip):
        raise ValueError(f"it has bits beyond /{length}: the network is {djb_text(type(ip)(network))}/{length}")
    key, prefix = network_key(network, bits, length), b""
    if length == bits:
        return rule_key(exact_key(ip))
    if bits == 32 and length in (8, 16, 24):
        prefix = ".".join(str(ip).split(".")[: length // 8]).encode("ascii") + b"."
    elif bits == 128 and length and length % 16 == 0:
        prefix = b"".join(groups6(network)[: length // 16])
    if not prefix:
        return key, f'a C tcpserver does not see "{to_text(address)}"'
    if bits == 128 and b"0" in prefix.split(b":"):
        return prefix, f'a C tcpserver applies "{to_text(address)}" only to callers whose address shows these zeros'
    return prefix, ""


def network_key(number: int, bits: int, length: int) -> bytes:
    """The key of the extra record for the network of ``length`` bits around an address, a number of 32 or 128 bits."""
    size = (length + 7) >> 3
    network = number >> (bits - length) << ((size << 3) - length)
    return (_NETWORK4 if bits == 32 else _NETWORK6) + length.to_bytes(1, "big") + network.to_bytes(size, "big")


def groups6(number: int) -> list[bytes]:
    """The eight groups of an IPv6 address, each with its colon."""
    return [b"%x:" % (number >> shift & 0xFFFF) for shift in range(112, -16, -16)]


# --- Searching ------------------------------------------------------------------------------------


def decide(
    find: Callable[[bytes], bytes | None], ip: IPAddress | str, host: str | None = None, info: str | None = None
) -> Decision:
    """Decide about a caller.

    Args:
        find: gives the data of a key, or None.
        ip: the caller's address, normalised: an IPv4 caller's is an IPv4Address. A text is looked for as it is, as C
        does.
        host: its name, None where there is none; a stranger's word.
        info: its ident answer, None where there is none; likewise.

    Returns:
        The decision of the first rule that matches; where none does, everybody is allowed.

    Raises:
        RulesError: the index of networks is damaged.
    """
    lengths = read_index(find(INDEX_KEY))
    for key in candidates(ip, host, info, lengths):
        data = find(key)
        if data is not None:
            return decode(data, key)
    return Decision(True)


def read_index(data: bytes | None) -> tuple[bytes, bytes]:
    """The prefix lengths of networks that a file has, longest first, IPv4's and IPv6's.

    Raises:
        RulesError: it is not an index.
    """
    if data is None:
        return b"", b""
    lengths4, divider, lengths6 = data.partition(_INDEX_DIVIDER)
    for lengths, most in (lengths4, 31), (lengths6, 127):
        if not divider or lengths[:1] > bytes([most]) or bytes(sorted(set(lengths), reverse=True)) != lengths:
            raise RulesError("the index of networks is damaged")
    return lengths4, lengths6


def candidates(
    ip: IPAddress | str, host: str | None, info: str | None, lengths: tuple[bytes, bytes] = (b"", b"")
) -> Iterator[bytes]:
    """The keys of the rules that can match a caller, in the order in which they count."""
    if isinstance(ip, IPv4Address):
        text = str(ip).encode("ascii")
        exact = [text, b"::ffff:" + text]
        wider = _networks4(ip, text, lengths[0])
    elif isinstance(ip, IPv6Address):
        text = djb_text(ip).encode("ascii")
        exact = [exact_key(ip), text] if text.endswith(b":") else [text]
        wider = _networks6(ip, text, lengths[1])
    else:
        exact = [to_bytes(ip)]
        wider = _textual_prefixes(exact[0])
    # A NUL begins the keys that only we write: no text of a stranger may reach them.
    if info is not None and "\0" in info:
        info = None
    if host is not None and "\0" in host:
        host = None
    if info is not None:
        for text in exact:
            yield to_bytes(info) + b"@" + text
        if host is not None:
            yield to_bytes(info) + b"@=" + to_bytes(host)
    yield from exact
    if host is not None:
        yield b"=" + to_bytes(host)
    yield from wider
    if host is not None:
        name = to_bytes(host)
        dot = name.find(b".")
        while dot >= 0:
            yield b"=" + name[dot:]
            dot = name.find(b".", dot + 1)
        yield b"="
    yield b""


def _textual_prefixes(text: bytes) -> Iterator[bytes]:
    """What C tries: the prefixes that end in a dot or a colon."""
    for end in range(len(text), 0, -1):
        if text[end - 1] in b".:":
            yield text[:end]


def _networks4(ip: IPv4Address, text: bytes, lengths: bytes) -> Iterator[bytes]:
    number = int(ip)
    rest = iter(lengths)
    length = next(rest, -1)
    for whole in (24, 16, 8, 0):
        while length > whole:
            yield network_key(number, 32, length)
            length = next(rest, -1)
        text = text[: text.rfind(b".", 0, -1) + 1]
        if text:
            yield text
        yield b"::ffff:" + text
    if length == 0:
        yield network_key(number, 32, 0)


def _networks6(ip: IPv6Address, text: bytes, lengths: bytes) -> Iterator[bytes]:
    """Prefixes and networks, longest first; where C would look for a spelling, before the others of that length."""
    number = int(ip)
    words = groups6(number)
    by_value = b"".join(words)
    spelled = _spelled_prefixes(text)
    rest = iter(lengths)
    length = next(rest, -1)
    for groups in (7, 6, 5, 4, 3, 2, 1, 0):
        while length > 16 * groups:
            yield network_key(number, 128, length)
            length = next(rest, -1)
        yield from spelled[groups]
        if groups:
            by_value = by_value[: -len(words[groups])]
            for prefix in (by_value, by_value + b":"):
                if prefix != text and prefix not in spelled[groups]:
                    yield prefix
        if length == 16 * groups:
            yield network_key(number, 128, length)
            length = next(rest, -1)


def _spelled_prefixes(text: bytes) -> list[list[bytes]]:
    """The true prefixes of an address's usual text that end in a colon, by how many groups they cover, longest first.

    ``a::`` covers one group, ``a::b:`` as many as it has in this very address: what ``::`` stands for is known only
    here.
    """
    prefixes: list[list[bytes]] = [[] for _ in range(8)]
    head, double, tail = text.partition(b"::")
    groups = head.split(b":") if head else []
    covered = len(groups)
    if double:
        after = tail.split(b":") if tail else []
        for count in range(len(after) - 1, 0, -1):
            prefixes[8 - len(after) + count].append(head + double + b":".join(after[:count]) + b":")
        prefixes[covered] += (head + double, head + b":") if tail else (head + b":",)
        covered -= 1
    else:
        covered = 7
    for count in range(covered, 0, -1):
        prefixes[count].append(b":".join(groups[:count]) + b":")
    return prefixes


# --- What a record says ---------------------------------------------------------------------------


def items(data: bytes) -> list[bytes]:
    """The items of a record's data; what follows the last NUL is none."""
    return data.split(b"\0")[:-1]


def decode(data: bytes, key: bytes) -> Decision:
    """The decision that a record stands for. Unknown items, and names that no environment can have, are nothing."""
    allowed = True
    environment: list[tuple[str, str]] = []
    for item in items(data):
        if item[:1] == b"D":
            allowed = False
        elif item[:1] == b"+":
            name, equals, value = item[1:].partition(b"=")
            if name and equals:
                environment.append((to_text(name), to_text(value)))
    return Decision(allowed, tuple(environment), shown_key(key))


def shown_key(key: bytes) -> str:
    """A key as a person would write the rule's address."""
    if key[:1] != b"\0":
        return to_text(key)
    length = key[2]
    kind = IPv4Address if key.startswith(_NETWORK4) else IPv6Address
    ip = kind(key[3:].ljust(kind(0).max_prefixlen // 8, b"\0"))
    return f"{djb_text(ip)}/{length}"


def to_bytes(text: str) -> bytes:
    """Text of the environment as the bytes that it came from, whatever the locale made of them."""
    return os.fsencode(text)


def to_text(text: bytes) -> str:
    """Bytes as the environment of a Python program shows them."""
    return os.fsdecode(text)
