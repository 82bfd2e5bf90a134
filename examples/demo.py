#!/usr/bin/env python3
"""A server under the bundled tcpserver, called over IPv4 and IPv6: does it know who calls?

    python examples/demo.py [PROGRAM]

PROGRAM is `servers/whoami.py` unless given. Its answer, "you are ADDRESS" and "you called ADDRESS", is put beside what
the kernel says of the caller's own socket. The exit status is 1 if any of them is wrong.
"""

import os
import socket
import subprocess
import sys
from pathlib import Path

WHOAMI = Path(__file__).resolve().parent / "servers" / "whoami.py"
PATIENCE = 30  # seconds


def start(program: str, *options: str) -> tuple[subprocess.Popen[bytes], int]:
    """Start tcpserver for both families on a port of the kernel's choice: the process, and the port that it says."""
    command = [
        sys.executable,
        "-m",
        "ucspi_env.tools.tcpserver",
        "-1",
        "-RHl0",
        *options,
        "0",
        "0",
        sys.executable,
        program,
    ]
    reader, writer = os.pipe()
    process = subprocess.Popen(command, stdout=writer)
    os.close(writer)
    with open(reader, encoding="ascii") as stdout:
        port = stdout.readline()
    if not port:
        sys.exit(f"demo: fatal: tcpserver ended with status {process.wait()}")
    return process, int(port)


def show(address: tuple[str, int]) -> str:
    """An address and port as people write them."""
    return "[{}]:{}".format(*address) if ":" in address[0] else "{}:{}".format(*address)


def ask(host: str, port: int) -> tuple[str, str]:
    """Call once: who called whom in the kernel's words, and in the server's."""
    with socket.create_connection((host, port), timeout=PATIENCE) as connection:
        truth = [show(connection.getsockname()[:2]), show(connection.getpeername()[:2])]
        with connection.makefile("r", encoding="utf-8", errors="replace") as answer:
            said = [line.split()[-1] for line in answer.read().splitlines() if line.startswith("you ")]
    return " -> ".join(truth), " -> ".join(said) or "nothing"


def has_ipv6() -> bool:
    """Whether this machine has the IPv6 loopback."""
    try:
        with socket.socket(socket.AF_INET6, socket.SOCK_STREAM) as probe:
            probe.bind(("::1", 0))
    except OSError:
        return False
    return True


def main(program: str) -> int:
    """Call both families, each without and with -6, and compare."""
    hosts = ["127.0.0.1", "::1"]
    if not has_ipv6():
        hosts.remove("::1")
        print("This machine has no IPv6; showing IPv4 only.\n")
    layout = "{:24} {:40} {:40} {}"
    print(layout.format("", "the kernel says", "the server says", "").rstrip())
    wrong = 0
    for options in ((), ("-6",)):
        server, port = start(program, *options)
        try:
            for host in hosts:
                truth, said = ask(host, port)
                wrong += said != truth
                called = " ".join([host, *(f"(tcpserver {option})" for option in options)])
                print(layout.format(called, truth, said, "ok" if said == truth else "WRONG"))
        finally:
            server.terminate()
            server.wait()
    return 1 if wrong else 0


if __name__ == "__main__":
    sys.stdout.reconfigure(line_buffering=True)  # type: ignore[union-attr]  # beside tcpserver's own messages, in their order
    sys.exit(main(sys.argv[1] if len(sys.argv) > 1 else str(WHOAMI)))
