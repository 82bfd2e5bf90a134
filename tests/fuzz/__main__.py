"""`make fuzz`: ``python -m tests.fuzz [--seconds N] [TARGET ...]``, some time for each target.

With atheris (https://github.com/google/atheris), if it is installed: guided by coverage. Otherwise with hypothesis, as
many examples as the time allows. What is found is kept in tests/fuzz/regressions, which every run of the tests reads.
"""

from __future__ import annotations

import argparse
import hashlib
import importlib.util
import subprocess
import sys
import tempfile
import time
from pathlib import Path

from hypothesis import HealthCheck, Phase, given, seed, settings

from tests.fuzz.strategies import near
from tests.fuzz.targets import REGRESSIONS, TARGETS, regressions

BATCH = 500
SLOW = 20  # seconds for one input; what takes longer is a find


def keep(name: str, data: bytes) -> Path:
    path = REGRESSIONS / name / hashlib.sha256(data).hexdigest()[:16]
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_bytes(data)
    return path


def by_hypothesis(name: str, seconds: float) -> tuple[int, bytes | None]:
    """How many examples were tried, and the smallest that failed."""
    target = TARGETS[name]
    tried = 0
    until = time.monotonic() + seconds
    failing: list[bytes] = []
    strategy = near([*target.seeds, *regressions(name)])
    batch = 0

    def run(data: bytes) -> None:
        nonlocal tried
        tried += 1
        try:
            target.run(data)
        except Exception:
            failing.append(data)
            raise

    while time.monotonic() < until:
        batch += 1
        options = settings(
            max_examples=BATCH,
            deadline=None,
            database=None,
            phases=(Phase.generate, Phase.shrink),
            suppress_health_check=list(HealthCheck),
        )
        try:
            seed(time.time_ns() + batch)(options(given(data=strategy)(run)))()
        except Exception as error:
            print(f"{name}: {type(error).__name__}: {error}", file=sys.stderr)
            return tried, min(failing, key=len)
    return tried, None


def by_atheris(name: str, seconds: float) -> tuple[str, bytes | None]:
    """What atheris says of its work, and the input that failed or took too long.

    It never comes back, so it has a process of its own.

    Raises:
        RuntimeError: it failed, and not by an input.
    """
    with tempfile.TemporaryDirectory() as directory:
        corpus = Path(directory, "corpus")
        corpus.mkdir()
        for number, data in enumerate((*TARGETS[name].seeds, *regressions(name))):
            (corpus / str(number)).write_bytes(data)
        code = (
            "import sys, atheris\n"
            "with atheris.instrument_imports(include=['ucspi_env']):\n"
            "    from tests.fuzz.targets import TARGETS\n"
            "atheris.Setup(sys.argv[1:], TARGETS[sys.argv[1]].run)\n"
            "atheris.Fuzz()\n"
        )
        limits = [
            f"-max_total_time={max(1, int(seconds))}",
            f"-timeout={SLOW}",
            "-max_len=4096",
            "-use_value_profile=1",
        ]
        options = [*limits, f"-artifact_prefix={directory}/found-", str(corpus)]
        done = subprocess.run(
            [sys.executable, "-c", code, name, *options],
            stderr=subprocess.PIPE,
            text=True,
            errors="replace",
            check=False,
        )
        found = next((path.read_bytes() for path in Path(directory).glob("found-*")), None)
        if found is not None or done.returncode:
            print(done.stderr[-4000:], file=sys.stderr)
            if found is None:
                raise RuntimeError(f"atheris ended with {done.returncode}, and not because of an input")
        return done.stderr.rstrip().rpartition("\n")[2], found


def main() -> int:
    parser = argparse.ArgumentParser(prog="python -m tests.fuzz", description="Feed any bytes to every parser.")
    parser.add_argument("--seconds", type=float, default=60.0, help="for each target")
    parser.add_argument("targets", nargs="*", metavar="TARGET", help=f"of {', '.join(TARGETS)}; all by default")
    arguments = parser.parse_args()
    found = 0
    for name in arguments.targets or TARGETS:
        if name not in TARGETS:
            parser.error(f"there is no target {name!r}")
        if importlib.util.find_spec("atheris") is not None:
            said, failing = by_atheris(name, arguments.seconds)
            how = f"atheris: {said}"
        else:
            tried, failing = by_hypothesis(name, arguments.seconds)
            how = f"{tried} examples"
        if failing is None:
            print(f"{name}: nothing found ({how})")
        else:
            found += 1
            print(f"{name}: found {failing!r}, kept as {keep(name, failing)}")
    return 1 if found else 0


if __name__ == "__main__":
    sys.exit(main())
