"""Write docs/rules.md: ``python -m ucspi_env.envcheck.lint.docs [FILE]`` (standard output without FILE)."""

from __future__ import annotations

import sys
from pathlib import Path

from ucspi_env.envcheck.lint._pages import rules_page


def main(argv: list[str]) -> int:
    """Write the page; return the exit code."""
    if len(argv) > 1:
        sys.stderr.write("usage: python -m ucspi_env.envcheck.lint.docs [FILE]\n")
        return 2
    if argv:
        Path(argv[0]).write_text(rules_page(), encoding="utf-8")
    else:
        sys.stdout.write(rules_page())
    return 0


if __name__ == "__main__":
    raise SystemExit(main(sys.argv[1:]))
