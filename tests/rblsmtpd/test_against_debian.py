"""Debian's rblsmtpd and ours, with the same clients and the same lists, in a namespace where port 53 is ours."""

from __future__ import annotations

import os
import re
from typing import TYPE_CHECKING, NamedTuple

import pytest

from tests.support import tool
from tests.support.dns_server import SERVFAIL, DNSServer, Query, respond

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

    from tests.support import Namespace
    from tests.support.dns_server import Zone

pytestmark = [pytest.mark.netns, pytest.mark.peer("rblsmtpd")]

SERVER = "127.0.0.53"
ZONE: Zone = {
    "2.0.0.127.rbl.example": {"TXT": ["listed"], "A": ["127.0.0.2"]},
    "2.0.0.127.other.example": {"TXT": ["second"]},
    "2.0.0.127.several.example": {"TXT": ["one ", "two"]},
    "2.0.0.127.onlya.example": {"A": ["127.0.0.2"]},
    "2.0.0.127.empty.example": {"TXT": [""]},
    "2.0.0.127.alias.example": {"CNAME": ["2.0.0.127.rbl.example"]},
    "2.0.0.127.large.example": {"TXT": ["x" * 700]},
    "2.0.0.127.binary.example": {"TXT": [b"a\r\n\x00\x1b\x7f\xffb"]},
    "2.0.0.127.anti.example": {"A": ["198.51.100.1"]},
}
SESSION = b"EHLO x\r\nmail from:<>\r\nRCPT TO:<a@b>\r\nDATA\n\r\nquit\r\r\nrset x\r\nnoop\r\nQUIT\r\nmore"


class Ran(NamedTuple):
    status: int
    out: bytes
    err: str
    questions: list[str]


class Lab:
    """One namespace with one name server for both programs."""

    def __init__(self, namespace: Namespace, dns: DNSServer, theirs: str) -> None:
        self._namespace = namespace
        self._dns = dns
        self._theirs = theirs

    def run(self, program: list[str], arguments: list[str], env: dict[str, str], send: bytes) -> Ran:
        self._dns.queries.clear()
        environ = {"PATH": os.environ["PATH"], "DNSCACHEIP": SERVER, "TCPREMOTEIP": "127.0.0.2", **env}
        done = self._namespace.run([*program, *arguments], env=environ, input=send)
        err = re.sub(r"pid \d+", "pid PID", done.stderr.decode())
        # A failed question is repeated; how often is not what is compared.
        questions = list(dict.fromkeys(f"{query.kind} {query.name}" for query in self._dns.queries))
        return Ran(done.returncode, done.stdout, err, questions)

    def both(self, *arguments: str, env: dict[str, str] | None = None, send: bytes = SESSION) -> tuple[Ran, Ran]:
        words, environ = list(arguments), env or {}
        return self.run([self._theirs], words, environ, send), self.run(tool("rblsmtpd"), words, environ, send)


def _special(query: Query) -> list[bytes] | None:
    return [respond(query, rcode=SERVFAIL)] if "fails" in query.name else None


@pytest.fixture
def lab(netns: Callable[..., Namespace], peer: Callable[[str], str]) -> Iterator[Lab]:
    namespace = netns()
    with DNSServer(ZONE, _special, host=SERVER, port=53, namespace=namespace) as dns:
        yield Lab(namespace, dns, peer("rblsmtpd"))


@pytest.mark.parametrize(
    "options",
    [
        *("", "-r rbl.example", "-b -r rbl.example", "-bB -r rbl.example", "-rrbl.example", "-r rbl.example."),
        *("-r none.example", "-r none.example -r rbl.example", "-r onlya.example", "-r empty.example"),
        *("-r several.example", "-r alias.example", "-r large.example", "-r binary.example"),
        *("-a none.example -r rbl.example", "-a none.example"),
        *("-t 0 -r rbl.example", "-r rbl.example -t0", "-t abc -r rbl.example", "-t 5x -r rbl.example"),
        *("-c -r rbl.example", "-C -r none.example", "-Cc -a none.example -r none.example"),
    ],
)
def test_the_same_lists_give_the_same_dialogue(lab: Lab, options: str) -> None:
    theirs, ours = lab.both(*options.split(), "echo", "accepted")
    assert ours == theirs


def test_a_deciding_list_gives_the_same_dialogue_though_more_are_asked(lab: Lab) -> None:
    """All lists are asked at once, so more questions leave."""
    for options in (
        "-r other.example -r rbl.example",
        "-r rbl.example -a anti.example",
        "-a anti.example -r rbl.example",
    ):
        theirs, ours = lab.both(*options.split(), "echo", "accepted")
        assert ours[:3] == theirs[:3]


def test_a_failing_list_gives_the_same_dialogue(lab: Lab) -> None:
    """One case, since C takes 11 s for it; the others are in test_rblsmtpd.py."""
    theirs, ours = lab.both("-b", "-r", "fails.example", "-r", "rbl.example", "true")
    assert ours == theirs


@pytest.mark.parametrize("value", ["", "no", "-no", "-", "--x", "a\tb\x7f", "x" * 300])
def test_the_variable(lab: Lab, value: str) -> None:
    theirs, ours = lab.both("-b", "-r", "rbl.example", "echo", "accepted", env={"RBLSMTPD": value})
    assert ours == theirs
    assert ours.questions == []


@pytest.mark.parametrize(
    "session",
    [
        *(b"", b"QUIT", b"\n", b"HELO\n", b"help\r\n", b"quit now\r\nnoop\r\n", b"EHLO" + b"x" * 3000 + b"\r\n"),
        *(b"noop " + b"x" * 3000 + b"\n", b"\xff\xfe\r\n", b"noop\r\n" * 300, b"  noop\r\n", b"noop\t\r\n"),
    ],
)
def test_the_dialogue(lab: Lab, session: bytes) -> None:
    theirs, ours = lab.both("true", env={"RBLSMTPD": "no"}, send=session)
    assert ours == theirs


@pytest.mark.parametrize(
    "arguments", [[], ["-b"], ["-Z", "true"], ["-t"], ["-r"], ["--", "echo", "-b"], ["./nosuch"], ["/tmp"], ["-", "x"]]
)
def test_usage_and_programs_that_cannot_be_run(lab: Lab, arguments: list[str]) -> None:
    theirs, ours = lab.both(*arguments)
    assert ours == theirs


# Where ours differs on purpose; each shows what C does, so that the reason can be seen to be there still.


def test_options_stand_anywhere(lab: Lab) -> None:
    theirs, ours = lab.both("-r", "rbl.example", "-b", "true")
    assert b"451 listed\r\n" in theirs.out
    assert b"553 listed\r\n" in ours.out


def test_ipv6_clients_can_be_listed(lab: Lab) -> None:
    for address, asked in [
        ("2001:db8::1", "1." + "0." * 23 + "8.b.d.0.1.0.0.2.rbl.example"),
        ("::ffff:127.0.0.2", "2.0.0.127.rbl.example"),
    ]:
        theirs, ours = lab.both("-r", "rbl.example", "true", env={"TCPREMOTEIP": address})
        assert theirs.questions != [f"TXT {asked}"]
        assert ours.questions == [f"TXT {asked}"]


def test_the_advertised_option_exists(lab: Lab) -> None:
    theirs, ours = lab.both("-R", "echo", "accepted")
    assert (theirs.status, ours.status) == (100, 0)
    assert ours.out == b"accepted\n"


def test_an_unknown_client_is_not_asked_about(lab: Lab) -> None:
    theirs, ours = lab.both("-r", "rbl.example", "echo", "accepted", env={"TCPREMOTEIP": ""})
    assert theirs == (0, b"accepted\n", "", ["TXT rbl.example"])
    assert (ours.status, ours.out, ours.questions) == (0, b"accepted\n", [])
    assert ours.err.startswith("rblsmtpd: warning: unable to ask about the client: ")


def test_a_colon_begins_a_message(lab: Lab) -> None:
    theirs, ours = lab.both("-r", "onlya.example:you are %IP%", "true")
    assert theirs.out == b""
    assert "example:you" in theirs.questions[0]
    assert b"451 you are 127.0.0.2\r\n" in ours.out


def test_the_same_query_is_not_sent_twice(lab: Lab) -> None:
    """A4: without a seed, every run of C's has the same ID and port."""
    seen: list[set[tuple[int, int]]] = [set(), set()]
    for _ in range(3):
        for index, program in enumerate(([lab._theirs], tool("rblsmtpd"))):
            lab.run(program, ["-r", "none.example", "true"], {}, b"")
            query = lab._dns.queries[0]
            seen[index].add((query.ident, query.source[1]))
    assert [len(pairs) for pairs in seen] == [1, 3]
