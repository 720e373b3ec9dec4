"""The settings of the frozen half: pictures, masks, deviation, global feature. `cinemae.config` has all of them.

`ExtractorConfig` is everything that, with the backbone's weights, fixes the frozen half; it travels with every store
and model as a `fingerprint`. Each field says "paper" where the paper states the default, else "ours".
"""

from __future__ import annotations

import dataclasses
import hashlib
import json
from dataclasses import dataclass, field
from typing import ClassVar, Literal, Self

from cinemae.settings import Settings, require

PixelSpace = Literal["normalized", "unit"]
MaskScheme = Literal["independent", "complementary"]
Resize = Literal["shortest_edge", "stretch"]
Views = Literal["center", "five", "tiles", "checkered", "whole_native"]
TokenStatistic = Literal["cls", "mean", "std"]

TOKEN_STATISTICS: tuple[TokenStatistic, ...] = ("cls", "mean", "std")
IMAGENET_MEAN = (0.485, 0.456, 0.406)
IMAGENET_STD = (0.229, 0.224, 0.225)
CLIP_MEAN = (0.48145466, 0.4578275, 0.40821073)
CLIP_STD = (0.26862954, 0.26130258, 0.27577711)
BLOCK_SPECTRUM_LENGTH = 378
"""How many values `cinemae.core.block_spectrum` gives of a view."""
TEXTURE_LENGTH = 918
"""How many `cinemae.core.texture` gives."""


@dataclass(frozen=True)
class ImageConfig(Settings):
    """From a decoded picture to `pixel_values` (Sec. 5, decision 0004).

    With the views "whole_native", the whole picture squashed to a square and the native pixels of its centre (decision
    0022), nothing is scaled otherwise: `resize_to` says nothing, and stands at `of_size`.
    """

    size: int = 224  # paper
    resize: Resize = "shortest_edge"  # ours
    resize_to: int = 256  # ours
    views: Views = "center"  # one view: paper; the centre: ours
    jpeg_quality: int | None = None  # paper
    mean: tuple[float, float, float] = IMAGENET_MEAN  # ours: that of MAE's weights
    std: tuple[float, float, float] = IMAGENET_STD  # ours, likewise

    def __post_init__(self) -> None:
        super().__post_init__()
        require(self.size > 0, f"size must be positive, got {self.size}.")
        if self.views == "whole_native":
            object.__setattr__(self, "resize_to", round(self.size * 8 / 7))
            require(
                self.resize == "shortest_edge" and self.jpeg_quality is None,
                'the views "whole_native" hold a picture\'s own pixels: leave resize at "shortest_edge" and '
                f"jpeg_quality at None, got {self.resize!r} and {self.jpeg_quality}.",
            )
        require(
            self.resize_to >= self.size or (self.resize == "stretch" and self.views == "center"),
            f"resize_to must be at least size ({self.size}), got {self.resize_to}.",
        )
        require(
            not self.tiled or self.resize_to % self.size == 0,
            f"tiles need a resize_to that is a multiple of size ({self.size}), got {self.resize_to}.",
        )
        require(
            self.jpeg_quality is None or 1 <= self.jpeg_quality <= 100,
            f"jpeg_quality must be from 1 to 100, or None for no recompression, got {self.jpeg_quality}.",
        )

    @classmethod
    def of_size(cls, size: int) -> Self:
        """Return the paper's settings at a backbone's image size: the shorter side is 8/7 of it, as 256 is of 224.

        Example:
            >>> ImageConfig.of_size(224) == ImageConfig(), ImageConfig.of_size(64).resize_to
            (True, 73)
        """
        return cls(size=size, resize_to=round(size * 8 / 7))

    @property
    def num_views(self) -> int:
        """How many crops of one picture are scored."""
        return len(self.tile_places) if self.tiled else {"center": 1, "five": 5, "whole_native": 2}[self.views]

    @property
    def whole(self) -> bool:
        """Whether the whole picture is squashed to a square, and not its centre square taken."""
        return self.resize == "stretch" or self.views == "whole_native"

    @property
    def square_side(self) -> int:
        """Side in pixels of the square that a picture is scaled to, before crops are cut from it.

        Example:
            >>> ImageConfig().square_side, ImageConfig(views="whole_native").square_side
            (256, 224)
        """
        uncut = self.views == "whole_native" or (self.resize == "stretch" and self.views == "center")
        return self.size if uncut else self.resize_to

    @property
    def tiled(self) -> bool:
        """Whether the views are tiles of the square, all of them or every second one."""
        return self.views in ("tiles", "checkered")

    @property
    def tile_places(self) -> tuple[tuple[int, int], ...]:
        """Row and column of each tile that is looked at, row by row; (0, 0) alone where views are no tiles.

        Example:
            >>> ImageConfig(size=64, resize_to=128, views="checkered").tile_places
            ((0, 0), (1, 1))
        """
        side = range(self.resize_to // self.size if self.tiled else 1)
        step = 2 if self.views == "checkered" else 1
        return tuple((row, column) for row in side for column in side if (row + column) % step == 0)


@dataclass(frozen=True)
class MaskConfig(Settings):
    """The K masks (Sec. 4.3, decision 0002)."""

    mask_ratio: float = 0.75  # paper
    num_passes: int = 2  # paper
    scheme: MaskScheme = "independent"  # paper
    seed: int = 0  # ours

    def __post_init__(self) -> None:
        super().__post_init__()
        require(0 < self.mask_ratio < 1, f"mask_ratio must lie between 0 and 1, got {self.mask_ratio}.")
        require(self.num_passes >= 1, f"num_passes must be at least 1, got {self.num_passes}.")


@dataclass(frozen=True)
class DeviationConfig(Settings):
    """What Eq. 5 and the fidelity of Eq. 4 are computed on (decision 0001)."""

    pixel_space: PixelSpace = "normalized"  # ours
    unbiased: bool = False  # ours
    sigma_floor: float = 1e-3  # ours

    def __post_init__(self) -> None:
        super().__post_init__()
        require(self.sigma_floor > 0, f"sigma_floor must be positive, got {self.sigma_floor}.")


@dataclass(frozen=True)
class GlobalFeatureConfig(Settings):
    """What makes up f_global, Eq. 3: with nothing named the last layer's [CLS], as in the paper.

    Ours joins what there is after the layers named, the first being 1. [CLS] alone goes through the encoder's last norm
    (decision 0019); with the mean or the deviation of the patch tokens all are taken as they leave the layer (decision
    0022), layer by layer in the order named. `block_spectrum` adds the spectrum of the view in blocks, `texture` its
    texture (decision 0022).
    """

    _LATER: ClassVar[tuple[str, ...]] = ("token_statistics", "block_spectrum", "texture")

    cls_layers: tuple[int, ...] = ()  # paper: the last one
    token_statistics: tuple[TokenStatistic, ...] = ("cls",)  # paper
    block_spectrum: bool = False  # paper
    texture: bool = False  # paper

    def __post_init__(self) -> None:
        super().__post_init__()
        ascend = list(self.cls_layers) == sorted(set(self.cls_layers)) and min(self.cls_layers, default=1) >= 1
        require(ascend, f"cls_layers must ascend from 1 or more, each named once, got {self.cls_layers}.")
        known = [name for name in self.token_statistics if name in TOKEN_STATISTICS]
        require(
            len(set(known)) == len(self.token_statistics) > 0,
            f"token_statistics are some of {', '.join(TOKEN_STATISTICS)}, each named once, got "
            f"{', '.join(self.token_statistics) or 'none'}.",
        )

    @property
    def of_pixels(self) -> tuple[str, ...]:
        """What is taken of the view's pixels, in plain words."""
        return ("block spectrum",) * self.block_spectrum + ("texture",) * self.texture

    def dim(self, hidden_size: int) -> int:
        """Return the length of f_global, given the encoder's width."""
        of_tokens = hidden_size * max(1, len(self.cls_layers)) * len(self.token_statistics)
        return of_tokens + BLOCK_SPECTRUM_LENGTH * self.block_spectrum + TEXTURE_LENGTH * self.texture


@dataclass(frozen=True)
class ExtractorConfig(Settings):
    """Everything that, with the backbone's weights, fixes the frozen half of the method."""

    _LATER: ClassVar[tuple[str, ...]] = ("global_feature",)

    image: ImageConfig = field(default_factory=ImageConfig)
    mask: MaskConfig = field(default_factory=MaskConfig)
    deviation: DeviationConfig = field(default_factory=DeviationConfig)
    global_feature: GlobalFeatureConfig = field(default_factory=GlobalFeatureConfig)

    def fingerprint(self, backbone_hash: str) -> str:
        """Return 16 hex digits that change whenever the extracted features could.

        Settings at their default do not enter, so a setting added later with a neutral default leaves the
        fingerprints of existing stores and models as they are; no default here may ever change.

        Args:
            backbone_hash: SHA-256 of the backbone's weights (`FrozenMAE.content_hash`).
        """
        default = json.loads(json.dumps(dataclasses.asdict(ExtractorConfig())))
        changed = {
            part: {name: value for name, value in settings.items() if value != default[part][name]}
            for part, settings in self.to_dict().items()
        }
        text = json.dumps({"extractor": changed, "backbone": backbone_hash}, sort_keys=True)
        return hashlib.sha256(text.encode()).hexdigest()[:16]
