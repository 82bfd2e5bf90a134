"""The programs of the suite: what they are called, which module each is, and how one starts another.

Three names belong to every program: DJB's (``who@``, what `link` makes), the module's (``who``) and the installed
script's (``ucspi-who``).
"""

from __future__ import annotations

import os
import sys

SUITE = {
    "tcpserver": "tcpserver",
    "tcpclient": "tcpclient",
    "tcprules": "tcprules",
    "tcprulescheck": "tcprulescheck",
    "addcr": "addcr",
    "delcr": "delcr",
    "fixcrio": "fixcrio",
    "recordio": "recordio",
    "argv0": "argv0",
    "rblsmtpd": "rblsmtpd",
    "mconnect": "mconnect",
    "mconnect-io": "mconnect_io",
    "tcpcat": "tcpcat",
    "who@": "who",
    "date@": "date",
    "finger@": "finger",
    "http@": "http",
}
"""The programs of Debian's ucspi-tcp-ipv6, DJB's name to module; for these `link` makes launchers."""

ADDITIONS = {"proxyserver": "proxyserver", "from-inetd": "from_inetd", "link": "link"}
"""Programs of our own, which stand in nobody's run script under a bare name."""

# The folder that has the package is the last place to look in, so what lies beside the package cannot shadow the
# standard library.
_LAUNCH = """\
import sys
sys.path.append({path})
from ucspi_env.tools.{module} import run
run()
"""


def scripts() -> dict[str, str]:
    """The installed scripts: name to entry point, as in ``[project.scripts]``."""
    return {
        f"ucspi-{name.removesuffix('@')}": f"ucspi_env.tools.{module}:run"
        for name, module in sorted((SUITE | ADDITIONS).items())
    }


def launch_code(module: str) -> str:
    """Python source, ASCII only, that runs a program's module out of this very package under ``python -I -S``."""
    folder = os.path.dirname(os.path.dirname(os.path.dirname(os.path.abspath(__file__))))
    return _LAUNCH.format(path=ascii(folder), module=module)


def command(name: str) -> list[str]:
    """The beginning of a command line that runs a program of the suite with this interpreter; its arguments follow.

    Args:
        name: DJB's name.
    """
    return [sys.executable, "-IS", "-c", launch_code((SUITE | ADDITIONS)[name])]
