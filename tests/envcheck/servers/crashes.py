#!/usr/bin/env python3
"""Crashes: takes the address apart at its dots, for a directory of its own for each network."""

import os

a, b, _, _ = (int(number) for number in os.environ["TCPREMOTEIP"].split("."))
print(f"220 ready, state in {'local' if a == 127 else 'net'}")
