"""Names, modules and scripts of the suite agree, and what the tools import stays small."""

from __future__ import annotations

import importlib
import importlib.util
import subprocess
import sys
import tomllib
from pathlib import Path

import pytest

from ucspi_env.tools import _catalogue

ROOT = Path(__file__).resolve().parents[2]
PROGRAMS = _catalogue.SUITE | _catalogue.ADDITIONS


def test_the_suite_is_what_debian_packages() -> None:
    assert set(_catalogue.SUITE) == {
        "addcr", "argv0", "date@", "delcr", "finger@", "fixcrio", "http@", "mconnect", "mconnect-io", "rblsmtpd",
        "recordio", "tcpcat", "tcpclient", "tcprules", "tcprulescheck", "tcpserver", "who@",
    }  # fmt: skip


@pytest.mark.parametrize("module", PROGRAMS.values())
def test_every_program_is_a_module_with_main_and_run(module: str) -> None:
    program = importlib.import_module(f"ucspi_env.tools.{module}")
    assert callable(program.main)
    assert callable(program.run)


@pytest.mark.skipif(not (ROOT / "pyproject.toml").is_file(), reason="needs the checkout's pyproject.toml")
def test_every_program_is_an_installed_script() -> None:
    project = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]
    declared = {name: entry for name, entry in project.get("scripts", {}).items() if ".tools." in entry}
    assert declared == _catalogue.scripts()


def loaded(code: str) -> set[str]:
    """The modules that code leaves loaded under ``python -I -S``."""
    shown = f"{code}\nimport sys\nprint(*sys.modules)"
    done = subprocess.run([sys.executable, "-IS", "-c", shown], capture_output=True, text=True, check=True)
    return set(done.stdout.split())


@pytest.mark.parametrize("module", ["addcr", "delcr", "fixcrio", "recordio", "argv0", "mconnect_io"])
def test_line_tools_import_nothing_that_costs(module: str) -> None:
    code = _catalogue.launch_code(module).replace("\nrun()\n", "\nimport ucspi_env.tools._program\n")
    heavy = {"enum", "signal", "socket", "re", "typing", "dataclasses", "ipaddress", "select", "ucspi_env._model"}
    assert not loaded(code) & heavy


def test_a_launched_program_can_have_the_whole_package_and_the_standard_librarys_names() -> None:
    code = _catalogue.launch_code("http").replace(
        "\nrun()\n", "\nimport ucspi_env, http, datetime\nassert ucspi_env.Endpoint('::1') and http.HTTPStatus.OK\n"
    )
    assert "ucspi_env._model" in loaded(code)


def test_an_unknown_name_of_a_launched_package_is_an_attribute_error() -> None:
    code = _catalogue.launch_code("addcr").replace(
        "\nrun()\n",
        "\nimport ucspi_env\nassert not hasattr(ucspi_env, '__wrapped__')\nassert not hasattr(ucspi_env, 'no')\n",
    )
    loaded(code)
