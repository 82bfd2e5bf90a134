"""Made-up callers for tests: who calls, under which super-server, and the environment that makes. Pure."""

from __future__ import annotations

from ucspi_env._build import build
from ucspi_env._dialects import dialect as find_dialect
from ucspi_env._model import Connection, Endpoint

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Iterable, Mapping

    from ucspi_env._build import EnvChange

__all__ = ["DIALECTS", "KINDS", "Caller", "callers"]

DIALECTS = (
    "ucspi-tcp-ipv6",
    "ucspi-tcp",
    "ucspi-tcp6",
    "s6-networking",
    "sslserver",
    "couriertcpd",
    "inetutils-inetd",
    "systemd",
    "inetd",
)
"""The super-servers of a matrix that names none: together they have every trait that servers stumble over."""
KINDS = ("IPv4", "IPv6", "mapped", "link-local")
"""The kinds of caller; ``mapped`` is an IPv4 one on a dual-stack socket."""

_REMOTE = {"IPv4": "192.0.2.1", "IPv6": "2001:db8::1", "mapped": "192.0.2.1", "link-local": "fe80::1%lo"}
_LOCAL = {4: "198.51.100.1", 6: "2001:db8:ffff::1"}
_LINK_LOCAL = "fe80::ff"
_PORTS = (4711, 25)


class Caller:
    """One made-up caller: who, and under which super-server.

    Attributes:
        dialect: a name or alias of `ucspi_env.dialects`.
        remote: the caller's end, with the host name and ident answer that the super-server is to tell.
        local: the called end.
        mapped: whether the connection is accepted on a dual-stack socket, whose kernel peer is IPv4-mapped then.
        as_ipv6: ``tcpserver -6``: an IPv4 caller is written as IPv4-mapped.
        kind: one of `KINDS`.
    """

    def __init__(
        self,
        dialect: str = "ucspi-tcp-ipv6",
        remote: str | Endpoint | None = None,
        local: str | Endpoint | None = None,
        *,
        host: str | None = None,
        info: str | None = None,
        mapped: bool = False,
        as_ipv6: bool = False,
    ) -> None:
        """Describe a caller.

        Args:
            dialect: who speaks.
            remote: who calls: an `Endpoint` or ``192.0.2.1:4711``, ``[2001:db8::1]:4711``, ``[fe80::1%lo]:4711``;
                the port may be left out. None: 192.0.2.1.
            local: the called end, likewise. None: a fitting one, port 25.
            host: the caller's name in reverse DNS, written as it is, so that it can be a hostile one.
            info: the caller's ident answer, written as it is.
            mapped: accept an IPv4 caller on a dual-stack socket.
            as_ipv6: what ``tcpserver -6`` writes; only for ``ucspi-tcp-ipv6``.

        Raises:
            ValueError: an end cannot be read, both are not of one family, or an IPv6 caller is said to be mapped.
            DialectError: there is no such dialect, or it cannot carry such a caller.
        """
        self.dialect: str = dialect
        far = _end(remote if remote is not None else _REMOTE["IPv4"], _PORTS[0])
        self.remote: Endpoint = Endpoint(far.ip, far.port, far.zone, host or far.host, info or far.info)
        self.local: Endpoint = _end(local if local is not None else _called_by(self.remote), _PORTS[1])
        if self.remote.ip.version != self.local.ip.version:
            msg = f"{self.remote} cannot call {self.local}: two families"
            raise ValueError(msg)
        if mapped and self.remote.ip.version != 4:
            msg = f"{self.remote} cannot be mapped: only an IPv4 caller can"
            raise ValueError(msg)
        self.mapped = mapped
        self.as_ipv6 = as_ipv6
        self.kind: str = _kind(self.remote, mapped=mapped or as_ipv6)
        self.change: EnvChange = self._written()

    def _written(self) -> EnvChange:
        row = find_dialect(self.dialect)
        self.dialect = row.name
        connection = Connection(remote=self.remote, local=self.local)
        return build(connection, row.name, as_ipv6=self.as_ipv6)

    def environ(self, base: Mapping[str, str] | None = None) -> dict[str, str]:
        """The environment that the super-server hands to its program.

        Args:
            base: what it has of its own; variables of any other super-server are removed from it. None: nothing.
        """
        return self.change.apply(base or {})

    def __repr__(self) -> str:
        return f"<Caller {self.remote} of {self.dialect}{' on a dual-stack socket' if self.mapped else ''}>"

    def __str__(self) -> str:
        return f"{self.dialect}-{self.kind}"


def callers(dialects: Iterable[str] = DIALECTS, kinds: Iterable[str] = KINDS) -> list[Caller]:
    """Every kind of caller under every dialect, without the pairs that cannot be (IPv6 under plain ucspi-tcp).

    An IPv4 caller that is ``mapped`` is so for the kernel, and in the variables where the super-server writes it so;
    under ``ucspi-tcp-ipv6`` it is one of ``tcpserver -6``.

    Raises:
        ValueError: a kind is not one of `KINDS`.
        DialectError: there is no such dialect.
    """
    dialects, kinds = list(dialects), list(kinds)
    for kind in kinds:
        if kind not in KINDS:
            msg = f"{kind!r} is not a kind of caller ({', '.join(KINDS)})"
            raise ValueError(msg)
    found: list[Caller] = []
    for row in (find_dialect(name) for name in dialects):
        for kind in kinds:
            if row.ipv6 or kind == "IPv4":
                mapped = kind == "mapped"
                found.append(
                    Caller(row.name, _REMOTE[kind], mapped=mapped, as_ipv6=mapped and row.name == "ucspi-tcp-ipv6")
                )
    return found


def _end(given: str | Endpoint, port: int) -> Endpoint:
    end = Endpoint.parse(given) if isinstance(given, str) else given
    return end if end.port is not None else Endpoint(end.ip, port, end.zone, end.host, end.info)


def _called_by(remote: Endpoint) -> Endpoint:
    if remote.ip.is_loopback:
        return Endpoint(remote.ip)
    return Endpoint(_LINK_LOCAL, zone=remote.zone) if remote.zone else Endpoint(_LOCAL[remote.ip.version])


def _kind(remote: Endpoint, *, mapped: bool) -> str:
    if mapped:
        return "mapped"
    return "link-local" if remote.ip.is_link_local else f"IPv{remote.ip.version}"
