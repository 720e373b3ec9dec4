"""The surfaces, thin: the command line. What they show is computed below."""
