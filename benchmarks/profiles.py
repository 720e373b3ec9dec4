"""What it costs to ignore a colour profile: photographs written in wider colour spaces, scored as if they were sRGB.

Run ``python -m benchmarks.profiles``. Photographs come with scikit-image and scikit-learn; each is written in Display
P3, Adobe RGB (1998) and linear sRGB, and scored with its values as they stand, as `cinemae.pictures.image` reads them.
"""

from __future__ import annotations

from collections.abc import Callable

import numpy as np
import skimage.data
from numpy.typing import NDArray
from PIL import Image
from sklearn.datasets import load_sample_images

from cinemae.detect.detector import Detector

_Pixels = NDArray[np.float64]

# From linear sRGB to XYZ (D65), and from the primaries of the others: IEC 61966-2-1; SMPTE EG 432-1; Adobe RGB (1998).
_SRGB = np.array([[0.4124, 0.3576, 0.1805], [0.2126, 0.7152, 0.0722], [0.0193, 0.1192, 0.9505]])
_P3 = np.array([[0.4866, 0.2657, 0.1982], [0.2290, 0.6917, 0.0793], [0.0, 0.0451, 1.0439]])
_ADOBE = np.array([[0.5767, 0.1856, 0.1882], [0.2973, 0.6274, 0.0753], [0.0270, 0.0707, 0.9911]])


def _decode(values: _Pixels) -> _Pixels:
    return np.where(values <= 0.04045, values / 12.92, ((values + 0.055) / 1.055) ** 2.4)


def _encode(linear: _Pixels) -> _Pixels:
    return np.where(linear <= 0.0031308, linear * 12.92, 1.055 * linear ** (1 / 2.4) - 0.055)


def _power(linear: _Pixels) -> _Pixels:
    return linear ** (256 / 563)


SPACES: dict[str, tuple[NDArray[np.float64], Callable[[_Pixels], _Pixels]]] = {
    "Display P3": (_P3, _encode),
    "Adobe RGB (1998)": (_ADOBE, _power),
    "linear sRGB": (_SRGB, lambda linear: linear),
}


def write_in(photo: NDArray[np.uint8], space: str) -> NDArray[np.uint8]:
    """Return an sRGB photograph's values in another space."""
    matrix, encode = SPACES[space]
    linear = _decode(photo / 255) @ np.linalg.solve(matrix, _SRGB).T
    return np.rint(encode(linear.clip(0, 1)) * 255).astype(np.uint8)


def photographs() -> list[NDArray[np.uint8]]:
    """Return the colour photographs at hand."""
    names = ("astronaut", "cat", "coffee", "rocket", "retina", "immunohistochemistry")
    return [*(getattr(skimage.data, name)() for name in names), *load_sample_images().images]


def main() -> None:
    """Print a row a space."""
    detector = Detector.from_pretrained()
    photos = photographs()
    plain = list(detector.detect_batch(map(Image.fromarray, photos)))
    print("| space | mean change of prob_fake | largest | other verdicts | mean change of a pixel, levels |")
    print("|---|---|---|---|---|")
    for space in SPACES:
        written = [write_in(photo, space) for photo in photos]
        scored = list(detector.detect_batch(map(Image.fromarray, written)))
        changes = [abs(a.prob_fake - b.prob_fake) for a, b in zip(plain, scored, strict=True)]
        others = sum(a.verdict != b.verdict for a, b in zip(plain, scored, strict=True))
        levels = np.mean([np.abs(a.astype(int) - b).mean() for a, b in zip(photos, written, strict=True)])
        print(f"| {space} | {np.mean(changes):.3f} | {max(changes):.3f} | {others} of {len(photos)} | {levels:.1f} |")


if __name__ == "__main__":
    main()
