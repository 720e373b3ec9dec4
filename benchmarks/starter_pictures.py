"""Write some pictures of one fold, as the protocol delivers them, to a folder that `cinemae evaluate` reads.

    python -m benchmarks.starter_pictures LIST.csv PICTURES OUT --fold 2 --each 200
    python -m benchmarks.starter_pictures LIST.csv PICTURES OUT --fold 2 --families sd1 --each 800

OUT gets real/SOURCE/ and fake/FAMILY/, all as PNG, so that files say nothing of the class; with --untouched the files
as they are. As many generated images as photographs; families and sources take turns, so that none has more than its
share. A model made by `benchmarks.starter_model --without 2` has seen nothing of the first line's.
"""

from __future__ import annotations

import argparse
import csv
import math
from collections import defaultdict
from collections.abc import Iterator, Sequence
from pathlib import Path

from benchmarks.starter_deliveries import deliver, is_lossless
from cinemae.errors import CinemaeError
from cinemae.pictures.image import load_image

Row = dict[str, str]


def in_turns(rows: Sequence[Row], key: str) -> Iterator[Row]:
    """Yield one row of each group after the other, those of a group by their hash."""
    groups = defaultdict[str, list[Row]](list)
    for row in sorted(rows, key=lambda row: row["sha256"], reverse=True):
        groups[row[key]].append(row)
    while groups:
        for name in sorted(groups):
            yield groups[name].pop()
            if not groups[name]:
                del groups[name]


def _megapixels(row: Row) -> float:
    return int(row["width"]) * int(row["height"]) / 1e6


def _is_asked_for(row: Row, families: Sequence[str] | None, folds: Sequence[int]) -> bool:
    """Tell whether a generated image's family was named or, if none was, whether its fold was."""
    return row["family"] in families if families else int(row["fold"]) in folds


def main() -> None:
    """Write them."""
    parser = argparse.ArgumentParser(description=(__doc__ or "").partition("\n")[0])
    parser.add_argument("list", type=Path, help="CSV of the pictures")
    parser.add_argument("pictures", type=Path, help="folder that `file` is below")
    parser.add_argument("out", type=Path, help="folder to write")
    parser.add_argument("--fold", type=int, nargs="+", required=True, help="of which folds")
    parser.add_argument("--families", nargs="+", help="families of generated images, of whatever fold")
    parser.add_argument("--each", type=int, default=200, help="pictures of either class")
    parser.add_argument("--max-megapixels", type=float, default=math.inf, help="leave larger pictures out")
    parser.add_argument("--untouched", action="store_true", help="the files themselves, not delivered")
    options = parser.parse_args()
    with options.list.open(newline="", encoding="utf-8") as file:
        rows = [row for row in csv.DictReader(file) if _megapixels(row) <= options.max_megapixels]
    chosen = {
        "real": [row for row in rows if row["class"] == "real" and int(row["fold"]) in options.fold],
        "fake": [row for row in rows if row["class"] == "fake" and _is_asked_for(row, options.families, options.fold)],
    }
    for kind, key in (("real", "group"), ("fake", "family")):
        written = 0
        for row in in_turns(chosen[kind], key):
            if written == options.each or not (options.pictures / row["file"]).exists():
                continue
            data = (options.pictures / row["file"]).read_bytes()
            try:
                image = load_image(data).image
            except CinemaeError as error:
                print(f"{row['file']}: {error}")
                continue
            folder = options.out / kind / row[key]
            folder.mkdir(parents=True, exist_ok=True)
            file = folder / row["sha256"][:16]
            if options.untouched:
                file.with_suffix(Path(row["file"]).suffix).write_bytes(data)
            else:
                delivered = deliver(image, row["sha256"], 0, lossless=is_lossless(data))
                delivered.save(file.with_suffix(".png"), compress_level=1)
            written += 1
        print(f"{written} of class {kind}")


if __name__ == "__main__":
    main()
