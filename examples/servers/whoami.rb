#!/usr/bin/env ruby
# whoami in Ruby, by hand. Teaches: IPAddr reads both families, and `native` un-maps, but more than it should.
#
# Under the bundled tcpserver     ucspi-tcpserver ::0 7777 ./whoami.rb
# Under Debian's tcpserver        tcpserver -RHl0 ::0 7777 ./whoami.rb
# Under s6                        s6-tcpserver :: 7777 ./whoami.rb
# Under systemd (Accept=yes)      ExecStart=/usr/local/bin/whoami.rb with StandardInput=socket
# Under inetd                     7777 stream tcp6 nowait nobody /usr/local/bin/whoami.rb whoami.rb
require "ipaddr"
require "socket"

# What the super-server says, or else what the kernel says.
def caller_text
  %w[TCP TCP6 SSL].each do |prefix|
    ip = ENV.fetch("#{prefix}REMOTEIP", "")
    return ip, ENV.fetch("#{prefix}REMOTEPORT", "unknown") unless ip.empty?
  end
  address = BasicSocket.for_fd(0).remote_address
  [address.ip_address, address.ip_port]
rescue SystemCallError, SocketError => error
  abort "whoami: fatal: nobody says who is calling: #{error.message}"
end

text, port = caller_text
begin
  # A zone belongs to the machine, not to the address. IPAddr compares and sorts; a text has many spellings.
  ip = IPAddr.new(text.sub(/%.*/, ""))
  # Asked without a look, `native` would take ::127.0.0.1, which is IPv6, for 127.0.0.1, too.
  ip = ip.native if ip.ipv4_mapped?
rescue IPAddr::Error => error
  abort "whoami: fatal: #{error.message}"
end
print "you are #{ip} port #{port}\r\nwhich is #{ip.ipv4? ? 'IPv4' : 'IPv6'}\r\n"
