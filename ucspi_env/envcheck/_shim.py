"""An environment that an IPv4-only server can live with: ``ucspi-envcheck shim [options] -- PROG ARGS``.

The caller is found out as everywhere; then the environment is written anew in plain ucspi-tcp's dialect: IPv4-mapped
becomes IPv4, ``TCP6…`` becomes ``TCP…``, names and ident answers that are not plausible are dropped, and so is every
variable of any other dialect. PROG runs in the same process, on the same descriptors; a PROG that asks the kernel for
its peer sees what the kernel says, IPv4-mapped addresses too.

``--ipv6`` says what happens to IPv6 callers:

``refuse``       they get ``--message`` and exit 100; the default
``pass``         they are shown as they are, PROTO=TCP6
``map:NETWORK``  they are shown as an IPv4 stand-in out of NETWORK (240.0.0.0/4, which no caller can have): the same for
                 a whole /64 on every run, so that limits and grey lists work; a log line on stderr names both
"""

from __future__ import annotations

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Sequence
    from ipaddress import IPv4Network

    from ucspi_env._model import Connection, Endpoint

NAME = "ucspi-envcheck"
SYNOPSIS = (
    f"{NAME} shim [--ipv6 refuse|pass|map[:NETWORK]] [--message TEXT] [--strict] [--trust WORDS] -- program [arguments]"
)
MESSAGE = "421 this server cannot take IPv6 callers yet"
STAND_INS = "240.0.0.0/4"
_EXIT_REFUSED = 100
_FEWEST_STAND_INS = 8


def stand_in(caller: Endpoint, network: IPv4Network) -> Endpoint:
    """The IPv4 address that a whole IPv6 /64 appears as: neither the network's first nor its last address.

    The choice is a hash of the /64, so that it is stable without a table; two of them may share a stand-in.
    """
    from hashlib import blake2b
    from ipaddress import IPv4Address

    from ucspi_env._model import Endpoint

    size = network.num_addresses - 2
    number = int.from_bytes(blake2b(caller.key(v6=64).encode(), digest_size=8).digest(), "big") % size
    address = IPv4Address(int(network.network_address) + 1 + number)
    return Endpoint(address, caller.port, host=caller.host, info=caller.info)


def shimmed(found: Connection, network: IPv4Network | None) -> Connection:
    """The connection as PROG is to see it; ``network`` has the stand-ins for IPv6, None shows it as it is."""
    from ucspi_env._model import Connection, Endpoint

    remote, local = found.remote, found.local
    if remote is not None and network is not None and remote.ip.version == 6:
        remote = stand_in(remote, network)
        if local is not None and local.ip.version == 6:
            local = stand_in(local, network)
    if remote is not None and remote.ip.version == 4 and local is not None and local.ip.version == 6:
        local = None  # a PROXY header can claim that; one program, one family
    if local is not None:
        from ucspi_env._address import plausible_host

        local = Endpoint(local.ip, local.port, local.zone, plausible_host(local.host or ""))
    return Connection(remote=remote, local=local, unix=found.unix, transport=found.transport, dialect=found.dialect)


def stand_in_network(text: str) -> IPv4Network:
    """Read the network of ``map:NETWORK``.

    Raises:
        Stop: it is no IPv4 network, or too small to tell callers apart, or holds 0.0.0.0.
    """
    from ipaddress import IPv4Network

    from ucspi_env._networks import Networks
    from ucspi_env.tools._program import usage

    try:
        (network,) = Networks.parse([text or STAND_INS])
    except ValueError as error:
        raise usage(NAME, SYNOPSIS, f"--ipv6 map: {error}") from None
    if (
        not isinstance(network, IPv4Network)
        or network.num_addresses < _FEWEST_STAND_INS
        or network.network_address.is_unspecified
    ):
        raise usage(NAME, SYNOPSIS, f"--ipv6 map: {network} cannot serve: use an IPv4 network like {STAND_INS}")
    return network


def main(arguments: Sequence[str]) -> int:
    """Shim and exec.

    Raises:
        Stop: wrong use (100); no peer, or PROG cannot be run (111).
    """
    import os

    from ucspi_env._build import build
    from ucspi_env._dialects import without_socat
    from ucspi_env._errors import DialectError, UCSPIError
    from ucspi_env._facts import Facts
    from ucspi_env._findings import unconfirmed
    from ucspi_env._identify import identify
    from ucspi_env._variables import PROXY_PEER, RULE_PEER
    from ucspi_env.envcheck._run import trusted
    from ucspi_env.tools._exec import become, own_environ
    from ucspi_env.tools._program import fatal, scan_options, usage, write_line

    options, program = scan_options(NAME, SYNOPSIS, arguments, "", ("ipv6=", "message=", "strict", "trust="))
    if not program:
        raise usage(NAME, SYNOPSIS, "shim needs a program")
    chosen = {"ipv6": "refuse", "message": MESSAGE} | dict(options)
    how, colon, where = chosen["ipv6"].partition(":")
    if how not in ("refuse", "pass", "map") or (colon and how != "map"):
        raise usage(NAME, SYNOPSIS, f"--ipv6 is refuse, pass or map, not {chosen['ipv6']!a}")
    network = stand_in_network(where) if how == "map" else None
    environ = own_environ()
    trust = trusted(chosen.get("trust"), SYNOPSIS)
    try:
        found = identify(environ, Facts.observe(trust=trust, environ=environ), trust=trust)
        if "strict" in chosen and not found.vouched:
            raise unconfirmed(found, asked=True)
    except UCSPIError as error:
        raise fatal(NAME, str(error)) from None
    remote = found.remote
    if remote is None:
        raise fatal(NAME, "the caller came over a UNIX-domain socket: run the program without the shim")
    ipv6 = remote.ip.version == 6
    if ipv6 and how == "refuse":
        write_line(f"{NAME}: shim: pid {os.getpid()} refused {remote}")
        if chosen["message"]:
            write_line(chosen["message"] + "\r", fd=1)
        return _EXIT_REFUSED
    shown = shimmed(found, network)
    if shown.remote != remote:
        write_line(f"{NAME}: shim: pid {os.getpid()} shows {remote} as {shown.remote}")
    dialect = "udplisten" if found.transport == "udp" else "ucspi-tcp-ipv6" if ipv6 and how == "pass" else "ucspi-tcp"
    try:
        changed = build(shown, dialect).apply(without_socat(environ))
    except DialectError as error:
        raise fatal(NAME, str(error)) from None
    # So that a PROG that asks properly is told of the same caller, and not of a balancer.
    for evidence, mark in (("proxy", PROXY_PEER), ("operator", RULE_PEER)):
        if found.evidence == evidence and mark in environ:
            changed[mark] = environ[mark]
    os.environ.clear()
    os.environ.update(changed)
    become(NAME, program)
