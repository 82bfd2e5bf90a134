#!/usr/bin/env python3
"""broken: chat.py as it must not be. The mistake: address and port are joined by a colon, and cut at the first one.

Every IPv6 caller is called "2001", or "fe80", or nothing at all.
"""

import os
import sys

peer = f"{os.environ.get('TCPREMOTEIP')}:{os.environ.get('TCPREMOTEPORT')}"
name = peer.partition(":")[0]
sys.stdout.write(f"welcome {name}\r\n")
