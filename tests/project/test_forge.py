"""What the forge reads: workflows, dependabot, issue forms. They follow their schemas and do only what make does."""

from __future__ import annotations

import importlib.util
import os
import re
import subprocess
import sys
import tomllib
from pathlib import Path

import pytest

from tests.support.docs import ROOT

FORGE = ROOT / ".github"
FILES = sorted(FORGE.rglob("*.yml"))
WORKFLOWS = sorted((FORGE / "workflows").iterdir())
SCHEMAS = {
    "workflows/*.yml": ("vendor.github-workflows", "custom.github-workflows-require-timeout"),
    "dependabot.yml": ("vendor.dependabot",),
    "ISSUE_TEMPLATE/config.yml": ("vendor.github-issue-config",),
    "ISSUE_TEMPLATE/*.yml": ("vendor.github-issue-forms",),
}
with_schemas = pytest.mark.skipif(
    importlib.util.find_spec("check_jsonschema") is None,
    reason="check-jsonschema, which has the schemas, is not installed: make check-workflows",
)


def name(path: Path) -> str:
    return str(path.relative_to(ROOT))


def schemas(path: Path) -> tuple[str, ...]:
    """The schemas for a file: those of the first pattern that it matches."""
    return next(found for pattern, found in SCHEMAS.items() if path.relative_to(FORGE).match(pattern))


def check(path: Path, schema: str) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        [sys.executable, "-Im", "check_jsonschema", "--builtin-schema", schema, str(path)],
        capture_output=True,
        text=True,
        check=False,
    )


@with_schemas
@pytest.mark.parametrize("path", FILES, ids=name)
def test_every_file_follows_its_schemas(path: Path) -> None:
    for schema in schemas(path):
        done = check(path, schema)
        assert done.returncode == 0, done.stdout + done.stderr


@with_schemas
@pytest.mark.parametrize(
    ("file", "right", "wrong"),
    [
        ("workflows/check.yml", "runs-on:", "run-on:"),
        ("workflows/check.yml", "    timeout-minutes: 15\n", ""),
        ("dependabot.yml", "interval: monthly", "interval: sometimes"),
        ("ISSUE_TEMPLATE/config.yml", "true", "perhaps"),
        ("ISSUE_TEMPLATE/dialect.yml", "type: textarea", "type: text"),
    ],
)
def test_the_schemas_refuse_what_is_wrong(file: str, right: str, wrong: str, tmp_path: Path) -> None:
    text = (FORGE / file).read_text()
    assert right in text
    copy = tmp_path / Path(file).name
    copy.write_text(text.replace(right, wrong, 1))

    assert any(check(copy, schema).returncode == 1 for schema in schemas(FORGE / file))


@pytest.mark.parametrize("path", WORKFLOWS, ids=name)
def test_a_job_runs_one_target_of_make_or_one_program_of_ci(path: Path) -> None:
    text = path.read_text()
    commands = re.findall(r"^ +(?:- )?run: *(.*)$", text, re.MULTILINE)
    targets = re.search(r"^\.PHONY: (.*)$", (ROOT / "Makefile").read_text(), re.MULTILINE)

    assert targets
    assert len(commands) == text.count("runs-on:")
    for command in commands:
        if command.startswith(".ci/"):
            assert os.access(ROOT / command, os.X_OK), command
        else:
            assert command.removeprefix("make ") in targets[1].split(), command


def test_every_part_of_the_checks_has_a_job() -> None:
    commands = set(re.findall(r"run: *(.*)", "".join(path.read_text() for path in WORKFLOWS)))

    assert commands == {
        "make lint",
        "make typing",
        "make check-workflows",
        "make pytest",
        "make test-wheel",
        ".ci/fresh-root",
        ".ci/run",
    }


@pytest.mark.parametrize("path", WORKFLOWS, ids=name)
def test_actions_are_pinned_by_commit_with_their_version_beside_it(path: Path) -> None:
    used = re.findall(r"uses: *(.*)", path.read_text())

    assert used
    for action in used:
        assert re.fullmatch(r"actions/[\w-]+@[0-9a-f]{40} # v\d+\.\d+\.\d+", action), action


def test_an_action_has_one_version_everywhere() -> None:
    used = set(re.findall(r"uses: *(.*)", "".join(path.read_text() for path in WORKFLOWS)))

    assert len({action.partition("@")[0] for action in used}) == len(used)


@pytest.mark.parametrize("path", WORKFLOWS, ids=name)
def test_workflows_may_read_and_nothing_else(path: Path) -> None:
    text = path.read_text()

    assert re.findall(r"permissions:\n((?: .*\n)+)", text) == ["  contents: read\n"]
    assert "secrets." not in text
    assert text.count("persist-credentials: false") == text.count("actions/checkout@")


def test_the_pythons_are_those_that_pyproject_promises() -> None:
    project = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]
    promised = [
        found[1]
        for classifier in project["classifiers"]
        if (found := re.fullmatch(r"Programming Language :: Python :: (3\.\d+)", classifier))
    ]
    matrix = re.search(r"python: \[(.*)\]", (FORGE / "workflows" / "check.yml").read_text())

    assert matrix
    assert re.findall(r'"([\d.]+)"', matrix[1]) == promised
    assert project["requires-python"] == f">={promised[0]}"


def test_the_form_for_a_dialect_asks_for_the_report() -> None:
    form = (FORGE / "ISSUE_TEMPLATE" / "dialect.yml").read_text()

    assert re.findall(r"label: \"`ucspi-envcheck --json` for a caller over (IPv\d)\"", form) == ["IPv4", "IPv6"]


def test_the_source_distribution_has_what_contributors_need() -> None:
    hatch = tomllib.loads((ROOT / "pyproject.toml").read_text())["tool"]["hatch"]
    included = set(hatch["build"]["targets"]["sdist"]["include"])

    assert {"/CONTRIBUTING.md", "/CODE_OF_CONDUCT.md", "/.github", "/.pre-commit-config.yaml", "/.ci"} <= included
