"""Where bytes and commands go; a device measures nothing."""
