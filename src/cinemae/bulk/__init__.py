"""Work over more images than one process should hold: in parts, resumable, on this machine or on a Ray cluster."""
