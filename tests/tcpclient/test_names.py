"""Names: hosts that have several addresses, dead routes, reverse look-ups and ident, with name servers of our own."""

from __future__ import annotations

import contextlib
import socket
import threading
from typing import TYPE_CHECKING

import pytest

from tests.support import PATIENCE, Namespace, listening, refusing_port
from tests.support.dns_server import SERVFAIL, DNSServer, Query, record, respond, reverse, silent_port
from tests.tcpclient.probing import BARE, PROBE, client, probe, probed
from ucspi_env import Endpoint
from ucspi_env.tools._resolve import Resolver
from ucspi_env.tools.tcpclient import Settings, look_up

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

ZONE = {
    "both.example": {"A": ["127.0.0.1"], "AAAA": ["::1"]},
    "two.example": {"A": ["127.0.0.1", "127.0.0.2"]},
    "four.example": {"A": ["127.0.0.1"]},
    "six.example": {"AAAA": ["::1"]},
    "empty.example": {"TXT": ["nothing else"]},
    reverse("127.0.0.1"): {"PTR": ["Remote.Example"]},
    reverse("127.0.0.2"): {"PTR": ["local.example"]},
    reverse("::1"): {"PTR": ["six.example"]},
}
HOST_VARIABLES = ("TCPLOCALHOST", "TCPREMOTEHOST", "TCPREMOTEINFO", "TCP6LOCALHOST", "TCP6REMOTEHOST", "TCP6REMOTEINFO")
INHERITED = dict.fromkeys(HOST_VARIABLES, "inherited.example")


@pytest.fixture
def dns() -> Iterator[DNSServer]:
    with DNSServer(ZONE) as server:
        yield server


def using(dns: DNSServer) -> dict[str, str]:
    return BARE | {"DNSCACHEIP": dns.address}


def hosts(environ: dict[str, str]) -> dict[str, str]:
    """The variables that come from look-ups, each with its twin made sure of."""
    for name in HOST_VARIABLES[:3]:
        assert environ.get(name) == environ.get(name.replace("TCP", "TCP6"))
    return {name: environ[name] for name in HOST_VARIABLES[:3] if name in environ}


# Hosts with several addresses


@pytest.mark.parametrize("at", ["::1", "127.0.0.1"])
@pytest.mark.parametrize("order", [(), ("--serial",)])
def test_every_address_of_a_name_is_tried_ipv6_first(at: str, order: tuple[str, ...], dns: DNSServer) -> None:
    found = probe(*order, "-vRHl0", host="both.example", at=at, env=using(dns))
    port = found.remote[1]
    lines = [f"tcpclient: unable to connect to ::1 port {port}: connection refused"] if at == "127.0.0.1" else []
    assert found.stderr.splitlines() == [*lines, f"tcpclient: connected to {at} port {port}"]


def test_no_other_addresses_are_tried_than_those_the_name_has(dns: DNSServer) -> None:
    with refusing_port() as port:
        run = client("-RHl0", "two.example", str(port), "true", env=using(dns))
    assert run.status == 111
    assert sorted(run.stderr.splitlines()) == [
        f"tcpclient: unable to connect to 127.0.0.1 port {port}: connection refused",
        f"tcpclient: unable to connect to 127.0.0.2 port {port}: connection refused",
    ]


def test_option_four_asks_for_ipv4_addresses_only(dns: DNSServer) -> None:
    found = probe("-4vRHl0", host="both.example", at="127.0.0.1", env=using(dns))
    assert found.stderr == f"tcpclient: connected to 127.0.0.1 port {found.remote[1]}\n"
    assert dns.asked() == [("both.example", "A")]


def test_option_four_and_a_name_without_ipv4(dns: DNSServer) -> None:
    run = client("-4RHl0", "six.example", "1", "true", env=using(dns))
    assert run == (111, "", "tcpclient: fatal: no IP address for six.example\n")


def test_option_six_maps_the_addresses_of_a_name_that_has_only_ipv4(dns: DNSServer) -> None:
    found = probe("-6RHl0", host="four.example", at="127.0.0.1", env=using(dns))
    assert found.family == "AF_INET6"
    assert found.remote[0] == "::ffff:127.0.0.1"
    assert found.environ["PROTO"] == "TCP6"
    assert found.environ["TCPREMOTEIP"] == found.environ["TCP6LOCALIP"] == "::ffff:127.0.0.1"


@pytest.mark.parametrize("host", ["nosuch.example", "empty.example"])
def test_a_name_without_addresses(host: str, dns: DNSServer) -> None:
    run = client("-RHl0", host, "1", "true", env=using(dns))
    assert run == (111, "", f"tcpclient: fatal: no IP address for {host}\n")
    assert client("-qRHl0", host, "1", "true", env=using(dns)) == (111, "", "")


def test_a_name_server_in_trouble_is_temporary() -> None:
    with DNSServer({}, lambda query: [respond(query, rcode=SERVFAIL)]) as dns:
        run = client("-RHl0", "both.example", "1", "true", env=using(dns))
    what = "temporarily unable to figure out IP address for both.example"
    assert run == (111, "", f"tcpclient: fatal: {what}: temporary failure\n")


@pytest.mark.needs("/etc/hosts")
def test_without_an_own_name_server_the_system_is_asked_so_localhost_works() -> None:
    known = {str(address[4][0]) for address in socket.getaddrinfo("localhost", None, type=socket.SOCK_STREAM)}
    for at in sorted(known & {"127.0.0.1", "::1"}):
        assert probe("-RHl0", host="localhost", at=at).remote[0] == at


def test_a_setting_that_is_no_address_is_said_once_and_only_if_errors_are_wanted() -> None:
    environ = BARE | {"DNSCACHEIP": "nonsense"}
    with listening() as (_, port):
        noisy = client("-RHl0", "127.0.0.1", str(port), "true", env=environ)
        quiet = client("-qRHl0", "127.0.0.1", str(port), "true", env=environ)
    assert noisy.status == quiet.status == 0
    assert noisy.stderr.startswith("tcpclient: warning: DNSCACHEIP: 'nonsense' is not an IP address")
    assert noisy.stderr.count("\n") == 1
    assert quiet.stderr == ""


# A host whose IPv6 is dead


@contextlib.contextmanager
def dead_ipv6(netns: Callable[..., Namespace]) -> Iterator[tuple[Namespace, Namespace, DNSServer]]:
    """A network in which dead.example has an IPv4 address that lives and an IPv6 one that swallows everything."""
    here = netns()
    there = here.neighbour("192.0.2.2/24", own=["192.0.2.1/24", "2001:db8::1/64"])
    # The neighbour is known, and nobody has this hardware address: neither an answer nor an error will ever come.
    here.ip("neigh", "add", "2001:db8::2", "lladdr", "02:00:00:00:00:02", "dev", "veth0", "nud", "permanent")
    zone = {"dead.example": {"A": ["192.0.2.2"], "AAAA": ["2001:db8::2"]}}
    with DNSServer(zone, namespace=here, host="127.0.0.53", port=53) as dns:
        yield here, there, dns


def first_packets(wire: socket.socket) -> list[str]:
    """Whom the TCP SYN packets that were seen on the wire went to, each address once, in order."""
    seen: dict[str, None] = {}
    wire.setblocking(False)
    with contextlib.suppress(BlockingIOError):
        while frame := wire.recv(65536):
            kind, packet = frame[12:14], frame[14:]
            if kind == b"\x86\xdd" and packet[6] == 6 and packet[40 + 13] == 2:
                seen[socket.inet_ntop(socket.AF_INET6, packet[24:40])] = None
            elif kind == b"\x08\x00" and packet[9] == 6 and packet[20 + 13] == 2:
                seen[socket.inet_ntop(socket.AF_INET, packet[16:20])] = None
    return list(seen)


@pytest.mark.netns
@pytest.mark.parametrize(
    "options",
    [
        # With an hour's patience for each address, only one that does not wait for another can be done here at all.
        ["-T3600"],
        # The serial order puts the silent address off, without a word.
        ["--serial", "-T0+3600"],
    ],
    ids=" ".join,
)
def test_a_dead_ipv6_route_is_tried_first_and_does_not_hold_up_ipv4(
    options: list[str], netns: Callable[..., Namespace]
) -> None:
    with (
        dead_ipv6(netns) as (here, there, dns),
        there.socket(socket.AF_INET) as listener,
        there.socket(socket.AF_PACKET, socket.SOCK_RAW, socket.htons(3)) as wire,  # 3: ETH_P_ALL
    ):
        listener.bind(("192.0.2.2", 0))
        listener.listen()
        port = listener.getsockname()[1]
        run = client(*options, "-vRHl0", "dead.example", str(port), *PROBE, env=using(dns), namespace=here)
        found = probed(listener, run)
        assert first_packets(wire) == ["2001:db8::2", "192.0.2.2"]
    assert found.remote[0] == "192.0.2.2"
    assert found.stderr == f"tcpclient: connected to 192.0.2.2 port {port}\n"
    assert [fd for fd, kind in found.fds.items() if kind == "socket"] == [6, 7]


@pytest.mark.netns
def test_with_a_fixed_local_port_too(netns: Callable[..., Namespace]) -> None:
    with dead_ipv6(netns) as (here, there, dns), there.socket(socket.AF_INET) as listener:
        listener.bind(("192.0.2.2", 0))
        listener.listen()
        port = str(listener.getsockname()[1])
        run = client("-T3600", "-p99", "-RHl0", "dead.example", port, *PROBE, env=using(dns), namespace=here)
        assert probed(listener, run).local == ("192.0.2.1", 99)


@pytest.mark.netns
def test_a_missing_ipv6_route_is_told_and_ipv4_taken(netns: Callable[..., Namespace]) -> None:
    namespace = netns("192.0.2.2/32")
    zone = {"far.example": {"A": ["192.0.2.2"], "AAAA": ["2001:db8::2"]}}
    with (
        DNSServer(zone, namespace=namespace, host="127.0.0.53", port=53) as dns,
        namespace.socket(socket.AF_INET) as listener,
    ):
        listener.bind(("192.0.2.2", 0))
        listener.listen()
        port = listener.getsockname()[1]
        run = client("-vRHl0", "far.example", str(port), "true", env=using(dns), namespace=namespace)
    assert run.stderr.splitlines() == [
        f"tcpclient: unable to connect to 2001:db8::2 port {port}: network unreachable",
        f"tcpclient: connected to 192.0.2.2 port {port}",
    ]


# Look-ups for the program


def test_both_ends_are_looked_up(dns: DNSServer) -> None:
    found = probe("-R", "-i127.0.0.2", env=using(dns) | INHERITED)
    assert hosts(found.environ) == {"TCPLOCALHOST": "local.example", "TCPREMOTEHOST": "remote.example"}
    found = probe("-R", host="::1", env=using(dns) | INHERITED)
    assert hosts(found.environ) == {"TCPLOCALHOST": "six.example", "TCPREMOTEHOST": "six.example"}


@pytest.mark.parametrize(
    ("options", "asked", "expected"),
    [
        (["-RHl0"], [], {"TCPLOCALHOST": "0"}),
        (["-Rl0"], ["127.0.0.1"], {"TCPLOCALHOST": "0", "TCPREMOTEHOST": "remote.example"}),
        (["-HRhl0"], ["127.0.0.1"], {"TCPLOCALHOST": "0", "TCPREMOTEHOST": "remote.example"}),
        (["-RH"], ["127.0.0.2"], {"TCPLOCALHOST": "local.example"}),
    ],
)
def test_only_what_the_options_want_is_asked_and_the_rest_is_removed(
    options: list[str], asked: list[str], expected: dict[str, str], dns: DNSServer
) -> None:
    found = probe(*options, "-i127.0.0.2", env=using(dns) | INHERITED)
    assert hosts(found.environ) == expected
    assert dns.asked() == [(reverse(ip), "PTR") for ip in asked]


@pytest.mark.parametrize("special", [None, lambda query: [respond(query, rcode=SERVFAIL)]], ids=["none", "trouble"])
def test_names_that_nobody_knows_are_removed_and_not_empty(
    special: Callable[[Query], list[bytes] | None] | None,
) -> None:
    with DNSServer({}, special) as dns:
        found = probe("-R", "-i127.0.0.3", env=using(dns) | INHERITED)
    assert hosts(found.environ) == {}


def test_look_ups_that_nobody_answers_end() -> None:
    sock, endpoint = silent_port()
    with sock, listening() as (_, ident):
        # A silent name server, and a server that is connected to in place of ident's and says nothing.
        remote, local = Endpoint("127.0.0.1", ident), Endpoint("127.0.0.2", 1)
        resolver = Resolver([endpoint], pauses=(0.01,), patience=0.05)
        found = look_up(Settings(["-t0"]), resolver, remote, local)
    assert [(end.host, end.info) for end in found] == [(None, None), (None, None)]


class Ident:
    """An ident server on port 113 of a namespace, for one call; PORTS in its answer are those of the question."""

    def __init__(self, namespace: Namespace, family: int, host: str, answer: bytes) -> None:
        self._listener = namespace.socket(family)
        self._listener.bind((host, 113))
        self._listener.listen()
        self._answer = answer
        self.asked = threading.Event()
        self.question = b""
        self._thread = threading.Thread(target=self._serve)

    def _serve(self) -> None:
        connection, _ = self._listener.accept()
        with connection:
            connection.settimeout(PATIENCE)
            self.asked.set()
            self.question = connection.recv(100)
            connection.sendall(self._answer.replace(b"PORTS", self.question.rstrip()))

    def __enter__(self) -> Ident:
        self._thread.start()
        return self

    def __exit__(self, *_: object) -> None:
        self._thread.join()
        self._listener.close()


@pytest.mark.netns
@pytest.mark.parametrize(("family", "ip"), [(socket.AF_INET, "127.0.0.1"), (socket.AF_INET6, "::1")])
def test_names_and_ident_are_looked_up_at_the_same_time(family: int, ip: str, netns: Callable[..., Namespace]) -> None:
    namespace = netns()

    def after_ident(query: Query) -> list[bytes]:
        # No name is told before ident was asked: look-ups one after the other would run into their limits.
        assert ident.asked.wait(PATIENCE)
        return [respond(query, record(query.name, "PTR", "name.example"))]

    with (
        Ident(namespace, family, ip, b"PORTS:USERID:UNIX:joe\r\n") as ident,
        DNSServer({}, after_ident, namespace=namespace, host="127.0.0.53", port=53) as dns,
        namespace.socket(family) as listener,
    ):
        listener.bind((ip, 0))
        listener.listen()
        port = listener.getsockname()[1]
        found = probed(listener, client(ip, str(port), *PROBE, env=using(dns) | INHERITED, namespace=namespace))
    assert hosts(found.environ) == {
        "TCPLOCALHOST": "name.example",
        "TCPREMOTEHOST": "name.example",
        "TCPREMOTEINFO": "joe",
    }
    assert ident.question == f"{port} , {found.local[1]}\r\n".encode()


@pytest.mark.netns
@pytest.mark.parametrize(
    "answer", [b"PORTS:ERROR:NO-USER\r\n", b"PORTS:USERID:UNIX:\x1b[2J\r\n", b"1,2:USERID:UNIX:joe\r\n", b"", b"\n"]
)
def test_an_ident_answer_that_names_nobody_is_removed_and_not_empty(
    answer: bytes, netns: Callable[..., Namespace]
) -> None:
    namespace = netns()
    with Ident(namespace, socket.AF_INET, "127.0.0.1", answer), namespace.socket(socket.AF_INET) as listener:
        listener.bind(("127.0.0.1", 0))
        listener.listen()
        port = str(listener.getsockname()[1])
        run = client("-Hl0", "127.0.0.1", port, *PROBE, env=BARE | INHERITED, namespace=namespace)
        assert hosts(probed(listener, run).environ) == {"TCPLOCALHOST": "0"}


def test_a_refused_ident_request_costs_nothing_but_the_variable() -> None:
    # On 127.0.0.1 port 113 is not for tests to bind; nobody listens on this address of the same machine.
    found = probe("-Hl0", "-t1", host="127.11.12.13", env=BARE | INHERITED)
    assert hosts(found.environ) == {"TCPLOCALHOST": "0"}
