"""What the resolver is told: name servers, and rules that rewrite names. Pure: text in, values out.

The sources and their order are ucspi-tcp's (djbdns, "The dnscache resolver's configuration" as its tools observe it);
`_resolve` reads them.
"""

from __future__ import annotations

from ucspi_env._model import Endpoint

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

PORT = 53
MAX_SERVERS = 4
# Without any setting a server on this machine is asked, in either family.
LOCAL_SERVERS = (Endpoint("::1", PORT), Endpoint("127.0.0.1", PORT))

_KINDS = "=*?-"
_NOT_SHORT = frozenset(".:[]")


def servers_from_variable(text: str) -> tuple[list[Endpoint], str]:
    """Read ``$DNSCACHEIP``: at most four servers.

    DJB's form is addresses joined by single dots, ``127.0.0.1.2001:db8::53``. Addresses may be separated by spaces or
    commas as well, and then each may have a port in the usual spelling, ``127.0.0.1:5353`` or ``[::1]:5353``, which C's
    tools do not have.

    Returns:
        The servers up to the first thing that is none, and that thing (empty if there is none).
    """
    servers: list[Endpoint] = []
    for word in text.replace(",", " ").split():
        found, rest = _servers_from_word(word)
        servers += found
        if rest:
            return servers[:MAX_SERVERS], rest
    return servers[:MAX_SERVERS], ""


def _servers_from_word(word: str) -> tuple[list[Endpoint], str]:
    server = _server(word)
    if server is not None:
        return [server], ""
    parts = word.removeprefix(".").split(".")
    whole = _joined(parts, MAX_SERVERS)
    if whole is not None:
        return whole, ""
    # Not all of it makes sense: what C takes is the longest address at the front, again and again.
    found: list[Endpoint] = []
    while parts:
        for size in (4, 3, 2, 1):
            server = _server(".".join(parts[:size]))
            if server is not None:
                break
        else:
            break
        found.append(server)
        del parts[:size]
    return found, ".".join(parts)


def _joined(parts: Sequence[str], room: int) -> list[Endpoint] | None:
    """A way to read all of ``parts`` as addresses, long ones first (they have at most three dots), or None."""
    if not parts or not room:
        return []
    for size in range(min(4, len(parts)), 0, -1):
        server = _server(".".join(parts[:size]))
        if server is not None:
            rest = _joined(parts[size:], room - 1)
            if rest is not None:
                return [server, *rest]
    return None


def _server(text: str) -> Endpoint | None:
    if text.startswith("[") and ":" not in text.partition("]")[0]:
        text = text[1:].replace("]", "", 1)  # brackets around an IPv4 address, as plain ucspi-tcp had them
    try:
        server = Endpoint.parse(text)
    except ValueError:
        return None
    if server.port == 0:
        return None
    return Endpoint(server.ip, server.port or PORT, server.zone)


def servers_from_resolv_conf(text: str) -> list[Endpoint]:
    """The ``nameserver`` lines of resolv.conf(5), at most four. A zone may follow an address, ``fe80::1%eth0``."""
    servers: list[Endpoint] = []
    for line in text.split("\n"):
        words = line.split()
        if len(words) > 1 and line.startswith("nameserver") and words[0] == "nameserver":
            try:
                address = Endpoint(words[1])
            except ValueError:
                continue
            servers.append(Endpoint(address.ip, PORT, address.zone))
    return servers[:MAX_SERVERS]


def rewrite_rules(environ: Mapping[str, str], rewrite_file: str | None, resolv_conf: str, hostname: str) -> list[str]:
    """The rules for names, from the first source there is.

    Args:
        environ: where ``LOCALDOMAIN`` may be.
        rewrite_file: what is in ``$DNSREWRITEFILE`` or /etc/dnsrewrite; None if the file does not exist.
        resolv_conf: what is in /etc/resolv.conf.
        hostname: this machine's name.
    """
    if rewrite_file is not None:
        lines = [line.rstrip(" \t\r") for line in rewrite_file.split("\n")]
        return [line for line in lines if line and line[0] in _KINDS and ":" in line]
    strip_dot = "*.:"
    domains: list[str] | None = None
    if "LOCALDOMAIN" in environ:
        domains = environ["LOCALDOMAIN"].split()
    else:
        for line in resolv_conf.split("\n"):
            words = line.split()
            if words and line.startswith(words[0]) and words[0] in ("search", "domain"):
                domains = words[1:]
                break
    if domains is not None:
        return ["?:" + "".join(f"+.{domain}" for domain in domains), strip_dot] if domains else [strip_dot]
    _, dot, domain = hostname.partition(".")
    return [f"?:.{domain}", strip_dot] if dot and domain else [strip_dot]


def rewritten(name: str, rules: Sequence[str]) -> list[str]:
    """The names to try for ``name``, in order; the first that has an address is it.

    A rule is a kind, a text, a colon, and what replaces the text: ``=`` where it is the whole name, ``*`` where the
    name ends in it, ``?`` the same if the rest is a single label, ``-`` replaces the rest too. Letters match in either
    case. Every rule is applied in order. A plus sign in the result separates a base from endings to try it with.
    """
    for rule in rules:
        kind = rule[:1]
        text, colon, replacement = rule[1:].partition(":")
        if not (kind and kind in _KINDS and colon) or not name.lower().endswith(text.lower()):
            continue
        rest = name[: len(name) - len(text)]
        if (kind == "=" and rest) or (kind == "?" and not _NOT_SHORT.isdisjoint(rest)):
            continue
        name = replacement if kind == "-" else rest + replacement
    base, *endings = name.split("+")
    return [base + ending for ending in endings] or [base]
