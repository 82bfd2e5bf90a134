package Mail::Filter::Peer;
use strict;
use Geo::IP;
use Net::Netmask;

sub strip_mapped {
    my ($self) = @_;
    my $ip = $self->connection->remote_ip;
    $ip =~ s/^::ffff://;    # expect: mapped-not-normalised
    return $ip;
}

sub country {
    my ($self) = @_;
    return $self->{geo}->country_code_by_addr($self->connection->remote_ip);    # expect: v4-only-library
}

sub on_list {
    my ($self, @rules) = @_;
    my $ip = $self->connection->remote_ip;
    while ($ip) {
        return 1 if grep { $_ eq $ip } @rules;    # expect: string-equality-allowlist
        $ip =~ s/\d+\.?$// or last;    # expect: prefix-string-match
    }
    return 0;
}

sub nibbles {
    my ($self) = @_;
    my $ip = $self->connection->remote_ip;
    while ($ip) {
        $ip =~ s/[0-9a-f]:?$//;    # expect: zone-id
    }
}

sub milter_hello {
    my ($self, $milter) = @_;
    $milter->send_connect('unknown', 'tcp4', 0, $self->connection->remote_ip);    # expect: family-hardcoded
}

sub mask {
    my ($self, $net, $bits) = @_;
    my $mask = pack 'B32', '1' x $bits . '0' x (32 - $bits);    # expect: v4-netmask-math
    return $mask;
}

sub named_after_proto {
    my $proto = $ENV{PROTO};
    return $ENV{$proto . 'REMOTEIP'};    # expect: proto-prefix-no-fallback
}

sub six_only {
    return $ENV{TCP6REMOTEIP};    # expect: wrong-variable-family
}

1;
