"""The values of the library: an endpoint, a connection, what is odd about it. They are frozen, and do no I/O."""

from ipaddress import IPv4Address, IPv4Network, IPv6Address, IPv6Network

from ucspi_env._address import normalised, parse_ip, parse_port, split_port

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Callable
    from typing import Any, ClassVar, Literal, NoReturn, Self, TypeAlias

    from ucspi_env._address import IPAddress
    from ucspi_env._relay import Relay
    from ucspi_env._unix import UnixPeer

    Evidence: TypeAlias = Literal["confirmed", "kernel", "relay", "operator", "proxy", "proof", "unconfirmed"]
    Severity: TypeAlias = Literal["error", "warning", "notice"]
    Transport: TypeAlias = Literal["tcp", "udp", "unix"]

EVIDENCE = ("confirmed", "kernel", "relay", "operator", "proxy", "proof", "unconfirmed")
_VOUCHED = ("confirmed", "kernel", "relay", "proxy")


class Value:
    """A frozen, slotted value: equality, hash, repr and pickling over ``__slots__``.

    Written out instead of taken from `dataclasses`, whose import alone costs more than all of this library.
    """

    __slots__: "ClassVar[tuple[str, ...]]" = ()
    _compared: "ClassVar[tuple[str, ...]]" = ()
    """The slots that equality looks at, where not all of them count."""

    def _set(self, **values: object) -> None:
        put = object.__setattr__
        for name, value in values.items():
            put(self, name, value)

    def _state(self) -> "tuple[object, ...]":
        return tuple(getattr(self, name) for name in self._compared or self.__slots__)

    def __setattr__(self, name: str, value: object) -> "NoReturn":
        msg = f"{type(self).__name__} is frozen: cannot set {name!r}"
        raise AttributeError(msg)

    def __delattr__(self, name: str) -> "NoReturn":
        msg = f"{type(self).__name__} is frozen: cannot delete {name!r}"
        raise AttributeError(msg)

    def __eq__(self, other: object) -> bool:
        if type(other) is not type(self):
            return NotImplemented
        return self._state() == other._state()

    def __hash__(self) -> int:
        return hash((type(self), self._state()))

    def __repr__(self) -> str:
        fields = ", ".join(f"{name}={getattr(self, name)!r}" for name in self.__slots__)
        return f"{type(self).__name__}({fields})"

    def __reduce__(self) -> "tuple[Any, ...]":
        return _restore, (type(self), tuple(getattr(self, name) for name in self.__slots__))


def _restore(cls: "type[Value]", state: "tuple[object, ...]") -> "Value":
    value = cls.__new__(cls)
    for name, field in zip(cls.__slots__, state, strict=True):
        object.__setattr__(value, name, field)
    return value


class Endpoint(Value):
    """One end of a connection.

    Two endpoints are equal if address, port and zone are; what strangers say of them (``host``, ``info``) does not
    count.

    Attributes:
        ip: an `ipaddress` object, normalised: IPv4 where it was IPv4-mapped, and never with a scope id.
        port: 0 to 65535, or None where it is not known.
        zone: the interface (or its number) of a link-local IPv6 address (RFC 4007), else None.
        host: the name that reverse DNS gave, None where none is known. A stranger's word.
        info: the answer of an ident server (RFC 1413), None where none is known. A stranger's word.
    """

    __slots__ = ("host", "info", "ip", "port", "zone")
    _compared = ("ip", "port", "zone")
    ip: "IPAddress"
    port: "int | None"
    zone: "str | None"
    host: "str | None"
    info: "str | None"

    def __init__(
        self,
        ip: "str | IPAddress",
        port: "int | None" = None,
        zone: "str | None" = None,
        host: "str | None" = None,
        info: "str | None" = None,
    ) -> None:
        """Normalise the address.

        Args:
            ip: an address, or its text in any legal spelling.
            port: 0 to 65535, or None.
            zone: used for link-local IPv6 addresses, dropped for all others, which do not need one.
            host: a host name, kept as it is.
            info: an ident answer, kept as it is.

        Raises:
            ValueError: the text is no address, or the port is out of range.
            TypeError: the address is neither text nor an address.
        """
        if isinstance(ip, str):
            try:
                ip, spelled_zone = parse_ip(ip)
            except ValueError as error:
                msg = f"{ip!r} {error}"
                raise ValueError(msg) from None
            zone = zone or spelled_zone
        elif hasattr(ip, "max_prefixlen"):
            zone = zone or getattr(ip, "scope_id", None)
            ip = normalised(ip)
        else:
            msg = f"{ip!r} is neither an IP address nor the text of one"
            raise TypeError(msg)
        if port is not None and not (type(port) is int and 0 <= port <= 65535):
            msg = f"{port!r} is not a port (0 to 65535)"
            raise ValueError(msg)
        if not (zone and isinstance(ip, IPv6Address) and ip.is_link_local):
            zone = None
        put = object.__setattr__  # as `_set`, without a dictionary: two or more are made for each connection
        put(self, "ip", ip)
        put(self, "port", port)
        put(self, "zone", zone)
        put(self, "host", host)
        put(self, "info", info)

    @classmethod
    def parse(cls, text: str) -> "Self":
        """Read what ``str(endpoint)`` writes: an address in any legal spelling, alone or with a port.

        An IPv6 address with a port is in brackets.

        Raises:
            ValueError: it is neither.
        """
        address, port = split_port(text)
        try:
            return cls(address, None if port is None else parse_port(port))
        except ValueError as error:
            if address == text:
                raise
            msg = f"{text!r} is not an address with a port: {error}"
            raise ValueError(msg) from None

    def __str__(self) -> str:
        address = f"{self.ip}%{self.zone}" if self.zone else str(self.ip)
        if self.port is None:
            return address
        return f"[{address}]:{self.port}" if isinstance(self.ip, IPv6Address) else f"{address}:{self.port}"

    def __repr__(self) -> str:
        extra = "".join(
            f", {name}={getattr(self, name)!r}" for name in ("zone", "host", "info") if getattr(self, name) is not None
        )
        return f"Endpoint({str(self.ip)!r}, {self.port!r}{extra})"

    def network(self, v4: int = 32, v6: int = 64) -> "IPv4Network | IPv6Network":
        """The network to count or list this caller by.

        The defaults are one IPv4 address and one IPv6 /64, which is what a single customer gets (RFC 6177).

        Args:
            v4: prefix length for IPv4, 0 to 32.
            v6: prefix length for IPv6, 0 to 128.

        Raises:
            ValueError: the prefix length for this family is out of range.
        """
        bits, length = (32, v4) if isinstance(self.ip, IPv4Address) else (128, v6)
        if not (type(length) is int and 0 <= length <= bits):
            msg = f"{length!r} is not a prefix length for this family (0 to {bits})"
            raise ValueError(msg)
        first = int(self.ip) >> (bits - length) << (bits - length)
        return IPv4Network((first, length)) if bits == 32 else IPv6Network((first, length))

    def key(self, v4: int = 32, v6: int = 64) -> str:
        """The network's first address as lower-case hex: 8 digits for IPv4, 32 for IPv6.

        It is the same whatever the spelling was, has neither port nor zone, and is safe as a file name and as a
        database key; the two families cannot collide, having different lengths.

        Args:
            v4: prefix length for IPv4, 0 to 32.
            v6: prefix length for IPv6, 0 to 128.

        Raises:
            ValueError: the prefix length for this family is out of range.
        """
        return self.network(v4, v6).network_address.packed.hex()

    def dnsbl_name(self, zone: str) -> str:
        """The name to ask a DNS list about this address: reversed octets, or for IPv6 reversed nibbles (RFC 5782).

        Args:
            zone: the list, for example ``zen.example.org``.

        Raises:
            ValueError: the zone is empty.
        """
        zone = zone.strip(".")
        if not zone:
            raise ValueError("a DNS list needs a zone")
        # reverse_pointer ends in ".in-addr.arpa" or ".ip6.arpa": two labels of its own.
        return f"{self.ip.reverse_pointer.rsplit('.', 2)[0]}.{zone}"

    @property
    def address_literal(self) -> str:
        """The address in place of a domain in SMTP: ``[192.0.2.1]``, ``[IPv6:2001:db8::1]`` (RFC 5321)."""
        return f"[{self.ip}]" if isinstance(self.ip, IPv4Address) else f"[IPv6:{self.ip}]"

    def sockaddr(self, scope_id: int = 0) -> "tuple[str, int] | tuple[str, int, int, int]":
        """What `socket.connect` and `socket.bind` take for this family; an unknown port is 0.

        Args:
            scope_id: for link-local addresses the number of the zone (`socket.if_nametoindex`); a zone that is a
                number already is used where this is 0.
        """
        port = self.port or 0
        if isinstance(self.ip, IPv4Address):
            return str(self.ip), port
        if not scope_id and self.zone is not None and self.zone.isascii() and self.zone.isdigit():
            scope_id = int(self.zone)
        return str(self.ip), port, 0, scope_id


class Problem(Value):
    """Something about an environment that a server author or an operator should know.

    Attributes:
        code: a stable kebab-case name.
        severity: ``"error"``: a fact could not be used; ``"warning"``: the answer stands, but variables disagree with
            it; ``"notice"``: worth knowing, nothing to repair.
        variable: the variable it is about, or None.
        value: what that variable is set to, or None.
        message: one line.
        hint: what to do about it, one line.
    """

    __slots__ = ("code", "hint", "message", "severity", "value", "variable")
    code: str
    severity: "Severity"
    variable: "str | None"
    value: "str | None"
    message: str
    hint: str

    def __init__(
        self, code: str, severity: "Severity", variable: "str | None", value: "str | None", message: str, hint: str
    ) -> None:
        self._set(code=code, severity=severity, variable=variable, value=value, message=message, hint=hint)

    def __str__(self) -> str:
        return f"{self.message}; {self.hint}"


class Connection(Value):
    """Everything that is known about the connection a program was started for.

    Attributes:
        proto: what PROTO should say: ``"TCP"`` for an IPv4 peer, ``"TCP6"`` for an IPv6 one, ``"UDP"``, ``"UNIX"``.
        raw_proto: what PROTO said, None where it was not set.
        transport: ``"tcp"``, ``"udp"`` or ``"unix"``.
        tls: whether the super-server took TLS off before the program.
        remote: the caller; None for UNIX-domain callers.
        local: the address that was called; None where nobody knows it.
        unix: the caller's credentials on a UNIX-domain socket, else None.
        dialect: the name of the dialect that spoke (`ucspi_env.dialects`).
        evidence: why the answer is believed: ``"confirmed"`` (variables and a socket of the program agree),
            ``"kernel"`` (the program's socket alone), ``"relay"`` (the socket of the process at the other end of the
            program's pipe), ``"operator"`` (a rule of the super-server set the address, or the operator vouched for who
            did), ``"proxy"`` (a PROXY header), ``"proof"`` (a sign of freshness: the program's process id, CGI,
            stunnel's pair), ``"unconfirmed"`` (nothing but the variables).
        problems: what is odd about the environment.
        relay: the process whose socket was the witness, where it was not the program's own; else None.
        vouched: whether ``strict=True`` accepts the answer: a connected socket that the kernel shows, the program's own
            or its relay's, has this peer, or the operator has vouched for who named another one. So for evidence
            ``"operator"`` it depends, and for ``"proof"`` and ``"unconfirmed"`` it is False.
    """

    __slots__ = (
        "dialect",
        "evidence",
        "local",
        "problems",
        "proto",
        "raw_proto",
        "relay",
        "remote",
        "tls",
        "transport",
        "unix",
        "vouched",
    )
    proto: str
    raw_proto: "str | None"
    transport: "Transport"
    tls: bool
    remote: "Endpoint | None"
    local: "Endpoint | None"
    unix: "UnixPeer | None"
    dialect: str
    evidence: "Evidence"
    problems: "tuple[Problem, ...]"
    relay: "Relay | None"
    vouched: bool

    def __init__(
        self,
        *,
        remote: "Endpoint | None" = None,
        local: "Endpoint | None" = None,
        unix: "UnixPeer | None" = None,
        transport: "Transport" = "tcp",
        tls: bool = False,
        proto: "str | None" = None,
        raw_proto: "str | None" = None,
        dialect: str = "inetd",
        evidence: "Evidence" = "unconfirmed",
        problems: "tuple[Problem, ...]" = (),
        relay: "Relay | None" = None,
        vouched: "bool | None" = None,
    ) -> None:
        """Put the facts together; ``proto`` and ``vouched`` follow from the others unless they are given.

        Raises:
            ValueError: there is neither a remote endpoint nor a UNIX peer, or the evidence is not known.
        """
        if (remote is None) == (unix is None):
            raise ValueError("a connection has either a remote endpoint or a UNIX peer")
        if evidence not in EVIDENCE:
            msg = f"{evidence!r} is not a kind of evidence ({', '.join(EVIDENCE)})"
            raise ValueError(msg)
        if remote is None:
            transport = "unix"
        if proto is None:
            proto = proto_of(remote, transport)
        self._set(
            remote=remote,
            local=local,
            unix=unix,
            transport=transport,
            tls=tls,
            proto=proto,
            raw_proto=raw_proto,
            dialect=dialect,
            evidence=evidence,
            problems=tuple(problems),
            relay=relay,
            vouched=evidence in _VOUCHED if vouched is None else vouched,
        )


def from_port(connection: "Connection") -> "Callable[[int], Connection]":
    """A function that makes the same connection, from another port of the caller (0 to 65535, which nobody checks).

    For those who know that nothing else would be different: it takes a tenth of the time of `identify`. The connection
    must have a remote endpoint.
    """
    assert connection.remote is not None  # noqa: S101 - as it says
    end, whole = _copier(connection.remote, "port"), _copier(connection, "remote")
    return lambda port: whole(end(port))


def _copier(value: "Value", slot: str) -> "Callable[[object], Any]":
    """A function that makes copies with something else in this slot."""
    kind = type(value)
    same = [(vars(kind)[name].__set__, getattr(value, name)) for name in kind.__slots__ if name != slot]
    change = vars(kind)[slot].__set__

    def copy(new: object) -> "Any":
        made = object.__new__(kind)
        for put, old in same:
            put(made, old)
        change(made, new)
        return made

    return copy


def proto_of(remote: "Endpoint | None", transport: "Transport") -> str:
    """What PROTO should say, by the rule of the IPv6 patch: TCP6 exactly for IPv6 peers over TCP."""
    if transport != "tcp" or remote is None:
        return "UNIX" if remote is None else "UDP"
    return "TCP6" if isinstance(remote.ip, IPv6Address) else "TCP"
