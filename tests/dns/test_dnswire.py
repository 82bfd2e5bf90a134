"""The DNS codec: any bytes are an answer, not ours, or a WireError; and what we ask is what a server would read."""

from __future__ import annotations

import contextlib
import ipaddress
import itertools
import os
import struct
from typing import TYPE_CHECKING

import pytest
from hypothesis import example, given
from hypothesis import strategies as st

from tests.support import dns_server as fake
from ucspi_env.tools._dnswire import (
    AAAA,
    MAX_ALIASES,
    MAX_HOPS,
    MAX_RECORDS,
    NXDOMAIN,
    PTR,
    TXT,
    A,
    Answer,
    Framed,
    WireError,
    decode_answer,
    encode_query,
    name_from_text,
    name_of,
    name_to_text,
    reverse_name,
    text_of,
    wire_name,
)

if TYPE_CHECKING:
    from collections.abc import Sequence

IDENT = 0x1234
LABELS = st.lists(st.binary(min_size=1, max_size=63), max_size=4)


def query(name: str = "a.example", kind: str = "A") -> fake.Query:
    packet = encode_query(IDENT, name_from_text(name), fake.TYPES[kind])
    return fake.Query(name, kind, IDENT, "udp", ("127.0.0.1", 1), packet)


def read(packet: bytes, name: str = "a.example", kind: int = A) -> Answer | None:
    return decode_answer(packet, IDENT, name_from_text(name), kind)


def records(packet: bytes, name: str = "a.example", kind: int = A) -> Sequence[bytes]:
    answer = read(packet, name, kind)
    assert answer is not None
    return answer.records


ONE = fake.record("a.example", "A", "192.0.2.1")


# Names


@pytest.mark.parametrize(
    ("text", "name"),
    [
        ("a.example", (b"a", b"example")),
        ("a.example.", (b"a", b"example")),
        (".a..example..", (b"a", b"example")),
        ("", ()),
        (".", ()),
        (r"a\056b.c", (b"a.b", b"c")),
        (r"\1\12\123\1234", (b"\x01\x0a\x53S4",)),
        (r"a\.b", (b"a.b",)),
        (r"a\\b", (b"a\\b",)),
        (r"\777", (b"\xff",)),
        (r"\8", (b"8",)),
        ("a\\", (b"a",)),
        ("Grün", ("Grün".encode(),)),
        ("\udcff", (b"\xff",)),
        ("a" * 63, (b"a" * 63,)),
    ],
)
def test_name_from_text(text: str, name: tuple[bytes, ...]) -> None:
    assert name_from_text(text) == name


@pytest.mark.parametrize("text", ["a" * 64, ".".join(["a" * 63] * 4), "b." * 128])
def test_names_that_dns_cannot_carry(text: str) -> None:
    with pytest.raises(WireError):
        name_from_text(text)


def test_the_longest_name_fits() -> None:
    assert len(wire_name(name_from_text(".".join(["a" * 63] * 3 + ["a" * 61])))) == 255


@pytest.mark.parametrize(
    ("name", "text"),
    [
        ((), "."),
        ((b"MAIL", b"Example", b"ORG"), "mail.example.org"),
        ((b"_sip-1", b"x"), "_sip-1.x"),
        ((b"a.b", b"c"), r"a\056b.c"),
        ((b"a b\n\x00\xff\\%",), r"a\040b\012\000\377\134\045"),
    ],
)
def test_name_to_text_follows_djb(name: tuple[bytes, ...], text: str) -> None:
    assert name_to_text(name) == text


@given(LABELS)
def test_text_of_a_name_leads_back_to_it_in_lower_case(labels: list[bytes]) -> None:
    name = tuple(labels)
    if len(wire_name(name)) <= 255:
        text = name_to_text(name)
        assert name_from_text(text) == tuple(label.lower() for label in name)
        assert text.isascii()
        assert text.isprintable()
        assert " " not in text


@given(st.text() | st.binary().map(os.fsdecode))
@example("\ud800")
def test_any_text_is_a_name_or_a_wire_error(text: str) -> None:
    with contextlib.suppress(WireError):
        assert len(wire_name(name_from_text(text))) <= 255


def test_reverse_names_of_both_families() -> None:
    assert name_to_text(reverse_name(ipaddress.ip_address("192.0.2.1"))) == "1.2.0.192.in-addr.arpa"
    nibbles = "1." + "0." * 23 + "8.b.d.0.1.0.0.2.ip6.arpa"
    assert name_to_text(reverse_name(ipaddress.ip_address("2001:db8::1"))) == nibbles


# Questions


def test_a_question_is_what_the_rfc_says() -> None:
    packet = encode_query(0xBEEF, (b"a", b"example"), AAAA)
    assert packet == b"\xbe\xef\x01\x00\x00\x01\x00\x00\x00\x00\x00\x00\x01a\x07example\x00\x00\x1c\x00\x01"


# Answers


def test_records_of_the_type_and_name_asked_for() -> None:
    other = fake.record("b.example", "A", "192.0.2.9")
    text = fake.record("a.example", "TXT", "text")
    two = fake.record("A.Example", "A", "192.0.2.2")
    assert records(fake.respond(query(), other, ONE, text, two)) == [b"\xc0\x00\x02\x01", b"\xc0\x00\x02\x02"]


def test_a_record_of_another_class_does_not_count() -> None:
    chaos = ONE[:11] + struct.pack("!HH", 1, 3) + ONE[15:]
    assert records(fake.respond(query(), chaos)) == []


def test_aliases_are_followed_in_any_order() -> None:
    chain = [
        fake.record("c.example", "A", "192.0.2.3"),
        fake.record("b.example", "CNAME", "C.example"),
        fake.record("a.example", "CNAME", "b.EXAMPLE"),
    ]
    assert records(fake.respond(query(), *chain)) == [b"\xc0\x00\x02\x03"]
    assert records(fake.respond(query(), *reversed(chain))) == [b"\xc0\x00\x02\x03"]
    assert records(fake.respond(query(), *chain[1:])) == [], "the end of the chain has no such record"


def test_a_loop_of_aliases_is_an_error_and_ends() -> None:
    loop = [fake.record("a.example", "CNAME", "b.example"), fake.record("b.example", "CNAME", "a.example")]
    with pytest.raises(WireError):
        read(fake.respond(query(), *loop))


def test_a_chain_of_aliases_has_a_limit() -> None:
    def chain(length: int) -> bytes:
        names = ["a.example", *(f"n{i}.example" for i in range(length))]
        aliases = [fake.record(one, "CNAME", other) for one, other in itertools.pairwise(names)]
        return fake.respond(query(), *aliases, fake.record(names[-1], "A", "192.0.2.1"))

    assert records(chain(MAX_ALIASES)) == [b"\xc0\x00\x02\x01"]
    with pytest.raises(WireError):
        read(chain(MAX_ALIASES + 1))


def test_ptr_behind_an_alias_as_in_classless_delegation() -> None:
    name = "1.2.0.192.in-addr.arpa"
    packet = fake.respond(
        query(name, "PTR"),
        fake.record(name, "CNAME", "1.0-63.2.0.192.in-addr.arpa"),
        fake.record("1.0-63.2.0.192.in-addr.arpa", "PTR", "Host.Example"),
    )
    assert [name_to_text(name_of(found)) for found in records(packet, name, PTR)] == ["host.example"]


def test_names_are_decompressed() -> None:
    target = b"\x04mail\xc0\x0e"  # the question's name is at 12, "example" at 14
    packet = fake.respond(query(kind="PTR"), fake.record(b"\xc0\x0c", "PTR", target))
    assert [name_of(found) for found in records(packet, kind=PTR)] == [(b"mail", b"example")]


def test_texts_of_several_strings_are_joined() -> None:
    packet = fake.respond(query(kind="TXT"), fake.record("a.example", "TXT", b"x" * 300))
    assert [text_of(found) for found in records(packet, kind=TXT)] == [b"x" * 300]
    assert text_of(b"") == b""


def test_no_such_name_and_no_such_records_are_told_apart() -> None:
    none, empty = read(fake.respond(query(), rcode=NXDOMAIN)), read(fake.respond(query()))
    assert none is not None
    assert empty is not None
    assert (none.rcode, empty.rcode) == (NXDOMAIN, 0)
    assert none.records == empty.records == []


def test_a_referral_is_lame_and_an_empty_answer_is_not() -> None:
    def with_authority(flags: int) -> bytes:
        packet = fake.respond(query(), flags=flags)
        return packet[:8] + b"\x00\x01" + packet[10:] + fake.record("example", "NS", "ns.example")

    lame = [answer.lame for flags in (0x8100, 0x8180, 0x8500) if (answer := read(with_authority(flags)))]
    assert lame == [True, False, False]


def test_truncation_is_reported_without_reading_on() -> None:
    answer = read(fake.respond(query(), ONE[:-2], flags=0x8380))
    assert answer is not None
    assert answer.truncated
    assert answer.records == []


def test_an_error_need_not_repeat_the_question() -> None:
    answer = read(struct.pack("!6H", IDENT, 0x8185, 0, 0, 0, 0))
    assert answer is not None
    assert answer.rcode == fake.REFUSED


GOOD = fake.respond(query(), ONE)


@pytest.mark.parametrize(
    "packet",
    [
        b"",
        GOOD[:11],
        b"\x12\x35" + GOOD[2:],
        GOOD[:2] + b"\x01\x00" + GOOD[4:],
        GOOD[:2] + b"\xa1\x80" + GOOD[4:],
        GOOD[:4] + b"\x00\x02" + GOOD[6:],
        struct.pack("!6H", IDENT, 0x8180, 0, 0, 0, 0),
        GOOD[:12] + b"\x01b" + GOOD[14:],
        GOOD[:23] + b"\x00\x1c\x00\x01" + GOOD[27:],
        GOOD[:23] + b"\x00\x01\x00\x03" + GOOD[27:],
        GOOD[:15],
        GOOD[:12] + b"\xc0\x0c" + GOOD[14:],
    ],
    ids=[
        "empty",
        "short",
        "id",
        "question",
        "opcode",
        "two",
        "none",
        "name",
        "type",
        "class",
        "cut",
        "loop",
    ],
)
def test_what_answers_another_question_is_not_ours(packet: bytes) -> None:
    assert read(packet) is None


@pytest.mark.parametrize(
    "answers",
    [
        [ONE[:-1]],
        [ONE[:12]],
        [b"\xc0"],
        [b"\x40a\x00" + ONE[11:]],
        [b"\x80a\x00" + ONE[11:]],
        [b"\xff\xff" + ONE[11:]],
        [fake.record("a.example", "A", b"\x01\x02\x03")],
        [fake.record("a.example", "A", b"\x01\x02\x03\x04\x05")],
        [fake.record("a.example", "CNAME", b"\x01b\x00x")],
        [fake.record("a.example", "CNAME", b"\x01b")],
        [fake.record(b"\xc0\x1b", "A", "192.0.2.1")],
        [fake.record(b"\x01a\xc0\x1b", "A", "192.0.2.1")],
        [fake.record(b"".join([b"\x3f" + b"a" * 63] * 4) + b"\x00", "A", "192.0.2.1")],
    ],
)
def test_an_answer_that_breaks_the_format_is_a_wire_error(answers: list[bytes]) -> None:
    with pytest.raises(WireError):
        read(fake.respond(query(), *answers))


def test_a_text_longer_than_its_record_is_a_wire_error() -> None:
    with pytest.raises(WireError):
        read(fake.respond(query(kind="TXT"), fake.record("a.example", "TXT", "x")[:-2] + b"\x05x"), kind=TXT)


def test_a_count_larger_than_the_packet_is_a_wire_error() -> None:
    with pytest.raises(WireError):
        read(fake.respond(query(), ONE, count=2))
    with pytest.raises(WireError):
        read(fake.respond(query(), ONE, count=65535))


def test_named_limits_hold() -> None:
    most = [fake.record(b"\xc0\x0c", "A", "192.0.2.1")] * MAX_RECORDS
    assert len(records(fake.respond(query(), *most))) == MAX_RECORDS
    with pytest.raises(WireError):
        read(fake.respond(query(), *most, most[0]))


def test_pointers_to_pointers_have_a_limit() -> None:
    def nested(hops: int) -> bytes:
        # An unknown type's data holds pointers, each to the one before it; the last is used as an owner.
        at = 12 + len("a.example") + 2 + 4 + 2 + 10  # where the data of the first record is
        data = b"\xc0\x0c" + b"".join(struct.pack("!H", 0xC000 | at + 2 * i) for i in range(hops - 1))
        first = b"\xc0\x0c" + struct.pack("!HHIH", 99, 1, 0, len(data)) + data
        owner = struct.pack("!H", 0xC000 | at + 2 * (hops - 1))
        return fake.respond(query(), first, fake.record(owner, "A", "192.0.2.1"))

    assert records(nested(MAX_HOPS - 1)) == [b"\xc0\x00\x02\x01"]
    with pytest.raises(WireError):
        read(nested(MAX_HOPS))


ANYTHING = st.binary(max_size=600)
KINDS = st.sampled_from(sorted({A, AAAA, PTR, TXT, fake.TYPES["CNAME"]}))


@given(ANYTHING, KINDS)
@example(GOOD, A)
def test_any_packet_is_an_answer_or_not_ours_or_a_wire_error(packet: bytes, kind: int) -> None:
    try:
        answer = read(packet, kind=kind)
    except WireError:
        return
    assert answer is None or 0 <= answer.rcode <= 15


@given(st.integers(0, 40), ANYTHING, KINDS, st.integers(0, 0xFFFF))
def test_any_answer_section_is_records_or_a_wire_error(count: int, section: bytes, kind: int, flags: int) -> None:
    name = next(name for name, code in fake.TYPES.items() if code == kind)
    packet = fake.respond(query(kind=name), section, count=count, flags=flags & 0xFFF0 | 0x8000, rcode=flags & 15)
    try:
        answer = read(packet, kind=kind)
    except WireError:
        return
    for found in answer.records if answer else ():
        if kind == TXT:
            text_of(found)
        elif kind in (A, AAAA):
            ipaddress.ip_address(found)
        else:
            name_to_text(name_of(found))


@given(st.data(), KINDS)
def test_a_good_answer_with_a_few_wrong_bytes_raises_nothing_else(data: st.DataObject, kind: int) -> None:
    name = next(name for name, code in fake.TYPES.items() if code == kind)
    value: str | bytes = {A: "192.0.2.1", AAAA: "2001:db8::1", TXT: "t" * 40}.get(kind, "b.example")
    packet = bytearray(
        fake.respond(
            query(kind=name),
            fake.record("a.example", "CNAME", "c.example"),
            fake.record(b"\xc0\x0c", name, value),
            fake.record("c.example", name, value),
        )
    )
    for _ in range(data.draw(st.integers(1, 4))):
        packet[data.draw(st.integers(0, len(packet) - 1))] = data.draw(st.integers(0, 255))
    with contextlib.suppress(WireError):
        read(bytes(packet), kind=kind)


# TCP framing


@given(st.binary(max_size=300), st.binary(max_size=20))
def test_framing_is_the_same_whole_in_bytes_and_with_more_behind(message: bytes, rest: bytes) -> None:
    stream = struct.pack("!H", len(message)) + message
    assert Framed().feed(stream) == message
    one = Framed()
    assert [one.feed(stream[at : at + 1]) for at in range(len(stream))] == [None] * (len(stream) - 1) + [message]
    more = Framed()
    assert more.feed(stream + rest) == message
    assert more.unused == rest
