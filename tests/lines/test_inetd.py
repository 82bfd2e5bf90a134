"""inetd's and xinetd's languages: what each service is, and what is said of what cannot be carried."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from ucspi_env.tools._inetd import (
    Include,
    Section,
    Service,
    Unreadable,
    is_xinetd,
    read_inetd,
    read_sections,
    read_xinetd,
    rule_addresses,
)


def inetd(line: str) -> Service:
    """The one service of a line."""
    (service,) = read_inetd(line, "f")
    assert isinstance(service, Service)
    return service


def xinetd(body: str, defaults: str = "") -> Service:
    """The one service of a section."""
    text = f"defaults\n{{\n{defaults}\n}}\nservice x\n{{\nserver = /bin/x\n{body}\n}}\n"
    sections = [one for one in read_sections(text, "f") if isinstance(one, Section)]
    services, disabled = read_xinetd(sections)
    assert (len(services), disabled) == (1, [])
    return services[0]


def test_a_plain_line() -> None:
    service = inetd("pop3 stream tcp nowait root /usr/sbin/popd popd -x")
    assert (service.name, service.port, service.host, service.where) == ("pop3", "pop3", "0.0.0.0", "f:1")
    assert (service.server, service.argv) == ("/usr/sbin/popd", ["popd", "-x"])
    assert (service.user, service.group, service.limit, service.obstacle) == ("", "", 40, "")
    assert "IPv4 only" in service.notes[0]


@pytest.mark.parametrize(
    ("owner", "user", "group"),
    [
        ("nobody", "nobody", ""),
        ("mail.adm", "mail", "adm"),
        ("mail:adm", "mail", "adm"),
        ("a.b:adm", "a.b", "adm"),
        ("root", "", ""),
        ("root.root", "", ""),
        ("root.adm", "", "adm"),
        ("www/daemon", "www", ""),
        ("0", "", ""),
    ],
)
def test_owners(owner: str, user: str, group: str) -> None:
    service = inetd(f"x stream tcp nowait {owner} /bin/x x")
    assert (service.user, service.group) == (user, group)


@pytest.mark.parametrize(
    ("waiting", "limit", "per_source", "told"),
    [
        ("nowait", 40, None, ""),
        ("nowait.60", 60, None, "60 starts a minute"),
        ("nowait/10", 10, None, ""),
        ("nowait/10/20/3", 10, 3, "20 calls a minute"),
        ("nowait/0/20", 40, None, "20 calls a minute"),
        ("nowait.abc", 40, None, ""),
    ],
)
def test_limits(waiting: str, limit: int, per_source: int | None, told: str) -> None:
    service = inetd(f"x stream tcp46 {waiting} root /bin/x x")
    assert (service.limit, service.per_source) == (limit, per_source)
    assert told in "; ".join(service.notes)
    assert bool(service.notes) == bool(told)


@pytest.mark.parametrize(
    ("line", "why"),
    [
        ("tftp dgram udp wait root /usr/sbin/tftpd tftpd", "dgram"),
        ("x stream udp nowait root /bin/x x", "udp is not TCP"),
        ("x stream unix nowait root /bin/x x", "unix is not TCP"),
        ("/run/x stream unix nowait root /bin/x x", "unix is not TCP"),
        ("x stream tcp wait root /bin/x x", "listening socket"),
        ("x stream tcp wait.50 root /bin/x x", "listening socket"),
        ("rstatd/1-3 dgram rpc/udp wait root /bin/x x", "portmapper"),
        ("x/1 stream tcp nowait root /bin/x x", "portmapper"),
        ("tcpmux/y stream tcp nowait root /bin/x x", "tcpmux"),
        ("echo stream tcp nowait root internal", "cat is the same"),
        ("mine stream tcp nowait root internal", "no program"),
    ],
)
def test_what_tcpserver_cannot_do_is_left_out_with_a_reason(line: str, why: str) -> None:
    assert why in inetd(line).obstacle


def test_addresses_before_a_service_become_services_of_their_own() -> None:
    text = "127.0.0.1:\na stream tcp nowait root /bin/a a\n*:\n[::1],192.0.2.1,*:b stream tcp6 nowait root /bin/b b\n"
    services = [one for one in read_inetd(text, "f") if isinstance(one, Service)]
    assert [(one.port, one.host) for one in services] == [
        ("a", "127.0.0.1"), ("b", "::1"), ("b", "192.0.2.1"), ("b", "::0"),
    ]  # fmt: skip


@pytest.mark.parametrize("first", ["tcp", "tcp4", "tcp6"])
def test_twins_of_both_families_become_one_service(first: str) -> None:
    second = "tcp" if first == "tcp6" else "tcp6"
    lines = "".join(f"ftp stream {protocol} nowait root /bin/ftpd ftpd\n" for protocol in (first, second))
    service = inetd(lines)
    assert (service.host, service.notes) == ("0", [])


def test_different_programs_on_both_families_stay_apart() -> None:
    lines = "ftp stream tcp nowait root /bin/a a\nftp stream tcp6 nowait root /bin/b b\n"
    assert len(list(read_inetd(lines, "f"))) == 2


def test_comments_blank_and_continued_lines() -> None:
    text = "# c\n#<off># ftp stream tcp nowait root /bin/f f\n\n  \nx stream tcp nowait\n\troot /bin/x\n  x -l\n"
    service = inetd(text)
    assert (service.argv, service.where) == (["x", "-l"], "f:5")


def test_a_short_line_is_an_error_with_its_place_and_the_others_are_read() -> None:
    found = list(read_inetd("x stream tcp\ny stream tcp46 nowait root /bin/y y\n", "f"))
    assert [type(one) for one in found] == [Unreadable, Service]
    assert str(found[0]).startswith("f:1: 3 words")


def test_tcpd_is_explained() -> None:
    assert "/usr/sbin/in.ftpd" in inetd("ftp stream tcp46 nowait root /usr/sbin/tcpd in.ftpd -l").notes[0]


@pytest.mark.parametrize(
    ("text", "want"),
    [
        ("service ftp\n{\n}\n", True),
        ("# x\ndefaults\n{", True),
        ("includedir /etc/xinetd.d\n", True),
        ("ftp stream tcp nowait root /bin/x x\n", False),
        ("service stream tcp nowait root /bin/x x\n", False),
        ("", False),
    ],
)
def test_the_language_is_told_by_the_content(text: str, want: bool) -> None:
    assert is_xinetd(text) is want


def test_a_whole_section() -> None:
    service = xinetd(
        "port = 8000\nuser = nobody\ngroup = adm\nserver_args = -a b\nbind = ::1\nnice = -3\ninstances = 7\n"
        "per_source = 2\nflags = NODELAY REUSE\numask = 027\nenv = A=1 B=x=y\nenv += C=3\nlog_on_success = PID USERID\n"
    )
    assert (service.port, service.host, service.user, service.group) == ("8000", "::1", "nobody", "adm")
    assert (service.server, service.argv, service.nice, service.umask) == ("/bin/x", ["x", "-a", "b"], -3, "027")
    assert (service.limit, service.per_source, service.nodelay, service.wants_ident) == (7, 2, True, True)
    assert service.environment == {"A": "1", "B": "x=y", "C": "3"}
    assert (service.rules, service.obstacle, service.notes) == (None, "", [])


@pytest.mark.parametrize(
    ("body", "host"),
    [("", "0.0.0.0"), ("flags = IPv6", "0"), ("interface = 192.0.2.1", "192.0.2.1"), ("bind = a\nflags = IPv6", "a")],
)
def test_xinetd_hosts(body: str, host: str) -> None:
    assert xinetd(body).host == host


def test_name_in_args() -> None:
    assert xinetd("flags = NAMEINARGS\nserver_args = other -v").argv == ["other", "-v"]


@pytest.mark.parametrize(
    ("body", "why"),
    [
        ("socket_type = dgram\nprotocol = udp", "TCP only"),
        ("protocol = udp", "TCP only"),
        ("wait = yes", "listening socket"),
        ("type = RPC", "portmapper"),
        ("type = INTERNAL", "no program"),
        ("type = TCPMUX", "tcpmux"),
        ("redirect = 192.0.2.1 80", "redirect"),
        ("access_times = 8:00-17:00", "access_times"),
        ("flags = SENSOR", "trap"),
        ("server -= /bin/x", "names no server"),
        ("no_access = what?", "no_access"),
    ],
)
def test_xinetd_services_that_cannot_be_carried(body: str, why: str) -> None:
    assert why in xinetd(body).obstacle


@pytest.mark.parametrize(
    "body",
    ["cps = 10 20", "max_load = 2", "rlimit_as = 8M", "passenv = PATH", "banner = /x", "deny_time = 5", "frob = 1",
     "groups = yes", "instances = UNLIMITED", "env = 1A=x", "umask = 9", "flags = KEEPALIVE IPv6"],
)  # fmt: skip
def test_attributes_that_are_given_up_are_named(body: str) -> None:
    service = xinetd(f"{body}\nbind = ::1")
    assert (service.obstacle, len(service.notes)) == ("", 1)
    assert body.partition(" ")[0] in service.notes[0] or "KEEPALIVE" in service.notes[0]


@pytest.mark.parametrize(
    ("defaults", "body", "rules"),
    [
        ("", "", None),
        ("", "only_from = 10.0.0.0/8", ["10.0.0.0/8:allow", ":deny"]),
        ("", "only_from =", [":deny"]),
        ("", "only_from = 0.0.0.0", [":allow"]),
        ("", "no_access = 192.0.2.1", ["192.0.2.1:deny", ":allow"]),
        ("", "only_from = 10.0.0.0\nno_access = 10.1.0.0 10.0.0.0", ["10.1.:deny", "10.:deny", ":deny"]),
        ("only_from = 10.0.0.0/8", "", ["10.0.0.0/8:allow", ":deny"]),
        ("only_from = 10.0.0.0/8", "only_from = ::1", ["::1:allow", ":deny"]),
        ("only_from = 10.0.0.0/8", "only_from += ::1", ["10.0.0.0/8:allow", "::1:allow", ":deny"]),
        ("only_from = 10.0.0.0/8 ::1", "only_from -= ::1", ["10.0.0.0/8:allow", ":deny"]),
        ("", "only_from = a.example\nonly_from = .b.example", ["=a.example:allow", "=.b.example:allow", ":deny"]),
        ("", "only_from = nonsense!", [":deny"]),
    ],
)
def test_access_lists_become_rules(defaults: str, body: str, rules: list[str] | None) -> None:
    service = xinetd(body, defaults)
    assert service.rules == rules
    assert service.wants_names is any("=" in rule for rule in rules or [])


def test_an_exception_to_an_access_list_lets_nobody_in_by_being_lost() -> None:
    """xinetd has no such notation, but who wrote it meant it: a rule for the wider entry alone would let them in."""
    assert "!192.0.2.1" in xinetd("only_from = 0.0.0.0 !192.0.2.1").obstacle


@pytest.mark.parametrize(
    ("word", "keys"),
    [
        ("192.0.2.1", ["192.0.2.1"]),
        ("192.0.2.0", ["192.0.2."]),
        ("192.0.0.0", ["192."]),
        ("0.0.0.0", [""]),
        ("192.5", ["192.5."]),
        ("192.0.2.", ["192.0.2."]),
        ("010.001.000.000", ["10.1."]),
        ("192.0.2.{1,2}", ["192.0.2.1", "192.0.2.2"]),
        ("192.0.{2,3}", ["192.0.2.", "192.0.3."]),
        ("192.0.2.{1,x}", []),
        ("192.0.2.{1", []),
        ("10.1.2.3/8", ["10.0.0.0/8"]),
        ("0.0.0.0/0", [""]),
        ("::/0", [""]),
        ("2001:DB8::/32", ["2001:db8::/32"]),
        ("2001:db8::0001", ["2001:db8::1"]),
        ("1::2::3", []),
        ("1.2.3.4/99", []),
        ("localhost", ["127.0.0.1", "::1"]),
        ("Host.Example", ["=host.example"]),
        (".example.org", ["=.example.org"]),
        ("a:deny", []),
        ("", []),
    ],
)
def test_addresses_in_rules(word: str, keys: list[str]) -> None:
    assert rule_addresses(word) == keys


def test_services_can_be_off_in_four_ways() -> None:
    text = (
        "defaults\n{\n disabled = b\n enabled = a b c d\n}\n"
        "service a\n{\n disable = yes\n}\nservice b\n{\n}\nservice c\n{\n flags = DISABLE\n}\nservice e\n{\n}\n"
        "service s\n{\n id = d\n server = /bin/d\n}\n"
    )
    sections = [one for one in read_sections(text, "f") if isinstance(one, Section)]
    services, disabled = read_xinetd(sections)
    assert [one.name for one in services] == ["d"]
    assert disabled == ["f:6: a", "f:10: b", "f:13: c", "f:17: e"]


def test_includes_and_errors_have_their_places() -> None:
    text = "include /a\nincludedir /b\nnonsense\nservice x {\n oops\n}\nservice y\n{\n"
    found = list(read_sections(text, "f"))
    assert [(one.path, one.directory) for one in found if isinstance(one, Include)] == [("/a", False), ("/b", True)]
    assert [str(one).partition(": ")[0] for one in found if isinstance(one, Unreadable)] == ["f:3", "f:5", "f:7"]
    assert [one.name for one in found if isinstance(one, Section)] == ["x"]


@given(st.text(st.sampled_from("service defaults{}=+-#:/.\n\t x01stream tcp nowait"), max_size=200))
def test_any_text_gives_services_or_errors(text: str) -> None:
    for found in read_inetd(text, "f"):
        assert isinstance(found, Service | Unreadable)
    sections = [one for one in read_sections(text, "f") if isinstance(one, Section)]
    read_xinetd(sections)
