"""What is said of one image: the verdict, the doubts, the evidence beside it, and the map behind it."""

from __future__ import annotations

import dataclasses
import math
import os
from collections.abc import Mapping
from dataclasses import dataclass, field
from functools import cached_property
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal, cast

import numpy as np
from numpy.typing import NDArray

from cinemae.core.preprocess import Examined
from cinemae.detect.heatmap import render_heatmap
from cinemae.detect.reasons import CONFLICT, ReasonKind, Reasons
from cinemae.detect.words import Word
from cinemae.errors import ConfigError
from cinemae.models.scorers import Scorer
from cinemae.verdict_row import VerdictRow

if TYPE_CHECKING:
    from PIL import Image

    from cinemae.evidence.signals import ProvenanceSignal

ROW_SCHEMA = 2
"""Version of what `Verdict.to_dict` writes. It rises whenever a key gets another meaning or another type, or new keys
come; rows of version 1 have no `schema_version`."""


@dataclass(frozen=True)
class KeptPixels:
    """What a heat map or a report needs of an image, some megabytes: the reason why a bulk run keeps none."""

    scorer: Scorer
    pixel_values: NDArray[np.float32]
    picture: Image.Image
    box: tuple[float, float, float, float]
    num_bytes: int | None = None


@dataclass(frozen=True)
class Verdict:
    """What the model says of one image. If it could not be read, all but path, status and error_message are empty.

    Attributes:
        path: Where the image came from; None if it was given as bytes, file object, picture or array.
        status: "ok", or "error".
        verdict: "ai" if prob_fake reaches the threshold, "real" if it stays below the model's `real_below`, else
            "uncertain"; with stable=True also "uncertain" where a re-delivery gets another word.
        prob_fake: Calibrated probability that the image was generated. A signal, not proof.
        logit: The head's output before calibration, Eq. 9.
        threshold: Where "ai" begins.
        false_positive_rate: Share of photographs that the threshold was set to call "ai"; None if it was set by hand.
        reasons: Why this verdict, and what speaks against relying on it: sentences.
        variability: s1.
        overall: s2.
        sensitivity: s3.
        ood_score: Share of the photographs calibrated on that are less unlike the training images, 0 to 1; None if
            the model cannot say.
        warnings: Names of what makes errors likelier or hides a part of the file; `cinemae.evidence.image_warnings`
            says what each means.
        redeliveries: With stable=True, prob_fake of the picture saved anew, made smaller, mirrored, and under other
            masks, by name; else None.
        provenance: What the file itself says of its origin; no part of the score.
        width: Of the upright picture, in pixels.
        height: Of the upright picture, in pixels.
        format: What it was decoded as, such as "JPEG".
        content_hash: SHA-256 of the encoded bytes (of the pixels, where there are none).
        model: The model's name, settings and precision, `cinemae.models.scorers.Scorer.model_id`.
        examined: What share of the picture's area the model looked at.
        reason_kinds: What each of the reasons is about, `cinemae.detect.reasons.GROUPS`.
        schema_version: Of the row, `ROW_SCHEMA`.
        error_message: Why there is no score.
    """

    path: str | None
    status: Literal["ok", "error"]
    verdict: Word | None = None
    prob_fake: float | None = None
    logit: float | None = None
    threshold: float | None = None
    false_positive_rate: float | None = None
    reasons: tuple[str, ...] = ()
    variability: float | None = None
    overall: float | None = None
    sensitivity: float | None = None
    ood_score: float | None = None
    warnings: tuple[str, ...] = ()
    redeliveries: Mapping[str, float] | None = None
    provenance: tuple[ProvenanceSignal, ...] = ()
    width: int | None = None
    height: int | None = None
    format: str | None = None
    content_hash: str | None = None
    model: str | None = None
    examined: Examined | None = None
    reason_kinds: tuple[ReasonKind, ...] = ()
    schema_version: int = ROW_SCHEMA
    error_message: str | None = None
    _kept: KeptPixels | None = field(default=None, repr=False, compare=False)

    def to_dict(self) -> VerdictRow:
        r"""Return plain JSON types: always the same keys in the same order, and `error_message` on an error.

        The path is valid Unicode: bytes of a file name that are not UTF-8 are written as ``\xe9``.
        """
        names = [attribute.name for attribute in dataclasses.fields(self)]
        values = {name: getattr(self, name) for name in names if name not in ("error_message", "_kept")}
        if self.path is not None:
            values["path"] = os.fsencode(self.path).decode("utf-8", "backslashreplace")
        if self.status == "error":
            lists = dict.fromkeys(("reasons", "reason_kinds", "warnings", "provenance"))
            return cast("VerdictRow", {**values, **lists, "error_message": self.error_message})
        for name in ("reasons", "reason_kinds", "warnings"):
            values[name] = list(values[name])
        values["examined"] = None if self.examined is None else dataclasses.asdict(self.examined)
        values["redeliveries"] = None if self.redeliveries is None else dict(self.redeliveries)
        values["provenance"] = [signal.to_dict() for signal in self.provenance]
        return cast("VerdictRow", values)

    @property
    def explanation(self) -> Reasons:
        """The reasons with their kinds, by group: why this verdict, what makes it less sure."""
        return Reasons.of(self)

    @property
    def conflict(self) -> str | None:
        """The first of the reasons where the file declares the contrary of the verdict; else None."""
        return self.reasons[0] if self.reasons and self.reasons[0].startswith(CONFLICT) else None

    @property
    def picture(self) -> Image.Image:
        """A small copy of the upright picture.

        Raises:
            ConfigError: If no pixels were kept.
        """
        return self._require_kept().picture

    @property
    def num_bytes(self) -> int | None:
        """Size of the file that was given; None where there was none.

        Raises:
            ConfigError: If no pixels were kept.
        """
        return self._require_kept().num_bytes

    def without_pixels(self) -> Verdict:
        """Return the same without what a map needs, some megabytes less."""
        return dataclasses.replace(self, _kept=None)

    @cached_property
    def lcas_map(self) -> NDArray[np.float32]:
        """How hard each patch is to predict from its context, (rows, columns); computed at first use.

        Photographs and generated images both have hard parts: this is no map of what is fake.

        Raises:
            ConfigError: If no pixels were kept.
        """
        kept = self._require_kept()
        return kept.scorer.lcas_map(kept.pixel_values)

    def heatmap(self, *, legend: bool = True) -> Image.Image:
        """Draw `lcas_map` over the picture.

        Args:
            legend: Draw the colour bar below; without it the map has the proportions of the picture.

        Raises:
            ConfigError: If no pixels were kept.
            ModelDirError: If the model holds no reference of photographs to draw the colours against.
        """
        kept = self._require_kept()
        return render_heatmap(kept.picture, self.lcas_map, kept.scorer.config.reference, kept.box, legend=legend)

    def save_heatmap(self, path: str | os.PathLike[str]) -> None:
        """Write `heatmap` as PNG.

        Args:
            path: A name that ends in .png.

        Raises:
            ConfigError: If no pixels were kept, or the name is another.
            ModelDirError: If the model holds no reference of photographs to draw the colours against.
        """
        self._require_kept()
        if Path(path).suffix.lower() != ".png":
            raise ConfigError(f"a heat map is written as PNG, got {os.fspath(path)!r}: end the name in .png.")
        self.heatmap().save(path, "PNG")

    def __getstate__(self) -> dict[str, Any]:
        """Leave out what a map needs: a verdict travels between processes without its model."""
        return {**self.__dict__, "_kept": None}

    def _require_kept(self) -> KeptPixels:
        if self._kept is None:
            reason = "it has no pixels" if self.status == "error" else "its pixels were not kept"
            raise ConfigError(
                f"no map can be made of this verdict, {reason}: use detect, or detect_batch(..., keep_pixels=True)."
            )
        return self._kept


@dataclass(frozen=True)
class ScoredVerdict(Verdict):
    """What the model says of an image that could be read: what is always there then is never None by its type."""

    verdict: Word = "uncertain"
    prob_fake: float = math.nan
    logit: float = math.nan
    threshold: float = 1.0
    variability: float = math.nan
    overall: float = math.nan
    sensitivity: float = math.nan
    width: int = 0
    height: int = 0
    content_hash: str = ""
    model: str = ""


def as_scored(verdict: Verdict) -> ScoredVerdict:
    """Return a verdict with status "ok" under its narrower type."""
    return ScoredVerdict(**{name.name: getattr(verdict, name.name) for name in dataclasses.fields(verdict)})
