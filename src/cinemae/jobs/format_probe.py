"""A bias alarm: how well container and size of the files alone, pixels unseen, tell a data set's two classes apart.

Where they do, a high score may say how the pictures were saved and not how they were made. The quality of a JPEG, which
stores do not hold, is not looked at.
"""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
from sklearn.ensemble import RandomForestClassifier
from sklearn.model_selection import StratifiedKFold, cross_val_predict

from cinemae.data.store import FeatureStore
from cinemae.jobs.metrics import Estimate, balanced_accuracy

ALARM = 0.6
"""Balanced accuracy from which a reader is warned."""


def format_probe(stores: Sequence[FeatureStore], *, seed: int = 0) -> Estimate | None:
    """Return the balanced accuracy of a random forest on container, width and height; 0.5 is chance.

    Each image is judged by a forest that saw only the others, in up to five stratified folds.

    Args:
        stores: One data set; labelled, readable rows count, altered copies do not.
        seed: Of folds and forest.

    Returns:
        The figure with its interval, or None if a class has fewer than two such images.
    """
    as_they_are = [store for store in stores if not store.header.augment]  # a copy's file is its picture's
    columns = [store.load(("label", "source_format", "width", "height")) for store in as_they_are]
    if not columns:
        return None
    labels, formats, width, height = (
        np.concatenate([part[name] for part in columns]) for name in ("label", "source_format", "width", "height")
    )
    known = labels >= 0
    labels = labels[known]
    folds = min(5, *(int((labels == label).sum()) for label in (0, 1)))
    if folds < 2:
        return None
    _, containers = np.unique(formats[known].astype(str), return_inverse=True)
    facts = np.column_stack([np.eye(containers.max() + 1)[containers], width[known], height[known]])
    forest = RandomForestClassifier(100, class_weight="balanced", min_samples_leaf=2, random_state=seed)
    called = cross_val_predict(forest, facts, labels, cv=StratifiedKFold(folds, shuffle=True, random_state=seed))
    return balanced_accuracy(called[labels == 0], called[labels == 1])
