"""From ``--detector`` to columns of scores: our own model, baselines trained here, anybody's class, a file of scores.

A detector that is trained here is fitted on three quarters of the training images; its threshold is the one of best
balanced accuracy on the rest, or on a validation set. Test images choose nothing.
"""

from __future__ import annotations

import hashlib
import importlib
import json
import sys
from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any, Protocol

import numpy as np
from numpy.typing import NDArray
from PIL import Image

from cinemae.errors import CinemaeError, ConfigError, EvaluationError
from cinemae.evaluation.baseline_options import options_from_text
from cinemae.evaluation.baselines import BASELINES, load_baseline
from cinemae.evaluation.frozen_detectors import FrozenDetector
from cinemae.evaluation.own_model import CinemaeSource
from cinemae.evaluation.pictures import PictureList
from cinemae.evaluation.predictions import Column, Images, Outputs
from cinemae.evaluation.probe_source import ProbeSource
from cinemae.evaluation.run import Batch, ScoreSource
from cinemae.evaluation.saved_detector import DETECTOR_FILE
from cinemae.evaluation.score_file import ScoreFile
from cinemae.evaluation.transfer import best_threshold
from cinemae.jobs.training_set import hold_out

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
        train: What baselines are trained on.
        validation: What their thresholds are chosen on; None for a part of `train`.
        seeds: How many times each is trained, from seed 0 up.
        mask_seeds: With how many seeds of the masks our own model is run, its own first.
        keep: Folder where trained baselines are kept, to be taken from there when the same is asked for again.
        tell: Called with a line about what is under way.
    """

    model: str | None = None
    device: str = "auto"
    train: PictureSet | None = None
    validation: PictureSet | None = None
    seeds: int = 1
    mask_seeds: int = 1
    keep: Path | None = None
    tell: Callable[[str], None] = lambda line: None


def make_sources(specs: Sequence[str], setup: Setup) -> list[ScoreSource]:
    """Build, and where need be train, the detectors that were asked for.

    Args:
        specs: ``cinemae``, ``nll``, ``lcas``, ``format-probe``, a baseline with options (``npr,epochs=3``),
            ``module:Class`` or a CSV file of scores.
        setup: What they may need.

    Raises:
        ConfigError: If there is no such detector or option, or it cannot be made.
        EvaluationError: If it must be trained and there is no training set, or a file of scores does not fit.
    """
    return [source for spec in specs for source in _sources_of(spec, setup)]


def _sources_of(spec: str, setup: Setup) -> list[ScoreSource]:
    name, _, rest = spec.partition(",")
    name = name.strip()
    if name.lower().endswith(".csv"):
        return [ScoreFile(Path(spec))]
    if ":" in name:
        return _with_threshold(_import_detector(name), name, setup)
    options = options_from_text(rest)
    if name in BASELINES:
        return _trained(lambda: BASELINES[name].from_options(options), spec, setup)
    if options:
        raise ConfigError(f"{name} takes no option here, got {', '.join(options)}.")
    if name == "cinemae":
        return [CinemaeSource(setup.model, setup.device, setup.mask_seeds)]
    if name in ("nll", "lcas"):
        return _trained(lambda: FrozenDetector(name, setup.model, setup.device), name, replace(setup, seeds=1))
    if name == "format-probe":
        train = _require_training(setup, name)
        return [ProbeSource(train.images, seed) for seed in range(setup.seeds)]
    known = ", ".join(["cinemae", "nll", "lcas", "format-probe", *BASELINES])
    raise ConfigError(f"there is no detector {spec!r}: name one of {known}, a module:Class, or a .csv file of scores.")


class PictureSource:
    """Columns of a detector that looks at pictures one by one."""

    def __init__(self, detector: ImageDetector, column: Column) -> None:
        self.columns = (column,)
        self._detector = detector

    def score(self, batch: Batch) -> NDArray[np.float64]:
        """Return what the detector predicts, (n, 1)."""
        found = np.asarray(self._detector.predict(batch.pictures), dtype=np.float64)
        return found.reshape(-1, 1) if found.ndim == 1 else found


def _trained(make: Callable[[], Any], spec: str, setup: Setup) -> list[ScoreSource]:
    """Fit a fresh detector for each seed and choose each one's threshold on images it was not fitted on."""
    name = spec.partition(",")[0].strip()
    train = _require_training(setup, name)
    sources: list[ScoreSource] = []
    for seed in range(setup.seeds):
        fitted, held_out = train.split(seed) if setup.validation is None else (train, setup.validation)
        detector = _fit(make(), spec, fitted, seed, setup)
        threshold, rule = _choose(detector, held_out)
        own = None if setup.seeds == 1 and name in ("nll", "lcas") else seed
        column = Column(name, own, None, detector.outputs, threshold, rule, str(getattr(detector, "description", "")))
        sources.append(PictureSource(detector, column))
    return sources


def _fit(detector: Any, spec: str, fitted: PictureSet, seed: int, setup: Setup) -> Any:  # noqa: ANN401 - any trainable
    """Fit a detector, or take the one that was fitted with the same options, images and seed before."""
    images = fitted.images
    labelled = [*zip(images.content_hash.tolist(), images.label.tolist(), strict=True)]
    digest = hashlib.sha256(json.dumps([spec, seed, labelled]).encode()).hexdigest()[:16]
    folder = None if setup.keep is None else setup.keep / f"{detector.name}-seed-{seed}-{digest}"
    if folder is not None and (folder / DETECTOR_FILE).exists():
        return load_baseline(folder)
    setup.tell(f"training {spec}, seed {seed}, on {len(images)} images")
    detector.fit(fitted.pictures, images.label, seed=seed)
    if folder is not None and detector.name in BASELINES:
        detector.save(folder)
    return detector


def _with_threshold(detector: ImageDetector, name: str, setup: Setup) -> list[ScoreSource]:
    """Take anybody's detector with the threshold it states, or one chosen on the validation set."""
    outputs: Outputs = getattr(detector, "outputs", "score")
    if outputs not in ("probability", "score"):
        raise ConfigError(f'outputs of {name} must be "probability" or "score", got {outputs!r}.')
    threshold = getattr(detector, "threshold", 0.5 if outputs == "probability" else None)
    rule = "the detector's own" if threshold is not None else "none: the detector states none"
    if setup.validation is not None:
        threshold, rule = _choose(detector, setup.validation)
    column = Column(
        str(getattr(detector, "name", name)),
        None,
        None,
        outputs,
        None if threshold is None else float(threshold),
        rule,
        str(getattr(detector, "description", name)),
    )
    return [PictureSource(detector, column)]


def _choose(detector: ImageDetector, on: PictureSet) -> tuple[float, str]:
    """Return the threshold of best balanced accuracy on some images, and the rule in words."""
    batches = [on.pictures[start : start + 16] for start in range(0, len(on.pictures), 16)]
    scores = np.concatenate([np.asarray(detector.predict(batch), np.float64) for batch in batches])
    labels = on.images.label
    threshold = best_threshold(scores[labels == 0], scores[labels == 1])
    return threshold, f"best balanced accuracy on {len(labels)} images held out from training"


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
