"""Designs of the starter judged on families, sources and deliveries that training did not see, from stored features.

    python -m benchmarks.starter_cv LIST.csv FEATURES...           # all designs of the table, a line each
    python -m benchmarks.starter_cv LIST.csv FEATURES... --design whole-and-crops --save

LIST.csv names pictures: sha256, class (fake or real), group, family, fold. For each fold a head learns on the other
three and scores the fold's pictures as the protocol delivers them (delivery 0). Folds go by family for generated images
and by source for photographs. Figures: AUC of each family against the photographs of its fold, their mean, and the
share of generated images found where 3 % of the fold's photographs are accused.
"""

from __future__ import annotations

import argparse
import json
import time
from collections.abc import Sequence
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Final

import numpy as np
from numpy.typing import NDArray
from scipy.special import expit
from sklearn.linear_model import LogisticRegression
from sklearn.metrics import roc_auc_score

from benchmarks.starter_heads import HEADS, Matrix, Vector
from benchmarks.starter_store import FeatureStore, Pictures

ACCUSED: Final = 0.03
AI_FALSE_POSITIVES: Final = 0.02
PHOTOGRAPH_MISSES: Final = 0.10
LARGE_SOURCE: Final = 50
COLUMNS: Final = ("design", "mean family AUC", "found at 3 %", "weakest family", "AI images called so", "uncertain")


@dataclass(frozen=True)
class Part:
    """One block of columns: the mean over some views of statistics of some layers, and of what the pixels say."""

    views: tuple[str, ...]
    layers: tuple[int, ...] = (6, 9, 12)
    statistics: tuple[str, ...] = ("cls", "mean", "std")
    of_pixels: tuple[str, ...] = ()


@dataclass(frozen=True)
class Design:
    """What is looked at and what learns from it.

    Attributes:
        name: Row of the table.
        parts: Joined side by side.
        head: Key of `benchmarks.starter_heads.HEADS`.
        strength: C of logistic regression and SVM, 1 / weight decay of the MLP.
        deliveries: The copies of each picture that training sees.
        balance: Exponent of 1 / (pictures of the family or source) in a picture's weight; 0 weighs all alike.
        share: Of the pictures that training may see, drawn by their hash.
        copied: Train only on pictures that the store holds this delivery of.
    """

    name: str
    parts: tuple[Part, ...]
    head: str = "svm"
    strength: float = 3
    deliveries: tuple[int, ...] = (0,)
    balance: float = 0
    share: float = 1
    copied: int = 0


@dataclass(frozen=True)
class Verdicts:
    """Three verdicts by thresholds that come from the other folds."""

    ai_of_photographs: float
    ai_of_worst_source: float
    worst_source: str
    ai_of_fakes: float
    photograph_of_fakes: float
    uncertain: float
    calibration_error: float


@dataclass(frozen=True)
class Outcome:
    """The figures of one design."""

    design: Design
    mean_auc: float
    found: float
    families: dict[str, float]
    counts: dict[str, int]
    photographs: int
    verdicts: Verdicts
    seconds: float = field(compare=False)

    def line(self) -> str:
        """Return the design's row of the table."""
        weakest = min(self.families, key=self.families.__getitem__)
        cells = (
            self.design.name,
            f"{self.mean_auc:.3f}",
            f"{self.found:.2f}",
            f"{weakest} {self.families[weakest]:.2f}",
            f"{self.verdicts.ai_of_fakes:.2f}",
            f"{self.verdicts.uncertain:.2f}",
        )
        return _row(cells)


def _row(cells: Sequence[str]) -> str:
    return f"| {' | '.join(cells)} |"


def picture_weights(pictures: Pictures, chosen: NDArray[np.bool_], exponent: float) -> Vector:
    """Return weights by family (generated) and source (photographs), both classes of the chosen weighing alike."""
    names = np.where(pictures.fake, pictures.family, pictures.group)
    _, inverse, counts = np.unique(names[chosen], return_inverse=True, return_counts=True)
    weights = np.zeros(len(pictures))
    weights[chosen] = counts[inverse].astype(np.float64) ** -exponent
    for fake in (False, True):
        of_class = chosen & (pictures.fake == fake)
        weights[of_class] *= 0.5 * chosen.sum() / weights[of_class].sum()
    return weights


def join(store: FeatureStore, parts: Sequence[Part], delivery: int) -> Matrix:
    """Return the features of a design, (pictures, D)."""
    columns = []
    for part in parts:
        if part.layers:
            columns.append(store.mean_of(part.views, part.layers, part.statistics, delivery))
        columns += [store.of_pixels(name, part.views, delivery) for name in part.of_pixels]
    return np.concatenate(columns, 1)


def cross_scores(store: FeatureStore, design: Design) -> Vector:
    """Return a logit for each picture, from the head that has not seen its fold."""
    pictures = store.pictures
    rows = {delivery: join(store, design.parts, delivery) for delivery in {0, *design.deliveries}}
    there = {delivery: store.has(design.parts[0].views, delivery) for delivery in design.deliveries}
    drawn = np.array([int(sha256[-8:], 16) < design.share * 16**8 for sha256 in pictures.sha256.tolist()])
    drawn &= store.has(design.parts[0].views, design.copied)
    scores = np.zeros(len(pictures))
    for fold in np.unique(pictures.fold):
        learnt = (pictures.fold != fold) & drawn
        weights = picture_weights(pictures, learnt, design.balance)
        chosen = {delivery: np.flatnonzero(learnt & there[delivery]) for delivery in there}
        score = HEADS[design.head](
            np.concatenate([rows[delivery][of] for delivery, of in chosen.items()]),
            np.concatenate([pictures.fake[of] for of in chosen.values()]),
            np.concatenate([weights[of] for of in chosen.values()]),
            design.strength,
        )
        of_fold = pictures.fold == fold
        scores[of_fold] = score(rows[0][of_fold])
    return scores


def family_aucs(pictures: Pictures, scores: Vector) -> dict[str, float]:
    """Return the AUC of each family against the photographs of its fold."""
    aucs = {}
    for family in np.unique(pictures.family[pictures.fake]).tolist():
        of_family = pictures.fake & (pictures.family == family)
        photographs = ~pictures.fake & (pictures.fold == pictures.fold[of_family][0])
        both = np.concatenate([scores[of_family], scores[photographs]])
        aucs[family] = float(roc_auc_score(np.arange(len(both)) < of_family.sum(), both))
    return aucs


def found_at(pictures: Pictures, scores: Vector, accused: float = ACCUSED) -> float:
    """Return the share of generated images above the quantile of their fold's photographs."""
    found = 0
    for fold in np.unique(pictures.fold):
        of_fold = pictures.fold == fold
        threshold = np.quantile(scores[of_fold & ~pictures.fake], 1 - accused)
        found += int((scores[of_fold & pictures.fake] > threshold).sum())
    return found / int(pictures.fake.sum())


def judge(pictures: Pictures, scores: Vector) -> Verdicts:
    """Return the three verdicts' shares, with curve and thresholds of each fold chosen on the other folds."""
    probability, ai, photograph = np.zeros(len(scores)), np.zeros(len(scores), bool), np.zeros(len(scores), bool)
    weights = picture_weights(pictures, np.ones(len(scores), bool), 0)
    for fold in np.unique(pictures.fold):
        here, others = pictures.fold == fold, pictures.fold != fold
        curve = LogisticRegression(C=1e3).fit(
            scores[others, None], pictures.fake[others], sample_weight=weights[others]
        )
        probability[here] = expit(curve.decision_function(scores[here, None]))
        ai[here] = scores[here] > threshold_of_ai(scores[others], pictures, others)
        photograph[here] = scores[here] < np.quantile(scores[others & pictures.fake], PHOTOGRAPH_MISSES)
    real, fake = ~pictures.fake, pictures.fake
    sources = {name: ai[real & (pictures.group == name)] for name in np.unique(pictures.group[real]).tolist()}
    shares = {name: float(hits.mean()) for name, hits in sources.items() if len(hits) >= LARGE_SOURCE} or {"": 0.0}
    worst = max(shares, key=shares.__getitem__)
    uncertain = ~ai & ~photograph
    return Verdicts(
        ai_of_photographs=float(ai[real].mean()),
        ai_of_worst_source=shares[worst],
        worst_source=worst,
        ai_of_fakes=float(ai[fake].mean()),
        photograph_of_fakes=float(photograph[fake].mean()),
        uncertain=float((uncertain[real].mean() + uncertain[fake].mean()) / 2),
        calibration_error=_calibration_error(probability, fake, weights),
    )


def threshold_of_ai(scores: Vector, pictures: Pictures, chosen: NDArray[np.bool_]) -> float:
    """Return the score that 2 % of the chosen photographs exceed, each counting alike: not the rule of what ships."""
    return float(np.quantile(scores[~pictures.fake[chosen]], 1 - AI_FALSE_POSITIVES))


def _calibration_error(probability: Vector, fake: NDArray[np.bool_], weights: Vector) -> float:
    bins = np.minimum((probability * 10).astype(int), 9)
    error = 0.0
    for number in np.unique(bins):
        of_bin = bins == number
        share = float(weights[of_bin].sum() / weights.sum())
        gap = np.average(probability[of_bin], weights=weights[of_bin]) - np.average(
            fake[of_bin], weights=weights[of_bin]
        )
        error += share * abs(float(gap))
    return error


def evaluate(store: FeatureStore, design: Design) -> Outcome:
    """Train and judge one design."""
    started = time.perf_counter()
    pictures = store.pictures
    scores = cross_scores(store, design)
    families = family_aucs(pictures, scores)
    return Outcome(
        design=design,
        mean_auc=float(np.mean(list(families.values()))),
        found=found_at(pictures, scores),
        families=families,
        counts={family: int((pictures.family[pictures.fake] == family).sum()) for family in families},
        photographs=int((~pictures.fake).sum()),
        verdicts=judge(pictures, scores),
        seconds=time.perf_counter() - started,
    )


def main() -> None:
    """Print the table, and with --save keep its figures."""
    from benchmarks.starter_designs import designs

    parser = argparse.ArgumentParser(description=(__doc__ or "").partition("\n")[0])
    parser.add_argument("list", type=Path, help="CSV of the pictures")
    parser.add_argument("features", type=Path, nargs="+", help="folders of benchmarks.starter_features")
    parser.add_argument("--design", action="append", help="only designs whose name has this in it")
    parser.add_argument("--save", type=Path, help="JSON file to write all figures to")
    options = parser.parse_args()
    store = FeatureStore.open(options.features, options.list)
    pictures = store.pictures
    deliveries = max(rows.shape[1] for rows in store.rows.values())
    print(f"{int(pictures.fake.sum())} generated images, {int((~pictures.fake).sum())} photographs\n")
    print(_row(COLUMNS), _row(["---"] * len(COLUMNS)), sep="\n")
    outcomes = []
    for design in designs(deliveries):
        if not options.design or any(part in design.name for part in options.design):
            outcomes.append(evaluate(store, design))
            print(outcomes[-1].line(), flush=True)
    if options.save:
        options.save.write_text(json.dumps([asdict(outcome) for outcome in outcomes], indent=1) + "\n")


if __name__ == "__main__":
    main()
