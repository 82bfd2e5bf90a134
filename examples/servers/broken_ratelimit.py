#!/usr/bin/env python3
"""broken: ratelimit.py as it must not be. The mistake: the network is cut out of the text by a pattern for IPv4.

An IPv6 caller matches nothing, so the server is gone before it says a word. Had its author written "if found:" around
the counting, no IPv6 caller would ever be counted.
"""

import os
import re
import sys
from pathlib import Path

directory, most = Path(sys.argv[1]), int(sys.argv[2])
found = re.match(r"(\d+\.\d+\.\d+)\.\d+$", os.environ.get("TCPREMOTEIP", ""))
file = directory / found[1]  # type: ignore[index]  # the type checker knows: that is the mistake
calls = len(file.read_text()) if file.exists() else 0
if calls >= most:
    sys.stdout.write("sorry, too many connections from your network\r\n")
    sys.exit()
file.write_text("x" * (calls + 1))
os.execvp(sys.argv[3], sys.argv[3:])
