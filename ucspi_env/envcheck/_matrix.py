"""``try``: the callers that a server is tried with, and what its answers mean. Pure.

Each cell is one caller in one dialect. What the server does is compared with what it does for the same kind of caller
over IPv4, its *reference*: an unknown caller with the unknown IPv4 caller, a local one with 127.0.0.1. A server that
lets localhost in and strangers out is therefore ready if it does the same over IPv6, and has a hole if it lets IPv6
strangers in.
"""

from __future__ import annotations

from ucspi_env._build import build
from ucspi_env._errors import DialectError
from ucspi_env._model import Connection, Endpoint

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Iterable, Mapping, Sequence

    from ucspi_env.envcheck._play import Run

LOCAL4, LOCAL6 = "198.51.100.1", "2001:db8:ffff::1"
STRANGER4, STRANGER6 = "192.0.2.1", "2001:db8::1"
PORT = 25
FIRST_CALLER_PORT = 40001
ZONE = "lo"  # its number is 1 wherever the program may ask

ALIKE, DIFFERENT, REFUSED, ACCEPTED, CRASHED, HUNG, BROKEN = (
    "alike",
    "different",
    "refused",
    "accepted",
    "crashed",
    "hung",
    "broken",
)
"""What one cell can come to: answered as its reference; answered differently; turned away where the reference was
served; served where the reference was turned away; ended by a signal or an uncaught exception; outlived its time; not
connected at all."""


class Cell:
    """One caller.

    Attributes:
        name: unique, readable: ``"ucspi-tcp-ipv6 IPv6"``.
        dialect: who speaks.
        kind: ``"IPv4"``, ``"IPv6"``, ``"mapped"``, ``"link-local"``, ``"missing"``, ``"hostile"``.
        remote: the caller.
        local: the called address.
        mapped: whether the socket is a dual-stack one with an IPv4 caller.
        reference: the name of the cell that it is compared with; empty for a reference itself.
        set: variables on top of what the dialect writes.
        unset: variables taken away from it.
        as_ipv6: ``tcpserver -6``.
    """

    __slots__ = ("as_ipv6", "dialect", "kind", "local", "mapped", "name", "reference", "remote", "set", "unset")

    def __init__(
        self,
        name: str,
        dialect: str,
        kind: str,
        remote: Endpoint,
        reference: str,
        *,
        mapped: bool = False,
        as_ipv6: bool = False,
        set: Mapping[str, str] | None = None,
        unset: Iterable[str] = (),
    ) -> None:
        self.name = name
        self.dialect = dialect
        self.kind = kind
        self.remote = remote
        self.local = Endpoint(_called_by(remote), PORT, remote.zone)
        self.mapped = mapped
        self.reference = reference
        self.set = dict(set or {})
        self.unset = tuple(unset)
        self.as_ipv6 = as_ipv6

    def environ(self, base: Mapping[str, str]) -> dict[str, str]:
        """The program's whole environment, made from ``base``."""
        connection = Connection(remote=self.remote, local=self.local)
        change = build(connection, self.dialect, as_ipv6=self.as_ipv6)
        environ = change.apply(base) | self.set
        return {name: value for name, value in environ.items() if name not in self.unset}


def _called_by(remote: Endpoint) -> str:
    if remote.ip.is_loopback:
        return str(remote.ip)
    if remote.zone:
        return "fe80::ff"
    return LOCAL4 if remote.ip.version == 4 else LOCAL6


_DIALECTS = (
    ("ucspi-tcp-ipv6", ("IPv4", "IPv6", "mapped", "-6", "link-local", "local")),
    ("ucspi-tcp", ("IPv4", "local")),
    ("ucspi-tcp6", ("IPv4", "IPv6", "mapped", "link-local")),
    ("s6-networking", ("IPv4", "IPv6", "link-local", "local")),
    ("couriertcpd", ("IPv4", "IPv6")),
    ("inetutils-inetd", ("IPv4", "IPv6", "link-local")),
)
_TWINS = ("TCP6REMOTEIP", "TCP6REMOTEPORT", "TCP6LOCALIP", "TCP6LOCALPORT")
_HOSTILE = {
    "a host name that is an address": {"TCPREMOTEHOST": "203.0.113.9"},
    "a host name for the shell": {"TCPREMOTEHOST": "$(echo cracked).example"},
    "a host name of two lines": {"TCPREMOTEHOST": "a.example\nforged: line"},
    "an endless host name": {"TCPREMOTEHOST": "a" * 8000},
    "an ident answer with quotes": {"TCPREMOTEINFO": "a\"b'c;d`e%n%s"},
}


def cells(only: Sequence[str] = ()) -> list[Cell]:
    """The matrix, references first.

    Args:
        only: kinds to keep: ``IPv6``, ``mapped``, ``link-local``, ``missing``, ``hostile``, without regard to case;
            ``tcp6`` is the first three. References stay.

    Raises:
        ValueError: a kind is not known.
    """
    port = iter(range(FIRST_CALLER_PORT, 65536))

    def caller(text: str) -> Endpoint:
        return Endpoint(text, next(port))

    stranger, friend = "ucspi-tcp IPv4", "ucspi-tcp IPv4 localhost"
    found = [
        Cell(stranger, "ucspi-tcp", "IPv4", caller(STRANGER4), ""),
        Cell(friend, "ucspi-tcp", "IPv4", caller("127.0.0.1"), ""),
    ]
    for dialect, kinds in _DIALECTS:
        if dialect != "ucspi-tcp":
            if "IPv4" in kinds:
                found.append(Cell(f"{dialect} IPv4", dialect, "IPv4", caller(STRANGER4), stranger))
            if "IPv6" in kinds:
                found.append(Cell(f"{dialect} IPv6", dialect, "IPv6", caller(STRANGER6), stranger))
        if "local" in kinds and dialect != "ucspi-tcp":
            found.append(Cell(f"{dialect} IPv4 localhost", dialect, "IPv4", caller("127.0.0.1"), friend))
            found.append(Cell(f"{dialect} IPv6 localhost", dialect, "IPv6", caller("::1"), friend))
        if "mapped" in kinds:
            name = f"{dialect} IPv4 on a dual-stack socket"
            found.append(Cell(name, dialect, "mapped", caller(STRANGER4), stranger, mapped=True))
        if "-6" in kinds:
            name = f"{dialect} -6: mapped text"
            found.append(Cell(name, dialect, "mapped", caller(STRANGER4), stranger, mapped=True, as_ipv6=True))
            name = f"{dialect} -6: mapped text, localhost"
            found.append(Cell(name, dialect, "mapped", caller("127.0.0.1"), friend, mapped=True, as_ipv6=True))
        if "link-local" in kinds:
            found.append(Cell(f"{dialect} link-local", dialect, "link-local", caller(f"fe80::1%{ZONE}"), stranger))
    hexadecimal = {"PROTO": "TCP", "TCPREMOTEIP": "::ffff:c000:201"}
    found.append(
        Cell("s6: mapped text in hex", "s6", "mapped", caller(STRANGER4), stranger, mapped=True, set=hexadecimal)
    )
    found += [
        Cell("no TCP6 twins", "ucspi-tcp-ipv6", "missing", caller(STRANGER6), stranger, unset=_TWINS),
        Cell("no PROTO", "ucspi-tcp-ipv6", "missing", caller(STRANGER6), stranger, unset=("PROTO",)),
        Cell("no variables, IPv4", "inetd", "missing", caller(STRANGER4), stranger),
        Cell("no variables, IPv6", "inetd", "missing", caller(STRANGER6), stranger),
        Cell("PROTO=SSL6", "ucspi-tcp-ipv6", "missing", caller(STRANGER6), stranger, set={"PROTO": "SSL6"}),
    ]
    found += [
        Cell(what, "ucspi-tcp", "hostile", caller(STRANGER4), stranger, set=variables)
        for what, variables in _HOSTILE.items()
    ]
    return _selected(found, only)


def _selected(found: list[Cell], only: Sequence[str]) -> list[Cell]:
    if not only:
        return found
    kinds = {kind.lower(): {kind} for kind in ("IPv4", "IPv6", "mapped", "link-local", "missing", "hostile")}
    kinds["tcp6"] = {"IPv6", "mapped", "link-local"}
    wanted: set[str] = set()
    for name in only:
        if name.lower() not in kinds:
            msg = f"{name!r} is not a kind of caller ({', '.join(kinds)})"
            raise ValueError(msg)
        wanted |= kinds[name.lower()]
    return [cell for cell in found if not cell.reference or cell.kind in wanted]


# -- what it means --


class Result:
    """One cell and what the server did in it.

    Attributes:
        cell: the caller.
        run: what the server did, or None where it could not be connected.
        outcome: `ALIKE` and so on.
        detail: one line of evidence.
        log: what is wrong with its log, or empty.
    """

    __slots__ = ("cell", "detail", "log", "outcome", "run")

    def __init__(self, cell: Cell, run: Run | None, outcome: str, detail: str, log: str = "") -> None:
        self.cell = cell
        self.run = run
        self.outcome = outcome
        self.detail = detail
        self.log = log


def judge(cell: Cell, run: Run, reference: tuple[Cell, Run] | None) -> Result:
    """Compare what the server did with what it did for its reference.

    The caller's own address and port may differ, in any spelling.
    """
    if run.hung:
        return Result(cell, run, HUNG, f"still running after {run.seconds:.1f} s")
    crash = _crash(run)
    if crash:
        return Result(cell, run, CRASHED, crash)
    if reference is None:
        return Result(cell, run, ALIKE, _said(run))
    other_cell, other = reference
    log = _log_fault(cell, run, other_cell, other)
    same_status = run.status == other.status
    if same_status and _neutral(run.output, cell) == _neutral(other.output, other_cell):
        return Result(cell, run, ALIKE, _said(run), log)
    now, before = _served(run), _served(other)
    if before and not now:
        return Result(cell, run, REFUSED, _said(run), log)
    if now and not before:
        return Result(cell, run, ACCEPTED, _said(run), log)
    return Result(cell, run, DIFFERENT, f"{_said(run)}, where the reference says {_said(other)}", log)


def _crash(run: Run) -> str:
    if run.status is not None and run.status < 0:
        return f"ended by signal {-run.status}"
    if run.status in (134, 136, 139):
        return f"ended by signal {run.status - 128}"
    lines = run.errors.decode(errors="replace").splitlines()
    if run.status and any(line.startswith("Traceback (most recent call last)") for line in lines):
        return f"uncaught exception: {lines[-1]}"
    if run.status and any("panic:" in line or "panicked at" in line for line in lines):
        return "panic"
    return ""


def _served(run: Run) -> bool:
    """Whether the caller was served: the program ended well, and did not begin with a refusal of SMTP, FTP or HTTP."""
    start = run.output[:80].lstrip()
    if start.startswith(b"HTTP/"):
        start = start.partition(b" ")[2]
    refused = len(start) >= 3 and start[:1] in b"45" and start[:3].isdigit() and start[3:4] in b" -\r\n"
    words = (b"denied", b"refused", b"rejected", b"not allowed", b"forbidden", b"sorry", b"go away", b"-ERR")
    return not run.status and bool(run.output) and not refused and not any(w.lower() in start.lower() for w in words)


def _said(run: Run) -> str:
    first = run.output.partition(b"\n")[0].decode(errors="replace").strip()
    text = ascii(first[:50])[1:-1] if first else "nothing"
    return f"{text} (exit {run.status})" if run.status else text


def spellings(end: Endpoint) -> list[str]:
    """Every way in which a server may have written this address down, the longest first."""
    texts = {str(end.ip), end.ip.exploded}
    if end.zone:
        texts |= {f"{end.ip}%{end.zone}"}
    if end.ip.version == 4:
        number = int(end.ip)
        texts |= {f"::ffff:{end.ip}", f"::ffff:{number >> 16:x}:{number & 0xFFFF:x}"}
    return sorted(texts, key=len, reverse=True)


def _neutral(output: bytes, cell: Cell) -> bytes:
    """The answer without what must differ: both addresses, however spelt, the caller's port, words for the family."""
    text = output.decode("utf-8", "surrogateescape")
    for end, word in ((cell.remote, "<caller>"), (cell.local, "<called>")):
        for spelling in spellings(end):
            # The IPv6: of an address literal (RFC 5321) and brackets around an address and port belong to its spelling.
            for dressed in (f"[IPv6:{spelling}]", f"[{spelling}]", spelling):
                text = text.replace(dressed, word)
    text = text.replace(str(cell.remote.port), "<port>").replace("TCP6", "TCP").replace("<caller>]", "<caller>")
    return text.encode("utf-8", "surrogateescape")


_INVENTED = ("0.0.0.0", "255.255.255.255", "127.0.0.1", "(null)", "None")  # noqa: S104 - read, not bound


def _log_fault(cell: Cell, run: Run, other_cell: Cell, other: Run) -> str:
    """What is wrong with the log where the reference's log names the caller; empty if nothing is."""
    if not _names(other.errors, other_cell.remote):
        return ""
    if _names(run.errors, cell.remote):
        return ""
    text = run.errors.decode(errors="replace")
    for invented in _INVENTED:
        if invented in text:
            return f"the log says {invented} in place of {cell.remote.ip}"
    return f"the log does not name {cell.remote.ip}"


def _names(errors: bytes, end: Endpoint) -> bool:
    text = errors.decode(errors="replace")
    return any(spelling in text for spelling in spellings(end))


class Verdict:
    """The answer to "is this server IPv6 ready?".

    Attributes:
        ready: True, False, or None where nothing can be said.
        findings: one sentence a fault, the worst first.
    """

    def __init__(self, ready: bool | None, findings: list[str]) -> None:
        self.ready = ready
        self.findings = findings

    def __str__(self) -> str:
        if self.ready is None:
            return f"cannot judge: {'; '.join(self.findings)}"
        if self.ready:
            return "IPv6 ready: yes" + (f" ({'; '.join(self.findings)})" if self.findings else "")
        return f"IPv6 ready: no, because it {'; '.join(self.findings)}"


_SENTENCES = (
    (CRASHED, "crashes"),
    (HUNG, "hangs"),
    (ACCEPTED, "lets in whom it turns away over IPv4 (its access list is bypassed)"),
    (REFUSED, "rejects"),
    (DIFFERENT, "answers differently"),
)
_WHO = {
    "IPv4": "IPv4 callers of another super-server",
    "IPv6": "IPv6 callers",
    "mapped": "IPv4 callers on a dual-stack listener (IPv4-mapped)",
    "link-local": "link-local IPv6 callers",
    "missing": "callers of super-servers that set fewer variables",
    "hostile": "callers with a hostile host name or ident answer",
}


def verdict(results: Sequence[Result]) -> Verdict:
    """Sum up.

    Missing variables and hostile names count against a server only if they crash or hang it, or open a hole.
    """
    references = [result for result in results if not result.cell.reference]
    for result in references:
        if result.outcome != ALIKE:
            return Verdict(None, [f"it {result.outcome} for a plain IPv4 caller already: {result.detail}"])
    if not any(result.run and (result.run.output or result.run.errors) for result in references):
        return Verdict(None, ["it says nothing at all to a plain IPv4 caller; give it a dialogue with --input"])
    findings: list[str] = []
    notes: list[str] = []
    for outcome, verb in _SENTENCES:
        for kind, who in _WHO.items():
            hit = [result for result in results if result.outcome == outcome and result.cell.kind == kind]
            if not hit:
                continue
            sentence = f"{verb} for {who}: {hit[0].cell.name}: {hit[0].detail}"
            harmless = kind in ("missing", "hostile") and outcome in (REFUSED, DIFFERENT)
            (notes if harmless else findings).append(sentence)
    wrong = [result for result in results if result.log and result.cell.kind in ("IPv6", "mapped", "link-local")]
    if wrong:
        findings.append(f"writes wrong log text: {wrong[0].cell.name}: {wrong[0].log}")
    broken = [result for result in results if result.outcome == BROKEN]
    if broken and not findings:
        return Verdict(None, [f"{broken[0].cell.name}: {broken[0].detail}"])
    return Verdict(not findings, findings or notes)


def impossible(cell: Cell) -> str:
    """Why a cell's environment cannot be built; empty if it can."""
    try:
        cell.environ({})
    except DialectError as error:
        return str(error)
    return ""
