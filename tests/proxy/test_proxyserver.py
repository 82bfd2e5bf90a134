"""The chain program: who may send a header, what the program is told, what the log says, how it ends."""

from __future__ import annotations

import os
import socket
from typing import TYPE_CHECKING, NamedTuple

import pytest

from tests.proxy.conftest import REPORT, Report, connected, read_all, report
from tests.proxy.corpus import GARBAGE, HEADERS, v2
from tests.support import PATIENCE, Program, call, listening, reset_at_close, start_tcpserver, tool
from ucspi_env import Descriptor, Facts, identify
from ucspi_env.proxy import ProxySSL, encode

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping
    from pathlib import Path

    from tests.support import Namespace
    from ucspi_env.proxy import ProxyHeader

PROXYSERVER = tool("proxyserver")
V4 = b"PROXY TCP4 192.0.2.7 198.51.100.1 4711 25\r\n"
V6 = b"PROXY TCP6 2001:db8:0:1:1:1:1:7 2001:db8::1 4711 25\r\n"


class Run(NamedTuple):
    """One connection through proxyserver."""

    status: int
    answer: bytes
    lines: list[str]
    peer: str  # the client's own name for its end

    @property
    def said(self) -> Report:
        return report(self.answer)


def run(
    *arguments: str,
    send: bytes = V4,
    host: str = "127.0.0.1",
    source: str | None = None,
    env: Mapping[str, str] | None = None,
    close: bool = True,
) -> Run:
    """Run proxyserver on one end of a TCP connection, the client being on the other."""
    with connected(host, source) as (client, server):
        with Program(
            [*PROXYSERVER, *arguments], stdin=server.fileno(), stdout=server.fileno(), env={**_clean(), **(env or {})}
        ) as program:
            server.close()
            client.sendall(send)
            if close:
                client.shutdown(socket.SHUT_WR)
            answer = read_all(client)
            status = program.wait()
            lines = program.stop()
        ip, port = client.getsockname()[:2]
    return Run(status, answer, lines, f"[{ip}]:{port}" if ":" in ip else f"{ip}:{port}")


def _clean() -> dict[str, str]:
    return {"PATH": os.environ["PATH"]}


# -- what the program is told -----------------------------------------------------------------------------------------


def test_the_program_sees_the_caller_and_reads_what_the_caller_sent() -> None:
    done = run("-n", "127.0.0.1", *REPORT, "one", "two", send=V4 + b"HELO there\r\n")
    said = done.said
    assert (said.remote, said.local, said.proto) == ("192.0.2.7:4711", "198.51.100.1:25", "TCP")
    assert (said.evidence, said.tls, said.problems) == ("proxy", False, [])
    assert (said.rest, said.arguments) == ("HELO there\r\n", ["one", "two"])
    assert said.kernel == done.peer
    assert said.variables == {
        "PROTO": "TCP",
        "TCPREMOTEIP": "192.0.2.7",
        "TCPREMOTEPORT": "4711",
        "TCPLOCALIP": "198.51.100.1",
        "TCPLOCALPORT": "25",
        "TCP6REMOTEIP": "::ffff:192.0.2.7",
        "TCP6REMOTEPORT": "4711",
        "TCP6LOCALIP": "::ffff:198.51.100.1",
        "TCP6LOCALPORT": "25",
        "UCSPI_PROXY_PEER": done.peer,
    }
    assert (done.status, done.lines) == (0, [])


def test_an_ipv6_caller_is_spelled_as_tcpserver_spells_it() -> None:
    said = run("-n", "127.0.0.1", *REPORT, send=V6).said
    assert (said.remote, said.proto) == ("[2001:db8:0:1:1:1:1:7]:4711", "TCP6")
    assert said.variables["TCPREMOTEIP"] == said.variables["TCP6REMOTEIP"] == "2001:db8::1:1:1:1:7"
    assert said.variables["PROTO"] == "TCP6"


def test_a_balancer_may_call_over_ipv6() -> None:
    done = run("-n", "10.0.0.0/8,::1", *REPORT, host="::1")
    assert done.said.remote == "192.0.2.7:4711"
    assert done.said.variables["UCSPI_PROXY_PEER"] == done.peer
    assert done.peer.startswith("[::1]:")


@pytest.mark.parametrize(
    ("data", "header"),
    [
        (data, header)
        for data, header in HEADERS.values()
        if header.source and header.transport == "stream" and header.source.port
    ],
)
def test_every_senders_header_names_the_caller(data: bytes, header: ProxyHeader) -> None:
    said = run("-n", "127.0.0.1", *REPORT, send=data + b"rest").said
    assert (said.remote, said.local, said.rest) == (str(header.source), str(header.destination), "rest")
    assert said.evidence == "proxy"


def test_nothing_of_the_balancers_connection_or_of_another_server_is_left() -> None:
    stale = {
        "PROTO": "TCP6",
        "TCPREMOTEHOST": "balancer.example",
        "TCPREMOTEINFO": "root",
        "TCP6REMOTEHOST": "balancer.example",
        "TCP6REMOTEINFO": "root",
        "TCP6INTERFACE": "eth0",
        "TCPLOCALHOST": "0",
        "TCPCONNNUM": "3",
        "TCPREMOTEADDR": "203.0.113.1:1",
        "REMOTE_ADDR": "203.0.113.1",
        "REMOTE_PORT": "1",
        "SSLREMOTEIP": "203.0.113.1",
        "NCAT_REMOTE_ADDR": "203.0.113.1",
        "SOCAT_PEERADDR": "203.0.113.1",
        "SSL_PROTOCOL": "TLSv1.3",
        "SSL_CIPHER": "NULL",
        "SSL_TLS_SNI_SERVERNAME": "stale.example",
        "UCSPI_PROXY_PEER": "203.0.113.1:1",
    }
    said = run("-n", "127.0.0.1", *REPORT, env=stale).said
    assert (said.remote, said.evidence, said.tls, said.problems) == ("192.0.2.7:4711", "proxy", False, [])
    assert set(said.variables) == {
        *(
            f"{family}{side}{what}"
            for family in ("TCP", "TCP6")
            for side in ("REMOTE", "LOCAL")
            for what in ("IP", "PORT")
        ),
        "PROTO",
        "UCSPI_PROXY_PEER",
    }


def test_tls_that_the_balancer_took_off_is_told() -> None:
    ssl = ProxySSL(1, 1, version="TLSv1.3", cipher="TLS_AES_128_GCM_SHA256")
    header = v2("192.0.2.7:4711", "198.51.100.1:25", tlvs=[ssl.tlv(), (2, b"mail.example.org")], checksum=True)
    said = run("-n", "127.0.0.1", *REPORT, send=encode(header)).said
    assert said.tls
    assert said.variables["SSL_PROTOCOL"] == "TLSv1.3"
    assert said.variables["SSL_TLS_SNI_SERVERNAME"] == "mail.example.org"


def test_two_proxyservers_read_two_headers_each_from_a_trusted_sender() -> None:
    headers = b"PROXY TCP4 10.1.1.1 10.1.1.2 5555 25\r\n" + V4 + b"rest"
    chain = ["-n", "127.0.0.1", *PROXYSERVER, "-n", "10.1.0.0/16", *REPORT]
    said = run(*chain, send=headers).said
    assert (said.remote, said.evidence, said.rest) == ("192.0.2.7:4711", "proxy", "rest")
    outer_only = run("-n", "127.0.0.1", *PROXYSERVER, "-n", "127.0.0.1", *REPORT, send=headers)
    assert (outer_only.status, outer_only.answer) == (100, b"")
    assert outer_only.lines == [
        "proxyserver: fatal: 10.1.1.1:5555 is not a trusted balancer (-n): its connection is dropped"
    ]


def test_the_program_gets_signals_and_environment_as_the_super_server_meant_them() -> None:
    # Signals 1 to 28: glibc keeps two above them for itself, which whoever started the tests may have left ignored.
    script = r"sed -nE 's/^SigIgn.*(.{7})$/\1/p' /proc/self/status; echo $KEPT:$LC_CTYPE"
    done = run("-n", "127.0.0.1", "sh", "-c", script, env={"KEPT": "yes"})
    assert done.answer == b"0000000\nyes:\n"


# -- who may send one -------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("send", [V4, V6, HEADERS["haproxy send-proxy-v2 over IPv4"][0]])
def test_a_header_from_anybody_else_never_wins(send: bytes) -> None:
    done = run("-n", "127.0.0.1,::1,10.0.0.0/8", *REPORT, send=send, source="127.0.0.9")
    assert (done.status, done.answer) == (100, b"")
    assert done.lines == [f"proxyserver: fatal: {done.peer} is not a trusted balancer (-n): its connection is dropped"]


def test_variables_cannot_make_a_stranger_a_balancer() -> None:
    forged = {
        "PROTO": "TCP",
        "TCPREMOTEIP": "10.1.1.1",
        "TCPREMOTEPORT": "25",
        "TCPLOCALIP": "127.0.0.1",
        "TCPLOCALPORT": "25",
        "REMOTE_ADDR": "10.1.1.1",
        "UCSPI_TRUST": "proxy",
    }
    done = run("-n", "10.0.0.0/8", *REPORT, env=forged)
    assert (done.status, done.answer) == (100, b"")


def test_a_rule_that_renames_the_caller_does_not_make_it_a_balancer() -> None:
    with connected() as (client, server):
        peer, here = client.getsockname(), server.getsockname()
        rule = {"PROTO": "TCP", "TCPREMOTEIP": "10.1.1.1", "TCPREMOTEPORT": str(peer[1]), "TCPLOCALIP": here[0]}
        rule["TCPLOCALPORT"] = str(here[1])
        argv = [*PROXYSERVER, "-n", "10.0.0.0/8", *REPORT]
        with Program(argv, stdin=server.fileno(), stdout=server.fileno(), env={**_clean(), **rule}) as program:
            server.close()
            client.sendall(V4)
            assert read_all(client) == b""
            assert program.wait() == 100
            program.wait_for_line("127.0.0.1:")


def test_behind_stunnel_the_loopback_pair_does_not_make_everybody_local() -> None:
    # stunnel's exec programs have a 127.0.0.1 pair for a socket, whoever called.
    stunnel = {"REMOTE_HOST": "203.0.113.9", "REMOTE_PORT": "4444", "UCSPI_TRUST": "stunnel"}
    other = run("-n", "127.0.0.1", *REPORT, env=stunnel)
    assert (other.status, other.answer) == (100, b"")
    assert "203.0.113.9:4444 is not a trusted balancer" in other.lines[0]
    known = run("-n", "203.0.113.9", *REPORT, env=stunnel)
    assert (known.said.remote, known.said.evidence) == ("192.0.2.7:4711", "proxy")


@pytest.mark.parametrize("nets", ["127.0.0.1", "203.0.113.9"])
def test_what_only_looks_like_stunnels_pair_is_not_believed(nets: str) -> None:
    """A stale REMOTE_HOST beside a genuine local caller looks the same."""
    done = run("-n", nets, *REPORT, env={"REMOTE_HOST": "203.0.113.9", "REMOTE_PORT": "4444"})
    assert (done.status, done.answer) == (111, b"")
    assert "unable to tell who is calling" in done.lines[0]
    assert "UCSPI_TRUST=stunnel" in done.lines[0]


def test_where_only_variables_name_the_peer_nobody_is_believed() -> None:
    reader, writer = os.pipe()
    os.write(writer, V4)
    os.close(writer)
    env = {**_clean(), "PROTO": "TCP", "TCPREMOTEIP": "127.0.0.1", "TCPREMOTEPORT": "5"}
    with Program([*PROXYSERVER, "-n", "127.0.0.1", *REPORT], stdin=reader, env=env) as program:
        assert program.wait() == 111
        line = program.wait_for_line("unable to tell who is calling")
        assert "the peer 127.0.0.1:5 is unconfirmed" in line
    assert os.read(reader, 100) == V4
    os.close(reader)


def test_a_unix_domain_socket_has_no_address_to_trust() -> None:
    near, far = socket.socketpair()
    with near, far, Program([*PROXYSERVER, "-n", "127.0.0.1", *REPORT], stdin=near.fileno(), env=_clean()) as program:
        assert program.wait() == 111
        program.wait_for_line("proxyserver: fatal: unable to tell who")


# -- balancers on UNIX-domain sockets ---------------------------------------------------------------------------------


def run_unix(tmp_path: Path, *arguments: str, send: bytes = V4, env: Mapping[str, str] | None = None) -> Run:
    """Run proxyserver on a connection to a UNIX-domain listener; ``peer`` is the listener's path."""
    path = str(tmp_path / "mail.sock")
    with socket.socket(socket.AF_UNIX) as listener, socket.socket(socket.AF_UNIX) as client:
        listener.bind(path)
        listener.listen()
        client.settimeout(PATIENCE)
        client.connect(path)
        server, _ = listener.accept()
        words = [argument.replace("PATH", path) for argument in arguments]
        argv = [*PROXYSERVER, *words]
        with Program(argv, stdin=server.fileno(), stdout=server.fileno(), env={**_clean(), **(env or {})}) as program:
            server.close()
            client.sendall(send)
            client.shutdown(socket.SHUT_WR)
            answer = read_all(client)
            return Run(program.wait(), answer, program.stop(), path)


@pytest.mark.parametrize("nets", ["unix:", "unix:PATH", f"unix:uid={os.geteuid()}", "10.0.0.0/8,unix:"])
@pytest.mark.parametrize("send", [V4, V6])
def test_a_balancer_may_call_over_a_unix_socket(tmp_path: Path, nets: str, send: bytes) -> None:
    done = run_unix(tmp_path, "-n", nets, *REPORT, send=send + b"rest")
    said = done.said
    assert said.remote == ("192.0.2.7:4711" if send is V4 else "[2001:db8:0:1:1:1:1:7]:4711")
    assert (said.evidence, said.problems, said.rest) == ("proxy", [], "rest")
    mark = f"unix:uid={os.geteuid()}" if "uid=" in nets else f"unix:{done.peer}"
    assert said.variables["UCSPI_PROXY_PEER"] == mark
    assert not said.variables.keys() & {"IPCREMOTEEUID", "UNIXREMOTEEUID", "IPCREMOTEPATH"}


@pytest.mark.parametrize(
    "nets", ["127.0.0.1", "unix:/run/another.sock", f"unix:uid={os.geteuid() + 1}", "::/0,0.0.0.0/0"]
)
def test_another_unix_socket_is_not_trusted(tmp_path: Path, nets: str) -> None:
    done = run_unix(tmp_path, "-n", nets, *REPORT, env={"UCSPI_TRUST": "proxy", "TCPREMOTEIP": "127.0.0.1"})
    assert (done.status, done.answer) == (100, b"")
    assert f"the UNIX-domain peer at '{done.peer}' (user {os.geteuid()}) is not a trusted balancer" in done.lines[0]


def test_a_local_caller_is_not_trusted_by_a_unix_socket(tmp_path: Path) -> None:
    done = run("-n", "unix:,unix:uid=0", *REPORT, env={"PROTO": "UNIX", "UNIXREMOTEEUID": "0"})
    assert (done.status, done.answer) == (100, b"")
    assert done.lines == [f"proxyserver: fatal: {done.peer} is not a trusted balancer (-n): its connection is dropped"]


@pytest.mark.parametrize("mark", ["unix:", "unix:/run/other", "unix:uid=4294967294", "127.0.0.1:25", "unix:uid=", ""])
def test_a_stale_mark_of_a_unix_balancer_proves_nothing(tmp_path: Path, mark: str) -> None:
    stale = {"TCPREMOTEIP": "10.1.2.3", "TCPREMOTEPORT": "1", "UCSPI_PROXY_PEER": mark}
    done = run_unix(tmp_path, "-l", "-n", "unix:", *PROXYSERVER_KEPT, send=LOCAL, env=stale)
    assert b"10.1.2.3" not in done.answer
    found = identify(stale | {"PROTO": "TCP"}, UNIX_FACTS)
    assert found.remote is None
    assert identify(stale | {"UCSPI_PROXY_PEER": "unix:/run/mail.sock"}, UNIX_FACTS).evidence == "proxy"
    assert identify(stale | {"UCSPI_PROXY_PEER": "unix:uid=33"}, UNIX_FACTS).vouched


PROXYSERVER_KEPT = ("env",)
UNIX_FACTS = Facts(
    {
        0: Descriptor(
            "socket", family="unix", type="stream", sockname="/run/mail.sock", peername="", peercred=(9, 33, 33)
        )
    }
)


@pytest.mark.parametrize("nets", ["unix:relative", "unix:uid=root", "unix:uid=", "unix", "unix:uid=-1"])
def test_a_misspelt_unix_balancer_is_wrong_use(nets: str) -> None:
    done = run("-n", nets, *REPORT)
    assert (done.status, done.answer) == (100, b"")
    assert "unable to use -n" in done.lines[0]


# -- what is not run --------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    "name",
    [
        "an HTTP request",
        "a TLS client hello",
        "a sign in a port",
        "5,000 bytes without a newline",
        "a wrong checksum",
        "version 3",
    ],
)
def test_garbage_is_one_line_in_the_log_and_no_program(name: str) -> None:
    done = run("-n", "127.0.0.1", *REPORT, send=GARBAGE[name][0])
    assert (done.status, done.answer) == (111, b"")
    (line,) = done.lines
    assert line.startswith(f"proxyserver: fatal: unable to read PROXY header from {done.peer}: ")
    assert line.isprintable()


def test_a_header_that_never_comes_is_given_up() -> None:
    done = run("-t", "1", "-n", "127.0.0.1", *REPORT, send=b"PROXY TCP4 ", close=False)
    assert (done.status, done.answer) == (111, b"")
    assert done.lines == [f"proxyserver: fatal: unable to read PROXY header from {done.peer}: timed out"]


def test_any_number_of_seconds_is_a_time() -> None:
    assert run("-t", "9" * 5000, "-n", "127.0.0.1", *REPORT, send=V4).said.evidence == "proxy"


def test_a_balancer_that_only_connects_is_one_line() -> None:
    done = run("-n", "127.0.0.1", *REPORT, send=b"")
    assert done.status == 111
    assert done.lines == [
        f"proxyserver: fatal: unable to read PROXY header from {done.peer}: connection ended without a byte"
    ]


def test_a_health_check_that_is_gone_at_once_is_no_error() -> None:
    # HAProxy's plain check: LOCAL, and a reset before anybody could read it.
    for option, lines in (("-Q", []), ("-v", ["proxyserver: the caller has gone before anybody looked"])):
        with connected() as (client, server):
            client.sendall(LOCAL)
            reset_at_close(client)
            client.close()
            with Program(
                [*PROXYSERVER, option, "-n", "127.0.0.1", *REPORT], stdin=server.fileno(), env=_clean()
            ) as program:
                assert program.wait() == 0
                assert program.stop() == lines


def test_a_listening_socket_is_told_as_what_it_is() -> None:
    argv = [*PROXYSERVER, "-n", "127.0.0.1", "true"]
    with listening() as (listener, _), Program(argv, stdin=listener.fileno()) as program:
        assert program.wait() == 111
        program.wait_for_line("is a listening socket")


LOCAL = HEADERS["haproxy send-proxy-v2 check"][0]


def test_a_health_check_is_answered_by_closing_and_is_a_success() -> None:
    assert run("-n", "127.0.0.1", *REPORT, send=LOCAL)[:3] == (0, b"", [])
    done = run("-v", "-n", "127.0.0.1", *REPORT, send=LOCAL)
    assert (done.status, done.lines) == (0, [f"proxyserver: closing LOCAL from {done.peer}"])


@pytest.mark.parametrize(
    ("name", "what"),
    [
        ("haproxy health check of version 1", "UNKNOWN"),
        ("UNSPEC with a block that is to be skipped", "UNSPEC"),
        ("UDP over IPv4", "UDP"),
        ("a UNIX-domain caller without a name", "a UNIX-domain socket"),
    ],
)
def test_a_header_without_a_caller_is_dropped_unless_asked_otherwise(name: str, what: str) -> None:
    data, _ = HEADERS[name]
    done = run("-n", "127.0.0.1", *REPORT, send=data)
    assert (done.status, done.answer) == (111, b"")
    assert done.lines == [f"proxyserver: fatal: PROXY header from {done.peer} names no caller over TCP: {what}"]
    kept = run("-u", "-n", "127.0.0.1", *REPORT, send=data + b"rest")
    assert (kept.said.remote, kept.said.evidence, kept.said.rest) == (kept.peer, "confirmed", "rest")


def test_health_checks_reach_the_program_if_that_is_wanted() -> None:
    done = run("-v", "-l", "-n", "127.0.0.1", *REPORT, send=LOCAL + b"rest")
    assert (done.said.remote, done.said.rest) == (done.peer, "rest")
    assert done.lines == [f"proxyserver: ok LOCAL from {done.peer}"]
    assert run("-l", "-n", "127.0.0.1", *REPORT, send=HEADERS["haproxy health check of version 1"][0]).status == 111
    assert run("-u", "-n", "127.0.0.1", *REPORT, send=LOCAL).answer == b""


def test_a_kept_health_check_leaves_nothing_of_stale_variables() -> None:
    """The operator's word is for the variables of a caller; here the balancer is the peer."""
    stale = {"TCPREMOTEIP": "10.1.2.3", "TCPREMOTEPORT": "1", "TCPREMOTEHOST": "old.example", "UCSPI_TRUST": "proxy"}
    done = run("-l", "-n", "127.0.0.1", *REPORT, send=LOCAL, env=stale)
    assert (done.said.remote, done.said.problems) == (done.peer, [])
    assert "old.example" not in done.said.variables.values()


def test_a_caller_that_cannot_be_one_is_dropped() -> None:
    done = run("-n", "127.0.0.1", *REPORT, send=b"PROXY TCP4 0.0.0.0 192.0.2.1 1 2\r\n")
    assert (done.status, done.answer) == (111, b"")
    assert done.lines[0].endswith("0.0.0.0 cannot be a caller")


# -- the command line -------------------------------------------------------------------------------------------------

USAGE = "proxyserver: usage: proxyserver -n nets [ -qQvlu ] [ -t seconds ] program [ arg ... ]"


@pytest.mark.parametrize(
    ("arguments", "complaint"),
    [
        ([], None),
        (["-n", "127.0.0.1"], None),
        (["true"], "proxyserver: -n is missing: say which balancers may name callers, for example -n 127.0.0.1,::1"),
        (["-n", "", "true"], "proxyserver: unable to use -n: names no network"),
        (
            ["-n", "10.1.1.1/8", "true"],
            "proxyserver: unable to use -n: '10.1.1.1/8' has bits set behind its prefix; write 10.0.0.0/8",
        ),
        (["-n", "balancer", "true"], "proxyserver: unable to use -n: 'balancer' is not an IP address"),
        (["-x", "true"], "proxyserver: illegal option -- x"),
        (["-t"], "proxyserver: option requires an argument -- t"),
    ],
)
def test_a_command_line_that_cannot_be_used_is_told_at_once(arguments: list[str], complaint: str | None) -> None:
    with Program([*PROXYSERVER, *arguments]) as program:
        assert program.wait() == 100
        assert program.stop() == ([complaint] if complaint else []) + [USAGE]


def test_a_program_that_cannot_be_run_is_told() -> None:
    done = run("-n", "127.0.0.1", "/no/such/program")
    assert (done.status, done.lines) == (
        111,
        ["proxyserver: fatal: unable to run /no/such/program: file does not exist"],
    )


def test_verbosity() -> None:
    assert run("-qn127.0.0.1", *REPORT, send=b"GET").lines == []
    done = run("-vn127.0.0.1", "true")
    assert done.lines == [f"proxyserver: ok 192.0.2.7:4711 from {done.peer}"]
    assert run("-vQn127.0.0.1", "true").lines == []


# -- under the super-servers ------------------------------------------------------------------------------------------


@pytest.mark.peer("tcpserver")
@pytest.mark.parametrize("host", ["127.0.0.1", "::1"])
def test_under_debians_tcpserver(peer: Callable[[str], str], host: str) -> None:
    chain = [*PROXYSERVER, "-v", "-n", "127.0.0.1,::1", *REPORT]
    with start_tcpserver("-RHl0", "::0", "0", *chain, command=[peer("tcpserver")]) as server:
        answer = call(server.port, host, V6 + b"hello")
        said = report(answer.data)
        assert (said.remote, said.evidence, said.rest) == ("[2001:db8:0:1:1:1:1:7]:4711", "proxy", "hello")
        assert said.problems == []
        server.wait_for_line("ok [2001:db8:0:1:1:1:1:7]:4711 from")


@pytest.mark.netns
@pytest.mark.peer("tcpsvd")
def test_under_ipsvds_tcpsvd(peer: Callable[[str], str], netns: Callable[..., Namespace]) -> None:
    namespace = netns()
    server = [peer("tcpsvd"), "-vv", "-l", "0", "127.0.0.1", "7777"]
    argv = ["sh", "-c", 'exec "$@" >&2', "sh", *server, *PROXYSERVER, "-n", "127.0.0.1", *REPORT]  # it talks on stdout
    with Program(argv, namespace=namespace) as program:
        program.wait_for_line("listening on 127.0.0.1:7777")
        over = namespace.socket(socket.AF_INET)
        said = report(call(7777, send=V4 + b"hello", over=over).data)
        assert (said.remote, said.evidence, said.rest) == ("192.0.2.7:4711", "proxy", "hello")


@pytest.mark.peer("socat")
@pytest.mark.parametrize(
    ("options", "evidence"),
    [(",nofork", "proxy"), ("", "proxy")],
    ids=["the socket itself", "a UNIX-domain pair"],
)
def test_under_socat(peer: Callable[[str], str], options: str, evidence: str) -> None:
    # Without nofork the balancer's connection is socat's, which is looked for.
    chain = " ".join([*PROXYSERVER, "-n", "127.0.0.1", *REPORT])
    # Half a second after the caller has said all, socat would end, whatever the program has still to say.
    argv = [peer("socat"), "-t60", "-d", "-d", "TCP4-LISTEN:0,bind=127.0.0.1", f"EXEC:{chain}{options}"]
    with Program(argv, env=_clean()) as program:
        port = int(program.wait_for_line("listening on").rpartition(":")[2])
        said = report(call(port, send=V4 + b"hello").data)
        assert (said.remote, said.evidence, said.rest) == ("192.0.2.7:4711", evidence, "hello")
