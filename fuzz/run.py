"""``python -m fuzz.run TARGET [options of libFuzzer] [FOLDER|FILE]``: fuzz a target with Atheris."""

from __future__ import annotations

import sys
import tempfile
from pathlib import Path

import atheris


def main() -> None:
    """Write the seeds, then fuzz until something is found or the time is over."""
    name, *options = sys.argv[1:] or [""]
    with atheris.instrument_imports(include=["cinemae", "PIL", "python_multipart"]):
        from fuzz import corpus
        from fuzz.targets import TARGETS
    if name not in TARGETS:
        sys.exit(f"what to fuzz is one of {', '.join(TARGETS)}, got {name!r}")
    with tempfile.TemporaryDirectory() as folder:
        for index, data in enumerate(corpus.seeds(name).values()):
            (Path(folder) / f"{index:04d}").write_bytes(data)
        alone = any(Path(option).is_file() for option in options)  # a finding, to be repeated
        atheris.Setup([sys.argv[0], *options, *([] if alone else [folder])], TARGETS[name])
        atheris.Fuzz()


if __name__ == "__main__":
    main()
