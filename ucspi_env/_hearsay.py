"""Steps 4 to 6 of `ucspi_env._identify`: who is calling where no connected INET socket says it. Pure.

What is left are credentials, claims that something else than a socket proves, and claims that nothing does. Imported
then only, since the usual server has its caller's socket on descriptor 0.
"""

from ucspi_env._model import Connection, Endpoint
from ucspi_env._variables import ADDR, NCAT, SOCAT_SUFFIX, SSH, TCP, TCP6, UDPADDR

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Sequence

    from ucspi_env._facts import Descriptor
    from ucspi_env._identify import Case
    from ucspi_env._model import Evidence, Transport
    from ucspi_env._variables import Family


def decide(case: "Case", socket: "Descriptor | None") -> "Connection":
    """The answer of steps 4 to 6, or the error that says why there is none.

    Args:
        case: what is to be judged.
        socket: the descriptor that is meant to be the connection, as far as it is known.
    """
    return _by_credentials(case, socket) or _with_proof(case) or _unconfirmed(case)


def _by_credentials(case: "Case", socket: "Descriptor | None") -> "Connection | None":
    """Step 4: credentials, by the kernel where it has a named UNIX-domain socket, else by variables."""
    environ = case.environ
    announced = environ.get("PROTO") in ("UNIX", "IPC")
    named = socket is not None and socket.family == "unix" and bool(socket.sockname or socket.peername)
    proof = case.facts.pid is not None and environ.get("UNIXLOCALPID") == str(case.facts.pid)
    # Beside a descriptor of another kind a claim of an IP peer weighs more than a PROTO that anyone may have left.
    if not (named or proof or (announced and (socket is None or not case.claims))):
        return None
    from ucspi_env import _unix

    for claim in case.claims.values():
        if claim.remote is not None and claim.family is not SSH:
            case.contradicted(claim, "the caller came over a UNIX-domain socket")
    return _unix.caller(environ, socket if named else None, case.problems, announced=announced, proof=proof)


def _with_proof(case: "Case") -> "Connection | None":
    """Step 5: claims that only an up-to-date super-server can have made."""
    return _by_inherited_socket(case) or _by_trust(case) or _by_process(case) or _by_gateway(case)


def _by_inherited_socket(case: "Case") -> "Connection | None":
    """A connected socket that leaked to the program, as ncat's and sslserver's do, and a claim of its peer."""
    tcp = case.claims.get("TCP")
    for _, inherited in case.facts.descriptors:
        peer = inherited.peername
        if not isinstance(peer, Endpoint):
            continue
        transport: Transport = "udp" if inherited.type == "dgram" else "tcp"
        if tcp and tcp.remote and case.balancer() == (peer.ip, peer.port):
            return case.answer(tcp, "proxy", transport, dialect="proxy")
        for claim in case.claims.values():
            if claim.remote and claim.remote.port is not None and claim.agrees_with(peer):
                here = inherited.sockname if isinstance(inherited.sockname, Endpoint) else None
                return case.answer(claim, "proof", transport, kernel=(peer, here))
    return None


def _by_trust(case: "Case") -> "Connection | None":
    tcp = case.claims.get("TCP")
    if not case.proxied or tcp is None or tcp.remote is None:
        return None
    return case.answer(tcp, "proxy", _transport(case, TCP), contradictions=False)


def _by_process(case: "Case") -> "Connection | None":
    """A process id of ours beside the claim: socat's, systemd's."""
    environ = case.environ
    for name, claim in case.claims.items():
        prefix = name.removesuffix(SOCAT_SUFFIX)
        if prefix != name and _is_ours(case, environ.get(f"{prefix}_PID")):
            if claim.remote is not None:
                return case.answer(claim, "proof", "tcp")
            path = environ[claim.family.remote_ip]
            if path.startswith(("/", "\\0", "<anon>")):  # socat's words for UNIX-domain callers
                from ucspi_env._unix import UnixPeer

                path = "@" + path[2:] if path.startswith("\\0") else path
                return Connection(
                    unix=UnixPeer(path=path if path[0] in "/@" else None),
                    raw_proto=environ.get("PROTO"),
                    dialect="socat",
                    evidence="proof",
                )
    addr = case.claims.get(ADDR.name)
    pid = case.facts.pid
    if addr is not None and addr.remote is not None and pid and environ.get("SYSTEMD_EXEC_PID") == str(pid):
        return case.answer(addr, "proof", "tcp", dialect="systemd")
    return None


def _by_gateway(case: "Case") -> "Connection | None":
    """CGI. GATEWAY_INTERFACE can be inherited like anything else, so this never comes without a problem.

    Beside a claim of another peer it is no proof.
    """
    addr = case.claims.get(ADDR.name)
    if addr is None or addr.remote is None or not case.environ.get("GATEWAY_INTERFACE"):
        return None
    alone = all(other.remote is None or other.agrees_with(addr.remote) for other in case.claims.values())
    from ucspi_env import _findings

    case.problems.append(_findings.web_server(case.environ, addr.remote))
    evidence: Evidence = "proof" if alone and case.facts.pid is not None else "unconfirmed"
    return case.answer(addr, evidence, "tcp", dialect="cgi")


def _unconfirmed(case: "Case") -> "Connection":
    """Step 6: nothing vouches for any of it; PROTO decides which family to name."""
    for name in _order(case.environ.get("PROTO"), tuple(case.claims)):
        claim = case.claims.get(name)
        if claim is not None and claim.remote is not None:
            return case.answer(claim, "unconfirmed", _transport(case, claim.family))
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


def _interactive(case: "Case") -> bool:
    descriptor = case.facts.descriptor(case.facts.fd)
    return descriptor is not None and descriptor.kind == "chr"


def _order(proto: "str | None", present: "Sequence[str]") -> "tuple[str, ...]":
    """Names of families in the order of belief for one value of PROTO."""
    socats = tuple(name for name in present if name.endswith(SOCAT_SUFFIX))
    rest = ("TCPADDR", "TCP", "TCP6", "NCAT", *socats, "REMOTE_HOST", "REMOTE_ADDR", "SSL", "UDPADDR")
    if proto and proto.startswith("SSL"):
        return ("SSL", *rest)
    if proto == "UDP":
        return ("UDPADDR", *rest)
    return rest
