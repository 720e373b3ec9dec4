"""Heads for the designs of `benchmarks.starter_cv`: each learns from rows and returns a function to logits."""

from __future__ import annotations

from collections.abc import Callable
from functools import partial
from typing import Final

import numpy as np
import torch
from numpy.typing import NDArray
from sklearn.decomposition import PCA
from sklearn.linear_model import LogisticRegression
from sklearn.svm import SVC
from torch import nn

Matrix = NDArray[np.float32]
Vector = NDArray[np.float64]
Score = Callable[[Matrix], Vector]
Fit = Callable[[Matrix, NDArray[np.bool_], Vector, float], Score]


class Scaler:
    """To mean 0 and deviation 1 a column, cut at 5 deviations."""

    def __init__(self, rows: Matrix) -> None:
        self.mean, self.std = rows.mean(0), rows.std(0) + 1e-4

    def __call__(self, rows: Matrix) -> Matrix:
        """Return the scaled rows."""
        return np.clip((rows - self.mean) / self.std, -5, 5)


def fit_logistic(rows: Matrix, fake: NDArray[np.bool_], weights: Vector, strength: float) -> Score:
    """Logistic regression with L2 of 1 / (2 strength) on the weights, over scaled columns."""
    scale = Scaler(rows)
    model = LogisticRegression(C=strength, max_iter=300, tol=1e-3)
    model.fit(scale(rows), fake, sample_weight=weights)
    return lambda other: np.asarray(model.decision_function(scale(other)), np.float64)


def _squared_distances(left: Matrix, right: Matrix) -> Matrix:
    return np.maximum((left**2).sum(1)[:, None] + (right**2).sum(1)[None] - 2 * (left @ right.T), 0)


def fit_svm(rows: Matrix, fake: NDArray[np.bool_], weights: Vector, strength: float, width: float = 1) -> Score:
    """Support vector machine with a Gaussian kernel of gamma 1 / (columns width), over scaled columns."""
    scale = Scaler(rows)
    known = scale(rows)
    gamma = 1 / (rows.shape[1] * width)
    model = SVC(C=strength, kernel="precomputed", cache_size=1000)
    model.fit(np.exp(-gamma * _squared_distances(known, known)), fake, sample_weight=weights)
    support = known[model.support_]
    factors, offset = model.dual_coef_[0], float(model.intercept_[0])

    def score(other: Matrix) -> Vector:
        kernel = np.exp(-gamma * _squared_distances(scale(other), support))
        return np.asarray(kernel @ factors + offset, np.float64)

    return score


def fit_whitened(rows: Matrix, fake: NDArray[np.bool_], weights: Vector, strength: float) -> Score:
    """Logistic regression on the first 256 principal components, each brought to deviation 1."""
    scale = Scaler(rows)
    reduce = PCA(min(256, *rows.shape), whiten=True, svd_solver="randomized", random_state=0).fit(scale(rows))
    score = fit_logistic(reduce.transform(scale(rows)), fake, weights, strength)
    return lambda other: score(reduce.transform(scale(other)))


HIDDEN: Final = 256
MEMBERS: Final = 3


def fit_mlp(rows: Matrix, fake: NDArray[np.bool_], weights: Vector, strength: float) -> Score:
    """The mean of three MLPs of one hidden layer, dropout 0.5 around it, AdamW with a weight decay of 1 / strength."""
    scale = Scaler(rows)
    inputs = torch.from_numpy(scale(rows))
    targets, importance = (torch.from_numpy(values.astype(np.float32)) for values in (fake, weights))
    members = [_fit_member(inputs, targets, importance, 1 / strength, seed) for seed in range(MEMBERS)]

    def score(other: Matrix) -> Vector:
        with torch.inference_mode():
            logits = [member(torch.from_numpy(scale(other)))[:, 0] for member in members]
        return torch.stack(logits).mean(0).double().numpy()

    return score


def _fit_member(
    inputs: torch.Tensor, targets: torch.Tensor, importance: torch.Tensor, decay: float, seed: int
) -> nn.Module:
    torch.manual_seed(seed)
    model = nn.Sequential(
        nn.Dropout(0.5), nn.Linear(inputs.shape[1], HIDDEN), nn.GELU(), nn.Dropout(0.5), nn.Linear(HIDDEN, 1)
    )
    optimizer = torch.optim.AdamW(model.parameters(), lr=3e-4, weight_decay=decay)
    epochs, batch = 12, 128
    total = epochs * -(-len(inputs) // batch)
    schedule = torch.optim.lr_scheduler.OneCycleLR(optimizer, 1e-3, total_steps=total)
    for _ in range(epochs):
        for chosen in torch.randperm(len(inputs)).split(batch):
            logits = model(inputs[chosen])[:, 0]
            loss = nn.functional.binary_cross_entropy_with_logits(logits, targets[chosen], importance[chosen])
            optimizer.zero_grad()
            loss.backward()
            optimizer.step()
            schedule.step()
    return model.eval()


HEADS: Final[dict[str, Fit]] = {
    "logistic": fit_logistic,
    "svm": fit_svm,
    "wide svm": partial(fit_svm, width=3),
    "whitened": fit_whitened,
    "mlp": fit_mlp,
}
