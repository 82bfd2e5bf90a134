#!/usr/bin/env python3
"""broken: whoami.py as it must not be. The mistake: a variable's name is glued together from PROTO.

PROTO and the names do not always agree: fehcom's tcpserver says TCP6 and sets TCPREMOTEIP, s6 says TCP for IPv6, and
under systemd there is no PROTO at all.
"""

import os
import sys

sys.stdout.write(f"you are {os.environ[os.environ['PROTO'] + 'REMOTEIP']}\r\n")
