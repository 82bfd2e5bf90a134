"""A static program for each connection: tcpserver against Debian's and every other super-server; and its memory.

All servers run a static program that writes one byte (ours and Debian's with `-RHl0`, all variables set). What counts
is the ratio to the peer in the same round. "The least in Python" (`least.py`) is no peer but the floor: what is left of
a server when it has nothing to do but start programs. ``--quick`` shows whether it works, and no more.
"""

from __future__ import annotations

import os
import socket
import subprocess
import sys
import tempfile
import time
from pathlib import Path

sys.path.insert(0, str(Path(__file__).resolve().parents[1]))

from benchmarks import results
from benchmarks.load import NoCompilerError, compiled, load
from benchmarks.rounds import Options, Rounds, compare, options, show
from benchmarks.servers import (
    DEBIAN,
    ENVIRONMENT,
    OURS,
    OURS_TWO,
    PLACE,
    WORKERS,
    Server,
    debian,
    least,
    others,
    ours,
    resident,
)
from benchmarks.servers import tcpservers as start

PROGRAM = 'int write(int, const void *, unsigned long); int main(void) { write(1, "x", 1); return 0; }\n'
# Says that it is there, and stays until the caller goes.
IDLER = """
long read(int, void *, unsigned long);
int write(int, const void *, unsigned long);
int main(void) { char byte; write(1, "x", 1); while (read(0, &byte, 1) > 0); return 0; }
"""
CHART = "A static program for each connection"
HELD = 10_000
BARE = "import os, select, signal, socket, time; print(flush=True); time.sleep(3600)"


def speed(how: Options) -> tuple[list[results.Bar], list[results.Goal]]:
    """Print the table of speeds."""
    program = compiled(PROGRAM, "-static")
    with tempfile.TemporaryDirectory() as directory:
        servers = start(program)
        servers |= least(program)
        servers |= others(program, Path(directory))
        try:
            rounds = compare(servers, how)
        finally:
            for server in servers.values():
                server.stop()
    show(rounds, how, DEBIAN)
    best = OURS_TWO if OURS_TWO in rounds.names else OURS
    return _bars(rounds), _goals(rounds, best)


def _bars(rounds: Rounds) -> list[results.Bar]:
    bounds = {OURS: 0.9, OURS_TWO: 1.05}
    base = rounds.rate(DEBIAN) if DEBIAN in rounds.names else None
    return [
        results.bar(
            CHART,
            name,
            rounds.rate(name),
            rounds.tail(name),
            ours=name in bounds,
            goal=base * bounds[name] if base and name in bounds else None,
        )
        for name in sorted(rounds.names, key=rounds.rate, reverse=True)
    ]


def _goals(rounds: Rounds, best: str) -> list[results.Goal]:
    def rate(name: str, base: str) -> float | None:
        return rounds.rate_ratio(name, base) if {name, base} <= set(rounds.names) else None

    def tail(name: str, base: str) -> float | None:
        return rounds.tail_ratio(name, base) if {name, base} <= set(rounds.names) else None

    work = "a static program, {}"
    goals = [
        results.goal(work.format("one process"), DEBIAN, "connections/s", ">=", 0.9, rate(OURS, DEBIAN)),
        results.goal(work.format("one process"), DEBIAN, "p99", "<=", 1.0, tail(OURS, DEBIAN)),
        results.goal(work.format("--workers 2"), DEBIAN, "connections/s", ">=", 1.05, rate(OURS_TWO, DEBIAN)),
        results.goal(work.format("--workers 2"), DEBIAN, "p99", "<=", 0.6, tail(OURS_TWO, DEBIAN)),
    ]
    which = work.format("--workers 2" if best == OURS_TWO else "one process")
    for peer in ("s6-tcpserver + access", "systemd-socket-activate", "socat", "xinetd"):
        goals.append(results.goal(which, peer, "connections/s", ">=", 1.5, rate(best, peer)))
    return goals


def bare_interpreter() -> int:
    """Resident memory in KiB of an interpreter that has imported what every server needs."""
    command = [sys.executable, "-I", "-c", BARE]
    with subprocess.Popen(command, stdout=subprocess.PIPE, env=ENVIRONMENT) as process:
        assert process.stdout is not None
        process.stdout.readline()
        size = resident(process.pid)
        process.kill()
    return size


def memory(*, quick: bool) -> list[results.Goal]:
    """Print resident memory: idle, as connections go by, and with many of them open."""
    program = compiled(PROGRAM, "-static")
    # As the interpreter that it is compared with: with site-packages.
    own = [sys.executable, "-I", "-m", "ucspi_env.tools.tcpserver", "-1RHl0", *PLACE, program]
    with Server(own) as server:
        idle, bare = server.memory(), bare_interpreter()
        print(
            f"idle: {idle} KiB, a bare interpreter with os, select, signal, socket: {bare} KiB, ratio {idle / bare:.2f}"
        )
        served, sizes = 0, []
        steps = (1_000, 2_000) if quick else (10_000, 100_000)
        for step in steps:
            while served < step:
                served += load(server.port, seconds=0.2 if quick else 2.0).answered
            sizes.append(server.memory())
            print(f"after {served} connections: {sizes[-1]} KiB")
    growth = None if quick else float(sizes[1] - sizes[0])
    return [
        results.goal("memory, idle", "bare interpreter", "memory", "<=", 1.4, idle / bare),
        results.goal("memory, from 10,000 to 100,000 connections", "itself", "growth, KiB", "<=", 256, growth),
    ]


def held(count: int) -> results.Goal:
    """Print the server's own memory with ``count`` connections open, each with an idle program."""
    program = compiled(IDLER, "-static")
    needed = count + 100
    limit = int(os.sysconf("SC_OPEN_MAX"))
    processes = int(Path("/proc/sys/kernel/pid_max").read_text())
    size: int | None = None
    if limit < needed or processes < count + count // 10 + 1000:
        print(f"{count} connections held open: not possible here (descriptors: {limit}, process ids: {processes})")
    else:
        rows = ours()
        found = debian()
        commands = {**({DEBIAN: [found]} if found else {}), OURS: rows[OURS][: rows[OURS].index("-1RHl0")]}
        for name, command in commands.items():
            with Server([*command, "-1RHl0", "-c", str(count), "-b", "1024", *PLACE, program]) as server:
                before = server.memory()
                callers = [_held_call(server.port) for _ in range(count)]
                now = server.memory()
                if name == OURS:
                    size = now
                for caller in callers:
                    caller.close()
                each = (now - before) * 1024 / count
                print(
                    f"{count} connections held open by {name}: {now} KiB ({before} KiB before; {each:.0f} bytes each)"
                )
                _await_no_children(server.process.pid)
    bound = 16.0 + HELD / 1024
    measured = None if size is None or count != HELD else size / 1024
    return results.goal(
        f"{HELD:,} idle programs held open", "one process", "memory, MiB", "<=", round(bound, 1), measured
    )


def _held_call(port: int) -> socket.socket:
    """A connection whose program has said that it runs."""
    sock = socket.create_connection(("127.0.0.1", port), timeout=60)
    if sock.recv(1) != b"x":
        raise OSError("the server has not run a program for each of them")
    return sock


def _await_no_children(pid: int) -> None:
    """Let all programs end before the next server begins."""
    until = time.monotonic() + 120
    while Path(f"/proc/{pid}/task/{pid}/children").read_text() and time.monotonic() < until:
        time.sleep(0.1)


def main() -> int:
    """Run it."""
    how = options(__doc__, rounds=7)
    if not WORKERS:
        print("this tcpserver has no --workers")
    try:
        bars, goals = speed(how)
        goals += memory(quick=how.quick)
        goals.append(held(200 if how.quick else HELD))
    except NoCompilerError as error:
        print(error, file=sys.stderr)
        return 1
    results.save("1-tcpserver", bars=bars, goals=goals)
    return 0


if __name__ == "__main__":
    sys.exit(main())
