"""From a connection to an environment: what a super-server of some dialect would hand to its program. Pure."""

from __future__ import annotations

from ipaddress import IPv4Address

from ucspi_env._address import djb_text, djb_text6, plausible_host, plausible_info
from ucspi_env._dialects import PEER_VARIABLES
from ucspi_env._dialects import dialect as find_dialect
from ucspi_env._errors import DialectError
from ucspi_env._model import Connection, Endpoint, Value
from ucspi_env._unix import UnixPeer
from ucspi_env._variables import SSH

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Mapping
    from ipaddress import IPv6Address

    from ucspi_env._dialects import Dialect, Spelling
    from ucspi_env._variables import Family

__all__ = ["EnvChange", "build", "project"]


class EnvChange(Value):
    """A change to an environment: what to set, and what must not be left behind from elsewhere.

    Attributes:
        pairs: the variables to set, as pairs of name and value.
        unset: the variables to remove.
    """

    __slots__ = ("pairs", "unset")
    pairs: tuple[tuple[str, str], ...]
    unset: frozenset[str]

    def __init__(
        self,
        set: Mapping[str, str] | Iterable[tuple[str, str]] = (),
        unset: Iterable[str] = (),
    ) -> None:
        self._set(pairs=tuple(dict(set).items()), unset=frozenset(unset))

    @property
    def set(self) -> dict[str, str]:
        """The variables to set, as a new dictionary."""
        return dict(self.pairs)

    def __repr__(self) -> str:
        return f"EnvChange(set={self.set!r}, unset={self.unset!r})"

    def apply(self, environ: Mapping[str, str]) -> dict[str, str]:
        """A copy of ``environ`` with the change made."""
        unset = self.unset
        return {name: value for name, value in environ.items() if name not in unset} | dict(self.pairs)


def build(connection: Connection, dialect: str = "ucspi-tcp-ipv6", *, as_ipv6: bool = False) -> EnvChange:
    """Write a connection down as a super-server of the named dialect would.

    Facts that the dialect has no variable for are dropped; `project` says what remains. Host names and ident answers
    are written as they are, since a super-server may be told to (``tcpserver -l 0``).

    Args:
        connection: what to write.
        dialect: a name or alias of `ucspi_env.dialects`.
        as_ipv6: what ``tcpserver -6`` does: an IPv4 peer is written as TCP6 and IPv4-mapped, everywhere.

    Raises:
        DialectError: there is no such dialect, or it cannot carry a connection of this kind (a transport, an IPv6
            peer, an unknown port where it needs one).
    """
    row = find_dialect(dialect)
    _check(connection, row, as_ipv6=as_ipv6)
    change: dict[str, str] = dict(row.fixed)
    remote = connection.remote
    if remote is None:
        assert connection.unix is not None  # noqa: S101 - Connection has one or the other
        _write_unix(change, connection.unix, row)
    else:
        if row.proto is not None:
            change["PROTO"] = row.proto[as_ipv6 or not isinstance(remote.ip, IPv4Address)]
        for family, spelling in row.writes:
            _write_family(change, family, spelling, remote, connection.local, as_ipv6=as_ipv6)
        if row.interface and remote.zone is not None:
            change["TCP6INTERFACE"] = remote.zone
        if connection.transport == "udp" and row.name == "ncat":
            change["NCAT_PROTO"] = "UDP"
    return EnvChange(tuple(change.items()), PEER_VARIABLES.difference(change))


def project(connection: Connection, dialect: str = "ucspi-tcp-ipv6") -> Connection:
    """What remains of a connection after `build`: the facts that the dialect carries and a reader can trust.

    Raises:
        DialectError: as `build`.
    """
    row = find_dialect(dialect)
    _check(connection, row, as_ipv6=False)
    raw_proto = row.proto[connection.proto == "TCP6"] if row.proto else None
    unix = connection.unix
    if connection.remote is None:
        assert unix is not None  # noqa: S101 - Connection has one or the other
        unix = UnixPeer(unix.uid, unix.gid, unix.pid if row.name == "ucspi-unix" else None, unix.path or None)
        return Connection(unix=unix, raw_proto=raw_proto, dialect=row.name)
    return Connection(
        remote=_carried(connection.remote, row, "remote"),
        local=_carried(connection.local, row, "local") if connection.local else None,
        transport=connection.transport,
        tls=row.tls,
        raw_proto=raw_proto,
        dialect=row.name,
    )


def _check(connection: Connection, row: Dialect, *, as_ipv6: bool) -> None:
    if connection.transport not in row.transports:
        msg = f"dialect {row.name} is for {' and '.join(row.transports)}, not for a {connection.transport} connection"
        raise DialectError(msg)
    remote = connection.remote
    if remote is not None and not row.ipv6 and not isinstance(remote.ip, IPv4Address):
        msg = f"dialect {row.name} is IPv4 only and cannot carry {remote.ip}"
        raise DialectError(msg)
    ends = (remote, connection.local)
    if row.name == "sshd" and not all(end is not None and end.port is not None for end in ends):
        msg = f"dialect {row.name} needs both addresses with their ports"
        raise DialectError(msg)
    if as_ipv6 and not row.interface:
        msg = f"dialect {row.name} has no TCP6 form for IPv4 peers (ucspi-tcp-ipv6 has)"
        raise DialectError(msg)


def _write_family(
    change: dict[str, str],
    family: Family,
    spelling: Spelling,
    remote: Endpoint,
    local: Endpoint | None,
    *,
    as_ipv6: bool,
) -> None:
    if family is SSH:
        assert local is not None  # noqa: S101 - what _check promises
        words = (_spell(remote, spelling), str(remote.port), _spell(local, spelling), str(local.port))
        change["SSH_CONNECTION"] = " ".join(words)
        change["SSH_CLIENT"] = f"{words[0]} {words[1]} {words[3]}"
        return
    for side, endpoint in (("remote", remote), ("local", local)):
        name = getattr(family, f"{side}_ip")
        if endpoint is None or name is None:
            continue
        text = djb_text6(endpoint.ip) if as_ipv6 else _spell(endpoint, spelling)
        port = getattr(family, f"{side}_port")
        change[name] = f"{text}:{endpoint.port}" if family.glued and endpoint.port is not None else text
        if port is not None and endpoint.port is not None:
            change[port] = str(endpoint.port)
        host = getattr(family, f"{side}_host")
        if host is not None and endpoint.host is not None:
            change[host] = f"{endpoint.host}." if spelling.dot and endpoint.host else endpoint.host
    if family.remote_info is not None and remote.info is not None:
        change[family.remote_info] = remote.info


def _spell(endpoint: Endpoint, spelling: Spelling) -> str:
    ip = endpoint.ip
    if isinstance(ip, IPv4Address):
        return str(ip) if spelling.v4 == "dotted" else djb_text6(ip)
    text = _V6_TEXTS[spelling.v6](ip)
    if spelling.zone and endpoint.zone:
        text = f"{text}%{endpoint.zone}"
    return f"[{text}]" if spelling.brackets else text


_V6_TEXTS: dict[str, Callable[[IPv6Address], str]] = {
    "djb": djb_text,
    "full": lambda ip: ip.exploded,
    "rfc5952": str,
}


def _write_unix(change: dict[str, str], unix: UnixPeer, row: Dialect) -> None:
    assert row.proto is not None  # noqa: S101 - rows for UNIX-domain callers have one
    change["PROTO"] = row.proto[0]
    for name, value in zip(row.unix_names, (unix.uid, unix.gid), strict=False):
        if value is not None:
            change[name] = str(value)
    if row.name == "ucspi-unix":
        if unix.pid is not None:
            change[row.unix_names[2]] = str(unix.pid)
        if unix.path:
            change[row.unix_names[3]] = unix.path
    else:
        change[row.unix_names[3]] = unix.path or ""


def _carried(endpoint: Endpoint, row: Dialect, side: str) -> Endpoint | None:
    if not row.writes:
        return endpoint if side == "remote" else None
    family, spelling = row.writes[0]
    if family is SSH:
        return Endpoint(endpoint.ip, endpoint.port, endpoint.zone)
    if getattr(family, f"{side}_ip") is None:
        return None
    port = endpoint.port if family.glued or getattr(family, f"{side}_port") else None
    zone = endpoint.zone if spelling.zone or row.interface else None
    host = endpoint.host if getattr(family, f"{side}_host") else None
    info = endpoint.info if side == "remote" and family.remote_info else None
    return Endpoint(
        endpoint.ip, port, zone, plausible_host(host) if host else None, plausible_info(info) if info else None
    )
