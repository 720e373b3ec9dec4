"""The analyses among the protocols: Figs. 2, 3, 4, 7, 8 and 9."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from typing import Any

import msgspec
import numpy as np
from matplotlib.figure import Figure
from numpy.typing import NDArray

from cinemae.backbones.finetune_config import FinetuneConfig, FinetuneRecipe
from cinemae.backbones.finetune_nll import PHOTOGRAPHS, plot_nll, train_reconstruction
from cinemae.core.preprocess import looked_at
from cinemae.evaluation.analyses.correlation import correlation_table, plot_correlations
from cinemae.evaluation.analyses.distributions import plot_distributions, score_distributions
from cinemae.evaluation.analyses.image_statistics import HIGH_FREQUENCY_RADIUS, image_statistics
from cinemae.evaluation.analyses.transfer import plot_transfer, transfer_matrix
from cinemae.evaluation.pictures import PictureList
from cinemae.evaluation.predictions import RAW
from cinemae.evaluation.protocols.finetuning import FinetuneOptions, unfrozen
from cinemae.evaluation.protocols.measure import Bench
from cinemae.evaluation.protocols.protocol import Protocol, ProtocolRow
from cinemae.evaluation.protocols.table import Measurement
from cinemae.sources.stream import read_ahead
from cinemae.statistics.metrics import auc

_RHO = {
    "spearman_entropy": "entropy",
    "spearman_high_frequency": "high_frequency_ratio",
    "spearman_gradient_tv": "gradient_tv",
}


@dataclass(frozen=True)
class Analysed:
    """What an analysis found.

    Attributes:
        figures: Cells of the protocol's table, by row and column.
        about: The whole of it, as plain JSON types.
        plots: By name.
    """

    figures: dict[tuple[str, str], Measurement]
    about: dict[str, Any] = field(default_factory=dict)
    plots: dict[str, Figure] = field(default_factory=dict)


def histograms(protocol: Protocol, bench: Bench, options: FinetuneOptions) -> Analysed:
    """Fig. 3: NLL, and LCAS beside it, of photographs and each generator's images under the frozen MAE."""
    scores = bench.frozen("test")
    figures = {}
    for row in protocol.rows:
        chosen = scores.labels == 0 if row.test is None else (scores.labels == 1) & (scores.generators == row.test)
        for column in protocol.columns:
            if column.metric == "nll_real":
                figures[row.name, column.name] = _mean(scores.nll[scores.labels == 0])
            elif column.metric == "nll_fake" and chosen.any():
                figures[row.name, column.name] = _mean(scores.nll[chosen])
            elif column.metric == "auc" and chosen.any():
                found = auc(-scores.nll[scores.labels == 0], -scores.nll[chosen])
                ends = (100 * found.value, None, 100 * found.low, 100 * found.high)
                figures[row.name, column.name] = Measurement(*ends, n=found.n, decimals=1)
    tables = {name: score_distributions(scores.values(name)) for name in ("nll", "lcas")}
    plots = {name: plot_distributions(table, name.upper()) for name, table in tables.items()}
    return Analysed(figures, {"distributions": msgspec.to_builtins(tables)}, plots)


def threshold_transfer(protocol: Protocol, bench: Bench, options: FinetuneOptions) -> Analysed:
    """Fig. 4: a threshold on NLL from each generator's training images, judged on every generator's test images."""
    train, test = bench.frozen("train"), bench.frozen("test")
    matrices = {name: transfer_matrix(train.as_detector(name), test.as_detector(name)) for name in ("nll", "lcas")}
    matrix = matrices["nll"]
    figures = {}
    for row in protocol.rows:
        for column in protocol.columns:
            if row.train and row.train[0] in matrix.trained_on and column.test in matrix.tested_on:
                place = matrix.trained_on.index(row.train[0]), matrix.tested_on.index(column.test)
                found = matrix.cells[place[0]][place[1]].balanced_accuracy
                ends = (100 * found.value, None, 100 * found.low, 100 * found.high)
                figures[row.name, column.name] = Measurement(*ends, n=found.n, decimals=1)
    plots = {name: plot_transfer(one, name.upper()) for name, one in matrices.items()}
    return Analysed(figures, {"transfer": {name: one.to_dict() for name, one in matrices.items()}}, plots)


def correlations(protocol: Protocol, bench: Bench, options: FinetuneOptions) -> Analysed:
    """Fig. 7: Spearman's rho of s1..s3 with entropy, high-frequency share and total variation."""
    scores = bench.frozen("test")
    pictures, config = PictureList(bench.data.test), bench.cache.frozen.extractor.config.image

    def of_picture(index: int) -> NDArray[np.float64]:
        return image_statistics(looked_at(pictures[index], config))  # of the very pixels that s1, s2, s3 are of

    values = np.stack(list(read_ahead(of_picture, range(len(pictures)))))
    table = correlation_table(scores.stats, values, scores.labels)
    names = {"variability": "s1", "overall": "s2", "sensitivity": "s3"}
    figures = {}
    for row in protocol.rows:
        statistic = next((name for name, short in names.items() if short == row.name), None)
        for column in protocol.columns:
            found = statistic and table.groups["all"].rho[statistic][_RHO[column.metric]]
            if found:
                ends = (found.value, None, found.low, found.high)
                figures[row.name, column.name] = Measurement(*ends, n=found.n)
    about = {"correlations": msgspec.to_builtins(table), "high_frequency_radius": HIGH_FREQUENCY_RADIUS}
    return Analysed(figures, about, {"correlations": plot_correlations(table)})


def maps(protocol: Protocol, bench: Bench, options: FinetuneOptions) -> Analysed:
    """Figs. 8 and 9: how many images are judged rightly and wrongly, and their statistics; maps are in reports."""
    row = next(row for row in protocol.rows if row.detector == "cinemae")
    scored, scores = (
        bench.of_head(ProtocolRow(row.name, detector="cinemae"), [RAW], other_masks=0),
        bench.frozen("test"),
    )
    called = scored.scores[RAW][:, 0] >= scored.chosen[0]
    groups = {
        "true_negative": ~called & (scores.labels == 0),
        "true_positive": called & (scores.labels == 1),
        "false_positive": called & (scores.labels == 0),
        "false_negative": ~called & (scores.labels == 1),
    }
    metrics = {"median_variability": 0, "median_overall": 1, "median_sensitivity": 2}
    figures = {}
    for row in protocol.rows:
        chosen = groups[row.group]
        for column in protocol.columns:
            if column.metric == "count":
                figures[row.name, column.name] = Measurement(float(chosen.sum()), decimals=0)
            elif chosen.any():
                figures[row.name, column.name] = _median(scores.stats[chosen, metrics[column.metric]])
    return Analysed(figures, {"threshold": "best balanced accuracy on training images held out, first seed"})


def nll_curve(protocol: Protocol, bench: Bench, options: FinetuneOptions) -> Analysed:
    """Fig. 2: mean NLL of test images while a fresh decoder learns to redraw the training images."""
    frozen, row = bench.cache.frozen, protocol.rows[0]
    recipe = FinetuneRecipe(
        training=bench.data.train,
        validation=bench.data.test,
        backbone=frozen.backbone,
        extractor=frozen.extractor.config,
        train=frozen.train,
        finetune=FinetuneConfig(
            unfreeze=unfrozen(row), objective="reconstruction", fresh_decoder=True, max_steps=options.max_steps
        ),
        device=frozen.device,
    )
    bench.tell(f"training the decoder on {len(bench.data.train)} images")
    report = train_reconstruction(recipe, bench.cache.folder / "nll-curve")
    first, last = report.history[0].groups, report.history[-1].groups
    figures = {}
    for row in protocol.rows:
        for column in protocol.columns:
            groups = first if column.metric.endswith("first") else last
            name = PHOTOGRAPHS if column.metric.startswith("nll_real") else row.test
            if name in groups:
                figures[row.name, column.name] = Measurement(
                    groups[name].value, low=groups[name].low, high=groups[name].high, n=groups[name].n
                )
    about = {"nll": report.results, "steps": report.history[-1].step}
    return Analysed(figures, about, {"nll": plot_nll(report.history)})


ANALYSES: Mapping[str, Callable[[Protocol, Bench, FinetuneOptions], Analysed]] = {
    "nll_curve": nll_curve,
    "nll_histogram": histograms,
    "threshold_transfer": threshold_transfer,
    "correlation": correlations,
    "maps": maps,
}


def _mean(values: NDArray[np.float64]) -> Measurement:
    """Return the mean with its normal interval."""
    error = 1.96 * float(values.std(ddof=1)) / len(values) ** 0.5 if len(values) > 1 else 0.0
    mean = float(values.mean())
    return Measurement(mean, low=mean - error, high=mean + error, n=len(values))


def _median(values: NDArray[np.float64]) -> Measurement:
    """Return the median with the interval of its order statistics."""
    ordered, n = np.sort(values), len(values)
    reach = 0.98 * n**0.5  # 1.96 deviations of Binomial(n, 1/2)
    low, high = max(0, int(n / 2 - reach)), min(n - 1, int(np.ceil(n / 2 + reach)))
    return Measurement(float(np.median(ordered)), low=float(ordered[low]), high=float(ordered[high]), n=n, decimals=3)
