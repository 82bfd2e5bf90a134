"""`make demo`: right where the server is right, and wrong where it is not."""

from __future__ import annotations

import subprocess
import sys
from typing import TYPE_CHECKING

import pytest

from tests.support.peers import ROOT

if TYPE_CHECKING:
    from collections.abc import Callable
    from pathlib import Path

    from tests.support import Namespace

DEMO = [sys.executable, str(ROOT / "examples" / "demo.py")]


def _lines(output: bytes) -> list[str]:
    return output.decode().splitlines()


def test_the_demo_shows_the_truth_for_every_call() -> None:
    done = subprocess.run(DEMO, capture_output=True, check=False, timeout=90)
    assert done.returncode == 0, done
    verdicts = [line.split()[-1] for line in _lines(done.stdout) if "->" in line]
    assert len(verdicts) >= 2
    assert set(verdicts) == {"ok"}


def test_the_demo_fails_for_a_server_that_is_wrong(tmp_path: Path) -> None:
    liar = tmp_path / "liar.py"
    liar.write_text("print('you are 0.0.0.0:0')\n")
    done = subprocess.run([*DEMO, str(liar)], capture_output=True, check=False, timeout=90)
    assert done.returncode == 1
    assert b"WRONG" in done.stdout


@pytest.mark.netns
def test_the_demo_works_where_ipv6_is_switched_off_and_says_so(netns: Callable[..., Namespace]) -> None:
    namespace = netns()
    namespace.set("net/ipv6/conf/all/disable_ipv6", "1")
    done = namespace.run(DEMO)
    assert done.returncode == 0, done
    assert b"no IPv6" in done.stdout
    assert [line.split()[-1] for line in _lines(done.stdout) if "->" in line] == ["ok", "ok"]
