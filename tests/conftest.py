"""Markers, and the fixtures that every directory may use.

Under ``CI=true`` nothing that the machine should have may be missing: an absent peer or a forbidden namespace fails
there, and is skipped with its name elsewhere.
"""

from __future__ import annotations

import importlib.util
import os
from pathlib import Path
from typing import TYPE_CHECKING

import pytest
from hypothesis import HealthCheck, settings

from tests.live.table import pytest_terminal_summary  # noqa: F401 - the hook prints the live tests' table
from tests.support import (
    Namespace,
    Server,
    default_signals,
    namespaces_refused,
    peers,
    stage_refused,
    start_tcpserver,
    unshare_refused,
)

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

ROOT = Path(__file__).resolve().parents[1]


def _installed() -> str:
    """Where an installed ucspi_env is, if the tests are to run against that and not against the checkout."""
    spec = importlib.util.find_spec("ucspi_env")
    places = [Path(place) for place in (spec and spec.submodule_search_locations) or []]
    return next((str(place) for place in places if not place.is_relative_to(ROOT / "ucspi_env")), "")


INSTALLED = _installed()
if INSTALLED:
    # Programs that tests start with `python -m` must be the installed ones too, not what lies in the current directory.
    os.environ["PYTHONSAFEPATH"] = "1"


# How long an example takes is the machine's business, not the test's.
settings.register_profile("any machine", settings.default, deadline=None, suppress_health_check=[HealthCheck.too_slow])
# For the runs beside the one that has the time: the same properties, fewer tries.
settings.register_profile("few", settings.get_profile("any machine"), max_examples=15)
settings.load_profile("any machine")


def pytest_configure() -> None:
    """Let children start with ordinary signals, however the tests were started."""
    default_signals()


def pytest_report_header() -> str:
    """Say whose code is tested: the checkout's, or that of an installed package."""
    return f"ucspi_env: {INSTALLED or ROOT / 'ucspi_env'}"


def _missing(reason: str) -> None:
    if os.environ.get("CI") == "true":
        pytest.fail(reason, pytrace=False)
    pytest.skip(reason)


def _peer(name: str) -> str:
    path = peers().find(name)
    if path is None:
        _missing(f"{name} is not here; .ci/peers.txt names its package")
    assert path is not None
    return path


def _need(path: str) -> None:
    if not os.path.exists(path):
        _missing(f"{path} is not here")
    if os.path.isdir(path) and not os.access(path, os.W_OK):
        _missing(f"{path} is not for everybody to write to")


def pytest_itemcollected(item: pytest.Item) -> None:
    """Mark what says by a fixture that it needs made-up callers."""
    if "ucspi_run" in getattr(item, "fixturenames", ()):
        item.add_marker("stage")


def pytest_runtest_setup(item: pytest.Item) -> None:
    """Act on the markers before any fixture is made."""
    # First, since what only the superuser can have is not missing to anybody else.
    if item.get_closest_marker("root") and os.geteuid() != 0:
        pytest.skip("needs the superuser")
    for marker in item.iter_markers("peer"):
        for name in marker.args:
            _peer(name)
    for marker in item.iter_markers("needs"):
        for path in marker.args:
            _need(path)
    if item.get_closest_marker("netns") and namespaces_refused():
        _missing(namespaces_refused())
    if item.get_closest_marker("stage") and stage_refused():
        _missing(stage_refused())
    for marker in item.iter_markers("unshare"):
        if refused := unshare_refused(*marker.args):
            _missing(refused)


@pytest.fixture
def users_python(monkeypatch: pytest.MonkeyPatch) -> None:
    """Python as users have it: scripts and handlers import what lies beside them, and print by way of a buffer."""
    for name in ("PYTHONSAFEPATH", "PYTHONUNBUFFERED", "PYTHONDONTWRITEBYTECODE"):
        monkeypatch.delenv(name, raising=False)


@pytest.fixture(scope="session")
def peer() -> Callable[[str], str]:
    """The path of another package's program: ``peer("socat")``, ``peer("ucspi-tcp/tcpserver")``."""
    return _peer


@pytest.fixture
def netns() -> Iterator[Callable[..., Namespace]]:
    """Make namespaces with these addresses on lo; gone after the test."""
    if namespaces_refused():
        _missing(namespaces_refused())
    made: list[Namespace] = []

    def make(*addresses: str) -> Namespace:
        namespace = Namespace(*addresses)
        made.append(namespace)
        return namespace

    yield make
    for namespace in made:
        namespace.close()


@pytest.fixture
def tcpserver() -> Iterator[Callable[..., Server]]:
    """Start tcpservers (see `tests.support.start_tcpserver`) that are stopped after the test."""
    running: list[Server] = []

    def start(*arguments: str, **options: object) -> Server:
        server = start_tcpserver(*arguments, **options)  # type: ignore[arg-type]  # the factory's own keywords
        running.append(server)
        return server

    yield start
    for server in running:
        server.stop()
