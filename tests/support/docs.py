"""Running what the documentation says: the fenced blocks of a page, in order, in one shell, and their outputs compared.

A page is run in a directory and a network namespace of its own, so it may use any port and leave files behind. What
becomes of a block is decided by its language and the HTML comment on the line above it:

``console``, ``sh``           is run. In a console block ``$ `` begins a command and ``> `` continues it; what follows
                              is its output, in which ``...`` stands for anything, and for lines where it stands alone.
                              A command that ends in ``&`` has started once something more listens. A sh block must
                              succeed, whatever it prints.
``<!-- file: NAME -->``       is written to that file, with the mode of a program if it begins with ``#!``
``<!-- not run: REASON -->``  is left alone, and the reason is for the reader of the source
``<!-- tested: NAME -->``     is used by a test of its own, which finds it by that name

``<!-- no block is run: REASON -->`` anywhere on a page goes for all of it. Pages see the checkout's ``examples``.
``python -m tests.support.docs PAGE`` prints a page's commands with what they say now.
"""

from __future__ import annotations

import os
import re
import subprocess
import sys
from pathlib import Path
from typing import TYPE_CHECKING, NamedTuple

from tests.support.netns import Namespace

if TYPE_CHECKING:
    from collections.abc import Iterator

ROOT = Path(__file__).resolve().parents[2]
LANGUAGES = ("console", "sh")
DEADLINE = 300
_FENCE = re.compile(
    r"^(?:<!-- (?P<mark>[a-z ]+): (?P<value>.+?) -->\n)?```(?P<language>\w*)\n(?P<text>.*?)^```$", re.M | re.S
)
# Marks on stdout tell where one command's output ends; the status that a command sees is the one before it.
_PREAMBLE = r"""
exec 2>&1
status=0
restore() { return $status; }
listeners() { cat /proc/net/tcp /proc/net/tcp6 | grep -c '^ *[0-9]*: [^ ]* [^ ]* 0A '; }
settle() { for try in $(seq 600); do [ "$(listeners)" -gt "$1" ] && return; sleep 0.05; done; echo "nothing listens"; }
trap 'kill $(jobs -p) 2>/dev/null' EXIT
"""
_MARK = "\x01"


class Block(NamedTuple):
    """One fenced block of a page."""

    line: int
    mark: str  # "file", "not run", "tested", or empty
    value: str
    language: str
    text: str


class Command(NamedTuple):
    """One command and what the page says it prints; None: anything, but it must succeed."""

    line: int
    text: str
    expected: str | None


def blocks(page: Path) -> list[Block]:
    """The fenced blocks of a page."""
    text = page.read_text()
    if "<!-- no block is run: " in text:
        return []
    return [
        Block(
            text.count("\n", 0, found.start()) + 1,
            found["mark"] or "",
            found["value"] or "",
            *found.group("language", "text"),
        )
        for found in _FENCE.finditer(text)
    ]


def commands(block: Block) -> Iterator[Command]:
    """What is run of a block."""
    if block.language == "sh":
        yield Command(block.line, block.text, None)
        return
    first = block.line + (2 if block.mark else 1)
    text, expected, start = "", "", 0
    for number, line in enumerate(block.text.splitlines(), first):
        if line.startswith("$ "):
            if text:
                yield Command(start, text, expected)
            text, expected, start = line[2:], "", number
        elif line.startswith("> ") and not expected:
            text += "\n" + line[2:]
        else:
            expected += line + "\n"
    if text:
        yield Command(start, text, expected)


def run_page(page: Path, directory: Path) -> list[tuple[Command, str, int]]:
    """Run a page: its commands, what they said and their exit status.

    Raises:
        RuntimeError: namespaces are not permitted here.
    """
    (directory / "examples").symlink_to(ROOT / "examples")
    todo: list[Command] = []
    script = [_PREAMBLE]
    for block in blocks(page):
        if block.mark == "file":
            name = f"block{len(script)}"
            (directory / name).write_text(block.text)
            mode = 755 if block.text.startswith("#!") else 644
            script.append(
                f"mkdir -p {Path(block.value).parent} && mv {name} {block.value} && chmod {mode} {block.value}"
            )
        elif not block.mark and block.language in LANGUAGES:
            for command in commands(block):
                script.append(f"printf '{_MARK}'\nbefore=$(listeners)\nrestore")
                script.append(command.text)
                script.append("status=$?")
                if command.text.rstrip().endswith("&"):
                    script.append("settle $before; status=0")
                script.append(f"printf '{_MARK}%s' $status")
                todo.append(command)
    namespace = Namespace("192.0.2.1/32", "2001:db8::1/128")
    try:
        done = subprocess.run(
            namespace.command(["bash", "-c", "\n".join(script)]),
            cwd=directory,
            env=_environment(directory),
            stdin=subprocess.DEVNULL,
            stdout=subprocess.PIPE,
            timeout=DEADLINE,
            check=False,
        )
    finally:
        namespace.close()
    said = done.stdout.decode(errors="replace").split(_MARK)[1:]
    assert len(said) == 2 * len(todo), f"the shell ended early:\n{''.join(said)[-2000:]}"
    return [(command, said[2 * at], int(said[2 * at + 1])) for at, command in enumerate(todo)]


def _environment(directory: Path) -> dict[str, str]:
    here = str(Path(sys.executable).parent)
    environ = {
        "PATH": f"{here}:/usr/local/bin:/usr/bin:/bin:/usr/sbin:/sbin",
        "HOME": str(directory),
        "TMPDIR": str(directory),  # /tmp may hold what is somebody else's, seen from inside the namespace
        "LANG": "C.UTF-8",
    }
    return environ | {name: os.environ[name] for name in ("PYTHONSAFEPATH", "CI") if name in os.environ}


def mismatch(command: Command, said: str, status: int) -> str:
    """What is wrong with an output; empty if it is what the page says."""
    if command.expected is None:
        return "" if status == 0 else f"exit status {status}, and it said:\n{said}"
    pattern = "".join(
        r"(?:.*\n)*?" if line == "..." else ".*?".join(map(re.escape, line.split("..."))) + r"\n"
        for line in command.expected.strip("\n").split("\n")
    )
    # Servers of line protocols end their lines in CRLF, which no page can show.
    if re.fullmatch(pattern, said.replace("\r\n", "\n").strip("\n") + "\n"):
        return ""
    return f"the page says:\n{command.expected}\nit says:\n{said}"


if __name__ == "__main__":
    import tempfile

    with tempfile.TemporaryDirectory() as folder:
        for command, said, status in run_page(Path(sys.argv[1]), Path(folder)):
            wrong = "*** " if mismatch(command, said, status) else ""
            print(f"{wrong}$ {command.text}\n{said}", end="" if said.endswith("\n") or not said else "\n")
