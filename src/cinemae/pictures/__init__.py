"""Bytes to RGB, and RGB to altered RGB."""
