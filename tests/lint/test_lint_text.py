"""What is code, which language a file is in, and that no text whatever stops the linter."""

# ruff: noqa: E501 - a row of a table is read as one

from __future__ import annotations

import random
import time

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from ucspi_env.envcheck.lint import lint_text
from ucspi_env.envcheck.lint._languages import LANGUAGES, guess
from ucspi_env.envcheck.lint._match import pattern_sort
from ucspi_env.envcheck.lint._names import is_ipish, is_peerish, kind_of_variable
from ucspi_env.envcheck.lint._tokens import tokenize

PIECES = [
    'getenv("TCPREMOTEIP")', "$ENV{TCPREMOTEIP}", "$TCPREMOTEIP", "${TCPREMOTEIP%.*}", 'os.environ["TCPREMOTEIP"]', "remote_ip",
    "->remote_ip", ".split('.')", "split /\\./, ", "=~ /^\\d+\\./", "==", "=", "'127.0.0.1'", '"::ffff:"', "{", "}", "(", ")", "[", "]",
    '"', "'", "`", "/", "\\", "#", "//", "/*", "*/", "=pod\n", "=cut\n", "<<EOF\n", "EOF\n", "\n", " ", ";", ",", "case $ip in", "esac",
    "if (", "return 0;", "die", "unless ", "char ip[16];", "sscanf(x, \"%d.%d.%d.%d\")", "inet_aton(", "sub f { my ($ip) = @_;", "def f(ip):\n",
    "int f(char *ip) {", "#if 0\n", "#endif\n", "#else\n", "-- ", "{-", "-}", "r#\"", "<?php ", "?>", "%w(", "q{", "s/a/b/", "\0", "é", "\r",
]  # fmt: skip


@pytest.mark.parametrize(
    ("language", "text", "code"),
    [
        ("c", 'a /* b */ "c // d" // e', 'a         "c // d"     '),
        ("c", "a\n#if 0\nb\n#else\nc\n#endif\n", "a\n#if 0\n \n#else\nc\n#endif\n"),
        ("c", "#ifdef IPV6\na\n#else\nb\n#endif\n", "#ifdef IPV6\na\n#else\n \n#endif\n"),
        ("sh", "echo $# 'a # b' # c", "echo $# 'a # b'    "),
        ("sh", "cat <<'X'\n# a\nX\n# b", "cat <<'X'\n# a\nX\n   "),
        ("sh", 'x="a $(b "$c" # d\n) e" # f', 'x="a $(b "$c"    \n) e"    '),
        ("perl", "$#a / 2; # b\n$x =~ m#a#; # c", "$#a / 2;    \n$x =~ m#a#;    "),
        ("perl", "a\n=pod\nb\n=cut\nc", "a\n    \n \n    \nc"),
        ("perl", "a\n__END__\nb", "a\n       \n "),
        ("ruby", "x = /a#b/ # c", "x = /a#b/    "),
        ("php", "a <?php b(); // c\n?> d", "        b();     \n    "),
        ("go", "a := `b // c` // d", "a := `b // c`     "),
        ("rust", 'r#"a " // "# /* b /* c */ d */ e', 'r#"a " // "#                   e'),
        ("awk", "$1 ~ /a#b/ # c", "$1 ~ /a#b/    "),
        ("haskell", "f x' -- a\n{- b {- c -} d -} e", "f x'     \n                  e"),
        ("sql", "a '--' -- b", "a '--'     "),
        ("python", "a = '''b # c''' # d", "a = '''b # c'''    "),
    ],
)
def test_comments_are_blanked_and_literals_are_not(language: str, text: str, code: str) -> None:
    assert tokenize(text, language).code == code


@pytest.mark.parametrize(
    ("path", "text", "language"),
    [
        ("a.c", "", "c"), ("a.C", "", "cpp"), ("a.h", "namespace x {", "cpp"), ("a.pl.in", "", "perl"), ("plugin", "package X;\nuse strict;\n", "perl"),
        ("run", "#!/bin/sh\n", "sh"), ("x", "#!/usr/bin/env -S python3 -I\n", "python"), ("x", "#!/usr/bin/perl -w\n", "perl"), ("x", "#!/usr/bin/awk -f\n", "awk"),
        ("x.pl", "#!/bin/sh\neval 'exec perl -x'\nexec perl x\n", "perl"), ("x", "#!/sbin/execlineb\n", None), ("README.md", "#include <x.h>\n", None),
        ("x", "<?php\n", "php"), ("x", "#include <stdio.h>\n", "c"), ("x", "hello\n", None), ("x", "", None), ("a.rs", "", "rust"), ("a.sql", "", "sql"), ("a.hs", "", "haskell"),
        ("a.inc", "<?php x", "php"), ("a.inc", "nothing", None),
    ],
)  # fmt: skip
def test_the_language_is_guessed_by_name_first_line_and_content(path: str, text: str, language: str | None) -> None:
    assert guess(path, text) == language


@pytest.mark.parametrize(
    ("pattern", "sort"),
    [
        (r"^\d+\.\d+\.\d+\.\d+$", "quad"), (r"(\d{1,3}\.){3}\d{1,3}", "quad"), (r"[0-9]+\.[0-9]+\.[0-9]+\.[0-9]+", "quad"), (r"^[\d.]+$", "class"),
        (r"^10\.", "prefix"), (r"^192\.168\.1\.", "prefix"), (r"^127\.0\.0\.1$", "address"), (":", "colon"), ("^::ffff:", "mapped"),
        (r"^[0-9a-f:.]+$", None), (r"version", None), (r"^\d+:\d+$", None), ("", None), ("a" * 5000, None),
    ],
)  # fmt: skip
def test_patterns_are_told_apart(pattern: str, sort: str | None) -> None:
    assert pattern_sort(pattern) == sort


def test_names_of_addresses_are_told_from_words_that_hold_the_letters() -> None:
    assert is_peerish("remote_ip")
    assert is_peerish("tcpremoteip")
    assert is_peerish("clientAddr")
    assert not is_peerish("description")
    assert is_ipish("ip_range")
    assert not any(
        map(is_ipish, ("skip", "zip", "strip", "script", "mailaddr", "recipients", "x" * 60, "UCSPI_REMOTE_IP"))
    )
    assert kind_of_variable("SSL6REMOTEHOST") == "host"
    assert kind_of_variable("EPROTO") is None


def test_a_helper_is_followed_to_where_it_splits() -> None:
    text = 'void cut(char *t) {\n  strtok(t, ".");\n}\nint main(void) {\n  char *p = getenv("TCPREMOTEIP");\n  if (!p) return 1;\n  cut(p);\n}\n'
    assert [(one.line, one.name) for one in lint_text("a.c", text)] == [(2, "dot-split")]


def test_a_name_that_holds_something_else_by_then_is_not_followed() -> None:
    text = 'int main(void) {\n  char *p = getenv("TCPREMOTEIP");\n  if (!p) return 1;\n  p = getenv("HOSTNAME");\n  strtok(p, ".");\n}\n'
    assert lint_text("a.c", text) == []


def test_struct_members_are_followed() -> None:
    text = 'void f(struct s *s) { s->from = getenv("TCPREMOTEIP"); }\nvoid g(struct s *s) { strtok(s->from, "."); }\n'
    assert [one.name for one in lint_text("a.c", text)] == ["dot-split"]


def test_what_returns_the_address_is_followed() -> None:
    text = "sub peer { return $ENV{TCPREMOTEIP}; }\nmy $x = peer();\nmy @p = split /\\./, $x;\n"
    assert [(one.line, one.name) for one in lint_text("a.pl", text)] == [(3, "dot-split")]


@settings(max_examples=150, deadline=None)
@given(st.text(max_size=400), st.sampled_from(LANGUAGES))
def test_any_text_keeps_its_length_and_lines(text: str, language: str) -> None:
    tokens = tokenize(text, language)
    assert len(tokens.code) == len(tokens.bare) == len(text)
    assert [i for i, c in enumerate(tokens.code) if c == "\n"] == [i for i, c in enumerate(text) if c == "\n"]


@settings(max_examples=250, deadline=None)
@given(st.lists(st.sampled_from(PIECES), max_size=60), st.sampled_from(LANGUAGES))
def test_any_mixture_of_syntax_is_judged_without_an_error(pieces: list[str], language: str) -> None:
    text = "".join(pieces)
    rows = text.count("\n") + 1
    for one in lint_text("x", text, language):
        assert 1 <= one.line <= rows
        assert one.column >= 1
        assert one.fix


@settings(max_examples=100, deadline=None)
@given(st.binary(max_size=2000), st.sampled_from(["a.c", "a.pl", "a.patch", "a", "a.sh", "a.py"]))
def test_any_bytes_are_judged_without_an_error(data: bytes, path: str) -> None:
    lint_text(path, data.decode("utf-8", "replace"))


def test_a_bounded_fuzz_finds_no_crash() -> None:
    randomness = random.Random(20261123)
    stop = time.monotonic() + 5
    rounds = 0
    while time.monotonic() < stop or rounds < 50:
        text = "".join(randomness.choices(PIECES, k=randomness.randrange(5, 400)))
        lint_text("x", text, randomness.choice(LANGUAGES))
        rounds += 1
    assert rounds >= 50


@pytest.mark.parametrize("language", LANGUAGES)
@pytest.mark.parametrize(
    "piece",
    [
        "(",
        "{",
        '"',
        "/",
        "\\",
        "\n",
        "#if 0\n",
        'f(getenv("TCPREMOTEIP"),',
        "$TCPREMOTEIP ",
        "ip == ",
        "case $TCPREMOTEIP in ",
        '"0.0.0.0" ',
        "${ip#",
        "print <<A;\n",
        "remoteip ",
        ' "::" ? remoteip : ',
    ],
)
def test_repetition_costs_no_more_than_its_length(language: str, piece: str) -> None:
    """The work is counted in function calls, not in seconds: four times the text is not sixteen times the work."""
    import sys

    def work(size: int) -> int:
        count = 0

        def profile(*_: object) -> None:
            nonlocal count
            count += 1

        text = "TCPREMOTEIP\n" + piece * size
        sys.setprofile(profile)
        try:
            lint_text("x", text, language)
        finally:
            sys.setprofile(None)
        return count

    work(10)
    small, large = work(100), work(400)
    assert large < 8 * small + 20_000
