"""The decision, step by step: what the kernel says against what variables say."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from ucspi_env import (
    BadVariableError,
    Connection,
    Descriptor,
    Endpoint,
    Facts,
    MissingVariableError,
    NoPeerYetError,
    NotUnderSuperServerError,
    UCSPIError,
    UnixPeer,
    identify,
)
from ucspi_env._dialects import PEER_VARIABLES

PEER = Endpoint("192.0.2.1", 4711)
HERE = Endpoint("198.51.100.1", 25)
TCP = {
    "PROTO": "TCP",
    "TCPREMOTEIP": "192.0.2.1",
    "TCPREMOTEPORT": "4711",
    "TCPLOCALIP": "198.51.100.1",
    "TCPLOCALPORT": "25",
}
PIPE = Descriptor("pipe")
PAIR = Descriptor("socket", family="unix", type="stream", sockname="", peername="")


def socket(peer: Endpoint | None = PEER, here: Endpoint = HERE, **more: object) -> Descriptor:
    family = "inet6" if here.ip.version == 6 else "inet"
    return Descriptor("socket", **{"family": family, "type": "stream", "sockname": here, "peername": peer} | more)  # type: ignore[arg-type]


def codes(connection: Connection) -> set[str]:
    return {problem.code for problem in connection.problems}


class TestConnectedSocket:
    """Step 1: the kernel knows the peer."""

    def test_agreeing_variables_are_confirmed(self) -> None:
        found = identify(TCP | {"TCPREMOTEHOST": "A.Example.", "TCPREMOTEINFO": "joe"}, Facts({0: socket()}))

        assert (found.remote, found.local, found.evidence, found.dialect) == (PEER, HERE, "confirmed", "ucspi-tcp")
        assert found.remote is not None
        assert (found.remote.host, found.remote.info) == ("a.example", "joe")
        assert not found.problems

    def test_no_variables(self) -> None:
        found = identify({}, Facts({0: socket()}))

        assert (found.remote, found.local, found.evidence, found.dialect) == (PEER, HERE, "kernel", "inetd")
        assert (found.proto, found.raw_proto, found.transport, found.tls) == ("TCP", None, "tcp", False)

    def test_stale_variables_lose_and_are_named(self) -> None:
        found = identify(TCP | {"TCPREMOTEIP": "203.0.113.66", "TCPREMOTEPORT": "666"}, Facts({0: socket()}))

        assert (found.remote, found.evidence) == (PEER, "kernel")
        assert [(p.code, p.variable, p.value) for p in found.problems] == [
            ("stale-variables", "TCPREMOTEIP", "203.0.113.66")
        ]

    def test_host_and_info_of_stale_variables_are_not_used(self) -> None:
        stale = {"TCPREMOTEIP": "203.0.113.66", "TCPREMOTEHOST": "stale.example", "TCPREMOTEINFO": "stale"}
        found = identify(stale, Facts({0: socket()}))

        assert found.remote is not None
        assert (found.remote.host, found.remote.info) == (None, None)

    def test_a_mapped_variable_confirms_an_ipv4_socket(self) -> None:
        found = identify({"TCPREMOTEIP": "::ffff:192.0.2.1", "TCPREMOTEPORT": "4711"}, Facts({0: socket()}))

        assert (found.remote, found.evidence, found.dialect) == (PEER, "confirmed", "couriertcpd")

    def test_an_address_without_a_port_confirms(self) -> None:
        found = identify({"REMOTE_HOST": "192.0.2.1"}, Facts({0: socket()}))

        assert (found.remote, found.evidence, found.dialect) == (PEER, "confirmed", "xinetd")

    def test_the_wrong_port_does_not(self) -> None:
        found = identify({"TCPREMOTEIP": "192.0.2.1", "TCPREMOTEPORT": "4712"}, Facts({0: socket()}))

        assert (found.evidence, codes(found)) == ("kernel", {"stale-variables"})

    def test_an_operators_rule_stands(self) -> None:
        """Both ports are this connection's, so the address was replaced on purpose (tcprules)."""
        environ = TCP | {"TCPREMOTEIP": "203.0.113.7", "TCP6REMOTEIP": "::ffff:192.0.2.1", "TCP6REMOTEPORT": "4711"}
        found = identify(environ, Facts({0: socket()}))

        assert (found.remote, found.evidence) == (Endpoint("203.0.113.7", 4711), "operator")
        assert codes(found) == {"operator-rule"}
        assert not found.vouched  # stale variables look the same, and callers choose their port

    def test_a_rule_needs_a_mark_or_the_operators_word_for_access_control(self) -> None:
        environ = TCP | {"TCPREMOTEIP": "203.0.113.7"}
        facts = Facts({0: socket()})

        for found in (
            identify(environ | {"UCSPI_RULE_PEER": str(PEER)}, facts),
            identify(environ | {"UCSPI_TRUST": "stunnel,rules"}, facts),
            identify(environ, facts, trust="rules"),
            # With the mark a rule may have set the port as well.
            identify(environ | {"TCPREMOTEPORT": "9", "UCSPI_RULE_PEER": str(PEER)}, facts),
        ):
            assert found.remote is not None
            assert (str(found.remote.ip), found.evidence, found.vouched) == ("203.0.113.7", "operator", True)
        for mark in ("192.0.2.1:4712", "192.0.2.9:4711", "192.0.2.1", "x", ""):
            assert not identify(environ | {"UCSPI_RULE_PEER": mark}, facts).vouched
        # What another service of this machine has left behind.
        stale = identify(environ | {"UCSPI_RULE_PEER": str(PEER), "TCPLOCALPORT": "26"}, facts)
        assert (stale.remote, stale.evidence) == (PEER, "kernel")

    def test_the_argument_replaces_the_operators_word(self) -> None:
        environ = TCP | {"TCPREMOTEIP": "203.0.113.7", "UCSPI_TRUST": "rules"}
        facts = Facts({0: socket()})

        assert identify(environ, facts).vouched
        assert not identify(environ, facts, trust="kernel").vouched
        assert not identify(environ, facts, trust="stunnel").vouched

    def test_a_word_that_means_nothing_is_ignored_and_named(self) -> None:
        found = identify(TCP | {"UCSPI_TRUST": "rules, proxi"}, Facts({0: socket()}))

        assert (found.evidence, codes(found)) == ("confirmed", {"bad-trust"})
        assert "'proxi'" in str(found.problems[0])
        with pytest.raises(ValueError, match="'socat:' is not kernel, proxy, rules, stunnel or socat:PREFIX"):
            identify(TCP, Facts(), trust="socat:")

    def test_a_rule_keeps_the_called_address(self) -> None:
        """The caller chooses its port: equal ports beside another called address are a coincidence, or an attempt."""
        environ = TCP | {"TCPREMOTEIP": "203.0.113.7", "TCPLOCALIP": "198.51.100.99"}

        assert identify(environ, Facts({0: socket()})).remote == PEER
        for listener in ("0.0.0.0", "::"):  # s6's
            assert identify(environ | {"TCPLOCALIP": listener}, Facts({0: socket()})).evidence == "operator"

    @pytest.mark.parametrize("proto", ["UNIX", "IPC"])
    def test_an_announced_unix_caller_on_an_ip_socket_is_flagged(self, proto: str) -> None:
        found = identify(TCP | {"PROTO": proto}, Facts({0: socket()}))

        assert (found.remote, codes(found)) == (PEER, {"proto-mismatch"})

    @pytest.mark.parametrize("text", ["0.0.0.0", "::", "garbage", ""])
    def test_what_is_no_address_is_no_rule(self, text: str) -> None:
        found = identify(TCP | {"TCPREMOTEIP": text}, Facts({0: socket()}))

        assert (found.remote, found.evidence) == (PEER, "kernel")

    def test_a_proxy_wrapper_that_appends_is_read_from_the_end(self) -> None:
        """ucspi-pp puts its variables behind tcpserver's, of the same names; Python sees the first of each."""
        balancer = Endpoint("10.0.0.9", 999)
        environ = TCP | {"TCPREMOTEIP": "10.0.0.9", "TCPREMOTEPORT": "999"}
        facts = Facts(
            {0: socket(balancer)},
            duplicates={"TCPREMOTEIP": ("10.0.0.9", "192.0.2.1"), "TCPREMOTEPORT": ("999", "4711")},
        )
        found = identify(environ, facts, trust="proxy")

        assert (found.remote, found.evidence) == (PEER, "proxy")
        told = next(problem for problem in found.problems if problem.variable == "TCPREMOTEIP")
        assert (told.code, told.value) == ("duplicate-variable", "192.0.2.1")
        assert "the last is used" in told.message
        assert identify(environ, facts).remote == balancer  # nobody said that there is a wrapper

    def test_proxy_wrapper_without_proof_needs_trust(self) -> None:
        environ = TCP | {"TCPREMOTEIP": "203.0.113.7", "TCPREMOTEPORT": "9"}
        facts = Facts({0: socket()})

        assert identify(environ, facts).remote == PEER
        for found in (identify(environ, facts, trust="proxy"), identify(environ | {"UCSPI_TRUST": "proxy"}, facts)):
            assert (found.remote, found.evidence) == (Endpoint("203.0.113.7", 9), "proxy")

    @pytest.mark.parametrize("environ", [{"UCSPI_TRUST": "proxy"}, {"UCSPI_PROXY_PEER": str(PEER)}])
    @pytest.mark.parametrize("text", ["", "0.0.0.0", "garbage"])
    def test_a_balancer_is_no_caller(self, environ: dict[str, str], text: str) -> None:
        found = identify(TCP | environ | {"TCPREMOTEIP": text}, Facts({0: socket()}))

        assert found.remote == PEER
        assert "missing-caller" in codes(found)

    def test_our_proxy_programs_prove_themselves(self) -> None:
        environ = TCP | {"TCPREMOTEIP": "203.0.113.7", "TCPREMOTEPORT": "9", "UCSPI_PROXY_PEER": str(PEER)}
        found = identify(environ, Facts({0: socket()}))

        assert (found.remote, found.evidence, found.dialect) == (Endpoint("203.0.113.7", 9), "proxy", "proxy")
        assert not found.problems

    @pytest.mark.parametrize("text", ["192.0.2.1:4712", "192.0.2.2:4711", "192.0.2.1", "x", ""])
    def test_a_stale_or_forged_proxy_peer_proves_nothing(self, text: str) -> None:
        environ = TCP | {"TCPREMOTEIP": "203.0.113.7", "TCPREMOTEPORT": "9", "UCSPI_PROXY_PEER": text}

        assert identify(environ, Facts({0: socket()})).remote == PEER

    def test_the_zone_comes_from_the_kernel(self) -> None:
        peer = Endpoint("fe80::2", 4711, "eth0")
        facts = Facts({0: socket(peer, Endpoint("fe80::1", 25, "eth0"))})
        environ = {"PROTO": "TCP6", "TCPREMOTEIP": "fe80::2", "TCPREMOTEPORT": "4711", "TCP6INTERFACE": "stale0"}
        found = identify(environ, facts)

        assert (found.remote, found.evidence) == (peer, "confirmed")

    @pytest.mark.parametrize("name", ["TCPREMOTEPORT", "TCP6REMOTEPORT", "SSLREMOTEPORT", "REMOTE_PORT"])
    def test_a_port_without_an_address_is_named(self, name: str) -> None:
        found = identify({name: "4711"}, Facts({0: socket()}))

        assert found.remote == PEER
        assert [(p.code, p.variable) for p in found.problems] == [("missing-address", name)]

    def test_a_listener_address_is_never_the_local_one(self) -> None:
        environ = TCP | {"TCPLOCALIP": "0.0.0.0"}

        assert identify(environ, Facts({0: socket()})).local == HERE
        assert identify(environ, Facts()).local is None

    def test_output_only_servers_have_the_socket_on_1(self) -> None:
        assert identify({}, Facts({0: Descriptor("chr"), 1: socket()})).remote == PEER

    def test_udp(self) -> None:
        found = identify({}, Facts({0: socket(type="dgram")}))

        assert (found.transport, found.proto) == ("udp", "UDP")

    def test_another_descriptor_can_be_asked(self) -> None:
        assert identify({}, Facts({6: socket()}, fd=6)).remote == PEER


class TestStunnel:
    """A private loopback pair on descriptor 0."""

    LOOP = socket(Endpoint("127.0.0.1", 40000), Endpoint("127.0.0.1", 40001))
    ENV = {"REMOTE_HOST": "2001:db8::9", "REMOTE_PORT": "5000"}  # noqa: RUF012

    def test_the_pair_is_recognised(self) -> None:
        found = identify(self.ENV, Facts({0: self.LOOP}))

        assert (found.remote, found.local, found.evidence) == (Endpoint("2001:db8::9", 5000), None, "proof")
        assert (found.dialect, found.tls, found.vouched) == ("stunnel", True, False)
        # A local caller of an inetd that inherited the two would look just so.
        assert [(p.code, p.severity) for p in found.problems] == [("stunnel-or-stale", "notice")]

    def test_access_control_needs_the_operators_word(self) -> None:
        for found in (
            identify(self.ENV, Facts({0: self.LOOP}), trust="stunnel"),
            identify(self.ENV | {"UCSPI_TRUST": "stunnel"}, Facts({0: self.LOOP})),
        ):
            assert (found.remote, found.evidence) == (Endpoint("2001:db8::9", 5000), "operator")
            assert found.vouched

    @pytest.mark.parametrize(
        "other",
        [
            {"REMOTE_ADDR": "203.0.113.1"},
            {"TCPREMOTEIP": "203.0.113.1"},
            {"SSH_CONNECTION": "203.0.113.1 1 203.0.113.2 22"},
        ],
    )
    def test_beside_a_contradiction_it_is_not_a_proof(self, other: dict[str, str]) -> None:
        assert identify(self.ENV | other, Facts({0: self.LOOP})).evidence == "unconfirmed"

    def test_a_service_on_a_low_port_is_no_pair(self) -> None:
        smtp = socket(Endpoint("127.0.0.1", 40000), Endpoint("127.0.0.1", 25))
        found = identify(self.ENV, Facts({0: smtp}))

        assert (found.remote, found.evidence) == (Endpoint("127.0.0.1", 40000), "kernel")

    def test_the_leftovers_of_a_web_server_are_no_quiet_proof(self) -> None:
        found = identify(self.ENV | {"REMOTE_ADDR": self.ENV["REMOTE_HOST"]}, Facts({0: self.LOOP}))

        assert [(p.code, p.severity) for p in found.problems] == [("stunnel-or-stale", "warning")]

    def test_beside_other_servers_variables_it_is_flagged(self) -> None:
        found = identify(self.ENV | {"TCPREMOTEIP": "203.0.113.1"}, Facts({0: self.LOOP}))

        assert "stunnel-or-stale" in codes(found)

    def test_its_habit_of_duplicates_settles_that(self) -> None:
        facts = Facts({0: self.LOOP}, duplicates={"REMOTE_HOST": ("2001:db8::9", "203.0.113.68")})
        found = identify(self.ENV | {"TCPREMOTEIP": "203.0.113.1"}, facts)

        assert "stunnel-or-stale" not in codes(found)
        assert "duplicate-variable" in codes(found)

    def test_a_genuine_local_caller_is_itself(self) -> None:
        found = identify({"REMOTE_HOST": "127.0.0.1", "REMOTE_PORT": "40000"}, Facts({0: self.LOOP}))

        assert (found.remote, found.evidence) == (Endpoint("127.0.0.1", 40000), "confirmed")

    def test_a_remote_pair_is_not_stunnels(self) -> None:
        assert identify(self.ENV, Facts({0: socket()})).remote == PEER


class TestNoPeerYet:
    """Step 2 and 3."""

    @pytest.mark.parametrize("descriptor", [socket(None, listening=True), socket(None, type="dgram"), socket(None)])
    def test_variables_do_not_help(self, descriptor: Descriptor) -> None:
        with pytest.raises(NoPeerYetError, match="descriptor 0"):
            identify(TCP, Facts({0: descriptor}))

    def test_a_socket_on_3_with_our_pid(self) -> None:
        facts = Facts({0: Descriptor("chr"), 3: socket()}, pid=17)

        found = identify({"LISTEN_PID": "17", "LISTEN_FDS": "1"}, facts)
        assert (found.remote, found.evidence, found.dialect) == (PEER, "kernel", "socket-activation")
        with pytest.raises(NotUnderSuperServerError):
            identify({"LISTEN_PID": "18", "LISTEN_FDS": "1"}, facts)

    def test_a_socket_on_3_is_no_answer_about_another_descriptor(self) -> None:
        facts = Facts({6: Descriptor("closed"), 3: socket()}, fd=6, pid=17)

        with pytest.raises(NotUnderSuperServerError):
            identify({"LISTEN_PID": "17"}, facts)

    def test_an_unconnected_unix_socket(self) -> None:
        bound = Descriptor("socket", family="unix", type="dgram", sockname="/run/s")

        with pytest.raises(NoPeerYetError, match="recvfrom"):
            identify(TCP, Facts({0: bound}))

    @pytest.mark.parametrize("environ", [{}, {"PROTO": "UNIX", "UNIXREMOTEEUID": "0"}, {"PROTO": "TCP"}])
    @pytest.mark.parametrize("fd", [0, 3])
    def test_a_listening_unix_socket_has_credentials_of_nobody_who_calls(
        self, environ: dict[str, str], fd: int
    ) -> None:
        """They are those of whoever called listen(2): root, most often."""
        listener = Descriptor("socket", family="unix", type="stream", sockname="/s", listening=True, peercred=(1, 0, 0))

        with pytest.raises(NoPeerYetError, match=f"descriptor {fd} is a listening socket"):
            identify(environ | {"LISTEN_PID": "17"}, Facts({0: Descriptor("chr")} | {fd: listener}, pid=17))

    def test_a_listener_on_3(self) -> None:
        facts = Facts({0: Descriptor("chr"), 3: socket(None, listening=True)}, pid=17)

        with pytest.raises(NoPeerYetError, match="descriptor 3"):
            identify({"LISTEN_PID": "17"}, facts)


class TestUnixDomain:
    """Step 4."""

    SOCKET = Descriptor(
        "socket", family="unix", type="stream", sockname="/run/s", peername="", peercred=(99, 1000, 100)
    )

    def test_the_kernels_credentials(self) -> None:
        environ = {
            "PROTO": "IPC",
            "IPCREMOTEEUID": "1000",
            "IPCREMOTEEGID": "100",
            "IPCREMOTEPATH": "",
            "IPCCONNNUM": "1",
        }
        found = identify(environ, Facts({0: self.SOCKET}))

        assert found.unix == UnixPeer(1000, 100, 99, None)
        assert (found.remote, found.evidence, found.dialect) == (None, "confirmed", "s6-ipcserver")
        assert (found.proto, found.raw_proto, found.transport) == ("UNIX", "IPC", "unix")

    def test_contradicting_variables_lose(self) -> None:
        found = identify({"PROTO": "UNIX", "UNIXREMOTEEUID": "0", "UNIXREMOTEEGID": "0"}, Facts({0: self.SOCKET}))

        assert found.unix is not None
        assert (found.unix.uid, found.evidence, codes(found)) == (1000, "kernel", {"stale-variables"})

    def test_without_variables(self) -> None:
        assert identify({}, Facts({0: self.SOCKET})).unix == UnixPeer(1000, 100, 99, None)

    def test_variables_alone(self) -> None:
        environ = {"PROTO": "UNIX", "UNIXREMOTEEUID": "1000", "UNIXREMOTEEGID": "100", "UNIXREMOTEPID": "99"}
        found = identify(environ, Facts())

        assert (found.unix, found.evidence) == (UnixPeer(1000, 100, 99, None), "unconfirmed")

    def test_bad_ids_are_problems(self) -> None:
        found = identify({"PROTO": "UNIX", "UNIXREMOTEEUID": "-1", "UNIXREMOTEEGID": "x"}, Facts())

        assert found.unix == UnixPeer()
        assert codes(found) == {"bad-id"}

    def test_variables_of_an_ip_caller_are_stale(self) -> None:
        found = identify(TCP, Facts({0: self.SOCKET}))

        assert (found.remote, codes(found)) == (None, {"stale-variables"})

    CGI = {"GATEWAY_INTERFACE": "CGI/1.1", "REMOTE_ADDR": "2001:db8::1", "REMOTE_PORT": "4711"}  # noqa: RUF012
    CGID = Descriptor(
        "socket", family="unix", type="stream", sockname="/run/cgisock", peername="", peercred=(9, 33, 33)
    )

    @pytest.mark.parametrize(
        "stale",
        [
            {},
            {"PROTO": "UNIX"},
            {"PROTO": "IPC", "IPCREMOTEEUID": "0", "IPCREMOTEEGID": "0"},
            {"REMOTE_HOST": "10.1.2.3"},
        ],
    )
    def test_the_client_of_a_web_server_is_never_the_web_servers_user(self, stale: dict[str, str]) -> None:
        """Apache's mod_cgid: descriptor 0 is its own UNIX-domain socket."""
        found = identify(stale | self.CGI, Facts({0: self.CGID}, pid=17))

        assert (found.remote, found.unix, found.dialect) == (Endpoint("2001:db8::1", 4711), None, "cgi")
        assert "web-server" in codes(found)
        assert not found.vouched

    def test_a_server_of_unix_sockets_is_not_a_web_server(self) -> None:
        own = {"PROTO": "IPC", "IPCREMOTEEUID": "33", "IPCREMOTEEGID": "33", "IPCREMOTEPATH": ""}
        found = identify(self.CGI | own, Facts({0: self.CGID}, pid=17))

        assert (found.unix, found.evidence) == (UnixPeer(33, 33, 9), "confirmed")
        assert codes(found) == {"stale-variables"}

    def test_a_port_that_cgi_does_not_have_is_the_super_servers(self) -> None:
        """althttpd below tcpserver."""
        found = identify(TCP | {"GATEWAY_INTERFACE": "CGI/1.0", "REMOTE_ADDR": "192.0.2.1"}, Facts({0: PIPE}, pid=17))

        assert (found.remote, found.evidence, found.dialect) == (PEER, "proof", "cgi")
        assert codes(found) == {"web-server"}

    def test_systemds_path_of_the_caller(self) -> None:
        nameless = Descriptor("socket", family="unix", type="stream", sockname="/run/s", peercred=(0, 1000, 100))
        found = identify({"REMOTE_ADDR": "@name"}, Facts({0: nameless}))

        assert (found.unix, found.dialect, found.problems) == (UnixPeer(1000, 100, None, "@name"), "systemd", ())

    def test_a_process_id_speaks_for_unix_variables_unless_another_claim_contradicts(self) -> None:
        environ = {"PROTO": "TCP", "UNIXLOCALPID": "17", "UNIXREMOTEEUID": "1000", "UNIXREMOTEEGID": "100"}
        facts = Facts({0: PIPE}, pid=17)

        found = identify(environ, facts)
        assert (found.unix, found.evidence, found.vouched, codes(found)) == (UnixPeer(1000, 100), "proof", False, set())
        beside = identify(TCP | environ, facts)
        assert (beside.unix, beside.evidence) == (UnixPeer(1000, 100), "unconfirmed")
        assert codes(beside) == {"stale-variables"}

    def test_an_unnamed_pair_is_a_wrapper(self) -> None:
        assert identify(TCP, Facts({0: PAIR})).remote == PEER


class TestProofs:
    """Step 5: pipes and unnamed pairs."""

    def test_an_inherited_socket(self) -> None:
        environ = {"NCAT_REMOTE_ADDR": "192.0.2.1", "NCAT_REMOTE_PORT": "4711"}
        found = identify(environ, Facts({0: PIPE, 4: socket()}))

        assert (found.remote, found.local, found.evidence, found.dialect) == (PEER, HERE, "confirmed", "ncat")
        assert identify(environ, Facts({0: PIPE})).evidence == "unconfirmed"

    def test_an_unrelated_inherited_socket_proves_nothing(self) -> None:
        other = socket(Endpoint("203.0.113.9", 1))

        assert identify(TCP, Facts({0: PIPE, 4: other})).evidence == "unconfirmed"

    @pytest.mark.parametrize("relation", ["pid", "ppid", "grandparent"])
    def test_socats_pid_ranks_its_claim_first_and_proves_nothing(self, relation: str) -> None:
        """Process ids can be guessed, and ``socat STDIO`` writes its own beside an inherited peer."""
        environ = {"SOCAT_PEERADDR": "203.0.113.66", "SOCAT_PEERPORT": "666", "SOCAT_PID": "42"} | TCP

        found = identify(environ, Facts({0: PAIR}, **{relation: 42}))  # type: ignore[arg-type]
        assert (str(found.remote), found.evidence, found.vouched) == ("203.0.113.66:666", "unconfirmed", False)
        other = identify(environ, Facts({0: PAIR}, pid=1, ppid=2, grandparent=3))
        assert (other.remote, other.evidence) == (PEER, "unconfirmed")

    def test_a_socat_by_another_name_counts_by_the_operators_word(self) -> None:
        environ = {"RELAY-X_PEERADDR": "[2001:0db8::0001]", "RELAY-X_PEERPORT": "1", "RELAY-X_PID": "42"}
        facts = Facts({0: PAIR}, ppid=42)

        with pytest.raises(NotUnderSuperServerError):
            identify(environ, facts)
        for found in (
            identify(environ, facts, trust="socat:RELAY-X"),
            identify(environ | {"UCSPI_TRUST": "rules, socat:RELAY-X"}, facts),
        ):
            assert (found.remote, found.dialect) == (Endpoint("2001:db8::1", 1), "socat")
            assert (found.evidence, found.vouched) == ("operator", True)

    @pytest.mark.parametrize("name", ["TCP", "SSL", "UCSPI"])
    def test_a_socat_called_like_a_family_does_not_speak_for_it(self, name: str) -> None:
        """`ln -s socat tcp`, or ``socat -lptcp``: TCP_PEERADDR is not a variable of the TCP family."""
        socat = {f"{name}_PEERADDR": "203.0.113.66", f"{name}_PEERPORT": "666", f"{name}_PID": "42"}

        assert identify(socat | TCP, Facts({0: PIPE}, ppid=42)) == identify(TCP, Facts({0: PIPE}, ppid=42))
        named = identify(socat | TCP, Facts({0: PIPE}), trust=f"socat:{name}")
        assert (named.remote, named.evidence) == (Endpoint("203.0.113.66", 666), "operator")
        assert "TCPREMOTEIP" in [problem.variable for problem in named.problems]
        trusted = identify(socat | TCP, Facts({0: socket(Endpoint("10.0.0.9", 999))}), trust="proxy")
        assert (trusted.remote, trusted.evidence) == (PEER, "proxy")

    @pytest.mark.parametrize(("text", "path"), [("/run/c", "/run/c"), ("\\0name", "@name"), ("<anon>", None)])
    def test_socats_unix_callers(self, text: str, path: str | None) -> None:
        found = identify({"SOCAT_PEERADDR": text, "SOCAT_PID": "42"}, Facts({0: PAIR}, ppid=42))

        assert found.unix == UnixPeer(path=path)

    def test_systemds_pid(self) -> None:
        environ = {"REMOTE_ADDR": "192.0.2.1", "REMOTE_PORT": "4711", "SYSTEMD_EXEC_PID": "17"}

        assert identify(environ, Facts({0: Descriptor("chr")}, pid=17)).evidence == "proof"
        assert identify(environ, Facts({0: Descriptor("chr")}, pid=18)).evidence == "unconfirmed"

    def test_cgi(self) -> None:
        environ = {"GATEWAY_INTERFACE": "CGI/1.1", "REMOTE_ADDR": "[::1]", "REMOTE_PORT": "4711"}
        found = identify(environ, Facts({0: PIPE}, pid=17))

        assert (found.remote, found.dialect, found.evidence) == (Endpoint("::1", 4711), "cgi", "proof")

    def test_cgi_without_a_port_is_not_a_problem_but_a_port_that_cannot_be_read_is(self) -> None:
        environ = {"GATEWAY_INTERFACE": "CGI/1.1", "REMOTE_ADDR": "192.0.2.1"}
        absent = identify(environ, Facts({0: PIPE}, pid=17))
        bad = identify(environ | {"REMOTE_PORT": "65536"}, Facts({0: PIPE}, pid=17))

        assert (absent.remote, codes(absent)) == (Endpoint("192.0.2.1"), {"web-server"})
        assert (bad.remote, codes(bad)) == (Endpoint("192.0.2.1"), {"web-server", "bad-port"})

    def test_a_web_server_without_gateway_interface_is_not_called_systemd(self) -> None:
        """Net::Server::HTTP: what tells it from systemd is its own address, which systemd has no variable for."""
        environ = {"REMOTE_ADDR": "203.0.113.1", "REMOTE_PORT": "1", "SERVER_ADDR": "192.0.2.1", "SERVER_PORT": "80"}
        found = identify(environ, Facts({0: PIPE}, pid=17))

        assert (found.remote, found.dialect, found.evidence) == (Endpoint("203.0.113.1", 1), "cgi", "unconfirmed")

    def test_an_inherited_gateway_interface_is_no_proof_beside_another_claim(self) -> None:
        environ = {"GATEWAY_INTERFACE": "CGI/1.1", "REMOTE_ADDR": "203.0.113.1", "REMOTE_PORT": "1"}
        found = identify(environ | TCP, Facts({0: PIPE}, pid=17))

        assert (found.evidence, codes(found)) == ("unconfirmed", {"stale-variables", "web-server"})

    @pytest.mark.parametrize(
        ("environ", "kind", "transport", "tls"),
        [
            ({"NCAT_REMOTE_ADDR": "192.0.2.1", "NCAT_REMOTE_PORT": "4711"}, "stream", "tcp", False),
            ({"NCAT_REMOTE_ADDR": "192.0.2.1", "NCAT_REMOTE_PORT": "4711"}, "dgram", "udp", False),
            ({"SSLREMOTEIP": "192.0.2.1", "SSLREMOTEPORT": "4711"}, "stream", "tcp", True),
        ],
    )
    def test_another_servers_leftovers_do_not_decide_transport_or_tls(
        self, environ: dict[str, str], kind: str, transport: str, tls: bool
    ) -> None:
        stale = {"PROTO": "UDP", "NCAT_PROTO": "UDP"}
        found = identify(environ | stale, Facts({0: PIPE, 4: socket(type=kind)}))

        assert (found.transport, found.tls) == (transport, tls)

    def test_a_proxy_behind_tls_pipes(self) -> None:
        environ = TCP | {"TCPREMOTEIP": "203.0.113.7", "UCSPI_PROXY_PEER": str(PEER)}
        found = identify(environ, Facts({0: PIPE, 5: socket()}))

        assert (found.remote, found.evidence) == (Endpoint("203.0.113.7", 4711), "proxy")


class TestVariablesAlone:
    """Step 6: nothing vouches for anything."""

    @pytest.mark.parametrize(
        ("environ", "remote", "dialect"),
        [
            (TCP, "192.0.2.1:4711", "ucspi-tcp"),
            ({"PROTO": "TCP6", "TCPREMOTEIP": "::ffff:192.0.2.1", "TCPREMOTEPORT": "1"}, "192.0.2.1:1", "ucspi-tcp6"),
            (
                {"PROTO": "TCP6", "TCP6REMOTEIP": "2001:db8::1", "TCP6REMOTEPORT": "1"},
                "[2001:db8::1]:1",
                "ucspi-tcp-ipv6",
            ),
            ({"PROTO": "TCP", "TCPREMOTEIP": "::ffff:c000:201", "TCPCONNNUM": "0"}, "192.0.2.1", "s6-networking"),
            (TCP | {"TCPREMOTEADDR": "[::1]:7"}, "[::1]:7", "busybox-tcpsvd"),
            ({"PROTO": "TCP", "TCPREMOTEADDR": "[fe80::1%vs0]:7"}, "[fe80::1%vs0]:7", "busybox-tcpsvd"),
            ({"PROTO": "TCP", "TCPREMOTEADDR": "::ffff:192.0.2.1"}, "192.0.2.1", "busybox-tcpsvd"),
            (
                {"PROTO": "SSL", "SSLREMOTEIP": "::1", "SSLREMOTEPORT": "7"} | TCP | {"PROTO": "SSL"},
                "[::1]:7",
                "sslserver",
            ),
            ({"PROTO": "UDP", "UDPREMOTEADDR": "[::1]:7", "TCPREMOTEIP": "192.0.2.1"}, "[::1]:7", "busybox-udpsvd"),
            (TCP | {"PROTO": "UDP"}, "192.0.2.1:4711", "udplisten"),
            ({"TCPREMOTEIP": "::ffff:192.0.2.1", "TCPREMOTEPORT": "7"}, "192.0.2.1:7", "couriertcpd"),
            ({"REMOTE_ADDR": "192.0.2.1", "REMOTE_PORT": "7"}, "192.0.2.1:7", "systemd"),
            ({"REMOTE_ADDR": "[::1]", "REMOTE_PORT": "7"}, "[::1]:7", "git-daemon"),
            ({"REMOTE_HOST": "::1"}, "::1", "xinetd"),
            ({"REMOTE_HOST": "::1", "REMOTE_PORT": "7"}, "[::1]:7", "stunnel"),
            ({"SSH_CONNECTION": "::1 7 ::2 22"}, "[::1]:7", "sshd"),
            (TCP | {"SSLREMOTEIP": "192.0.2.1", "SSLREMOTEPORT": "4711"}, "192.0.2.1:4711", "sslserver-e"),
            ({"PROTO": "SSL6", "SSLREMOTEIP": "::ffff:192.0.2.1"}, "192.0.2.1", "sslserver-ipv6"),
        ],
    )
    def test_proto_points_at_a_family(self, environ: dict[str, str], remote: str, dialect: str) -> None:
        found = identify(environ, Facts())

        assert (str(found.remote), found.dialect, found.evidence) == (remote, dialect, "unconfirmed")

    def test_the_zone_of_the_ipv6_patch(self) -> None:
        environ = {"PROTO": "TCP6", "TCPREMOTEIP": "fe80::1", "TCP6REMOTEIP": "fe80::1", "TCP6INTERFACE": "eth0"}
        found = identify(environ, Facts())

        assert found.remote is not None
        assert found.remote.zone == "eth0"

    @pytest.mark.parametrize("twin", [{}, {"TCP6REMOTEIP": "fe80::2"}, {"TCP6REMOTEIP": "x"}])
    def test_a_stale_interface_is_not_the_zone(self, twin: dict[str, str]) -> None:
        environ = {"PROTO": "TCP6", "TCPREMOTEIP": "fe80::1", "TCP6INTERFACE": "eth0"} | twin
        found = identify(environ, Facts())

        assert found.remote is not None
        assert found.remote.zone is None

    def test_contradicting_families_are_named(self) -> None:
        found = identify(TCP | {"SSLREMOTEIP": "203.0.113.1"}, Facts())

        assert (found.remote, codes(found)) == (PEER, {"stale-variables"})

    @pytest.mark.parametrize(
        ("change", "code"),
        [
            ({"TCPREMOTEPORT": "x"}, "bad-port"),
            ({"TCPREMOTEPORT": ""}, "missing-port"),
            ({"TCPREMOTEHOST": "192.0.2.99"}, "bad-host"),
            ({"TCPREMOTEHOST": "softdnserr"}, "bad-host"),
            ({"TCPREMOTEINFO": "a\nb"}, "bad-info"),
            ({"TCPLOCALIP": "x"}, "bad-local"),
            ({"TCPLOCALPORT": "x"}, "bad-local"),
            ({"TCP6REMOTEIP": "x"}, "bad-address"),
            ({"TCP6REMOTEIP": "::2"}, "stale-variables"),
        ],
    )
    def test_what_is_odd_is_a_problem_and_the_peer_stands(self, change: dict[str, str], code: str) -> None:
        found = identify(TCP | change, Facts())

        assert found.remote is not None
        assert found.remote.ip == PEER.ip
        assert code in codes(found)
        for problem in found.problems:
            assert problem.variable is not None
            assert problem.variable in problem.message
            assert problem.hint

    def test_switched_off_names_are_only_a_notice(self) -> None:
        found = identify(TCP | {"TCPLOCALHOST": "0"}, Facts())

        assert [problem.severity for problem in found.problems] == ["notice"]

    @pytest.mark.parametrize("value", ["garbage", "0.0.0.0", "::", "<no address>", "192.0.2.1:25", "\udcff"])
    def test_unusable_is_an_error_with_name_value_and_remedy(self, value: str) -> None:
        with pytest.raises(BadVariableError) as caught:
            identify(TCP | {"TCPREMOTEIP": value}, Facts())

        error = caught.value
        assert isinstance(error, ValueError)
        assert (error.name, error.value) == ("TCPREMOTEIP", value)
        assert str(error).startswith(f"TCPREMOTEIP={ascii(value).replace('udc', 'x')} ")
        assert error.remedy in str(error)
        assert str(error).isascii()

    def test_long_values_are_cut_in_messages(self) -> None:
        with pytest.raises(BadVariableError) as caught:
            identify({"TCPREMOTEIP": "x" * 100_000}, Facts())

        assert len(str(caught.value)) < 300

    @pytest.mark.parametrize("environ", [{"PROTO": "TCP"}, {"PROTO": "TCP6", "TCPREMOTEPORT": "1"}, {"PROTO": "SSL"}])
    def test_missing_is_told_from_nothing(self, environ: dict[str, str]) -> None:
        with pytest.raises(MissingVariableError, match="REMOTEIP is not set"):
            identify(environ, Facts())

    def test_empty_counts_as_unset(self) -> None:
        with pytest.raises(MissingVariableError):
            identify(TCP | {"TCPREMOTEIP": ""}, Facts())
        assert identify({**TCP, "TCPREMOTEADDR": ""}, Facts()).remote == PEER

    @pytest.mark.parametrize("environ", [{}, {"PATH": "/bin"}, {"TCPREMOTEHOST": "a.example"}, {"PROTO": "https"}])
    def test_nothing_is_an_error_never_an_invented_peer(self, environ: dict[str, str]) -> None:
        with pytest.raises(NotUnderSuperServerError, match="ucspi-tcpserver"):
            identify(environ, Facts({0: Descriptor("chr")}))

    @pytest.mark.parametrize(
        ("environ", "error"),
        [({"PROTO": "TCP"}, MissingVariableError), ({"PROTO": "TCP", "TCPREMOTEIP": "x"}, BadVariableError)],
    )
    def test_the_administrators_login_never_stands_in_for_a_caller(
        self, environ: dict[str, str], error: type[UCSPIError]
    ) -> None:
        with pytest.raises(error):
            identify(environ | {"SSH_CONNECTION": "::1 7 ::2 22"}, Facts())

    def test_an_ssh_login_on_a_terminal_is_no_service(self) -> None:
        with pytest.raises(NotUnderSuperServerError):
            identify({"SSH_CONNECTION": "::1 7 ::2 22"}, Facts({0: Descriptor("chr")}))

    def test_unknown_trust_is_a_mistake(self) -> None:
        with pytest.raises(ValueError, match="trust"):
            identify(TCP, Facts(), trust="all")


names = st.sampled_from(sorted(PEER_VARIABLES | {"X_PEERADDR", "X_PEERPORT", "X_PID", "LISTEN_PID", "UCSPI_TRUST"}))
values = st.one_of(
    st.text(max_size=40),
    st.sampled_from(
        ["TCP", "TCP6", "UDP", "UNIX", "IPC", "SSL", "SSL6", "proxy", "0", "17", "0.0.0.0", "::", "<anon>"]
    ),
    st.ip_addresses().map(str),
    st.builds(lambda ip, port: str(Endpoint(ip, port)), st.ip_addresses(), st.integers(0, 65535)),
    st.integers(-1, 70000).map(str),
)
ends = st.builds(Endpoint, st.ip_addresses(), st.integers(0, 65535), st.none() | st.just("eth0"))
paths = st.sampled_from(["", "/run/s", "@x"])
sockets = st.one_of(
    st.builds(
        lambda here, there, kind, listening: Descriptor(
            "socket", family="inet", type=kind, sockname=here, peername=there, listening=listening and there is None
        ),
        ends,
        st.none() | ends,
        st.sampled_from(["stream", "dgram"]),
        st.booleans(),
    ),
    st.builds(
        lambda here, there, cred: Descriptor(
            "socket", family="unix", type="stream", sockname=here, peername=there, peercred=cred
        ),
        paths,
        st.none() | paths,
        st.none() | st.just((1, 2, 3)),
    ),
    st.sampled_from([PIPE, Descriptor("chr"), Descriptor("file"), Descriptor("closed"), Descriptor("other")]),
)
facts = st.builds(
    lambda descriptors, pid: Facts(descriptors, pid=pid, ppid=pid and 16),
    st.dictionaries(st.sampled_from([0, 1, 3, 4]), sockets),
    st.none() | st.just(17),
)


@given(st.dictionaries(names, values, max_size=12), facts, st.sampled_from(["kernel", "proxy"]))
def test_a_hostile_environment_is_answered_flagged_or_refused(
    environ: dict[str, str], facts: Facts, trust: str
) -> None:
    """Never another exception; and a peer that the kernel does not confirm never comes without saying why."""
    try:
        found = identify(environ, facts, trust=trust)
    except UCSPIError as error:
        complaint = str(error)
    else:
        complaint = ""
        check_answer(found, facts)
    assert complaint.isprintable()


def check_answer(found: Connection, facts: Facts) -> None:
    connected = facts.connected()
    if found.remote is None:
        assert found.unix is not None
    elif connected is not None and found.evidence in ("confirmed", "kernel"):
        assert isinstance(connected.peername, Endpoint)
        assert (found.remote.ip, found.remote.port) == (connected.peername.ip, connected.peername.port)
    elif not facts.descriptors:
        assert found.evidence in ("unconfirmed", "proxy", "proof")
    for end in (found.remote, found.local):
        if end is not None:
            assert not end.ip.is_unspecified or found.evidence in ("kernel", "confirmed")
            assert end.host is None or end.host.isascii()
            assert end.info is None or end.info.isprintable()
    for problem in found.problems:
        assert "\n" not in str(problem)
        assert str(problem).isprintable()
