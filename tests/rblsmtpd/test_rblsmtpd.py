"""The whole program: real processes, real sockets, a name server that can misbehave."""

from __future__ import annotations

import contextlib
import os
import signal
import socket
import subprocess
from typing import TYPE_CHECKING

import pytest

from tests.support import PATIENCE, call, tool
from tests.support.dns_server import SERVFAIL, DNSServer, Query, record, respond

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping, Sequence

    from tests.support import Server
    from tests.support.dns_server import Zone

V6 = "2001:db8::2"
NIBBLES = "2." + "0." * 23 + "8.b.d.0.1.0.0.2."
ZONE: Zone = {
    "2.0.0.127.rbl.example": {"TXT": ["listed, see example"]},
    "2.0.0.127.other.example": {"TXT": ["second"]},
    NIBBLES + "rbl.example": {"TXT": ["six"]},
    "2.0.0.127.codes.example": {"A": ["127.0.0.4"]},
    NIBBLES + "codes.example": {"A": ["127.0.0.4"]},
    "2.0.0.127.captured.example": {"A": ["198.51.100.7"]},
    "2.0.0.127.anti.example": {"A": ["127.0.0.1"]},
    "2.0.0.127.empty.example": {"TXT": [""]},
    "2.0.0.127.several.example": {"TXT": ["one ", "two"]},
    "2.0.0.127.evil.example": {"TXT": [b"\r\n250 ok\x1b[2J\x00\xff" + b"x" * 3000]},
}
SESSION = b"EHLO x\r\nRCPT TO:<a@b>\r\nQUIT\r\n"


def dialogue(reply: str) -> bytes:
    polite = "250 rblsmtpd.local\r\n"
    return f"220 rblsmtpd.local\r\n{polite}{reply}\r\n221 rblsmtpd.local\r\n".encode()


class Ran:
    """What a run left behind."""

    def __init__(self, done: subprocess.CompletedProcess[bytes]) -> None:
        self.status = done.returncode
        self.out = done.stdout
        self.err = done.stderr.decode()

    @property
    def verdict(self) -> str:
        """``"accept"``, or the reply to RCPT."""
        if self.out == b"accepted\n":
            return "accept"
        greeting, hello, reply, bye = self.out.decode().splitlines()
        assert (greeting, hello, bye) == ("220 rblsmtpd.local", "250 rblsmtpd.local", "221 rblsmtpd.local")
        return reply


def run(
    *options: str,
    dns: DNSServer | None = None,
    ip: str | None = "127.0.0.2",
    env: Mapping[str, str] | None = None,
    program: Sequence[str] = ("echo", "accepted"),
    send: bytes = SESSION,
) -> Ran:
    environ = {"PATH": os.environ["PATH"], **(env or {})}
    if dns is not None:
        environ["DNSCACHEIP"] = dns.address
    if ip is not None:
        environ["TCPREMOTEIP"] = ip
    argv = [*tool("rblsmtpd"), *options, *program]
    return Ran(subprocess.run(argv, input=send, capture_output=True, env=environ, timeout=PATIENCE, check=False))


@pytest.mark.parametrize(
    ("ip", "options", "verdict"),
    [
        ("127.0.0.2", "-r rbl.example", "451 listed, see example"),
        ("127.0.0.7", "-r rbl.example", "accept"),
        ("::ffff:127.0.0.2", "-r rbl.example", "451 listed, see example"),
        (V6, "-r rbl.example", "451 six"),
        ("2001:DB8:0::0:2", "-r rbl.example", "451 six"),
        ("2001:db8::3", "-r rbl.example", "accept"),
        ("127.0.0.2", "-b -r rbl.example", "553 listed, see example"),
        ("127.0.0.2", "-r rbl.example -b", "553 listed, see example"),
        ("127.0.0.2", "-b -r rbl.example -B", "451 listed, see example"),
        ("127.0.0.2", "-rother.example -rrbl.example", "451 second"),
        ("127.0.0.2", "-r none.example -r other.example -r rbl.example", "451 second"),
        ("127.0.0.2", "-a anti.example -r rbl.example", "accept"),
        ("127.0.0.2", "-r rbl.example -a anti.example", "451 listed, see example"),
        ("127.0.0.2", "-r codes.example", "accept"),
        ("127.0.0.2", "-r empty.example", "accept"),
        ("127.0.0.2", "-r several.example", "451 one two"),
        ("127.0.0.2", "-R -r rbl.example", "451 listed, see example"),
        ("127.0.0.2", "-r rbl.example.", "451 listed, see example"),
    ],
)
def test_who_is_turned_away(ip: str, options: str, verdict: str) -> None:
    """A39: C asks for ``2001:db8::2.rbl.example``, and its -b must stand before -r."""
    with DNSServer(ZONE) as dns:
        ran = run(*options.split(), dns=dns, ip=ip)
    assert (ran.verdict, ran.status) == (verdict, 0)
    assert bool(ran.err) is (verdict != "accept")


@pytest.mark.parametrize(
    ("ip", "base", "verdict"),
    [
        ("127.0.0.2", "codes.example:see http://x/?ip=%IP%", "451 see http://x/?ip=127.0.0.2"),
        (V6, "codes.example:%IP% and %IP%", f"451 {V6} and {V6}"),
        ("127.0.0.7", "codes.example:see %IP%", "accept"),
        ("127.0.0.2", "rbl.example:no address record", "accept"),
        ("127.0.0.2", "captured.example:a domain that answers everything", "accept"),
    ],
)
def test_a_message_of_ours_goes_with_address_records(ip: str, base: str, verdict: str) -> None:
    with DNSServer(ZONE) as dns:
        assert run("-r", base, dns=dns, ip=ip).verdict == verdict


def test_the_log_line_is_that_of_c() -> None:
    with (
        DNSServer(ZONE) as dns,
        subprocess.Popen(
            [*tool("rblsmtpd"), "-r", "rbl.example", "true"],
            env={"TCPREMOTEIP": "127.0.0.2", "DNSCACHEIP": dns.address},
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
        ) as process,
    ):
        out, err = process.communicate(SESSION, PATIENCE)
    assert out == dialogue("451 listed, see example")
    assert err.decode() == f"rblsmtpd: 127.0.0.2 pid {process.pid}: 451 listed, see example\n"


def test_all_lists_are_asked_at_once_and_the_order_still_decides() -> None:
    """The first list answers only (to the second try) after the other one has been asked, and answered."""
    asked: set[str] = set()

    def special(query: Query) -> list[bytes] | None:
        asked.add(query.name.partition("127.")[2])
        return [] if "other" in query.name and asked == {"other.example"} else None

    with DNSServer(ZONE, special) as dns:
        assert run("-r", "other.example", "-r", "rbl.example", dns=dns).verdict == "451 second"


def test_a_silent_list_behind_the_deciding_one_is_not_waited_for() -> None:
    def special(query: Query) -> list[bytes] | None:
        return [] if "silent" in query.name else None

    with DNSServer(ZONE, special) as dns:
        options = "-r rbl.example -r silent.example -a silent.example"
        assert run(*options.split(), dns=dns).verdict == "451 listed, see example"
        asked = dns.asked()
    # Waiting for it would have meant to ask three times.
    assert max(asked.count(question) for question in asked) < 3


@pytest.mark.parametrize(
    ("options", "verdict"),
    [
        ("-r fails.example", "accept"),
        ("-c -r fails.example", "451 temporary RBL lookup error"),
        ("-r fails.example -c -b", "451 temporary RBL lookup error"),
        ("-c -C -r fails.example", "accept"),
        ("-b -r fails.example -r rbl.example", "451 listed, see example"),
        ("-b -r rbl.example -r fails.example", "553 listed, see example"),
        ("-a fails.example -r rbl.example", "accept"),
        ("-bc -a fails.example -r rbl.example", "451 listed, see example"),
        ("-c -r broken.example", "451 temporary RBL lookup error"),
        ("-c -r captured.example:gone", "451 temporary RBL lookup error"),
        (f"-c -r {'x' * 64}.example", "451 temporary RBL lookup error"),
    ],
)
def test_a_failed_lookup_accepts_or_rejects_for_now(options: str, verdict: str) -> None:
    def special(query: Query) -> list[bytes] | None:
        if "fails" in query.name:
            return [respond(query, rcode=SERVFAIL)]
        return [respond(query, b"\xc0", count=9)] if "broken" in query.name else None

    with DNSServer(ZONE, special) as dns:
        assert run(*options.split(), dns=dns).verdict == verdict


def test_a_hostile_text_stays_one_short_printable_line() -> None:
    """It is too long for UDP as well, so this is also the way through TCP."""
    with DNSServer(ZONE) as dns:
        ran = run("-r", "evil.example", dns=dns)
        assert [query.transport for query in dns.queries] == ["udp", "tcp"]
    text = "??250 ok?[2J??"
    assert ran.verdict == "451 " + text + "x" * (200 - len(text))
    assert ran.err.count("\n") == 1
    assert ran.err.rstrip("\n").isprintable()


def test_forged_answers_do_not_count() -> None:
    """A4: C's rblsmtpd has the same ID and port in every run."""

    def special(query: Query) -> list[bytes]:
        return [
            respond(query._replace(ident=query.ident ^ 1), record(query.name, "TXT", "forged")),
            respond(query),
        ]

    with DNSServer(ZONE, special) as dns:
        assert run("-r", "clean.example", dns=dns).verdict == "accept"
        run("-r", "clean.example", dns=dns)
        one, other = dns.queries
    assert (one.ident, one.source) != (other.ident, other.source)


@pytest.mark.parametrize(
    ("value", "options", "verdict"),
    [
        ("", "-r rbl.example", "accept"),
        ("go away", "", "451 go away"),
        ("-go away", "", "553 go away"),
        ("go away", "-b", "451 go away"),
    ],
)
def test_the_variable_outranks_all_lists_and_nobody_is_asked(value: str, options: str, verdict: str) -> None:
    with DNSServer(ZONE) as dns:
        assert run(*options.split(), dns=dns, env={"RBLSMTPD": value}).verdict == verdict
        assert dns.queries == []


@pytest.mark.parametrize("ip", [None, "", "junk\nline", "127.0.0.257"])
def test_an_unknown_client_is_a_failed_lookup_with_a_line_in_the_log(ip: str | None) -> None:
    """C asks for the base alone, or for nonsense."""
    with DNSServer({"rbl.example": {"TXT": ["everybody"]}}) as dns:
        ran = run("-r", "rbl.example", dns=dns, ip=ip)
        assert ran.verdict == "accept"
        assert ran.err.startswith("rblsmtpd: warning: unable to ask about the client: ")
        assert ran.err.count("\n") == 1
        closed = run("-c", "-r", "rbl.example", dns=dns, ip=ip)
        assert closed.verdict == "451 temporary RBL lookup error"
        assert closed.err.count("\n") == 2
        assert dns.queries == []


def test_an_unusable_resolver_setting_is_told() -> None:
    with DNSServer(ZONE) as dns:
        ran = run("-r", "rbl.example", env={"DNSCACHEIP": f"{dns.address},dns.example"})
    assert ran.err.splitlines()[0].startswith("rblsmtpd: warning: DNSCACHEIP: 'dns.example' is not an IP address")
    assert ran.verdict == "451 listed, see example"


@pytest.mark.parametrize(
    ("arguments", "complaint"),
    [
        ([], []),
        (["-r", "rbl.example"], []),
        (["-Z", "true"], ["rblsmtpd: illegal option -- Z"]),
        (["-t"], ["rblsmtpd: option requires an argument -- t"]),
        (["-r", "", "true"], ["rblsmtpd: option needs the name of a DNS list -- r"]),
        (["-a", ".", "true"], ["rblsmtpd: option needs the name of a DNS list -- a"]),
        (["-r:text", "true"], ["rblsmtpd: option needs the name of a DNS list -- r"]),
    ],
)
def test_usage(arguments: list[str], complaint: list[str]) -> None:
    ran = run(*arguments, program=())
    line = "rblsmtpd: usage: rblsmtpd [ -b ] [ -R ] [ -t timeout ] [ -r base ] [ -a base ] smtpd [ arg ... ]"
    assert (ran.status, ran.out, ran.err.splitlines()) == (100, b"", [*complaint, line])


def test_an_smtp_server_that_cannot_be_run() -> None:
    ran = run(program=["./nosuch"])
    assert (ran.status, ran.err) == (111, "rblsmtpd: fatal: unable to run ./nosuch: file does not exist\n")


def test_the_smtp_server_gets_the_very_process_and_what_the_client_said() -> None:
    ran = run(program=["sh", "-c", 'read line; echo "$line $TCPREMOTEIP"'], send=b"EHLO x\n")
    assert ran.out == b"EHLO x 127.0.0.2\n"


# The talk with a rejected client


def rejecting(*options: str) -> subprocess.Popen[bytes]:
    return subprocess.Popen(
        [*tool("rblsmtpd"), *options, "true"],
        env={"RBLSMTPD": "no", "TCPREMOTEIP": "192.0.2.1"},
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        stderr=subprocess.DEVNULL,
    )


@pytest.mark.parametrize("timeout", ["0", "abc", "-5"])
def test_no_time_to_talk(timeout: str) -> None:
    with rejecting("-t", timeout) as process:
        assert process.stdout is not None
        assert process.stdout.read() == b"451 no\r\n"
        assert process.wait(PATIENCE) == 0


@pytest.mark.parametrize("huge", ["99999999999999999999", "2147483648"])
def test_a_huge_timeout_is_a_long_time(huge: str) -> None:
    assert run("-t", huge, env={"RBLSMTPD": "no"}).verdict == "451 no"


def test_the_clients_time_is_up() -> None:
    with rejecting("-t", "1") as process:
        assert process.stdout is not None
        assert process.stdout.read() == b"220 rblsmtpd.local\r\n"
        assert process.wait(PATIENCE) == 0


def test_a_client_that_does_not_read_has_its_time_too() -> None:
    with rejecting("-t", "1") as process:
        assert process.stdin is not None
        with contextlib.suppress(BrokenPipeError):
            while True:
                process.stdin.write(b"noop\r\n" * 1000)
        assert process.wait(PATIENCE) == 0
        with contextlib.suppress(BrokenPipeError):
            process.stdin.close()


def test_the_end_of_input_ends_it() -> None:
    ran = run(env={"RBLSMTPD": "no"}, send=b"HELO x\r\nQUIT")
    assert (ran.status, ran.out) == (0, b"220 rblsmtpd.local\r\n250 rblsmtpd.local\r\n")


def test_a_client_that_has_gone_ends_it_quietly() -> None:
    with rejecting() as process:
        assert process.stdin is not None
        assert process.stdout is not None
        process.stdout.readline()
        process.stdout.close()
        process.stdin.write(b"noop\r\n")
        process.stdin.close()
        assert process.wait(PATIENCE) == -signal.SIGPIPE


# As a server's program


def test_under_tcpserver_the_kernels_word_is_asked_about(tcpserver: Callable[..., Server]) -> None:
    """tcpserver -6 calls IPv4 clients ::ffff:…, which C asks about as text."""
    with DNSServer({"1.0.0.127.rbl.example": {"TXT": ["you"]}}) as dns:
        for options in ("-RHl0", "-6RHl0"):
            server = tcpserver(
                options,
                "127.0.0.1",
                "0",
                *tool("rblsmtpd"),
                "-r",
                "rbl.example",
                "cat",
                env={"PATH": os.environ["PATH"], "DNSCACHEIP": dns.address},
            )
            assert call(server.port, send=SESSION).data == dialogue("451 you")


def test_a_reset_connection_ends_it_quietly() -> None:
    ours, theirs = socket.socketpair()
    with (
        ours,
        subprocess.Popen(
            [*tool("rblsmtpd"), "true"],
            env={"RBLSMTPD": "no", "TCPREMOTEIP": "192.0.2.1"},
            stdin=theirs.fileno(),
            stdout=theirs.fileno(),
            stderr=subprocess.PIPE,
        ) as process,
    ):
        theirs.close()
        assert ours.recv(100) == b"220 rblsmtpd.local\r\n"
        ours.shutdown(socket.SHUT_RDWR)
        _, err = process.communicate(timeout=PATIENCE)
    assert err.decode() == f"rblsmtpd: 192.0.2.1 pid {process.pid}: 451 no\n"
    assert process.returncode == 0
