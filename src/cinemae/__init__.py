"""Tell AI-generated images from photographs with a masked autoencoder (the CINEMAE method).

>>> from cinemae import Detector
>>> Detector.from_pretrained().detect(b"not an image")
Traceback (most recent call last):
...
cinemae.errors.ImageError: an image must be one of JPEG, PNG, WEBP, GIF, TIFF, BMP, PPM, JPEG2000, AVIF, HEIF, but \
the byte string given began with b'not an image': convert it first.

The names below are loaded when they are first used: ``import cinemae`` is quick, and only `FeatureExtractor`,
`CinemaeHead` and `FrozenMAE` need torch.
"""

from __future__ import annotations

from importlib import import_module
from typing import TYPE_CHECKING

from cinemae.moved import install
from cinemae.version import __version__

if TYPE_CHECKING:
    from cinemae.core.backbone import FrozenMAE
    from cinemae.core.features import FeatureExtractor
    from cinemae.core.head import CinemaeHead
    from cinemae.detect.detector import Detector
    from cinemae.detect.verdict import Verdict
    from cinemae.errors import CinemaeError
    from cinemae.pictures.image import load_image

__all__ = [
    "CinemaeError",
    "CinemaeHead",
    "Detector",
    "FeatureExtractor",
    "FrozenMAE",
    "Verdict",
    "__version__",
    "load_image",
]

_HOMES = {
    "CinemaeError": "errors",
    "CinemaeHead": "core.head",
    "Detector": "detect.detector",
    "FeatureExtractor": "core.features",
    "FrozenMAE": "core.backbone",
    "Verdict": "detect.verdict",
    "load_image": "pictures.image",
}
install()
_NEED_TORCH = ("CinemaeHead", "FeatureExtractor", "FrozenMAE")


def __getattr__(name: str) -> object:
    if name not in _HOMES:
        raise AttributeError(f"module 'cinemae' has no attribute {name!r}")
    try:
        value = getattr(import_module(f"cinemae.{_HOMES[name]}"), name)
    except ModuleNotFoundError as error:
        if name not in _NEED_TORCH:
            raise
        from cinemae.errors import MissingDependencyError

        raise MissingDependencyError(
            f"cinemae.{name} needs {error.name}, which is not installed: pip install 'cinemae[torch]'"
        ) from error
    globals()[name] = value
    return value


def __dir__() -> list[str]:
    return sorted({*globals(), *__all__})
