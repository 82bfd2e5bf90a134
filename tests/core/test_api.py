"""The library's surface, and what importing it costs."""

from __future__ import annotations

import doctest
import pickle
import socket
import subprocess
import sys
import tomllib
import traceback
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


def test_a_traceback_and_a_pickle_name_an_error_as_users_know_it() -> None:
    error = ucspi_env.BadVariableError("PROTO", "X", "is not known", "unset it")

    assert traceback.format_exception_only(error) == ["ucspi_env.BadVariableError: PROTO='X' is not known; unset it\n"]
    again = pickle.loads(pickle.dumps(error))
    assert (type(again), again.args) == (type(error), error.args)
    for name in ucspi_env.__all__:
        if name.endswith("Error"):
            assert getattr(ucspi_env, name).__module__ == "ucspi_env"


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


def modules_of(
    question: str, stdin: int = subprocess.DEVNULL, environ: dict[str, str] | None = None, place: Path = ROOT
) -> list[str]:
    """What asking ``question`` in a fresh interpreter imports of the package, and `__future__`."""
    code = (
        f"import sys; sys.path.insert(0, sys.argv[1]); import ucspi_env; {question}\n"
        "found = [name for name in sys.modules if name.startswith('ucspi_env.') or name == '__future__']\n"
        "print(*found, file=sys.stderr)"  # standard output may be anything
    )
    done = subprocess.run(
        [sys.executable, "-I", "-S", "-c", code, str(place)],
        stdin=stdin,
        stderr=subprocess.PIPE,
        env=environ or {},
        text=True,
        check=True,
    )
    return sorted(name.removeprefix("ucspi_env.") for name in done.stderr.split())


PATH = ["_address", "_facts", "_identify", "_model", "_variables"]


def test_the_usual_connection_imports_no_more_than_the_decision() -> None:
    """Each module, `__future__` too, is on every connection's path; ``TCPLOCALHOST=0`` is ``tcpserver -l0``."""
    with socket.create_server(("127.0.0.1", 0)) as listener, socket.create_connection(listener.getsockname()) as caller:
        connected = listener.accept()[0]
        ip, port = caller.getsockname()
        environ = {"PROTO": "TCP", "TCPREMOTEIP": ip, "TCPREMOTEPORT": str(port), "TCPLOCALHOST": "0"}
        with connected:
            imported = modules_of("ucspi_env.remote()", connected.fileno(), environ)

    assert imported == PATH


VARIABLES = {"PROTO": "TCP", "TCPREMOTEIP": "192.0.2.1", "TCPREMOTEPORT": "1", "TCPLOCALHOST": "0"}


def test_variables_alone_import_what_weighs_them_too() -> None:
    assert modules_of(f"ucspi_env.remote({VARIABLES})") == sorted([*PATH, "_hearsay"])


def test_the_version_is_that_of_pyproject_and_is_looked_up_when_it_is_asked_for() -> None:
    project = tomllib.loads((Path(__file__).parents[2] / "pyproject.toml").read_text())["project"]

    assert ucspi_env.__version__ == project["version"]
    assert "_version" in modules_of("ucspi_env.__version__")
    assert "_version" not in modules_of(f"ucspi_env.remote({VARIABLES}); dir(ucspi_env); ucspi_env.build")


def test_a_package_that_is_not_installed_says_so_by_its_version(tmp_path: Path) -> None:
    (tmp_path / "ucspi_env").symlink_to(ROOT / "ucspi_env")

    assert modules_of("assert ucspi_env.__version__ == '0+not.installed'", place=tmp_path)


def test_importing_says_and_changes_nothing() -> None:
    code = (
        "import signal, sys; before = [signal.getsignal(n) for n in signal.valid_signals()]; import ucspi_env\n"
        "assert before == [signal.getsignal(n) for n in signal.valid_signals()]\n"
    )
    done = subprocess.run(
        [sys.executable, "-W", "error", "-c", code], capture_output=True, env={"PYTHONPATH": str(ROOT)}, check=True
    )

    assert (done.stdout, done.stderr) == (b"", b"")
