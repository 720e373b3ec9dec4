"""From ``--detector`` to columns of scores: our own model, baselines trained here, anybody's class, a file of scores.

A detector that is trained here is fitted on three quarters of the training images; its threshold is the one of best
balanced accuracy on the rest, or on a validation set. Test images choose nothing.
"""

from __future__ import annotations

import hashlib
import importlib
import json
import math
import sys
from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any, Protocol

import numpy as np
from numpy.typing import NDArray
from PIL import Image

from cinemae.errors import CinemaeError, ConfigError, EvaluationError
from cinemae.evaluation.analyses.transfer import best_threshold
from cinemae.evaluation.baselines.detectzoo_detector import PREFIX, DetectZooDetector
from cinemae.evaluation.baselines.methods import absent_method
from cinemae.evaluation.baselines.options import options_from_text
from cinemae.evaluation.baselines.registry import BASELINES, load_baseline
from cinemae.evaluation.baselines.saved import DETECTOR_FILE
from cinemae.evaluation.frozen_detectors import FrozenDetector
from cinemae.evaluation.own_model import CinemaeColumns
from cinemae.evaluation.pictures import PictureList, require_both
from cinemae.evaluation.predictions import RAW, Column, Images, Outputs
from cinemae.evaluation.probe_columns import ProbeColumns
from cinemae.evaluation.run import BATCH_SIZE, Batch, DetectorColumns, checked_scores, require_finite
from cinemae.evaluation.score_file import ScoreFile
from cinemae.features.training_set import hold_out

DEFAULT_DETECTORS = ("cinemae",)


class ImageDetector(Protocol):
    """What anybody's class must offer; `name`, `outputs` and `threshold` are looked at if they are there."""

    def predict(self, images: Sequence[Image.Image]) -> Any:  # noqa: ANN401 - whatever NumPy turns into an array
        """Return one number an image; higher means more likely generated."""
        ...


@dataclass(frozen=True)
class PictureSet:
    """Labelled images that can be read.

    Attributes:
        pictures: Decoded when asked for.
        images: What is known of them.
    """

    pictures: PictureList
    images: Images

    def chosen(self, which: NDArray[np.intp]) -> PictureSet:
        """Return some of them."""
        records = [self.pictures.records[index] for index in which]
        return PictureSet(PictureList(records), self.images.chosen(which))

    def split(self, seed: int) -> tuple[PictureSet, PictureSet]:
        """Return what to train on, and a quarter of each generator's and each photo source's images held out."""
        held_out = hold_out(self.images.label, self.images.generator, seed=seed)
        return self.chosen(np.nonzero(~held_out)[0]), self.chosen(np.nonzero(held_out)[0])


@dataclass(frozen=True)
class Setup:
    """What detectors may need.

    Attributes:
        model: Model directory or Hub id; None for the bundled one.
        device: Where it runs.
        precision: What it computes in, as for `cinemae.models.scorers.make_scorer`.
        train: What baselines are trained on.
        validation: What their thresholds are chosen on; None for a part of `train`.
        seeds: How many times each is trained, from seed 0 up.
        mask_seeds: With how many seeds of the masks our own model is run, its own first.
        keep: Folder where trained baselines are kept, to be taken from there when the same is asked for again.
        tell: Called with a line about what is under way.
    """

    model: str | None = None
    device: str = "auto"
    precision: str = "auto"
    train: PictureSet | None = None
    validation: PictureSet | None = None
    seeds: int = 1
    mask_seeds: int = 1
    keep: Path | None = None
    tell: Callable[[str], None] = lambda line: None


def make_sources(specs: Sequence[str], setup: Setup) -> list[DetectorColumns]:
    """Build, and where need be train, the detectors that were asked for.

    Args:
        specs: ``cinemae``, ``nll``, ``lcas``, ``format-probe``, a baseline with options (``npr,epochs=3``),
            ``detectzoo:NAME``, ``module:Class`` or a CSV file of scores.
        setup: What they may need.

    Raises:
        ConfigError: If there is no such detector or option, it cannot be made, or two have one name.
        EvaluationError: If it must be trained and there is no training set, or a file of scores does not fit.
    """
    sources: list[DetectorColumns] = []
    spec_of: dict[str, str] = {}
    for spec in specs:
        made = _sources_of(spec, setup)
        name = made[0].columns[0].detector
        if name in spec_of:
            raise ConfigError(
                f"each detector needs a name of its own, {spec_of[name]} and {spec} are both {name}: rename one, or "
                "evaluate them apart."
            )
        spec_of[name] = spec
        sources += made
    return sources


def _sources_of(spec: str, setup: Setup) -> list[DetectorColumns]:
    name, _, rest = spec.partition(",")
    name = name.strip()
    if spec.lower().endswith(".csv"):
        return [ScoreFile(Path(spec))]
    options = options_from_text(rest)
    if name in BASELINES:
        return _trained(lambda: BASELINES[name].from_options(options), spec, setup)
    if name.startswith(PREFIX):
        zoo = DetectZooDetector(name.removeprefix(PREFIX), options, setup.device)
        return [_with_threshold(zoo, name, setup)]
    if (absent := absent_method(name)) is not None:
        raise ConfigError(absent.missing)
    if options:
        raise ConfigError(f"{name} takes no option here, got {', '.join(options)}.")
    if ":" in name:
        detector = _import_detector(name)
        if setup.train is not None and callable(getattr(detector, "fit", None)):
            return _trained(lambda: _import_detector(name), name, setup)
        return [_with_threshold(detector, name, setup)]
    if name == "cinemae":
        return [CinemaeColumns(setup.model, setup.device, setup.mask_seeds, setup.precision)]
    if name in ("nll", "lcas"):
        return _trained(lambda: FrozenDetector(name, setup.model, setup.device), name, replace(setup, seeds=1))
    if name == "format-probe":
        train = _require_training(setup, name)
        return [ProbeColumns(train.images, seed) for seed in range(setup.seeds)]
    known = ", ".join(["cinemae", "nll", "lcas", "format-probe", *BASELINES])
    raise ConfigError(
        f"there is no detector {spec!r}: name one of {known}, detectzoo:NAME, a module:Class, or a .csv file of scores."
    )


class PictureColumns:
    """Columns of a detector that looks at pictures one by one."""

    def __init__(self, detector: ImageDetector, column: Column) -> None:
        self.columns = (column,)
        self.fingerprint: str | None = getattr(detector, "fingerprint", None)
        self._detector = detector

    def score(self, batch: Batch) -> NDArray[np.float64]:
        """Return what the detector predicts, (n, 1).

        Raises:
            EvaluationError: If that is not made of finite numbers.
        """
        name = self.columns[0].detector
        predicted = self._detector.predict(batch.pictures)
        try:
            found = np.asarray(predicted, dtype=np.float64)
        except (TypeError, ValueError) as error:
            raise EvaluationError(f"detector {name} must return one number an image: {error}.") from error
        if found.ndim == 1:
            found = found.reshape(-1, 1)
        if found.shape == (len(batch.pictures), 1):
            require_finite(found, batch, name)  # unlike other sources it may not keep silent
        return found


def _trained(make: Callable[[], Any], spec: str, setup: Setup) -> list[DetectorColumns]:
    """Fit a fresh detector for each seed and choose each one's threshold on images it was not fitted on."""
    name = spec.partition(",")[0].strip()
    train = _require_training(setup, name)
    sources: list[DetectorColumns] = []
    for seed in range(setup.seeds):
        fitted, held_out = train.split(seed) if setup.validation is None else (train, setup.validation)
        where = "held out from training" if setup.validation is None else "of the validation set"
        require_both(held_out.images.label, "the quarter of the training set held out to choose the threshold on")
        detector = _fit(make(), spec, fitted, seed, setup)
        column = replace(_stated(detector, name), seed=None if name in ("nll", "lcas") else seed)
        sources.append(PictureColumns(detector, _with_best_threshold(detector, column, held_out, where)))
    return sources


def _fit(detector: Any, spec: str, fitted: PictureSet, seed: int, setup: Setup) -> Any:  # noqa: ANN401 - any trainable
    """Fit a detector, or take the one that was fitted with the same options, images and seed before."""
    images = fitted.images
    labelled = [*zip(images.content_hash.tolist(), images.label.tolist(), strict=True)]
    digest = hashlib.sha256(json.dumps([spec, seed, labelled]).encode()).hexdigest()[:16]
    kept = setup.keep if getattr(detector, "name", None) in BASELINES else None
    folder = None if kept is None else kept / f"{detector.name}-seed-{seed}-{digest}"
    if folder is not None and (folder / DETECTOR_FILE).exists():
        return load_baseline(folder)
    setup.tell(f"training {spec}, seed {seed}, on {len(images)} images")
    detector.fit(fitted.pictures, images.label, seed=seed)
    if folder is not None:
        detector.save(folder)
    return detector


def _with_threshold(detector: ImageDetector, name: str, setup: Setup) -> DetectorColumns:
    """Take anybody's detector with the threshold it states, or one chosen on the validation set."""
    column = _stated(detector, name)
    if setup.validation is not None:
        column = _with_best_threshold(detector, column, setup.validation, "of the validation set")
    return PictureColumns(detector, column)


def _stated(detector: ImageDetector, name: str) -> Column:
    """Return the column of a detector with what it says of itself."""
    outputs: Outputs = getattr(detector, "outputs", "score")
    if outputs not in ("probability", "score"):
        raise ConfigError(f'outputs of {name} must be "probability" or "score", got {outputs!r}.')
    threshold, rule = getattr(detector, "threshold", None), "the detector's own"
    if not hasattr(detector, "threshold") and outputs == "probability":
        threshold, rule = 0.5, "0.5, the detector states probabilities and no threshold"
    elif threshold is None:
        rule = "none: the detector states none"
    elif not isinstance(threshold, int | float | np.number) or not math.isfinite(threshold):
        raise ConfigError(f"threshold of {name} must be a finite number or None, got {threshold!r}.")
    return Column(
        str(getattr(detector, "name", name)),
        outputs=outputs,
        threshold=None if threshold is None else float(threshold),
        threshold_rule=rule,
        description=str(getattr(detector, "description", name)),
    )


def _with_best_threshold(detector: ImageDetector, column: Column, on: PictureSet, where: str) -> Column:
    """Return the column with the threshold of best balanced accuracy on some images, scored as test images are."""
    source = PictureColumns(detector, column)
    scores = []
    for start in range(0, len(on.pictures), BATCH_SIZE):
        part = slice(start, start + BATCH_SIZE)
        batch = Batch(RAW, on.images.chosen(part), list(on.pictures[part]))
        scores.append(checked_scores(source, batch)[:, 0])
    of_images, labels = np.concatenate(scores), on.images.label
    threshold = best_threshold(of_images[labels == 0], of_images[labels == 1])
    rule = f"best balanced accuracy on {len(labels)} images {where}"
    return replace(column, threshold=threshold, threshold_rule=rule)


def _require_training(setup: Setup, name: str) -> PictureSet:
    if setup.train is None:
        raise EvaluationError(
            f"{name} is trained here, and no training set was given: name one with --train, or leave {name} out."
        )
    return setup.train


def _import_detector(spec: str) -> ImageDetector:
    module_name, _, class_name = spec.partition(":")
    here = str(Path.cwd())
    added = here not in sys.path
    if added:
        sys.path.insert(0, here)  # as python -m does: a detector beside the user's own files
    try:
        kind = getattr(importlib.import_module(module_name), class_name)
        detector: ImageDetector = kind()
    except CinemaeError:
        raise
    except Exception as error:
        raise ConfigError(
            f"{spec} must name a class of an importable module that is built without arguments; "
            f"{type(error).__name__}: {error}."
        ) from error
    finally:
        if added:
            sys.path.remove(here)
    if not callable(getattr(detector, "predict", None)):
        raise ConfigError(f"a detector needs a method predict(images) that returns a number an image; {spec} has none.")
    return detector
