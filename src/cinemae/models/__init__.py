"""A model directory."""
