"""What CONTRIBUTING.md and the templates tell people to do can be done: the targets, the files, the one test."""

from __future__ import annotations

import os
import re
import shlex
import subprocess
import sys
import tomllib
from pathlib import Path

import pytest

from tests.support.docs import ROOT, blocks

PAGE = ROOT / "CONTRIBUTING.md"
TEMPLATES = sorted((ROOT / ".github").rglob("*.md")) + sorted((ROOT / ".github").rglob("*.yml"))
ADDRESSED_TO_PEOPLE = [PAGE, ROOT / "CODE_OF_CONDUCT.md", ROOT / ".pre-commit-config.yaml", *TEMPLATES]
MAKE = re.compile(r"(?:`|^|entry: |run: )make ((?:[\w./-]+(?![\w./=-]) ?)+)", re.MULTILINE)


def name(path: Path) -> str:
    return str(path.relative_to(ROOT))


def targets() -> set[str]:
    """What make can be asked for: the targets, variables resolved."""
    makefile = (ROOT / "Makefile").read_text()
    phony = re.search(r"^\.PHONY: (.*)$", makefile, re.MULTILINE)
    assert phony
    files = re.findall(r"^(\$\(VENV\)[\w./]+):", makefile, re.MULTILINE)
    return {*phony[1].split(), *(file.replace("$(VENV)", ".venv") for file in files)}


@pytest.mark.parametrize("path", ADDRESSED_TO_PEOPLE, ids=name)
def test_every_target_of_make_that_is_named_is_there(path: Path) -> None:
    named = {word for found in MAKE.findall(path.read_text()) for word in found.split()}

    assert named <= targets()
    assert named or path not in (PAGE, ROOT / ".pre-commit-config.yaml")


def test_the_set_up_is_three_commands() -> None:
    commands = next(block for block in blocks(PAGE) if block.language == "sh")

    assert [line.partition("#")[0].strip() for line in commands.text.splitlines()] == [
        "make demo",
        "make test",
        ". .venv/bin/activate",
    ]


@pytest.mark.parametrize("path", [PAGE, ROOT / ".github/pull_request_template.md"], ids=name)
def test_every_file_that_is_named_is_there(path: Path) -> None:
    # Whatever has a slash or an ending; what is still to be written is called NAME.
    spans = re.findall(r"`([^`\n]+)`", path.read_text())
    named = {
        word.strip("'")
        for span in spans
        for word in re.split(r"[ =]", span)
        if re.fullmatch(r"'?[\w.*/-]+'?", word) and re.search(r"/|\.(?:py|md|toml|yaml|txt)$", word)
    } - {".venv/.package", ".venv/bin/python"}

    assert path != PAGE or len(named) > 20
    for file in named:
        assert list(ROOT.glob(file.replace("NAME", "*"))), file


def test_one_test_is_run_as_the_page_says() -> None:
    command = shlex.split(next(block.text for block in blocks(PAGE) if block.value == "one-test"))
    assert command[0] == ".venv/bin/python"

    done = subprocess.run(
        [sys.executable, *command[1:]],
        cwd=ROOT,
        env={variable: value for variable, value in os.environ.items() if not variable.startswith("PYTEST_")},
        capture_output=True,
        text=True,
        check=False,
    )

    assert done.returncode == 0, done.stdout
    assert re.search(r"^=+ 1 passed, ", done.stdout, re.MULTILINE)


def test_modules_that_are_run_by_name_are_there() -> None:
    for module in re.findall(r"python -m ([\w.]+)", PAGE.read_text()):
        assert (ROOT / f"{module.replace('.', '/')}.py").exists(), module


def test_every_way_to_add_something_has_its_steps() -> None:
    steps = re.findall(r"^### (.*)$", PAGE.read_text(), re.MULTILINE)

    assert steps == ["A dialect", "An option of tcpserver", "A tool", "A rule of lint"]


@pytest.mark.parametrize("path", ADDRESSED_TO_PEOPLE, ids=name)
def test_no_address_is_shown_that_the_project_does_not_have(path: Path) -> None:
    urls = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]["urls"].values()

    for address in re.findall(r"\w+://[^\s)>`]+|[\w.]+@[\w-]+\.\w+", path.read_text()):
        assert any(address.startswith(url) for url in urls), address
