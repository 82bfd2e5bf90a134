#!/usr/bin/env ruby
ip = ENV['TCPREMOTEIP'] || '127.0.0.1' # expect: sentinel-fallback

def trusted?(address)
  TRUSTED.include?(address) # expect: string-equality-allowlist
end

reversed = ip.split('.').reverse.join('.') # expect: dnsbl-v4-reverse
exit 111 unless ip =~ /\A\d+\.\d+\.\d+\.\d+\z/ # expect: hard-fail-non-ipv4


puts 'inside' if ip.start_with?('10.') # expect: prefix-string-match

system("finger #{ENV['TCPREMOTEINFO']}@#{ip}") # expect: shell-unquoted
puts "#{ip}:#{ENV['TCPREMOTEPORT']}" # expect: host-port-colon-join
counts = Hash.new(0)
counts[ip] += 1 # expect: noncanonical-key
puts trusted?(ip), reversed
