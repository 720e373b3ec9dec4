"""Coverage-guided fuzzing of what reads foreign bytes: images, and model directories. ``fuzz/README.md`` says how."""
