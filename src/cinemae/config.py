"""The settings of the method, one frozen dataclass for each stage: the single place for every default.

Where the paper states a value, it is the default. Where the paper is silent, the field's comment says so and names the
decision record. `ExtractorConfig` is everything that, with the backbone's weights, fixes the frozen half; it travels
with every store and model as a `fingerprint`.
"""

from __future__ import annotations

import dataclasses
import hashlib
import json
from dataclasses import dataclass, field
from typing import Any, Literal, Self

from cinemae.settings import Settings, require

Reduction = Literal["mean", "sum", "literal"]
PixelSpace = Literal["normalized", "unit"]
MaskScheme = Literal["independent", "complementary"]
Fusion = Literal["add", "concat", "gate"]
FusionLevel = Literal["early", "late"]
Resize = Literal["shortest_edge", "stretch"]
Views = Literal["center", "five", "tiles", "checkered"]
Statistic = Literal["variability", "overall", "sensitivity"]
ViewPooling = Literal["logit", "mean", "mean_std"]

STATISTICS: tuple[Statistic, ...] = ("variability", "overall", "sensitivity")
IMAGENET_MEAN = (0.485, 0.456, 0.406)
IMAGENET_STD = (0.229, 0.224, 0.225)


@dataclass(frozen=True)
class ImageConfig(Settings):
    """From a decoded picture to `pixel_values` (Sec. 5: 224x224; resize or crop is not stated, decision 0004)."""

    size: int = 224
    resize: Resize = "shortest_edge"
    resize_to: int = 256
    views: Views = "center"
    jpeg_quality: int | None = None
    mean: tuple[float, float, float] = IMAGENET_MEAN
    std: tuple[float, float, float] = IMAGENET_STD

    def __post_init__(self) -> None:
        super().__post_init__()
        require(self.size > 0, f"size must be positive, got {self.size}.")
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
        return len(self.tile_places) if self.tiled else {"center": 1, "five": 5}[self.views]

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
    """The K masks (Sec. 4.3). Seed and scheme are not stated by the paper (decision 0002)."""

    mask_ratio: float = 0.75
    num_passes: int = 2
    scheme: MaskScheme = "independent"
    seed: int = 0

    def __post_init__(self) -> None:
        super().__post_init__()
        require(0 < self.mask_ratio < 1, f"mask_ratio must lie between 0 and 1, got {self.mask_ratio}.")
        require(self.num_passes >= 1, f"num_passes must be at least 1, got {self.num_passes}.")


@dataclass(frozen=True)
class DeviationConfig(Settings):
    """What Eq. 5 and the fidelity of Eq. 4 are computed on; not stated by the paper (decision 0001)."""

    pixel_space: PixelSpace = "normalized"
    unbiased: bool = False
    sigma_floor: float = 1e-3

    def __post_init__(self) -> None:
        super().__post_init__()
        require(self.sigma_floor > 0, f"sigma_floor must be positive, got {self.sigma_floor}.")


@dataclass(frozen=True)
class GlobalFeatureConfig(Settings):
    """Which layers' [CLS] make up f_global, Eq. 3: with none named the last one's, as in the paper.

    Ours joins those after the layers named, the first being 1, each through the encoder's last norm (decision 0019).
    """

    cls_layers: tuple[int, ...] = ()

    def __post_init__(self) -> None:
        super().__post_init__()
        ascend = list(self.cls_layers) == sorted(set(self.cls_layers)) and min(self.cls_layers, default=1) >= 1
        require(ascend, f"cls_layers must ascend from 1 or more, each named once, got {self.cls_layers}.")

    def dim(self, hidden_size: int) -> int:
        """Return the length of f_global, given the encoder's width."""
        return hidden_size * max(1, len(self.cls_layers))


@dataclass(frozen=True)
class ExtractorConfig(Settings):
    """Everything that, with the backbone's weights, fixes the frozen half of the method."""

    image: ImageConfig = field(default_factory=ImageConfig)
    mask: MaskConfig = field(default_factory=MaskConfig)
    deviation: DeviationConfig = field(default_factory=DeviationConfig)
    global_feature: GlobalFeatureConfig = field(default_factory=GlobalFeatureConfig)

    def to_dict(self) -> dict[str, Any]:
        """Return the settings as plain JSON types; without `global_feature`, which came later, at its default."""
        values = super().to_dict()
        if self.global_feature == GlobalFeatureConfig():
            del values["global_feature"]
        return values

    def fingerprint(self, backbone_hash: str) -> str:
        """Return 16 hex digits that change whenever the extracted features could.

        Settings at their default do not enter, so a setting added later with a neutral default leaves the
        fingerprints of existing stores and models as they are; no default here may ever change.

        Args:
            backbone_hash: SHA-256 of the backbone's weights (`FrozenMAE.content_hash`).
        """
        default = Settings.to_dict(ExtractorConfig())
        changed = {
            part: {name: value for name, value in settings.items() if value != default[part][name]}
            for part, settings in self.to_dict().items()
        }
        text = json.dumps({"extractor": changed, "backbone": backbone_hash}, sort_keys=True)
        return hashlib.sha256(text.encode()).hexdigest()[:16]


@dataclass(frozen=True)
class AugmentConfig(Settings):
    """Altered copies of training pictures, both classes alike; not stated by the paper (decision 0003).

    `mirror`, `blur` and `recompress` say how often each happens; a radius is in pixels of the file, JPEG is 4:2:0.
    """

    seed: int = 0
    min_crop: float = 0.7
    mirror: float = 0.5
    blur: float = 0.2
    max_blur_radius: float = 1.0
    recompress: float = 0.5
    min_quality: int = 60
    max_quality: int = 95

    def __post_init__(self) -> None:
        super().__post_init__()
        require(0 < self.min_crop <= 1, f"min_crop must lie in (0, 1], got {self.min_crop}.")
        for name in ("mirror", "blur", "recompress"):
            require(0 <= getattr(self, name) <= 1, f"{name} must lie in [0, 1], got {getattr(self, name)}.")
        for name in ("seed", "max_blur_radius"):
            require(getattr(self, name) >= 0, f"{name} must not be negative, got {getattr(self, name)}.")
        lowest, highest = self.min_quality, self.max_quality
        require(
            1 <= lowest <= highest <= 100,
            f"JPEG qualities must satisfy 1 <= min_quality <= max_quality <= 100, got {lowest} and {highest}.",
        )


@dataclass(frozen=True)
class LcasConfig(Settings):
    """How the two terms of Eq. 4 are weighed and summed (paper: lambda 0.1; `reduction` is decision 0001)."""

    fidelity_weight: float = 0.1
    reduction: Reduction = "mean"

    def __post_init__(self) -> None:
        super().__post_init__()
        require(self.fidelity_weight >= 0, f"fidelity_weight (lambda) must not be negative: {self.fidelity_weight}.")


@dataclass(frozen=True)
class HeadConfig(Settings):
    """The trained half, Eqs. 7-9. Widths, activation, dropout, scaling and views are not stated (decision 0003)."""

    global_dim: int = 1024
    view_pooling: ViewPooling = "logit"
    statistics: tuple[Statistic, ...] = STATISTICS
    use_global: bool = True
    fusion: Fusion = "add"
    fusion_level: FusionLevel = "early"
    agg_hidden: int = 256
    cls_hidden: tuple[int, ...] = (256,)
    activation: Literal["gelu", "relu"] = "gelu"
    dropout: float = 0.0
    standardize_statistics: bool = True
    standardize_global: bool = True

    def __post_init__(self) -> None:
        super().__post_init__()
        require(self.global_dim > 0, f"global_dim must be positive, got {self.global_dim}.")
        unknown = [name for name in self.statistics if name not in STATISTICS]
        require(not unknown, f"statistics must be among {', '.join(STATISTICS)}, got {', '.join(unknown)}.")
        require(
            self.use_global or bool(self.statistics),
            "the head needs the global feature, a statistic, or both: neither was chosen.",
        )
        require(0 <= self.dropout < 1, f"dropout must lie in [0, 1), got {self.dropout}.")


@dataclass(frozen=True)
class TrainConfig(Settings):
    """Training of the head (paper, Sec. 5: Adam 1e-4, batch 32, BCE, 25 epochs; the rest is decision 0003)."""

    learning_rate: float = 1e-4
    batch_size: int = 32
    epochs: int = 25
    weight_decay: float = 0.0
    class_balance: Literal["none", "class", "generator"] = "class"
    seed: int = 0
    num_seeds: int = 3
    views_drawn: int | None = None
    target_fpr: float = 0.02
    target_fnr: float = 0.1

    def __post_init__(self) -> None:
        super().__post_init__()
        require(self.learning_rate > 0, f"learning_rate must be positive, got {self.learning_rate}.")
        for name in ("batch_size", "epochs", "num_seeds"):
            require(getattr(self, name) >= 1, f"{name} must be at least 1, got {getattr(self, name)}.")
        require(
            self.views_drawn is None or self.views_drawn >= 2,
            f"views_drawn must be at least 2, or None for all views, got {self.views_drawn}.",
        )
        for name in ("target_fpr", "target_fnr"):
            require(0 < getattr(self, name) < 1, f"{name} must lie between 0 and 1, got {getattr(self, name)}.")


@dataclass(frozen=True)
class DecisionConfig(Settings):
    """From logit to verdict: calibration, then "ai" from `threshold`, "real" below `real_below`, else "uncertain".

    prob_fake = sigmoid(f(logit)). For "platt" f(logit) = platt_scale * logit + platt_offset; for "isotonic" f is linear
    between knots, f(knot_logits) = knot_log_odds, and has the slope platt_scale beyond them (decision 0011).

    target_fpr is the share of photographs that `threshold` was set to call "ai", target_fnr that of generated images
    that `real_below` was set to call "real", None if set by hand; measured_fpr and measured_fnr are these shares where
    each image is judged by a rule chosen without it, None if unknown. `rule` says it in words.
    """

    threshold: float = 0.5
    real_below: float = 0.5
    platt_scale: float = 1.0
    platt_offset: float = 0.0
    rule: str = "none: not calibrated"
    calibration: Literal["platt", "isotonic"] = "platt"
    knot_logits: tuple[float, ...] = ()
    knot_log_odds: tuple[float, ...] = ()
    target_fpr: float | None = None
    target_fnr: float | None = None
    measured_fpr: float | None = None
    measured_fnr: float | None = None

    def __post_init__(self) -> None:
        super().__post_init__()
        require(0 <= self.threshold <= 1, f"threshold must lie in [0, 1], got {self.threshold}.")
        low, high = self.real_below, self.threshold
        require(0 <= low <= high, f"real_below must lie between 0 and threshold ({high}), got {low}.")
        require(self.platt_scale >= 0, f"platt_scale must not be negative, got {self.platt_scale}.")
        x, y = self.knot_logits, self.knot_log_odds
        fit = len(x) == len(y) >= 2 and all(list(knots) == sorted(set(knots)) for knots in (x, y))
        sentence = f"an isotonic curve has two knots or more, and both logits and log-odds ascend, got {x} and {y}."
        require(fit or self.calibration == "platt", sentence)


@dataclass(frozen=True)
class BackboneInfo(Settings):
    """What a model directory says of its backbone, so that nothing needs to open the weights to know it."""

    content_hash: str
    patch_size: int
    num_patches: int
    hidden_size: int

    @property
    def patch_dim(self) -> int:
        """How many values a patch has: three channels of `patch_size` squared."""
        return 3 * self.patch_size**2


@dataclass(frozen=True)
class LcasReference(Settings):
    """Quantiles of patch LCAS over photographs, `values[i]` at `levels[i]`: the fixed scale of every heat map."""

    levels: tuple[float, ...] = ()
    values: tuple[float, ...] = ()


@dataclass(frozen=True)
class OodReference(Settings):
    """Quantiles of `ood_distance` over the photographs calibrated on; beyond level `limit`: unlike anything seen."""

    levels: tuple[float, ...] = ()
    values: tuple[float, ...] = ()
    limit: float = 0.99


@dataclass(frozen=True)
class ModelConfig:
    """`config.json` of a model directory: all that a detector needs besides the weights."""

    name: str
    backbone: BackboneInfo
    extractor: ExtractorConfig
    lcas: LcasConfig
    head: HeadConfig
    decision: DecisionConfig
    reference: LcasReference
    provenance: dict[str, Any]
    ood: OodReference = field(default_factory=OodReference)
    format_version: int = 1

    @property
    def fingerprint(self) -> str:
        """Fingerprint of the frozen half this head was trained on."""
        return self.extractor.fingerprint(self.backbone.content_hash)

    @property
    def model_id(self) -> str:
        """`name@` and the first 12 hex digits of a hash over every setting: what verdicts quote.

        Settings that came later do not enter at their default, so that older models keep their id.
        """
        values, default = self.to_dict(), DecisionConfig().to_dict()
        first = ("threshold", "real_below", "platt_scale", "platt_offset", "rule")
        decision = values.pop("decision").items()
        values["decision"] = {name: value for name, value in decision if name in first or value != default[name]}
        if self.ood == OodReference():
            del values["ood"]
        text = json.dumps(values, sort_keys=True)
        return f"{self.name}@{hashlib.sha256(text.encode()).hexdigest()[:12]}"

    def to_dict(self) -> dict[str, Any]:
        """Return plain JSON types, the fingerprint included for readers that do not run Python."""
        values: dict[str, Any] = json.loads(json.dumps(dataclasses.asdict(self)))
        values |= {"extractor": self.extractor.to_dict(), "fingerprint": self.fingerprint}
        return values

    @classmethod
    def from_dict(cls, values: dict[str, Any]) -> Self:
        """Build from `to_dict` output.

        Raises:
            ConfigError: If a key is missing or unknown, or the format is newer than this version reads.
        """
        version = values.get("format_version")
        require(
            version == 1,
            f"this cinemae reads model format_version 1, the model says {version!r}: upgrade cinemae, or export again.",
        )
        parts: dict[str, type[Settings]] = {
            "backbone": BackboneInfo,
            "extractor": ExtractorConfig,
            "lcas": LcasConfig,
            "head": HeadConfig,
            "decision": DecisionConfig,
            "reference": LcasReference,
        }
        missing = sorted({"name", "provenance", *parts} - set(values))
        require(not missing, f"a model's config.json needs the keys {', '.join(missing)}, which are missing.")
        built: dict[str, Any] = {key: part.from_dict(values[key]) for key, part in parts.items()}
        built["ood"] = OodReference.from_dict(values.get("ood", {}))  # older models have none
        model = cls(name=values["name"], provenance=values["provenance"], **built)
        stated = values.get("fingerprint", model.fingerprint)
        require(
            stated == model.fingerprint,
            f"the model's config.json states fingerprint {stated} but its settings give {model.fingerprint}: "
            "it was edited by hand; train or export again.",
        )
        return model
