"""One image in, one `Verdict` out: the path behind library, command line and server.

Many images take the same path: a few threads decode, preprocess and, where the model computes image by image, score;
verdicts come in the order of the images. Memory does not grow with their number.
"""

from __future__ import annotations

import dataclasses
import math
import os
from collections.abc import Generator, Iterable, Iterator, Sequence
from concurrent.futures import Executor
from contextlib import closing, contextmanager
from itertools import islice
from pathlib import Path
from typing import TYPE_CHECKING, Literal, Self

import numpy as np
from numpy.typing import NDArray

from cinemae.config import BY_HAND
from cinemae.core.calibration import is_out_of_distribution, ood_score
from cinemae.core.preprocess import preprocess, share_examined
from cinemae.detect.heatmap import shrink, view_box
from cinemae.detect.prepared import Options, Prepared, path_of, read_image, require_several, split, succeed
from cinemae.detect.reasons import reasons_for
from cinemae.detect.verdict import KeptPixels, ScoredVerdict, Verdict, as_scored
from cinemae.detect.words import flipped, word_for
from cinemae.errors import CinemaeError, ConfigError, log_unexpected, why_unread
from cinemae.evidence.image_warnings import image_warnings
from cinemae.evidence.provenance import read_provenance
from cinemae.evidence.redelivery import MASK_SEEDS, redeliver
from cinemae.models.checked_scores import CheckedScores, read_checked_scores
from cinemae.models.directory import resolve_model
from cinemae.models.publish import Publishable
from cinemae.models.scorers import Scorer, Scores, make_scorer
from cinemae.pictures.image import DEFAULT_MAX_PIXELS, load_image
from cinemae.pictures.picture import Picture
from cinemae.settings import usable_cores
from cinemae.sources.records import EncodedImage
from cinemae.sources.stream import NUM_WORKERS, read_ahead

if TYPE_CHECKING:
    from cinemae.detect.verdict_cache import VerdictCache
    from cinemae.pictures.image import ImageInput

DEFAULT_BATCH_SIZE = 8
THREADS_PER_IMAGE = max(1, usable_cores() // NUM_WORKERS)
"""Threads that compute an image where `NUM_WORKERS` images are computed at the same time, so that all cores work."""


class Detector(Publishable):
    """Tells generated images from photographs.

    Args:
        scorer: Model and engine.
        threshold: In place of the model's own; "real" then begins at the same value or below.
        cache: What was said of images before: `detect_batch` does not score the same content twice. None to score each.
        checked: What the model gave the images that it was checked on, to compare scores with; None to compare none.

    Example:
        >>> detector = Detector.from_pretrained()
        >>> verdict = detector.detect(np.zeros((64, 64, 3), np.uint8))
        >>> verdict.status, 0 <= verdict.prob_fake <= 1, verdict.lcas_map.ndim
        ('ok', True, 2)
    """

    def __init__(
        self,
        scorer: Scorer,
        *,
        threshold: float | None = None,
        cache: VerdictCache | None = None,
        checked: CheckedScores | None = None,
    ) -> None:
        self.scorer = scorer
        self.cache = cache
        self.checked = checked
        self.config = scorer.config
        self.decision = self.config.decision
        if threshold is not None:
            real_below = min(self.decision.real_below, threshold)
            self.decision = dataclasses.replace(
                self.decision,
                threshold=threshold,
                real_below=real_below,
                rule=BY_HAND,
                target_fpr=None,
                measured_fpr=None,
                target_fnr=self.decision.target_fnr if real_below == self.decision.real_below else None,
                measured_fnr=self.decision.measured_fnr if real_below == self.decision.real_below else None,
            )
        self.model_id = scorer.model_id

    @classmethod
    def from_pretrained(
        cls,
        path_or_id: str | Path | None = None,
        *,
        device: str | int = "auto",
        revision: str | None = None,
        precision: str = "auto",
        threshold: float | None = None,
        num_threads: int | None = None,
    ) -> Self:
        """Load a model.

        Args:
            path_or_id: A model directory or a Hub id, ``owner/name`` or ``owner/name@revision``; None for the bundled
                starter.
            device: "auto" and "cpu" need only the light install; "cuda" and "mps" need torch; a number is that of a
                CUDA device.
            revision: Branch, tag or commit of a Hub id, as in ``owner/name@revision``.
            precision: "fp32"; "int8" for a processor, faster, scores differ a little; "bf16" with torch;
                "auto" is bf16 on CUDA devices that have it, on a processor what the model names.
            threshold: prob_fake from which an image is called "ai", in place of the model's own.
            num_threads: Threads that compute one image with ONNX Runtime, which changes speed, not scores: None for one
                a core, the quickest for single images; `THREADS_PER_IMAGE` is quicker for many.

        Raises:
            ModelDirError: If there is no such model, or it cannot be used.
            ConfigError: If the threshold lies outside [0, 1], or there is no such device or precision.
            MissingDependencyError: If the model, the device or the precision needs torch and it is not installed.
        """
        if revision is not None:
            if path_or_id is None or "@" in str(path_or_id):
                raise ConfigError(
                    f"a revision is that of a Hub id without one, got revision {revision!r} of {path_or_id!r}: "
                    "name the model as owner/name."
                )
            path_or_id = f"{path_or_id}@{revision}"
        directory = resolve_model(path_or_id)
        device = f"cuda:{device}" if isinstance(device, int) else device
        scorer = make_scorer(directory, device, precision=precision, num_threads=num_threads)
        detector = cls(scorer, threshold=threshold, checked=read_checked_scores(directory))
        detector.directory = directory
        return detector

    def __repr__(self) -> str:
        """Name the model, what it runs on and where its verdicts lie."""
        return (
            f"{type(self).__name__}({self.model_id!r}, {self.scorer.engine}, device={self.scorer.device!r}, "
            f"ai from {self.decision.threshold:.3f}, real below {self.decision.real_below:.3f})"
        )

    def __call__(self, image: ImageInput, *, stable: bool = False) -> ScoredVerdict:
        """Score one image: `detect` under a shorter name."""
        return self.detect(image, stable=stable)

    def detect(self, image: ImageInput, *, stable: bool = False, max_pixels: int = DEFAULT_MAX_PIXELS) -> ScoredVerdict:
        """Score one image.

        Args:
            image: A path, encoded bytes, a binary file object, a PIL image, or an array (H, W), (H, W, 3) or (H, W, 4)
                of uint8, uint16 or floating point in [0, 1].
            stable: Score a few re-deliveries too (`cinemae.evidence.redelivery`), and call the image "uncertain" if
                one of them gets another verdict. Takes six times as long.
            max_pixels: Larger images are refused before they are decoded.

        Raises:
            ImageError: If it cannot be read as an image.
        """
        examined = self._examine(image, Options(keep_picture=True, stable=stable, max_pixels=max_pixels))
        return succeed(self._score([examined])[0])

    def detect_batch(
        self,
        images: Iterable[ImageInput | EncodedImage],
        *,
        batch_size: int = DEFAULT_BATCH_SIZE,
        on_error: Literal["record", "raise"] = "record",
        keep_pixels: bool = False,
        stable: bool = False,
        max_pixels: int = DEFAULT_MAX_PIXELS,
        pool: Executor | None = None,
    ) -> Generator[Verdict, None, None]:
        """Score many images, in their order.

        Args:
            images: What `detect` takes, each, or bytes with a name; read a few ahead, so it may be endless.
            batch_size: Images handed to the model together. Changes speed and memory, not scores.
            on_error: "record" makes an image that cannot be read a verdict with status "error".
            keep_pixels: Keep what `lcas_map` and `save_heatmap` need, some megabytes a verdict.
            stable: As in `detect`.
            max_pixels: As in `detect`.
            pool: Threads to work in, which go on afterwards; None for `NUM_WORKERS` that end with the last verdict.

        Returns:
            One verdict an image, as they come.

        Raises:
            ConfigError: If an argument is none of those above.
            ImageError: With on_error="raise", at the first image that cannot be read.
        """
        require_several(images)
        if batch_size < 1:
            raise ConfigError(f"batch_size must be at least 1, got {batch_size}.")
        if on_error not in ("record", "raise"):
            raise ConfigError(f'on_error must be "record" or "raise", got {on_error!r}.')
        options = Options(keep_pixels, stable, max_pixels)
        return self._stream(self._examine_ahead(images, batch_size, options, pool), batch_size, on_error, options)

    def _examine_ahead(
        self, images: Iterable[ImageInput | EncodedImage], batch_size: int, options: Options, pool: Executor | None
    ) -> Generator[Prepared, None, None]:
        """Work in threads on what nobody else can change; prepare the rest, which the caller may reuse, at once."""

        def given() -> Iterator[str | os.PathLike[str] | bytes | EncodedImage | Prepared]:
            for image in images:
                if isinstance(image, str | os.PathLike | bytes | EncodedImage):
                    yield image
                else:
                    yield self._examine(image, options, score=False)

        def examine(image: ImageInput | EncodedImage | Prepared) -> Prepared:
            return self._score_alone(image) if isinstance(image, Prepared) else self._examine(image, options)

        return read_ahead(examine, given(), ahead=batch_size + NUM_WORKERS, pool=pool)

    def _stream(
        self, examined: Generator[Prepared, None, None], batch_size: int, on_error: str, options: Options
    ) -> Generator[Verdict, None, None]:
        with closing(examined):  # the threads go on while a model that takes images together has these
            while batch := list(islice(examined, batch_size)):
                for verdict in self._score_once(batch, options):
                    yield succeed(verdict) if on_error == "raise" else verdict

    def _examine(self, image: ImageInput | EncodedImage, options: Options, *, score: bool = True) -> Prepared:
        """Do with one image what needs no others: read it, and recall its verdict, or prepare and perhaps score it."""
        path = path_of(image)
        try:
            source = read_image(image)
            content_hash = source.content_hash if isinstance(source, Picture) else None
            with self._claimed(content_hash, options) as known:
                if known is not None:
                    return Prepared(dataclasses.replace(known, path=path))
                loaded = load_image(source, max_pixels=options.max_pixels)
                pixel_values = preprocess(loaded.image, self.config.extractor.image)
                copies = redeliver(loaded.image, loaded.content_hash) if options.stable else ()
                redelivered = tuple((name, preprocess(one, self.config.extractor.image)) for name, one in copies)
                verdict = Verdict(
                    path,
                    "ok",
                    warnings=(*loaded.warnings, *image_warnings(loaded, self.config.extractor.image)),
                    provenance=read_provenance(source) if isinstance(source, Picture) else (),
                    width=loaded.width,
                    height=loaded.height,
                    format=loaded.format,
                    content_hash=loaded.content_hash,
                    model=self.model_id,
                )
                kept = shrink(loaded.image) if options.keep_picture else None
                num_bytes = len(source.data) if isinstance(source, Picture) else None
                del loaded, source  # many megabytes, not needed while the model computes
                examined = Prepared(verdict, pixel_values, redelivered, kept, num_bytes)
                return self._score_alone(examined) if score else examined
        except Exception as error:
            return Prepared(Verdict(path, "error", error_message=why_unread(error)))

    @contextmanager
    def _claimed(self, content_hash: str | None, options: Options) -> Iterator[Verdict | None]:
        """Let one thread at a time work on a content, and give it what the cache knows by then."""
        if self.cache is None or options.keep_picture or content_hash is None:
            yield None
        else:
            with self.cache.claimed(content_hash):
                yield self._recall(content_hash, options)

    def _score_alone(self, examined: Prepared) -> Prepared:
        """Score an image where that costs no more than scoring several together, so that threads score side by side."""
        return Prepared(self._score([examined])[0]) if self.scorer.one_by_one else examined

    def _score_once(self, batch: Sequence[Prepared], options: Options) -> list[Verdict]:
        """Score a batch; with a cache each content once, and none that the cache knows by now."""
        if self.cache is None or options.keep_picture:
            return self._score(batch)
        waiting = {one.verdict.content_hash or "": one for one in batch if one.pixel_values is not None}
        found = {key: known for key in waiting if (known := self._recall(key, options))}
        new = {key: one for key, one in waiting.items() if key not in found}
        found |= zip(new, self._score(list(new.values())), strict=True)
        return [
            one.verdict
            if one.pixel_values is None
            else dataclasses.replace(found[one.verdict.content_hash or ""], path=one.verdict.path)
            for one in batch
        ]

    def _recall(self, content_hash: str, options: Options) -> Verdict | None:
        """Return what the cache knows of this content, in the words of today's thresholds."""
        known = self.cache.find(content_hash, stable=options.stable) if self.cache is not None else None
        if known is None or known["width"] * known["height"] > options.max_pixels:
            return None  # one that is too large for today's limit is refused where it is loaded
        return self._decide(Verdict(None, "ok", content_hash=content_hash, model=self.model_id, **known))

    def _score(self, batch: Sequence[Prepared]) -> list[Verdict]:
        """Score a batch; if that fails, score each image by itself, so that no image costs others their score."""
        try:
            return self._score_together(batch)
        except CinemaeError:
            raise
        except Exception as error:
            if len(batch) > 1:
                return [self._score([examined])[0] for examined in batch]
            return [Verdict(batch[0].verdict.path, "error", error_message=log_unexpected(error))]

    def _score_together(self, batch: Sequence[Prepared]) -> list[Verdict]:
        """Score the images that could be read, in one call, and put the verdicts in the order of the batch."""
        readable = [examined for examined in batch if examined.pixel_values is not None]
        scored: Iterator[Verdict] = iter(())
        if readable:
            pixel_values = np.stack([p.pixel_values for p in readable if p.pixel_values is not None])
            scores = self.scorer.score(pixel_values)
            stable = bool(readable[0].redelivered)
            redeliveries = self._score_redelivered(readable, pixel_values) if stable else [None] * len(readable)
            scored = map(self._verdict, readable, split(scores), redeliveries)
        return [examined.verdict if examined.pixel_values is None else next(scored) for examined in batch]

    def _score_redelivered(
        self, readable: Sequence[Prepared], pixel_values: NDArray[np.float32]
    ) -> Sequence[dict[str, float]]:
        """Return prob_fake of each image's re-deliveries, and of the image under other masks, by name."""
        found: list[dict[str, float]] = [{} for _ in readable]
        for index, (name, _) in enumerate(readable[0].redelivered):
            scores = self.scorer.score(np.stack([examined.redelivered[index][1] for examined in readable]))
            for values, prob_fake in zip(found, scores.prob_fake.tolist(), strict=True):
                values[name] = prob_fake
        for step in MASK_SEEDS:
            seed = self.config.extractor.mask.seed + step
            scores = self.scorer.score(pixel_values, mask_seed=seed)
            for values, prob_fake in zip(found, scores.prob_fake.tolist(), strict=True):
                values[f"mask_seed={seed}"] = prob_fake
        return found

    def _verdict(self, examined: Prepared, scores: Scores, redeliveries: dict[str, float] | None) -> Verdict:
        """Say what one image's scores mean; `scores` holds one image."""
        verdict, stats = examined.verdict, scores.stats[0].tolist()
        prob_fake, logit = float(scores.prob_fake[0]), float(scores.logit[0])
        if not all(map(math.isfinite, (prob_fake, logit, *stats, *(redeliveries or {}).values()))):
            reason = f"the model {self.model_id} gave a score that is no number: if others fail as well, it is damaged."
            return Verdict(verdict.path, "error", error_message=reason)
        unlike = float(ood_score(scores.ood_distance[0], self.config.ood))
        unseen = ("out_of_distribution",) if is_out_of_distribution(unlike, self.config.ood) else ()
        scored = dataclasses.replace(
            verdict,
            prob_fake=prob_fake,
            logit=logit,
            variability=stats[0],
            overall=stats[1],
            sensitivity=stats[2],
            ood_score=None if math.isnan(unlike) else unlike,
            warnings=(*verdict.warnings, *unseen),
            redeliveries=redeliveries,
            _kept=self._keep(examined),
        )
        if self.cache is not None:
            self.cache.keep(scored)
        return self._decide(scored)

    def _decide(self, scored: Verdict) -> Verdict:
        """Say what scores mean by today's thresholds, and why."""
        prob_fake = scored.prob_fake or 0.0  # none is None here
        word = word_for(prob_fake, self.decision)
        flips = flipped(word, scored.redeliveries or {}, self.decision)
        looked = share_examined(scored.width or 1, scored.height or 1, self.config.extractor.image)
        scored = dataclasses.replace(scored, examined=looked)
        reasons = reasons_for(scored, self.decision, self.checked)
        decided = dataclasses.replace(
            scored,
            verdict="uncertain" if flips else word,
            threshold=self.decision.threshold,
            false_positive_rate=self.decision.target_fpr,
            reasons=reasons.sentences,
            reason_kinds=reasons.kinds,
        )
        return as_scored(decided)

    def _keep(self, examined: Prepared) -> KeptPixels | None:
        width, height = examined.verdict.width, examined.verdict.height
        if examined.picture is None or examined.pixel_values is None or not width or not height:
            return None
        box = view_box(width, height, self.config.extractor.image)
        return KeptPixels(self.scorer, examined.pixel_values, examined.picture, box, examined.num_bytes)
