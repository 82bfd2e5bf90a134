"""Launchers: they run, they start lean, and link touches nothing but its own."""

from __future__ import annotations

import os
import subprocess
import sys
from typing import TYPE_CHECKING, NamedTuple

import pytest

from ucspi_env.tools import link
from ucspi_env.tools._catalogue import SUITE, launch_code

if TYPE_CHECKING:
    from pathlib import Path


class Made(NamedTuple):
    """How link ended."""

    returncode: int
    stdout: str
    stderr: str


def make(*arguments: str | Path, python: str | Path = sys.executable) -> Made:
    """Run link with an interpreter of choice; that it cannot keep bytecode in another user's package is no news."""
    argv = [str(python), "-IS", "-c", launch_code("link"), *map(str, arguments)]
    done = subprocess.run(argv, capture_output=True, text=True, check=False)
    told = [line for line in done.stderr.splitlines(True) if "unable to keep bytecode" not in line]
    return Made(done.returncode, done.stdout, "".join(told))


def test_every_program_gets_a_launcher(tmp_path: Path) -> None:
    place = tmp_path / "new" / "bin"
    done = make(place)
    assert (done.returncode, done.stderr) == (0, "")
    assert sorted(done.stdout.splitlines()) == sorted(f"{place}/{name}: made" for name in SUITE)
    assert {path.name for path in place.iterdir()} == set(SUITE)
    assert all(os.access(path, os.X_OK) for path in place.iterdir())


def test_launchers_run_from_path_and_ignore_the_environments_python_settings(tmp_path: Path) -> None:
    make(tmp_path)
    env = {"PATH": f"{tmp_path}:{os.defpath}", "PYTHONPATH": "/nonexistent", "PYTHONHOME": "/nonexistent"}
    script = "printf 'a\\nb' | addcr | fixcrio delcr | recordio argv0 cat somebody"
    done = subprocess.run(["sh", "-c", script], env=env, capture_output=True, check=False)
    assert (done.returncode, done.stdout) == (0, b"a\r\nb")
    assert done.stderr.count(b"[EOF]\n") == 2


@pytest.mark.parametrize("name", SUITE)
def test_each_launcher_finds_its_program(tmp_path: Path, name: str) -> None:
    make(tmp_path)
    code = (tmp_path / name).read_text().replace("\nrun()\n", "\nprint(run.__module__)\n")
    (tmp_path / name).write_text(code)
    done = subprocess.run([tmp_path / name], capture_output=True, text=True, check=False)
    assert (done.stdout.strip(), done.stderr) == (f"ucspi_env.tools.{SUITE[name]}", "")


def test_again_changes_nothing(tmp_path: Path) -> None:
    make(tmp_path)
    before = {path.name: (path.stat().st_mtime_ns, path.read_bytes()) for path in tmp_path.iterdir()}
    done = make(tmp_path)
    assert done.returncode == 0
    assert all(line.endswith(": unchanged") for line in done.stdout.splitlines())
    assert {path.name: (path.stat().st_mtime_ns, path.read_bytes()) for path in tmp_path.iterdir()} == before


def test_launchers_of_another_version_and_lost_modes_are_mended(tmp_path: Path) -> None:
    make(tmp_path)
    whole = (tmp_path / "addcr").read_bytes()
    (tmp_path / "addcr").write_text(f"#!/opt/older/python -IS\n{link.MARK}\nsomething older\n")
    (tmp_path / "delcr").chmod(0o644)
    done = make(tmp_path)
    assert done.returncode == 0
    changed = [line for line in done.stdout.splitlines() if not line.endswith(": unchanged")]
    assert changed == [f"{tmp_path}/addcr: updated", f"{tmp_path}/delcr: updated"]
    assert (tmp_path / "addcr").read_bytes() == whole
    assert os.access(tmp_path / "delcr", os.X_OK)
    assert {path.name for path in tmp_path.iterdir()} == set(SUITE)


def test_what_link_did_not_make_is_named_and_nothing_is_changed(tmp_path: Path) -> None:
    (tmp_path / "tcpserver").write_text('#!/bin/sh\nexec /usr/bin/tcpserver "$@"\n')
    (tmp_path / "addcr").mkdir()
    (tmp_path / "elsewhere").write_text(f"x\n{link.MARK}\n")
    (tmp_path / "delcr").symlink_to("elsewhere")
    (tmp_path / "who@").symlink_to("/nonexistent")
    done = make(tmp_path)
    assert (done.returncode, done.stdout) == (100, "")
    assert done.stderr.splitlines() == [
        f"link: fatal: {tmp_path}/{name} was not made by link; move it away, or choose another directory"
        for name in SUITE
        if name in ("tcpserver", "addcr", "delcr", "who@")
    ]
    assert {path.name for path in tmp_path.iterdir()} == {"tcpserver", "addcr", "delcr", "who@", "elsewhere"}


def test_a_directory_that_cannot_be_made_is_trouble(tmp_path: Path) -> None:
    (tmp_path / "file").write_text("")
    done = make(tmp_path / "file")
    assert done.returncode == 111
    assert done.stderr == f"link: fatal: unable to make {tmp_path}/file: file already exists\n"


@pytest.mark.parametrize("arguments", [[], ["a", "b"], ["--help"]])
def test_usage(arguments: list[str]) -> None:
    done = make(*arguments)
    assert (done.returncode, done.stderr) == (100, "link: usage: link directory\n")


@pytest.mark.parametrize(
    "name", ["with blank", "x" * 200, "it's", "''' '''", "$HOME `id`", '"; exit 3; "', "tab\there"]
)
def test_any_interpreter_path_can_be_started(tmp_path: Path, name: str) -> None:
    python = tmp_path / name / "python"
    python.parent.mkdir()
    python.symlink_to(sys.executable)
    place = tmp_path / "bin"
    done = make(place, python=python)
    assert (done.returncode, done.stderr) == (0, "")
    assert str(python) in (place / "addcr").read_text().replace("'\"'\"'", "'")
    ran = subprocess.run([place / "addcr"], input=b"a\n", capture_output=True, check=False)
    assert (ran.returncode, ran.stdout, ran.stderr) == (0, b"a\r\n", b"")


@pytest.mark.parametrize(("path", "why"), [("/a b\\Nc", "backslash"), ("/\udcff", "UTF-8")])
def test_a_path_that_no_launcher_could_name_is_refused(path: str, why: str) -> None:
    with pytest.raises(ValueError, match=why):
        link.shebang(path)
