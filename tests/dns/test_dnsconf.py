"""Where servers and rules for names come from, as ucspi-tcp has it, and what is new."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from ucspi_env import Endpoint
from ucspi_env.tools._dnsconf import (
    MAX_SERVERS,
    rewrite_rules,
    rewritten,
    servers_from_resolv_conf,
    servers_from_variable,
)


@pytest.mark.parametrize(
    ("text", "servers"),
    [
        ("127.0.0.1", ["127.0.0.1:53"]),
        ("127.0.0.9.127.0.0.1", ["127.0.0.9:53", "127.0.0.1:53"]),
        ("127.000.000.009", ["127.0.0.9:53"]),
        ("2001:db8::53.127.0.0.1", ["[2001:db8::53]:53", "127.0.0.1:53"]),
        ("127.0.0.1.2001:db8::53", ["127.0.0.1:53", "[2001:db8::53]:53"]),
        ("::1.::1", ["[::1]:53", "[::1]:53"]),
        ("::ffff:127.0.0.1.::1", ["127.0.0.1:53", "[::1]:53"]),
        ("::1.127.0.0.1", ["[::1]:53", "127.0.0.1:53"]),
        ("1.1.1.1.2.2.2.2.3.3.3.3.4.4.4.4.5.5.5.5", ["1.1.1.1:53", "2.2.2.2:53", "3.3.3.3:53", "4.4.4.4:53"]),
        ("127.0.0.1,::1", ["127.0.0.1:53", "[::1]:53"]),
        (" 127.0.0.1  ::1, 127.0.0.2 ", ["127.0.0.1:53", "[::1]:53", "127.0.0.2:53"]),
        ("127.0.0.1:5353", ["127.0.0.1:5353"]),
        ("[127.0.0.1]:5353 [::1]:5353", ["127.0.0.1:5353", "[::1]:5353"]),
        ("[::1].[127.0.0.1]", ["[::1]:53", "127.0.0.1:53"]),
        ("fe80::1%eth0", ["[fe80::1%eth0]:53"]),
        (".127.0.0.1", ["127.0.0.1:53"]),
        ("", []),
    ],
)
def test_servers_from_the_variable(text: str, servers: list[str]) -> None:
    found, rest = servers_from_variable(text)
    assert ([str(server) for server in found], rest) == (servers, "")


@pytest.mark.parametrize(
    ("text", "servers", "rest"),
    [
        ("127.0.0.1.x", ["127.0.0.1:53"], "x"),
        ("127.0.0.1..127.0.0.2", ["127.0.0.1:53"], ".127.0.0.2"),
        ("127.0.0.1.", ["127.0.0.1:53"], ""),
        ("dns.example", [], "dns.example"),
        ("127.0.0.257", [], "127.0.0.257"),
        ("127.0.0.1:0", [], "127.0.0.1:0"),
        ("127.0.0.1 dns ::1", ["127.0.0.1:53"], "dns"),
    ],
)
def test_what_is_no_server_ends_the_list_as_in_c(text: str, servers: list[str], rest: str) -> None:
    found, left = servers_from_variable(text)
    assert ([str(server) for server in found], left) == (servers, rest)


@given(st.text() | st.text("0123456789.:abcf[]%, ", max_size=60))
def test_any_variable_gives_at_most_four_servers(text: str) -> None:
    found, _ = servers_from_variable(text)
    assert len(found) <= MAX_SERVERS
    assert all(server.port for server in found)


@given(st.lists(st.ip_addresses(), min_size=1, max_size=4).filter(lambda ips: all(ip.version == 4 for ip in ips)))
def test_joined_ipv4_servers_come_back(ips: list[object]) -> None:
    assert servers_from_variable(".".join(map(str, ips))) == ([Endpoint(str(ip), 53) for ip in ips], "")


def test_servers_from_resolv_conf() -> None:
    text = """# a comment
nameserver 192.0.2.1
 nameserver 192.0.2.9
nameserverx 192.0.2.8
nameserver\t2001:db8::1 trailing words
nameserver fe80::1%eth0
nameserver dns.example
nameserver
nameserver 192.0.2.2
nameserver 192.0.2.3
"""
    found = [str(server) for server in servers_from_resolv_conf(text)]
    assert found == ["192.0.2.1:53", "[2001:db8::1]:53", "[fe80::1%eth0]:53", "192.0.2.2:53"]


@given(st.text())
def test_any_resolv_conf_is_read(text: str) -> None:
    servers_from_resolv_conf(text)
    servers_from_resolv_conf("nameserver " + text)
    rewritten("host", rewrite_rules({}, None, "search " + text, "host.example"))


@pytest.mark.parametrize(
    ("environ", "file", "resolv_conf", "hostname", "rules"),
    [
        ({}, None, "", "host", ["*.:"]),
        ({}, None, "", "host.dom.example", ["?:.dom.example", "*.:"]),
        ({}, None, "search a.x b.x\ndomain c.x\n", "host.example", ["?:+.a.x+.b.x", "*.:"]),
        ({}, None, "# search a.x\ndomain c.x\n", "host.example", ["?:+.c.x", "*.:"]),
        ({"LOCALDOMAIN": "l.x  m.x"}, None, "search a.x", "host.example", ["?:+.l.x+.m.x", "*.:"]),
        ({"LOCALDOMAIN": ""}, None, "search a.x", "host.example", ["*.:"]),
        ({"LOCALDOMAIN": "l.x"}, "=a:b \n# no\n\n?x:.y\n*no colon\n", "", "h", ["=a:b", "?x:.y"]),
        ({"LOCALDOMAIN": "l.x"}, "", "", "host.example", []),
    ],
)
def test_rules_come_from_the_first_source_there_is(
    environ: dict[str, str], file: str | None, resolv_conf: str, hostname: str, rules: list[str]
) -> None:
    assert rewrite_rules(environ, file, resolv_conf, hostname) == rules


@pytest.mark.parametrize(
    ("name", "rules", "names"),
    [
        ("host.example.", ["*.:"], ["host.example"]),
        ("::1.", ["*.:"], ["::1"]),
        ("host", ["?:+.a.x+.b.x", "*.:"], ["host.a.x", "host.b.x"]),
        ("host.sub", ["?:+.a.x", "*.:"], ["host.sub"]),
        ("[::1]", ["?:.dom"], ["[::1]"]),
        ("host", ["?:.dom", "*.:"], ["host.dom"]),
        ("db", ["=db:db1.example"], ["db1.example"]),
        ("xdb", ["=db:db1.example"], ["xdb"]),
        ("a.b.old", ["*.old:.new"], ["a.b.new"]),
        ("a.b.OLD", ["*.old:.new"], ["a.b.new"]),
        ("a.b.old", ["-.old:else"], ["else"]),
        ("a.b.old", ["?.old:.new"], ["a.b.old"]),
        ("a.old", ["?.old:.mid", "*.mid:.new"], ["a.new"]),
        ("a", ["x", "", "=a", "!a:b"], ["a"]),
        ("a+b", [], ["ab"]),
    ],
)
def test_rewriting(name: str, rules: list[str], names: list[str]) -> None:
    assert rewritten(name, rules) == names
