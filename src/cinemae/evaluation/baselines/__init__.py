"""Other people's detectors, written from their papers and trained here."""
