#!/usr/bin/perl
# Hangs: cuts the address shorter group by group until nothing is left, which a zone prevents.
use strict;
use warnings;

my $ip = $ENV{TCPREMOTEIP} // '';
while ($ip ne '') {
    $ip =~ s/[0-9a-f]*[.:]?$//i or next;
    select(undef, undef, undef, 0.01) if $ip =~ /%\w*$/;
}
print "220 ready\r\n";
