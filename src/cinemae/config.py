"""The settings of the method, one frozen dataclass for each stage: the single place for every default.

Each field of what is trained says "paper" where the paper states the default, else "ours", and what the paper has where
it has something else; `cinemae.preset.PAPER` is the paper and nothing else. Docstrings name the decision records. The
settings of the frozen half lie in `cinemae.extractor_config` and are to be had here too.
"""

from __future__ import annotations

import dataclasses
import hashlib
import json
import typing
from dataclasses import dataclass, field
from typing import Any, ClassVar, Literal, Self, TypedDict

from cinemae.extractor_config import (
    CLIP_MEAN,
    CLIP_STD,
    IMAGENET_MEAN,
    IMAGENET_STD,
    TOKEN_STATISTICS,
    DeviationConfig,
    ExtractorConfig,
    GlobalFeatureConfig,
    ImageConfig,
    MaskConfig,
    MaskScheme,
    PixelSpace,
    Resize,
    TokenStatistic,
    Views,
)
from cinemae.settings import Settings, require

__all__ = [
    "CLIP_MEAN",
    "CLIP_STD",
    "IMAGENET_MEAN",
    "IMAGENET_STD",
    "STATISTICS",
    "TOKEN_STATISTICS",
    "AugmentConfig",
    "BackboneInfo",
    "DecisionConfig",
    "DeviationConfig",
    "ExtractorConfig",
    "Fusion",
    "FusionLevel",
    "GlobalFeatureConfig",
    "HeadConfig",
    "ImageConfig",
    "LcasConfig",
    "LcasReference",
    "MaskConfig",
    "MaskScheme",
    "ModelConfig",
    "OodReference",
    "PixelSpace",
    "Reduction",
    "Resize",
    "Statistic",
    "TokenStatistic",
    "TrainConfig",
    "ViewPooling",
    "Views",
]

Reduction = Literal["mean", "sum", "literal"]
Fusion = Literal["add", "concat", "gate"]
FusionLevel = Literal["early", "late"]
Statistic = Literal["variability", "overall", "sensitivity"]
ViewPooling = Literal["logit", "mean", "mean_std", "concat"]
ProcessorPrecision = Literal["fp32", "int8"]

STATISTICS: tuple[Statistic, ...] = ("variability", "overall", "sensitivity")


@dataclass(frozen=True)
class AugmentConfig(Settings):
    """Altered copies of training pictures, both classes alike: ours, the paper has none (decision 0003).

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
    """How the two terms of Eq. 4 are weighed and summed (decision 0001)."""

    fidelity_weight: float = 0.1  # paper
    reduction: Reduction = "mean"  # ours; as printed: "literal"

    def __post_init__(self) -> None:
        super().__post_init__()
        require(self.fidelity_weight >= 0, f"fidelity_weight (lambda) must not be negative: {self.fidelity_weight}.")


@dataclass(frozen=True)
class HeadConfig(Settings):
    """The trained half, Eqs. 7-9 (decision 0003).

    With no `cls_hidden`, MLP_cls is one linear layer. Of a scaled global feature, what is farther than `clip_global`
    deviations from its mean counts as so far.
    """

    _LATER: ClassVar[tuple[str, ...]] = ("clip_global",)

    global_dim: int = 1024  # paper
    view_pooling: ViewPooling = "logit"  # ours; of one view it makes no difference
    statistics: tuple[Statistic, ...] = STATISTICS  # paper
    use_global: bool = True  # paper
    fusion: Fusion = "add"  # paper
    fusion_level: FusionLevel = "early"  # paper
    agg_hidden: int = 256  # ours
    cls_hidden: tuple[int, ...] = (256,)  # ours
    activation: Literal["gelu", "relu"] = "gelu"  # ours
    dropout: float = 0.0  # ours
    standardize_statistics: bool = True  # ours; paper: False, Eq. 7 takes them as they are
    standardize_global: bool = True  # ours; paper: False, Eq. 8 has the LayerNorm alone
    clip_global: float | None = None  # paper

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
        require(
            self.clip_global is None or (self.clip_global > 0 and self.standardize_global),
            f"clip_global is a positive number of deviations of a standardised feature, got {self.clip_global} with "
            f"standardize_global {self.standardize_global}.",
        )

    @property
    def joins_views_side_by_side(self) -> bool:
        """Whether each view has columns of its own, because each looks at a picture in a way of its own."""
        return self.view_pooling == "concat"


@dataclass(frozen=True)
class TrainConfig(Settings):
    """Training of the head (Sec. 5; decision 0003).

    "lbfgs" takes all images at once: an epoch is up to `LBFGS_STEPS` (`cinemae.training.train`) of its iterations, it
    asks for no learning rate, and `weight_decay` is the L2 of matrices: 1 / (C N) for scikit-learn's C.
    """

    _LATER: ClassVar[tuple[str, ...]] = ("optimizer",)

    learning_rate: float = 1e-4  # paper
    batch_size: int = 32  # paper
    epochs: int = 25  # paper
    weight_decay: float = 0.0  # paper
    class_balance: Literal["none", "class", "generator"] = "class"  # ours; paper: "none", BCE has no weights
    seed: int = 0  # ours
    num_seeds: int = 3  # ours
    views_drawn: int | None = None  # ours; of one view it makes no difference
    target_fpr: float = 0.02  # ours; the paper states no threshold
    target_fnr: float = 0.1  # ours
    optimizer: Literal["adam", "lbfgs"] = "adam"  # paper

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


BY_HAND = "set by hand"
"""The rule of a threshold that somebody chose in place of the model's own."""


@dataclass(frozen=True)
class DecisionConfig(Settings):
    """From logit to verdict: calibration, then "ai" from `threshold`, "real" below `real_below`, else "uncertain".

    All of it is ours: the paper states no threshold, and what 0.5 of the probability before calibration gives is told
    beside it (`cinemae.models.results.TrainingResults.at_half`).

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


class DataNote(TypedDict):
    """A set of images that a model was trained or measured on, where it comes from, and on which terms."""

    set: str
    images: int
    origin: str


class Provenance(TypedDict, total=False):
    """How a model came about, for config.json and the card; other keys are somebody's own notes.

    Attributes:
        data: Its images.
        licence: Of the weights.
        recipe: What is to be said of the training, a line each.
        notes: What else is to be said, a line each.
        preset: The name of the settings that go together, and what was set beside them.
        train: Settings of training, `TrainConfig.to_dict`.
        finetune: Those of fine-tuning, where parts of the backbone were unfrozen.
        split: How validation was chosen, in words.
        altered_copies: How the copies that were trained on as well were altered, `AugmentConfig.to_dict` each.
    """

    data: list[DataNote]
    licence: str
    recipe: list[str]
    notes: list[str]
    preset: object
    train: dict[str, object]
    finetune: dict[str, object]
    split: str
    altered_copies: list[dict[str, object]]


@dataclass(frozen=True)
class ModelConfig:
    """`config.json` of a model directory: all that a detector needs besides the weights.

    Attributes:
        precision: What the backbone computes in on a processor, unless asked otherwise: that which the thresholds were
            found with.
    """

    name: str
    backbone: BackboneInfo
    extractor: ExtractorConfig
    lcas: LcasConfig
    head: HeadConfig
    decision: DecisionConfig
    reference: LcasReference
    provenance: Provenance
    ood: OodReference = field(default_factory=OodReference)
    precision: ProcessorPrecision = "fp32"
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
        if self.precision == "fp32":
            del values["precision"]
        text = json.dumps(values, sort_keys=True)
        return f"{self.name}@{hashlib.sha256(text.encode()).hexdigest()[:12]}"

    def to_dict(self) -> dict[str, Any]:
        """Return plain JSON types, the fingerprint included for readers that do not run Python."""
        values: dict[str, Any] = json.loads(json.dumps(dataclasses.asdict(self)))
        parts = {"extractor": self.extractor.to_dict(), "head": self.head.to_dict()}
        return values | parts | {"fingerprint": self.fingerprint}

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
        precision = values.get("precision", "fp32")  # older models do not say
        known = typing.get_args(ProcessorPrecision)
        require(precision in known, f"a model's precision is {' or '.join(known)}, config.json says {precision!r}.")
        model = cls(name=values["name"], provenance=values["provenance"], precision=precision, **built)
        stated = values.get("fingerprint", model.fingerprint)
        require(
            stated == model.fingerprint,
            f"the model's config.json states fingerprint {stated} but its settings give {model.fingerprint}: "
            "it was edited by hand; train or export again.",
        )
        return model
