#!/usr/bin/perl
use strict;
use Net::Netmask;

my $mask = '255.255.255.0';    # expect: v4-netmask-math

my $remoteip = $ENV{TCPREMOTEIP};


my $block = Some::Net->new($remoteip, $mask);    # expect: v4-netmask-math
my $network = $block->base;


my $rows = $dbh->selectall_arrayref("SELECT seen FROM main WHERE ipaddr = '$network'");    # expect: sql-interpolation


sub inside {
    my ($ip, $range, $length) = @_;
    my $bits = 32 - $length;    # expect: v4-netmask-math
    my $one = number($ip);
    my $two = number($range);
    return $one >> $bits == $two >> $bits;    # expect: v4-netmask-math
}


sub allowed {
    my $ip = shift;
    for my $one (@allowed) {
        return 1 if $one eq $ip;    # expect: string-equality-allowlist
    }
    return 0;
}

my $client = $listener->accept;
my $caller = $client->peerhost;
exit 1 unless allowed($caller);


return 0 if $remoteip =~ /:/;    # expect: skipped-check
