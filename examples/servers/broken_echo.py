#!/usr/bin/env python3
"""broken: echo.py as it must not be. The mistake: PROTO is compared with one word.

PROTO is TCP6 for IPv6 callers under tcpserver, SSL under sslserver, and not there at all under couriertcpd.
"""

import os
import sys

if os.environ.get("PROTO") != "TCP":
    sys.exit("echo: fatal: not started by tcpserver")
for line in sys.stdin.buffer:
    sys.stdout.buffer.write(line)
    sys.stdout.buffer.flush()
