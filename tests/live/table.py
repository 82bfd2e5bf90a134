"""The table at the end of a session: super-server × case, and what `remote()` said there.

Every cell is one test. The cells travel with the reports, so the table is whole under pytest-xdist as well.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

if TYPE_CHECKING:
    import pytest

CELL = "live-cell"
CASES = ("IPv4", "IPv6", "IPv4 on [::]", "link-local", "UNIX")


def pytest_terminal_summary(terminalreporter: pytest.TerminalReporter) -> None:
    """Print the table, if live tests ran."""
    rows: dict[str, dict[str, str]] = {}
    for reports in terminalreporter.stats.values():
        for report in reports:
            for name, value in getattr(report, "user_properties", ()):
                if name == CELL and getattr(report, "when", "") == "call":
                    server, case, said = value
                    rows.setdefault(server, {})[case] = said if report.passed else f"WRONG: {said}"
    if not rows:
        return
    titles = ("super-server", *CASES)
    lines = [(server, *(cells.get(case, "–") for case in CASES)) for server, cells in sorted(rows.items())]
    widths = [max(len(line[at]) for line in (titles, *lines)) for at in range(len(titles))]
    terminalreporter.section("remote() under real super-servers, compared with the caller's own getsockname()")
    for line in (titles, *lines):
        terminalreporter.write_line(
            "  ".join(text.ljust(width) for text, width in zip(line, widths, strict=True)).rstrip()
        )
    terminalreporter.write_line(
        "right: the very endpoint; in parentheses the evidence; –: this server cannot be started so"
    )
