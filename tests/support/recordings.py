"""The recorded environments of real super-servers (tests/captures), as tests want them."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest

CAPTURES = Path(__file__).parent.parent / "captures"


def recordings() -> list[Any]:
    """A parameter for each recorded connection."""
    return [
        pytest.param(case, id=f"{file.stem}/{case['id']}")
        for file in sorted(CAPTURES.glob("*.json"))
        for case in json.loads(file.read_text())
        if not case.get("failed")
    ]


def environment(case: dict[str, Any]) -> dict[str, str]:
    """The whole environment of the recorded program."""
    kept: dict[str, str] = {k: v for k, v in case["env_base"].items() if k not in case["env_removed"]}
    return {**kept, **case["env_added"]}


def trust_of(case: dict[str, Any]) -> str:
    """What the operator of the recorded server would have said in ``UCSPI_TRUST``."""
    if case["truth"].get("proxied_client_ip"):
        return "proxy"
    # A socat that was called by another name.
    prefixes = [name.removesuffix("_PEERADDR") for name in case["env_added"] if name.endswith("_PEERADDR")]
    return f"socat:{prefixes[0]}" if case["superserver"] == "socat" and prefixes not in ([], ["SOCAT"]) else "kernel"
