"""A machine of its own for each test."""

from __future__ import annotations

import os
import tempfile
from pathlib import Path
from typing import TYPE_CHECKING

import pytest

from tests.neighbours.scene import Scene, Suite, make_suite, snippet

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

    from tests.support import Namespace


def _everybodys_folder() -> tempfile.TemporaryDirectory[str]:
    """Pytest's own directories are for one user alone."""
    return tempfile.TemporaryDirectory(prefix="ucspi-neighbours-")


@pytest.fixture(scope="session")
def suite() -> Iterator[Suite]:
    """Our programs, run by the Python that runs the tests."""
    with _everybodys_folder() as folder:
        yield make_suite(Path(folder), for_everybody=False)


@pytest.fixture(scope="session")
def everybodys_suite() -> Iterator[Suite]:
    """Our programs, in a way that every user may run them."""
    with _everybodys_folder() as folder:
        try:
            made = make_suite(Path(folder), for_everybody=os.geteuid() == 0)
        except LookupError as error:
            pytest.skip(str(error))
        yield made


@pytest.fixture
def scene(request: pytest.FixtureRequest, netns: Callable[..., Namespace]) -> Iterator[Scene]:
    """The machine, with the test's peers on PATH; ``everybodys_suite`` if the test asks for that."""
    name = "everybodys_suite" if "everybodys_suite" in request.fixturenames else "suite"
    needs = tuple(name for marker in request.node.iter_markers("peer") for name in marker.args)
    addresses = ("192.0.2.53/32", "198.51.100.7/32", "203.0.113.9/32", "2001:db8::53/128")
    mail = ("2001:db8:1::25/128", "2001:db8:2::7/128", "2001:db8:bad::9/128", "192.0.2.66/32", "2001:db8:1::66/128")
    with _everybodys_folder() as folder:
        place = Path(folder)
        place.chmod(0o755)
        made = Scene(place, netns(*addresses, *mail), request.getfixturevalue(name), needs)
        made.file("hello", snippet("hello"))
        yield made
        made.close()
