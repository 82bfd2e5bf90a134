"""Rules files to rules directories and back, without touching either: a conversion never changes a decision.

What the other form cannot say exactly is a `ConversionError` that lists every such rule, and nothing is converted.
"""

from __future__ import annotations

from ipaddress import IPv4Address, IPv6Address

from ucspi_env._address import djb_text, parse_ip
from ucspi_env.tools import _ruleslayout
from ucspi_env.tools._rules import (
    Compiler,
    Decision,
    decode,
    exact_key,
    prefix_groups,
    rule_key,
    shown_key,
    to_bytes,
    to_text,
)

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator, Mapping

    from ucspi_env._address import IPAddress


class ConversionError(ValueError):
    """Rules that the other form has no place for.

    Attributes:
        problems: one line for each, naming the rule and the remedy.
    """

    def __init__(self, problems: list[str]) -> None:
        super().__init__("; ".join(problems))
        self.problems = problems


# --- A file's lines to a directory ----------------------------------------------------------------


def tree_of_lines(lines: Iterable[bytes]) -> dict[bytes, Decision]:
    """The rules directory, by its paths, that decides as these lines of a rules file do.

    Raises:
        RuleSyntaxError: a line is no rule.
        ConversionError: rules that a directory cannot carry.
    """
    compiler = Compiler()
    tree: dict[bytes, Decision] = {}
    first: dict[bytes, tuple[int, bytes]] = {}
    exact_too: list[tuple[bytes, Decision]] = []
    problems: list[str] = []
    for number, line in enumerate(lines, 1):
        for key, data in zip(*compiler.compile([line]), strict=True):
            shown = f"line {number}: {shown_key(key)!a}"
            path = path_of_key(key)
            if path is None:
                problems.append(f"{shown}: no file can have this name")
                continue
            if not path:
                continue
            decision = decode(data, key)
            if key.endswith(b"::") and b"@" not in key and key[:1] != b"=":
                # The caller whose usual spelling this is finds the prefix as its own address, before all prefixes.
                exact_too.append((key, decision))
            earlier, earlier_key = first.setdefault(path, (number, key))
            if path not in tree:
                problems += (f"{shown}: {problem}" for problem in _environment_problems(decision))
                tree[path] = decision
            elif earlier_key != key and not same_outcome(tree[path], decision):
                problems.append(f"{shown}: is the same network as {shown_key(earlier_key)!a} in line {earlier}")
    if problems:
        raise ConversionError(problems)
    for key, decision in exact_too:
        try:
            ip, _ = parse_ip(key.decode("ascii", "replace"))
        except ValueError:
            continue  # a prefix that is no address
        if djb_text(ip).encode("ascii") == key:
            tree.setdefault(_ruleslayout.network_path(ip, 128), decision)
    return _with_default(tree)


def path_of_key(key: bytes) -> bytes | None:
    """Where the rule of a key belongs; None where no file can have the name, empty where the rule can match nobody."""
    if not key:
        return _ruleslayout.DEFAULT
    if key[:1] == b"\0":
        return _ruleslayout.network_path(*_network(shown_key(key)))
    if not any(mark in key for mark in (b"=", b"@", b":", b".")):
        return b""
    if key[:1] != b"=" and b"@" not in key:
        text = key.decode("ascii", "replace")
        octets = text.removeprefix("::ffff:").split(".")
        groups = prefix_groups(key)
        if (
            text.endswith(".")
            and len(octets) < 5
            and all(octet.isdigit() and len(octet) <= 3 and int(octet) < 256 for octet in octets[:-1])
        ):
            network = IPv4Address(".".join([*octets[:-1], *["0"] * (5 - len(octets))]))
            return _ruleslayout.network_path(network, 8 * (len(octets) - 1))
        if text == "::ffff:":
            return _ruleslayout.network_path(IPv4Address(0), 0)
        if groups and all(len(group) <= 4 for group in groups):
            value = int("".join(group.decode("ascii").zfill(4) for group in groups).ljust(32, "0"), 16)
            return _ruleslayout.network_path(IPv6Address(value), 16 * len(groups))
        if not text.endswith(":"):
            try:
                ip, _ = parse_ip(text)
            except ValueError:
                return b""
            return _ruleslayout.network_path(ip, ip.max_prefixlen)
    return _ruleslayout.extra_path(key)


def _network(text: str) -> tuple[IPAddress, int]:
    address, _, length = text.partition("/")
    return parse_ip(address)[0], int(length)


def _environment_problems(decision: Decision) -> Iterator[str]:
    for name, value in decision.environment if decision.allowed else ():
        if name.startswith(".") or not _ruleslayout.is_file_name(to_bytes(name)):
            yield f"no file in an env directory can set the variable {name!a}"
        elif value.rstrip(" \t") != value:
            yield f"the value of {name!a} ends with a blank, which env directories drop"
        elif len(to_bytes(value)) >= _ruleslayout.MAX_VALUE:
            yield f"the value of {name!a} is longer than env directories are read ({_ruleslayout.MAX_VALUE} bytes)"


def _with_default(tree: dict[bytes, Decision]) -> dict[bytes, Decision]:
    """The tree with its rule for everybody else where s6 understands it, if no rules on names come before that one."""
    default = tree.pop(_ruleslayout.DEFAULT, Decision(True))
    if any(path.startswith(b"tcpserver/=.") or path == b"tcpserver/=" for path in tree):
        tree[_ruleslayout.DEFAULT] = default
    else:
        tree.setdefault(_ruleslayout.network_path(IPv4Address(0), 0), default)
        tree.setdefault(_ruleslayout.network_path(IPv6Address(0), 0), default)
    return tree


def same_outcome(one: Decision, other: Decision) -> bool:
    """Whether two rules do the same to a caller."""
    if not (one.allowed and other.allowed):
        return one.allowed == other.allowed
    return dict(one.environment) == dict(other.environment) and set(one.unset) == set(other.unset)


# --- A directory to a file's lines ----------------------------------------------------------------


def lines_of_tree(tree: Mapping[bytes, Decision]) -> list[bytes]:
    """The lines of a rules file that decides as this rules directory does; see `_rulesdir.read_tree`.

    Raises:
        ConversionError: rules that a file cannot carry.
    """
    problems: list[str] = []
    rules: list[tuple[bytes, Decision]] = []
    networks: dict[bytes, Decision] = {}
    for path, decision in tree.items():
        section, _, name = path.partition(b"/")
        try:
            if section in (b"ip4", b"ip6"):
                ip, length = _named_network(path, name)
                if length < ip.max_prefixlen:
                    networks[path] = decision
                rules.append((_address_of(ip, length), decision))
            elif section == b"tcpserver" and path != _ruleslayout.DEFAULT:
                rules.append((name, decision))
        except ValueError as error:
            problems.append(f"{to_text(path)!a}: {error}")
    rules += _rules_on_names(tree, networks, problems)
    rules.append((b"", tree.get(_ruleslayout.DEFAULT, Decision(False))))
    if not problems:
        rules = _with_empty_address(rules, networks)
    lines: list[bytes] = []
    for address, decision in rules:
        try:
            lines.append(address + b":" + _instructions(decision) + b"\n")
        except ValueError as error:
            problems.append(f"{decision.key!a}: {error}")
    if problems:
        raise ConversionError(problems)
    return lines


def _named_network(path: bytes, name: bytes) -> tuple[IPAddress, int]:
    text, _, digits = name.decode("ascii", "replace").rpartition("_")
    try:
        ip, length = _network(f"{text}/{digits}")
        if _ruleslayout.network_path(ip, length) == path:
            return ip, length
    except ValueError:
        pass  # the message below says what a name must look like, whatever is wrong with this one
    raise ValueError("is not named after a network, in the usual spelling and without bits beyond its length")


def _address_of(ip: IPAddress, length: int) -> bytes:
    """The address of a rule for a network, as a prefix where C's tools have one that means the same."""
    if length == ip.max_prefixlen:
        return exact_key(ip)
    text = f"{djb_text(ip)}/{length}".encode("ascii")
    key, note = rule_key(text)
    return text if key[:1] == b"\0" or note else key


def _rules_on_names(
    tree: Mapping[bytes, Decision], networks: Mapping[bytes, Decision], problems: list[str]
) -> list[tuple[bytes, Decision]]:
    """``reversedns/NAME`` as ``=NAME`` and ``=.NAME``.

    The former outranks networks in a file, and nothing else could name the host itself; so it must not differ from any
    of them.
    """
    rules: list[tuple[bytes, Decision]] = []
    names = {path: decision for path, decision in tree.items() if path.startswith(b"reversedns/")}
    if names and any(path.startswith(b"tcpserver/=") for path in tree):
        problems.append("rules in reversedns and on host names in tcpserver cannot be put into one order")
    for path, decision in names.items():
        name = path.partition(b"/")[2]
        if path == _ruleslayout.ANY_HOST:
            rules.append((b"=", decision))
            continue
        differs = next((other for other, said in networks.items() if not same_outcome(said, decision)), None)
        if differs is not None:
            problems.append(
                f"{to_text(path)!a}: yields to {to_text(differs)!a}, while ={to_text(name)} in a file would outrank it"
            )
        rules += ((b"=" + name, decision), (b"=." + name, decision))
    return rules


def _with_empty_address(
    rules: list[tuple[bytes, Decision]], networks: Mapping[bytes, Decision]
) -> list[tuple[bytes, Decision]]:
    """``0.0.0.0/0`` and ``::/0`` as the empty address, which C knows too, where they say the same and come last."""
    everybody = [networks.get(_ruleslayout.network_path(kind(0), 0)) for kind in (IPv4Address, IPv6Address)]
    if everybody[0] is None or everybody[1] is None or not same_outcome(everybody[0], everybody[1]):
        return rules
    if any(address == b"=" or address.startswith(b"=.") for address, _ in rules):
        return rules
    return [rule for rule in rules if rule[0] not in (b"0.0.0.0/0", b"::/0", b"")] + [(b"", everybody[0])]


def _instructions(decision: Decision) -> bytes:
    if decision.unset:
        raise ValueError(f"a rule in a file cannot remove variables: {', '.join(map(ascii, decision.unset))}")
    if not decision.allowed:
        return b"deny"
    parts = [b"allow"]
    for name, value in decision.environment:
        text = to_bytes(value)
        if b"\n" in text:
            raise ValueError(f"the value of {name!a} has more than one line")
        quote = next((mark for mark in b"\"/'|^~!%&+*?$#;<>" if mark not in text), None)
        if quote is None:
            quote = next(byte for byte in range(1, 256) if byte not in text and byte not in b"\n\t ")
        parts.append(b",%b=%c%b%c" % (to_bytes(name), quote, text, quote))
    return b"".join(parts)
