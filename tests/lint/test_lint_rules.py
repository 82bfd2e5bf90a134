"""Every rule has a page, its example fires and its remedy does not, and docs/rules.md says the same."""

from __future__ import annotations

import re
from pathlib import Path

import pytest

from ucspi_env.envcheck.lint import lint_text
from ucspi_env.envcheck.lint._languages import LANGUAGES
from ucspi_env.envcheck.lint._model import HEADINGS, RULES, Hit, Rule, rule, sections
from ucspi_env.envcheck.lint._pages import _plain, explain_text, rules_page
from ucspi_env.envcheck.lint._remedies import REMEDIES, remedy

ROOT = Path(__file__).resolve().parents[2]
CATALOGUE = [
    "dnsbl-v4-reverse",
    "skipped-check",
    "mapped-not-normalised",
    "stale-regex-captures",
    "sentinel-fallback",
    "af-inet-socket",
    "prefix-string-match",
    "v4-netmask-math",
    "substring-match",
    "noncanonical-key",
    "wrong-variable-family",
    "proto-gate",
    "proto-prefix-no-fallback",
    "missing-env",
    "zone-id",
    "mapped-strip-overrun",
    "fixed-buffer",
    "inet-aton-family",
    "hard-fail-non-ipv4",
    "ipv4-only-regex",
    "sscanf-quad",
    "dot-split",
    "int32-storage",
    "db-column-too-short",
    "string-equality-allowlist",
    "gethostbyname-a-only",
    "family-hardcoded",
    "address-literal-brackets",
    "host-port-colon-join",
    "first-colon-split",
    "log-delimiter-collision",
    "remotehost-trust",
    "shell-unquoted",
    "sql-interpolation",
    "v4-only-library",
    "v4-protocol-field",
]


def blocks(text: str) -> list[tuple[str, str]]:
    return re.findall(r"```(\w+)\n(.*?)```", text, re.DOTALL)


@pytest.mark.parametrize("name", CATALOGUE)
def test_every_class_of_the_catalogue_is_a_rule(name: str) -> None:
    assert name in RULES


def test_codes_are_unique_and_names_too() -> None:
    assert len({one.code for one in RULES.values()}) == len(RULES)
    assert all(key == one.name for key, one in RULES.items())


def test_a_code_or_name_cannot_be_given_twice() -> None:
    def check(unit: object) -> object:
        return iter(())

    before = dict(RULES)
    for code, name in (("U101", "fresh-name"), ("U199", "dot-split"), ("X1", "fresh-name"), ("U199", "Bad Name")):
        with pytest.raises(ValueError, match=r"taken|not a code"):
            rule(code, name, "breaks", group="x", rank=1, remedy="parse")(check)  # type: ignore[arg-type]
    assert before == RULES


@pytest.mark.parametrize("one", RULES.values(), ids=lambda one: one.name)
def test_a_page_has_all_headings_with_text(one: Rule) -> None:
    page = one.page
    assert page[""].endswith(".")
    assert tuple(page)[1:] == HEADINGS
    assert one.remedy in REMEDIES


@pytest.mark.parametrize("one", RULES.values(), ids=lambda one: one.name)
def test_the_example_fires(one: Rule) -> None:
    examples = blocks(one.page["Example"])
    assert examples
    for language, text in examples:
        found = [finding.name for finding in lint_text("example", text, language)]
        assert one.name in found


@pytest.mark.parametrize("one", RULES.values(), ids=lambda one: one.name)
def test_what_to_use_instead_is_silent(one: Rule) -> None:
    examples = blocks(one.page["Use instead"])
    assert examples
    for language, text in examples:
        assert lint_text("example", text, language) == []


def test_a_page_with_a_heading_missing_is_refused() -> None:
    with pytest.raises(ValueError, match="headings"):
        sections("Summary.\n\nWhat it does\n    x\n")


@pytest.mark.parametrize("language", LANGUAGES)
@pytest.mark.parametrize("topic", REMEDIES)
def test_there_is_a_remedy_for_every_topic_and_language(topic: str, language: str) -> None:
    assert remedy(topic, language)


def test_explain_takes_codes_in_any_case_and_names() -> None:
    assert explain_text("u101") == explain_text("U101") == explain_text("dot-split")
    assert "## Why is this bad?" in explain_text("U101")
    with pytest.raises(KeyError):
        explain_text("U999")


def test_the_documentation_is_up_to_date() -> None:
    assert (ROOT / "docs" / "rules.md").read_text(encoding="utf-8") == rules_page()


def test_hits_are_values() -> None:
    assert Hit(1, "x") == Hit(1, "x")


def test_a_forge_shows_remedies_as_they_are() -> None:
    for text in {one for table in REMEDIES.values() for one in table.values()}:
        written = _plain(text)
        assert re.sub(r"\\([!-/:-@[-`{-~])", r"\1", written) == text
        assert not re.search(r"(?<!\\)(?:\\\\)*[*`<]|(?<!\\)\]\(", written), written
