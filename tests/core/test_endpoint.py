"""Endpoint: the value a server author works with."""

from __future__ import annotations

import copy
import pickle
from ipaddress import IPv4Address, IPv6Address, ip_address

import pytest
from hypothesis import given
from hypothesis import strategies as st

from ucspi_env import Connection, Descriptor, Endpoint, Facts, Networks, Problem, UnixPeer

addresses = st.one_of(st.ip_addresses(v=4), st.ip_addresses(v=6))
endpoints = st.builds(
    Endpoint, addresses, st.none() | st.integers(0, 65535), st.none() | st.sampled_from(["eth0", "2"])
)


@pytest.mark.parametrize(
    ("endpoint", "text"),
    [
        (Endpoint("192.0.2.1", 25), "192.0.2.1:25"),
        (Endpoint("::ffff:192.0.2.1", 25), "192.0.2.1:25"),
        (Endpoint("2001:db8::1", 25), "[2001:db8::1]:25"),
        (Endpoint("fe80::1%eth0", 25), "[fe80::1%eth0]:25"),
        (Endpoint("fe80::1", 25, zone="eth0"), "[fe80::1%eth0]:25"),
        (Endpoint("192.0.2.1"), "192.0.2.1"),
        (Endpoint("2001:db8:0:1:1:1:1:1"), "2001:db8:0:1:1:1:1:1"),
        (Endpoint("fe80::1%eth0"), "fe80::1%eth0"),
    ],
)
def test_text(endpoint: Endpoint, text: str) -> None:
    assert str(endpoint) == text
    assert Endpoint.parse(text) == endpoint


@given(endpoints)
def test_text_round_trip(endpoint: Endpoint) -> None:
    assert Endpoint.parse(str(endpoint)) == endpoint


@pytest.mark.parametrize("text", ["192.0.2.1:", "192.0.2.1:x", "[::1]:65536", "[::1]x", "x", "192.0.2.256:25"])
def test_text_that_is_none(text: str) -> None:
    with pytest.raises(ValueError, match=r"is not|port"):
        Endpoint.parse(text)


def test_a_mapped_object_is_normalised_too() -> None:
    assert Endpoint(IPv6Address("::ffff:192.0.2.1")).ip == IPv4Address("192.0.2.1")


def test_the_address_never_carries_a_zone() -> None:
    endpoint = Endpoint(IPv6Address("fe80::1%eth0"))

    assert (endpoint.ip, endpoint.zone) == (IPv6Address("fe80::1"), "eth0")


def test_only_link_local_addresses_keep_a_zone() -> None:
    assert Endpoint("2001:db8::1", zone="eth0").zone is None
    assert Endpoint("192.0.2.1", zone="eth0").zone is None


@pytest.mark.parametrize("port", [-1, 65536, True, "25", 1.0])
def test_ports_out_of_range(port: object) -> None:
    with pytest.raises(ValueError, match="port"):
        Endpoint("192.0.2.1", port)  # type: ignore[arg-type]


@pytest.mark.parametrize("ip", [b"192.0.2.1", 3221225985, None, ("192.0.2.1", 25)])
def test_what_is_no_address_at_all(ip: object) -> None:
    with pytest.raises(TypeError, match="neither an IP address"):
        Endpoint(ip)  # type: ignore[arg-type]


def test_equality_is_address_port_and_zone() -> None:
    assert Endpoint("::ffff:192.0.2.1", 25, host="a.example") == Endpoint("192.0.2.1", 25, info="joe")
    assert hash(Endpoint("192.0.2.1", 25, host="a.example")) == hash(Endpoint("192.0.2.1", 25))
    assert Endpoint("192.0.2.1", 25) != Endpoint("192.0.2.1", 26)
    assert Endpoint("fe80::1", 25, "eth0") != Endpoint("fe80::1", 25, "eth1")
    assert Endpoint("192.0.2.1") != "192.0.2.1"


@pytest.mark.parametrize(
    "value",
    [
        Endpoint("fe80::1", 25, "eth0", "a.example", "joe"),
        UnixPeer(0, 0, 1, "/run/x"),
        Problem("bad-port", "error", "TCPREMOTEPORT", "x", "message", "hint"),
        Connection(remote=Endpoint("192.0.2.1", 25), evidence="kernel"),
        Descriptor("socket", family="inet", type="stream"),
        Facts({0: Descriptor("pipe")}, pid=1),
        Networks.parse(["10.0.0.0/8", "2001:db8::/32"]),
    ],
)
def test_values_are_frozen_hashable_and_picklable(value: object) -> None:
    field = type(value).__slots__[0]  # type: ignore[attr-defined]

    with pytest.raises(AttributeError, match="frozen"):
        setattr(value, field, None)
    with pytest.raises(AttributeError, match="frozen"):
        delattr(value, field)
    with pytest.raises(AttributeError):
        value.extra = 1  # type: ignore[attr-defined]
    again = pickle.loads(pickle.dumps(value))
    assert again == value == copy.deepcopy(value)
    assert hash(again) == hash(value)
    assert repr(again) == repr(value)
    assert type(value).__name__ in repr(value)


def test_pickling_keeps_what_equality_does_not_see() -> None:
    again = pickle.loads(pickle.dumps(Endpoint("192.0.2.1", 25, None, "a.example", "joe")))

    assert (again.host, again.info) == ("a.example", "joe")


@pytest.mark.parametrize(
    ("ip", "network", "key"),
    [
        ("192.0.2.1", "192.0.2.1/32", "c0000201"),
        ("::ffff:192.0.2.1", "192.0.2.1/32", "c0000201"),
        ("2001:db8:1:2:3:4:5:6", "2001:db8:1:2::/64", "20010db8000100020000000000000000"),
        ("fe80::1%eth0", "fe80::/64", "fe800000000000000000000000000000"),
        ("::1", "::/64", "0" * 32),
    ],
)
def test_network_and_key(ip: str, network: str, key: str) -> None:
    assert str(Endpoint(ip, 25).network()) == network
    assert Endpoint(ip, 25).key() == key


@given(addresses, st.integers(0, 32), st.integers(0, 128))
def test_the_network_holds_the_address_and_names_the_key(ip: IPv4Address | IPv6Address, v4: int, v6: int) -> None:
    endpoint = Endpoint(ip)
    network = endpoint.network(v4, v6)

    assert endpoint.ip in network
    assert network.prefixlen == (v4 if network.version == 4 else v6)
    assert endpoint.key(v4, v6) == Endpoint(network.network_address).key(32, 128)


@pytest.mark.parametrize(("v4", "v6"), [(33, 64), (-1, 64), (True, 64)])
def test_prefix_lengths_out_of_range(v4: int, v6: int) -> None:
    with pytest.raises(ValueError, match="prefix length"):
        Endpoint("192.0.2.1").network(v4, v6)
    Endpoint("2001:db8::1").network(v4, v6)  # the other family's length is not looked at


def test_dns_lists_by_both_families() -> None:
    assert Endpoint("192.0.2.99").dnsbl_name("zen.example.org.") == "99.2.0.192.zen.example.org"
    assert Endpoint("::ffff:192.0.2.99").dnsbl_name("zen.example.org") == "99.2.0.192.zen.example.org"
    # RFC 5782, section 2.4
    assert Endpoint("2001:db8:1:2:3:4:567:89ab").dnsbl_name("ugly.example.com") == (
        "b.a.9.8.7.6.5.0.4.0.0.0.3.0.0.0.2.0.0.0.1.0.0.0.8.b.d.0.1.0.0.2.ugly.example.com"
    )
    with pytest.raises(ValueError, match="zone"):
        Endpoint("192.0.2.99").dnsbl_name(".")


def test_address_literals() -> None:
    assert Endpoint("192.0.2.1", 25).address_literal == "[192.0.2.1]"
    assert Endpoint("fe80::1%eth0", 25).address_literal == "[IPv6:fe80::1]"


@pytest.mark.parametrize(
    ("endpoint", "scope_id", "sockaddr"),
    [
        (Endpoint("192.0.2.1", 25), 3, ("192.0.2.1", 25)),
        (Endpoint("192.0.2.1"), 0, ("192.0.2.1", 0)),
        (Endpoint("2001:db8::1", 25), 0, ("2001:db8::1", 25, 0, 0)),
        (Endpoint("fe80::1%eth0", 25), 3, ("fe80::1", 25, 0, 3)),
        (Endpoint("fe80::1%7", 25), 0, ("fe80::1", 25, 0, 7)),
    ],
)
def test_sockaddr(endpoint: Endpoint, scope_id: int, sockaddr: tuple[object, ...]) -> None:
    assert endpoint.sockaddr(scope_id) == sockaddr


class TestNetworks:
    """Allow and deny lists."""

    NETWORKS = Networks.parse(["10.0.0.0/8", "192.0.2.7", "2001:db8::/32", "::1", "::ffff:198.51.100.0/120"])

    @pytest.mark.parametrize(
        ("text", "inside"),
        [
            ("10.255.0.1", True),
            ("::ffff:10.0.0.1", True),
            ("::ffff:a00:1", True),
            ("11.0.0.1", False),
            ("192.0.2.7", True),
            ("192.0.2.8", False),
            ("198.51.100.9", True),
            ("2001:db8:ffff::1", True),
            ("2001:db9::1", False),
            ("::1", True),
            ("::2", False),
        ],
    )
    def test_membership(self, text: str, inside: bool) -> None:
        assert (Endpoint(text, 25) in self.NETWORKS) is inside
        assert (text in self.NETWORKS) is inside
        assert (ip_address(text) in self.NETWORKS) is inside

    def test_families_are_apart(self) -> None:
        assert Endpoint("192.0.2.1") not in Networks.parse(["::/0"])
        assert Endpoint("::1") not in Networks.parse(["0.0.0.0/0"])

    @pytest.mark.parametrize(
        ("text", "complaint"),
        [
            ("10.0.0.1/8", "write 10.0.0.0/8"),
            ("2001:db8::1/32", "write 2001:db8::/32"),
            ("10.0.0.0/33", "out of range"),
            ("10.0.0.0/", "prefix length"),
            ("10.0.0.0/255.0.0.0", "prefix length"),
            ("10.", "not an IP address"),
            ("fe80::1%eth0", "zone"),
            ("::ffff:10.0.0.0/8", "out of range"),
            ("example.org", "not an IP address"),
        ],
    )
    def test_bad_text_is_named(self, text: str, complaint: str) -> None:
        with pytest.raises(ValueError, match=complaint) as caught:
            Networks.parse([text])
        assert repr(text) in str(caught.value)

    def test_one_text_is_a_mistake(self) -> None:
        with pytest.raises(TypeError, match="list"):
            Networks.parse("10.0.0.0/8")

    def test_other_things_are_a_mistake(self) -> None:
        with pytest.raises(TypeError, match="int"):
            assert 5 in self.NETWORKS

    @given(st.lists(st.tuples(st.ip_addresses(v=6), st.integers(0, 128)), max_size=8), st.ip_addresses(v=6))
    def test_agrees_with_ipaddress(self, parts: list[tuple[IPv6Address, int]], ip: IPv6Address) -> None:
        networks = [Endpoint(address).network(min(length, 32), length) for address, length in parts]
        found = Networks(networks)

        assert (ip in found) is any(Endpoint(ip).ip in network for network in networks)
        assert set(found) == set(networks)
        assert len(found) == len(set(networks))
