"""What all tests of handlers need."""

from __future__ import annotations

import pytest


@pytest.fixture(autouse=True)
def _current_directory_is_importable(monkeypatch: pytest.MonkeyPatch) -> None:
    """Scripts and handlers import what lies beside them; the test run's own wish to avoid that is not theirs."""
    monkeypatch.delenv("PYTHONSAFEPATH", raising=False)
