"""The library's surface, and what importing it costs."""

from __future__ import annotations

import doctest
import subprocess
import sys
from pathlib import Path

import pytest

import ucspi_env

ROOT = Path(ucspi_env.__file__).parent.parent


def test_every_public_name_is_there_and_listed() -> None:
    assert sorted(ucspi_env.__all__) == ucspi_env.__all__
    for name in ucspi_env.__all__:
        assert getattr(ucspi_env, name).__doc__, name
        assert name in dir(ucspi_env)


def test_an_unknown_name_is_an_attribute_error() -> None:
    with pytest.raises(AttributeError, match="nonsense"):
        ucspi_env.nonsense  # noqa: B018


def test_every_error_is_one_of_ours() -> None:
    errors = [getattr(ucspi_env, name) for name in ucspi_env.__all__ if name.endswith("Error")]

    assert len(errors) == 11
    assert all(issubclass(error, ucspi_env.UCSPIError) for error in errors)
    assert issubclass(ucspi_env.BadVariableError, ValueError)
    assert issubclass(ucspi_env.DialectError, ValueError)
    assert issubclass(ucspi_env.ProxyError, ValueError)


def test_the_docstring_tells_the_truth() -> None:
    assert doctest.testmod(ucspi_env).failed == 0


def test_importing_and_asking_stays_lean() -> None:
    code = (
        "import sys; sys.path.insert(0, sys.argv[1]); import ucspi_env\n"
        "ucspi_env.remote({'PROTO': 'TCP', 'TCPREMOTEIP': '192.0.2.1', 'TCPREMOTEPORT': '1'})\n"
        "try: ucspi_env.remote()\n"
        "except ucspi_env.UCSPIError: pass\n"
        "print(*sys.modules)\n"
    )
    done = subprocess.run(
        [sys.executable, "-I", "-S", "-c", code, str(ROOT)],
        stdin=subprocess.DEVNULL,
        capture_output=True,
        text=True,
        check=True,
    )
    heavy = {"socket", "selectors", "subprocess", "logging", "dataclasses", "typing", "enum", "re", "click", "pytest"}

    assert not heavy & set(done.stdout.split())


def test_the_usual_connection_imports_no_more_than_the_decision() -> None:
    """Each module, `__future__` too, is on every connection's path; ``TCPLOCALHOST=0`` is ``tcpserver -l0``."""
    code = (
        "import sys; sys.path.insert(0, sys.argv[1]); import ucspi_env\n"
        "environ = {'PROTO': 'TCP', 'TCPREMOTEIP': '192.0.2.1', 'TCPREMOTEPORT': '1', 'TCPLOCALHOST': '0'}\n"
        "ucspi_env.remote(environ)\n"
        "print(*(name for name in sys.modules if name.startswith('ucspi_env.') or name == '__future__'))\n"
    )
    done = subprocess.run(
        [sys.executable, "-I", "-S", "-c", code, str(ROOT)], capture_output=True, text=True, check=True
    )

    path = ("_address", "_facts", "_identify", "_model", "_variables")
    assert sorted(done.stdout.split()) == [f"ucspi_env.{name}" for name in path]


def test_importing_says_and_changes_nothing() -> None:
    code = (
        "import signal, sys; before = [signal.getsignal(n) for n in signal.valid_signals()]; import ucspi_env\n"
        "assert before == [signal.getsignal(n) for n in signal.valid_signals()]\n"
    )
    done = subprocess.run(
        [sys.executable, "-W", "error", "-c", code], capture_output=True, env={"PYTHONPATH": str(ROOT)}, check=True
    )

    assert (done.stdout, done.stderr) == (b"", b"")
