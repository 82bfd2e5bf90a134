#!/usr/bin/env python3
"""broken: daytime.py as it must not be. The mistake: a network is matched by the leading text of an address.

"127." is no prefix of ::1, nor of ::ffff:127.0.0.1, which is the very same caller on a dual-stack socket. As a deny
list the same code would let them all in.
"""

import os
import sys
from datetime import UTC, datetime

ip = os.environ.get("TCPREMOTEIP", "")
if not ip.startswith("127."):
    sys.exit(f"daytime: denied {ip}")
sys.stdout.write(f"{datetime.now(UTC):%a %d %b %Y %H:%M:%S UTC}\r\n")
