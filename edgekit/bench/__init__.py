"""Plan, run and read measurements."""
