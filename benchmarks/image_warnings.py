"""How often the bundled model errs on pictures that carry a warning, and how many bad pictures get one.

DATA holds train/ and val/, each with real/SOURCE/ and fake/GENERATOR/. Limits are shown against the photographs of
train/, all else is measured on val/: on the files as they are, and on pictures altered so that they resemble what the
warnings are for. Not part of `run_all`: the labelled pictures are not shipped.
"""

from __future__ import annotations

import argparse
import json
import math
import statistics
import sys
import time
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray
from PIL import Image

from benchmarks.measure import RESULTS, describe_machine, load_average, make_parser, require_close, take_turns
from benchmarks.warning_conditions import CONDITIONS, Condition
from cinemae.config import DecisionConfig
from cinemae.core.preprocess import preprocess
from cinemae.evaluation.predictions import RAW, Predictions
from cinemae.evidence.image_measures import measure_image
from cinemae.evidence.image_warnings import WARNINGS, WarningLimits, image_warnings
from cinemae.models.directory import resolve_model
from cinemae.models.scorers import Scorer, make_scorer
from cinemae.pictures.image import LoadedImage, load_image
from cinemae.sources.datasets import read_records
from cinemae.sources.records import ImageRecord
from cinemae.statistics.estimate import Estimate
from cinemae.statistics.metrics import auc, rate
from cinemae.statistics.resampling import auc_of, draws

RESULT = RESULTS / "image_warnings.json"
PIXEL_WARNINGS = list(WARNINGS)[:8]
PERCENTILES = (1, 2, 5, 50, 95, 98, 99)
_BATCH = 16
_FEWEST = 5  # of each class, for an AUC that says anything
_TOLERANCE = 1e-6


@dataclass(frozen=True)
class Scored:
    """N pictures, judged and warned about.

    Attributes:
        label: 0 real, 1 fake, (N,).
        prob_fake: (N,).
        warned: For each warning, which pictures carry it, (N,).
    """

    label: NDArray[np.int64]
    prob_fake: NDArray[np.float64]
    warned: dict[str, NDArray[np.bool_]]

    @property
    def any(self) -> NDArray[np.bool_]:
        """Which carry at least one, (N,)."""
        return np.any(list(self.warned.values()), axis=0)

    def chosen(self, which: NDArray[Any] | slice) -> Scored:
        """Return some of them."""
        return Scored(self.label[which], self.prob_fake[which], {name: row[which] for name, row in self.warned.items()})


class Judge:
    """Scores pictures, or takes the scores that ``cinemae evaluate`` has stored.

    Args:
        scorer: The model.
        stored: Predictions of the same model on the same files, or None.
    """

    def __init__(self, scorer: Scorer, stored: Predictions | None) -> None:
        self.scorer, self._stored = scorer, stored
        self.decision: DecisionConfig = scorer.config.decision
        self.worst = 0.0
        self._column = -1
        if stored is not None:
            self._column = [column.detector for column in stored.columns].index("cinemae")
            self._rows = {str(digest): row for row, digest in enumerate(stored.images.content_hash)}

    def knows(self, condition: str) -> bool:
        """Whether the scores under a condition are stored."""
        return self._stored is not None and condition in self._stored.scores

    def judge(self, condition: str, pictures: Iterable[tuple[str, LoadedImage]], label: NDArray[np.int64]) -> Scored:
        """Warn of and score pictures, each given with the hash of its file; a few stored scores are computed again."""
        config = self.scorer.config.extractor.image
        found: list[tuple[str, ...]] = []
        prob_fake: list[float] = []
        waiting: list[tuple[int, LoadedImage]] = []
        known = self.knows(condition)
        for place, (content_hash, loaded) in enumerate(pictures):
            found.append(image_warnings(loaded, config))
            prob_fake.append(self._look_up(condition, content_hash) if known else math.nan)
            if not known or place % 200 == 0:
                waiting.append((place, loaded))
            if len(waiting) == _BATCH or (waiting and place + 1 == len(label)):
                values = np.stack([preprocess(one.image, config) for _, one in waiting])
                for (at, _), value in zip(waiting, self.scorer.score(values).prob_fake, strict=True):
                    if known:
                        difference = require_close(f"{condition}, stored score", prob_fake[at], value, _TOLERANCE)
                        self.worst = max(self.worst, difference)
                    prob_fake[at] = float(value)
                waiting = []
        warned = {name: np.array([name in names for names in found]) for name in PIXEL_WARNINGS}
        return Scored(label, np.array(prob_fake), warned)

    def _look_up(self, condition: str, content_hash: str) -> float:
        assert self._stored is not None
        return float(self._stored.scores[condition][self._rows[content_hash], self._column])


def measure(options: argparse.Namespace) -> dict[str, Any]:
    """Return everything, as plain JSON types."""
    data = Path(options.data)
    scorer = make_scorer(resolve_model(options.model), "cpu")
    judge = Judge(scorer, Predictions.load(options.predictions) if options.predictions else None)
    begun = time.perf_counter()
    limits = about_limits(read_records(data / "train"), scorer)
    records = read_records(data / "val")
    files = [load_image(record.path) for record in records]
    label = np.array([record.label for record in records])
    if min((label[:: options.every] == one).sum() for one in (0, 1)) < _FEWEST:
        sys.exit(f"every {options.every}th picture of val/ must give at least {_FEWEST} of each class: lower --every.")
    raw = judge.judge(RAW, ((one.content_hash, one) for one in files), label)
    print(f"the files as they are: {len(files)}, after {time.perf_counter() - begun:.0f} s", flush=True)
    conditions = []
    for condition in CONDITIONS:
        which = slice(None, None, 1 if judge.knows(condition.name) else options.every)
        altered = ((one.content_hash, _alter(condition, one)) for one in files[which])
        after = judge.judge(condition.name, altered, label[which])
        conditions.append(about_condition(condition, raw.chosen(which), after, judge.decision))
        print(f"{condition.name}: {len(after.label)}, after {time.perf_counter() - begun:.0f} s", flush=True)
    return {
        "settings": {
            "model": scorer.config.model_id,
            "every": options.every,
            "stored_scores": bool(options.predictions),
            "threshold": judge.decision.threshold,
            "real_below": judge.decision.real_below,
        },
        "checks": {"stored score and score computed again": judge.worst},
        "cost_ms": cost(scorer, options.rounds),
        "limits": limits,
        "files": about_files(raw, judge.decision),
        "conditions": conditions,
        "seconds": time.perf_counter() - begun,
    }


def _alter(condition: Condition, loaded: LoadedImage) -> LoadedImage:
    return load_image(condition.change(loaded.image, loaded.content_hash))


def about_limits(records: Sequence[ImageRecord], scorer: Scorer) -> dict[str, Any]:
    """Return, for each measure that has a limit, where the training photographs lie and how many are beyond it."""
    config, limits = scorer.config.extractor.image, WarningLimits()
    paths = [record.path for record in records if record.label == 0]
    measures = [measure_image(load_image(path).image, config) for path in paths]
    rows = {}
    for name in ("flat_share", "detail_floor", "colour_spread", "fine_detail", "grid_ratio", "hard_edges", "frame"):
        values = np.array([getattr(one, name) for one in measures])
        limit, below = getattr(limits, name), name in ("colour_spread", "fine_detail", "grid_ratio")
        beyond = (values <= limit) if below else (values >= limit)
        rows[name] = {
            "limit": limit,
            "percentiles": {
                str(p): float(value)
                for p, value in zip(PERCENTILES, np.nanpercentile(values, PERCENTILES), strict=True)
            },
            "beyond": rate(int(beyond.sum()), len(values)).to_dict(),
        }
    return rows


def about_files(raw: Scored, decision: DecisionConfig) -> dict[str, Any]:
    """Return errors with and without each warning, and how many wrong verdicts carry one."""
    warnings = {name: _with_and_without(raw, carry, decision) for name, carry in raw.warned.items()}
    called_ai, called_real = raw.prob_fake >= decision.threshold, raw.prob_fake < decision.real_below
    wrong = ((raw.label == 0) & called_ai) | ((raw.label == 1) & called_real)
    shares = {
        "photographs called ai": (raw.label == 0) & called_ai,
        "photographs not called ai": (raw.label == 0) & ~called_ai,
        "fakes called real": (raw.label == 1) & called_real,
        "fakes not called real": (raw.label == 1) & ~called_real,
        "wrong verdicts": wrong,
        "other verdicts": ~wrong,
    }
    return {
        "all": _errors(raw, decision),
        "any": _with_and_without(raw, raw.any, decision),
        "warnings": warnings,
        "carrying": {words: {"any": _share(raw.any[of]), **_shares(raw, of)} for words, of in shares.items()},
    }


def about_condition(condition: Condition, before: Scored, after: Scored, decision: DecisionConfig) -> dict[str, Any]:
    """Return what a condition does to errors and warnings; differences are of the same pictures."""
    real, fake = before.label == 0, before.label == 1
    paired = [
        draws(one.prob_fake[real], one.prob_fake[fake], {"auc": auc_of}, seed=0)["auc"] for one in (before, after)
    ]
    low, high = np.percentile(paired[1] - paired[0], (2.5, 97.5))
    errors = [_errors(one, decision) for one in (before, after)]
    difference = errors[1]["auc"]["value"] - errors[0]["auc"]["value"]
    return {
        "name": condition.name,
        "what": condition.what,
        "expects": condition.expects,
        "before": errors[0],
        "after": errors[1],
        "auc_difference": Estimate(difference, float(low), float(high), len(before.label)).to_dict(),
        "warned_before": {"any": _share(before.any), **_shares(before)},
        "warned": {"any": _share(after.any), **_shares(after)},
    }


def _with_and_without(scored: Scored, carry: NDArray[np.bool_], decision: DecisionConfig) -> dict[str, Any]:
    with_it, without = (_errors(scored.chosen(which), decision) for which in (carry, ~carry))
    return {
        "with": with_it,
        "without": without,
        "called_ai_difference": _difference(with_it["called_ai"], without["called_ai"]),
        "called_real_difference": _difference(with_it["called_real"], without["called_real"]),
    }


def _errors(scored: Scored, decision: DecisionConfig) -> dict[str, Any]:
    """Return sizes, both kinds of error and the AUC; None where there are too few pictures to say."""
    real, fake = scored.prob_fake[scored.label == 0], scored.prob_fake[scored.label == 1]
    enough = min(len(real), len(fake)) >= _FEWEST
    return {
        "photographs": len(real),
        "fakes": len(fake),
        "called_ai": _share(real >= decision.threshold),
        "called_real": _share(fake < decision.real_below),
        "auc": auc(real, fake).to_dict() if enough else None,
    }


def _shares(scored: Scored, of: NDArray[np.bool_] | slice = slice(None)) -> dict[str, Any]:
    return {name: _share(carry[of]) for name, carry in scored.warned.items()}


def _share(hits: NDArray[np.bool_]) -> dict[str, Any] | None:
    return rate(int(hits.sum()), len(hits)).to_dict() if len(hits) else None


def _difference(a: dict[str, Any] | None, b: dict[str, Any] | None) -> dict[str, Any] | None:
    return None if a is None or b is None else difference_of_rates(Estimate(**a), Estimate(**b)).to_dict()


def difference_of_rates(a: Estimate, b: Estimate) -> Estimate:
    """Return a - b of two independent shares with Newcombe's interval (1998, method 10, from both Wilson intervals).

    Example:
        >>> found = difference_of_rates(rate(56, 70), rate(48, 80))  # the example in his Table II
        >>> round(found.value, 4), round(found.low, 4), round(found.high, 4)
        (0.2, 0.0524, 0.3339)
    """
    value = a.value - b.value
    low = value - math.hypot(a.value - a.low, b.high - b.value)
    high = value + math.hypot(a.high - a.value, b.value - b.low)
    return Estimate(value, low, high, a.n + b.n)


def cost(scorer: Scorer, rounds: int) -> dict[str, float]:
    """Return milliseconds of this process's processor time for a decoded photograph of 12 megapixels, medians."""
    config = scorer.config.extractor.image
    rng = np.random.default_rng(0)
    small = Image.fromarray(rng.integers(0, 256, (30, 40, 3), np.uint8)).resize((4000, 3000), Image.Resampling.BICUBIC)
    pixels = np.asarray(small) + rng.normal(0, 4, (3000, 4000, 3))
    loaded = load_image(pixels.clip(0, 255).astype(np.uint8))
    contestants = {
        "image_warnings": lambda: image_warnings(loaded, config),
        "preprocess": lambda: preprocess(loaded.image, config),
    }
    samples = take_turns(contestants, rounds, clock=time.process_time)
    return {name: 1000 * statistics.median(row) for name, row in samples.items()}


def main() -> None:
    """Measure from the command line."""
    parser = make_parser(__doc__)
    parser.add_argument("data", help="folder with train/ and val/, each with real/SOURCE/ and fake/GENERATOR/")
    parser.add_argument("--model", help="a model directory; without it the bundled starter")
    parser.add_argument("--predictions", help="predictions.parquet of `cinemae evaluate` of the same model on val/")
    parser.add_argument("--every", type=int, default=2, help="alter every so many pictures, where no score is stored")
    parser.add_argument("--rounds", type=int, default=25, help="how often the cost is timed")
    options = parser.parse_args()
    when, load = datetime.now(UTC).isoformat(timespec="seconds"), load_average()
    result = {"when": when, "load_before": load, "machine": describe_machine(), **measure(options)}
    print(json.dumps({name: result[name] for name in ("checks", "cost_ms", "seconds")}))
    if options.save:
        RESULT.write_text(json.dumps(_rounded(result), indent=1) + "\n", encoding="utf-8")
        print(f"saved to {RESULT}: now python -m benchmarks.warnings_page")


def _rounded(value: Any) -> Any:
    if isinstance(value, dict):
        return {name: _rounded(one) for name, one in value.items()}
    if isinstance(value, list):
        return [_rounded(one) for one in value]
    return round(value, 6) if isinstance(value, float) else value


if __name__ == "__main__":
    main()
