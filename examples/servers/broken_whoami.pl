#!/usr/bin/perl
# broken: whoami.pl as it must not be. The mistake: captures are used without asking whether the pattern matched.
#
# $1 to $4 keep what an earlier match left in them: here the listening address, so all IPv6 callers are "local".
use strict;
use warnings;
"127.0.0.1" =~ /^(\d+)\.(\d+)\.(\d+)\.(\d+)$/;
($ENV{TCPREMOTEIP} // '') =~ /^(\d+)\.(\d+)\.(\d+)\.(\d+)$/;
print "you are $1.$2.$3.$4\r\n", $1 == 127 ? "welcome home\r\n" : "welcome, stranger\r\n";
