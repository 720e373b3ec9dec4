"""``python -m fuzz.keep TARGET FOLDER``: keep what a run wrote to FOLDER, the shortest inputs first."""

from __future__ import annotations

import sys
import zipfile
from pathlib import Path

from fuzz.corpus import KEPT, kept, seeds

MOST_BYTES = 4096
"""Longest input kept."""
MOST_IN_ALL = 2**18


def main() -> None:
    """Add the inputs that are new, each of which reached something, to ``fuzz/kept/TARGET.zip``."""
    name, folder = sys.argv[1:]
    known = set(seeds(name).values())
    new = {path.read_bytes() for path in Path(folder).iterdir()} - known
    total = 0
    inputs = [*kept(name).values(), *sorted(new, key=lambda data: (len(data), data))]
    KEPT.mkdir(exist_ok=True)
    with zipfile.ZipFile(KEPT / f"{name}.zip", "w", zipfile.ZIP_DEFLATED) as file:
        for index, data in enumerate(inputs):
            total += len(data)
            if len(data) <= MOST_BYTES and total <= MOST_IN_ALL:
                file.writestr(zipfile.ZipInfo(f"{index:04d}"), data, zipfile.ZIP_DEFLATED)


if __name__ == "__main__":
    main()
