"""What all tests of handlers need."""

from __future__ import annotations

import pytest


@pytest.fixture(autouse=True)
def _python_is_as_users_have_it(monkeypatch: pytest.MonkeyPatch) -> None:
    """Scripts and handlers import what lies beside them; what the test run itself is told is not for them."""
    for name in ("PYTHONSAFEPATH", "PYTHONUNBUFFERED", "PYTHONDONTWRITEBYTECODE"):
        monkeypatch.delenv(name, raising=False)
