#!/usr/bin/env python3
"""broken: banner.py as it must not be. The mistake: address and port are joined by a bare colon.

http://2001:db8::1:80/ is no URL, and nobody can tell whether the port is 80 or the address ends in ::1:80.
"""

import os
import sys

line = os.fdopen(6, "rb", closefd=False).readline()
sys.stdout.write(f"http://{os.environ['TCPREMOTEIP']}:{os.environ['TCPREMOTEPORT']}/ says {line!r}\n")
