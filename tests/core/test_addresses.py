"""Text to address and back: every spelling that super-servers use, and nothing else."""

from __future__ import annotations

from ipaddress import IPv4Address, IPv6Address, ip_address

import pytest
from hypothesis import given
from hypothesis import strategies as st

from ucspi_env import Endpoint
from ucspi_env._address import (
    djb_text,
    djb_text6,
    parse_ip,
    parse_port,
    plausible_host,
    plausible_info,
    shown,
    split_port,
)

addresses = st.one_of(st.ip_addresses(v=4), st.ip_addresses(v=6))


@pytest.mark.parametrize(
    ("text", "ip", "zone"),
    [
        ("192.0.2.1", "192.0.2.1", None),
        ("127.000.000.001", "127.0.0.1", None),  # DJB's tools take leading zeros, as decimal
        ("010.0.0.1", "10.0.0.1", None),
        ("::1", "::1", None),
        ("[::1]", "::1", None),
        ("::", "::", None),
        ("2001:DB8::A", "2001:db8::a", None),
        ("2001:0db8:0:0:0:0:0:1", "2001:db8::1", None),
        ("fd77::1:2:3:4:5:6", "fd77:0:1:2:3:4:5:6", None),  # the IPv6 patch compresses a single group
        ("::ffff:192.0.2.1", "192.0.2.1", None),
        ("::FFFF:192.0.2.1", "192.0.2.1", None),
        ("::ffff:c000:201", "192.0.2.1", None),  # s6 on a foreign dual-stack socket
        ("::ffff:1:192.0.2.1", "::ffff:1:c000:201", None),  # one group too many to be mapped
        ("[0000:0000:0000:0000:0000:ffff:0a4d:0002]", "10.77.0.2", None),  # socat
        ("0:0:0:0:0:ffff:192.0.2.1", "192.0.2.1", None),
        ("::ffff:192.000.002.001", "192.0.2.1", None),
        ("::10.77.0.9", "::a4d:9", None),
        ("64:ff9b::192.0.2.1", "64:ff9b::c000:201", None),
        ("fe80::1%eth0", "fe80::1", "eth0"),
        ("[fe80::1%eth0]", "fe80::1", "eth0"),
        ("fe80::1%2", "fe80::1", "2"),
        ("fe80::1%br-0123.45@x", "fe80::1", "br-0123.45@x"),
        ("2001:db8::1%eth0", "2001:db8::1", None),  # a zone means nothing there (RFC 4007, section 6)
        ("::ffff:192.0.2.1%eth0", "192.0.2.1", None),
    ],
)
def test_legal_spellings(text: str, ip: str, zone: str | None) -> None:
    found, found_zone = parse_ip(text)

    assert (str(found), found_zone) == (ip, zone)
    assert getattr(found, "scope_id", None) is None


@pytest.mark.parametrize(
    "text",
    [
        "",
        " 192.0.2.1",
        "192.0.2.1 ",
        "192.0.2.1\n",
        "192.0.2",
        "127.1",
        "192.0.2.256",
        "192.0.2.0001",
        "192.0.2.1.5",
        "192.0.2.+1",
        "192.0.2.1_0",
        "0x7f.0.0.1",
        "2130706433",
        "[192.0.2.1]",
        "192.0.2.1:25",
        "::1]",
        "[::1",
        "[[::1]]",
        ":::",
        "1::2::3",
        "12345::1",
        "1:2:3:4:5:6:7",
        "1:2:3:4:5:6:7:8:9",
        ":1:2:3:4:5:6:7:8",
        "::ffff:192.0.2",
        "::192.0.2.1:1",
        "fe80::1%",
        "fe80::1%%",
        "fe80::1%eth 0",
        "fe80::1%../../x",
        "fe80::1%interface-name-too-long",
        "192.0.2.1%eth0",
        "١٩٢.0.2.1",
        "localhost",
        "<no address>",
        "<anon>",
        "/run/socket",
        "@name",
        "vsock:1:2",
        "::" + "0" * 200,
    ],
)
def test_everything_else_is_refused(text: str) -> None:
    with pytest.raises(ValueError, match=r"IP address|zone|brackets"):
        parse_ip(text)


@given(st.text())
def test_any_text_gives_an_address_or_a_value_error(text: str) -> None:
    try:
        ip, zone = parse_ip(text)
    except ValueError:
        return
    assert Endpoint(ip, None, zone) == Endpoint.parse(text)


@given(addresses)
def test_what_is_written_is_read_again(ip: IPv4Address | IPv6Address) -> None:
    normal = getattr(ip, "ipv4_mapped", None) or ip

    for text in (str(ip), ip.exploded, djb_text(normal), djb_text6(normal)):
        assert parse_ip(text) == (normal, None)
        assert parse_ip(text.upper()) == (normal, None)


@pytest.mark.parametrize(
    ("ip", "text"),
    [
        ("2001:db8:0:1:1:1:1:1", "2001:db8::1:1:1:1:1"),
        ("1:0:2:0:3:0:4:5", "1::2:0:3:0:4:5"),
        ("1:2:3:4:5:6:7:0", "1:2:3:4:5:6:7::"),
        ("::", "::"),
        ("::1", "::1"),
        ("1:0:0:2:0:0:0:3", "1:0:0:2::3"),
        ("1:0:0:2:3:0:0:4", "1::2:3:0:0:4"),
        ("64:ff9b::102:304", "64:ff9b::102:304"),
        ("1:2:3:4:5:6:7:8", "1:2:3:4:5:6:7:8"),
    ],
)
def test_the_spelling_of_the_ipv6_patch(ip: str, text: str) -> None:
    assert djb_text(ip_address(ip)) == text


def test_mapped_form_for_tcp6_variables() -> None:
    assert djb_text6(IPv4Address("192.0.2.1")) == "::ffff:192.0.2.1"


@pytest.mark.parametrize("text", ["0", "25", "00025", "65535"])
def test_ports(text: str) -> None:
    assert parse_port(text) == int(text)


@pytest.mark.parametrize("text", ["", "65536", "-1", "+10", "1_0", " 25", "25 ", "0x19", "٢٥", "000025", "smtp"])
def test_what_is_no_port(text: str) -> None:
    with pytest.raises(ValueError, match="port"):
        parse_port(text)


@pytest.mark.parametrize(
    ("text", "address", "port"),
    [
        ("192.0.2.1:25", "192.0.2.1", "25"),
        ("[::1]:25", "[::1]", "25"),
        ("[::1]", "[::1]", None),
        ("::1:25", "::1:25", None),
        ("192.0.2.1", "192.0.2.1", None),
    ],
)
def test_splitting_address_and_port(text: str, address: str, port: str | None) -> None:
    assert split_port(text) == (address, port)


@pytest.mark.parametrize(
    ("text", "host"),
    [
        ("Mail.Example.ORG.", "mail.example.org"),
        ("localhost", "localhost"),
        ("a_b-c.example", "a_b-c.example"),
        ("1.example", "1.example"),
        ("3com", "3com"),
        ("0", None),  # tcpserver -l 0
        ("192.0.2.99", None),
        ("1.2.3.4.", None),
        ("example.123", None),
        ("0x7f000001", None),
        ("::1", None),
        ("fe80::1%eth0", None),
        ("softdnserr", None),
        ("softdnserror", None),
        ("a..b", None),
        (".", None),
        ("", None),
        ("-a.example", None),
        ("a-.example", None),
        ("evil\nname.example", None),
        ("$(id).example", None),
        ("a\\.b.example", None),
        ("ünicode.example", None),
        ("a" * 64 + ".example", None),
        ("a." * 130 + "example", None),
        ("a b", None),
    ],
)
def test_host_names_that_dns_may_have_given(text: str, host: str | None) -> None:
    assert plausible_host(text) == host


@pytest.mark.parametrize(
    ("text", "info"),
    [("alice", "alice"), ('a "q" b', 'a "q" b'), ("", None), ("a\033[31m", None), ("é", None), ("x" * 513, None)],
)
def test_ident_answers(text: str, info: str | None) -> None:
    assert plausible_info(text) == info


@pytest.mark.parametrize(
    ("value", "wanted"),
    [
        ("a'b", '"a\'b"'),
        ("é\033", r"'\xe9\x1b'"),
        ("\udcff", r"'\xff'"),
        ("\\udcff", r"'\\udcff'"),
        ("'\"\\\udce9", r"""'\'"\\\xe9'"""),
    ],
)
def test_untrusted_values_are_shown_in_ascii_and_undecodable_bytes_as_bytes(value: str, wanted: str) -> None:
    assert shown(value) == wanted
