#!/usr/bin/env python3
"""broken: adminshell.py as it must not be. The mistake: an address is compared with its usual spelling.

127.0.0.1 is ::ffff:127.0.0.1 on a dual-stack socket and ::ffff:7f00:1 in hex. Here that keeps the owner out; on a list
of those who may not, it would let them in.
"""

import os
import sys

if os.environ.get("TCPREMOTEIP") not in ("127.0.0.1", "::1"):
    sys.stdout.write("sorry, not you\r\n")
    sys.exit()
sys.stdout.write("hello, what can I do for you?\r\n")
