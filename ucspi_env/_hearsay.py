"""Steps 4 to 6 of `ucspi_env._identify`: who is calling where no connected INET socket says it. Pure.

And the rarer cases of step 1: a rule, stunnel's pair, another process's socket.

What is left are credentials, sockets that others hold for the program, and claims that nothing proves. Imported
then only, since the usual server has its caller's socket on descriptor 0.
"""

from ucspi_env._model import Connection, Endpoint
from ucspi_env._variables import ADDR, HOST, NCAT, PROXY_PEER, RULE_PEER, SOCAT, SSH, TCP, TCP6, UDPADDR

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Mapping

    from ucspi_env._facts import Descriptor, Facts
    from ucspi_env._identify import Case
    from ucspi_env._model import Evidence, Transport
    from ucspi_env._relay import Relay
    from ucspi_env._variables import Claim, Family

_FIRST_EPHEMERAL = 1024  # no system gives out a lower port where none is asked for


def decide(case: "Case", socket: "Descriptor | None") -> "Connection":
    """The answer of steps 4 to 6, or the error that says why there is none.

    Args:
        case: what is to be judged.
        socket: the descriptor that is meant to be the connection, as far as it is known.
    """
    return _by_unix_socket(case, socket) or _with_proof(case) or _unconfirmed(case)


def _by_unix_socket(case: "Case", socket: "Descriptor | None") -> "Connection | None":
    """Step 4: a UNIX-domain socket with a name: a PROXY wrapper, a web server, else credentials."""
    environ = case.environ
    announced = environ.get("PROTO") in ("UNIX", "IPC")
    named = socket is not None and socket.family == "unix" and bool(socket.sockname or socket.peername)
    proof = case.facts.pid is not None and environ.get("UNIXLOCALPID") == str(case.facts.pid)
    # Beside a descriptor of another kind a claim of an IP peer weighs more than a PROTO that anyone may have left.
    if not (named or proof or (announced and (socket is None or not case.claims))):
        return None
    tcp = case.claims.get("TCP")
    if named and socket is not None and tcp is not None and tcp.remote is not None:
        if marked_unix(environ.get(PROXY_PEER), socket):
            return case.answer(tcp, "proxy", "tcp", dialect="proxy")
        if case.proxied:
            return case.answer(tcp, "proxy", "tcp", contradictions=False)
    # A web server's gateway (mod_cgid, a FastCGI spawner) hands its own socket on, beside any PROTO that was inherited;
    # its user is not the caller. A server for UNIX-domain sockets writes the credentials that the kernel has.
    if socket is not None and named and not (announced and _credentials_agree(environ, socket)):
        gateway = _by_gateway(case)
        if gateway is not None:
            return gateway
    from ucspi_env import _unix

    alone = True
    for claim in case.claims.values():
        if claim.remote is not None and claim.family is not SSH:
            case.contradicted(claim, "the caller came over a UNIX-domain socket")
            alone = False  # a process id beside variables of another caller is not a proof
    return _unix.caller(
        environ, socket if named else None, case.problems, announced=announced, own_pid=proof, alone=alone
    )


def _credentials_agree(environ: "Mapping[str, str]", socket: "Descriptor") -> bool:
    """Whether the variables of a super-server for UNIX-domain sockets name the user that the kernel names."""
    prefix = "IPC" if environ.get("PROTO") == "IPC" else "UNIX"
    said = environ.get(f"{prefix}REMOTEEUID"), environ.get(f"{prefix}REMOTEEGID")
    return socket.peercred is not None and said == tuple(map(str, socket.peercred[1:]))


def marked_unix(mark: "str | None", socket: "Descriptor") -> bool:
    """Whether ``UCSPI_PROXY_PEER`` is this UNIX-domain socket: its listener's path, or the user at the other end."""
    if not mark or not mark.startswith("unix:"):
        return False
    what = mark.removeprefix("unix:")
    if what.startswith("uid="):
        return socket.peercred is not None and what == f"uid={socket.peercred[1]}"
    return bool(what) and what == socket.sockname


def _with_proof(case: "Case") -> "Connection | None":
    """Step 5: claims that something else than the variables speaks for."""
    return (
        _by_inherited_socket(case)
        or _by_relay(case)
        or _by_proxy_word(case)
        or _by_socat_word(case)
        or _by_process(case)
        or _by_gateway(case)
    )


def _by_inherited_socket(case: "Case") -> "Connection | None":
    """A connected socket that leaked to the program, as ncat's and sslserver's do, and a claim of its peer."""
    tcp = case.claims.get("TCP")
    for _, inherited in case.facts.descriptors:
        peer = inherited.peername
        if not isinstance(peer, Endpoint) or _contradicted_by_relay(case, peer):
            continue
        transport: Transport = "udp" if inherited.type == "dgram" else "tcp"
        if tcp and tcp.remote and case.marked(PROXY_PEER, peer):
            return case.answer(tcp, "proxy", transport, dialect="proxy")
        for claim in case.claims.values():
            if claim.remote and claim.remote.port is not None and claim.agrees_with(peer):
                here = inherited.sockname if isinstance(inherited.sockname, Endpoint) else None
                return case.answer(claim, "confirmed", transport, kernel=(peer, here))
    return None


def _contradicted_by_relay(case: "Case", peer: "Endpoint") -> bool:
    """Whether the relay has a connection, and not with this peer: then another socket is not this connection's."""
    relay = case.facts.relay
    return relay is not None and relay.obstacle is None and relay.sockets[0].peername != peer


def output_counts(case: "Case", socket: "Descriptor") -> bool:
    """Whether a connected socket on descriptor 1 alone is the connection (faucet --out, or the input is a pipe).

    It may be a log server's, where a run script has redirected the output: not beside a relay's input, unless a claim
    agrees or there is none.
    """
    peer = socket.peername
    assert isinstance(peer, Endpoint)  # noqa: S101 - what Facts.connected promises
    claims = [claim for claim in case.claims.values() if claim.remote is not None and claim.family is not SSH]
    relay = case.facts.relay
    if relay is None or any(claim.agrees_with(peer) for claim in claims):
        return True
    return not claims and (relay.obstacle is not None or relay.sockets[0].peername == peer)


def _by_relay(case: "Case") -> "Connection | None":
    """The socket of the process at the other end of the pipe, if that is found and has one peer only."""
    relay = case.facts.relay
    if relay is None:
        return None
    if relay.obstacle is None:
        return case.with_kernel(relay.sockets[0], relay=relay)
    if any(claim.remote is not None for claim in case.claims.values()):
        from ucspi_env import _findings

        case.problems.append(_findings.relay_unproved(relay))
    return None


def login(case: "Case", relay: "Relay", peer: "Endpoint", here: "Endpoint | None") -> "Connection | None":
    """SSH_CONNECTION where the relay has that connection: it is the login's own sshd. Not for people at terminals."""
    claim = case.claims.get(SSH.name)
    if claim is None or not claim.agrees_with(peer) or _interactive(case):
        return None
    from ucspi_env import _findings

    case.problems.append(_findings.ssh_session(case.environ, peer))
    return case.answer(claim, "relay", "tcp", kernel=(peer, here), tls=False, relay=relay)


def relayed_peer(relay: "Relay", claim: "Claim", peer: "Endpoint") -> "Endpoint":
    """The peer of a relay's connection, as far as it is known to be this program's.

    Where the claim has no port and the relay may have other callers, another caller from the address is left in its
    place when this one has hung up; then the port is not known.
    """
    if relay.own or claim.remote is None or claim.remote.port is not None:
        return peer
    return Endpoint(peer.ip, None, peer.zone)


def may_have_dialled(case: "Case", relay: "Relay") -> bool:
    """Whether the relay's connection need not be this program's: it may have dialled it, as a fetcher does."""
    if relay.both and relay.accepted:
        return False
    if any(claim.remote is not None for claim in case.claims.values()):
        from ucspi_env import _findings

        case.problems.append(_findings.relay_unproved(relay))
    return True


def by_rule(
    case: "Case",
    tcp: "Claim",
    peer: "Endpoint",
    here: "Endpoint | None",
    transport: "Transport",
    relay: "Relay | None",
) -> "Connection | None":
    """A rule has replaced TCPREMOTEIP: our mark says so, or all the rest in the TCP variables is this connection's.

    TCPLOCALPORT is read on its own, since s6 keeps the listener's 0.0.0.0 beside it, which does not make a local
    endpoint. Without the mark stale variables look the same, where a caller picks the port that they have.
    """
    assert tcp.remote is not None  # noqa: S101 - callers choose usable claims
    here_too = here is not None and case.environ.get("TCPLOCALPORT") == str(here.port)
    marked = here_too and case.marked(RULE_PEER, peer)
    fits = here_too and tcp.remote.port == peer.port and (tcp.local is None or here is None or tcp.local.ip == here.ip)
    if not (marked or fits):
        return None
    from ucspi_env import _findings

    vouched = marked or "rules" in case.words
    case.problems.append(_findings.operator_rule(case.environ, peer, tcp.remote, vouched=vouched))
    return case.answer(tcp, "operator", transport, kernel=(peer, here), tls=False, relay=relay, vouched=vouched)


def stunnel(case: "Case", peer: "Endpoint", here: "Endpoint | None") -> "Connection | None":
    """REMOTE_HOST and REMOTE_PORT beside a loopback pair that they do not name: stunnel's own socket pair.

    A genuine local caller of an inetd that inherited these two looks the same, so the answer never comes without a
    problem, unless the names are there twice: stunnel puts its own before inherited ones, which nothing else does.
    """
    claim = case.claims.get(HOST.name)
    if here is None or claim is None or claim.remote is None or claim.remote.port is None:
        return None
    ends = (peer, here)
    if any(str(end.ip) != "127.0.0.1" or (end.port or 0) < _FIRST_EPHEMERAL for end in ends):
        return None
    vouched = "stunnel" in case.words
    evidence: Evidence = "operator" if vouched else "proof"
    if HOST.remote_ip not in (name for name, _ in case.facts.duplicates):
        others = [other for other in case.claims.values() if other is not claim]
        contradicted = any(other.family is ADDR or not other.agrees_with(claim.remote) for other in others)
        from ucspi_env import _findings

        case.problems.append(
            _findings.stunnel_or_stale(case.environ, case.facts.fd, claim.remote, contradicted=contradicted)
        )
        if contradicted and not vouched:
            evidence = "unconfirmed"
    return case.answer(claim, evidence, "tcp", dialect="stunnel", vouched=vouched)


def appended(facts: "Facts", environ: "Mapping[str, str]") -> "dict[str, str]":
    """What a PROXY wrapper added behind variables of the same names, as ucspi-pp does.

    Only its user knows that there is one (``trust="proxy"``); all others read the first of each.
    """
    return {
        name: values[-1]
        for name, values in facts.duplicates
        # What is judged may be another environment than the one that the process was started with.
        if name in TCP.names and environ.get(name) == values[0]
    }


def _interactive(case: "Case") -> bool:
    """Whether the program reads from a terminal or a device."""
    descriptor = case.facts.descriptor(case.facts.fd)
    return descriptor is not None and descriptor.kind == "chr"


def _by_proxy_word(case: "Case") -> "Connection | None":
    tcp = case.claims.get("TCP")
    if not case.proxied or tcp is None or tcp.remote is None:
        return None
    return case.answer(tcp, "proxy", _transport(case, TCP), contradictions=False)


def _by_socat_word(case: "Case") -> "Connection | None":
    """A socat that the operator named; not against the word of a relay's socket."""
    relay = case.facts.relay
    if not case.words or (relay is not None and relay.obstacle is None):
        return None
    for name in _named_socats(case):
        claim = case.claims.get(name)
        if claim is not None and claim.remote is not None:
            return case.answer(claim, "operator", "tcp", vouched=True)
    return None


def _by_process(case: "Case") -> "Connection | None":
    """A sign of freshness, which access control does not rely on: our process id beside systemd's variables."""
    environ = case.environ
    addr = case.claims.get(ADDR.name)
    pid = case.facts.pid
    if addr is None or addr.remote is None or not pid or environ.get("SYSTEMD_EXEC_PID") != str(pid):
        return None
    return case.answer(addr, "proof" if _alone(case, addr) else "unconfirmed", "tcp", dialect="systemd")


def _alone(case: "Case", claim: "Claim") -> bool:
    """Whether no other claim contradicts this one."""
    assert claim.remote is not None  # noqa: S101 - callers choose usable claims
    return all(other.remote is None or other.agrees_with(claim.remote) for other in case.claims.values())


def _by_gateway(case: "Case") -> "Connection | None":
    """CGI. GATEWAY_INTERFACE can be inherited like anything else, so this never comes without a problem.

    Beside a claim of another peer it is not a proof.
    """
    addr = case.claims.get(ADDR.name)
    if addr is None or addr.remote is None or not case.environ.get("GATEWAY_INTERFACE"):
        return None
    from ucspi_env import _findings

    case.problems.append(_findings.web_server(case.environ, addr.remote))
    evidence: Evidence = "proof" if _alone(case, addr) and case.facts.pid is not None else "unconfirmed"
    if addr.remote.port is None:  # CGI has no such variable; the super-server before the web server may have told it
        remote = addr.remote
        ports = [
            claim.remote.port
            for claim in case.claims.values()
            if claim.remote is not None and claim.agrees_with(remote) and claim.family is not SSH
        ]
        port = next((port for port in ports if port is not None), None)
        addr.remote = Endpoint(remote.ip, port, remote.zone, remote.host, remote.info)
        addr.problems = [problem for problem in addr.problems if problem.code != "missing-port"]
    return case.answer(addr, evidence, "tcp", dialect="cgi")


def _unconfirmed(case: "Case") -> "Connection":
    """Step 6: nothing vouches for any of it; PROTO decides which family to name."""
    for name in _order(case):
        claim = case.claims.get(name)
        if claim is not None and claim.remote is not None:
            return case.answer(claim, "unconfirmed", _transport(case, claim.family))
    path = _socat_path(case)
    if path is not None:
        return path
    login = case.claims.get(SSH.name)
    announced = len(case.claims) > 1 or "PROTO" in case.environ
    if login is not None and login.remote is not None and not announced and not _interactive(case):
        from ucspi_env import _findings

        case.problems.append(_findings.ssh_session(case.environ, login.remote))
        return case.answer(login, "unconfirmed", "tcp")
    for claim in case.claims.values():
        if claim.error is not None:
            raise claim.error
    from ucspi_env import _findings

    raise _findings.nothing(case.environ, case.facts.fd, asked=bool(case.facts.descriptors))


def _is_ours(case: "Case", pid: "str | None") -> bool:
    """Whether this is the id of this process, its parent, or its grandparent."""
    facts = case.facts
    return pid is not None and pid in [str(own) for own in (facts.pid, facts.ppid, facts.grandparent) if own]


def _transport(case: "Case", family: "Family") -> "Transport":
    """What variables say about the transport, where no descriptor tells."""
    if family is NCAT:
        return "udp" if case.environ.get("NCAT_PROTO") == "UDP" else "tcp"
    udp = family is UDPADDR or (family in (TCP, TCP6) and case.environ.get("PROTO") == "UDP")
    return "udp" if udp else "tcp"


def _order(case: "Case") -> "tuple[str, ...]":
    """Names of families in the order of belief, where nothing is proved."""
    proto = case.environ.get("PROTO") or ""
    others = _named_socats(case)
    rest = ("TCPADDR", "TCP", "TCP6", "NCAT", SOCAT.name, *others, "REMOTE_HOST", "REMOTE_ADDR", "SSL", "UDPADDR")
    if proto.startswith("SSL"):
        rest = ("SSL", *rest)
    if proto == "UDP":
        rest = ("UDPADDR", *rest)
    # Not a proof, but more than the others have: an inherited set rarely comes with a process id of ours.
    return (SOCAT.name, *rest) if _is_ours(case, case.environ.get("SOCAT_PID")) else rest


def _named_socats(case: "Case") -> "tuple[str, ...]":
    """The families of the socats that the operator named."""
    if not case.words:
        return ()
    from ucspi_env._trust import socat_families

    return tuple(family.name for family in socat_families(case.words))


def _socat_path(case: "Case") -> "Connection | None":
    """What socat says of a UNIX-domain caller, beside a process id of ours."""
    environ = case.environ
    path = environ.get(SOCAT.remote_ip, "")
    if not path.startswith(("/", "\\0", "<anon>")) or not _is_ours(case, environ.get("SOCAT_PID")):
        return None
    from ucspi_env._unix import UnixPeer

    path = "@" + path[2:] if path.startswith("\\0") else path
    return Connection(
        unix=UnixPeer(path=path if path[0] in "/@" else None),
        raw_proto=environ.get("PROTO"),
        dialect="socat",
        evidence="unconfirmed",
        problems=tuple(case.problems),
    )
