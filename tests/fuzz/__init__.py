"""Everything that reads a stranger's bytes, fed with any bytes."""
