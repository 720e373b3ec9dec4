"""What a cascade would save: the whole view first, the native view only where it may still change the verdict.

    python -m benchmarks.starter_cascade LIST.csv FEATURES...

FEATURES is written by `benchmarks.starter_features --views ws,c0 --layers 6-6 --int8`. The verdict of both views
comes from heads that have not seen the picture's fold, at thresholds by which 2 % of photographs are called
AI-generated and 10 % of generated images photographs. A head of the same kind for the whole view alone gives another
logit. Pictures are taken from that logit's two ends as long as the early answer differs from the verdict of both views
for at most so many of all pictures, half of them at each end: what is left over needs both views. The bounds are set on
the pictures that they are judged on, which flatters the cascade.
"""

from __future__ import annotations

import argparse
from pathlib import Path
from typing import Final

import numpy as np
from numpy.typing import NDArray

from benchmarks.starter_cv import PHOTOGRAPH_MISSES, Design, Part, cross_scores, threshold_of_ai
from benchmarks.starter_heads import Vector
from benchmarks.starter_store import FeatureStore, Pictures

STRENGTH: Final = 0.003
PRICES: Final = (0.0, 0.001, 0.005, 0.02)
"""Shares of all pictures whose verdict may differ."""


def design(*views: str) -> Design:
    """Return the bundled design without LCAS statistics and centre squares, of some views."""
    parts = tuple(Part((view,), (6,), ("cls", "mean", "std")) for view in views)
    return Design(" and ".join(views), parts, "logistic", STRENGTH)


def verdicts(pictures: Pictures, logits: Vector) -> tuple[NDArray[np.bool_], NDArray[np.bool_]]:
    """Tell which pictures are called AI-generated and which photographs."""
    everything = np.ones(len(pictures), bool)
    ai = logits > threshold_of_ai(logits, pictures, everything)
    return ai, logits < np.quantile(logits[pictures.fake], PHOTOGRAPH_MISSES)


def early_share(logits: Vector, called: NDArray[np.bool_], wrong: int) -> float:
    """Return the share of pictures answered when the largest logits are, until so many answers are wrong.

    Example:
        >>> early_share(np.array([4.0, 3.0, 2.0, 1.0]), np.array([True, False, True, False]), 1)
        0.75
    """
    errors = np.cumsum(~called[np.argsort(-logits)])
    return float((errors <= wrong).mean())


def main() -> None:
    """Print the table."""
    parser = argparse.ArgumentParser(description=(__doc__ or "").partition("\n")[0])
    parser.add_argument("list", type=Path, help="CSV of the pictures")
    parser.add_argument("features", type=Path, nargs="+", help="folders of benchmarks.starter_features")
    options = parser.parse_args()
    store = FeatureStore.open(options.features, options.list)
    pictures = store.pictures
    both, whole = cross_scores(store, design("ws", "c0")), cross_scores(store, design("ws"))
    ai, photograph = verdicts(pictures, both)
    print(f"{int(pictures.fake.sum())} generated images, {int((~pictures.fake).sum())} photographs")
    print(f"both views call {ai.mean():.1%} AI-generated, {photograph.mean():.1%} photographs, the rest uncertain")
    print(f"correlation of the two logits {np.corrcoef(both, whole)[0, 1]:.3f}\n")
    print("| verdicts that differ, at most | called AI-generated early | called photographs early | need both views |")
    print("| --- | --- | --- | --- |")
    for price in PRICES:
        wrong = int(price * len(pictures) / 2)
        shares = early_share(whole, ai, wrong), early_share(-whole, photograph, wrong)
        cells = (price, *shares, 1 - sum(shares))
        print(f"| {' | '.join(f'{100 * share:.1f} %' for share in cells)} |")


if __name__ == "__main__":
    main()
