#!/usr/bin/perl
use strict;
use warnings;
use Socket qw(inet_pton AF_INET AF_INET6);

my $ip = $ENV{TCPREMOTEIP} // die "no peer\n";
my $host = $ENV{TCPREMOTEHOST} || 'unknown';
(my $text = $ip) =~ s/%.*//;
my $bytes = inet_pton(AF_INET, $text) // inet_pton(AF_INET6, $text) // die "no address\n";
$bytes = substr($bytes, 12) if length $bytes == 16 && substr($bytes, 0, 12) eq "\0" x 10 . "\xff\xff";

sub labels {
    my ($packed) = @_;
    return length $packed == 4
        ? join('.', reverse unpack('C4', $packed))
        : join('.', reverse split //, unpack('H32', $packed));
}

# A host name has dots of its own: split(/\./, $host) is right.
my @labels = split /\./, $host;
my ($major, $minor) = $] =~ /^(\d+)\.(\d+)/;
warn "peer $ip, name $host\n";
print labels($bytes), scalar(@labels), $major, $minor, "\n";

=pod

split(/\./, $ENV{TCPREMOTEIP}) would be wrong.

=cut

__END__
my $x = inet_aton($ENV{TCPREMOTEIP});
