"""Photographs that nobody may call generated: a regression set by category, and the table that each release prints."""
