"""Write the kept views of photographs as PNG, for the decoder to be trained on.

    python -m benchmarks.starter_photographs LIST.csv FEATURES OUT

FEATURES is written by `benchmarks.starter_features --keep-pixels`; OUT gets the views `ws` and `c0` of each photograph.
"""

from __future__ import annotations

import argparse
import csv
from pathlib import Path

import numpy as np
from PIL import Image

from benchmarks.starter_model import VIEWS


def main() -> None:
    """Write those that are missing."""
    parser = argparse.ArgumentParser(description=(__doc__ or "").partition("\n")[0])
    parser.add_argument("list", type=Path, help="CSV of the pictures")
    parser.add_argument("features", type=Path, help="folder of parts with pixels")
    parser.add_argument("out", type=Path, help="folder to write")
    options = parser.parse_args()
    options.out.mkdir(parents=True, exist_ok=True)
    with options.list.open(newline="", encoding="utf-8") as file:
        photographs = {row["sha256"] for row in csv.DictReader(file) if row["class"] == "real"}
    for part in sorted(options.features.glob("*.npz")):
        with np.load(part) as stored:
            for sha256, view, pixels in zip(stored["sha"], stored["view"], stored["pixels"], strict=True):
                path = options.out / f"{sha256[:16]}-{view}.png"
                if sha256 in photographs and view in VIEWS and not path.exists():
                    Image.fromarray(pixels).save(path)


if __name__ == "__main__":
    main()
