"""Train backbone and head together on images, parts of the backbone unfrozen (Tab. 5a and Fig. 10): a complete model.

What is computed from an image is what `extract` and `train` compute, Eqs. 3-9; the gradient goes on into whatever is
unfrozen. With nothing unfrozen, one view an image and fixed masks, the head becomes the one that `training.train`
makes of a store, up to rounding.
"""

from __future__ import annotations

import tempfile
import time
from collections.abc import Callable, Iterator
from contextlib import closing, contextmanager
from copy import deepcopy
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import msgspec
import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor, nn

from cinemae.backbones.finetune_config import FinetuneConfig, FinetuneRecipe, StepLine
from cinemae.backbones.finetune_data import (
    LabelledImages,
    failures_file,
    left_out,
    load_views,
    measure_features,
    plan_epoch,
    read_both,
)
from cinemae.calibration.outliers import learn_outliers
from cinemae.calibration.report import report_calibration
from cinemae.config import ExtractorConfig, ImageConfig, LcasConfig, ModelConfig, Provenance
from cinemae.core.backbone import FrozenMAE, MaskedAutoencoder
from cinemae.core.checkpoint import save_pretrained_folder
from cinemae.core.features import FeatureExtractor, features_to_stats
from cinemae.core.head import CinemaeHead, pool_views, pooled_dim
from cinemae.core.masking import noise_from_config
from cinemae.errors import ConfigError, TrainingError
from cinemae.features.extract import backbone_info
from cinemae.features.training_set import TrainingSet
from cinemae.models.results import EpochLine
from cinemae.training.build_model import TrainedModel, lcas_quantiles, write_backbone
from cinemae.training.samples import sample_weights
from cinemae.training.train import (
    TrainReport,
    epoch_line,
    predict_logits,
    seeded_head,
    validation_results,
)

_FIXED_WEIGHTS = ("position_embeddings", "decoder_pos_embed")


def start_from(recipe: FinetuneRecipe) -> FeatureExtractor:
    """Load the backbone to begin with, on the device to train on."""
    backbone = MaskedAutoencoder.from_pretrained(recipe.backbone, device=recipe.device)
    config = recipe.extractor or ExtractorConfig(image=ImageConfig.of_size(backbone.image_size))
    return FeatureExtractor(backbone, config).to(recipe.device)


def unfreeze(backbone: MaskedAutoencoder, config: FinetuneConfig) -> list[nn.Parameter]:
    """Let gradients flow into the parts that `config` names and into no other, and return their weights."""
    backbone.requires_grad_(False)
    modules: dict[str, nn.Module] = {"encoder": backbone.model.vit, "decoder": backbone.model.decoder}
    named = [pair for part in config.parts for pair in modules[part].named_parameters()]
    weights = [weight for name, weight in named if not name.endswith(_FIXED_WEIGHTS)]
    for weight in weights:
        weight.requires_grad_(True)
    return weights


class StepBudget:
    """When a run ends: after its epochs, or earlier by steps or by the clock."""

    def __init__(self, config: FinetuneConfig, planned: int) -> None:
        self.num_steps = min(planned, config.max_steps or planned)
        self._ends = time.monotonic() + (config.max_seconds or float("inf"))

    def spent(self, step: int) -> bool:
        """Return whether `step` was the last one; at least one is taken, however slow the clock finds it."""
        return step >= self.num_steps or (step > 0 and time.monotonic() >= self._ends)


@dataclass(frozen=True)
class _Data:
    """What all runs share: images, and the features of the training images under the backbone as it begins."""

    training: LabelledImages
    validation: LabelledImages
    split: str
    features: TrainingSet


@dataclass(frozen=True)
class _Trained:
    """One run's outcome; `logits` are those of the validation images."""

    head: CinemaeHead
    logits: NDArray[np.float64]
    steps: int
    history: list[EpochLine]


def finetune(recipe: FinetuneRecipe, out: Path, *, progress: Callable[[StepLine], None] | None = None) -> TrainReport:
    """Train backbone and head end to end by the classification loss, and write the model directory.

    The backbone written holds its new weights in float32, so it has another content hash, and the model another
    fingerprint. The head starts anew; its inputs are scaled by the training images' features under the backbone as it
    begins. As in `training.train`, the first seed and the last epoch are kept, and thresholds are chosen on validation.

    Args:
        recipe: Images, backbone and settings.
        out: Directory to write.
        progress: Called after every step.

    Raises:
        TrainingError: If a class is missing, a file is both trained and validated on, or training diverges.
        CheckpointError: If the backbone cannot be loaded.
        ConfigError: If settings do not fit each other.
    """
    if recipe.train.optimizer != "adam":
        raise ConfigError("with parts of the backbone unfrozen the optimizer is adam: lbfgs needs features that stay.")
    if recipe.finetune.objective != "bce":
        raise ConfigError('a model is trained by the objective "bce"; "reconstruction" is for backbones.finetune_nll.')
    extractor = start_from(recipe)
    training, validation, split = read_both(recipe, extractor.config.image)
    dim = pooled_dim(extractor.global_dim, recipe.head.view_pooling, extractor.config.image.num_views)
    recipe = replace(recipe, head=replace(recipe.head, global_dim=dim))
    features, _ = measure_features(extractor, training, recipe.lcas)
    data = _Data(training, validation, split, features)
    runs: list[_Trained] = []
    for seed in range(recipe.train.seed, recipe.train.seed + recipe.train.num_seeds):
        runs.append(_run(recipe, data, start_from(recipe) if runs else extractor, seed, progress))
    with tempfile.TemporaryDirectory(prefix="cinemae-finetune-") as folder:
        weights = Path(folder)
        _write_trained(recipe, extractor, weights)  # the first run's, changed in place
        trained = _finish(recipe, data, runs, extractor.config, weights)
        trained.write(out)
    return trained.report


def _finish(
    recipe: FinetuneRecipe, data: _Data, runs: list[_Trained], settings: ExtractorConfig, weights: Path
) -> TrainedModel:
    """Measure the backbone as it was written to a folder, and choose the thresholds."""
    first = runs[0]
    backbone = FrozenMAE.from_pretrained(weights, device=recipe.device)
    shipped = FeatureExtractor(backbone, settings).to(recipe.device)
    measured, of_photographs = measure_features(shipped, data.validation, recipe.lcas)
    logits = [predict_logits(first.head, measured), *(run.logits for run in runs[1:])]
    calibration = report_calibration(logits[0], measured.labels, measured.generators, recipe.train)
    history = [line for run in runs for line in run.history]
    results = msgspec.structs.replace(
        validation_results(logits, measured, calibration, recipe.train, history),
        **_facts(recipe, data, [run.steps for run in runs]),
    )
    report = TrainReport(first.head, calibration.decision, history, calibration, results)
    trained, _ = measure_features(shipped, data.training, recipe.lcas)  # under the backbone as it has become
    distance, ood = learn_outliers(
        trained.global_feature, measured.global_feature, measured.labels, recipe.head.joins_views_side_by_side
    )
    config = ModelConfig(
        name=recipe.name,
        backbone=backbone_info(backbone),
        extractor=settings,
        lcas=recipe.lcas,
        head=recipe.head,
        decision=calibration.decision,
        reference=lcas_quantiles(of_photographs),
        provenance=_provenance(recipe, data.split, first.steps),
        ood=ood,
    )
    return TrainedModel(config, report, shipped, weights, distance, failures_file(data.training, data.validation))


def image_logits(
    extractor: FeatureExtractor,
    head: CinemaeHead,
    lcas: LcasConfig,
    pixel_values: Tensor,
    noise: Tensor | None = None,
) -> Tensor:
    """Return the logits that a step learns from, differentiable in backbone and head.

    Args:
        extractor: Backbone and settings.
        head: Eqs. 7-9.
        lcas: Weight and reduction of Eq. 4's terms.
        pixel_values: Views of N images, (N, V', 3, S, S); V' may be fewer than the images have.
        noise: Masking noise (K, L) in place of the configured one.

    Returns:
        (N, 1), or (N, V') where the head averages the logits of views: then each view is a sample, as in
        `training.train`.
    """
    shape = pixel_values.shape[:2]
    features = extractor(pixel_values.flatten(0, 1), noise)
    stats = features_to_stats(features, lcas, extractor.backbone.patch_dim)
    if head.config.view_pooling == "logit":
        of_views: Tensor = head(features.global_feature, stats)
        return of_views.view(shape)
    pooled = pool_views(
        features.global_feature.unflatten(0, shape), stats.unflatten(0, shape), head.config.view_pooling
    )
    of_images: Tensor = head(*pooled)
    return of_images[:, None]


def _run(
    recipe: FinetuneRecipe,
    data: _Data,
    extractor: FeatureExtractor,
    seed: int,
    progress: Callable[[StepLine], None] | None,
) -> _Trained:
    """Train one backbone, in place, and one head."""
    config, device, settings = recipe.train, torch.device(recipe.device), extractor.config.image
    generator = torch.Generator().manual_seed(seed)
    head = seeded_head(recipe.head, seed)
    head.set_standardization(*map(torch.from_numpy, data.features.pooled(recipe.head.view_pooling)))
    learn = _Step(recipe, extractor, head.to(device), data, seed)
    budget = StepBudget(recipe.finetune, config.epochs * -(-len(data.training) // config.batch_size))
    history: list[EpochLine] = []
    logits, step, epoch = np.zeros(0), 0, 0
    while not budget.spent(step):
        epoch += 1
        losses, seen = 0.0, 0
        plan = plan_epoch(len(data.training), settings.num_views, config, generator)
        head.train()
        with _own_randomness(seed * 100_003 + epoch, device), closing(load_views(data.training, plan, settings)) as seq:
            for draw, pixel_values in seq:
                loss = learn(step, draw.images, pixel_values.to(device))
                step, losses, seen = step + 1, losses + loss * len(draw.images), seen + len(draw.images)
                if progress:
                    progress(StepLine(seed, step, budget.num_steps, loss))
                if budget.spent(step):
                    break
        validation, _ = measure_features(extractor, data.validation, recipe.lcas)
        logits = predict_logits(deepcopy(head).cpu(), validation)
        history.append(epoch_line(seed, epoch, losses / seen, logits, validation))
    return _Trained(head.cpu().eval(), logits, step, history)


@contextmanager
def _own_randomness(seed: int, device: torch.device) -> Iterator[None]:
    """Seed the global random state, from which alone dropout draws, and put it back afterwards."""
    with torch.random.fork_rng(devices=[device] if device.type == "cuda" else []):
        torch.manual_seed(seed)
        yield


class _Step:
    """One optimiser step of backbone and head."""

    def __init__(
        self, recipe: FinetuneRecipe, extractor: FeatureExtractor, head: CinemaeHead, data: _Data, seed: int
    ) -> None:
        self._extractor, self._head, self._lcas, self._seed = extractor, head, recipe.lcas, seed
        self._fresh = recipe.finetune.masks == "fresh"
        self._labels = torch.from_numpy(data.features.labels).float()
        self._weights = torch.from_numpy(sample_weights(data.features, recipe.train.class_balance)).float()
        groups = [{"params": list(head.parameters()), "lr": recipe.train.learning_rate}]
        if weights := unfreeze(extractor.backbone, recipe.finetune):
            groups.append({"params": weights, "lr": recipe.finetune.backbone_learning_rate})
        self._optimizer = torch.optim.Adam(groups, weight_decay=recipe.train.weight_decay, fused=True)

    def __call__(self, step: int, chosen: Tensor, pixel_values: Tensor) -> float:
        """Learn from the chosen images, views (n, V', 3, S, S), and return the loss before the step."""
        logits = image_logits(self._extractor, self._head, self._lcas, pixel_values, self._noise(step))
        labels, weights = (
            values[chosen, None].to(logits).expand_as(logits) for values in (self._labels, self._weights)
        )
        loss = nn.functional.binary_cross_entropy_with_logits(logits, labels, weight=weights)
        if not loss.isfinite():
            raise TrainingError("training diverged to a loss that is not finite: lower the learning rates.")
        self._optimizer.zero_grad()
        loss.backward()
        self._optimizer.step()
        return loss.item()

    def _noise(self, step: int) -> Tensor | None:
        if not self._fresh:
            return None
        seed = int(np.random.SeedSequence([self._seed, 1, step]).generate_state(1, np.uint64)[0])
        mask = replace(self._extractor.config.mask, seed=seed)
        noise = torch.from_numpy(noise_from_config(mask, self._extractor.backbone.num_patches))
        return noise.to(self._extractor.noise.device)


def _write_trained(recipe: FinetuneRecipe, extractor: FeatureExtractor, target: Path) -> None:
    """Write the backbone: as it came where nothing was unfrozen, else its new weights."""
    backbone = extractor.backbone.cpu()
    if recipe.finetune.parts:
        save_pretrained_folder(backbone.model, target)
    else:
        write_backbone(backbone, Path(recipe.backbone), target)


def _facts(recipe: FinetuneRecipe, data: _Data, steps: list[int]) -> dict[str, Any]:
    sides = {"training": data.training, "validation": data.validation}
    return {
        "split": data.split,
        "format_probe": {name: probe for name, images in sides.items() if (probe := images.format_probe())},
        "finetune": {**recipe.finetune.to_dict(), "steps_of_each_seed": steps},
        **left_out(data.training, data.validation),
    }


def _provenance(recipe: FinetuneRecipe, split: str, steps: int) -> Provenance:
    config, parts = recipe.finetune, recipe.finetune.parts
    rates = f"Adam at {recipe.train.learning_rate:g} for the head"
    rates += f" and {config.backbone_learning_rate:g} for the backbone" if parts else ""
    line = (
        f"trained end to end from images with {' and '.join(parts) or 'nothing'} of the backbone unfrozen: {rates}, "
        f"{steps} steps of {recipe.train.batch_size} images, {config.masks} masks"
    )
    return {
        **recipe.provenance,
        "recipe": [*recipe.provenance.get("recipe", ()), line],
        "train": recipe.train.to_dict(),
        "finetune": config.to_dict(),
        "split": split,
        "altered_copies": [],
    }
