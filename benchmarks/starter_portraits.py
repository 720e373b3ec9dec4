"""Cut portraits out of photographs and generated images, so that heads learn that either class shows faces.

    pip install 'opencv-python-headless<5'
    python -m benchmarks.starter_portraits LIST.csv PICTURES PORTRAITS

Faces are found by OpenCV's cascade (Viola and Jones 2001, doi 10.1109/CVPR.2001.990517); of 60 portraits of
photographs and 60 generated ones that were looked at, 13 and 6 show no human face. A portrait is a square of 1.5 to
2.6 times the face, at most 1,024 pixels a side, half of them scaled down further. PORTRAITS receives them as PNG below
the class and the group, and portraits.csv, which has the columns of LIST.csv: group, family and fold of a portrait are
those of its picture, so that no fold learns from another's pictures.
"""

from __future__ import annotations

import argparse
import csv
import functools
import hashlib
import io
from collections import Counter
from concurrent.futures import ProcessPoolExecutor
from pathlib import Path
from typing import Any, Final

import numpy as np
from PIL import Image

from cinemae.errors import CinemaeError
from cinemae.pictures.image import load_image
from cinemae.sources.whole_files import replacing

SEARCHED: Final = 720
"""Pixels of the longer side that faces are looked for at."""
SMALLEST: Final = 72
"""Pixels of a face, at least, in the picture as it is."""
OF_A_PICTURE: Final = 3
OF_A_GROUP: Final = 60
LARGEST: Final = 1024
LEAST_SCALED: Final = 256


@functools.cache
def _cascade() -> Any:
    import cv2  # which nothing else here needs

    cv2.setNumThreads(1)
    return cv2.CascadeClassifier(f"{cv2.data.haarcascades}haarcascade_frontalface_alt2.xml")


def find_faces(image: Image.Image) -> list[tuple[int, ...]]:
    """Return left, top, width and height of each face, largest first, in pixels of the picture."""
    scale = min(1.0, SEARCHED / max(image.size))
    small = image.resize([max(1, round(side * scale)) for side in image.size], reducing_gap=2).convert("L")
    least = max(24, int(SMALLEST * scale))
    found = _cascade().detectMultiScale(np.asarray(small), 1.15, 5, minSize=(least, least))
    boxes = [tuple(int(value / scale) for value in box) for box in np.reshape(found, (-1, 4))]
    return sorted(boxes, key=lambda box: -box[2])


def cut_portrait(image: Image.Image, box: tuple[int, ...], rng: np.random.Generator) -> Image.Image | None:
    """Return the square around a face, or None where the picture is hardly larger than it or the face too small."""
    left, top, width, height = box
    side = int(width * rng.uniform(1.5, 2.6))
    if width < SMALLEST or side > 0.9 * max(image.size):
        return None
    side = min(side, *image.size)
    across, down = (
        int(np.clip(start + length / 2 - side * at, 0, whole - side))
        for start, length, whole, at in ((left, width, image.width, 0.5), (top, height, image.height, 0.55))
    )
    portrait = image.crop((across, down, across + side, down + side))
    final = min(side, LARGEST)
    if rng.random() < 0.5 and final > LEAST_SCALED:
        final = int(rng.integers(LEAST_SCALED, final))
    return portrait if final == side else portrait.resize((final, final), Image.Resampling.LANCZOS, reducing_gap=3)


def portraits_of(row: dict[str, str], pictures: Path) -> list[Image.Image]:
    """Return the portraits of one picture."""
    try:
        image = load_image((pictures / row["file"]).read_bytes()).image
    except CinemaeError as error:
        print(f"{row['file']}: {error}")
        return []
    seed = int(row["sha256"][:16], 16)
    cut = [
        cut_portrait(image, box, np.random.default_rng([number, seed]))
        for number, box in enumerate(find_faces(image)[:OF_A_PICTURE])
    ]
    return [portrait for portrait in cut if portrait is not None]


def main() -> None:
    """Cut them out."""
    parser = argparse.ArgumentParser(description=(__doc__ or "").partition("\n")[0])
    parser.add_argument("list", type=Path, help="CSV of the pictures, all of them: few show a face")
    parser.add_argument("pictures", type=Path, help="folder that `file` is below")
    parser.add_argument("out", type=Path, help="folder for portraits and portraits.csv")
    options = parser.parse_args()
    with options.list.open(newline="", encoding="utf-8") as file:
        rows = sorted(csv.DictReader(file), key=lambda row: row["sha256"])
    rows = [row for row in rows if (options.pictures / row["file"]).exists()]
    written, cut = [], Counter[tuple[str, str]]()
    with ProcessPoolExecutor() as processes:
        found = processes.map(functools.partial(portraits_of, pictures=options.pictures), rows, chunksize=8)
        for row, portraits in zip(rows, found, strict=True):
            of = row["class"], row["group"]
            kept = portraits[: OF_A_GROUP - cut[of]]
            cut[of] += len(kept)
            written += [_write(portrait, row, options.out) for portrait in kept]
    if not written:
        raise SystemExit(f"none of {len(rows)} pictures shows a face to cut out: name more pictures")
    with (
        replacing(options.out / "portraits.csv") as temporary,
        temporary.open("w", newline="", encoding="utf-8") as file,
    ):
        writer = csv.DictWriter(file, list(written[0]))
        writer.writeheader()
        writer.writerows(written)
    print(f"{len(written)} portraits of {len(rows)} pictures")


def _write(portrait: Image.Image, row: dict[str, str], out: Path) -> dict[str, str]:
    buffer = io.BytesIO()
    portrait.convert("RGB").save(buffer, "PNG")
    sha256 = hashlib.sha256(buffer.getvalue()).hexdigest()
    target = out / row["class"] / row["group"] / f"{sha256}.png"
    target.parent.mkdir(parents=True, exist_ok=True)
    target.write_bytes(buffer.getvalue())
    width, height = (str(side) for side in portrait.size)
    return row | {
        "file": str(target.relative_to(out)),
        "sha256": sha256,
        "width": width,
        "height": height,
        "format": "PNG",
    }


if __name__ == "__main__":
    main()
