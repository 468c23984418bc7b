"""Rewrite a TFLite graph into one that the target's runtime runs faster, exactly or within stated bounds."""
