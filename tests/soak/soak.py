"""The run: servers, callers, and everything that goes wrong meanwhile; then the account."""

from __future__ import annotations

import contextlib
import os
import random
import re
import signal
import socket
import statistics
import subprocess
import threading
import time
import zlib
from collections import Counter
from typing import TYPE_CHECKING

from tests.soak.callers import Callers
from tests.soak.ledger import Ledger
from tests.soak.processes import GONE, Process, descriptors, family, kill, resident, roles, served_at_once
from tests.soak.servers import SETUPS, SHARE, SLOTS, Logged, Setup, write_files
from tests.support import PATIENCE
from tests.support.dns_server import DNSServer, Query, garbage, respond

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence
    from pathlib import Path

GROWTH = 2048
"""KiB that a server may be larger at the end than it was early on: 100 bytes of 20,000 connections."""
LONG = 30.0
"""Seconds; a shorter run says nothing about memory, which has just been taken for the first connections."""
_METRIC = re.compile(r'ucspi_tcpserver_(\w+)(?:\{by="(\w+)"\})? (\S+)')
_OVER = ("denied_total", "launch_failures_total", "dropped_total", "health_checks_total", "duration_seconds_count")


class Trial:
    """One server under load.

    Attributes:
        failures: what must not be, in words; empty if all is well.
    """

    def __init__(self, setup: Setup, directory: Path, environ: dict[str, str], seed: int) -> None:
        self.setup = setup
        self.failures: list[str] = []
        self._directory = directory
        self._seed = seed
        self._lock = threading.Lock()
        self._ledger = Ledger()
        self._over = threading.Event()
        self._server = Logged(setup, directory, self._ledger, self._lock, environ)
        self._server.read_port()
        self._callers = Callers(
            self._server.port,
            ipv6=_has_ipv6(),
            proxied=setup.proxied,
            share=SHARE,
            slots=SLOTS,
            ledger=self._ledger,
            lock=self._lock,
        )
        self._done: Counter[str] = Counter()
        self._most = [0, 0]  # programs at once, connections of one source at once
        self._samples = 0
        self._memory: list[tuple[float, int]] = []
        self._began = time.monotonic()
        self._threads: list[threading.Thread] = []
        self._callers.polite(random.Random(seed))
        self._seconds = 0.0
        self._before: list[tuple[str, int]] = []
        self._before = self._settled()

    # --- The run ------------------------------------------------------------------------------------------------------

    def start(self) -> None:
        """Let everything loose."""
        self._began = time.monotonic()
        jobs: list[tuple[Callable[[random.Random], None], float]] = [(kind, 0.01) for kind in self._callers.kinds()]
        jobs += [(self._disturb, 0.3), (self._sample, 0.1), (self._weigh, 0.5)]
        for number, (job, pause) in enumerate(jobs):
            choose = random.Random(self._seed * 1000 + number)
            thread = threading.Thread(target=self._repeat, args=(job, pause, choose), name=job.__name__)
            self._threads.append(thread)
            thread.start()

    def _repeat(self, job: Callable[[random.Random], None], pause: float, choose: random.Random) -> None:
        while not self._over.wait(choose.random() * pause * 2):
            try:
                job(choose)
            except Exception as error:  # this thread's end would hide everything that comes after
                self.failures.append(f"{job.__name__}: {type(error).__name__}: {error}")
                return

    def _disturb(self, choose: random.Random) -> None:
        kinds: tuple[Callable[[random.Random], None], ...]
        kinds = (self._hup, self._usr1, self._new_rules, self._new_rules, self._kill_program, self._kill_zygote)
        choose.choice(kinds)(choose)

    def _hup(self, _choose: random.Random) -> None:
        self._server.signal(signal.SIGHUP)
        self._done["SIGHUP"] += 1

    def _usr1(self, _choose: random.Random) -> None:
        self._server.signal(signal.SIGUSR1)
        self._done["SIGUSR1"] += 1

    def _new_rules(self, choose: random.Random) -> None:
        version = (self._directory / choose.choice("ab")).read_bytes()
        new = self._directory / f"{self.setup.name}.new"
        new.write_bytes(version)
        os.replace(new, self._directory / "cdb")
        self._done["rules replaced"] += 1

    def _kill_program(self, choose: random.Random) -> None:
        """A program with a connection, or a pooled process with or without one."""
        relatives, staying = self._family()
        candidates = [one for one in relatives if one.parent in staying and one.pid not in staying]
        if candidates and kill(self._server.pid, choose.choice(candidates)):
            self._done["programs killed"] += 1

    def _kill_zygote(self, choose: random.Random) -> None:
        relatives, staying = self._family()
        zygotes = [one for one in relatives if staying.get(one.pid) == "zygote"]
        if zygotes and choose.random() < 0.5 and kill(self._server.pid, choose.choice(zygotes)):
            self._done["zygotes killed"] += 1

    def _family(self) -> tuple[list[Process], dict[int, str]]:
        relatives = family(self._server.pid)
        return relatives, roles(relatives)

    def _sample(self, _choose: random.Random) -> None:
        numbers = served_at_once(self._server.pid, self._server.port)
        together = numbers.pop(None, 0)
        self._most[0] = max(self._most[0], together)
        # What comes through a balancer has the balancer's address here.
        single = [number for caller, number in numbers.items() if not str(caller).startswith("127.77.")]
        self._most[1] = max(self._most[1], *single, 0)
        self._samples += 1

    def _weigh(self, _choose: random.Random) -> None:
        self._memory.append((time.monotonic() - self._began, resident(self._server.pid)))

    # --- The end ------------------------------------------------------------------------------------------------------

    def finish(self) -> str:
        """Look at what is left, end the server, and settle the account: what there is to report."""
        after = self._settled()
        if after != self._before:
            self.failures.append(f"processes and their descriptors: {self._before} before, {after} afterwards")
        self._check_metrics()
        self._server.signal(signal.SIGTERM)
        try:
            status = self._server.wait()
        except subprocess.TimeoutExpired:
            self.failures.append("the server does not end")
        else:
            self._server.wait_for_silence()
            if status:
                self.failures.append(f"the server ended with {status}: {self._server.other}")
        self._server.stop()
        lost = self._ledger.lost()
        self.failures += lost + self._ledger.wrong + self._callers.troubles
        for option, limit, most in (("-c", SLOTS, self._most[0]), ("-C", SHARE, self._most[1])):
            if most > limit:
                self.failures.append(f"{option} {limit} exceeded: {most} at once")
        return self._report(len(lost), after, self._check_memory())

    def halt(self) -> None:
        """Let the callers come to an end."""
        self._over.set()
        self._seconds = time.monotonic() - self._began

    def stop(self) -> None:
        """End everything, whatever has gone wrong."""
        self._over.set()
        self._join()
        self._server.stop()

    def _join(self) -> None:
        for thread in self._threads:
            thread.join()

    def _settled(self) -> list[tuple[str, int]]:
        """Wait until every connection is over on both sides and nothing is left of it; what there is then.

        Returns:
            Each process that stays with its number of descriptors.
        """
        self._join()
        self._server.signal(signal.SIGHUP)  # pooled processes end when they are idle
        deadline = time.monotonic() + PATIENCE
        while True:
            with self._lock:
                waiting = self._ledger.open()
            relatives, staying = self._family()
            others = [one for one in relatives if one.pid not in staying]
            found: list[tuple[str, int]] = []
            for pid, role in staying.items():
                with contextlib.suppress(*GONE):
                    found.append((role, descriptors(pid)))
            found.sort()
            if not waiting and not others and found == (self._before or found):
                return found
            if time.monotonic() > deadline:
                self.failures += [f"left over: {one}" for one in others]
                if waiting:
                    self.failures.append(f"{waiting} connections are not over")
                return found
            time.sleep(0.05)

    def _check_metrics(self) -> None:
        numbers: Counter[str] = Counter()
        with socket.socket(socket.AF_UNIX) as reader:
            reader.settimeout(PATIENCE)
            reader.connect(str(self._directory / f"{self.setup.name}.sock"))
            reader.shutdown(socket.SHUT_WR)
            with reader.makefile() as lines:
                for found in filter(None, map(_METRIC.fullmatch, map(str.rstrip, lines))):
                    numbers[found[1]] += int(float(found[3]))
        called = self._ledger.outcomes.total()
        over = sum(numbers[name] for name in _OVER)
        if not numbers["accepted_total"] == called == over:
            self.failures.append(f"{called} calls, but the metrics have {numbers['accepted_total']}, {over} over")

    def _check_memory(self) -> str:
        early = [size for when, size in self._memory if self._seconds * 0.15 <= when <= self._seconds * 0.3]
        late = [size for when, size in self._memory if when >= self._seconds * 0.85]
        if not (early and late):
            return "not measured"
        before, after = statistics.median(early), statistics.median(late)
        if self._seconds >= LONG and after - before > GROWTH:
            self.failures.append(f"memory has grown: {before:.0f} KiB early, {after:.0f} KiB late")
        return f"{before:.0f} KiB early, {after:.0f} KiB late"

    def _report(self, lost: int, after: list[tuple[str, int]], memory: str) -> str:
        ledger = self._ledger
        calls = ledger.outcomes.total()
        reasons = "".join(f"\n    {number} x {reason}" for reason, number in ledger.reasons.most_common(8))
        return (
            f"{self.setup.name}: {calls} connections in {self._seconds:.0f} s, {lost} lost\n"
            f"  by the callers: {_counts(ledger.outcomes)}\n"
            f"  by the log: {_counts(ledger.words)}; programs ended by a signal: {ledger.killed}{reasons}\n"
            f"  meanwhile: {_counts(self._done)}\n"
            f"  at once, in {self._samples} samples: {self._most[0]} of -c {SLOTS}, {self._most[1]} of -C {SHARE}\n"
            f"  descriptors: {_sizes(self._before)} before, {_sizes(after)} afterwards; memory: {memory}"
        )


def _counts(numbers: Counter[str]) -> str:
    return ", ".join(f"{name} {number}" for name, number in sorted(numbers.items()))


def _sizes(footprint: list[tuple[str, int]]) -> str:
    return " + ".join(f"{number} ({role})" for role, number in footprint)


def _has_ipv6() -> bool:
    with contextlib.suppress(OSError), socket.socket(socket.AF_INET6) as probe:
        probe.bind(("::1", 0))
        return True
    return False


def names(query: Query) -> list[bytes] | None:
    """What the name server says: mostly that there is no such name; to some it is no use, to others at first."""
    kind = zlib.crc32(query.name.encode()) % 4
    if kind == 0:
        return [respond(query, rcode=2)]
    if kind == 1:
        return [garbage(100), query.packet[:11], respond(query, rcode=3)]
    return None


def run(seconds: float, directory: Path, seed: int, setups: Sequence[Setup] = SETUPS) -> tuple[list[str], list[str]]:
    """Try all servers at the same time.

    Args:
        seconds: how long.
        directory: an empty one, with a short name: sockets lie in it.
        seed: makes the choices (not their moments) the same again.
        setups: which servers.

    Returns:
        A report of each, and what must not be.
    """
    write_files(directory)
    trials: list[Trial] = []
    reports: list[str] = []
    with DNSServer({}, names) as dns:
        environ = {"PATH": os.environ["PATH"], "DNSCACHEIP": dns.address}
        try:
            for number, setup in enumerate(setups):
                trials.append(Trial(setup, directory, environ, seed + number))
            for trial in trials:
                trial.start()
            time.sleep(seconds)
            for trial in trials:
                trial.halt()
            reports = [trial.finish() for trial in trials]
        finally:
            for trial in trials:
                trial.stop()
    return reports, [f"{trial.setup.name}: {failure}" for trial in trials for failure in trial.failures]
