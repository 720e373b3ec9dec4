"""One's own folders to a model."""
