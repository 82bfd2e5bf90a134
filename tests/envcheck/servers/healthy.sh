#!/bin/sh
# Healthy: names the caller and the time, and reads no more into the address than that it is one.
ip=${TCPREMOTEIP-an unknown address}
echo "220 $(hostname) ESMTP pid $$, $(date) (${PROTO-no PROTO})"
echo "250 hello $ip"
echo "server: pid $$ from $ip" >&2
