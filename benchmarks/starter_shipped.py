"""The bundled model on the pictures, deliveries and figures of `benchmarks.starter_cv`, which designs are held against.

    python -m benchmarks.starter_shipped LIST.csv PICTURES --used benchmarks/results/starter_cv_pictures.csv --save

LIST.csv has the columns file (below PICTURES), sha256, class, group, family, fold. No fold is held out: a model that
learnt from some of these families or sources is flattered there.
"""

from __future__ import annotations

import argparse
import csv
import json
from collections.abc import Iterator
from pathlib import Path

import numpy as np
from PIL import Image

from benchmarks.starter_cv import family_aucs, found_at
from benchmarks.starter_deliveries import deliver, is_lossless
from benchmarks.starter_store import Pictures
from cinemae import Detector, Verdict, load_image
from cinemae.errors import CinemaeError

RECORD = Path(__file__).parent / "results" / "starter_shipped.json"


def delivered(rows: list[dict[str, str]], pictures: Path, read: list[str]) -> Iterator[Image.Image]:
    """Yield each picture as the protocol delivers it; the SHA-256 of those that could be read are added to `read`."""
    for row in rows:
        data = (pictures / row["file"]).read_bytes()
        try:
            image = load_image(data).image
        except CinemaeError as error:
            print(f"{row['file']}: {error}")
            continue
        read.append(row["sha256"])
        yield deliver(image, row["sha256"], 0, lossless=is_lossless(data))


def figures(pictures: Pictures, verdicts: list[Verdict]) -> dict[str, object]:
    """Return what the model says of the pictures, in their order."""
    scores = np.array([verdict.logit for verdict in verdicts], float)
    words = np.array([verdict.verdict for verdict in verdicts])
    families = family_aucs(pictures, scores)
    shares = {
        name: {word: round(float((words[of] == word).mean()), 4) for word in ("ai", "uncertain", "real")}
        for name, of in (("photographs", ~pictures.fake), ("generated", pictures.fake))
    }
    return {
        "model": verdicts[0].model,
        "photographs": int((~pictures.fake).sum()),
        "generated": int(pictures.fake.sum()),
        "mean_family_auc": round(float(np.mean(list(families.values()))), 4),
        "found_at_3_percent": round(found_at(pictures, scores), 4),
        "families": {name: round(value, 4) for name, value in sorted(families.items(), key=lambda item: item[1])},
        "counts": {name: int((pictures.family[pictures.fake] == name).sum()) for name in families},
        "verdicts": shares,
    }


def main() -> None:
    """Score, print, and with --save keep the figures."""
    parser = argparse.ArgumentParser(description=(__doc__ or "").partition("\n")[0])
    parser.add_argument("list", type=Path, help="CSV of the pictures")
    parser.add_argument("pictures", type=Path, help="folder that `file` is below")
    parser.add_argument("--used", type=Path, help="CSV whose first column begins the SHA-256 of those to use")
    parser.add_argument("--save", action="store_true", help=f"write {RECORD.name}")
    options = parser.parse_args()
    with options.list.open(newline="", encoding="utf-8") as file:
        rows = sorted(csv.DictReader(file), key=lambda row: row["sha256"])
    if options.used:
        with options.used.open(newline="", encoding="utf-8") as file:
            used = {row[0] for row in csv.reader(file)}
        rows = [row for row in rows if row["sha256"][:12] in used]
    rows = [row for row in rows if (options.pictures / row["file"]).exists()]
    read: list[str] = []
    verdicts = list(Detector.from_pretrained().detect_batch(delivered(rows, options.pictures, read), on_error="raise"))
    found = figures(Pictures.read(options.list, set(read)), verdicts)
    print(json.dumps(found, indent=1))
    if options.save:
        RECORD.write_text(json.dumps(found, indent=1) + "\n", encoding="utf-8")


if __name__ == "__main__":
    main()
