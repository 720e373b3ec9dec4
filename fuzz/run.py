"""``python -m fuzz.run image|model [options of libFuzzer]``: fuzz a target with Atheris."""

from __future__ import annotations

import sys
import tempfile
from pathlib import Path

import atheris


def main() -> None:
    """Draw the corpus, then fuzz until something is found or the time is over."""
    name, *options = sys.argv[1:] or [""]
    with atheris.instrument_imports(include=["cinemae", "PIL"]):
        from fuzz import corpus
        from fuzz.targets import TARGETS
    if name not in TARGETS:
        sys.exit(f"what to fuzz is one of {', '.join(TARGETS)}, got {name!r}")
    inputs = corpus.images() if name == "image" else corpus.model_files()
    with tempfile.TemporaryDirectory() as folder:
        for index, data in enumerate(inputs.values()):
            (Path(folder) / f"{index:03d}").write_bytes(data)
        repeated = any(not option.startswith("-") for option in options)  # a file to run alone
        atheris.Setup([sys.argv[0], *options, *([] if repeated else [folder])], TARGETS[name])
        atheris.Fuzz()


if __name__ == "__main__":
    main()
