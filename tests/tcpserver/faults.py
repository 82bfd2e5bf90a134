"""Faults that the kernel does not produce on request, injected from outside by strace(1)."""

from __future__ import annotations

from typing import TYPE_CHECKING

from tests.support import tool

if TYPE_CHECKING:
    from collections.abc import Sequence
    from pathlib import Path


def injected(*faults: str, program: Sequence[str] = (), trace: Path | str = "/dev/null") -> list[str]:
    """The command of a program with these faults, in strace's notation: ``"accept4:error=ENFILE:when=1..3"``.

    Args:
        faults: each a system call and what becomes of it.
        program: our tcpserver by default.
        trace: where the calls are written down.

    The tracer is a grandchild (-D), so that the process started here is the server itself, which gets the signals.
    """
    calls = ",".join(fault.partition(":")[0] for fault in faults)
    tracer = ["strace", "-D", "-qq", "-o", str(trace), "-e", f"trace={calls}"]
    for fault in faults:
        tracer += ["-e", f"inject={fault}"]
    return [*tracer, *(program or tool("tcpserver"))]
