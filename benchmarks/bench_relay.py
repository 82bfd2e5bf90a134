"""What it takes to find the relay of a program that has a pipe for its connection, imports included.

The relay holds 20 descriptors more than it needs, and ten more processes than the machine has anyway are in reach. The
time is that of `Facts.observe` in a fresh interpreter that has imported what every `remote()` does, by the program's
own clock: the median of ``--starts`` starts, once as the machine is, and once with ``--others`` more connections on it.
Variables name the caller, as below tcpserver.
"""

from __future__ import annotations

import argparse
import contextlib
import shutil
import socket
import statistics
import subprocess
import sys
import tempfile
from pathlib import Path

ROOT = Path(__file__).resolve().parent.parent
RELAY = ROOT / "tests" / "support" / "relay.py"
MOST = 3.0
"""Milliseconds."""
ASK = """
import os, sys, time
sys.path.insert(0, sys.argv[1])
from ucspi_env import Facts, identify
start = time.perf_counter()
facts = Facts.observe()
taken = time.perf_counter() - start
os.write(2, f"{identify(os.environ, facts).evidence} {1000 * taken}\\n".encode())
"""


OTHERS = """
import resource, socket, sys
hard = resource.getrlimit(resource.RLIMIT_NOFILE)[1]
resource.setrlimit(resource.RLIMIT_NOFILE, (hard, hard))
listener = socket.create_server(("127.0.0.1", 0), backlog=100)
held = []
for _ in range(min(int(sys.argv[1]), (hard - 100) // 2)):
    held += socket.create_connection(listener.getsockname()), listener.accept()[0]
print(len(held) // 2, flush=True)
socket.socket().connect(listener.getsockname())
while True:
    listener.accept()
"""


def milliseconds(python: str, package: str, shape: str) -> float:
    """One start below a relay of this shape."""
    with socket.create_server(("127.0.0.1", 0)) as listener:
        host, port = listener.getsockname()
        with socket.create_connection((host, port)):
            server, (ip, own) = listener.accept()
            environ = {
                "PROTO": "TCP",
                "TCPREMOTEIP": ip,
                "TCPREMOTEPORT": str(own),
                "TCPLOCALIP": host,
                "TCPLOCALPORT": str(port),
            }
            argv = [python, "-I", str(RELAY), shape, "hoard=20", "crowd=10", "--", python, "-I", "-c", ASK, package]
            with server:
                started: subprocess.Popen[str] = subprocess.Popen(
                    argv, env=environ, stdin=server.fileno(), stdout=server.fileno(), stderr=subprocess.PIPE, text=True
                )
            assert started.stderr is not None
            line = started.stderr.readline()
        started.stderr.read()  # until the relay has ended as well
        started.wait()
    evidence, taken = line.split()
    if evidence != "relay":
        raise SystemExit(f"the relay was not found: {evidence}")
    return float(taken)


def main() -> int:
    """Print the table; 1 if the promise is not kept."""
    parser = argparse.ArgumentParser()
    parser.add_argument("--starts", type=int, default=41)
    parser.add_argument("--others", type=int, default=10_000)
    parser.add_argument("--python", default="/usr/bin/python3" if Path("/usr/bin/python3").exists() else sys.executable)
    options = parser.parse_args()
    failed = False
    with tempfile.TemporaryDirectory() as package, contextlib.ExitStack() as held:
        shutil.copytree(ROOT / "ucspi_env", Path(package) / "ucspi_env", ignore=shutil.ignore_patterns("__pycache__"))
        for more in (0, options.others):
            if more:
                others = held.enter_context(
                    subprocess.Popen([sys.executable, "-c", OTHERS, str(more)], stdout=subprocess.PIPE)
                )
                held.callback(others.kill)
                assert others.stdout is not None
                more = int(others.stdout.readline())  # noqa: PLW2901 - as many as the limits allow
            for shape in ("child", "parent"):
                milliseconds(options.python, package, shape)  # writes the .pyc files
                taken = statistics.median(milliseconds(options.python, package, shape) for _ in range(options.starts))
                missed = taken > MOST
                failed |= missed
                word = "  NOT KEPT" if missed else ""
                print(f"relay is the {shape:6}  {more:6} other connections  {taken:6.2f} ms  goal {MOST:.2f}{word}")
    return int(failed)


if __name__ == "__main__":
    sys.exit(main())
