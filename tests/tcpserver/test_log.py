"""The text of the log: exact, and not to be forged by names that strangers choose."""

from __future__ import annotations

import re

import pytest
from hypothesis import given
from hypothesis import strategies as st

from ucspi_env import Endpoint
from ucspi_env.tools._log import FIELD_LIMIT, Lines, address, field

LOCAL = Endpoint("127.0.0.1", 25, host="0")
VERDICT = re.compile(
    r"tcpserver: ok 7 (?P<lhost>[^: ]*):(?P<lip>[0-9.]+|\[[^] ]+\]):(?P<lport>\d+)"
    r" (?P<rhost>[^: ]*):(?P<rip>[0-9.]+|\[[^] ]+\]):(?P<info>[^: ]*):(?P<rport>\d+)"
)


@pytest.mark.parametrize(
    ("remote", "as_ipv6", "shown"),
    [
        (Endpoint("127.0.0.1", 1), False, "127.0.0.1"),
        (Endpoint("127.0.0.1", 1), True, "[::ffff:127.0.0.1]"),
        (Endpoint("::ffff:192.0.2.1", 1), False, "192.0.2.1"),
        (Endpoint("::1", 1), False, "[::1]"),
        (Endpoint("2001:db8:0:1:1:1:1:1", 1), False, "[2001:db8::1:1:1:1:1]"),
        (Endpoint("fe80::1", 1, "eth0"), False, "[fe80::1%eth0]"),
        (Endpoint("fe80::1", 1, "a]:b"), False, "[fe80::1%a]?b]"),
    ],
)
def test_an_address_is_shown_as_the_unpatched_tcpserver_did_or_in_brackets(
    remote: Endpoint, as_ipv6: bool, shown: str
) -> None:
    assert address(remote, as_ipv6=as_ipv6) == shown


@pytest.mark.parametrize(
    ("text", "shown"),
    [
        (None, ""),
        ("", ""),
        ("host.example", "host.example"),
        ("a:b c%\x7f\n", "a?b?c???"),
        ("é", "??"),
        ("\udcff", "?"),
        ("x" * 99, "x" * 99),
        ("x" * 100, "x" * 100 + "..."),
        ("x" * 300, "x" * 100 + "..."),
    ],
)
def test_a_field_is_cleaned_and_cut_as_in_c(text: str | None, shown: str) -> None:
    assert field(text) == shown


@given(st.text(), st.text(), st.text(), st.sampled_from(["127.0.0.1", "2001:db8::1"]))
def test_no_name_can_forge_another_field(local_name: str, name: str, info: str, ip: str) -> None:
    names = [
        text.encode("utf-8", "surrogatepass").decode("utf-8", "surrogateescape") for text in (local_name, name, info)
    ]
    line = Lines(40).verdict(
        "ok", 7, Endpoint(ip, 25, host=names[0]), Endpoint(ip, 54321, host=names[1], info=names[2])
    )
    found = VERDICT.fullmatch(line)
    assert found is not None
    assert found["lip"].strip("[]") == found["rip"].strip("[]") == ip
    assert (found["lport"], found["rport"]) == ("25", "54321")
    assert len(found["rhost"]) <= FIELD_LIMIT + 3


def test_the_lines_are_those_of_ucspi_tcp() -> None:
    lines = Lines(40)
    remote = Endpoint("192.0.2.1", 54321, host="a.example", info="joe")
    assert lines.status(1) == "tcpserver: status: 1/40"
    assert lines.caller(7, remote) == "tcpserver: pid 7 from 192.0.2.1"
    assert lines.verdict("deny", 0, LOCAL, remote) == "tcpserver: deny 0 0:127.0.0.1:25 a.example:192.0.2.1:joe:54321"
    assert lines.end(7, 28416, 1.5, LOCAL, remote) == "tcpserver: end 7 status 28416"
