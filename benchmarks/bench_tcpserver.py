"""tcpserver against Debian's: connections per second, latency, memory.

Both servers run a static program that writes one byte, for 32 callers at once (`-RHl0`, full environment). Each round
asks both, in turns, so that a busy moment of the machine hits both. What counts is the ratio; the absolute numbers are
this machine's, with the callers on the same cores.

``--rounds N --seconds S --callers N`` change the load, ``--memory`` adds the growth over 100,000 connections.
"""

from __future__ import annotations

import argparse
import os
import selectors
import shutil
import signal
import socket
import statistics
import subprocess
import sys
import tempfile
import time
from multiprocessing import Pipe, Process
from multiprocessing.connection import Connection
from pathlib import Path

PROGRAM = 'int write(int, const void *, unsigned long); int main(void) { write(1, "x", 1); return 0; }\n'
OURS = [sys.executable, "-I", "-m", "ucspi_env.tools.tcpserver"]
BASE = "Debian"
BARE = "import os, select, signal, socket, time; print(flush=True); time.sleep(3600)"


def calls(port: int, callers: int, until: float) -> list[float]:
    """Keep ``callers`` connections going until a time; the latency of each that was answered, in seconds."""
    selector = selectors.DefaultSelector()
    latencies: list[float] = []

    def start() -> None:
        sock = socket.socket()
        sock.setblocking(False)
        sock.connect_ex(("127.0.0.1", port))
        selector.register(sock, selectors.EVENT_READ, [time.perf_counter(), b""])

    for _ in range(callers):
        start()
    while selector.get_map():
        for key, _ in selector.select():
            sock = key.fileobj
            assert isinstance(sock, socket.socket)
            try:
                data = sock.recv(16)
            except ConnectionResetError:
                data, key.data[1] = b"", b""
            if data:
                key.data[1] += data
                continue
            now = time.perf_counter()
            if key.data[1] == b"x":
                latencies.append(now - key.data[0])
            selector.unregister(sock)
            sock.close()
            if now < until:
                start()
    return latencies


def _generator(port: int, callers: int, seconds: float, result: Connection) -> None:
    result.send(calls(port, callers, time.perf_counter() + seconds))


def load(port: int, callers: int, seconds: float, processes: int = 2) -> tuple[float, list[float]]:
    """Connections per second, and their latencies in seconds, sorted."""
    generators = []
    began = time.perf_counter()
    for _ in range(processes):
        reader, writer = Pipe(duplex=False)
        generator = Process(target=_generator, args=(port, callers // processes, seconds, writer))
        generator.start()
        writer.close()
        generators.append((generator, reader))
    latencies: list[float] = []
    for generator, reader in generators:
        latencies += reader.recv()
        generator.join()
    return len(latencies) / (time.perf_counter() - began), sorted(latencies)


class Server:
    """A running server that said its port with -1."""

    def __init__(self, command: list[str], program: str) -> None:
        self.process = subprocess.Popen([*command, "-1RHl0", "127.0.0.1", "0", program], stdout=subprocess.PIPE)
        assert self.process.stdout is not None
        self.port = int(self.process.stdout.readline())

    def stop(self) -> None:
        self.process.send_signal(signal.SIGTERM)
        self.process.wait()
        assert self.process.stdout is not None
        self.process.stdout.close()


def resident(pid: int) -> int:
    """Resident memory in KiB."""
    status = Path(f"/proc/{pid}/status").read_text()
    return int(status.split("VmRSS:")[1].split()[0])


def bare_interpreter() -> int:
    """Resident memory in KiB of an interpreter that has imported what every server needs."""
    with subprocess.Popen([sys.executable, "-I", "-c", BARE], stdout=subprocess.PIPE) as process:
        assert process.stdout is not None
        process.stdout.readline()
        size = resident(process.pid)
        process.kill()
    return size


def percentile(latencies: list[float], share: float) -> float:
    """In milliseconds."""
    return latencies[min(len(latencies) - 1, int(len(latencies) * share))] * 1000


def speed(program: str, peers: dict[str, list[str]], rounds: int, seconds: float, callers: int) -> None:
    """Print the table of speeds."""
    servers = {name: Server(command, program) for name, command in peers.items()}
    rates: dict[str, list[float]] = {name: [] for name in servers}
    tails: dict[str, list[float]] = {name: [] for name in servers}
    middles: dict[str, list[float]] = {name: [] for name in servers}
    for server in servers.values():
        load(server.port, callers, 0.3)
    for number in range(rounds):
        for name in list(servers)[:: 1 if number % 2 else -1]:
            rate, latencies = load(servers[name].port, callers, seconds)
            rates[name].append(rate)
            middles[name].append(percentile(latencies, 0.5))
            tails[name].append(percentile(latencies, 0.99))
    for server in servers.values():
        server.stop()
    print(
        f"{callers} callers, {rounds} rounds of {seconds:g} s, medians; ratios to Debian's tcpserver in the same round"
    )
    print(f"{'':12}{'conn/s':>9}{'ratio':>8}{'p50 ms':>9}{'p99 ms':>9}{'ratio':>8}")
    for name in servers:
        numbers = (
            f"{statistics.median(rates[name]):9.0f}{_ratio(rates, name)}"
            f"{statistics.median(middles[name]):9.1f}{statistics.median(tails[name]):9.1f}{_ratio(tails, name)}"
        )
        print(f"{name:12}{numbers}")


def _ratio(values: dict[str, list[float]], name: str) -> str:
    if BASE not in values:
        return f"{'-':>8}"
    pairs = zip(values[name], values[BASE], strict=True)
    return f"{statistics.median(mine / theirs for mine, theirs in pairs):8.2f}"


def memory(program: str, growth: bool) -> None:
    """Print resident memory, idle and as connections go by."""
    server = Server(OURS, program)
    idle, bare = resident(server.process.pid), bare_interpreter()
    print(f"idle: {idle} KiB, a bare interpreter: {bare} KiB, ratio {idle / bare:.2f}")
    if growth:
        served, sizes = 0, {}
        for goal in (10_000, 100_000):
            while served < goal:
                served += len(load(server.port, 32, 2.0)[1])
            sizes[goal] = resident(server.process.pid)
        print(f"after 10,000 connections: {sizes[10_000]} KiB, after 100,000: {sizes[100_000]} KiB")
    server.stop()


def main() -> int:
    """Run it."""
    parser = argparse.ArgumentParser(description=__doc__.partition("\n")[0])
    parser.add_argument("--rounds", type=int, default=11)
    parser.add_argument("--seconds", type=float, default=1.5)
    parser.add_argument("--callers", type=int, default=32)
    parser.add_argument("--memory", action="store_true", help="also watch memory grow; takes a minute")
    options = parser.parse_args()
    compiler = shutil.which("cc") or shutil.which("gcc")
    if compiler is None:
        print("no C compiler: nothing to run", file=sys.stderr)
        return 1
    peers = {"ours": OURS}
    debian = shutil.which("tcpserver", path="/usr/bin:/bin")
    if debian:
        peers = {BASE: [debian], **peers}
    else:
        print("Debian's tcpserver is not installed (ucspi-tcp-ipv6): no ratios")
    with tempfile.TemporaryDirectory() as directory:
        program = str(Path(directory, "program"))
        subprocess.run([compiler, "-O2", "-static", "-x", "c", "-o", program, "-"], input=PROGRAM.encode(), check=True)
        os.environ.setdefault("TCPREMOTEHOST", "stale")
        speed(program, peers, options.rounds, options.seconds, options.callers)
        memory(program, options.memory)
    return 0


if __name__ == "__main__":
    sys.exit(main())
