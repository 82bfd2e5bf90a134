"""Faults that the kernel does not produce on request, injected from outside by strace(1)."""

from __future__ import annotations

from tests.support import tool


def injected(*faults: str) -> list[str]:
    """The command of our tcpserver with these faults, in strace's notation: ``"accept4:error=ENFILE:when=1..3"``.

    The tracer is a grandchild (-D), so that the process started here is the server itself, which gets the signals.
    """
    calls = ",".join(fault.partition(":")[0] for fault in faults)
    tracer = ["strace", "-D", "-qq", "-o", "/dev/null", "-e", f"trace={calls}"]
    for fault in faults:
        tracer += ["-e", f"inject={fault}"]
    return [*tracer, *tool("tcpserver")]
