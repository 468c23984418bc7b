"""Results as tables and HTML."""
