"""One result an image, on disk."""
