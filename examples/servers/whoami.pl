#!/usr/bin/perl
# whoami in Perl, by hand. Teaches: Socket's inet_pton and getpeername read both families; patterns need not.
#
# Under the bundled tcpserver     ucspi-tcpserver ::0 7777 ./whoami.pl
# Under Debian's tcpserver        tcpserver -RHl0 ::0 7777 ./whoami.pl
# Under s6                        s6-tcpserver :: 7777 ./whoami.pl
# Under systemd (Accept=yes)      ExecStart=/usr/local/bin/whoami.pl with StandardInput=socket
# Under inetd                     7777 stream tcp6 nowait nobody /usr/local/bin/whoami.pl whoami.pl
use strict;
use warnings;
use Socket qw(AF_INET AF_INET6 inet_pton inet_ntop getnameinfo NI_NUMERICHOST NI_NUMERICSERV);

# What the super-server says, or else what the kernel says; getnameinfo takes the address of either family.
sub caller_text {
    for my $prefix (qw(TCP TCP6 SSL)) {
        my $ip = $ENV{"${prefix}REMOTEIP"};
        return ($ip, $ENV{"${prefix}REMOTEPORT"} // 'unknown') if defined $ip && length $ip;
    }
    my $name = getpeername(STDIN) or die "whoami: fatal: nobody says who is calling: $!\n";
    my ($error, $ip, $port) = getnameinfo($name, NI_NUMERICHOST | NI_NUMERICSERV);
    die "whoami: fatal: $error\n" if $error;
    return ($ip, $port);
}

# 4 or 16 bytes: compare these, not texts. Every address has many spellings, and only one row of bytes.
sub bytes_of {
    my ($text) = @_;
    $text =~ s/%.*//;    # a zone belongs to the machine, not to the address
    my $bytes = inet_pton(AF_INET, $text) // inet_pton(AF_INET6, $text);
    defined $bytes or die "whoami: fatal: this is no address: $text\n";
    return substr($bytes, 12) if length $bytes == 16 && substr($bytes, 0, 12) eq "\0" x 10 . "\xff\xff";
    return $bytes;
}

my ($text, $port) = caller_text();
my $bytes = bytes_of($text);
my ($family, $name) = length $bytes == 4 ? (AF_INET, 'IPv4') : (AF_INET6, 'IPv6');
printf "you are %s port %s\r\nwhich is %s\r\n", inet_ntop($family, $bytes), $port, $name;
