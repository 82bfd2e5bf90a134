"""``ucspi-envcheck``: see what a server sees, try it, shim it, and find the code that is not IPv6 ready."""
