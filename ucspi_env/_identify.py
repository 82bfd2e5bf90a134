"""The decision: who is calling, given an environment and what the kernel says. Pure.

Why this order. Every variable can be inherited from somewhere else, and hardly a super-server removes what another
one set; so a variable is believed because something vouches for it, never because it is there. The kernel is asked
first, since a connected INET socket cannot lie about its peer; with one exception, stunnel, whose child gets a
private loopback pair. Over 1090 recorded environments of 39 super-servers (tests/captures) "TCPREMOTEIP, else
REMOTE_ADDR, else getpeername" is right 758 times, this order always where anything in reach tells the truth, and it
says so where nothing does.

Rule 1: only names that are listed count (`ucspi_env._dialects.DECISIVE`). Clients choose other names, and values, of
variables: request headers (``HTTP_*``), what sshd accepts (``LC_*``). So the environment is never searched for names.
Rule 2: a claim is proved by something that it cannot bring along: a socket that the kernel shows. A process id beside
the claim is not such a thing, since ids can be guessed.

Step 1  A connected INET socket: a PROXY wrapper of ours, an operator's rule, agreeing variables, stunnel's pair, the
kernel.
Step 2  A listening or unconnected socket: there is no peer yet, whatever variables say.
Step 3  A socket handed over on descriptor 3 (LISTEN_PID): as steps 1 and 2.
Step 4  A UNIX-domain socket with a name: a PROXY wrapper, a web server's CGI program, else credentials.
Step 5  A pipe, terminal or unnamed pair: a connected socket that leaked, the socket of the relay at the other end, the
operator's word, a sign of freshness.
Step 6  Nothing of that: the claim that PROTO points at, "unconfirmed". Nothing at all: an error, never an invented
peer.
"""

from ucspi_env._address import is_unspecified, parse_port, split_port
from ucspi_env._model import Connection, Endpoint
from ucspi_env._variables import (
    ADDR,
    HOST,
    NCAT,
    PROXY_PEER,
    SOCAT,
    SSH,
    SSL,
    TCP,
    TCP6,
    TCPADDR,
    TRUST,
    UDPADDR,
    read_claim,
)

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Mapping

    from ucspi_env._facts import Descriptor, Facts
    from ucspi_env._model import Evidence, Problem, Transport
    from ucspi_env._relay import Relay
    from ucspi_env._variables import Claim, Family

_FIRST_HANDED_OVER = 3  # SD_LISTEN_FDS_START
_NO_WORDS: "frozenset[str]" = frozenset()


def identify(environ: "Mapping[str, str]", facts: "Facts", *, trust: "str | None" = None) -> "Connection":
    """Decide who is calling.

    Args:
        environ: the environment to judge; an empty variable counts as unset.
        facts: what the kernel says; ``Facts()`` where the environment is to be judged alone.
        trust: what else to believe, words separated by commas. None: the operator's ``UCSPI_TRUST`` in the
            environment, which any other value replaces. ``"kernel"``: nothing else. ``"proxy"``: the variables of a
            PROXY wrapper that leaves no proof outrank the kernel's peer. ``"rules"``: a rule that replaces TCPREMOTEIP
            needs no mark. ``"stunnel"``: a loopback pair beside REMOTE_HOST and REMOTE_PORT is stunnel's.
            ``"socat:PREFIX"``: the variables of a socat that was called by that name are fresh.

    Raises:
        NoPeerYetError: the descriptor is listening or unconnected.
        MissingVariableError: the environment announces a connection but not who calls.
        BadVariableError: the only variables there are cannot be used.
        NotUnderSuperServerError: no descriptor and no variable names a peer.
        ValueError: ``trust`` has a word without a meaning.
    """
    words, unknown = _NO_WORDS, None
    text = environ.get(TRUST) if trust is None else trust
    if text and text != "kernel":
        from ucspi_env._trust import trusted_words

        words, unknown = trusted_words(text)
        if unknown is not None and trust is not None:
            msg = f"trust={trust!r}: {unknown!r} is not kernel, proxy, rules, stunnel or socat:PREFIX"
            raise ValueError(msg)
    case = Case(environ, facts, words)
    if unknown is not None:
        from ucspi_env import _findings

        case.problems.append(_findings.bad_trust(environ, unknown))
    return case.decide()


class Case:
    """One environment under judgement."""

    def __init__(self, environ: "Mapping[str, str]", facts: "Facts", words: "frozenset[str]") -> None:
        self.facts = facts
        self.words = words
        self.proxied = proxied = "proxy" in words
        self.appended: dict[str, str] = {}
        if proxied and facts.duplicates:
            from ucspi_env import _hearsay

            self.appended = _hearsay.appended(facts, environ)
        self.environ = environ = {**environ, **self.appended} if self.appended else environ
        self.problems: list[Problem] = []
        self.claims: dict[str, Claim] = {}
        # In CGI this is a name out of reverse DNS (RFC 3875, 4.1.9), which the client chooses.
        host_is_a_name = bool(environ.get("GATEWAY_INTERFACE") and environ.get(ADDR.remote_ip))
        for family in _families(environ, words):
            if family is HOST and host_is_a_name:
                continue
            claim = read_claim(family, environ)
            if claim is not None:
                self.claims[family.name] = claim
            elif family.remote_port is not None and environ.get(family.remote_port):
                self.half_set(family)

    # -- the steps --

    def decide(self) -> "Connection":
        facts = self.facts
        socket = facts.connected()
        if socket is not None and socket is not facts.descriptor(facts.fd):
            from ucspi_env import _hearsay

            if not _hearsay.output_counts(self, socket):
                socket = None
        if socket is not None:
            found = self.with_kernel(socket)
            assert found is not None  # noqa: S101 - only a relay's socket can leave it open
            return found
        self.refuse_unconnected(facts.fd)
        handed_over = self.handed_over()
        if handed_over is not None:
            if isinstance(handed_over.peername, Endpoint):
                found = self.with_kernel(handed_over, kernel_dialect="socket-activation")
                assert found is not None  # noqa: S101 - as above
                return found
            self.refuse_unconnected(_FIRST_HANDED_OVER)
        from ucspi_env import _hearsay

        return _hearsay.decide(self, handed_over or facts.descriptor(facts.fd))

    def with_kernel(
        self, socket: "Descriptor", kernel_dialect: str = "inetd", relay: "Relay | None" = None
    ) -> "Connection | None":
        """The answer where the kernel shows the connection's socket.

        Args:
            socket: it: the program's own, or the relay's.
            kernel_dialect: the name of what speaks where no variable does.
            relay: whose socket it is, if it is not the program's.

        Returns:
            None where a relay's socket does not settle it: no claim agrees with its peer, and the relay may have
            dialled it (``curl … | program``).
        """
        peer, local = socket.peername, socket.sockname
        assert isinstance(peer, Endpoint)  # noqa: S101 - what Facts.connected promises
        here = local if isinstance(local, Endpoint) and not is_unspecified(local.ip) else None
        transport: Transport = "udp" if socket.type == "dgram" else "tcp"
        tcp = self.claims.get("TCP")

        if tcp is not None and tcp.remote is not None:
            if self.marked(PROXY_PEER, peer):
                return self.answer(tcp, "proxy", transport, dialect="proxy", relay=relay)
            if self.proxied and not tcp.agrees_with(peer):
                return self.answer(tcp, "proxy", transport, contradictions=False, relay=relay)
            if tcp.remote.ip != peer.ip:
                from ucspi_env import _hearsay

                ruled = _hearsay.by_rule(self, tcp, peer, here, transport, relay)
                if ruled is not None:
                    return ruled
        elif self.proxied or self.marked(PROXY_PEER, peer):
            from ucspi_env import _findings

            self.problems.append(_findings.missing_caller(self.environ, peer))
        evidence: Evidence = "confirmed" if relay is None else "relay"
        for claim in self.claims.values():
            # A login's variables are inherited by all that it starts.
            if claim.agrees_with(peer) and claim.family is not SSH:
                if relay is not None:
                    from ucspi_env import _hearsay

                    peer = _hearsay.relayed_peer(relay, claim, peer)
                return self.answer(claim, evidence, transport, kernel=(peer, here), tls=False, relay=relay)
        if relay is not None or HOST.name in self.claims:
            from ucspi_env import _hearsay

            if relay is None:
                found = _hearsay.stunnel(self, peer, here)
            else:
                found = _hearsay.login(self, relay, peer, here)
                if found is None and _hearsay.may_have_dialled(self, relay):
                    return None
            if found is not None:
                return found
        for claim in self.claims.values():
            if claim.family is not SSH:
                self.contradicted(claim, f"the kernel says {peer}")
        evidence = "kernel" if relay is None else "relay"
        return self.conclude(peer, here, kernel_dialect, evidence, transport, tls=False, relay=relay)

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
        relay: "Relay | None" = None,
        vouched: "bool | None" = None,
    ) -> "Connection":
        """Answer with ``claim``.

        Args:
            claim: what to answer with; its ``remote`` is usable.
            evidence: why it is believed.
            transport: of the connection.
            kernel: the true endpoints, where the kernel knows better than the variables.
            dialect: what spoke; None to find out.
            tls: whether the one who spoke says that TLS was taken off; None to find out.
            contradictions: whether claims of other peers are problems.
            relay: the process whose socket was the witness.
            vouched: whether access control may rely on it; None where ``evidence`` says that.
        """
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
            tls = dialect in _TLS_DIALECTS
        return self.conclude(remote, local, dialect, evidence, transport, tls=tls, relay=relay, vouched=vouched)

    def conclude(
        self,
        remote: "Endpoint",
        local: "Endpoint | None",
        dialect: str,
        evidence: "Evidence",
        transport: "Transport",
        *,
        tls: bool,
        relay: "Relay | None" = None,
        vouched: "bool | None" = None,
    ) -> "Connection":
        if any(map(self.environ.get, _TLS_VARIABLES)):
            tls = True
            if dialect not in _TELLS_TLS and (relay is None or not relay.takes_tls_off):
                from ucspi_env import _findings

                name = next(filter(self.environ.get, _TLS_VARIABLES))
                self.problems.append(_findings.tls_unconfirmed(self.environ, name, dialect))
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
            relay=relay,
            vouched=vouched,
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

    def marked(self, name: str, peer: "Endpoint") -> bool:
        """Whether one of our own tools has written this peer into variable ``name``."""
        text = self.environ.get(name)
        if not text:
            return False
        address, port = split_port(text)
        try:
            return port is not None and parse_port(port) == peer.port and Endpoint(address).ip == peer.ip
        except ValueError:
            return False


def _families(environ: "Mapping[str, str]", words: "frozenset[str]") -> "list[Family]":
    """The families to read, the most telling first. No name is searched for: clients can choose names."""
    found: list[Family] = []
    ssl_first = environ.get("PROTO", "").startswith("SSL")
    if ssl_first:
        found.append(SSL)
    # busybox removes nothing: where TCPREMOTEADDR stands, a TCPREMOTEIP is somebody else's.
    found += (TCPADDR, UDPADDR) if "TCPREMOTEADDR" in environ or "UDPREMOTEADDR" in environ else ()
    found += (TCP, TCP6)
    if not ssl_first:
        found.append(SSL)
    found += (ADDR, HOST, NCAT, SOCAT)
    if words:
        from ucspi_env._trust import socat_families

        found += [family for family in socat_families(words) if family is not SOCAT]
    found.append(SSH)
    return found


def _named(end: "Endpoint", zone: "str | None", host: "str | None", info: "str | None" = None) -> "Endpoint":
    """An endpoint as the kernel knows it, with what only variables tell."""
    if zone == end.zone and host is None and info is None:
        return end
    return Endpoint(end.ip, end.port, zone, host, info)


_TLS_DIALECTS = ("sslserver", "sslserver-e", "sslserver-ipv6", "stunnel", "tlss", "tlswrapper")
_TELLS_TLS = (*_TLS_DIALECTS, "cgi", "proxy", "socat")
"""What speaks of TLS by `_TLS_VARIABLES` itself, or takes it off."""
_TLS_VARIABLES = (
    "SSL_PROTOCOL",
    "SOCAT_OPENSSL_PROTO_VERSION",
    "SOCAT_OPENSSL_CIPHER",
    "SOCAT_OPENSSL_X509_SUBJECT",
    "SOCAT_OPENSSL_X509_ISSUER",
)


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
        # Net::Server::HTTP leaves GATEWAY_INTERFACE out; of those who write REMOTE_ADDR only web servers tell where
        # they were called.
        if environ.get("GATEWAY_INTERFACE") or environ.get("SERVER_ADDR"):
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
        return "tlss"  # sslserver's own name for it, SSLREMOTEIP, is not there
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
