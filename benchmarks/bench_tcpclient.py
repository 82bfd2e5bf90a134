"""tcpclient beside Debian's: a host whose IPv6 is dead, and the plain cost of a connection.

The first table is the wait until the program runs, in a network of its own where an address that swallows everything
stands beside one that answers. C's takes the addresses in random order, so its median is luck: look at the slowest.
The second is what a connection costs where nothing is wrong: mostly the start of an interpreter.
"""

from __future__ import annotations

import os
import statistics
import subprocess
import sys
import threading
import time
from pathlib import Path
from typing import TYPE_CHECKING

sys.path.insert(0, str(Path(__file__).resolve().parents[1]))

from tests.support import Namespace, listening, namespaces_refused, peers
from tests.support.dns_server import DNSServer
from ucspi_env.tools._catalogue import command

if TYPE_CHECKING:
    import socket
    from collections.abc import Mapping, Sequence

DEAD_RUNS = 9
LOOPBACK_RUNS = 60
ENV = {"PATH": os.environ.get("PATH", "/usr/bin:/bin")}


def accept_all(listener: socket.socket) -> None:
    """Take and close connections until the listener is shut down."""

    def serve() -> None:
        while True:
            try:
                connection, _ = listener.accept()
            except OSError:  # shut down
                return
            connection.close()

    threading.Thread(target=serve, daemon=True).start()


def seconds(argv: Sequence[str], env: Mapping[str, str]) -> float:
    """How long a command takes; it must succeed."""
    begin = time.perf_counter()
    subprocess.run(list(argv), env=dict(env), check=True, stdin=subprocess.DEVNULL, stderr=subprocess.PIPE)
    return time.perf_counter() - begin


def compare(programs: Mapping[str, Sequence[str]], runs: int, arguments: Sequence[str], env: Mapping[str, str]) -> None:
    """Run all programs in turn and print a table; the ratios, of medians and of the slowest, are to the last one's."""
    taken: dict[str, list[float]] = {name: [] for name in programs}
    for _ in range(runs):
        for name, argv in programs.items():
            taken[name].append(seconds([*argv, *arguments], env) * 1000)
    last = list(taken.values())[-1]
    print(f"{'':26} {'fastest':>9} {'median':>9} {'slowest':>9}   ratios")
    for name, times in taken.items():
        median, slowest = statistics.median(times), max(times)
        ratios = f"{median / statistics.median(last):7.2f} {slowest / max(last):6.2f}"
        print(f"{name:26} {min(times):6.0f} ms {median:6.0f} ms {slowest:6.0f} ms {ratios}")


def dead_ipv6(programs: Mapping[str, Sequence[str]]) -> None:
    """A dual-stack host that answers over IPv4 only."""
    import socket

    with Namespace() as here:
        there = here.neighbour("192.0.2.2/24", own=["192.0.2.1/24", "2001:db8::1/64"])
        here.ip("neigh", "add", "2001:db8::2", "lladdr", "02:00:00:00:00:02", "dev", "veth0", "nud", "permanent")
        zone = {"dead.example": {"A": ["192.0.2.2"], "AAAA": ["2001:db8::2"]}}
        with (
            DNSServer(zone, namespace=here, host="127.0.0.53", port=53),
            there.socket(socket.AF_INET) as listener,
        ):
            listener.settimeout(None)
            listener.bind(("192.0.2.2", 0))
            listener.listen(64)
            accept_all(listener)
            inside = {name: here.command(argv) for name, argv in programs.items()}
            arguments = ["-RHl0", "dead.example", str(listener.getsockname()[1]), "true"]
            compare(inside, DEAD_RUNS, arguments, ENV | {"DNSCACHEIP": "127.0.0.53"})
            listener.shutdown(socket.SHUT_RDWR)


def loopback(programs: Mapping[str, Sequence[str]]) -> None:
    """A server that answers at once."""
    with listening(backlog=64) as (listener, port):
        listener.settimeout(None)
        accept_all(listener)
        compare(programs, LOOPBACK_RUNS, ["-RHl0", "127.0.0.1", str(port), "true"], ENV)
        import socket

        listener.shutdown(socket.SHUT_RDWR)


def main() -> int:
    """Print both tables."""
    ours = command("tcpclient")
    programs = {"ours": ours, "ours, --serial": [*ours, "--serial"]}
    theirs = peers().find("tcpclient")
    if theirs is None:
        print("Debian's tcpclient is not here: no comparison")
    else:
        programs["Debian's"] = [theirs]
    if namespaces_refused():
        print(f"no host with dead IPv6: {namespaces_refused()}")
    else:
        print(f"A host whose IPv6 is dead, {DEAD_RUNS} runs")
        dead_ipv6(programs)
    print(f"\nA connection on loopback, {LOOPBACK_RUNS} runs")
    bare = [sys.executable, "-I", "-S", "-c", "import os, sys; os.execvp(sys.argv[4], sys.argv[4:])"]
    loopback({"ours": ours, "a bare interpreter's exec": bare, **({"Debian's": [theirs]} if theirs else {})})
    return 0


if __name__ == "__main__":
    sys.exit(main())
