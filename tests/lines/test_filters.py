"""The pure part of the line tools: whatever the chunks, the output is the same."""

from __future__ import annotations

import re
from typing import TYPE_CHECKING

import pytest
from hypothesis import given
from hypothesis import strategies as st

from ucspi_env.tools._lines import (
    HEADER_LIMIT,
    AddCr,
    Chain,
    DelCr,
    FixCr,
    HttpBody,
    RecordLog,
    Verbatim,
    Visible,
)

if TYPE_CHECKING:
    from collections.abc import Callable

    from ucspi_env.tools._lines import Filter

# Bytes that matter to line tools come up often.
STREAMS = st.lists(st.sampled_from([b"\r", b"\n", b"\r\n", b"a", b"\0", b"\xff"]), max_size=40).map(b"".join)
CHUNKED = st.lists(STREAMS, max_size=8)


def fed_three_ways(make: Callable[[], Filter], data: bytes) -> bytes:
    """The output for the data at once, byte by byte, and in halves; all must agree."""
    whole = make()
    output = whole.feed(data) + whole.finish()
    single = make()
    assert b"".join(single.feed(data[at : at + 1]) for at in range(len(data))) + single.finish() == output
    halves = make()
    middle = len(data) // 2
    assert halves.feed(data[:middle]) + halves.feed(b"") + halves.feed(data[middle:]) + halves.finish() == output
    return output


@pytest.mark.parametrize(
    ("make", "data", "want"),
    [
        (AddCr, b"a\nb\r\nc", b"a\r\nb\r\r\nc"),
        (AddCr, b"\n\n", b"\r\n\r\n"),
        (AddCr, b"", b""),
        (FixCr, b"a\nb\r\nc\r\r\n\r", b"a\r\nb\r\nc\r\r\n\r"),
        (FixCr, b"\n", b"\r\n"),
        (FixCr, b"\r\r\n\n", b"\r\r\n\r\n"),
        (DelCr, b"a\r\nb\nc\r\r\nd\re\r", b"a\nb\nc\r\nd\re\r"),
        (DelCr, b"\r", b"\r"),
        (DelCr, b"\r\r", b"\r\r"),
        (Visible, b"a\tb\n\r\0\x1b\x7f\x80\x89\x8a\xe9\xff~", b"a\tb\n^M^@^[^?M-^@M-^IM-^JM-iM-^?~"),
        (Verbatim, b"\0\r\n\xff", b"\0\r\n\xff"),
        (lambda: Chain(DelCr(), Visible()), b"a\r\nb\r", b"a\nb^M"),
        (lambda: Chain(DelCr(), DelCr()), b"a\r\r\nb\r\r", b"a\nb\r\r"),
    ],
)
def test_output_does_not_depend_on_chunks(make: Callable[[], Filter], data: bytes, want: bytes) -> None:
    assert fed_three_ways(make, data) == want


@given(CHUNKED)
def test_addcr_puts_a_cr_before_every_lf(chunks: list[bytes]) -> None:
    crs = AddCr()
    assert b"".join(map(crs.feed, chunks)) == re.sub(rb"\n", b"\r\n", b"".join(chunks))


@given(CHUNKED)
def test_fixcr_puts_a_cr_before_every_lf_without_one(chunks: list[bytes]) -> None:
    crs = FixCr()
    assert b"".join(map(crs.feed, chunks)) == re.sub(rb"(?<!\r)\n", b"\r\n", b"".join(chunks))


@given(CHUNKED)
def test_delcr_takes_one_cr_before_every_lf(chunks: list[bytes]) -> None:
    crs = DelCr()
    assert b"".join(map(crs.feed, chunks)) + crs.finish() == re.sub(rb"\r\n", b"\n", b"".join(chunks))


@given(STREAMS)
def test_delcr_undoes_addcr(data: bytes) -> None:
    crs = DelCr()
    assert crs.feed(AddCr().feed(data)) + crs.finish() == data


@given(st.binary())
def test_visible_output_is_printable(data: bytes) -> None:
    assert not Visible().feed(data).translate(None, b"\t\n" + bytes(range(0x20, 0x7F)))


@pytest.mark.parametrize(
    ("data", "want"),
    [
        (b"ab\n", b"7 < ab \n"),
        (b"ab", b"7 < ab+\n"),
        (b"ab\nc", b"7 < ab \n7 < c+\n"),
        (b"\n\n", b"7 <  \n7 <  \n"),
        (b"\0\r\xff%\n", b"7 < \0\r\xff% \n"),
        (b"x" * 255 + b"\n", b"7 < " + b"x" * 255 + b" \n"),
        (b"x" * 256 + b"\n", b"7 < " + b"x" * 256 + b"+\n7 <  \n"),
        (
            b"x" * 600 + b"\n",
            b"7 < " + b"x" * 256 + b"+\n7 < " + b"x" * 256 + b"+\n7 < " + b"x" * 88 + b" \n",
        ),
        (b"", b""),
    ],
)
def test_recordio_entries(data: bytes, want: bytes) -> None:
    assert RecordLog(7, "<").entries(data) == want


@given(STREAMS, st.integers(0, 600))
def test_recordio_entries_of_a_large_read_are_those_of_reads_of_256(data: bytes, times: int) -> None:
    data *= times
    log = RecordLog(7, ">")
    assert log.entries(data) == b"".join(log.entries(data[at : at + 256]) for at in range(0, len(data), 256))


def test_recordio_logs_the_end() -> None:
    assert RecordLog(4194304, ">").end() == b"4194304 > [EOF]\n"


HEADER = b"HTTP/1.0 200 OK\r\nServer: x\r\n\r\n"


@pytest.mark.parametrize(
    ("reply", "body"),
    [
        (HEADER + b"a\r\n\r\nb\n\n\nc", b"a\r\n\r\nb\n\n\nc"),
        (HEADER, b""),
        (HEADER.replace(b"\r", b"") + b"\n\r\n", b"\n\r\n"),
        (b"\nall of it", b"all of it"),
        (b"HTTP/1.0 200 OK\r\n", b""),
        (b"", b""),
    ],
)
def test_http_body_is_passed_byte_for_byte(reply: bytes, body: bytes) -> None:
    assert fed_three_ways(HttpBody, reply) == body


@pytest.mark.parametrize(
    ("header", "status", "reason", "length"),
    [
        (b"HTTP/1.1 404 Not Found\r\nContent-Length: 12\r\n\r\n", 404, "Not Found", 12),
        (b"HTTP/1.0 200\ncontent-length:7\n\n", 200, "", 7),
        (b"HTTP/1.0 500 \x1b[2J\xff\r\n\r\n", 500, "?[2J?", None),
        (b"HTTP/1.0 abc x\r\n\r\n", 0, "", None),
        (b"nonsense\nContent-Length: -1\n\n", 0, "", None),
        (b"HTTP/1.0 200 OK\nContent-Length: 99999999999999999999999\n\n", 200, "OK", None),
        (b"\n", 0, "", None),
    ],
)
def test_http_header_is_read_without_trust(header: bytes, status: int, reason: str, length: int | None) -> None:
    body = HttpBody()
    body.feed(header + b"12345")
    assert (body.header_ended, body.status, body.reason, body.length, body.received) == (
        True,
        status,
        reason,
        length,
        5,
    )


def test_an_endless_http_header_takes_no_more_memory_than_its_limit() -> None:
    body = HttpBody()
    told = []
    for data in (b"x" * HEADER_LIMIT, b"x", b"\n\nbody"):
        told.append((body.feed(data), body.header_too_long))
    assert told == [(b"", False), (b"", True), (b"", True)]


@given(st.binary())
def test_any_bytes_are_some_reply(data: bytes) -> None:
    body = HttpBody()
    assert data.endswith(body.feed(data) + body.finish())
