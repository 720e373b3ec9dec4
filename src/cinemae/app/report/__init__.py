"""A report to keep, send or print: one HTML page on one or many images, the same from command line and service."""
