"""tcpserver as its users see it: real processes, sockets and signals."""
