require 'ipaddr'
ip = IPAddr.new(ENV.fetch('TCPREMOTEIP').sub(/%.*/, '')).native
puts ip.ipv6? ? "[#{ip}]" : ip.to_s
puts '1.2.3'.split('.').first # a version
