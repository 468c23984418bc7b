"""Data: one strict TOML file for each kind of board. README.md explains every key."""
