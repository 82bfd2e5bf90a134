#!/usr/bin/env python3
"""Healthy: asks ucspi_env, and says what differs from caller to caller and from time to time."""

import os
import secrets
import sys
import time

import ucspi_env

peer = ucspi_env.remote()
body = f"you are {peer}, an IPv{peer.ip.version} caller of {peer.network()}\r\n"
stamp = time.strftime("%a, %d %b %Y %H:%M:%S +0000", time.gmtime())
head = f"HTTP/1.0 200 OK\r\nDate: {stamp}\r\nX-Request: {secrets.token_hex(8)}\r\nX-Pid: {os.getpid()}\r\n"
sys.stdout.write(f"{head}Content-Length: {len(body)}\r\n\r\n{body}")
sys.stderr.write(f"healthy: {time.time():.3f} {os.getpid()} {peer.key()} {peer.ip}\n")
