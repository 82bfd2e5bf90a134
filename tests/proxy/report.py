"""A program for super-servers: answers with what it was told, what `ucspi_env` makes of it, and what it got to read."""

from __future__ import annotations

import json
import os
import sys

import ucspi_env
from ucspi_env._dialects import PEER_VARIABLES

found = ucspi_env.connection()
# Balancers that end TLS, or take an end of file for the end of everything, ask for programs that do not wait for one.
rest = sys.stdin.buffer.readline() if sys.argv[1:2] == ["line"] else sys.stdin.buffer.read()
kernel = ucspi_env.Facts.observe(0).connected()
json.dump(
    {
        "remote": str(found.remote),
        "local": str(found.local),
        "proto": found.proto,
        "evidence": found.evidence,
        "tls": found.tls,
        "problems": [problem.code for problem in found.problems],
        "kernel": str(kernel.peername) if kernel else None,
        "variables": {name: value for name, value in os.environ.items() if name in PEER_VARIABLES},
        "rest": rest.decode("latin-1"),
        "arguments": sys.argv[1:],
    },
    sys.stdout,
)
