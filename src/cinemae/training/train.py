"""Train the head on stored features: seconds, not hours, since the backbone is never run."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass

import numpy as np
import torch
from matplotlib.figure import Figure
from numpy.typing import NDArray
from torch import Tensor, nn

from cinemae.calibration.report import CalibrationReport, report_calibration
from cinemae.config import DecisionConfig, HeadConfig, TrainConfig
from cinemae.core.head import CinemaeHead
from cinemae.errors import ConfigError, TrainingError
from cinemae.features.training_set import TrainingSet, require_both_classes, row_slices
from cinemae.models.results import EpochLine, HalfFigures, SeedSpread, TrainingResults
from cinemae.statistics.metrics import figure, mean_generator_auc, rate
from cinemae.statistics.plot_style import new_figure
from cinemae.statistics.resampling import balanced_accuracy_at
from cinemae.training.samples import Batch, Samples

LBFGS_STEPS = 4
"""Iterations of L-BFGS that make an epoch; each goes through all samples once or twice."""


@dataclass(frozen=True)
class TrainReport:
    """What training found.

    Attributes:
        head: The trained head of the first seed.
        decision: Calibration and thresholds, from validation.
        history: Every epoch of every seed.
        calibration: What `decision` rests on; None where it was set without.
        results: Figures on validation.
    """

    head: CinemaeHead
    decision: DecisionConfig
    history: list[EpochLine]
    calibration: CalibrationReport | None
    results: TrainingResults


@contextmanager
def one_thread() -> Iterator[None]:
    """Let torch compute on one thread: batches are so small that several threads mostly wait for each other."""
    before = torch.get_num_threads()
    torch.set_num_threads(1)
    try:
        yield
    finally:
        torch.set_num_threads(before)


@one_thread()
def train(
    training: TrainingSet,
    validation: TrainingSet,
    head_config: HeadConfig,
    config: TrainConfig,
    *,
    progress: Callable[[EpochLine], None] | None = None,
) -> TrainReport:
    """Train `num_seeds` heads, keep the first seed's, and choose its thresholds on validation.

    The first seed is kept whatever the others reach: choosing the best of several by validation would flatter it. The
    last epoch is kept for the same reason (decision 0003).

    Args:
        training: Features to fit.
        validation: Features to measure and choose thresholds on; its generators should not be in `training`.
        head_config: Architecture.
        config: Optimiser, balance, seeds and target rates.
        progress: Called with every epoch.

    Raises:
        TrainingError: If a set lacks a class.
        ConfigError: If settings do not go together.
    """
    _check_settings(head_config, config)
    require_both_classes(training.labels, "the training set")
    require_both_classes(validation.labels, "the validation set")
    history: list[EpochLine] = []
    heads, logits = [], []
    for seed in range(config.seed, config.seed + config.num_seeds):
        head = fit_head(training, validation, head_config, config, seed, history, progress)
        heads.append(head)
        logits.append(predict_logits(head, validation))
    calibration = report_calibration(logits[0], validation.labels, validation.generators, config)
    results = validation_results(logits, validation, calibration, config, history)
    return TrainReport(heads[0], calibration.decision, history, calibration, results)


def _check_settings(head_config: HeadConfig, config: TrainConfig) -> None:
    pooling = head_config.view_pooling
    if config.views_drawn is not None and pooling in ("logit", "concat"):
        raise ConfigError(
            f'views_drawn joins some views of an image, and view_pooling "{pooling}" '
            f'{"never joins them" if pooling == "logit" else "takes all of them"}: set view_pooling to "mean" or '
            '"mean_std", or leave views_drawn out.'
        )
    if config.optimizer == "lbfgs" and (head_config.dropout or config.views_drawn is not None):
        raise ConfigError(
            f"lbfgs needs the same samples at every step, got dropout {head_config.dropout} and views_drawn "
            f"{config.views_drawn}: leave both out, or train with adam."
        )


def fit_head(
    training: TrainingSet,
    validation: TrainingSet,
    head_config: HeadConfig,
    config: TrainConfig,
    seed: int,
    history: list[EpochLine],
    progress: Callable[[EpochLine], None] | None = None,
) -> CinemaeHead:
    """Train one head with weighted BCE; append its epochs to `history`."""
    generator = torch.Generator().manual_seed(seed)
    head = seeded_head(head_config, seed)
    samples = Samples(training, head_config, config, generator)
    samples.standardize(head)
    learn = (_by_adam if config.optimizer == "adam" else _by_lbfgs)(head, samples, config)
    for epoch in range(1, config.epochs + 1):
        head.train()
        with torch.random.fork_rng(devices=[]):
            torch.manual_seed(seed * 100_003 + epoch)  # dropout draws from the global state only
            loss = learn()
        line = epoch_line(seed, epoch, loss, predict_logits(head, validation), validation)
        history.append(line)
        if progress:
            progress(line)
    return head.eval()


def _by_adam(head: CinemaeHead, samples: Samples, config: TrainConfig) -> Callable[[], float]:
    """Return what does an epoch and returns the mean loss."""
    optimizer = torch.optim.Adam(
        head.parameters(), lr=config.learning_rate, weight_decay=config.weight_decay, fused=True
    )

    def learn() -> float:
        total = 0.0
        for batch in samples.batches(config.batch_size):
            loss = _loss(head, batch).mean()
            optimizer.zero_grad()
            loss.backward()
            optimizer.step()
            total += loss.item() * len(batch.labels)
        return total / len(samples)

    return learn


def _by_lbfgs(head: CinemaeHead, samples: Samples, config: TrainConfig) -> Callable[[], float]:
    """Return what does an epoch and returns the mean loss at its last evaluation.

    The mean loss and ``weight_decay / 2`` times the L2 of weight matrices are minimised; a LayerNorm's weights are held
    to 1 as strongly, since they could undo that. MLP_agg's last matrix, D rows whose common scale the LayerNorm behind
    forgets, counts by the mean of its rows.
    """
    optimizer = torch.optim.LBFGS(head.parameters(), max_iter=LBFGS_STEPS, line_search_fn="strong_wolfe")
    scales = [module.weight for module in head.modules() if isinstance(module, nn.LayerNorm)]
    last = 0.0

    def squares() -> Iterator[Tensor]:
        yield from ((weight - 1).square().sum() for weight in scales)
        for name, weight in head.named_parameters():
            if weight.ndim > 1:
                evened = name.startswith("mlp_agg") and len(weight) == head.config.global_dim
                yield weight.square().sum() / (len(weight) if evened else 1)

    def objective() -> float:
        nonlocal last
        optimizer.zero_grad()
        penalty = torch.stack(list(squares())).sum()
        (penalty * config.weight_decay / 2).backward()
        last = 0.0
        for batch in samples.in_order():
            loss = _loss(head, batch).sum() / len(samples)
            loss.backward()
            last += loss.item()
        return last + penalty.item() * config.weight_decay / 2

    def learn() -> float:
        optimizer.step(objective)
        return last

    return learn


def _loss(head: CinemaeHead, batch: Batch) -> Tensor:
    logits = head(batch.global_feature, batch.stats)
    return nn.functional.binary_cross_entropy_with_logits(logits, batch.labels, weight=batch.weights, reduction="none")


def seeded_head(config: HeadConfig, seed: int) -> CinemaeHead:
    """Build a head whose initial weights depend on `seed` alone."""
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(seed)
        return CinemaeHead(config)


@torch.inference_mode()
def predict_logits(head: CinemaeHead, data: TrainingSet) -> NDArray[np.float64]:
    """Return the logit of each image, its views joined as the head was set to, (N,).

    Raises:
        TrainingError: If training has diverged.
    """
    head.eval()
    views = torch.from_numpy(data.global_feature), torch.from_numpy(data.stats)
    logits = torch.cat(
        [head.score_views(*(values[rows] for values in views)) for rows in row_slices(len(data), data.global_feature)]
    )
    if not logits.isfinite().all():
        raise TrainingError("training diverged to logits that are not finite: lower the learning rate.")
    return logits.numpy().astype(np.float64)


def epoch_line(
    seed: int,
    epoch: int,
    train_loss: float,
    logits: NDArray[np.float64],
    validation: TrainingSet,
) -> EpochLine:
    """Measure one epoch on validation."""
    labels = validation.labels
    losses = np.logaddexp(0.0, np.where(labels == 1, -logits, logits))
    right = (logits >= 0) == (labels == 1)
    return EpochLine(
        seed=seed,
        epoch=epoch,
        train_loss=train_loss,
        val_loss=float(np.mean([losses[labels == label].mean() for label in (0, 1)])),
        val_accuracy=float(np.mean([right[labels == label].mean() for label in (0, 1)])),
        val_auc=mean_generator_auc(logits, labels, validation.generators),
    )


def validation_results(
    logits: Sequence[NDArray[np.float64]],
    validation: TrainingSet,
    calibration: CalibrationReport,
    config: TrainConfig,
    history: Sequence[EpochLine],
) -> TrainingResults:
    """Return the figures of the first seed's logits, their calibration, and the spread over seeds."""
    labels, generators = validation.labels, validation.generators
    of_seeds = [mean_generator_auc(values, labels, generators) for values in logits]
    figures = calibration.figures()
    return TrainingResults(
        **{name: getattr(figures, name) for name in figures.__struct_fields__},
        cross_fitted=calibration.crossed.rates(labels),
        at_half=_at_half(logits[0], labels),
        calibration=calibration.to_figures(),
        mean_generator_auc_over_seeds=SeedSpread(
            seeds=tuple(range(config.seed, config.seed + config.num_seeds)),
            values=tuple(of_seeds),
            mean=float(np.mean(of_seeds)),
            std=float(np.std(of_seeds, ddof=1)) if len(of_seeds) > 1 else None,
        ),
        history=tuple(history),
    )


def _at_half(logits: NDArray[np.float64], labels: NDArray[np.int64]) -> HalfFigures:
    real, fake = logits[labels == 0], logits[labels == 1]
    return HalfFigures(
        balanced_accuracy=figure(balanced_accuracy_at(0.0), real, fake),
        false_positive_rate=rate(int((real >= 0).sum()), len(real)),
        called_ai=rate(int((fake >= 0).sum()), len(fake)),
    )


def plot_history(history: Sequence[EpochLine]) -> Figure:
    """Draw loss, accuracy and AUC over the epochs, one line a seed."""
    figure = new_figure(9, 3.6)
    of_loss, of_accuracy = figure.subplots(1, 2)
    for index, seed in enumerate(sorted({line.seed for line in history})):
        lines = [line for line in history if line.seed == seed]
        epochs = [line.epoch for line in lines]
        first = index == 0
        of_loss.plot(epochs, [line.train_loss for line in lines], color="C0", lw=1, label="training" if first else None)
        of_loss.plot(epochs, [line.val_loss for line in lines], color="C1", lw=1, label="validation" if first else None)
        for axis_label, values, color in (
            ("validation balanced accuracy at logit 0", [line.val_accuracy for line in lines], "C2"),
            ("validation AUC, mean over generators", [line.val_auc for line in lines], "C3"),
        ):
            of_accuracy.plot(epochs, values, color=color, lw=1, label=axis_label if first else None)
    of_loss.set(xlabel="epoch", ylabel="weighted BCE")
    of_accuracy.set(xlabel="epoch", ylim=(0.4, 1.0))
    for axes in (of_loss, of_accuracy):
        axes.grid(alpha=0.3)
        axes.legend(fontsize=8)
    figure.suptitle(f"one line a seed ({len({line.seed for line in history})})", fontsize=9)
    return figure
