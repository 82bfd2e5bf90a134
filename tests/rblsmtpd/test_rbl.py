"""The verdict and the dialogue, without a network."""

from __future__ import annotations

import ipaddress
import itertools

import pytest
from hypothesis import given
from hypothesis import strategies as st

from ucspi_env.tools._rbl import (
    MAX_TEXT,
    Dialogue,
    List,
    Verdict,
    decide,
    finding_from_addresses,
    verdict_from_variable,
)

BLOCK, ALLOW = List("b"), List("a", allows=True)


def judged(lists: list[List], findings: list[bytes | None], *, bounce: bool = False, closed: bool = False) -> str:
    verdict = decide(lists, findings, bounce=bounce, closed=closed)
    if verdict is None:
        return "undecided"
    return "accept" if verdict.text is None else verdict.reply().decode()


@pytest.mark.parametrize(
    ("lists", "findings", "flags", "outcome"),
    [
        ([], [], "", "accept"),
        ([BLOCK], [b""], "", "accept"),
        ([BLOCK], [b"bad"], "", "451 bad"),
        ([BLOCK], [b"bad"], "b", "553 bad"),
        ([BLOCK], [None], "", "accept"),
        ([BLOCK], [None], "c", "451 temporary RBL lookup error"),
        ([BLOCK], [None], "bc", "451 temporary RBL lookup error"),
        ([BLOCK, BLOCK], [None, b"bad"], "b", "451 bad"),
        ([BLOCK, BLOCK], [b"bad", None], "b", "553 bad"),
        ([BLOCK, BLOCK], [b"one", b"two"], "", "451 one"),
        ([ALLOW, BLOCK], [b"ok", b"bad"], "", "accept"),
        ([ALLOW, BLOCK], [b"", b"bad"], "", "451 bad"),
        ([BLOCK, ALLOW], [b"bad", b"ok"], "", "451 bad"),
        ([ALLOW, BLOCK], [None, b"bad"], "b", "accept"),
        ([ALLOW, BLOCK], [None, b"bad"], "bc", "451 bad"),
        ([ALLOW, BLOCK], [None, b""], "c", "accept"),
        ([BLOCK, BLOCK], [b""], "", "undecided"),
        ([BLOCK, BLOCK], [b"bad"], "", "451 bad"),
        ([BLOCK, BLOCK], [None], "", "undecided"),
        ([BLOCK, BLOCK], [None], "c", "451 temporary RBL lookup error"),
    ],
)
def test_the_first_list_that_decides_decides(
    lists: list[List], findings: list[bytes | None], flags: str, outcome: str
) -> None:
    assert judged(lists, findings, bounce="b" in flags, closed="c" in flags) == outcome


@given(
    st.lists(st.tuples(st.booleans(), st.sampled_from([b"", b"bad", None])), max_size=6), st.booleans(), st.booleans()
)
def test_a_verdict_from_fewer_answers_is_the_final_one(
    answers: list[tuple[bool, bytes | None]], bounce: bool, closed: bool
) -> None:
    """So asking all at once and stopping early cannot change it."""
    lists = [List("x", allows=allows) for allows, _ in answers]
    findings = [finding for _, finding in answers]
    final = judged(lists, findings, bounce=bounce, closed=closed)
    assert final != "undecided"
    for known in range(len(findings)):
        assert judged(lists, findings[:known], bounce=bounce, closed=closed) in ("undecided", final)


@pytest.mark.parametrize(
    ("addresses", "finding"),
    [
        ([], b""),
        (["127.0.0.2"], b"see 192.0.2.1"),
        (["127.0.0.4", "127.0.0.2"], b"see 192.0.2.1"),
        (["198.51.100.7"], None),
        (["127.255.255.254"], None),
        (["127.255.255.254", "127.0.0.2"], b"see 192.0.2.1"),
    ],
)
def test_a_list_with_our_message_must_answer_as_lists_do(addresses: list[str], finding: bytes | None) -> None:
    entry = List("x", message=b"see %IP%")
    assert finding_from_addresses(entry, list(map(ipaddress.IPv4Address, addresses)), "192.0.2.1") == finding


def test_any_address_record_allows() -> None:
    assert finding_from_addresses(ALLOW, [ipaddress.IPv4Address("198.51.100.7")], "::1")
    assert finding_from_addresses(ALLOW, [], "::1") == b""


@pytest.mark.parametrize(
    ("text", "reply"),
    [
        (b"go away", b"451 go away"),
        (b"-go away", b"553 go away"),
        (b"-", b"553 "),
        (b"--", b"553 -"),
        (b"a\r\n250 ok\x00\x7f\xff", b"451 a??250 ok???"),
        (b"x" * 250, b"451 " + b"x" * MAX_TEXT),
    ],
)
def test_the_variable(text: bytes, reply: bytes) -> None:
    assert verdict_from_variable(text).reply() == reply


def test_an_empty_variable_accepts() -> None:
    assert verdict_from_variable(b"").text is None


@given(st.binary(max_size=400), st.booleans())
def test_any_text_is_one_short_line_of_printable_ascii(text: bytes, permanent: bool) -> None:
    reply = Verdict(text, permanent=permanent).reply().decode("ascii")
    assert reply.isprintable()
    assert len(reply) <= 4 + MAX_TEXT


# The dialogue

OK, BYE, NO = b"250 rblsmtpd.local\r\n", b"221 rblsmtpd.local\r\n", b"451 no\r\n"


@pytest.mark.parametrize(
    ("line", "answer"),
    [
        (b"HELO x\r\n", OK),
        (b"ehlo\n", OK),
        (b"MAIL FROM:<>\r\n", OK),
        (b"mail\tfrom\r\n", NO),
        (b"rset\r\n", OK),
        (b"NOOP\r\n", OK),
        (b"RCPT TO:<a@b>\r\n", NO),
        (b"DATA\r\n", NO),
        (b"\r\n", NO),
        (b"\n", NO),
        (b"quit\r\n", BYE),
        (b"QUIT now\n", BYE),
        (b"quit\r\r\n", NO),
        (b" quit\r\n", NO),
        (b"noop" + b"x" * 5000 + b"\r\n", NO),
        (b"noop " + b"x" * 5000 + b"\r\n", OK),
        (b"x" * 70 + b"\r\n", NO),
    ],
)
def test_what_is_answered(line: bytes, answer: bytes) -> None:
    dialogue = Dialogue(b"451 no")
    assert dialogue.feed(line) == answer
    assert dialogue.over is (answer == BYE)


def test_a_pipelined_session_ends_at_quit() -> None:
    dialogue = Dialogue(b"451 no")
    assert dialogue.feed(b"EHLO x\r\nRCPT TO:<a>\r\nQUIT\r\nNOOP\r\n") == OK + NO + BYE


def test_an_unterminated_line_is_not_answered() -> None:
    dialogue = Dialogue(b"451 no")
    assert dialogue.feed(b"QUIT") == b""
    assert not dialogue.over


LINES = st.lists(
    st.sampled_from([b"noop\r\n", b"quit \n", b"x\n", b"\r", b" ", b"n", b"\n", b"y" * 80]) | st.binary(max_size=9),
    max_size=12,
)


@given(LINES, st.data())
def test_a_session_is_the_same_whole_in_bytes_and_in_any_pieces(parts: list[bytes], data: st.DataObject) -> None:
    session = b"".join(parts)
    cuts = sorted(data.draw(st.lists(st.integers(0, len(session)), max_size=4)))
    pieces = [session[a:b] for a, b in itertools.pairwise([0, *cuts, len(session)])]
    answers = []
    for way in ([session], [session[at : at + 1] for at in range(len(session))], pieces):
        dialogue = Dialogue(b"451 no")
        answer = b""
        for piece in way:
            if not dialogue.over:
                answer += dialogue.feed(piece)
        answers.append((answer, dialogue.over))
    assert answers[0] == answers[1] == answers[2]


@given(st.binary(min_size=1000, max_size=3000).map(lambda data: data.replace(b"\n", b"")))
def test_an_endless_line_takes_bounded_space(data: bytes) -> None:
    dialogue = Dialogue(b"451 no")
    for _ in range(3):
        assert dialogue.feed(data) == b""
    assert len(dialogue._line) <= 64
