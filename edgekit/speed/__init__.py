"""Is a file slower than its float32 file, and what is faster? Files race; where one loses, another recipe is named."""
