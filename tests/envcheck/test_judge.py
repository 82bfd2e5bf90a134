"""What counts as alike: only what must differ may differ. Without any program."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from ucspi_env import Endpoint
from ucspi_env.envcheck._judge import Template, judge, log_fault, names, spellings, verdict
from ucspi_env.envcheck._matrix import COLUMNS, KINDS, ONLY, Cell, cells
from ucspi_env.envcheck._play import Run

NOW = 1_795_000_000.0
V4 = Cell("ucspi-tcp", "IPv4", "ucspi-tcp", "IPv4", Endpoint("192.0.2.1", 40001))
V6 = Cell("s6", "IPv6", "s6-networking", "IPv6", Endpoint("2001:db8::a:1", 40002), V4.name)
MAPPED = Cell("s6", "mapped", "s6-networking", "mapped", Endpoint("192.0.2.3", 40003), V4.name)
LINK = Cell("s6", "fe80::", "s6-networking", "link-local", Endpoint("fe80::1%lo", 40004), V4.name)
OLD4 = Cell("xinetd", "IPv4", "xinetd", "other", Endpoint("192.0.2.5", 40005), V4.name)
OLD6 = Cell("xinetd", "IPv6", "xinetd", "IPv6", Endpoint("2001:db8::6", 40006), V4.name, [OLD4.name])


def ran(output: str, errors: str = "", status: int | None = 0, pid: int = 4242) -> Run:
    return Run(output.encode(), errors.encode(), status, 0.01, pid, NOW)


def outcome(cell: Cell, output: str, reference: str, *, status: int = 0, before: int = 0, errors: str = "") -> str:
    template = Template(V4, ran(reference, status=before, pid=1111))
    return judge(cell, ran(output, errors, status), template).outcome


@pytest.mark.parametrize(
    ("output", "reference"),
    [
        ("hello 2001:db8::a:1", "hello 192.0.2.1"),
        ("hello 2001:DB8:0:0:0:0:A:1.", "hello 192.0.2.1."),
        ("hello 2001:0db8:0000:0000:0000:0000:000a:0001", "hello 192.0.2.1"),
        ("hello [2001:db8::a:1]:40002", "hello 192.0.2.1:40001"),
        ("hello 2001:db8::a:1:40002", "hello 192.0.2.1:40001"),
        ("EHLO [IPv6:2001:db8::a:1]", "EHLO [192.0.2.1]"),
        ("from 2001:db8::a:1 to 2001:db8:ffff::1", "from 192.0.2.1 to 198.51.100.1"),
        ("net 2001:db8::/64", "net 192.0.2.1/32"),
        (
            "listed as 1.0.0.0.a.0.0.0.0.0.0.0.0.0.0.0.0.0.0.0.0.0.0.0.8.b.d.0.1.0.0.2.dnsbl.example",
            "listed as 1.2.0.192.dnsbl.example",
        ),
        ("PROTO=TCP6, IPv6, AF_INET6", "PROTO=TCP, IPv4, AF_INET"),
        ("port 40002", "port 40001"),
        ("pid 4242", "pid 1111"),
        ("Mon, 23 Nov 2026 20:24:01 +0000", "Mon, 23 Nov 2026 20:23:59 +0000"),
        ("2026-11-23T20:24:01.5Z", "2026-11-23T20:23:59.25Z"),
        ("@400000006564a1b21234abcd up", "@400000006564a1b01234abcd up"),
        ("stamp 1795000003.25", "stamp 1795000001.5"),
        ("stamp 1795000003250", "stamp 1795000001500"),
        ("Content-Length: 33\r\n\r\nhello", "Content-Length: 30\r\n\r\nhello"),
        ("19:hello 2001:db8::a:1,", "15:hello 192.0.2.1,"),
    ],
)
def test_what_must_differ_may_differ(output: str, reference: str) -> None:
    assert outcome(V6, output, reference) == "alike"


@pytest.mark.parametrize(
    ("output", "reference"),
    [
        ("hello 2001:db8::a:2", "hello 192.0.2.1"),
        ("hello 2001:db8::a:10", "hello 192.0.2.1"),
        ("hello 2001:db8::a", "hello 192.0.2.1"),
        ("hello 0.0.0.0", "hello 192.0.2.1"),
        ("hello 2001:db8:ffff::1", "hello 192.0.2.1"),
        ("room for 7", "room for 9"),
        ("welcome", "hello"),
        ("hello\nand more", "hello"),
        ("stamp 1895000003", "stamp 1795000001"),
    ],
)
def test_what_need_not_differ_is_different(output: str, reference: str) -> None:
    assert outcome(V6, output, reference) == "different"


@pytest.mark.parametrize(
    "text",
    [
        "192.0.2.3",
        "::ffff:192.0.2.3",
        "::FFFF:192.0.2.3",
        "::ffff:c000:203",
        "[0000:0000:0000:0000:0000:ffff:c000:0203]",
        "0:0:0:0:0:ffff:192.0.2.3",
    ],
)
def test_a_mapped_caller_may_be_spelt_in_any_way(text: str) -> None:
    assert outcome(MAPPED, f"hello {text}", "hello 192.0.2.1") == "alike"


def test_a_link_local_caller_may_be_spelt_with_its_zone_and_without() -> None:
    assert outcome(LINK, "hello fe80::1%lo", "hello 192.0.2.1") == "alike"
    assert outcome(LINK, "hello [fe80::1%lo]:40004", "hello 192.0.2.1:40001") == "alike"
    assert outcome(LINK, "hello fe80::1", "hello 192.0.2.1") == "alike"
    assert outcome(LINK, "hello fe80::1%eth0", "hello 192.0.2.1") == "different"


def test_what_differs_from_run_to_run_is_no_difference() -> None:
    template = Template(V4, ran("250 id 3f9a queued"), (V4, ran("250 id 77b1 queued")))

    assert judge(V6, ran("250 id c0de queued"), template).outcome == "alike"
    assert judge(V6, ran("250 id c0de lost"), template).outcome == "different"


def test_of_answers_without_a_steady_shape_the_first_line_counts() -> None:
    template = Template(V4, ran("hello\none two"), (V4, ran("hello\none two three")))

    assert not template.steady
    assert judge(V6, ran("hello\n1 2 3 4 5"), template).outcome == "alike"
    assert judge(V6, ran("sorry\none two"), template).outcome == "refused"


def test_of_answers_without_a_steady_shape_every_line_counts_that_is_always_there() -> None:
    """A server that is fond of fortune(6)."""
    template = Template(V4, ran("id 1a\nwise\nwelcome"), (V4, ran("id 2b\nvery wise\nand long\nwelcome")))

    assert judge(V6, ran("id 3c\nother\nwelcome"), template).outcome == "alike"
    turned_away = judge(V6, ran("id 3c\nother\nyou are not welcome"), template)
    assert (turned_away.outcome, turned_away.detail) == ("different", "'other' where the reference gets 'welcome'")
    assert judge(V6, ran("wise\nwelcome"), template).outcome == "different"
    template.learn(V4, ran("wise"))
    assert judge(V6, ran("anything at all"), template).outcome == "alike"


def test_the_evidence_is_not_what_differs_by_itself() -> None:
    template = Template(V4, ran("220 a1 ready\n250 ok"), (V4, ran("220 b2 ready\n250 ok")))
    found = judge(V6, ran("220 c3 ready\n550 no"), template)

    assert (found.outcome, found.detail) == ("refused", "'550 no'")


def test_a_run_that_went_wrong_teaches_nothing() -> None:
    template = Template(V4, ran("hello"))
    template.learn(V4, ran("something else", status=None))

    assert judge(V6, ran("something else"), template).outcome == "different"


@pytest.mark.parametrize(
    ("output", "reference", "wanted"),
    [
        ("this service is IPv4 only", "hello", "refused"),
        ("IPv6 is not supported", "hello", "refused"),
        ("421 no", "220 yes", "refused"),
        ("220 yes", "421 no", "accepted"),
        ("220 yes\r\n550 no relay", "220 yes\r\n250 fine", "refused"),
        ("220 yes\r\n250 fine", "220 yes\r\n550 no relay", "accepted"),
        ("HTTP/1.0 403 Forbidden\r\n", "HTTP/1.0 200 OK\r\n", "refused"),
        ("-ERR go away", "+OK hello", "refused"),
        ("+OK hello", "-ERR go away", "accepted"),
        ("* BYE", "* OK ready", "refused"),
        ("a.1 OK done", "a.1 NO wrong", "accepted"),
        ("", "hello", "refused"),
        ("hello", "", "accepted"),
        ("access denied", "hello", "refused"),
        ("220 yes", "220 yes\r\n250 fine", "refused"),
        ("220 otherwise", "220 yes", "different"),
    ],
)
def test_being_turned_away_and_being_let_in_are_told_from_other_differences(
    output: str, reference: str, wanted: str
) -> None:
    assert outcome(V6, output, reference) == wanted


def test_the_same_words_with_another_exit_status_are_different() -> None:
    assert outcome(V6, "hello", "hello", status=1) == "different"
    assert outcome(V6, "hello", "hello", status=1, before=1) == "alike"


@pytest.mark.parametrize(
    ("status", "errors", "detail"),
    [
        (-11, "", "ended by SIGSEGV"),
        (139, "", "ended by SIGSEGV"),
        (-6, "*** stack smashing detected ***: terminated", "ended by SIGABRT"),
        (1, 'Traceback (most recent call last):\n  File "x"\nKeyError: 1\n', "uncaught exception: KeyError: 1"),
        (255, "Illegal division by zero at /x/y.pl line 7.\n", "died: Illegal division by zero at /x/y.pl line 7."),
        (2, "panic: runtime error: index out of range\n\ngoroutine 1 [running]:\n", "panic: "),
        (101, "thread 'main' panicked at src/main.rs:2:5:\nboom\n", "panic: "),
        (1, "x.rb:3:in `<main>': undefined method (NoMethodError)\n", "uncaught exception"),
        (1, "==1==ERROR: AddressSanitizer: heap-buffer-overflow\n", "memory error"),
    ],
)
def test_crashes_of_many_languages_are_known(status: int, errors: str, detail: str) -> None:
    result = judge(V6, ran("", errors, status), Template(V4, ran("hello")))

    assert result.outcome == "crashed"
    assert result.detail.startswith(detail)


def test_a_traceback_that_a_server_survives_is_no_crash() -> None:
    errors = "Traceback (most recent call last):\nKeyError: 1\n"

    assert judge(V6, ran("hello", errors), Template(V4, ran("hello"))).outcome == "alike"


def test_what_an_ipv4_caller_of_the_same_super_server_shares_does_not_count() -> None:
    reference, fallback = Template(V4, ran("hello 192.0.2.1")), Template(OLD4, ran("hello stranger"))

    shared = judge(OLD6, ran("hello stranger"), reference, [fallback])
    alone = judge(OLD6, ran("hello nobody"), reference, [fallback])

    assert (shared.outcome, shared.counts) == ("different", False)
    assert (alone.outcome, alone.counts) == ("different", True)


@pytest.mark.parametrize(
    ("errors", "wanted"),
    [
        ("from 2001:db8::a:1 port 1", ""),
        ("from 2001:0db8::000a:1", "the log does not name 2001:db8::a:1"),
        ("from [2001:db8::a:1]:40002", ""),
        ("from 0.0.0.0", "the log says 0.0.0.0 in place of 2001:db8::a:1"),
        ("from (null)", "the log says (null) in place of 2001:db8::a:1"),
        ("from 2001:db8::a", "the log does not name 2001:db8::a:1"),
        ("", "the log does not name 2001:db8::a:1"),
    ],
)
def test_a_log_names_the_caller_where_the_references_does(errors: str, wanted: str) -> None:
    template = Template(V4, ran("", "from 192.0.2.1"))

    assert log_fault(V6, ran("", errors), template) == wanted
    assert log_fault(V6, ran("", errors), Template(V4, ran("", "from somewhere"))) == ""


@given(st.ip_addresses(), st.integers(1, 65535))
def test_every_spelling_of_an_address_is_recognised_alone_and_with_its_port(ip: object, port: int) -> None:
    end = Endpoint(str(ip), port)

    for text in spellings(end):
        assert names(f"from {text}, port {port}".encode(), end)
        assert names(f"[{text}]:{port}".encode(), end)


def test_the_verdict_names_the_worst_first() -> None:
    template = Template(V4, ran("220 hello 192.0.2.1"))
    judged = [
        judge(V4, ran("220 hello 192.0.2.1")),
        judge(V6, ran("421 no"), template),
        judge(MAPPED, ran("", "", -11), template),
        judge(LINK, ran("220 hello 0.0.0.0"), template),
    ]

    said = verdict(judged)

    assert said.ready is False
    assert [(finding.code, finding.kind) for finding in said.findings] == [
        ("crashes", "mapped"),
        ("invents", "link-local"),
        ("rejects", "IPv6"),
    ]
    assert str(said).startswith("IPv6 ready: no, because it crashes on IPv4-mapped callers: ended by SIGSEGV; ")


# -- the matrix --


def test_every_caller_has_a_name_a_port_and_where_it_can_an_address_of_its_own() -> None:
    matrix = cells()
    strangers = [cell.remote.ip for cell in matrix if cell.column in ("IPv4", "mapped", "IPv6", "fe80::")]

    assert len({cell.name for cell in matrix}) == len({cell.remote.port for cell in matrix}) == len(matrix)
    assert len(set(strangers)) == len(strangers)
    assert {cell.kind for cell in matrix} == set(KINDS)
    assert {cell.column for cell in matrix} == set(COLUMNS)


@pytest.mark.parametrize("only", [[], *([kind] for kind in ONLY), ["mapped", "hostile"]])
def test_every_comparison_has_its_other_side(only: list[str]) -> None:
    matrix = cells(only)
    known = {cell.name for cell in matrix}

    assert [cell.reference for cell in matrix[:2]] == ["", ""]
    assert all(cell.reference in known for cell in matrix[2:])
    assert all(set(cell.fallbacks) <= known for cell in matrix)


def test_every_environment_can_be_built_and_names_its_caller() -> None:
    for cell in cells():
        environ = cell.environ({"PATH": "/bin", "SSLREMOTEIP": "192.0.2.99"})
        assert environ["PATH"] == "/bin"
        assert environ.get("SSLREMOTEIP") != "192.0.2.99"
        texts = " ".join(environ.values()).encode()
        assert names(texts, cell.remote) or cell.dialect == "inetd", cell.name


def test_an_unknown_kind_is_refused() -> None:
    with pytest.raises(ValueError, match="'ipx' is not a kind of caller"):
        cells(["ipx"])
