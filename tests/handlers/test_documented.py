"""docs/handlers.md shows what works."""

from __future__ import annotations

import re
import sys
from pathlib import Path
from typing import TYPE_CHECKING

import pytest

from tests.support import Server, call

if TYPE_CHECKING:
    from collections.abc import Callable

PAGE = Path(__file__).parents[2] / "docs" / "handlers.md"

pytestmark = pytest.mark.skipif(not sys.platform.startswith("linux"), reason="--handler needs Linux")


@pytest.mark.parametrize(
    "options",
    [["--handler"], ["--handler", "--reuse", "1000", "--pool", "20", "--handler-timeout", "60"], ["--preload"]],
)
def test_the_example_runs_in_every_way(tcpserver: Callable[..., Server], tmp_path: Path, options: list[str]) -> None:
    block = re.search(r"```python\n(.*?)```", PAGE.read_text(), re.DOTALL)
    assert block
    (tmp_path / "app.py").write_text(block[1])
    program = "./app.py" if options == ["--preload"] else "app:greet"
    server = tcpserver(*options, "-RHl0", "127.0.0.1", "0", program, cwd=tmp_path)
    for _ in range(2):
        answer = call(server.port)
        assert answer.data.decode() == f"hello 127.0.0.1:{answer.port}\n"


def test_every_option_of_the_page_is_one_of_the_program() -> None:
    from ucspi_env.tools._serverconfig import WORDS

    named = set(re.findall(r"--([a-z][a-z-]+)", PAGE.read_text()))
    assert named <= {word.rstrip("=") for word in WORDS}
