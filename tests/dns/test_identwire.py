"""The ident codec: no answer can put anything into the environment but 1 to 512 printable ASCII characters."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from ucspi_env.tools._identwire import MAX_LINE, MAX_USER, Reply, request


def test_the_question_is_what_c_sends() -> None:
    assert request(6193, 23) == b"6193 , 23\r\n"


def fed(data: bytes, ports: tuple[int, int] = (6193, 23)) -> tuple[bool, str | None]:
    reply = Reply(*ports)
    return reply.feed(data), reply.user


@pytest.mark.parametrize(
    ("line", "user"),
    [
        (b"6193 , 23 : USERID : UNIX : stjohns\r\n", "stjohns"),
        (b"6193,23:USERID:UNIX:stjohns\n", "stjohns"),
        (b"6193,23:userid:UNIX,US-ASCII:a b\tc\n", "abc"),
        (b"6193, 23 : USERID : OTHER : a:b::c\r\n", "a:b::c"),
        (b"06193, 023 : USERID : UNIX : joe\r\n", "joe"),
        (b"0 , 0 : USERID : UNIX : joe\r\n", None),
        (b"1 , 2 : USERID : UNIX : joe\r\n", None),
        (b"23 , 6193 : USERID : UNIX : joe\r\n", None),
        (b"6193 : USERID : UNIX : joe\r\n", None),
        (b"6193 , 23 , 23 : USERID : UNIX : joe\r\n", None),
        (b"-6193 , 23 : USERID : UNIX : joe\r\n", None),
        (b"0000006193 , 23 : USERID : UNIX : joe\r\n", None),
        (b" : USERID : UNIX : joe\r\n", None),
        (b"6193,23:USERID:UNIX:" + b"x" * MAX_USER + b"\n", "x" * MAX_USER),
        (b"6193,23:USERID:UNIX:" + b"x" * (MAX_USER + 1) + b"\n", None),
        (b"6193,23:ERROR:NO-USER\r\n", None),
        (b"6193,23:ERROR:HIDDEN-USER:joe\r\n", None),
        (b"6193,23:OTHER:UNIX:joe\r\n", None),
        (b"6193,23:USERID:UNIX: \r\n", None),
        (b"6193,23:USERID:UNIX\r\n", None),
        (b"6193,23:USERID:UNIX:a\0b\r\n", None),
        (b"6193,23:USERID:UNIX:a\x1b[2Jb\r\n", None),
        (b"6193,23:USERID:UNIX:J\xf6rg\r\n", None),
        (b"6193,23:USERID:UNIX:a\x7f\r\n", None),
        (b"\n", None),
        (b"::::\n", None),
    ],
)
def test_a_reply_about_this_connection_names_its_user(line: bytes, user: str | None) -> None:
    assert fed(line) == (True, user)


def test_a_line_has_an_end_or_is_not_waited_for() -> None:
    start = b"6193,23:USERID:UNIX:"
    assert fed(start + b"x" * (MAX_LINE - len(start))) == (False, None)
    assert fed(start + b" " * (MAX_LINE + 1 - len(start))) == (True, None)


@given(st.binary(max_size=80), st.binary(max_size=20))
def test_it_is_the_same_whole_in_bytes_and_with_more_behind(line: bytes, rest: bytes) -> None:
    data = b"6193,23:USERID:UNIX:" + line.replace(b"\n", b"") + b"\n"
    whole = fed(data)
    one = Reply(6193, 23)
    assert [one.feed(data[at : at + 1]) for at in range(len(data))] == [False] * (len(data) - 1) + [True]
    more = Reply(6193, 23)
    assert more.feed(data + rest)
    assert (True, one.user) == (True, more.user) == whole
    assert more.unused == rest


@given(st.binary(max_size=1200) | st.binary(max_size=60).map(lambda tail: b"6193,23:USERID:UNIX:" + tail + b"\n"))
def test_any_bytes_are_a_safe_user_or_none(data: bytes) -> None:
    _, user = fed(data)
    if user is not None:
        assert 0 < len(user) <= MAX_USER
        assert user.isascii()
        assert user.isprintable()
        assert " " not in user
