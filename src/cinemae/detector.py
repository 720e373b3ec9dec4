"""One image in, one `Verdict` out: the path behind library, command line and server.

Many images take the same path: a few threads decode and preprocess ahead of the model, and verdicts come in the order
of the images. Memory does not grow with their number.
"""

from __future__ import annotations

import dataclasses
import math
import os
from collections import deque
from collections.abc import Generator, Iterable, Iterator, Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from dataclasses import dataclass
from functools import cached_property
from itertools import islice
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal, Self

import numpy as np
from numpy.typing import NDArray

from cinemae.core.image import load_image
from cinemae.core.preprocess import preprocess
from cinemae.data.model_dir import resolve_model
from cinemae.errors import ConfigError, ImageError
from cinemae.heatmap import render_heatmap, shrink, view_box
from cinemae.scorers import Scorer, Scores, make_scorer

if TYPE_CHECKING:
    from PIL import Image

    from cinemae.core.image import ImageInput

DEFAULT_BATCH_SIZE = 8
NUM_DECODERS = min(4, os.cpu_count() or 1)


@dataclass(frozen=True)
class _Kept:
    """What a heat map needs of an image, some megabytes: the reason why a bulk run keeps none."""

    scorer: Scorer
    pixel_values: NDArray[np.float32]
    picture: Image.Image
    box: tuple[float, float, float, float]


@dataclass(frozen=True)
class Verdict:
    """What the model says of one image. If it could not be read, all but path, status and error_message are empty.

    Attributes:
        path: Where the image came from; None if it was given as bytes, file object, picture or array.
        status: "ok", or "error".
        verdict: "ai" if prob_fake reaches the threshold, "real" if it stays below the model's `real_below`, else
            "uncertain".
        prob_fake: Calibrated probability that the image was generated. A signal, not proof.
        logit: The head's output before calibration, Eq. 9.
        threshold: Where "ai" begins.
        variability: s1.
        overall: s2.
        sensitivity: s3.
        warnings: What the reader should know of the image, such as "animated_first_frame".
        width: Of the upright picture, in pixels.
        height: Of the upright picture, in pixels.
        format: What it was decoded as, such as "JPEG".
        content_hash: SHA-256 of the encoded bytes (of the pixels, where there are none).
        model: The model's name and settings, `ModelConfig.model_id`.
        error_message: Why there is no score.
    """

    path: str | None
    status: Literal["ok", "error"]
    verdict: Literal["ai", "uncertain", "real"] | None = None
    prob_fake: float | None = None
    logit: float | None = None
    threshold: float | None = None
    variability: float | None = None
    overall: float | None = None
    sensitivity: float | None = None
    warnings: tuple[str, ...] = ()
    width: int | None = None
    height: int | None = None
    format: str | None = None
    content_hash: str | None = None
    model: str | None = None
    error_message: str | None = None
    _kept: _Kept | None = dataclasses.field(default=None, repr=False, compare=False)

    def to_dict(self) -> dict[str, Any]:
        r"""Return plain JSON types: 15 keys, always the same and in the same order, and `error_message` on an error.

        The path is valid Unicode: bytes of a file name that are not UTF-8 are written as ``\xe9``.
        """
        names = [field.name for field in dataclasses.fields(self)[:15]]
        values = {name: getattr(self, name) for name in names}
        if self.path is not None:
            values["path"] = os.fsencode(self.path).decode("utf-8", "backslashreplace")
        values["warnings"] = list(self.warnings) if self.status == "ok" else None
        if self.status == "error":
            values["error_message"] = self.error_message
        return values

    @cached_property
    def lcas_map(self) -> NDArray[np.float32]:
        """How hard each patch is to predict from its context, (rows, columns); computed at first use.

        High is what photographs score: this is no map of what is fake.

        Raises:
            ConfigError: If no pixels were kept.
        """
        kept = self._require_kept()
        return kept.scorer.lcas_map(kept.pixel_values)

    def heatmap(self) -> Image.Image:
        """Draw `lcas_map` over the picture, with its colour bar below.

        Raises:
            ConfigError: If no pixels were kept.
            ModelDirError: If the model holds no reference of photographs to draw the colours against.
        """
        kept = self._require_kept()
        return render_heatmap(kept.picture, self.lcas_map, kept.scorer.config.reference, kept.box)

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

    def _require_kept(self) -> _Kept:
        if self._kept is None:
            reason = "it has no pixels" if self.status == "error" else "its pixels were not kept"
            raise ConfigError(
                f"no map can be made of this verdict, {reason}: use detect, or detect_batch(..., keep_pixels=True)."
            )
        return self._kept


@dataclass(frozen=True)
class _Prepared:
    """An image ready for the model, or the reason why it is not; the full picture is gone by now."""

    verdict: Verdict
    pixel_values: NDArray[np.float32] | None = None
    picture: Image.Image | None = None


class Detector:
    """Tells generated images from photographs.

    Args:
        scorer: Model and engine.
        threshold: In place of the model's own; "real" then begins at the same value or below.

    Example:
        >>> detector = Detector.from_pretrained()
        >>> verdict = detector.detect(np.zeros((64, 64, 3), np.uint8))
        >>> verdict.status, 0 <= verdict.prob_fake <= 1, verdict.lcas_map.ndim
        ('ok', True, 2)
    """

    def __init__(self, scorer: Scorer, *, threshold: float | None = None) -> None:
        self.scorer = scorer
        self.config = scorer.config
        self.decision = self.config.decision
        if threshold is not None:
            real_below = min(self.decision.real_below, threshold)
            self.decision = dataclasses.replace(
                self.decision, threshold=threshold, real_below=real_below, rule="set by hand"
            )
        self.model_id = self.config.model_id

    @classmethod
    def from_pretrained(
        cls, path_or_id: str | Path | None = None, *, device: str = "auto", threshold: float | None = None
    ) -> Self:
        """Load a model.

        Args:
            path_or_id: A model directory or a Hub id; None for the bundled starter.
            device: "auto" and "cpu" need only the light install; "cuda" and "mps" need torch.
            threshold: prob_fake from which an image is called "ai", in place of the model's own.

        Raises:
            ModelDirError: If there is no such model, or it cannot be used.
            ConfigError: If the threshold lies outside [0, 1] or there is no such device.
            MissingDependencyError: If the model or the device needs torch and it is not installed.
        """
        return cls(make_scorer(resolve_model(path_or_id), device), threshold=threshold)

    def detect(self, image: ImageInput) -> Verdict:
        """Score one image.

        Args:
            image: A path, encoded bytes, a binary file object, a PIL image, or an array (H, W), (H, W, 3) or (H, W, 4)
                of uint8, uint16 or floating point in [0, 1].

        Raises:
            ImageError: If it cannot be read as an image.
        """
        return _succeed(self._judge([self._prepare(image, keep_picture=True)])[0])

    def detect_batch(
        self,
        images: Iterable[ImageInput],
        *,
        batch_size: int = DEFAULT_BATCH_SIZE,
        on_error: Literal["record", "raise"] = "record",
        keep_pixels: bool = False,
    ) -> Generator[Verdict, None, None]:
        """Score many images, in their order.

        Args:
            images: What `detect` takes, each; read a few ahead, so it may be endless.
            batch_size: Images handed to the model together. Changes speed and memory, not scores.
            on_error: "record" makes an image that cannot be read a verdict with status "error".
            keep_pixels: Keep what `lcas_map` and `save_heatmap` need, some megabytes a verdict.

        Returns:
            One verdict an image, as they come.

        Raises:
            ConfigError: If an argument is none of those above.
            ImageError: With on_error="raise", at the first image that cannot be read.
        """
        if batch_size < 1:
            raise ConfigError(f"batch_size must be at least 1, got {batch_size}.")
        if on_error not in ("record", "raise"):
            raise ConfigError(f'on_error must be "record" or "raise", got {on_error!r}.')
        return self._stream(iter(images), batch_size, on_error == "raise", keep_pixels)

    def _stream(
        self, images: Iterator[ImageInput], batch_size: int, raise_errors: bool, keep_pixels: bool
    ) -> Generator[Verdict, None, None]:
        pool = ThreadPoolExecutor(NUM_DECODERS, thread_name_prefix="cinemae-decode")
        ahead: deque[Future[_Prepared]] = deque()

        def read_ahead() -> None:
            for image in islice(images, batch_size + NUM_DECODERS - len(ahead)):
                ahead.append(self._start(pool, image, keep_pixels))

        try:
            read_ahead()
            while ahead:
                batch = [ahead.popleft().result() for _ in range(min(batch_size, len(ahead)))]
                read_ahead()  # the decoders go on while the model works
                for verdict in self._judge(batch):
                    yield _succeed(verdict) if raise_errors else verdict
        finally:
            pool.shutdown(wait=False, cancel_futures=True)

    def _start(self, pool: ThreadPoolExecutor, image: ImageInput, keep_pixels: bool) -> Future[_Prepared]:
        """Prepare in a thread what nobody else can change; the rest, which the caller may reuse, at once."""
        if isinstance(image, str | os.PathLike | bytes):
            return pool.submit(self._prepare, image, keep_picture=keep_pixels)
        done: Future[_Prepared] = Future()
        done.set_result(self._prepare(image, keep_picture=keep_pixels))
        return done

    def _prepare(self, image: ImageInput, *, keep_picture: bool) -> _Prepared:
        path = os.fsdecode(image) if isinstance(image, str | os.PathLike) else None
        try:
            loaded = load_image(image)
            pixel_values = preprocess(loaded.image, self.config.extractor.image)
        except ImageError as error:
            return _Prepared(Verdict(path, "error", error_message=str(error)))
        verdict = Verdict(
            path,
            "ok",
            threshold=self.decision.threshold,
            warnings=loaded.warnings,
            width=loaded.width,
            height=loaded.height,
            format=loaded.format,
            content_hash=loaded.content_hash,
            model=self.model_id,
        )
        return _Prepared(verdict, pixel_values, shrink(loaded.image) if keep_picture else None)

    def _judge(self, batch: Sequence[_Prepared]) -> list[Verdict]:
        """Score the images that could be read, in one call, and put the verdicts in the order of the batch."""
        readable = [prepared.pixel_values for prepared in batch if prepared.pixel_values is not None]
        scores = self.scorer.score(np.stack(readable)) if readable else None
        verdicts, position = [], 0
        for prepared in batch:
            if scores is None or prepared.pixel_values is None:
                verdicts.append(prepared.verdict)
            else:
                verdicts.append(self._verdict(prepared, prepared.pixel_values, scores, position))
                position += 1
        return verdicts

    def _verdict(
        self, prepared: _Prepared, pixel_values: NDArray[np.float32], scores: Scores, position: int
    ) -> Verdict:
        verdict, stats = prepared.verdict, scores.stats[position].tolist()
        prob_fake, logit = float(scores.prob_fake[position]), float(scores.logit[position])
        if not all(map(math.isfinite, (prob_fake, logit, *stats))):
            reason = f"the model {self.model_id} gave a score that is no number: if others fail as well, it is damaged."
            return Verdict(verdict.path, "error", error_message=reason)
        kept = None
        if prepared.picture is not None and verdict.width and verdict.height:
            box = view_box(verdict.width, verdict.height, self.config.extractor.image)
            kept = _Kept(self.scorer, pixel_values, prepared.picture, box)
        return dataclasses.replace(
            verdict,
            verdict=self._decide(prob_fake),
            prob_fake=prob_fake,
            logit=logit,
            variability=stats[0],
            overall=stats[1],
            sensitivity=stats[2],
            _kept=kept,
        )

    def _decide(self, prob_fake: float) -> Literal["ai", "uncertain", "real"]:
        if prob_fake >= self.decision.threshold:
            return "ai"
        return "real" if prob_fake < self.decision.real_below else "uncertain"


def _succeed(verdict: Verdict) -> Verdict:
    if verdict.status == "error":
        raise ImageError(verdict.error_message)
    return verdict
