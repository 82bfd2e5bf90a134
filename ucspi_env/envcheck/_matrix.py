"""``try``: the callers that a server is tried with. Pure.

Each cell is one caller of one super-server. What the server does is compared with what it does for the same caller over
IPv4 under DJB's own tcpserver, its *reference*: an unknown caller with an unknown IPv4 caller, a local one with
127.0.0.1. A server that lets localhost in and strangers out is therefore ready if it does the same over IPv6, and has a
hole if it lets IPv6 strangers in.

A server need not know every super-server's variables. So a cell has *fallbacks* too, most often the IPv4 caller of the
same super-server: what goes wrong for both is no matter of IPv6.

No two cells have one address: limits and grey lists of the server see each caller for the first time.
"""

from __future__ import annotations

from ipaddress import IPv4Address

from ucspi_env._build import build
from ucspi_env._dialects import dialects
from ucspi_env._model import Connection, Endpoint
from ucspi_env._variables import TCP

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator, Mapping, Sequence
    from typing import Self

    from ucspi_env._dialects import Dialect

LOCAL4, LOCAL6, LINK_LOCAL = "198.51.100.1", "2001:db8:ffff::1", "fe80::ff"
PORT = 25
FIRST_CALLER_PORT = 40001
ZONE = "lo"  # its number is 1 wherever the program may ask

KINDS = ("IPv4", "IPv6", "mapped", "link-local", "missing", "hostile", "other")
"""What is unusual about a cell: nothing; IPv6; IPv4-mapped text, or an IPv4 caller on a dual-stack socket; a zone;
variables that are not there; what a stranger made reverse DNS or ident say; variables of another kind."""
ONLY = {kind.lower(): {kind} for kind in KINDS[1:]} | {"tcp6": {"IPv6", "mapped", "link-local"}}
COLUMNS = ("IPv4", "mapped", "IPv6", "fe80::", "127.0.0.1", "::1")


class Cell:
    """One caller.

    Attributes:
        row: the super-server, or what is special: ``"ucspi-tcp-ipv6"``, ``"no PROTO"``.
        column: one of `COLUMNS`.
        dialect: who speaks.
        kind: one of `KINDS`.
        remote: the caller.
        local: the called address.
        mapped: whether the socket is a dual-stack one with an IPv4 caller.
        reference: the name of the cell that it is compared with; empty for a reference itself.
        fallbacks: the names of the cells that excuse it if they fare the same.
        set: variables on top of what the dialect writes.
        unset: variables taken away from it.
        as_ipv6: ``tcpserver -6``.
    """

    __slots__ = (
        "as_ipv6",
        "column",
        "dialect",
        "fallbacks",
        "kind",
        "local",
        "mapped",
        "reference",
        "remote",
        "row",
        "set",
        "unset",
    )

    def __init__(
        self,
        row: str,
        column: str,
        dialect: str,
        kind: str,
        remote: Endpoint,
        reference: str = "",
        fallbacks: Iterable[str] = (),
        *,
        as_ipv6: bool = False,
        set: Mapping[str, str] | None = None,
        unset: Iterable[str] = (),
    ) -> None:
        self.row = row
        self.column = column
        self.dialect = dialect
        self.kind = kind
        self.remote = remote
        self.local = Endpoint(_called_by(remote), PORT, remote.zone)
        self.mapped = column == "mapped"
        self.reference = reference
        self.fallbacks = tuple(name for name in fallbacks if name != self.name)
        self.set = dict(set or {})
        self.unset = tuple(unset)
        self.as_ipv6 = as_ipv6

    @property
    def name(self) -> str:
        """Unique and readable: ``"ucspi-tcp-ipv6, fe80::"``."""
        return f"{self.row}, {self.column}"

    def again(self, port: int) -> Self:
        """The same caller, calling again from another port."""
        other = type(self)(
            self.row,
            self.column,
            self.dialect,
            self.kind,
            Endpoint(self.remote.ip, port, self.remote.zone),
            self.reference,
            self.fallbacks,
            as_ipv6=self.as_ipv6,
            set=self.set,
            unset=self.unset,
        )
        return other

    def environ(self, base: Mapping[str, str]) -> dict[str, str]:
        """The program's whole environment, made from ``base``."""
        change = build(Connection(remote=self.remote, local=self.local), self.dialect, as_ipv6=self.as_ipv6)
        environ = change.apply(base)
        if self.mapped:
            environ |= on_dual_stack(change.set, self.dialect, self.remote, self.local)
        environ |= self.set
        return {name: value for name, value in environ.items() if name not in self.unset}


def _called_by(remote: Endpoint) -> str:
    if remote.ip.is_loopback:
        return str(remote.ip)
    if remote.zone:
        return LINK_LOCAL
    return LOCAL4 if remote.ip.version == 4 else LOCAL6


# -- IPv4 callers on a dual-stack listener, as each super-server spells them (recorded: tests/captures) --

_DOTTED = ("nosh", "ucspi-tools", "couriertcpd", "inetutils-inetd", "sslserver-ipv6", "xinetd", "stunnel")


def _spelt_mapped(dialect: str, ip: IPv4Address) -> str:
    high, low = divmod(int(ip), 65536)
    if dialect in _DOTTED:
        return f"::ffff:{ip}"
    if dialect == "s6-networking":
        return f"::ffff:{high:x}:{low:x}"
    if dialect in ("busybox-tcpsvd", "cgi"):
        return f"[::ffff:{ip}]"
    if dialect == "socat":
        return f"[0000:0000:0000:0000:0000:ffff:{high:04x}:{low:04x}]"
    return str(ip)


def on_dual_stack(variables: Mapping[str, str], dialect: str, remote: Endpoint, local: Endpoint) -> dict[str, str]:
    """What changes in ``variables``, written by `build`, where the IPv4 caller came in by a dual-stack socket."""
    changed: dict[str, str] = {}
    for end in (remote, local):
        if isinstance(end.ip, IPv4Address):
            plain, mapped = str(end.ip), _spelt_mapped(dialect, end.ip)
            for name, value in variables.items():
                if value in (plain, f"{plain}:{end.port}"):
                    changed[name] = value.replace(plain, mapped)
    if dialect == "sslserver-ipv6":
        changed["PROTO"] = "SSL6"
    return changed


# -- the matrix --

# The variables of ucspi-tcp-ipv6, those of inetd, and those of the row PROTO=SSL….
_LEFT_OUT = ("proxy", "socket-activation", "tlss")
_REFERENCE, _FRIEND = "ucspi-tcp, IPv4", "ucspi-tcp, 127.0.0.1"
_NO_PROTO, _PLAIN_IPV6 = "no PROTO", "ucspi-tcp-ipv6, IPv6"
_TWINS = ("TCP6REMOTEIP", "TCP6REMOTEPORT", "TCP6LOCALIP", "TCP6LOCALPORT")
_HOSTILE = {
    "host: an address": {"TCPREMOTEHOST": "203.0.113.9"},
    "host: shell code": {"TCPREMOTEHOST": "$(echo cracked).example"},
    "host: two lines": {"TCPREMOTEHOST": "a.example\nforged: line"},
    "host: endless": {"TCPREMOTEHOST": "a" * 8000},
    "ident: quotes, %n": {"TCPREMOTEINFO": "a\"b'c;d`e%n%s"},
}


class _Callers:
    """Addresses and ports that no other caller has, unless the strangers' addresses are given."""

    def __init__(self, stranger4: str | None, stranger6: str | None) -> None:
        self.strangers = {"IPv4": stranger4, "mapped": stranger4, "IPv6": stranger6}
        self.count = 0

    def next(self, column: str) -> Endpoint:
        self.count += 1
        fresh = {
            "IPv4": f"192.0.2.{self.count}",
            "mapped": f"192.0.2.{self.count}",
            "IPv6": f"2001:db8:85a3:{self.count:x}::8a2e:7334",  # too long for a buffer of 16
            "fe80::": f"fe80::{self.count:x}%{ZONE}",
        }
        address = self.strangers.get(column) or fresh.get(column, column)
        return Endpoint(address, FIRST_CALLER_PORT + self.count)


def cells(only: Sequence[str] = (), *, stranger4: str | None = None, stranger6: str | None = None) -> list[Cell]:
    """The matrix, the two references first.

    Args:
        only: what to keep, of `ONLY`, without regard to case. References and fallbacks stay.
        stranger4: the address of all IPv4 strangers, instead of a new one for each.
        stranger6: the address of all IPv6 strangers.

    Raises:
        ValueError: a kind is not known.
    """
    wanted: set[str] = set()
    for name in only:
        if name.lower() not in ONLY:
            msg = f"{name!r} is not a kind of caller ({', '.join(ONLY)})"
            raise ValueError(msg)
        wanted |= ONLY[name.lower()]
    found = list(_cells(_Callers(stranger4, stranger6)))
    if not wanted:
        return found
    kept = {cell.name: cell for cell in found if not cell.reference or cell.kind in wanted}
    needed = {name for cell in kept.values() for name in cell.fallbacks}
    return [cell for cell in found if cell.name in kept or cell.name in needed]


def _cells(callers: _Callers) -> Iterator[Cell]:
    def cell(
        row: str,
        column: str,
        dialect: str,
        kind: str,
        *fallbacks: str,
        as_ipv6: bool = False,
        set: Mapping[str, str] | None = None,
        unset: Iterable[str] = (),
    ) -> Cell:
        reference = _FRIEND if column in ("127.0.0.1", "::1") else _REFERENCE
        remote = callers.next(column)
        return Cell(row, column, dialect, kind, remote, reference, fallbacks, as_ipv6=as_ipv6, set=set, unset=unset)

    for column in ("IPv4", "127.0.0.1"):
        yield Cell("ucspi-tcp", column, "ucspi-tcp", "IPv4", callers.next(column))
    yield cell(_NO_PROTO, "IPv4", "ucspi-tcp", "missing", unset=["PROTO"])
    for column in ("IPv6", "fe80::"):
        excuses = f"{_NO_PROTO}, IPv4", f"ucspi-tcp-ipv6, {column}"
        yield cell(_NO_PROTO, column, "ucspi-tcp-ipv6", "missing", *excuses, unset=["PROTO"])
    for row in dialects():
        if row.name == "ucspi-tcp" or row.name in _LEFT_OUT or "tcp" not in row.transports:
            continue
        for column, kind, *more in _columns(row):
            yield cell(row.name, column, row.name, kind, *more)
        if row.name == "ucspi-tcp-ipv6":
            for column in ("mapped", "127.0.0.1"):
                yield cell("ucspi-tcp-ipv6 -6", column, row.name, "mapped", as_ipv6=True)
    # What fehcom's ucspi-tcp6 writes by default.
    for column in ("IPv6", "fe80::"):
        yield cell("no TCP6 twins", column, "ucspi-tcp-ipv6", _kind(column), unset=_TWINS)
    ssl = {"IPv4": "SSL", "IPv6": "SSL6"}
    for column, proto in ssl.items():
        excuses = ("PROTO=SSL…, IPv4", _PLAIN_IPV6)
        yield cell("PROTO=SSL…", column, "ucspi-tcp-ipv6", "missing", *excuses, set={"PROTO": proto})
    for row_name, variables in ({"host: a name": {"TCPREMOTEHOST": "client.example"}} | _HOSTILE).items():
        kind = "hostile" if row_name in _HOSTILE else ""
        yield cell(row_name, "IPv4", "ucspi-tcp", kind or "other", set=variables)
        twins = {f"TCP6{name[3:]}": value for name, value in variables.items()}
        others = (f"{row_name}, IPv4", _PLAIN_IPV6)[: 2 if kind else 1]
        yield cell(row_name, "IPv6", "ucspi-tcp-ipv6", kind or "IPv6", *others, set=variables | twins)


def _columns(row: Dialect) -> Iterator[tuple[str, ...]]:
    """Columns of a super-server, each with its kind and its fallbacks."""
    ucspi = bool(row.writes) and row.writes[0][0] is TCP
    writes_mapped = any(spelling.v4 == "mapped" for _, spelling in row.writes)
    without_proto = [f"{_NO_PROTO}, IPv4"] if ucspi and row.proto is None else []
    # Mapped text is a matter of IPv6, also where it stands for an IPv4 caller: that one excuses nobody.
    excuses = without_proto or ([] if writes_mapped else [f"{row.name}, IPv4"])
    yield "IPv4", "mapped" if writes_mapped else "IPv4" if ucspi else "other", *without_proto
    if ucspi:
        yield "127.0.0.1", "mapped" if writes_mapped else "IPv4", *without_proto
    if row.ipv6:
        for column in ("mapped", "IPv6", "fe80::"):
            yield column, _kind(column), *excuses
        if ucspi:
            yield "::1", "IPv6", *without_proto


def _kind(column: str) -> str:
    return {"fe80::": "link-local", "::1": "IPv6"}.get(column, column)
