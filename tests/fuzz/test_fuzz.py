"""A little of `make fuzz` in each run, and everything that it ever found."""

from __future__ import annotations

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from tests.fuzz.strategies import near
from tests.fuzz.targets import REGRESSIONS, TARGETS, regressions


@pytest.mark.parametrize("name", TARGETS)
def test_seeds_and_what_was_found_before_are_read(name: str) -> None:
    for data in (*TARGETS[name].seeds, *regressions(name)):
        TARGETS[name].run(data)


def test_what_was_found_belongs_to_a_target() -> None:
    assert {path.name for path in REGRESSIONS.iterdir() if path.is_dir()} <= set(TARGETS)


@pytest.mark.parametrize("name", TARGETS)
def test_any_bytes_are_read_or_refused(name: str) -> None:
    @settings(max_examples=150, deadline=None, suppress_health_check=[HealthCheck.too_slow])
    @given(data=near(TARGETS[name].seeds))
    def run(data: bytes) -> None:
        TARGETS[name].run(data)

    run()


@given(st.data())
def test_changes_leave_something_to_fuzz(data: st.DataObject) -> None:
    assert isinstance(data.draw(near((b"abc",))), bytes)
