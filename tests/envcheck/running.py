"""Running ucspi-envcheck as a program, as users do."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path
from typing import TYPE_CHECKING

from tests.support import PATIENCE

if TYPE_CHECKING:
    from collections.abc import Mapping

ENVCHECK = [sys.executable, "-I", "-m", "ucspi_env"]
PYTHON = [sys.executable, "-I"]
SERVERS = Path(__file__).parent / "servers"
CLEAN = {"PATH": "/usr/local/bin:/usr/bin:/bin:/usr/sbin:/sbin", "LANG": "C.UTF-8"}
"""An environment without any super-server's variables."""


def envcheck(
    *arguments: str | bytes, env: Mapping[str, str] | None = None, input: bytes = b"", stdin: int | None = None
) -> subprocess.CompletedProcess[bytes]:
    """Run it to its end; ``env`` is added to `CLEAN`."""
    return subprocess.run(
        [*ENVCHECK, *arguments],
        env=CLEAN | dict(env or {}),
        stdin=stdin if stdin is not None else subprocess.DEVNULL if not input else None,
        input=input or None,
        capture_output=True,
        check=False,
        timeout=PATIENCE,
    )


def said(done: subprocess.CompletedProcess[bytes]) -> str:
    """Its stdout as text; no traceback may be on its stderr."""
    assert b"Traceback" not in done.stderr, done.stderr.decode()
    return done.stdout.decode()
