"""Fixtures of the tcpserver tests."""

from __future__ import annotations

import contextlib
import socket
from typing import TYPE_CHECKING

import pytest

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator


@pytest.fixture
def unused() -> Iterator[Callable[[], int]]:
    """A port that nobody else gets while the test runs, though a listener with SO_REUSEADDR does.

    For the few servers that cannot say theirs with -1, since their stdout is closed.
    """
    with contextlib.ExitStack() as stack:

        def reserve() -> int:
            holder = stack.enter_context(socket.socket())
            holder.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
            holder.bind(("127.0.0.1", 0))
            port: int = holder.getsockname()[1]
            return port

        yield reserve
