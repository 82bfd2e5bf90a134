#!/usr/bin/env ruby
# broken: whoami.rb as it must not be. The mistake: the text is checked for dots and digits, and others are turned away.
#
# "not run from tcpserver" is what an IPv6 caller under tcpserver is told.
ip = ENV.fetch("TCPREMOTEIP", "")
abort "whoami: fatal: not run from tcpserver" unless ip.match?(/\A\d+\.\d+\.\d+\.\d+\z/)
print "you are #{ip}\r\n"
