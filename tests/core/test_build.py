"""The way back: writing a connection down in a dialect, so that its readers read the same."""

from __future__ import annotations

import pickle
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from ucspi_env import (
    Connection,
    DialectError,
    Endpoint,
    EnvChange,
    Facts,
    UnixPeer,
    build,
    dialect,
    dialects,
    identify,
)
from ucspi_env._build import project
from ucspi_env._dialects import PEER_VARIABLES

V4 = Connection(
    remote=Endpoint("192.0.2.1", 4711, host="a.example", info="joe"), local=Endpoint("198.51.100.1", 25, host="0")
)
V6 = Connection(remote=Endpoint("2001:db8:0:1:1:1:1:1", 4711), local=Endpoint("2001:db8::2", 25))
LINK = Connection(remote=Endpoint("fe80::1%eth0", 4711), local=Endpoint("fe80::2%eth0", 25))
SPEAKING = [row.name for row in dialects() if row.writes]

labels = st.from_regex(r"[a-z][a-z0-9]{0,10}", fullmatch=True)
hosts = st.none() | st.lists(labels, min_size=1, max_size=3).map(".".join).filter(lambda h: not h.startswith("softdns"))
infos = st.none() | st.text("abcxyz :;$()\"'", min_size=1, max_size=20)
addresses = st.ip_addresses().filter(lambda ip: not Endpoint(ip).ip.is_unspecified)
remotes = st.builds(Endpoint, addresses, st.integers(0, 65535), st.none() | st.just("eth0"), hosts, infos)
locals_ = st.none() | st.builds(Endpoint, addresses, st.integers(0, 65535), st.none() | st.just("eth0"), hosts)
connections = st.builds(
    lambda remote, local, udp: Connection(remote=remote, local=local, transport="udp" if udp else "tcp"),
    remotes,
    locals_,
    st.booleans(),
)


def facts_of(connection: Connection) -> tuple[Any, ...]:
    """What a round trip must keep: everything but the label and the evidence."""
    ends = [(end, end.host, end.info) if end is not None else None for end in (connection.remote, connection.local)]
    return (*ends, connection.unix, connection.transport, connection.proto, connection.raw_proto)


def test_the_ipv6_patch_for_an_ipv4_peer() -> None:
    assert build(V4).set == {
        "PROTO": "TCP",
        "TCPREMOTEIP": "192.0.2.1",
        "TCPREMOTEPORT": "4711",
        "TCPREMOTEHOST": "a.example",
        "TCPREMOTEINFO": "joe",
        "TCPLOCALIP": "198.51.100.1",
        "TCPLOCALPORT": "25",
        "TCPLOCALHOST": "0",
        "TCP6REMOTEIP": "::ffff:192.0.2.1",
        "TCP6REMOTEPORT": "4711",
        "TCP6REMOTEHOST": "a.example",
        "TCP6REMOTEINFO": "joe",
        "TCP6LOCALIP": "::ffff:198.51.100.1",
        "TCP6LOCALPORT": "25",
        "TCP6LOCALHOST": "0",
    }


def test_the_ipv6_patch_with_minus_6() -> None:
    change = build(V4, as_ipv6=True).set

    assert change["PROTO"] == "TCP6"
    assert change["TCPREMOTEIP"] == change["TCP6REMOTEIP"] == "::ffff:192.0.2.1"
    assert change["TCPLOCALIP"] == "::ffff:198.51.100.1"


def test_the_ipv6_patch_for_ipv6_and_link_local_peers() -> None:
    assert build(V6).set["TCPREMOTEIP"] == "2001:db8::1:1:1:1:1"  # its own compression, one group
    assert build(V6).set["PROTO"] == "TCP6"
    assert "TCP6INTERFACE" in build(V6).unset
    assert build(LINK).set["TCP6INTERFACE"] == "eth0"
    assert build(LINK).set["TCPREMOTEIP"] == "fe80::1"


@pytest.mark.parametrize(
    ("name", "connection", "expected"),
    [
        ("s6", V6, {"PROTO": "TCP", "TCPREMOTEIP": "2001:db8:0:1:1:1:1:1", "TCPCONNNUM": "0"}),
        ("s6", V4, {"TCPREMOTEHOST": "a.example."}),
        ("busybox", V6, {"TCPREMOTEADDR": "[2001:db8:0:1:1:1:1:1]:4711", "PROTO": "TCP"}),
        ("busybox", LINK, {"TCPREMOTEADDR": "[fe80::1%eth0]:4711"}),
        ("couriertcpd", V4, {"TCPREMOTEIP": "::ffff:192.0.2.1"}),
        ("socat", V4, {"SOCAT_PEERADDR": "192.0.2.1", "SOCAT_PEERPORT": "4711"}),
        ("socat", V6, {"SOCAT_PEERADDR": "[2001:0db8:0000:0001:0001:0001:0001:0001]"}),
        ("sshd", V4, {"SSH_CONNECTION": "192.0.2.1 4711 198.51.100.1 25", "SSH_CLIENT": "192.0.2.1 4711 25"}),
        ("xinetd", LINK, {"REMOTE_HOST": "fe80::1%eth0"}),
        ("systemd", V4, {"REMOTE_ADDR": "192.0.2.1", "REMOTE_PORT": "4711"}),
        ("sslserver-ipv6", V6, {"PROTO": "SSL6", "SSLREMOTEIP": "2001:db8:0:1:1:1:1:1"}),
        ("inetd", V4, {}),
    ],
)
def test_spellings(name: str, connection: Connection, expected: dict[str, str]) -> None:
    change = build(connection, name).set

    assert {key: change.get(key) for key in expected} == expected
    assert bool(change) is bool(expected)


def test_sshd_invents_no_address() -> None:
    with pytest.raises(DialectError, match="both addresses"):
        build(Connection(remote=V4.remote), "sshd")


def test_a_change_reads_as_it_is_written() -> None:
    change = EnvChange({"A": "1"}, {"B"})

    assert change == EnvChange(set={"A": "1"}, unset=["B"])
    assert repr(change) == "EnvChange(set={'A': '1'}, unset=frozenset({'B'}))"
    assert pickle.loads(pickle.dumps(change)) == change
    assert hash(change) == hash(EnvChange({"A": "1"}, {"B"}))


@pytest.mark.parametrize("name", [row.name for row in dialects()])
def test_nothing_of_another_dialect_is_left_behind(name: str) -> None:
    row = dialect(name)
    connection = V4
    if "unix" in row.transports:
        connection = Connection(unix=UnixPeer(0, 0, 1, "/x"))
    elif "tcp" not in row.transports:
        connection = Connection(remote=V4.remote, transport="udp")
    everything = dict.fromkeys(PEER_VARIABLES, "stale") | {"PATH": "/bin"}
    change = build(connection, name)

    assert not change.unset & change.set.keys()
    assert change.apply(everything) == {"PATH": "/bin"} | change.set


@given(connections, st.sampled_from(SPEAKING))
def test_reading_what_was_written_gives_what_the_dialect_carries(connection: Connection, name: str) -> None:
    try:
        change = build(connection, name)
    except DialectError:
        return
    again = identify(change.set, Facts())

    assert facts_of(again) == facts_of(project(connection, name))


@given(connections)
def test_the_default_dialect_loses_nothing_but_a_local_zone_of_another_link(connection: Connection) -> None:
    if connection.transport != "tcp":
        return
    again = identify(build(connection).set, Facts())

    assert (again.remote, again.proto) == (connection.remote, connection.proto)


@given(
    st.integers(0, 2**32 - 1), st.integers(0, 2**32 - 1), st.sampled_from(["ucspi-unix", "ucspi-ipc", "s6-ipcserver"])
)
def test_unix_callers_round_trip(uid: int, gid: int, name: str) -> None:
    connection = Connection(unix=UnixPeer(uid, gid, 7, "/run/client"))

    assert identify(build(connection, name).set, Facts()).unix == project(connection, name).unix


@pytest.mark.parametrize(
    ("connection", "name", "complaint"),
    [
        (V4, "nonsense", "not a dialect; there are ucspi-tcp-ipv6"),
        (V6, "ucspi-tcp", "IPv4 only"),
        (V6, "ipsvd", "IPv4 only"),
        (V4, "ucspi-unix", "for unix"),
        (Connection(unix=UnixPeer(0)), "ucspi-tcp", "unix connection"),
        (Connection(remote=V4.remote, transport="udp"), "ucspi-tcp", "udp connection"),
    ],
)
def test_what_a_dialect_cannot_say(connection: Connection, name: str, complaint: str) -> None:
    with pytest.raises(DialectError, match=complaint):
        build(connection, name)
    with pytest.raises(DialectError, match=complaint):
        project(connection, name)


def test_only_the_ipv6_patch_has_minus_6() -> None:
    with pytest.raises(DialectError, match="TCP6"):
        build(V4, "s6", as_ipv6=True)


def test_aliases_and_names_are_unique() -> None:
    names = [name for row in dialects() for name in (row.name, *row.aliases)]

    assert len(names) == len(set(names))
    assert all(dialect(name) in dialects() for name in names)


def test_a_change_is_a_value() -> None:
    assert build(V4) == build(V4)
    assert hash(build(V4)) == hash(build(V4))
    assert EnvChange({"A": "1"}, frozenset({"B"})).apply({"B": "2", "C": "3"}) == {"A": "1", "C": "3"}


@pytest.mark.parametrize(
    "arguments", [{}, {"remote": V4.remote, "unix": UnixPeer()}, {"remote": V4.remote, "evidence": "rumour"}]
)
def test_impossible_connections(arguments: dict[str, Any]) -> None:
    with pytest.raises(ValueError, match=r"either|evidence"):
        Connection(**arguments)
