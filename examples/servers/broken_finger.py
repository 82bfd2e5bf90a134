#!/usr/bin/env python3
"""broken: finger.py as it must not be. The mistake: an address is invented for callers that cannot be read.

All IPv6 callers are 0.0.0.0 in the log, and whoever bans by the log bans 0.0.0.0.
"""

import os
import re
import sys

found = re.match(r"(\d+)\.(\d+)\.(\d+)\.(\d+)$", os.environ.get("TCPREMOTEIP", ""))
ip = found[0] if found else "0.0.0.0"  # noqa: S104 - that is the mistake
sys.stderr.write(f"finger: {ip} asked\n")
sys.stdin.readline()
sys.stdout.write("no such person\r\n")
