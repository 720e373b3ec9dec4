"""The pictures of a report: small copies of an image and its map, as files that stand within the page."""

from __future__ import annotations

import base64
import io
from dataclasses import dataclass
from typing import Self

from PIL import Image

from cinemae.detect.verdict import Verdict
from cinemae.errors import ModelDirError

PICTURE_SIDE = 800
THUMBNAIL_SIDE = 200
_QUALITY = 82


@dataclass(frozen=True)
class Drawings:
    """What a report shows of one image, as ``data:`` addresses.

    Attributes:
        picture: The image, its longer side at most `PICTURE_SIDE`.
        thumbnail: The image, its longer side at most `THUMBNAIL_SIDE`.
        map: How hard each part is to predict, of the picture's proportions; None where the model draws none.
        num_bytes: Size of the file; None where there was none.
    """

    picture: str
    thumbnail: str
    map: str | None
    num_bytes: int | None

    @classmethod
    def of(cls, verdict: Verdict) -> Self | None:
        """Draw them.

        Args:
            verdict: With its pixels kept.

        Returns:
            None of an image that could not be read.

        Raises:
            ConfigError: If it was scored without keeping its pixels.
        """
        if verdict.status == "error":
            return None
        picture = verdict.picture
        return cls(_jpeg(picture, PICTURE_SIDE), _jpeg(picture, THUMBNAIL_SIDE), _map(verdict), verdict.num_bytes)


def _map(verdict: Verdict) -> str | None:
    try:
        return _jpeg(verdict.heatmap(legend=False), PICTURE_SIDE)
    except ModelDirError:  # it holds no photographs to draw the colours against
        return None


def _jpeg(picture: Image.Image, side: int) -> str:
    small = picture.copy()
    small.thumbnail((side, side))
    buffer = io.BytesIO()
    small.save(buffer, "JPEG", quality=_QUALITY)
    return f"data:image/jpeg;base64,{base64.b64encode(buffer.getvalue()).decode('ascii')}"
