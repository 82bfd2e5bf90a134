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

from ucspi_env._address import is_unspecified, parse_port, split_port
from ucspi_env._model import Connection, Endpoint
from ucspi_env._variables import (
    ADDR,
    HOST,
    NCAT,
    PROXY_PEER,
    SOCAT_SUFFIX,
    SSH,
    SSL,
    TCP,
    TCP6,
    TCPADDR,
    TRUST,
    UDPADDR,
    prefixed,
    read_claim,
)

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Mapping

    from ucspi_env._facts import Descriptor, Facts
    from ucspi_env._model import Evidence, Problem, Transport
    from ucspi_env._variables import Claim, Family

_FIRST_HANDED_OVER = 3  # SD_LISTEN_FDS_START
_FIRST_EPHEMERAL = 1024  # no system gives out a lower port where none is asked for
_TRUSTS = ("kernel", "proxy")


def identify(environ: "Mapping[str, str]", facts: "Facts", *, trust: str = "kernel") -> "Connection":
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
    return Case(environ, facts, proxied=trust == "proxy" or environ.get(TRUST) == "proxy").decide()


class Case:
    """One environment under judgement."""

    def __init__(self, environ: "Mapping[str, str]", facts: "Facts", *, proxied: bool) -> None:
        self.facts = facts
        self.proxied = proxied
        self.appended = _appended(facts) if proxied and facts.duplicates else {}
        self.environ = environ = {**environ, **self.appended} if self.appended else environ
        self.problems: list[Problem] = []
        self.claims: dict[str, Claim] = {}
        for family in _families(environ):
            claim = read_claim(family, environ)
            if claim is not None:
                self.claims[family.name] = claim
            elif family.remote_port is not None and environ.get(family.remote_port):
                self.half_set(family)

    # -- the steps --

    def decide(self) -> "Connection":
        facts = self.facts
        socket = facts.connected()
        if socket is not None:
            return self.with_kernel(socket)
        self.refuse_unconnected(facts.fd)
        handed_over = self.handed_over()
        if handed_over is not None:
            if isinstance(handed_over.peername, Endpoint):
                return self.with_kernel(handed_over, kernel_dialect="socket-activation")
            self.refuse_unconnected(_FIRST_HANDED_OVER)
        from ucspi_env import _hearsay

        return _hearsay.decide(self, handed_over or facts.descriptor(facts.fd))

    def with_kernel(self, socket: "Descriptor", kernel_dialect: str = "inetd") -> "Connection":
        peer, local = socket.peername, socket.sockname
        assert isinstance(peer, Endpoint)  # noqa: S101 - what Facts.connected promises
        here = local if isinstance(local, Endpoint) and not is_unspecified(local.ip) else None
        transport: Transport = "udp" if socket.type == "dgram" else "tcp"
        tcp = self.claims.get("TCP")

        if tcp is not None and tcp.remote is not None:
            if self.balancer() == (peer.ip, peer.port):
                return self.answer(tcp, "proxy", transport, dialect="proxy")
            if self.proxied and not tcp.agrees_with(peer):
                return self.answer(tcp, "proxy", transport, contradictions=False)
            if tcp.remote.ip != peer.ip and here is not None and self.same_ports(tcp, peer, here):
                from ucspi_env import _findings

                self.problems.append(_findings.operator_rule(self.environ, peer, tcp.remote))
                return self.answer(tcp, "operator", transport, kernel=(peer, here), tls=False)
        elif self.proxied or self.balancer() == (peer.ip, peer.port):
            from ucspi_env import _findings

            self.problems.append(_findings.missing_caller(self.environ, peer))
        for claim in self.claims.values():
            if claim.agrees_with(peer) and claim.family is not SSH:
                return self.answer(claim, "confirmed", transport, kernel=(peer, here), tls=False)
        stunnel = self.stunnel(peer, here)
        if stunnel is not None:
            return stunnel
        for claim in self.claims.values():
            if claim.family is not SSH:
                self.contradicted(claim, f"the kernel says {peer}")
        return self.conclude(peer, here, kernel_dialect, "kernel", transport, tls=False)

    def same_ports(self, tcp: "Claim", peer: "Endpoint", here: "Endpoint") -> bool:
        """Whether all but the caller's address in the TCP variables is this connection's: then a rule replaced that.

        TCPLOCALPORT is read on its own, since s6 keeps the listener's 0.0.0.0 beside it, which makes no local endpoint.
        """
        assert tcp.remote is not None  # noqa: S101 - callers choose usable claims
        return (
            tcp.remote.port == peer.port
            and self.environ.get("TCPLOCALPORT") == str(here.port)
            and (tcp.local is None or tcp.local.ip == here.ip)
        )

    def stunnel(self, peer: "Endpoint", here: "Endpoint | None") -> "Connection | None":
        """REMOTE_HOST and REMOTE_PORT beside a loopback pair that they do not name: stunnel's own socket pair.

        A genuine local caller of an inetd that inherited these two looks the same, so the answer never comes without a
        problem, unless the names stand twice: stunnel puts its own before inherited ones, which nobody else does.
        """
        claim = self.claims.get(HOST.name)
        if here is None or claim is None or claim.remote is None or claim.remote.port is None:
            return None
        ends = (peer, here)
        if any(str(end.ip) != "127.0.0.1" or (end.port or 0) < _FIRST_EPHEMERAL for end in ends):
            return None
        if HOST.remote_ip not in (name for name, _ in self.facts.duplicates):
            contradicted = any(
                other is not claim
                and other.family is not SSH
                and (other.family is ADDR or not other.agrees_with(claim.remote))
                for other in self.claims.values()
            )
            from ucspi_env import _findings

            self.problems.append(
                _findings.stunnel_or_stale(self.environ, self.facts.fd, claim.remote, contradicted=contradicted)
            )
        return self.answer(claim, "proof", "tcp", dialect="stunnel")

    def refuse_unconnected(self, fd: int) -> None:
        """Step 2: raise for a socket that has no peer yet; variables do not count beside it."""
        socket = self.facts.descriptor(fd)
        if socket is None or not (socket.inet or socket.family == "unix"):
            return
        # Credentials on a listening UNIX-domain socket are those of whoever called listen(2).
        if not socket.listening and (socket.peername is not None or socket.peercred is not None):
            return
        from ucspi_env import _findings

        raise _findings.no_peer_yet(fd, socket)

    def handed_over(self) -> "Descriptor | None":
        facts = self.facts
        if facts.fd != 0 or facts.pid is None or self.environ.get("LISTEN_PID") != str(facts.pid):
            return None
        return facts.descriptor(_FIRST_HANDED_OVER)

    # -- the answer --

    def answer(
        self,
        claim: "Claim",
        evidence: "Evidence",
        transport: "Transport",
        *,
        kernel: "tuple[Endpoint, Endpoint | None] | None" = None,
        dialect: "str | None" = None,
        tls: "bool | None" = None,
        contradictions: bool = True,
    ) -> "Connection":
        """Answer with ``claim``; ``kernel`` has the true endpoints where it knows better than the variables."""
        remote, local = claim.remote, claim.local
        assert remote is not None  # noqa: S101 - callers choose usable claims
        if kernel is not None:
            peer, here = kernel
            if evidence != "operator":
                remote = _named(peer, peer.zone or remote.zone, remote.host, remote.info)
            if here is not None:
                local = _named(here, here.zone, local.host if local else None)
        self.problems.extend(claim.problems)
        if contradictions:
            for other in self.claims.values():
                if other is claim or other.family is SSH or other.agrees_with(remote):
                    continue
                # A rule leaves the kernel's address in the other families.
                if kernel is None or not other.agrees_with(kernel[0]):
                    self.contradicted(other, f"{claim.family.remote_ip} says {remote.ip}")
        if dialect is None:
            ssl = self.claims.get(SSL.name)
            if ssl is not None and ssl.agrees_with(remote):
                claim = ssl  # sslserver -e: the TCP names are its courtesy
            dialect = _dialect_of(self.environ, claim, remote, transport)
        if tls is None:
            tls = dialect in _TLS_DIALECTS or (
                claim.family is TCP and transport == "tcp" and "SSL_PROTOCOL" in self.environ  # s6-tlsd, PROXY
            )
        return self.conclude(remote, local, dialect, evidence, transport, tls=tls)

    def conclude(
        self,
        remote: "Endpoint",
        local: "Endpoint | None",
        dialect: str,
        evidence: "Evidence",
        transport: "Transport",
        *,
        tls: bool,
    ) -> "Connection":
        for name, values in self.facts.duplicates:
            if any(name in family.names for family in (TCP, SSL, TCPADDR, ADDR, HOST)):
                from ucspi_env import _findings

                used = "last" if name in self.appended else "first"
                self.problems.append(_findings.duplicate(self.environ, name, len(values), used))
        proto = self.environ.get("PROTO")
        if proto in ("UNIX", "IPC"):
            from ucspi_env import _findings

            self.problems.append(_findings.proto_mismatch(self.environ, remote))
        return Connection(
            remote=remote,
            local=local,
            transport=transport,
            tls=tls,
            raw_proto=proto,
            dialect=dialect,
            evidence=evidence,
            problems=tuple(self.problems),
        )

    # -- helpers --

    def half_set(self, family: "Family") -> None:
        """A port without its address."""
        if family is ADDR or (family is HOST and self.environ.get(ADDR.remote_ip)):
            return  # the two share REMOTE_PORT, which is told once
        from ucspi_env import _findings

        self.problems.append(_findings.missing_address(self.environ, family.remote_port or "", family.remote_ip))

    def contradicted(self, claim: "Claim", by: str) -> None:
        from ucspi_env import _findings

        if claim.error is None:
            self.problems.append(_findings.stale(self.environ, claim.family.remote_ip, by))
        else:
            self.problems.append(_findings.bad_address(self.environ, claim.error))

    def balancer(self) -> "tuple[object, int] | None":
        """The address and port in UCSPI_PROXY_PEER, if it is well formed."""
        text = self.environ.get(PROXY_PEER)
        if not text:
            return None
        address, port = split_port(text)
        try:
            return (Endpoint(address).ip, parse_port(port)) if port is not None else None
        except ValueError:
            return None


def _appended(facts: "Facts") -> "dict[str, str]":
    """What a PROXY wrapper added behind variables of the same names, as ucspi-pp does.

    Only its user knows that there is one (``trust="proxy"``); everybody else reads the first of each.
    """
    return {name: values[-1] for name, values in facts.duplicates if name in TCP.names}


def _families(environ: "Mapping[str, str]") -> "list[Family]":
    """The families to read, the most telling first."""
    found: list[Family] = []
    ssl_first = environ.get("PROTO", "").startswith("SSL")
    if ssl_first:
        found.append(SSL)
    # busybox removes nothing: where TCPREMOTEADDR stands, a TCPREMOTEIP is somebody else's.
    found += (TCPADDR, UDPADDR) if "TCPREMOTEADDR" in environ or "UDPREMOTEADDR" in environ else ()
    found += (TCP, TCP6)
    if not ssl_first:
        found.append(SSL)
    found += (ADDR, HOST, NCAT)
    found += [prefixed(name[: -len(SOCAT_SUFFIX)]) for name in environ if name.endswith(SOCAT_SUFFIX)]
    found.append(SSH)
    return found


def _named(end: "Endpoint", zone: "str | None", host: "str | None", info: "str | None" = None) -> "Endpoint":
    """An endpoint as the kernel knows it, with what only variables tell."""
    if zone == end.zone and host is None and info is None:
        return end
    return Endpoint(end.ip, end.port, zone, host, info)


_TLS_DIALECTS = ("sslserver", "sslserver-e", "sslserver-ipv6", "stunnel", "tlswrapper")


def _dialect_of(environ: "Mapping[str, str]", claim: "Claim", remote: "Endpoint", transport: "Transport") -> str:
    """Which program speaks like this; a label, no decision depends on it."""
    family = claim.family
    if family is TCP or family is TCP6:
        return _tcp_dialect(environ, remote, transport)
    if family is SSL:
        proto = environ.get("PROTO", "")
        return {"SSL6": "sslserver-ipv6", "TCP": "sslserver-e", "TCP6": "sslserver-e"}.get(proto, "sslserver")
    if family is TCPADDR:
        return "busybox-tcpsvd"
    if family is UDPADDR:
        return "busybox-udpsvd"
    if family is HOST:
        return "stunnel" if claim.remote and claim.remote.port is not None and ADDR.name not in environ else "xinetd"
    if family is ADDR:
        if environ.get("GATEWAY_INTERFACE"):
            return "cgi"
        return "git-daemon" if "GIT_DIR" in environ or environ["REMOTE_ADDR"].startswith("[") else "systemd"
    if family is NCAT:
        return "ncat"
    return "sshd" if family is SSH else "socat"


def _tcp_dialect(environ: "Mapping[str, str]", remote: "Endpoint", transport: "Transport") -> str:
    text = environ.get("TCPREMOTEIP", "")
    proto = environ.get("PROTO", "")
    if transport == "udp":
        return "udplisten"
    if proto.startswith("SSL") and not text.startswith("::ffff:"):
        return "sslserver"
    if proto == "IPC":  # proxy-server, which leaves the balancer's TCP variables beside a UNIX-domain caller
        return "s6-networking"
    if not proto.startswith("TCP"):  # neither sets PROTO, and neither removes another's
        return "couriertcpd" if ":" in text and "LOG_ID" not in environ else "tlswrapper"
    twin = "TCP6REMOTEIP" in environ and environ.get("TCPREMOTEPORT") in (None, environ.get("TCP6REMOTEPORT"))
    if proto == "TCP6":
        return "ucspi-tcp-ipv6" if twin else "ucspi-tcp6"
    if twin and remote.ip.version == 4:
        return "ucspi-tcp-ipv6"
    if "TCPCONNNUM" in environ or environ.get("TCPLOCALIP") in ("0.0.0.0", "::"):  # noqa: S104 - compared, not bound
        return "s6-networking"
    if ":" not in text:
        return "ipsvd" if "TCPCONCURRENCY" in environ else "ucspi-tcp"
    return "inetutils-inetd" if "%" in text or "TCPREMOTEHOST" in environ else "nosh"
