"""What goes wrong on a machine, done to a real tcpserver: nothing accepted may be lost, and nobody let in.

tests/tcpserver/test_faults.py has the errors of accept(2), tests/dns and tests/proxy have those of their own protocols.
"""
