"""A data set's health."""
