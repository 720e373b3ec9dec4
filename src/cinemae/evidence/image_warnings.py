"""Names of what makes a verdict on a picture less sure, told from the picture alone, before any model runs.

A warning says what kind of picture it is, not that a verdict is wrong. docs/warnings.md holds, for each, how often the
bundled model errs with and without it; some make no difference that could be measured.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from types import MappingProxyType

from cinemae.config import ImageConfig
from cinemae.evidence.image_measures import ImageMeasures, measure_image
from cinemae.pictures.image import LoadedImage
from cinemae.settings import Settings

WARNINGS: Mapping[str, str] = MappingProxyType(
    {
        "low_texture": "Most of the picture is nearly uniform, so there is little to judge it by.",
        "high_texture": "Fine detail or noise fills the whole picture, so hardly any part can be told from its "
        "surroundings.",
        "grayscale": "The picture has no colour of its own: it is gray, or toned in one colour.",
        "small": "The picture is smaller than what the model looks at and was enlarged for it.",
        "upscaled": "The picture holds less detail than its size promises: it was enlarged, or is blurred.",
        "heavy_compression": "The picture was saved as a JPEG of low quality, now or earlier.",
        "screenshot_or_text": "The picture looks like a screenshot, a drawing or text, or has a frame.",
        "extreme_aspect": "The picture is so long that the model cannot look at most of it, or sees it squeezed.",
        "animated_first_frame": "The file is an animation or has several pages; only the first was looked at.",
        "animated_other_frame": "The picture is a later frame of an animation; the other frames were not looked at.",
        "exif_unreadable": "The metadata is damaged, so the picture was judged as stored and may lie on its side.",
        "out_of_distribution": "The picture is unlike those that the model was made with.",
    }
)
"""Every name that a verdict may carry, and one sentence that says what it means."""


@dataclass(frozen=True)
class WarningLimits(Settings):
    """Where warnings begin. The measures are `ImageMeasures`.

    A limit marked (*) stands where about 2 % of the photographs in the bundled model's training set lie beyond it,
    rounded; nothing was chosen on the pictures that docs/warnings.md reports on.

    Attributes:
        flat_share: `low_texture` from this share of flat blocks on (*).
        detail_floor: `high_texture` from this many levels of fine detail in the smoothest tenth on (*).
        colour_spread: `grayscale` up to this many levels of colour beyond brightness (*).
        enlargement: `small` if the model's view is more than this many times as large as the picture; 1: whenever the
            model has to invent pixels.
        fine_detail: `upscaled` up to this decimal logarithm of finest over middle detail (*).
        jpeg_quality: `heavy_compression` up to this quality by the file's own tables: the lowest that copies of
            training pictures were given (`cinemae.config.AugmentConfig.min_quality`).
        grid_ratio: `heavy_compression`, told from the pixels, up to this ratio. Every training photograph lies above
            0.4; saved at 60, all but 1 % lie below 0.2.
        hard_edges: `screenshot_or_text` from this share of hard edges on. About 1 % of the training photographs lie
            beyond; drawn pages of text, saved as JPEG or shrunk to half, from 0.05 on.
        frame: `screenshot_or_text` where so much of the line behind a bar is unlike it (*).
        in_square: `extreme_aspect` if less than this share of the picture lies in its centre square: most of it is
            outside what the model looks at, or both sides are scaled by factors more than twice apart.
    """

    flat_share: float = 0.5
    detail_floor: float = 5.0
    colour_spread: float = 5.0
    enlargement: float = 1.0
    fine_detail: float = -1.85
    jpeg_quality: int = 60
    grid_ratio: float = 0.25
    hard_edges: float = 0.03
    frame: float = 0.7
    in_square: float = 0.5


def image_warnings(
    loaded: LoadedImage, config: ImageConfig | None = None, limits: WarningLimits | None = None
) -> tuple[str, ...]:
    """Return the names of what was found, in the order of `WARNINGS`; `loaded.warnings` is not among them.

    It costs less than ten milliseconds, whatever the size of the picture.

    Args:
        loaded: The picture.
        config: How the model is shown it, `ExtractorConfig.image`; None for the defaults.
        limits: Where warnings begin; None for the defaults.

    Example:
        >>> from cinemae.pictures.image import load_image
        >>> from PIL import Image
        >>> image_warnings(load_image(Image.new("RGB", (900, 200), "gray")))
        ('low_texture', 'grayscale', 'small', 'extreme_aspect')
    """
    config = config or ImageConfig()
    return warnings_of(measure_image(loaded.image, config), loaded.jpeg_quality, config, limits)


def warnings_of(
    measures: ImageMeasures,
    jpeg_quality: int | None = None,
    config: ImageConfig | None = None,
    limits: WarningLimits | None = None,
) -> tuple[str, ...]:
    """Do what `image_warnings` does with a picture that has been measured.

    Args:
        measures: As `measure_image` gave them, with the same `config`.
        jpeg_quality: Of the file, as `LoadedImage.jpeg_quality`.
        config: How the model is shown the picture; None for the defaults.
        limits: Where warnings begin; None for the defaults.
    """
    config, limits = config or ImageConfig(), limits or WarningLimits()
    heavy = jpeg_quality is not None and jpeg_quality <= limits.jpeg_quality
    found = {  # a measure that is nan is beyond no limit
        "low_texture": measures.flat_share >= limits.flat_share,
        "high_texture": measures.detail_floor >= limits.detail_floor,
        "grayscale": measures.colour_spread <= limits.colour_spread,
        "small": config.square_side > limits.enlargement * measures.short_side,
        "upscaled": measures.fine_detail <= limits.fine_detail,
        "heavy_compression": heavy or measures.grid_ratio <= limits.grid_ratio,
        "screenshot_or_text": measures.hard_edges >= limits.hard_edges or measures.frame >= limits.frame,
        "extreme_aspect": measures.in_square < limits.in_square,
    }
    return tuple(name for name in WARNINGS if found.get(name))


def explain(warnings: Iterable[str]) -> tuple[str, ...]:
    """Return one sentence for each warning; a name that `WARNINGS` does not know stands for itself.

    Example:
        >>> explain(["grayscale"])
        ('The picture has no colour of its own: it is gray, or toned in one colour.',)
    """
    return tuple(WARNINGS.get(name, name) for name in warnings)
