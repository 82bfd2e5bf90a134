"""Reading inetd.conf and xinetd's configuration: what each service is, and what of it tcpserver cannot do.

Nothing here opens a file. Both languages end in the same `Service`; whatever is said about one, in `Service.notes`
(carried otherwise, or given up) or `Service.obstacle` (it cannot be carried at all), is for the person who converts.

Sources: inetd(8) of OpenBSD (Debian's openbsd-inetd), of GNU inetutils and of FreeBSD; xinetd.conf(5) of xinetd 2.3.15.
"""

from __future__ import annotations

import ipaddress
import os
from dataclasses import dataclass, field

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping

DEFAULT_LIMIT = 40
"""tcpserver's own, written out so that the person who converts sees it."""

REAL_DAEMON_DIR = "/usr/sbin"
"""Where Debian's tcpd looks for a daemon that is not given by its path."""


class Unreadable(ValueError):  # noqa: N818 - names what the text is
    """A line that is not of the language; the message says where and why."""


@dataclass
class Service:
    """One TCP service, ready to become a run script unless `obstacle` says why not.

    Attributes:
        name: the service's name or xinetd id.
        where: ``file:line``.
        port: a number or a name of /etc/services.
        host: tcpserver's host operand.
        server: the program's path.
        argv: its arguments, argument zero first.
        user: name or number; empty for root.
        group: name or number; empty for the user's own.
        limit: connections at a time.
        per_source: connections at a time of one address, None without limit.
        nodelay: TCP_NODELAY is wanted.
        nice: an increment, 0 for none.
        umask: octal digits, empty for none.
        environment: variables to set.
        rules: lines for tcprules, None if anybody may connect.
        wants_names: whether the rules look at host names.
        wants_ident: whether the caller's ident answer is wanted.
        notes: what is different from before.
        obstacle: why it cannot be carried.
    """

    name: str
    where: str
    port: str = ""
    host: str = "0.0.0.0"  # noqa: S104 - what inetd listens on, too
    server: str = ""
    argv: list[str] = field(default_factory=list[str])
    user: str = ""
    group: str = ""
    limit: int = DEFAULT_LIMIT
    per_source: int | None = None
    nodelay: bool = False
    nice: int = 0
    umask: str = ""
    environment: dict[str, str] = field(default_factory=dict[str, str])
    rules: list[str] | None = None
    wants_names: bool = False
    wants_ident: bool = False
    notes: list[str] = field(default_factory=list[str])
    obstacle: str = ""


_PROTOCOL_HOSTS = {"tcp": "0.0.0.0", "tcp4": "0.0.0.0", "tcp6": "::0", "tcp46": "0"}  # noqa: S104 - as inetd does
_INTERNAL_HINTS = {
    "echo": "cat is the same",
    "discard": "sh -c 'exec cat >/dev/null' is the same",
    "daytime": "date is nearly the same",
    "time": "RFC 868 clocks have been NTP's business for long",
    "chargen": "nobody should offer it",
}
_IPV4_ONLY = "listens on IPv4 only, as before; write host 0 to serve IPv6 as well"
_IPV6_AND_MORE = "serves IPv4 callers as well, unlike before; deny them by a rule 0.0.0.0/0:deny"


def is_xinetd(text: str) -> bool:
    """Whether a text is xinetd's language: it has a section, or includes another file."""
    for line in text.splitlines():
        words = line.replace("{", " { ").split()
        if words and words[0] in ("service", "defaults", "include", "includedir") and len(words) <= 3:
            return True
    return False


# inetd.conf


def read_inetd(text: str, file: str) -> Iterator[Service | Unreadable]:
    """The services of an inetd.conf, IPv4 and IPv6 twins joined into one; a line that is none is given as an error."""
    services: list[Service] = []
    default_host = ""
    for where, words in _inetd_lines(text, file):
        first = words[0]
        if len(words) == 1 and first.endswith(":"):
            default_host = "" if first == "*:" else first[:-1]
            continue
        if len(words) < 6:
            wanted = "service, type, protocol, wait, user, program"
            yield Unreadable(f"{where}: {len(words)} words where inetd wants {wanted}")
            continue
        for service in _inetd_services(where, words, default_host):
            twin = next((one for one in services if _are_twins(one, service)), None)
            if twin is not None:
                twin.host = "0"
                twin.notes = [note for note in twin.notes if note not in (_IPV4_ONLY, _IPV6_AND_MORE)]
            else:
                services.append(service)
    yield from services


def _inetd_lines(text: str, file: str) -> Iterator[tuple[str, list[str]]]:
    """Place and words of each line; a line that begins with a blank goes on with the one before."""
    pending: tuple[str, list[str]] | None = None
    for number, line in enumerate(text.splitlines(), 1):
        words = line.split()
        if not words or words[0].startswith("#"):
            continue
        if line[0] in " \t" and pending:
            pending[1].extend(words)
            continue
        if pending:
            yield pending
        pending = (f"{file}:{number}", words)
    if pending:
        yield pending


def _inetd_services(where: str, words: list[str], default_host: str) -> Iterator[Service]:
    name, kind, protocol, waiting, owner, server, *argv = words
    hosts, colon, port = name.rpartition(":")
    if not colon:
        hosts = default_host
    for host in hosts.split(",") if hosts else [""]:
        service = Service(name=port, where=where, port=port, server=server, argv=argv or [os.path.basename(server)])
        service.obstacle = _inetd_obstacle(port, kind, protocol, waiting, server)
        base = protocol.partition(",")[0]
        service.host = _PROTOCOL_HOSTS.get(base, "0")
        if base != protocol:
            service.notes.append(f"{protocol.partition(',')[2]}: socket buffer sizes are left to the kernel")
        if host not in ("", "*"):
            service.host = host.strip("[]")
        elif base in ("tcp", "tcp4"):
            service.notes.append(_IPV4_ONLY)
        elif base == "tcp6":
            service.notes.append(_IPV6_AND_MORE)
        _inetd_limits(service, waiting)
        owner, slash, login_class = owner.partition("/")
        if slash:
            service.notes.append(f"login class {login_class}: its limits are not set; see softlimit(8) or ulimit")
        separator = ":" if ":" in owner else "."
        service.user, _, service.group = owner.partition(separator)
        _drop_root(service)
        if any(word.startswith(("'", '"')) for word in service.argv):
            service.notes.append("quotes in arguments are passed on as most inetds do; FreeBSD's takes them away")
        _explain_tcpd(service)
        yield service


def _inetd_obstacle(port: str, kind: str, protocol: str, waiting: str, server: str) -> str:
    if protocol.startswith("rpc/") or ("/" in port and protocol != "unix"):
        if port.startswith("tcpmux/"):
            return "tcpmux chooses a program by name on port 1; tcpserver has a port per program"
        return "an RPC service registers with the portmapper, which tcpserver does not do"
    if kind != "stream":
        return f"{kind} sockets are not connections; tcpserver serves TCP only"
    if protocol.partition(",")[0] not in _PROTOCOL_HOSTS:
        return f"protocol {protocol} is not TCP; tcpserver serves TCP only"
    if not waiting.startswith("nowait"):
        return f"{waiting}: the program wants the listening socket; run it as a server of its own"
    if server == "internal":
        hint = _INTERNAL_HINTS.get(port, "")
        return "inetd does this itself, there is no program to run" + (f" ({hint})" if hint else "")
    return ""


def _inetd_limits(service: Service, waiting: str) -> None:
    """The limits behind nowait.

    ``nowait.N`` is OpenBSD's: starts a minute. ``nowait/N/M/K`` is FreeBSD's: children, calls a minute and children of
    one address.
    """
    if waiting.startswith("nowait."):
        number = _number(waiting[7:])
        if number:
            service.limit = number
            service.notes.append(f"{waiting}: at most {number} starts a minute became at most {number} at a time (-c)")
    elif waiting.startswith("nowait/"):
        children, rate, per_address = ([_number(part) for part in waiting[7:].split("/")] + [0, 0, 0])[:3]
        if children:
            service.limit = children
        if rate:
            service.notes.append(f"{waiting}: the limit of {rate} calls a minute from one address is gone")
        if per_address:
            service.per_source = per_address


def _are_twins(one: Service, other: Service) -> bool:
    """The same service for IPv4 and for IPv6."""
    return (
        not one.obstacle
        and not other.obstacle
        and {one.host, other.host} == {"0.0.0.0", "::0"}  # noqa: S104 - compares, binds nothing
        and (one.port, one.server, one.argv, one.user, one.group, one.limit, one.per_source)
        == (other.port, other.server, other.argv, other.user, other.group, other.limit, other.per_source)
    )


# xinetd


class Section:
    """A ``service`` or ``defaults`` section: attribute to values, each with the operator that it came with."""

    def __init__(self, name: str, where: str) -> None:
        self.name = name
        self.where = where
        self.attributes: list[tuple[str, str, list[str], str]] = []

    def values(self, name: str, inherited: Mapping[str, list[str]]) -> list[str] | None:
        """What an attribute amounts to: ``=`` replaces, ``+=`` adds, ``-=`` removes. None if it is not there."""
        result = inherited.get(name)
        first = True
        for attribute, operator, words, _ in self.attributes:
            if attribute != name:
                continue
            if operator == "=":
                # Of a list several lines with = in one section add up; the defaults are replaced by the first.
                result = words if first or result is None else result + words
            elif operator == "+=":
                result = (result or []) + words
            else:
                result = [word for word in result or [] if word not in words]
            first = False
        return None if result is None else list(result)


class Include:
    """An ``include`` or ``includedir`` line."""

    def __init__(self, path: str, where: str, *, directory: bool) -> None:
        self.path = path
        self.where = where
        self.directory = directory


def read_sections(text: str, file: str) -> Iterator[Section | Include | Unreadable]:
    """The sections and includes of a text, in order; what is neither is given as an error."""
    section: Section | None = None
    is_open = False
    for number, line in enumerate(map(str.strip, text.splitlines()), 1):
        where = f"{file}:{number}"
        if not line or line.startswith("#"):
            continue
        if section is None:
            words = line.removesuffix("{").split()
            if words[:1] in (["include"], ["includedir"]) and len(words) == 2:
                yield Include(words[1], where, directory=words[0] == "includedir")
            elif words[:1] == ["defaults"] and len(words) == 1:
                section = Section("", where)
            elif words[:1] == ["service"] and len(words) == 2:
                section = Section(words[1], where)
            else:
                yield Unreadable(f"{where}: neither a section nor an include: {line!r}")
            is_open = section is not None and line.endswith("{")
        elif line == "{" and not is_open:
            is_open = True
        elif line == "}" and is_open:
            yield section
            section = None
        else:
            attribute = _attribute(line, where) if is_open else None
            if attribute is None:
                yield Unreadable(f"{where}: not an attribute: {line!r}")
            else:
                section.attributes.append(attribute)
    if section is not None:
        yield Unreadable(f"{section.where}: this section does not end")


def _attribute(line: str, where: str) -> tuple[str, str, list[str], str] | None:
    name, equals, value = line.partition("=")
    operator = "="
    if name.endswith(("+", "-")):
        operator = name[-1] + "="
        name = name[:-1]
    name = name.strip().lower()
    if not equals or not name or " " in name:
        return None
    return name, operator, value.split(), where


# Attributes that change nothing for the one who is served, or that tcpserver has its own way for.
_SILENT = frozenset(
    [
        "id",
        "type",
        "disable",
        "socket_type",
        "protocol",
        "wait",
        "user",
        "group",
        "instances",
        "nice",
        "server",
        "server_args",
        "only_from",
        "no_access",
        "env",
        "port",
        "bind",
        "interface",
        "per_source",
        "flags",
        "umask",
        "log_type",
        "log_on_success",
        "log_on_failure",
        "mdns",
        "disabled",
        "enabled",
    ]
)
_LOST = {
    "cps": "calls a second are not limited",
    "max_load": "the load is not looked at; limit connections with -c",
    "passenv": "every variable of tcpserver's own environment is passed on",
    "banner": "no banner is sent",
    "banner_success": "no banner is sent; tcpserver's -B sends a fixed text",
    "banner_fail": "denied callers are told nothing",
    "deny_time": "nobody is shut out for a time",
    "groups": "the program gets its one group only",
}
_OBSTACLES = {
    "access_times": "the hours in which it may be reached cannot be kept; start and stop it by cron",
    "redirect": "it forwards to another server and runs no program",
}
_TYPE_OBSTACLES = {
    "RPC": "an RPC service registers with the portmapper, which tcpserver does not do",
    "INTERNAL": "xinetd does this itself, there is no program to run",
    "TCPMUX": "tcpmux chooses a program by name on port 1; tcpserver has a port per program",
    "TCPMUXPLUS": "tcpmux chooses a program by name on port 1; tcpserver has a port per program",
}
_FLAG_NOTES = {
    "KEEPALIVE": "keep-alive is left to the program",
    "INTERCEPT": "packets are not looked at one by one",
    "LABELED": "security labels are not passed on",
}


def read_xinetd(sections: list[Section]) -> tuple[list[Service], list[str]]:
    """The services of all sections and the names of those that are switched off."""
    defaults: dict[str, list[str]] = {}
    for section in sections:
        if not section.name:
            for name in dict.fromkeys(name for name, *_ in section.attributes):
                defaults[name] = section.values(name, defaults) or []
    services: list[Service] = []
    disabled: list[str] = []
    for section in sections:
        if section.name:
            name = " ".join(section.values("id", {}) or []) or section.name
            if _is_off(section, name, defaults):
                disabled.append(f"{section.where}: {name}")
            else:
                services.append(_xinetd_service(section, name, defaults))
    return services, disabled


def _is_off(section: Section, name: str, defaults: Mapping[str, list[str]]) -> bool:
    names = {name, section.name}
    enabled = defaults.get("enabled")
    return (
        (section.values("disable", {}) or ["no"])[0].lower() == "yes"
        or bool(names & set(defaults.get("disabled", [])))
        or (enabled is not None and not names & set(enabled))
        or "DISABLE" in _upper(section.values("flags", defaults))
    )


def _upper(words: list[str] | None) -> set[str]:
    return {word.upper() for word in words or []}


def _xinetd_service(section: Section, name: str, defaults: Mapping[str, list[str]]) -> Service:
    def words(attribute: str) -> list[str]:
        return section.values(attribute, defaults) or []

    def word(attribute: str, default: str = "") -> str:
        return (words(attribute) or [default])[-1]

    service = Service(name=name, where=section.where, port=word("port", section.name), server=word("server"))
    flags = _upper(words("flags"))
    service.obstacle = _xinetd_obstacle(word("socket_type", "stream"), word("protocol", "tcp"), word("wait", "no"))
    for kind in _upper(words("type")):
        service.obstacle = service.obstacle or _TYPE_OBSTACLES.get(kind, "")
    if "SENSOR" in flags:
        service.obstacle = service.obstacle or "it is a trap (SENSOR) and runs no program"
    for attribute in dict.fromkeys([*(one[0] for one in section.attributes), *defaults]):
        if attribute in _OBSTACLES:
            service.obstacle = service.obstacle or f"{attribute}: {_OBSTACLES[attribute]}"
        elif attribute in _LOST:
            service.notes.append(f"{attribute}: {_LOST[attribute]}")
        elif attribute.startswith("rlimit_"):
            service.notes.append(f"{attribute}: set it by ulimit in the run script, or by softlimit(8)")
        elif attribute not in _SILENT:
            service.notes.append(f"{attribute}: unknown to this converter and not carried")
    if not service.server and not service.obstacle:
        service.obstacle = "it names no server to run"

    arguments = words("server_args")
    # With NAMEINARGS the arguments are inetd's, argument zero first.
    service.argv = arguments if "NAMEINARGS" in flags and arguments else [os.path.basename(service.server), *arguments]
    service.nodelay = "NODELAY" in flags
    service.notes += [f"flag {flag}: {note}" for flag, note in _FLAG_NOTES.items() if flag in flags]

    service.host = word("bind") or word("interface")
    if not service.host and "IPV6" in flags:
        service.host = "0"
    elif not service.host:
        service.host = "0.0.0.0"  # noqa: S104 - as xinetd does
        service.notes.append(_IPV4_ONLY)

    service.user, service.group = word("user"), word("group")
    _drop_root(service)
    service.nice = _signed(word("nice"))
    umask = word("umask")
    if umask:
        if umask.strip("01234567"):
            service.notes.append(f"umask {umask!r} is not octal and not set")
        else:
            service.umask = umask
    for setting in words("env"):
        variable, equals, value = setting.partition("=")
        if equals and variable.isascii() and variable.isidentifier():
            service.environment[variable] = value
        else:
            service.notes.append(f"env {setting!r} is not a variable that a shell could set")

    instances = word("instances")
    if instances.upper() == "UNLIMITED":
        service.notes.append(f"instances = UNLIMITED became {DEFAULT_LIMIT} connections at a time (-c)")
    elif instances:
        service.limit = _number(instances) or DEFAULT_LIMIT
    service.per_source = _number(word("per_source")) or None
    service.wants_ident = "USERID" in _upper([*words("log_on_success"), *words("log_on_failure")])
    only_from = section.values("only_from", defaults)
    no_access = section.values("no_access", defaults)
    _xinetd_rules(service, only_from, no_access or [])
    _explain_tcpd(service)
    return service


def _xinetd_obstacle(kind: str, protocol: str, wait: str) -> str:
    if protocol not in ("tcp", "tcp4", "tcp6") or kind != "stream":
        return f"{kind} over {protocol} is not a TCP connection; tcpserver serves TCP only"
    if wait.lower() == "yes":
        return "wait = yes: the program wants the listening socket; run it as a server of its own"
    return ""


def _xinetd_rules(service: Service, only_from: list[str] | None, no_access: list[str]) -> None:
    """Rules that decide as xinetd does: the most specific entry counts, and of two equal ones the forbidding one."""
    if only_from is None and not no_access:
        return
    verdicts: dict[str, str] = {}
    for word in no_access:
        keys = rule_addresses(word)
        if not keys:
            # Leaving out an entry of this list would let somebody in.
            service.obstacle = service.obstacle or f"no_access {word!r} cannot be said in a rule"
        for key in keys:
            verdicts[key] = "deny"
    for word in only_from or []:
        keys = rule_addresses(word)
        if word.startswith("!"):
            # xinetd knows no such entry. Whoever wrote it wanted somebody kept out whom a wider one lets in.
            service.obstacle = service.obstacle or f"only_from {word!r} cannot be said in a rule; no_access can say it"
        elif not keys:
            service.notes.append(f"only_from {word!r} cannot be said in a rule; it lets nobody in")
        for key in keys:
            verdicts.setdefault(key, "allow")
    everybody = verdicts.pop("", "allow" if only_from is None else "deny")
    service.rules = [f"{key}:{verdict}" for key, verdict in verdicts.items()] + [f":{everybody}"]
    service.wants_names = any(key.startswith("=") for key in verdicts)
    if service.wants_names:
        service.notes.append("host names in its access lists: each caller's name is looked up and checked (-p)")


def rule_addresses(word: str) -> list[str]:
    """What an entry of only_from or no_access is called in tcprules' language; nothing if it cannot be said.

    xinetd.conf(5): an address (zeros at the end stand for anything), ``1.2.3.{4,5}``, ``10.0.0.0/8``, a host name,
    ``.domain``.
    """
    if "/" in word:
        try:
            network = ipaddress.ip_network(word, strict=False)
        except ValueError:
            return []
        return [""] if network.prefixlen == 0 else [str(network)]
    if ":" in word:
        try:
            return [str(ipaddress.IPv6Address(word))]
        except ValueError:
            return []
    before, brace, rest = word.partition("{")
    if brace:
        inside, closing, after = rest.partition("}")
        parts = [part.strip() for part in inside.split(",")]
        if not closing or after or not all(map(_is_octet, parts)):
            return []
        addresses = [rule_addresses(f"{before}{part}{'' if _octets(before) == 3 else '.'}") for part in parts]
        return [key for keys in addresses for key in keys]
    numbers = word.removesuffix(".").split(".")
    if all(map(_is_octet, numbers)) and len(numbers) <= 4:
        if len(numbers) == 4 and not word.endswith("."):
            while numbers and int(numbers[-1]) == 0:
                numbers.pop()
        octets = [str(int(number)) for number in numbers]
        if len(octets) == 4:
            return [".".join(octets)]
        return [".".join(octets) + "."] if octets else [""]
    if word == "localhost":
        return ["127.0.0.1", "::1"]
    if word and all(char.isascii() and (char.isalnum() or char in ".-_") for char in word):
        return [f"={word.lower()}"]
    return []


def _octets(text: str) -> int:
    return len([part for part in text.split(".") if part])


def _is_octet(text: str) -> bool:
    return text.isascii() and text.isdigit() and len(text) <= 3 and int(text) < 256


# Shared


def _number(text: str) -> int:
    return int(text) if text.isascii() and text.isdigit() and len(text) < 10 else 0


def _signed(text: str) -> int:
    return -_number(text[1:]) if text.startswith("-") else _number(text.removeprefix("+"))


def _drop_root(service: Service) -> None:
    if service.user in ("root", "0"):
        service.user = ""
    if service.group in ("root", "0") and not service.user:
        service.group = ""


def _explain_tcpd(service: Service) -> None:
    """Tcpd goes on working: it asks the kernel who is on descriptor 0."""
    if os.path.basename(service.server) != "tcpd" or service.obstacle:
        return
    daemon = service.argv[0]
    path = daemon if daemon.startswith("/") else f"{REAL_DAEMON_DIR}/{daemon}"
    service.notes.append(f"tcpd stays, with hosts.allow and hosts.deny; rules (-x) and {path} could replace it")
