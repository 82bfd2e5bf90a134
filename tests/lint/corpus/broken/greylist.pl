#!/usr/bin/perl
# A grey lister for a mail server under tcpserver.
use strict;
use warnings;
use Socket;

my $peer = $ENV{TCPREMOTEIP} || '127.0.0.1';    # expect: sentinel-fallback
my $name = $ENV{TCPREMOTEHOST};

sub block_listed {
    my ($address) = @_;
    my $question = join('.', reverse split(/\./, $address)) . '.bl.example.net';    # expect: dnsbl-v4-reverse
    return scalar gethostbyname($question);    # expect: gethostbyname-a-only
}

sub bucket {
    my ($address) = @_;
    my ($first, $second, $third) = split /\./, $address;    # expect: dot-split
    return "/var/lib/grey/$first.$second.$third";
}

sub as_number {
    my ($address) = @_;
    return unpack('N', inet_aton($address));    # expect: int32-storage
}

sub trusted {
    my ($address) = @_;
    return 1 if $address eq '127.0.0.1';    # expect: string-equality-allowlist
    return 1 if $address =~ /^192\.168\./;    # expect: prefix-string-match
    return 0;
}

sub first_octet {
    my ($address) = @_;
    $address =~ /(\d+)\.(\d+)\.(\d+)\.(\d+)/;    # expect: stale-regex-captures
    return $1;
}

sub remember {
    my ($dbh, $address) = @_;
    $dbh->do("INSERT INTO grey (peer) VALUES ('$address')");    # expect: sql-interpolation
    open(my $file, '>', "/var/lib/grey/$address") or die;    # expect: noncanonical-key
    close $file;
}

sub must_be_four {
    my ($address) = @_;
    die "not under tcpserver\n" unless $address =~ /^\d+\.\d+\.\d+\.\d+$/;    # expect: hard-fail-non-ipv4
}

sub throttle {
    my ($address) = @_;
    return if $address !~ /^\d{1,3}\.\d{1,3}\.\d{1,3}\.\d{1,3}$/;    # expect: skipped-check
    return sleep 5;
}

unless (defined $name) {    # expect: remotehost-trust
    print "554 no reverse DNS\r\n";
    exit 1;
}

must_be_four($peer);
exit 0 if trusted($peer);
first_octet($peer);
throttle($peer);
remember(undef, $peer) unless block_listed($peer) || -e bucket($peer);
as_number($peer);
