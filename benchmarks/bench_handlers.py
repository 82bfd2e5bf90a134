"""Python behind tcpserver: --preload and --handler against the same script under Debian's tcpserver.

Every server answers each caller by one byte, once it has found the caller in its environment. The peer is Debian's
tcpserver with the script run by a bare `/usr/bin/python3`; a static C program under it is the second measure, for
pooled handlers. All servers of ours run under the same `/usr/bin/python3`.
"""

from __future__ import annotations

import os
import sys
import tempfile
from pathlib import Path

sys.path.insert(0, str(Path(__file__).resolve().parents[1]))

from benchmarks import results
from benchmarks.bench_tcpserver import PROGRAM
from benchmarks.load import NoCompilerError, compiled
from benchmarks.rounds import compare, options, show
from benchmarks.servers import DEBIAN, OPTIONS, OURS, PLACE, Server, debian, python

PYTHON = "/usr/bin/python3"
SCRIPT = """#!/usr/bin/python3
import os
import socket
import sys

if __name__ == "__main__":
    sys.stdout.write("x" if os.environ["TCPREMOTEIP"] else "")
"""
HANDLER = """
def answer(session):
    session.writer.write(b"x" if session.remote.ip else b"")
"""
CHART = "Python for each connection"
C_SCRIPT, C_STATIC = "C tcpserver, script", "C tcpserver, static C program"
PRELOAD, REUSE = f"{OURS} --preload", f"{OURS} --handler --reuse"


def main() -> int:
    """Run it."""
    how = options(__doc__, seconds=2.0)
    if not Path(PYTHON).exists():
        print(f"{PYTHON} is not here: nothing to run", file=sys.stderr)
        return 1
    with tempfile.TemporaryDirectory() as directory:
        script = Path(directory, "server.py")
        script.write_text(SCRIPT)
        script.chmod(0o755)
        Path(directory, "app.py").write_text(HANDLER)
        os.chdir(directory)
        ours = [*python(PYTHON), *OPTIONS]
        rows: dict[str, list[str]] = {}
        found = debian()
        if found:
            rows[C_SCRIPT] = [found, *OPTIONS, *PLACE, str(script)]
            try:
                rows[C_STATIC] = [found, *OPTIONS, *PLACE, compiled(PROGRAM, "-static")]
            except NoCompilerError as error:
                print(error, file=sys.stderr)
                return 1
        else:
            print(f"{DEBIAN} is not installed (package ucspi-tcp-ipv6): no ratios")
        pooled = ["--handler", "--reuse", "10000", "--pool", "8"]
        rows |= {
            f"{OURS}, script": [*ours, *PLACE, str(script)],
            PRELOAD: [*ours, "--preload", *PLACE, str(script)],
            f"{OURS} --handler": [*ours, "--handler", *PLACE, "app:answer"],
            REUSE: [*ours, *pooled, *PLACE, "app:answer"],
        }
        servers = {name: Server(command) for name, command in rows.items()}
        try:
            rounds = compare(servers, how)
        finally:
            for server in servers.values():
                server.stop()
    show(rounds, how, C_SCRIPT, C_STATIC)

    def ratio(name: str, base: str) -> float | None:
        return rounds.rate_ratio(name, base) if base in rounds.names else None

    wanted: dict[str, float] = {}
    if found:
        wanted[PRELOAD] = 8 * rounds.rate(C_SCRIPT)
        wanted[REUSE] = max(60 * rounds.rate(C_SCRIPT), 3.5 * rounds.rate(C_STATIC))
    results.save(
        "2-handlers",
        bars=[
            results.bar(
                CHART,
                name,
                rounds.rate(name),
                rounds.tail(name),
                ours=name.startswith(OURS),
                goal=wanted.get(name),
            )
            for name in sorted(rounds.names, key=rounds.rate, reverse=True)
        ],
        goals=[
            results.goal("a Python script, --preload", C_SCRIPT, "connections/s", ">=", 8, ratio(PRELOAD, C_SCRIPT)),
            results.goal("a handler, --reuse", C_SCRIPT, "connections/s", ">=", 60, ratio(REUSE, C_SCRIPT)),
            results.goal("a handler, --reuse", C_STATIC, "connections/s", ">=", 3.5, ratio(REUSE, C_STATIC)),
        ],
    )
    return 0


if __name__ == "__main__":
    sys.exit(main())
