"""One compression or conversion idea a file."""
