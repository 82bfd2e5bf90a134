#!/usr/bin/python2
import os, sys, GeoIP

try:
    peer = os.environ["TCPREMOTEIP"]
    database = GeoIP.new(GeoIP.GEOIP_STANDARD)
    country = database.country_code_by_addr(peer)  # expect: v4-only-library
except KeyError, error:
    print >>sys.stderr, "no peer:", error
    sys.exit(1)
if peer == "127.0.0.1":  # expect: string-equality-allowlist
    print "local"
