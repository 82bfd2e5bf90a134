package main

import (
	"fmt"
	"net"
	"net/netip"
	"os"
)

func main() {
	ip, err := netip.ParseAddr(os.Getenv("TCPREMOTEIP"))
	if err != nil {
		os.Exit(111)
	}
	ip = ip.Unmap().WithZone("")
	fmt.Println(net.JoinHostPort(ip.String(), os.Getenv("TCPREMOTEPORT")), ip.IsLoopback())
}
