#!/usr/bin/env python3
"""broken: httpd.py as it must not be. The mistake: an address is taken for four numbers between dots.

The log is to be kept without personal data, so the last number goes. IPv6 has no dots: ValueError before the answer.
"""

import os
import sys

a, b, c, _ = os.environ.get("TCPREMOTEIP", "").split(".")
request = sys.stdin.readline().strip()
sys.stderr.write(f"{a}.{b}.{c}.0 {request!a}\n")
sys.stdout.write("HTTP/1.1 200 OK\r\nContent-Length: 6\r\nConnection: close\r\n\r\nhello\n")
