"""What all tests of handlers need."""

from __future__ import annotations

import pytest


@pytest.fixture(autouse=True)
def _python_is_as_users_have_it(users_python: None) -> None:
    """In every test."""
