"""tcpserver with what it asks about each caller, against Debian's: a large rules file, reverse DNS and ident.

The rules are a million addresses in one cdb, made by Debian's tcprules where it is there. The name server answers after
20 ms and is `benchmarks/nameserver.py`; it has port 53 of a loopback address, which C's resolver insists on, so this
part needs the superuser. Nobody listens on the ident port of 127.0.0.1, so that answer is a refusal.
"""

from __future__ import annotations

import socket
import subprocess
import sys
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

sys.path.insert(0, str(Path(__file__).resolve().parents[1]))

from benchmarks import results
from benchmarks.bench_rules import ipv4
from benchmarks.bench_tcpserver import PROGRAM
from benchmarks.load import NoCompilerError, compiled
from benchmarks.rounds import Options, Rounds, compare, options, show
from benchmarks.servers import DEBIAN, ENVIRONMENT, OURS, OURS_TWO, Server, debian, ours, tcpservers
from tests.support.peers import peers
from ucspi_env.tools._catalogue import command

RULES = 1_000_000
CONCURRENT = 200
DELAY = 0.02  # seconds
NAME_SERVER = "127.53.0.1"
IDENT = 113


def run(servers: dict[str, Server], how: Options) -> Rounds:
    """Compare them, end them, print the table."""
    try:
        rounds = compare(servers, how)
    finally:
        for server in servers.values():
            server.stop()
    show(rounds, how, DEBIAN)
    return rounds


def ratio(rounds: Rounds) -> tuple[str, float | None]:
    """What of ours is compared, and its ratio to Debian's."""
    best = OURS_TWO if OURS_TWO in rounds.names else OURS
    return (
        "--workers 2" if best == OURS_TWO else "one process",
        rounds.rate_ratio(best, DEBIAN) if DEBIAN in rounds.names else None,
    )


def rules(how: Options) -> results.Goal:
    """A decision of each caller by a large file."""
    count = RULES // 100 if how.quick else RULES
    with tempfile.TemporaryDirectory() as directory:
        text, database = Path(directory, "rules"), Path(directory, "rules.cdb")
        text.write_text("".join([*ipv4(count), '127.0.0.1:allow,KNOWN="yes"\n', ":deny\n"]))
        compiler = peers().find("ucspi-tcp-ipv6/tcprules")
        with text.open("rb") as file:
            subprocess.run(
                [*([compiler] if compiler else command("tcprules")), str(database), f"{database}.tmp"],
                stdin=file,
                check=True,
            )
        print(f"rules.cdb of {count:,} entries, {database.stat().st_size >> 20} MiB, -x")
        rounds = run(tcpservers(compiled(PROGRAM, "-static"), "-x", str(database)), how)
    which, measured = ratio(rounds)
    return results.goal(f"rules.cdb of 1 M entries, {which}", DEBIAN, "connections/s", ">=", 1.0, measured)


@contextmanager
def name_server() -> Iterator[None]:
    """Run it.

    Raises:
        OSError: it may not have that port.
    """
    script = Path(__file__).with_name("nameserver.py")
    process = subprocess.Popen(
        [sys.executable, "-I", "-S", str(script), NAME_SERVER, str(DELAY)],
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
    )
    with process:
        assert process.stdout is not None
        assert process.stderr is not None
        try:
            if not process.stdout.readline():
                raise OSError(process.stderr.read().decode().strip())
            yield
        finally:
            process.terminate()


def look_ups(how: Options) -> results.Goal:
    """Names and ident of each caller."""
    measured: float | None = None
    which = "one process"
    print(f"\nreverse look-up (answered after {DELAY * 1000:g} ms) and ident (refused), {CONCURRENT} callers")
    with socket.socket() as sock:
        ident = sock.connect_ex(("127.0.0.1", IDENT)) == 0
    if ident:
        print("not possible here: somebody answers ident")
        return _look_up_goal(which, None)
    options_here = ("-1l0", "-c", str(2 * CONCURRENT), "-b", "512", "-hrP", "-t", "5")
    environ = {**ENVIRONMENT, "DNSCACHEIP": NAME_SERVER}
    program = compiled(PROGRAM, "-static")
    try:
        with name_server():
            servers: dict[str, Server] = {}
            found = debian()
            if found:
                servers[DEBIAN] = Server([found, *options_here, "127.0.0.1", "0", program], environ=environ)
            for name, row in ours().items():
                start = row[: row.index("-1RHl0")]
                servers[name] = Server([*start, *options_here, "127.0.0.1", "0", program], environ=environ)
            which, measured = ratio(run(servers, how._replace(callers=CONCURRENT)))
    except OSError as error:
        print(f"not possible here: {error}")
    return _look_up_goal(which, measured)


def _look_up_goal(which: str, measured: float | None) -> results.Goal:
    return results.goal(f"look-ups, {CONCURRENT} callers, {which}", DEBIAN, "connections/s", ">=", 1.0, measured)


def main() -> int:
    """Run it."""
    how = options(__doc__)
    try:
        goals = [rules(how), look_ups(how)]
    except NoCompilerError as error:
        print(error, file=sys.stderr)
        return 1
    results.save("3-access", goals=goals)
    return 0


if __name__ == "__main__":
    sys.exit(main())
