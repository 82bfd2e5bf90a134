"""The report: everything that can be known about one connection, as data first, then as text. Pure."""

from __future__ import annotations

from ucspi_env._address import escaped, parse_ip, shown, split_port
from ucspi_env._dialects import DECISIVE, dialect
from ucspi_env._errors import DialectError, NotUnderSuperServerError, UCSPIError
from ucspi_env._identify import identify
from ucspi_env._model import Endpoint
from ucspi_env._trust import socat_families, trusted_words
from ucspi_env._variables import PROXY_PEER, RULE_PEER, TRUST

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator, Mapping
    from typing import Any, TypeAlias

    from ucspi_env._facts import Descriptor, Facts
    from ucspi_env._model import Connection, Problem

    Report: TypeAlias = dict[str, Any]

SCHEMA = 1
"""The version of the JSON form (docs/envcheck.md); fields are added within one version, never changed."""

WHY = {
    "confirmed": "the variables name the peer that the kernel names",
    "kernel": "the kernel names the peer; no variable does",
    "relay": "the process at the other end of the program's pipe has a connection with this peer",
    "operator": "a rule of the super-server set the address, or the operator vouched for who did",
    "proxy": "a PROXY header named the caller",
    "proof": "a sign of freshness speaks for the variables: a process id, CGI, or stunnel's pair",
    "unconfirmed": "nothing but the variables themselves speaks for it",
}

_STRANGERS = ("HOST", "INFO", "IDENT", "REMOTEPATH", "_DN", "SERVERNAME", "REMOTE_USER")


def make_report(environ: Mapping[str, str], facts: Facts, *, trust: str | None = None) -> Report:
    """Judge an environment; the result has only what JSON has."""
    report: Report = {"schema": SCHEMA, "verdict": "clean", "error": None, "connection": None}
    environ = {name: value for name, value in environ.items() if name}
    found: Connection | None = None
    try:
        found = identify(environ, facts, trust=trust)
    except UCSPIError as error:
        report["verdict"] = "nothing" if isinstance(error, NotUnderSuperServerError) else "problems"
        report["error"] = {"type": type(error).__name__, "message": str(error)}
    else:
        report["connection"] = _connection(found)
        if any(problem.severity != "notice" for problem in found.problems):
            report["verdict"] = "problems"
    if found is not None and found.remote is not None:
        report["connection"]["remote"]["given"] = given(environ, found.remote)
    report["kernel"] = _kernel(facts)
    report["variables"] = [
        {"name": name, "value": environ[name], "word": _word(name, found)} for name in sorted(_speaking(environ, trust))
    ]
    report["problems"] = [_problem(problem) for problem in found.problems] if found else []
    report["ipv4_only"] = ipv4_only_view(environ, found)
    return report


def ipv4_only_view(environ: Mapping[str, str], found: Connection | None) -> dict[str, Any]:
    """What a server that reads four numbers from TCPREMOTEIP makes of it.

    Returns:
        ``works``: whether it learns the true address; ``says``: why, in one sentence.
    """
    text = environ.get("TCPREMOTEIP")
    if not text:
        return {"works": False, "says": "finds no TCPREMOTEIP: it stops, or goes on with an empty address"}
    numbers = text.split(".")
    dotted = len(numbers) == 4 and all(n.isascii() and n.isdigit() and int(n) < 256 for n in numbers)
    if not dotted:
        if text.lower().startswith("::ffff:"):
            says = "takes it for a stranger: IPv4 rules, block lists and limits do not apply to this text"
        else:
            says = "cannot read it: rejects the caller, or goes on with 0.0.0.0 and skips its checks"
        return {"works": False, "says": f"{says} ({shown(text)})"}
    if environ.get("PROTO") not in (None, "TCP"):
        return {"works": False, "says": f"may refuse PROTO={shown(environ['PROTO'])}, where it expects TCP"}
    remote = found.remote if found else None
    if remote is not None and str(remote.ip) != ".".join(str(int(n)) for n in numbers):
        return {"works": False, "says": f"believes {text}, which is not the caller"}
    return {"works": True, "says": f"reads {text} and works"}


_LONGEST_NAME = 30


def given(environ: Mapping[str, str], remote: Endpoint) -> dict[str, str]:
    """The variables that name this peer, with the text that they have it in."""
    found: dict[str, str] = {}
    for name in _speaking(environ):
        if name.endswith(_ADDRESSES):
            address, _ = split_port(environ[name])
            try:
                ip, _ = parse_ip(address)
            except ValueError:
                continue
            if ip == remote.ip:
                found[name] = environ[name]
    return found


_ADDRESSES = ("REMOTEIP", "REMOTEADDR", "REMOTE_ADDR", "REMOTE_HOST", "_PEERADDR")
_OF_SOCKETS = ("LISTEN_FDS", "LISTEN_FDNAMES")


def _speaking(environ: Mapping[str, str], trust: str | None = None) -> Iterator[str]:
    words, _ = trusted_words(environ.get(TRUST, "") if trust is None else trust)
    named = {name for family in socat_families(words) for name in family.names}
    for name in environ:
        if name in DECISIVE or name in named or name in _OF_SOCKETS:
            yield name


def _word(name: str, found: Connection | None) -> str:
    """Whose word a variable is: ``believed``, the ``operator``'s, a ``stranger``'s, or ``ignored``."""
    if found is None:
        return "ignored"
    if any(problem.variable == name and problem.severity != "notice" for problem in found.problems):
        return "ignored"
    if name.endswith("LOCALHOST"):
        return "operator"
    if name.endswith(_STRANGERS):
        return "stranger"
    if found.unix is not None and name.startswith(("UNIXREMOTE", "IPCREMOTE")):
        return "believed"
    try:
        row = dialect(found.dialect)
    except DialectError:
        return "ignored"
    own = {"PROTO", PROXY_PEER, RULE_PEER, TRUST, *row.unix_names, *(key for key, _ in row.fixed)}
    for family, _ in row.writes:
        own.update(family.names)
    if row.interface or found.dialect in ("ucspi-tcp", "ucspi-tcp6"):
        own.add("TCP6INTERFACE")
    prefix = name.rpartition("_")[0]
    return "believed" if name in own or (row.name == "socat" and name.startswith(f"{prefix}_")) else "ignored"


def _endpoint(end: Endpoint | None) -> dict[str, Any] | None:
    if end is None:
        return None
    return {
        "text": str(end),
        "ip": str(end.ip),
        "family": end.ip.version,
        "port": end.port,
        "zone": end.zone,
        "host": end.host,
        "info": end.info,
        "key": end.key(),
        "network": str(end.network()),
        "given": {},
    }


def _connection(found: Connection) -> dict[str, Any]:
    unix = found.unix
    return {
        "proto": found.proto,
        "raw_proto": found.raw_proto,
        "transport": found.transport,
        "tls": found.tls,
        "dialect": found.dialect,
        "program": dialect(found.dialect).program,
        "evidence": found.evidence,
        "why": WHY[found.evidence],
        "vouched": found.vouched,
        "relay": {"pid": found.relay.pid, "name": found.relay.name} if found.relay else None,
        "remote": _endpoint(found.remote),
        "local": _endpoint(found.local),
        "unix": {"uid": unix.uid, "gid": unix.gid, "pid": unix.pid, "path": unix.path} if unix else None,
    }


def _kernel(facts: Facts) -> dict[str, Any] | None:
    descriptor: Descriptor | None = facts.connected() or facts.descriptor(facts.fd)
    if descriptor is None:
        return None
    return {
        "fd": facts.fd,
        "kind": descriptor.kind,
        "family": descriptor.family,
        "type": descriptor.type,
        "sockname": None if descriptor.sockname is None else str(descriptor.sockname),
        "peername": None if descriptor.peername is None else str(descriptor.peername),
        "mapped": descriptor.family == "inet6" and _is_ipv4(descriptor.peername),
        "listening": descriptor.listening,
    }


def _is_ipv4(name: Endpoint | str | None) -> bool:
    return isinstance(name, Endpoint) and name.ip.version == 4


def _problem(problem: Problem) -> dict[str, Any]:
    return {name: getattr(problem, name) for name in ("code", "severity", "variable", "value", "message", "hint")}


# -- as text --


def render(report: Report, *, colour: bool = False, width: int = 80) -> str:
    """The report for a person, ``width`` columns wide, without control bytes whatever the variables held."""
    paint = Paint(colour)
    lines: list[str] = []

    def fact(label: str, text: str) -> None:
        lines.extend(wrapped(f"{label:<10}", text, width))

    connection = report["connection"]
    if report["error"]:
        fact("error", paint.bad(plain(report["error"]["message"])))
    if connection:
        peer = connection["remote"] or connection["unix"]
        fact("caller", paint.good(peer["text"]) if connection["remote"] else _credentials(peer))
        if connection["remote"]:
            known = (peer["ip"], peer["text"])
            odd = [f"{name}={text}" for name, text in sorted(peer["given"].items()) if text not in known]
            if odd:
                fact("written", plain(", ".join(odd)))
        for key, label in (("host", "name"), ("info", "ident")):
            if connection["remote"] and connection["remote"][key]:
                fact(label, f"{shown(connection['remote'][key])} (a stranger's word)")
        if connection["local"]:
            fact("called", connection["local"]["text"])
        tls = ", TLS was taken off" if connection["tls"] else ""
        raw = connection["raw_proto"]
        said = "" if raw == connection["proto"] else f" (PROTO says {shown(raw)})" if raw else " (PROTO is not set)"
        fact("protocol", f"{connection['proto']}{said}{tls}")
        fact("dialect", f"{connection['dialect']}: {connection['program']}")
        fact("evidence", f"{connection['evidence']}: {connection['why']}")
        if connection["relay"]:
            fact("relay", plain(f"process {connection['relay']['pid']} ({connection['relay']['name']})"))
        fact("strict", "accepted" if connection["vouched"] else "refused: not for access control")
    fact("kernel", plain(_kernel_text(report["kernel"])))
    if report["verdict"] != "nothing" and not (connection and connection["unix"]):
        view = report["ipv4_only"]
        verdict = paint.good("works") if view["works"] else paint.bad("fails")
        fact("IPv4-only", f"{verdict}: an IPv4-only server {view['says']}")
    if report["variables"]:
        lines += ["", "variables"]
        names = [plain(variable["name"])[:_LONGEST_NAME] for variable in report["variables"]]
        longest = max(map(len, names))
        for name, variable in zip(names, report["variables"], strict=True):
            value = shown(variable["value"])[1:-1]
            lines.extend(wrapped(f"  {name:<{longest}}  {variable['word']:<10}", value, width))
    if report["problems"]:
        lines += ["", "problems"]
        for problem in report["problems"]:
            what = f"{paint.bad(problem['code'])}: {plain(problem['message'])}"
            lines.extend(wrapped(f"  {problem['severity']:<9}", what, width))
            lines.extend(wrapped("  remedy   ", plain(problem["hint"]), width))
    return "\n".join(lines) + "\n"


class Paint:
    """Colour on terminals, nothing elsewhere."""

    def __init__(self, colour: bool) -> None:
        self.colour = colour

    def good(self, text: str) -> str:
        return f"\033[32m{text}\033[0m" if self.colour else text

    def bad(self, text: str) -> str:
        return f"\033[31m{text}\033[0m" if self.colour else text


def wrapped(label: str, text: str, width: int) -> Iterator[str]:
    """Break ``text`` to fit beside ``label``: at blanks, and words that are too long for a line anywhere.

    Escape sequences of colour take no room.
    """
    indent = " " * _visible(label)
    line = label
    empty = True
    room = max(20, width - len(indent))
    words: list[str] = []
    for word in text.split(" "):
        cut = "\033" not in word and len(word) > room
        words += [word[at : at + room] for at in range(0, len(word), room)] if cut else [word]
    for word in words:
        if not empty and _visible(line) + 1 + _visible(word) > width:
            yield line.rstrip()
            line, empty = indent, True
        line += word if empty else f" {word}"
        empty = False
    yield line.rstrip()


def plain(text: str) -> str:
    """Text for people with everything escaped that is not printable: control bytes, undecodable ones."""
    return text if text.isprintable() else "".join(c if c.isprintable() else escaped(c) for c in text)


def json_text(data: object, indent: int | None = None) -> str:
    r"""JSON that every reader takes: an undecodable byte is text, ``\xff``, since JSON has none (RFC 8259, 8.2)."""
    import json

    return json.dumps(_decoded(data), indent=indent)


def _decoded(data: Any) -> Any:
    if isinstance(data, dict):
        members: dict[Any, Any] = data  # pyright: ignore[reportUnknownVariableType]
        return {_decoded(name): _decoded(value) for name, value in members.items()}
    if isinstance(data, (list, tuple)):
        values: Iterable[Any] = data  # pyright: ignore[reportUnknownVariableType]
        return [_decoded(value) for value in values]  # pyright: ignore[reportUnknownVariableType]
    if isinstance(data, str) and not data.isascii():
        return data.encode("utf-8", "surrogateescape").decode("utf-8", "backslashreplace")
    return data


def _visible(text: str) -> int:
    length, inside = 0, False
    for character in text:
        if character == "\033":
            inside = True
        elif inside:
            inside = character != "m"
        else:
            length += 1
    return length


def _credentials(unix: Mapping[str, Any]) -> str:
    known = [f"{name} {unix[name]}" for name in ("uid", "gid", "pid") if unix[name] is not None]
    path = [f"path {shown(unix['path'])}"] if unix["path"] else []
    return "UNIX-domain, " + (", ".join(known + path) or "no credentials known")


def _kernel_text(kernel: Mapping[str, Any] | None) -> str:
    if kernel is None:
        return "not asked"
    if kernel["kind"] != "socket":
        words = {"chr": "a terminal or device", "pipe": "a pipe", "file": "a file", "closed": "closed"}
        return f"descriptor {kernel['fd']} is {words.get(kernel['kind'], 'no socket')}"
    what = {"inet": "an IPv4", "inet6": "an IPv6", "unix": "a UNIX-domain"}.get(kernel["family"], "some other")
    state = "listening" if kernel["listening"] else f"its peer is {kernel['peername'] or 'unnamed'}"
    state += ", IPv4-mapped" if kernel["mapped"] else ""
    if kernel["peername"] is None and not kernel["listening"]:
        state = "not connected"
    return f"descriptor {kernel['fd']} is {what} socket, {state}"
