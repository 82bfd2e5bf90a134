"""The decision: who is calling, given an environment and what the kernel says. Pure.

Why this order. Every variable can be inherited from somewhere else, and hardly a super-server removes what another
one set; so a variable is believed because something vouches for it, never because it is there. The kernel is asked
first, since a connected INET socket cannot lie about its peer; with one exception, stunnel, whose child gets a
private loopback pair. Over 1090 recorded environments of 39 super-servers (tests/captures) "TCPREMOTEIP, else
REMOTE_ADDR, else getpeername" is right 758 times, this order always where anything in reach tells the truth, and it
says so where nothing does.

Step 1  A connected INET socket: a PROXY wrapper of ours, an operator's rule, agreeing variables, stunnel's pair, the
kernel.
Step 2  A listening or unconnected socket: there is no peer yet, whatever variables say.
Step 3  A socket handed over on descriptor 3 (LISTEN_PID): as steps 1 and 2.
Step 4  A UNIX-domain socket with a name: credentials.
Step 5  A pipe, terminal or unnamed pair: the first claim with a proof of freshness.
Step 6  No proof: the claim that PROTO points at, "unconfirmed". Nothing at all: an error, never an invented peer.
"""

from __future__ import annotations

from ucspi_env._address import parse_port, shown, split_port
from ucspi_env._model import Connection, Endpoint, Problem, UnixPeer
from ucspi_env._variables import (
    ADDR,
    HOST,
    IPC_NAMES,
    NCAT,
    PROXY_PEER,
    SSH,
    SSL,
    TCP,
    TCP6,
    TCPADDR,
    TRUST,
    UDPADDR,
    UNIX_NAMES,
    prefixed,
    read_claim,
)

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

    from ucspi_env._facts import Descriptor, Facts
    from ucspi_env._model import Evidence, Transport
    from ucspi_env._variables import Claim, Family

_SOCAT_SUFFIX = "_PEERADDR"
_FIRST_HANDED_OVER = 3  # SD_LISTEN_FDS_START
_TRUSTS = ("kernel", "proxy")


def identify(environ: Mapping[str, str], facts: Facts, *, trust: str = "kernel") -> Connection:
    """Decide who is calling.

    Args:
        environ: the environment to judge; an empty variable counts as unset.
        facts: what the kernel says; ``Facts()`` where the environment is to be judged alone.
        trust: ``"kernel"``, or ``"proxy"`` where a PROXY wrapper that leaves no proof has rewritten the variables,
            which then outrank the kernel's peer. ``UCSPI_TRUST=proxy`` in the environment says the same for the
            operator.

    Raises:
        NoPeerYetError: the descriptor is listening or unconnected.
        MissingVariableError: the environment announces a connection but not who calls.
        BadVariableError: the only variables there are cannot be used.
        NotUnderSuperServerError: nothing speaks of a connection.
        ValueError: ``trust`` is of no known kind.
    """
    if trust not in _TRUSTS:
        msg = f"trust={trust!r}: use one of {_TRUSTS}"
        raise ValueError(msg)
    return _Case(environ, facts, proxied=trust == "proxy" or environ.get(TRUST) == "proxy").decide()


class _Case:
    """One environment under judgement."""

    def __init__(self, environ: Mapping[str, str], facts: Facts, *, proxied: bool) -> None:
        self.environ = environ
        self.facts = facts
        self.proxied = proxied
        self.problems: list[Problem] = []
        self.claims: dict[str, Claim] = {}
        for family in _families(environ):
            claim = read_claim(family, environ)
            if claim is not None:
                self.claims[family.name] = claim

    # -- the steps --

    def decide(self) -> Connection:
        facts = self.facts
        socket = facts.connected()
        if socket is not None:
            return self.with_kernel(socket)
        self.refuse_unconnected(facts.descriptor(facts.fd))
        handed_over = self.handed_over()
        if handed_over is not None:
            if isinstance(handed_over.peername, Endpoint):
                return self.with_kernel(handed_over, kernel_dialect="socket-activation")
            self.refuse_unconnected(handed_over)
        caller = self.unix(handed_over or facts.descriptor(facts.fd))
        if caller is not None:
            return caller
        return self.with_proof() or self.unconfirmed()

    def with_kernel(self, socket: Descriptor, kernel_dialect: str = "inetd") -> Connection:
        peer, local = socket.peername, socket.sockname
        assert isinstance(peer, Endpoint)  # noqa: S101 - what Facts.connected promises
        here = local if isinstance(local, Endpoint) and not local.ip.is_unspecified else None
        transport: Transport = "udp" if socket.type == "dgram" else "tcp"
        tcp = self.claims.get("TCP")

        if tcp is not None and tcp.remote is not None:
            if self.balancer() == (peer.ip, peer.port):
                return self.answer(tcp, "proxy", transport)
            if self.proxied and not tcp.agrees_with(peer):
                return self.answer(tcp, "proxy", transport, contradictions=False)
            # Read on its own: s6 keeps the listener's 0.0.0.0 beside it, which makes no local endpoint.
            same_ports = here is not None and self.environ.get("TCPLOCALPORT") == str(here.port)
            if tcp.remote.ip != peer.ip and tcp.remote.port == peer.port and same_ports:
                self.problem(
                    "operator-rule",
                    "notice",
                    "TCPREMOTEIP",
                    f"a rule of the super-server replaced the caller's address {peer.ip} by {tcp.remote.ip}",
                    "nothing to do if that rule is meant",
                )
                return self.answer(tcp, "operator", transport, kernel=(peer, here))
        for claim in self.claims.values():
            if claim.agrees_with(peer) and claim.family is not SSH:
                return self.answer(claim, "confirmed", transport, kernel=(peer, here))
        stunnel = self.stunnel(peer, here)
        if stunnel is not None:
            return stunnel
        for claim in self.claims.values():
            if claim.family is not SSH:
                self.contradicted(claim, f"the kernel says {peer}")
        return self.conclude(peer, here, kernel_dialect, "kernel", transport)

    def stunnel(self, peer: Endpoint, here: Endpoint | None) -> Connection | None:
        """REMOTE_HOST and REMOTE_PORT beside a loopback pair that they do not name: stunnel's own socket pair."""
        claim = self.claims.get(HOST.name)
        if here is None or claim is None or claim.remote is None or claim.remote.port is None:
            return None
        if not (str(peer.ip) == str(here.ip) == "127.0.0.1"):
            return None
        others = [
            other
            for other in self.claims.values()
            if other is not claim and other.family is not SSH and not other.agrees_with(claim.remote)
        ]
        # stunnel puts its own pair before an inherited one, which nobody else does: then it is stunnel's for certain.
        if others and HOST.remote_ip not in (name for name, _ in self.facts.duplicates):
            self.problem(
                "stunnel-or-stale",
                "warning",
                "REMOTE_HOST",
                f"descriptor {self.facts.fd} is a loopback pair and REMOTE_HOST names {claim.remote}: "
                "stunnel's doing, or a stale variable beside a genuine local caller",
                "start the super-server with an environment that is free of other servers' variables (env -i)",
            )
        return self.answer(claim, "proof", "tcp", dialect="stunnel", tls=True)

    def refuse_unconnected(self, socket: Descriptor | None) -> None:
        if socket is None or socket.kind != "socket" or socket.peername is not None:
            return
        from ucspi_env._errors import NoPeerYetError

        if socket.listening:
            raise NoPeerYetError(
                f"descriptor {self.facts.fd} is a listening socket: there is no peer before accept(); "
                "ask with fd= the accepted one, or have the super-server accept (inetd: nowait, systemd: Accept=yes)"
            )
        if socket.inet and socket.type == "dgram":
            raise NoPeerYetError(
                f"descriptor {self.facts.fd} is an unconnected UDP socket: the peer comes with each datagram (recvfrom)"
            )
        if socket.inet:
            raise NoPeerYetError(
                f"descriptor {self.facts.fd} is an unconnected socket: the caller has gone already, or never was there"
            )

    def handed_over(self) -> Descriptor | None:
        if self.facts.pid is None or self.environ.get("LISTEN_PID") != str(self.facts.pid):
            return None
        return self.facts.descriptor(_FIRST_HANDED_OVER)

    def unix(self, socket: Descriptor | None) -> Connection | None:
        environ = self.environ
        proto = environ.get("PROTO")
        named = socket is not None and socket.family == "unix" and bool(socket.sockname or socket.peername)
        known = socket is not None and not (socket.family == "unix" and named)
        proof = self.facts.pid is not None and environ.get("UNIXLOCALPID") == str(self.facts.pid)
        if not (named or proof or (proto in ("UNIX", "IPC") and not (known and self.claims))):
            return None
        dialect = "inetd"
        path = None
        ids: list[int | None] = [None, None, None]
        if proto in ("UNIX", "IPC"):
            names = UNIX_NAMES if proto == "UNIX" else IPC_NAMES
            ids = [self.read_id(name) for name in names[:3]]
            path = environ.get(names[3]) or None
            dialect = self.unix_dialect(proto)
        elif "SO_COOKIE" in environ or environ.get("REMOTE_ADDR", "")[:1] in ("/", "@"):
            path = environ.get("REMOTE_ADDR") or None
            dialect = "systemd"
        uid, gid, pid = ids
        evidence: Evidence = "proof" if proof else "unconfirmed"
        if named and socket is not None:
            evidence = "kernel"
            if isinstance(socket.peername, str):
                path = socket.peername or path
            if socket.peercred is not None:
                believed = (socket.peercred[1], socket.peercred[2])
                if uid is not None:
                    evidence = "confirmed"
                    if (uid, gid) != believed:
                        evidence = "kernel"
                        self.problem(
                            "stale-variables",
                            "warning",
                            "UNIXREMOTEEUID" if proto == "UNIX" else "IPCREMOTEEUID",
                            f"the variables name user {uid}, the kernel says {believed[0]}",
                            "the kernel's word is used; have the super-server remove variables that it did not set",
                        )
                pid, uid, gid = socket.peercred
        if dialect == "inetd" and named and socket is not None and socket.peercred is None and socket.peername is None:
            return None
        return Connection(
            unix=UnixPeer(uid, gid, pid, path),
            transport="unix",
            raw_proto=proto,
            dialect=dialect,
            evidence=evidence,
            problems=tuple(self.problems),
        )

    def with_proof(self) -> Connection | None:
        """Step 5: claims that only an up-to-date super-server can have made."""
        for _, inherited in self.facts.descriptors:
            if isinstance(inherited.peername, Endpoint):
                tcp = self.claims.get("TCP")
                if tcp and tcp.remote and self.balancer() == (inherited.peername.ip, inherited.peername.port):
                    return self.answer(tcp, "proxy", "tcp")
                for claim in self.claims.values():
                    if claim.remote and claim.remote.port is not None and claim.agrees_with(inherited.peername):
                        local = inherited.sockname if isinstance(inherited.sockname, Endpoint) else None
                        return self.answer(claim, "proof", self.transport(), kernel=(inherited.peername, local))
        if self.proxied and (tcp := self.claims.get("TCP")) is not None and tcp.remote is not None:
            return self.answer(tcp, "proxy", self.transport(), contradictions=False)
        facts = self.facts
        for name, claim in self.claims.items():
            if claim.family.remote_ip.endswith(_SOCAT_SUFFIX) and self.is_ours(self.environ.get(f"{name}_PID")):
                if claim.remote is not None:
                    return self.answer(claim, "proof", self.transport())
                path = self.environ[claim.family.remote_ip]
                if path.startswith(("/", "\\0", "<anon>")):  # socat's words for UNIX-domain callers
                    path = "@" + path[2:] if path.startswith("\\0") else path
                    return Connection(
                        unix=UnixPeer(path=path if path[0] in "/@" else None), dialect="socat", evidence="proof"
                    )
        addr = self.claims.get(ADDR.name)
        if addr is not None and addr.remote is not None:
            if facts.pid is not None and self.environ.get("SYSTEMD_EXEC_PID") == str(facts.pid):
                return self.answer(addr, "proof", "tcp", dialect="systemd")
            if self.environ.get("GATEWAY_INTERFACE"):
                return self.answer(addr, "proof" if facts.pid is not None else "unconfirmed", "tcp", dialect="cgi")
        return None

    def unconfirmed(self) -> Connection:
        """Step 6: nothing vouches for any of it; PROTO decides which family to name."""
        usable = {name: claim for name, claim in self.claims.items() if claim.remote is not None}
        for name in _order(self.environ.get("PROTO"), tuple(self.claims)):
            if name in usable:
                claim = usable[name]
                if claim.family is SSH:
                    if self.interactive():
                        break
                    self.problem(
                        "ssh-session",
                        "warning",
                        "SSH_CONNECTION",
                        f"only SSH_CONNECTION names a peer: {claim.remote}, who logged in by ssh",
                        "a service needs a super-server; a login's own variables say nothing about a service's callers",
                    )
                return self.answer(claim, "unconfirmed", self.transport())
        self.raise_for_nothing()
        raise AssertionError  # pragma: no cover - raise_for_nothing never returns

    def raise_for_nothing(self) -> None:
        for claim in self.claims.values():
            if claim.error is not None:
                raise claim.error
        from ucspi_env._errors import MissingVariableError, NotUnderSuperServerError

        proto = self.environ.get("PROTO")
        if proto in ("TCP", "TCP6", "UDP", "SSL", "SSL6"):
            name = "SSLREMOTEIP" if proto.startswith("SSL") else "TCPREMOTEIP"
            raise MissingVariableError(
                name,
                f"PROTO={shown(proto)} announces a connection that nothing names; have the super-server set it",
            )
        raise NotUnderSuperServerError(
            f"no super-server speaks: descriptor {self.facts.fd} is no connected socket, no variable names a peer; "
            "start the program under one, for example: ucspi-tcpserver ::0 7777 PROGRAM"
        )

    # -- the answer --

    def answer(
        self,
        claim: Claim,
        evidence: Evidence,
        transport: Transport,
        *,
        kernel: tuple[Endpoint, Endpoint | None] | None = None,
        dialect: str | None = None,
        tls: bool | None = None,
        contradictions: bool = True,
    ) -> Connection:
        """Answer with ``claim``; ``kernel`` has the true endpoints where it knows better than the variables."""
        remote, local = claim.remote, claim.local
        assert remote is not None  # noqa: S101 - callers choose usable claims
        if kernel is not None:
            peer, here = kernel
            if evidence != "operator":
                remote = Endpoint(peer.ip, peer.port, peer.zone or remote.zone, remote.host, remote.info)
            if here is not None:
                local = Endpoint(here.ip, here.port, here.zone, local.host if local else self.local_host(claim))
        self.problems.extend(claim.problems)
        if contradictions:
            for other in self.claims.values():
                rule_left_it = evidence in ("operator", "proxy") and kernel is not None and other.agrees_with(kernel[0])
                if (
                    other is not claim
                    and other.family is not SSH
                    and not other.agrees_with(remote)
                    and not rule_left_it
                ):
                    self.contradicted(other, f"{claim.family.remote_ip} says {remote.ip}")
        if dialect is None:
            ssl = self.claims.get(SSL.name)
            if ssl is not None and ssl is not claim and ssl.remote is not None and ssl.agrees_with(remote):
                claim = ssl  # sslserver -e: the TCP names are its courtesy
            dialect = _dialect_of(self.environ, claim)
        return self.conclude(remote, local, dialect, evidence, transport, tls=tls)

    def conclude(
        self,
        remote: Endpoint,
        local: Endpoint | None,
        dialect: str,
        evidence: Evidence,
        transport: Transport,
        *,
        tls: bool | None = None,
    ) -> Connection:
        for name, values in self.facts.duplicates:
            if name in _WATCHED:
                self.problem(
                    "duplicate-variable",
                    "warning",
                    name,
                    f"{name} stands {len(values)} times in the environment: the first is used; a shell keeps the last",
                    "do not put a shell between the super-server and the program",
                )
        if tls is None:
            tls = dialect.startswith("sslserver") or (
                evidence not in ("kernel", "confirmed")
                and ("SSL_PROTOCOL" in self.environ or "SSL_CIPHER" in self.environ)
            )
        return Connection(
            remote=remote,
            local=local,
            transport=transport,
            tls=tls,
            raw_proto=self.environ.get("PROTO"),
            dialect=dialect,
            evidence=evidence,
            problems=tuple(self.problems),
        )

    # -- helpers --

    def problem(self, code: str, severity: str, variable: str, message: str, hint: str) -> None:
        self.problems.append(
            Problem(code, severity, variable, self.environ.get(variable), message, hint)  # type: ignore[arg-type]
        )

    def contradicted(self, claim: Claim, by: str) -> None:
        name = claim.family.remote_ip
        value = self.environ.get(name, "")
        if claim.error is not None:
            if value:
                self.problem(
                    "bad-address", "warning", name, f"{name}={shown(value)} {claim.error.why}", claim.error.remedy
                )
            return
        self.problem(
            "stale-variables",
            "warning",
            name,
            f"{name}={shown(value)} names another peer: {by}",
            "left over from another server, or rewritten by a PROXY wrapper; for the latter set UCSPI_TRUST=proxy",
        )

    def balancer(self) -> tuple[object, int] | None:
        """The address and port in UCSPI_PROXY_PEER, if it is well formed."""
        text = self.environ.get(PROXY_PEER)
        if not text:
            return None
        address, port = split_port(text)
        try:
            return (Endpoint(address).ip, parse_port(port)) if port is not None else None
        except ValueError:
            return None

    def local_host(self, claim: Claim) -> str | None:
        name = claim.family.local_host
        if claim.family.local_ip is not None or name is None:
            return None
        return self.environ.get(name)

    def is_ours(self, pid: str | None) -> bool:
        """Whether this is the id of this process, its parent, or its grandparent through one shell."""
        facts = self.facts
        return pid is not None and pid in [str(own) for own in (facts.pid, facts.ppid, facts.grandparent) if own]

    def transport(self) -> Transport:
        environ = self.environ
        return "udp" if environ.get("PROTO") == "UDP" or environ.get("NCAT_PROTO") == "UDP" else "tcp"

    def interactive(self) -> bool:
        descriptor = self.facts.descriptor(self.facts.fd)
        return descriptor is not None and descriptor.kind == "chr"

    def read_id(self, name: str) -> int | None:
        text = self.environ.get(name)
        if not text:
            return None
        if not (text.isascii() and text.isdigit() and len(text) <= 10):
            self.problem(
                "bad-id", "error", name, f"{name}={shown(text)} is not a number", "have the super-server set it"
            )
            return None
        return int(text)

    def unix_dialect(self, proto: str) -> str:
        if proto == "UNIX":
            return "ucspi-unix" if "UNIXLOCALPID" in self.environ else "nosh"
        return "s6-ipcserver" if "IPCCONNNUM" in self.environ else "ucspi-ipc"


def _families(environ: Mapping[str, str]) -> list[Family]:
    """The families to read, the most telling first."""
    found: list[Family] = []
    proto = environ.get("PROTO", "")
    if proto.startswith("SSL"):
        found.append(SSL)
    # busybox removes nothing: where TCPREMOTEADDR stands, a TCPREMOTEIP is somebody else's.
    found += (TCPADDR, UDPADDR) if "TCPREMOTEADDR" in environ or "UDPREMOTEADDR" in environ else ()
    found += (TCP, TCP6)
    if SSL not in found:
        found.append(SSL)
    found += (ADDR, HOST, NCAT)
    found += [prefixed(name[: -len(_SOCAT_SUFFIX)]) for name in environ if name.endswith(_SOCAT_SUFFIX)]
    found.append(SSH)
    return found


def _order(proto: str | None, present: Sequence[str]) -> tuple[str, ...]:
    """Names of families in the order of belief for one value of PROTO."""
    prefixed_names = tuple(name for name in present if name not in _FIXED)
    rest = ("TCPADDR", "TCP", "TCP6", "NCAT", *prefixed_names, "REMOTE_HOST", "REMOTE_ADDR", "SSL", "UDPADDR", "SSH")
    if proto and proto.startswith("SSL"):
        return ("SSL", *rest)
    if proto == "UDP":
        return ("UDPADDR", *rest)
    return rest


_FIXED = frozenset(family.name for family in (TCP, TCP6, SSL, TCPADDR, UDPADDR, ADDR, HOST, NCAT, SSH))
_WATCHED = frozenset(name for family in (TCP, SSL, TCPADDR, ADDR, HOST) for name in family.names)


def _dialect_of(environ: Mapping[str, str], claim: Claim) -> str:
    """Which program speaks like this; a label, nothing depends on it."""
    family, remote = claim.family, claim.remote
    proto = environ.get("PROTO", "")
    assert remote is not None  # noqa: S101 - callers have a usable claim
    if family is TCP or family is TCP6:
        return _tcp_dialect(environ, proto, remote)
    if family is SSL:
        return "sslserver-ipv6" if proto == "SSL6" or "SSLCTLFD" in environ else "sslserver"
    if family is TCPADDR:
        return "busybox-tcpsvd"
    if family is UDPADDR:
        return "busybox-udpsvd"
    if family is HOST:
        return (
            "stunnel"
            if remote.port is not None and environ.get("REMOTE_PORT") and "REMOTE_ADDR" not in environ
            else "xinetd"
        )
    if family is ADDR:
        if environ.get("GATEWAY_INTERFACE"):
            return "cgi"
        return "git-daemon" if "GIT_DIR" in environ or environ["REMOTE_ADDR"].startswith("[") else "systemd"
    if family is NCAT:
        return "ncat"
    return "sshd" if family is SSH else "socat"


def _tcp_dialect(environ: Mapping[str, str], proto: str, remote: Endpoint) -> str:
    ipv6 = remote.ip.version == 6
    text = environ.get("TCPREMOTEIP", "")
    twin = environ.get("TCP6REMOTEIP")
    if PROXY_PEER in environ:
        return "proxy"
    if not proto:
        return "tlswrapper" if "LOG_ID" in environ or ":" not in text else "couriertcpd"
    if proto == "UDP":
        return "udplisten"
    if proto.startswith("SSL"):
        return "sslserver"
    if proto == "TCP6":
        return "ucspi-tcp-ipv6" if twin else "ucspi-tcp6"
    if twin and not ipv6 and twin == f"::ffff:{remote.ip}":
        return "ucspi-tcp-ipv6"
    if "TCPCONNNUM" in environ or environ.get("TCPLOCALIP") in ("0.0.0.0", "::"):  # noqa: S104 - compared, not bound
        return "s6-networking"
    if not ipv6 and ":" not in text:
        return "ipsvd" if "TCPCONCURRENCY" in environ else "ucspi-tcp"
    if "%" in text or "TCPREMOTEHOST" in environ:
        return "inetutils-inetd"
    return "nosh"
