"""The resolver against real name servers on loopback: honest, slow, absent, and hostile ones."""

from __future__ import annotations

import errno
import ipaddress
import os
import selectors
import socket
import struct
import threading
import time
from typing import TYPE_CHECKING

import pytest

from tests.support import dns_server as fake
from tests.support.dns_server import DNSServer, Query, record, respond, reverse, silent_port
from ucspi_env import Endpoint
from ucspi_env.tools._program import Stop
from ucspi_env.tools._resolve import MAX_STRAYS, BadHostError, LookupTroubleError, Resolver, figure_out, literal
from ucspi_env.tools._tasks import Outcome, Tasks, complete

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator
    from pathlib import Path

    from tests.support import Namespace
    from tests.support.dns_server import Zone

IP = ipaddress.ip_address
V4, V6 = "192.0.2.1", "2001:db8::1"
ZONE: Zone = {
    "both.example": {"A": [V4, "192.0.2.2"], "AAAA": [V6]},
    "four.example": {"A": [V4]},
    "six.example": {"AAAA": [V6]},
    "mapped.example": {"AAAA": ["::ffff:192.0.2.1"]},
    "alias.example": {"CNAME": ["both.example"]},
    "empty.example": {"TXT": ["only"]},
    "texts.example": {"TXT": ["one", b"two\x00\xff", ""]},
    "large.example": {"TXT": ["x" * 700]},
    "10.0.0.1.example": {"A": [V4]},
    reverse(V4): {"PTR": ["Both.Example", "four.example"]},
    reverse(V6): {"PTR": ["both.example"]},
    reverse("192.0.2.3"): {"PTR": ["192.0.2.3"]},
    reverse("192.0.2.4"): {"PTR": [b"\x00"]},
    reverse("192.0.2.5"): {"PTR": [b"\x05a b\n%\x01.\x00"]},
    "192.0.2.3": {"A": ["192.0.2.3"]},
}
BRIEFLY = {"pauses": (0.01, 0.01, 0.01), "patience": 0.1}  # for servers that are not going to answer


@pytest.fixture
def dns() -> Iterator[DNSServer]:
    with DNSServer(ZONE) as server:
        yield server


@pytest.fixture
def resolver(dns: DNSServer) -> Resolver:
    return Resolver([dns.endpoint])


@pytest.fixture
def silent() -> Iterator[Endpoint]:
    sock, endpoint = silent_port()
    with sock:
        yield endpoint


@pytest.fixture
def refusing() -> Iterator[Endpoint]:
    """Nobody listens: held by a TCP socket, so no other test's UDP server gets this number on 127.0.0.3."""
    with socket.socket() as holder:
        holder.bind(("127.0.0.3", 0))
        yield Endpoint("127.0.0.3", holder.getsockname()[1])


# What is asked and answered


@pytest.mark.parametrize(
    ("name", "addresses"),
    [
        ("both.example", [V6, V4, "192.0.2.2"]),
        ("BOTH.example.", [V6, V4, "192.0.2.2"]),
        ("alias.example", [V6, V4, "192.0.2.2"]),
        ("four.example", [V4]),
        ("six.example", [V6]),
        ("mapped.example", [V4]),
        ("empty.example", []),
        ("none.example", []),
    ],
)
def test_addresses_are_of_both_families_ipv6_first(resolver: Resolver, name: str, addresses: list[str]) -> None:
    """A23: C shuffles them."""
    assert complete(resolver.addresses(name)) == [IP(text) for text in addresses]


def test_ipv4_addresses_and_texts(resolver: Resolver) -> None:
    assert complete(resolver.a("both.example")) == [IP(V4), IP("192.0.2.2")]
    assert complete(resolver.a("none.example")) == []
    assert complete(resolver.txt("texts.example")) == [b"one", b"two\x00\xff", b""]
    assert complete(resolver.txt("none.example")) == []


@pytest.mark.parametrize(
    ("ip", "name"),
    [
        (V4, "both.example"),
        (V6, "both.example"),
        ("::ffff:192.0.2.1", "both.example"),
        ("192.0.2.3", "192.0.2.3"),
        ("192.0.2.4", "."),
        ("192.0.2.5", r"a\040b\012\045.\056"),
        ("192.0.2.99", None),
    ],
)
def test_ptr(resolver: Resolver, ip: str, name: str | None) -> None:
    assert complete(resolver.ptr(IP(ip))) == name


@pytest.mark.parametrize(
    ("ip", "name", "right"),
    [
        (V4, "both.example", True),
        (V6, "both.example", True),
        ("::ffff:192.0.2.1", "both.example", True),
        ("::ffff:192.0.2.1", "four.example", True),
        ("192.0.2.9", "both.example", False),
        ("2001:db8::9", "both.example", False),
        (V6, "four.example", False),
        (V4, "none.example", False),
        ("192.0.2.3", "192.0.2.3", False),
        ("2001:db8::1", "2001:db8::1", False),
        (V4, "x" * 64 + ".example", False),
        (V4, ".", False),
    ],
)
def test_the_paranoid_check(resolver: Resolver, ip: str, name: str, right: bool) -> None:
    """A31: in C a PTR that is the literal address confirms itself."""
    assert complete(resolver.verify_ptr(IP(ip), name)) is right


def test_the_paranoid_check_asks_for_the_callers_family_only(dns: DNSServer, resolver: Resolver) -> None:
    complete(resolver.verify_ptr(IP(V6), "both.example"))
    complete(resolver.verify_ptr(IP("::ffff:192.0.2.1"), "both.example"))
    assert dns.asked() == [("both.example", "AAAA"), ("both.example", "A")]


def test_what_cannot_be_asked_is_not_confirmed(refusing: Endpoint) -> None:
    assert complete(Resolver([refusing]).verify_ptr(IP(V4), "both.example")) is False


def test_ids_and_ports_are_not_the_same_twice(dns: DNSServer, resolver: Resolver) -> None:
    """A4: C's tcpserver uses the same for every caller. Thirty equal ones by chance are one case in 2**16**29."""
    for _ in range(30):
        complete(resolver.a("four.example"))
    assert len({query.ident for query in dns.queries}) > 20
    assert len({query.source for query in dns.queries}) > 10


def test_an_ipv6_name_server_is_asked() -> None:
    """A24: C cannot once it listens on an IPv4 address."""
    with DNSServer(ZONE, host="::1") as dns:
        assert complete(Resolver([dns.endpoint]).ptr(IP(V4))) == "both.example"


# TCP


def test_a_truncated_answer_is_asked_for_over_tcp(dns: DNSServer, resolver: Resolver) -> None:
    assert complete(resolver.txt("large.example")) == [b"x" * 700]
    assert [query.transport for query in dns.queries] == ["udp", "tcp"]
    assert dns.queries[0].ident != dns.queries[1].ident or dns.queries[0].source != dns.queries[1].source


def test_a_truncated_answer_without_tcp_is_trouble() -> None:
    with DNSServer(ZONE, tcp=False) as dns, pytest.raises(LookupTroubleError) as caught:
        complete(Resolver([dns.endpoint]).txt("large.example"))
    assert caught.value.errno == errno.ECONNREFUSED


@pytest.mark.parametrize(
    ("answer", "number"),
    [
        (lambda query: [respond(query, flags=0x8380)], errno.EPROTO),
        (lambda query: [respond(query._replace(ident=query.ident ^ 1))], errno.EPROTO),
        (lambda _: [b""], errno.EPROTO),
        (lambda query: [respond(query, b"\xff")[:-1], b"x"], errno.EPROTO),
        (lambda _: [], errno.ETIMEDOUT),
    ],
    ids=["truncated-again", "wrong-id", "empty", "broken", "silent"],
)
def test_nonsense_over_tcp_is_trouble(answer: object, number: int) -> None:
    def special(query: Query) -> list[bytes] | None:
        return answer(query) if query.transport == "tcp" else None  # type: ignore[operator]

    with DNSServer(ZONE, special) as dns, pytest.raises(LookupTroubleError) as caught:
        complete(Resolver([dns.endpoint], patience=5.0 if number == errno.EPROTO else 0.1).txt("large.example"))
    assert caught.value.errno == number


def test_a_tcp_answer_may_come_in_pieces() -> None:
    with socket.socket() as listener, socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as udp:
        listener.bind(("127.0.0.1", 0))
        listener.listen()
        udp.bind(listener.getsockname())

        def serve() -> None:
            packet, source = udp.recvfrom(600)
            udp.sendto(packet[:2] + b"\x83\x80" + packet[4:], source)
            client = listener.accept()[0]
            with client:
                query = client.recv(600)[2:]
                end = 12 + len("four.example") + 2 + 4
                answer = query[:2] + b"\x81\x80" + query[4:6] + b"\0\1" + query[8:end] + record("four.example", "A", V4)
                for byte in struct.pack("!H", len(answer)) + answer:
                    client.sendall(bytes([byte]))

        thread = threading.Thread(target=serve)
        thread.start()
        try:
            assert complete(Resolver([Endpoint(*listener.getsockname())]).a("four.example")) == [IP(V4)]
        finally:
            thread.join()


# Servers that fail


@pytest.mark.parametrize("rcode", [fake.SERVFAIL, fake.REFUSED, fake.FORMERR])
def test_a_server_that_fails_is_passed_over_at_once(dns: DNSServer, rcode: int) -> None:
    with DNSServer({}, lambda query: [respond(query, rcode=rcode)]) as failing:
        resolver = Resolver([failing.endpoint, dns.endpoint], pauses=(3600.0,), patience=3600.0)
        assert complete(resolver.a("four.example")) == [IP(V4)]
        assert len(failing.queries) == 1


def test_a_refusing_server_is_passed_over_at_once(dns: DNSServer, refusing: Endpoint) -> None:
    resolver = Resolver([refusing, dns.endpoint], pauses=(3600.0,), patience=3600.0)
    assert complete(resolver.a("four.example")) == [IP(V4)]


def test_a_server_without_a_route_or_an_interface_is_passed_over(dns: DNSServer) -> None:
    unusable = [Endpoint("fe80::1", 53, "nosuchif"), Endpoint("fe80::1", 53)]
    assert complete(Resolver([*unusable, dns.endpoint]).a("four.example")) == [IP(V4)]


def test_a_silent_server_is_passed_over_after_its_pause(dns: DNSServer, silent: Endpoint) -> None:
    assert complete(Resolver([silent, dns.endpoint], pauses=(0.01,)).a("four.example")) == [IP(V4)]


def test_a_late_answer_counts_although_the_next_server_was_asked(silent: Endpoint) -> None:
    release = threading.Event()

    def hold(query: Query) -> list[bytes] | None:
        release.wait(60)
        return None

    def second(query: Query) -> list[bytes]:
        release.set()
        return []

    with DNSServer(ZONE, hold) as slow, DNSServer(ZONE, second) as other:
        resolver = Resolver([slow.endpoint, other.endpoint], pauses=(0.01, 3600.0), patience=3600.0)
        assert complete(resolver.a("four.example")) == [IP(V4)]
        assert (len(slow.queries) >= 1, len(other.queries)) == (True, 1)


def test_a_silent_server_is_asked_again(dns: DNSServer) -> None:
    lost: list[Query] = []

    def lose_the_first(query: Query) -> list[bytes] | None:
        lost.append(query)
        return [] if len(lost) == 1 else None

    with DNSServer(ZONE, lose_the_first) as server:
        assert complete(Resolver([server.endpoint], pauses=(0.01, 3600.0)).a("four.example")) == [IP(V4)]
    assert lost[0].source != lost[1].source


def test_trouble_has_its_reason_and_is_not_no(refusing: Endpoint, silent: Endpoint) -> None:
    """A12: C says that the name has no address."""
    for servers, number in [
        ([refusing], errno.ECONNREFUSED),
        ([refusing, refusing], errno.ECONNREFUSED),
        ([silent], errno.ETIMEDOUT),
        ([refusing, silent], errno.ETIMEDOUT),
    ]:
        for task in ("addresses", "a", "txt"):
            with pytest.raises(LookupTroubleError) as caught:
                complete(getattr(Resolver(servers, pauses=(0.01,), patience=0.1), task)("four.example"))
            assert caught.value.errno == number
    with DNSServer({}, lambda query: [respond(query, rcode=fake.SERVFAIL)]) as failing:
        with pytest.raises(LookupTroubleError) as caught:
            complete(Resolver([failing.endpoint]).ptr(IP(V4)))
        assert caught.value.errno == errno.EAGAIN


def test_a_lame_server_is_passed_over(dns: DNSServer) -> None:
    def refer(query: Query) -> list[bytes]:
        packet = respond(query, flags=0x8000)
        return [packet[:8] + b"\0\1" + packet[10:] + record("example", "NS", "ns.example")]

    with DNSServer({}, refer) as lame:
        assert complete(Resolver([lame.endpoint, dns.endpoint]).a("four.example")) == [IP(V4)]
        assert len(lame.queries) == 1


@pytest.mark.parametrize("name", ["x" * 64, "a." * 130])
def test_a_name_that_dns_cannot_carry_is_a_protocol_error_and_asked_nobody(
    dns: DNSServer, resolver: Resolver, name: str
) -> None:
    with pytest.raises(LookupTroubleError) as caught:
        complete(resolver.addresses(name))
    assert caught.value.errno == errno.EPROTO
    assert dns.queries == []


# One family that does not answer


@pytest.mark.parametrize(("lost", "left"), [("AAAA", V4), ("A", V6)])
def test_a_family_whose_answers_are_lost_costs_a_moment(lost: str, left: str) -> None:
    """A12: in C 59 s. With patience for hours, only the short wait for the second family can end this."""
    zone: Zone = {"x.example": {"A": [V4], "AAAA": [V6]}}
    with DNSServer(zone, lambda query: [] if query.kind == lost else None) as dns:
        resolver = Resolver([dns.endpoint], pauses=(3600.0,), patience=3600.0)
        assert complete(resolver.addresses("x.example")) == [IP(left)]


@pytest.mark.parametrize("failing", ["AAAA", "A"])
def test_a_family_that_fails_is_trouble_only_if_the_other_has_nothing(failing: str) -> None:
    other = "A" if failing == "AAAA" else "AAAA"
    zone: Zone = {"x.example": {other: [V4 if other == "A" else V6]}, "e": {}}

    def special(query: Query) -> list[bytes] | None:
        return [respond(query, rcode=fake.SERVFAIL)] if query.kind == failing else None

    with DNSServer(zone, special) as dns:
        resolver = Resolver([dns.endpoint])
        assert complete(resolver.addresses("x.example")) == [IP(V4 if other == "A" else V6)]
        with pytest.raises(LookupTroubleError):
            complete(resolver.addresses("e"))


# Hostile answers


def test_forged_and_stray_packets_are_ignored() -> None:
    def with_strays(query: Query) -> list[bytes]:
        forged = record(query.name, "A", "203.0.113.66")
        other = query._replace(packet=query.packet[:12] + fake.encode_name("evil.example") + query.packet[-4:])
        return [
            b"",
            fake.garbage(),
            respond(query._replace(ident=query.ident ^ 0xFFFF), forged),
            respond(other, forged),
            respond(query, forged, flags=0x0180),
            respond(query, record(query.name, "A", V4)),
        ]

    with DNSServer({}, with_strays) as dns:
        assert complete(Resolver([dns.endpoint]).a("four.example")) == [IP(V4)]


def test_answers_from_another_address_are_ignored(dns: DNSServer, silent: Endpoint) -> None:
    """Somebody who knows ID and port, but not how to send from the server's address."""

    def special(query: Query) -> list[bytes]:
        with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as forger:
            forger.bind(("127.0.0.1", 0))
            forger.sendto(respond(query, record(query.name, "A", "203.0.113.66")), query.source)
        return [respond(query, record(query.name, "A", V4))]

    with DNSServer({}, special) as server:
        assert complete(Resolver([server.endpoint]).a("four.example")) == [IP(V4)]


def test_a_flood_of_wrong_packets_makes_us_leave_the_port(dns: DNSServer) -> None:
    """Guessing needs many tries on one port; after a few we are somewhere else."""

    def flood(query: Query) -> list[bytes]:
        return [respond(query._replace(ident=(query.ident + n) & 0xFFFF)) for n in range(1, MAX_STRAYS + 1)]

    with DNSServer({}, flood) as flooded:
        resolver = Resolver([flooded.endpoint, dns.endpoint], pauses=(3600.0,), patience=3600.0)
        assert complete(resolver.a("four.example")) == [IP(V4)]


def test_records_of_other_names_in_the_answer_do_not_count() -> None:
    def poison(query: Query) -> list[bytes]:
        return [respond(query, record("other.example", "A", "203.0.113.66"), record(query.name, "A", V4))]

    with DNSServer({}, poison) as dns:
        assert complete(Resolver([dns.endpoint]).a("four.example")) == [IP(V4)]


@pytest.mark.parametrize(
    "tail", [b"\xc0\x00", record(b"\xc0\x20", "A", V4), record("a", "A", b"\x01"), b"", b"\x3f" + b"x" * 400]
)
def test_a_malformed_answer_is_trouble(tail: bytes) -> None:
    with (
        DNSServer({}, lambda query: [respond(query, tail, count=3)]) as dns,
        pytest.raises(LookupTroubleError) as caught,
    ):
        complete(Resolver([dns.endpoint]).a("four.example"))
    assert caught.value.errno == errno.EPROTO


# Not blocking


def test_many_lookups_share_one_thread_and_a_silent_server_delays_only_its_own(
    dns: DNSServer, silent: Endpoint
) -> None:
    good, bad = Resolver([dns.endpoint]), Resolver([silent], patience=3600.0)
    with selectors.DefaultSelector() as selector:
        tasks = Tasks(selector)
        ended: list[Outcome[str | None]] = []
        waiting = bad.ptr(IP(V4))
        tasks.start(waiting, ended.append)
        for _ in range(50):
            tasks.start(good.ptr(IP(V4)), ended.append)
        while len(ended) < 50:
            for key, _ in selector.select(60):
                tasks.on_event(*key.data)
            tasks.on_time(time.monotonic())
        assert {outcome.value for outcome in ended} == {"both.example"}
        tasks.cancel(waiting)
        assert not selector.get_map()


def test_no_descriptor_is_left_open(dns: DNSServer, refusing: Endpoint, silent: Endpoint) -> None:
    def descriptors() -> list[str]:
        return sorted(os.listdir("/proc/self/fd" if os.path.exists("/proc/self/fd") else "/dev/fd"))

    before = descriptors()
    complete(Resolver([refusing, silent, dns.endpoint], pauses=(0.01, 0.01)).addresses("both.example"))
    with pytest.raises(LookupTroubleError):
        complete(Resolver([silent, silent], **BRIEFLY).a("x"))  # type: ignore[arg-type]
    abandoned = Resolver([silent]).addresses("x")
    next(abandoned)
    abandoned.close()
    assert descriptors() == before


# Settings


def test_the_variable_names_the_servers_and_may_have_a_port(dns: DNSServer) -> None:
    resolver = Resolver(environ={"DNSCACHEIP": dns.address})
    assert (resolver.own, resolver.warning) == (True, "")
    assert complete(resolver.ptr(IP(V4))) == "both.example"


def test_a_variable_that_is_none_is_told_and_resolv_conf_used(tmp_path: Path) -> None:
    conf = tmp_path / "resolv.conf"
    conf.write_text("nameserver 192.0.2.53\n")
    resolver = Resolver(environ={"DNSCACHEIP": "dns\x1b.example"}, resolv_conf=str(conf))
    assert list(resolver.servers()) == [Endpoint("192.0.2.53", 53)]
    assert "'dns\\x1b.example'" in resolver.warning
    assert resolver.warning.isprintable()
    partly = Resolver(environ={"DNSCACHEIP": "127.0.0.9.x"}, resolv_conf=str(conf))
    assert list(partly.servers()) == [Endpoint("127.0.0.9", 53)]
    assert "127.0.0.9" in partly.warning


def test_resolv_conf_is_read_again_when_it_has_changed(tmp_path: Path) -> None:
    conf = tmp_path / "resolv.conf"
    local = [Endpoint("::1", 53), Endpoint("127.0.0.1", 53)]
    resolver = Resolver(environ={}, resolv_conf=str(conf))
    assert not resolver.own
    assert list(resolver.servers()) == local
    conf.write_text("nameserver 192.0.2.53\n")
    assert list(resolver.servers()) == [Endpoint("192.0.2.53", 53)]
    conf.write_text("nameserver 2001:db8::53\n")
    assert list(resolver.servers()) == [Endpoint("2001:db8::53", 53)]
    conf.write_text("# none\n")
    assert list(resolver.servers()) == local


# Host operands


@pytest.mark.parametrize(
    ("text", "address"),
    [
        ("127.0.0.1", "127.0.0.1"),
        ("127.000.000.001", "127.0.0.1"),
        ("127.0.0.1.", "127.0.0.1"),
        ("[127.0.0.1]", "127.0.0.1"),
        ("::ffff:127.0.0.1", "127.0.0.1"),
        ("::ffff:7f00:1", "127.0.0.1"),
        ("::1", "::1"),
        ("[::1]", "::1"),
        ("::1.", "::1"),
        ("::", "::"),
        ("::0", "::"),
        ("fe80::", "fe80::"),
        ("2001:DB8::", "2001:db8::"),
        ("1:2:3:4:5:6:7::", "1:2:3:4:5:6:7:0"),
        ("fe80::1%eth0", "fe80::1%eth0"),
        ("[fe80::1%eth0]", "fe80::1%eth0"),
    ],
)
def test_literals_stand_for_themselves(text: str, address: str) -> None:
    """A9, A10: C refuses ``::`` at the end, and brackets."""
    found = literal(text)
    assert found is not None
    assert str(found) == address


@pytest.mark.parametrize(
    "text",
    [
        *("127.0.0.257", "127.0.0.1000", "12345::1", "1:2:3:4:5:6:7:8:9", ":1:2:3:4:5:6:7:8", "127.1", "2130706433"),
        *("1.2.3", "1.2.3.4.5", "0x7f.1", "0x7f000001", "::1%lo%x", "127.0.0.1:80", "[::1]:80", "[::1", "[host]", "."),
        *("...", "a:b", "::1 ", "[1.2.3.4.5.6.7.8.9.10.11.12.13.14.15.16]", "[[::1]]", "host\0", "[]"),
    ],
)
def test_what_looks_like_an_address_and_is_none_is_refused(text: str) -> None:
    """A13: in C 127.0.0.257 is 127.0.0.1."""
    with pytest.raises(BadHostError):
        literal(text)


@pytest.mark.parametrize(
    "text", ["host", "10.0.0.1.example", "1.example", "127.0.0.1x", "0x7g", "a.1", "-", "localhost"]
)
def test_everything_else_is_a_name(text: str) -> None:
    """A11: C cannot resolve names that begin with a dotted quad."""
    assert literal(text) is None


def test_host_operands_ask_the_servers_of_the_variable(dns: DNSServer, tmp_path: Path) -> None:
    environ = {"DNSCACHEIP": dns.address, "DNSREWRITEFILE": str(tmp_path / "none"), "LOCALDOMAIN": "nowhere example"}
    resolver = Resolver(environ=environ)

    def found(host: str) -> list[str]:
        return [str(endpoint) for endpoint in complete(resolver.host_addresses(host))]

    assert found("10.0.0.1.example") == [V4]
    assert found("four.example.") == [V4]
    dns.queries.clear()
    assert found("both") == [V6, V4, "192.0.2.2"]
    assert sorted(dns.asked()) == [
        ("both.example", "A"),
        ("both.example", "AAAA"),
        ("both.nowhere", "A"),
        ("both.nowhere", "AAAA"),
    ]
    dns.queries.clear()
    assert found("none.example") == []
    dns.queries.clear()
    assert found("0") == found("") == ["::", "0.0.0.0"]
    assert found("127.0.0.1.") == ["127.0.0.1"]
    assert found("LocalHost.") == ["::1", "127.0.0.1"]
    assert found("fe80::1%eth0") == ["fe80::1%eth0"]
    assert dns.queries == []


def test_ipv4_only_asks_for_nothing_else(dns: DNSServer) -> None:
    """A22: C's -4 looks AAAA up all the same, and tries it."""
    resolver = Resolver(environ={"DNSCACHEIP": dns.address})
    for host, found in [("both.example", [V4, "192.0.2.2"]), ("six.example", []), ("localhost", ["127.0.0.1"])]:
        assert [str(end) for end in complete(resolver.host_addresses(host, ipv4_only=True))] == found
    assert {kind for _, kind in dns.asked()} == {"A"}
    assert complete(resolver.host_addresses("0", ipv4_only=True)) == [Endpoint("0.0.0.0")]


@pytest.mark.needs("/etc/hosts")
def test_ipv4_only_asks_the_system_for_nothing_else() -> None:
    system = Resolver(environ={})
    assert complete(system.host_addresses("localhost", ipv4_only=True)) == [Endpoint("127.0.0.1")]


def test_a_rewrite_file_may_turn_a_name_into_an_address(dns: DNSServer, tmp_path: Path) -> None:
    file = tmp_path / "rewrite"
    file.write_text("=db:192.0.2.7\n=bad:127.0.0.257\n")
    resolver = Resolver(environ={"DNSCACHEIP": dns.address, "DNSREWRITEFILE": str(file)})
    assert complete(resolver.host_addresses("db")) == [Endpoint("192.0.2.7")]
    with pytest.raises(BadHostError):
        complete(resolver.host_addresses("bad"))
    assert dns.queries == []


@pytest.mark.needs("/etc/hosts")
def test_without_the_variable_the_system_is_asked() -> None:
    resolver = Resolver(environ={})
    assert {endpoint.ip.is_loopback for endpoint in complete(resolver.host_addresses("localhost"))} == {True}


def test_without_the_variable_what_is_no_name_is_judged_all_the_same() -> None:
    resolver = Resolver(environ={})
    assert complete(resolver.host_addresses("::1")) == [Endpoint("::1")]
    with pytest.raises(BadHostError):
        complete(resolver.host_addresses("127.1"))
    with pytest.raises(LookupTroubleError):
        complete(resolver.host_addresses("x" * 64))


def test_figure_out_says_it_in_the_words_of_c(dns: DNSServer, refusing: Endpoint) -> None:
    resolver = Resolver([dns.endpoint])
    assert figure_out("tcpserver", "four.example", resolver) == [Endpoint(V4)]
    for host, server, line in [
        ("none.example", dns.endpoint, "tcpserver: fatal: no IP address for none.example"),
        (
            "127.0.0.257",
            dns.endpoint,
            "tcpserver: fatal: no IP address for 127.0.0.257: the numbers of an IPv4 address are 0 to 255",
        ),
        (
            "four.example",
            refusing,
            "tcpserver: fatal: temporarily unable to figure out IP address for four.example: connection refused",
        ),
        (
            "x" * 64,
            dns.endpoint,
            f"tcpserver: fatal: temporarily unable to figure out IP address for {'x' * 64}: protocol error",
        ),
    ]:
        with pytest.raises(Stop) as caught:
            figure_out("tcpserver", host, Resolver([server]))
        assert (caught.value.status, caught.value.lines) == (111, (line,))


@pytest.mark.netns
def test_a_server_at_a_link_local_address_is_reached_through_its_zone(netns: Callable[..., Namespace]) -> None:
    namespace = netns("fe80::53/64")
    with DNSServer(ZONE, host="::", port=53, namespace=namespace):
        assert namespace.call(ptr_by, "fe80::53%lo", V4) == "both.example"


def ptr_by(server: str, ip: str) -> str | None:
    return complete(Resolver(environ={"DNSCACHEIP": server}).ptr(ipaddress.ip_address(ip)))
