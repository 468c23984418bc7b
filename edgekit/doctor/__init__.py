"""The int8 doctor: why an int8 file is worse than its float file, in words, and what repairs it."""
