"""Fig. 2: how the NLL of photographs and of each generator moves while the backbone learns to redraw patches.

The backbone learns by the masked autoencoder's own loss (Eq. 1: the squared error of hidden patches); no head is there.
At step 0 and every few steps NLL_approx (Eq. 2, sigma 1) is measured on held-out images.
"""

from __future__ import annotations

import json
from collections.abc import Callable, Iterator, Sequence
from contextlib import closing
from dataclasses import asdict, dataclass, field
from itertools import count
from pathlib import Path
from typing import Any

import numpy as np
import torch
from matplotlib.figure import Figure
from numpy.typing import NDArray
from scipy.stats import bootstrap
from torch import Tensor

from cinemae.backbones.finetune import StepBudget, start_from, unfreeze
from cinemae.backbones.finetune_config import FinetuneRecipe, StepLine
from cinemae.backbones.finetune_data import (
    Draw,
    LabelledImages,
    failures_file,
    left_out,
    load_views,
    plan_epoch,
    read_both,
    whole_plan,
)
from cinemae.core.backbone import MaskedAutoencoder
from cinemae.core.checkpoint import renew_decoder, save_pretrained_folder
from cinemae.core.features import FeatureExtractor
from cinemae.core.lcas import nll_approx
from cinemae.core.masking import patchify
from cinemae.errors import ConfigError, TrainingError
from cinemae.models.directory import BACKBONE_DIR
from cinemae.statistics.plot_style import BLACK, LineStyle, line_style

PHOTOGRAPHS = "photographs"
SIGMA = 1.0
_RESAMPLES = 1000


@dataclass(frozen=True)
class GroupNll:
    """Mean patch NLL_approx over the images of a group, with its 95 % interval.

    Attributes:
        value: The mean.
        low: Lower end; None where one image is alone.
        high: Upper end; None where one image is alone.
        n: How many images.
    """

    value: float
    low: float | None
    high: float | None
    n: int


@dataclass(frozen=True)
class NllLine:
    """One measurement.

    Attributes:
        step: Optimiser steps done; 0 is the backbone as it came.
        train_loss: Mean masked squared error a value since the last line; None at step 0.
        groups: "photographs" and each generator.
    """

    step: int
    train_loss: float | None
    groups: dict[str, GroupNll] = field(default_factory=dict)


@dataclass(frozen=True)
class NllReport:
    """What `train_reconstruction` found.

    Attributes:
        history: Every measurement, step 0 first.
        results: What ``nll.json`` holds besides: settings, hashes of the backbone, images left out.
    """

    history: list[NllLine]
    results: dict[str, Any]


def train_reconstruction(
    recipe: FinetuneRecipe, out: Path, *, progress: Callable[[StepLine], None] | None = None
) -> NllReport:
    """Train the unfrozen parts to redraw patches, follow the NLL, and write ``nll.json``, ``nll.png`` and the backbone.

    One run, of `recipe.train.seed`. Every view of a step gets a mask of its own, drawn anew, at the backbone's own mask
    ratio; the NLL is always measured under the K masks and on the views that images are scored with, in
    ImageNet-normalised pixels, the space of the loss.

    Args:
        recipe: Images, backbone and settings; head and LCAS settings have no part in it.
        out: Directory to write.
        progress: Called after every step.

    Raises:
        TrainingError: If a class is missing, a file is both trained and measured on, or training diverges.
        ConfigError: If the objective is another.
        CheckpointError: If the backbone cannot be loaded.
    """
    if recipe.finetune.objective != "reconstruction":
        raise ConfigError('this follows the NLL: set the objective of fine-tuning to "reconstruction".')
    extractor = start_from(recipe)
    before = extractor.backbone.content_hash
    if recipe.finetune.fresh_decoder:
        renew_decoder(extractor.backbone.model, recipe.train.seed)
    training, validation, split = read_both(recipe, extractor.config.image)
    wanted = {"both": (0, 1), "real": (0,), "fake": (1,)}[recipe.finetune.reconstructed]
    chosen = training[np.flatnonzero(np.isin(training.labels, wanted))]
    out.mkdir(parents=True, exist_ok=True)
    history = list(_train(recipe, extractor, chosen, validation, progress))
    save_pretrained_folder(extractor.backbone.cpu().model, out / BACKBONE_DIR)
    results = {
        "sigma": SIGMA,
        "pixel_space": "normalized",
        "backbone": {"before": before, "after": extractor.backbone.content_hash},
        "extractor": extractor.config.to_dict(),
        "finetune": recipe.finetune.to_dict(),
        "train": {**recipe.train.to_dict(), "num_seeds": 1},
        "trained_on": len(chosen),
        "split": split,
        **left_out(training, validation),
    }
    text = json.dumps({**results, "history": [asdict(line) for line in history]}, indent=1)
    (out / "nll.json").write_text(text + "\n", encoding="utf-8")
    for name, content in failures_file(training, validation).items():
        (out / name).write_bytes(content)
    plot_nll(history).savefig(out / "nll.png", dpi=120)
    return NllReport(history, results)


def image_nll(extractor: FeatureExtractor, images: LabelledImages) -> NDArray[np.float64]:
    """Return NLL_approx (Eq. 2, sigma 1) of each image: the mean over views, passes and hidden patches, (N,)."""
    of_batches = []
    for _, pixel_values in load_views(images, whole_plan(len(images)), extractor.config.image):
        with torch.inference_mode():
            nll = _patch_nll(extractor, pixel_values.flatten(0, 1).to(extractor.noise.device))
        of_batches.append(nll.nanmean((1, 2)).unflatten(0, pixel_values.shape[:2]).mean(1).double().cpu().numpy())
    return np.concatenate(of_batches)


def group_nll(nll: NDArray[np.float64], images: LabelledImages, *, seed: int = 0) -> dict[str, GroupNll]:
    """Average over photographs and over each generator, with percentile-bootstrap intervals over images.

    Args:
        nll: Of each image, (N,).
        images: Whose labels and generators to go by.
        seed: Of the resampling.

    Returns:
        Photographs first, then generators by name.
    """
    labels, generators = images.labels, images.generators
    groups = {PHOTOGRAPHS: nll[labels == 0]}
    for name in np.unique(generators[labels == 1]):
        groups[str(name) or "(unnamed)"] = nll[(labels == 1) & (generators == name)]
    return {name: _mean_with_interval(values, seed) for name, values in groups.items()}


def plot_nll(history: Sequence[NllLine]) -> Figure:
    """Draw one line a group over the steps, its interval shaded; photographs in black and thicker."""
    figure = Figure(figsize=(8, 4.2), layout="constrained")
    axes = figure.subplots()
    steps = [line.step for line in history]
    styles = (style for style in map(line_style, count()) if style["color"] != BLACK)
    for name in history[0].groups:
        of_group = [line.groups[name] for line in history]
        is_real = name == PHOTOGRAPHS
        style = LineStyle(color=BLACK, ls="-") if is_real else next(styles)
        color, label = style["color"], f"{name} (n = {of_group[0].n})"
        values = [group.value for group in of_group]
        axes.plot(steps, values, **style, marker=".", lw=2.5 if is_real else 1.5, label=label)
        if of_group[0].n > 1:
            low, high = ([getattr(group, end) for group in of_group] for end in ("low", "high"))
            axes.fill_between(steps, low, high, color=color, alpha=0.12, lw=0)
    axes.set(xlabel="optimiser step", ylabel="mean patch NLL_approx (sigma 1, normalised pixels)")
    axes.grid(alpha=0.3)
    axes.legend(fontsize=8, loc="upper left", bbox_to_anchor=(1.01, 1))
    axes.set_title("held-out images; shaded: 95 % interval over images", fontsize=9)
    return figure


def _train(
    recipe: FinetuneRecipe,
    extractor: FeatureExtractor,
    training: LabelledImages,
    validation: LabelledImages,
    progress: Callable[[StepLine], None] | None,
) -> Iterator[NllLine]:
    """Yield the measurement at step 0, then train, measuring on the way and at the end."""
    config, seed, backbone = recipe.train, recipe.train.seed, extractor.backbone
    weights = unfreeze(backbone, recipe.finetune)
    optimizer = torch.optim.Adam(
        weights, lr=recipe.finetune.backbone_learning_rate, weight_decay=config.weight_decay, fused=True
    )
    losses: list[float] = []
    yield _measure(0, losses, extractor, validation)
    budget = StepBudget(recipe.finetune, config.epochs * -(-len(training) // config.batch_size))
    with closing(load_views(training, _endless(len(training), extractor, recipe), extractor.config.image)) as batches:
        for step, (_, views) in enumerate(batches, 1):
            pixel_values = views.flatten(0, 1).to(extractor.noise.device)
            loss = backbone.model(pixel_values, noise=_mask_noise(seed, step, len(pixel_values), backbone)).loss
            if not loss.isfinite():
                raise TrainingError(
                    "training diverged to a loss that is not finite: lower the backbone's learning rate."
                )
            optimizer.zero_grad()
            loss.backward()
            optimizer.step()
            losses.append(loss.item())
            if progress:
                progress(StepLine(seed, step, budget.num_steps, losses[-1]))
            ended = budget.spent(step)
            if ended or step % recipe.finetune.measure_every == 0:
                yield _measure(step, losses, extractor, validation)
                losses = []
            if ended:
                return


def _endless(num_images: int, extractor: FeatureExtractor, recipe: FinetuneRecipe) -> Iterator[Draw]:
    generator = torch.Generator().manual_seed(recipe.train.seed)
    while True:
        yield from plan_epoch(num_images, extractor.config.image.num_views, recipe.train, generator)


def _mask_noise(seed: int, step: int, rows: int, backbone: MaskedAutoencoder) -> Tensor:
    """Draw one mask a view: a function of seed and step alone, as in pretraining."""
    rng = np.random.default_rng([seed, 3, step])
    noise = torch.from_numpy(rng.random((rows, backbone.num_patches), dtype=np.float32))
    return noise.to(backbone.model.decoder.mask_token.device)


def _measure(step: int, losses: list[float], extractor: FeatureExtractor, validation: LabelledImages) -> NllLine:
    train_loss = float(np.mean(losses)) if losses else None
    return NllLine(step, train_loss, group_nll(image_nll(extractor, validation), validation))


def _patch_nll(extractor: FeatureExtractor, pixel_values: Tensor) -> Tensor:
    """Return NLL_approx of every patch, (N, K, L), nan where visible."""
    backbone = extractor.backbone
    pred, mask = backbone.reconstruct(pixel_values, extractor.noise, mask_ratio=extractor.config.mask.mask_ratio)
    target = patchify(pixel_values, backbone.patch_size)[:, None].expand_as(pred)
    return nll_approx(pred, target, mask, sigma=SIGMA)


def _mean_with_interval(values: NDArray[np.float64], seed: int) -> GroupNll:
    mean = float(values.mean())
    if len(values) < 2:
        return GroupNll(mean, None, None, len(values))
    ends: Any = bootstrap(
        (values,),
        np.mean,
        n_resamples=_RESAMPLES,
        batch=100,
        vectorized=True,
        method="percentile",
        rng=np.random.default_rng(seed),
    ).confidence_interval
    return GroupNll(mean, float(ends.low), float(ends.high), len(values))
