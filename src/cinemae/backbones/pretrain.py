"""MAE pretraining of a small backbone from a folder of photographs, with exact resume.

He et al. 2022 (arXiv 2111.06377) with plain-pixel targets, which LCAS needs. Every random draw is a function of
(seed, step), so a run that was killed and started again ends in the same weights as one that was not, under a step
budget. Under an hour budget the learning rate follows the clock instead.
"""

from __future__ import annotations

import copy
import hashlib
import json
import math
import time
from collections.abc import Callable, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import TYPE_CHECKING, NamedTuple

import numpy as np
import torch
from safetensors import safe_open
from safetensors.torch import load_file, save
from torch import Tensor, nn

from cinemae.backbones.pretrain_baseline import gaussian_neighbour_mse
from cinemae.backbones.pretrain_data import BatchStream, PhotoCache, center_crops, readable_photos
from cinemae.backbones.pretrain_plots import plot_loss_curve, plot_reconstructions
from cinemae.backbones.pretrain_start import Start, first_model, save_model
from cinemae.core.masking import mask_noise
from cinemae.errors import ConfigError, SourceError, StoreError
from cinemae.pretrain_config import PretrainConfig
from cinemae.sources.whole_files import replacing

if TYPE_CHECKING:
    from transformers import ViTMAEForPreTraining

VALIDATION_IMAGES = 256
LOG_EVERY = 50
EVALUATE_EVERY = 500


@dataclass(frozen=True)
class Budget:
    """When pretraining ends: after so many steps or so many hours, whichever is given.

    Attributes:
        steps: Optimiser steps in all, earlier runs included.
        hours: Hours of training in all, earlier runs included.
    """

    steps: int | None = None
    hours: float | None = None

    def __post_init__(self) -> None:
        if (self.steps is None) == (self.hours is None):
            raise ConfigError("pretraining needs exactly one budget: steps or hours.")
        given = self.hours if self.steps is None else self.steps
        if given is not None and given <= 0:
            raise ConfigError(f"the budget must be positive, got {given}.")

    def spent(self, step: int, hours: float) -> float:
        """Return the share used up; 1 and more means the end."""
        return step / self.steps if self.steps is not None else hours / (self.hours or math.inf)


@dataclass
class Progress:
    """One line of the log, also handed to the caller.

    Attributes:
        step: Optimiser steps done.
        images: Training crops seen.
        hours: Training time so far.
        spent: Share of the budget used.
        loss: Mean masked squared error since the last line, ImageNet-normalised pixels.
        learning_rate: Of the last step.
        images_per_second: Since the last line.
        validation_loss: Of the averaged weights on held-out photographs under fixed masks, where measured.
    """

    step: int
    images: int
    hours: float
    spent: float
    loss: float
    learning_rate: float
    images_per_second: float
    validation_loss: float | None = None


def learning_rate(config: PretrainConfig, step: int, spent: float) -> float:
    """Linear warm-up by steps, then cosine to `min_learning_rate` over the budget, or constant.

    Example:
        >>> config = PretrainConfig(learning_rate=1.0, warmup_steps=10)
        >>> learning_rate(config, step=4, spent=0.0), learning_rate(config, step=50, spent=0.5)
        (0.5, 0.5)
    """
    rate = config.learning_rate
    if config.schedule == "cosine":
        floor = config.min_learning_rate
        rate = floor + (rate - floor) * 0.5 * (1 + math.cos(math.pi * min(1.0, spent)))
    return rate * min(1.0, (step + 1) / max(1, config.warmup_steps))


def pretrain(
    paths: Sequence[str],
    out: Path,
    config: PretrainConfig,
    budget: Budget,
    *,
    start: Start | None = None,
    checkpoint_minutes: float = 5.0,
    progress: Callable[[Progress], None] | None = None,
) -> Progress:
    """Pretrain a masked autoencoder and write it to `out` in the Hub's folder layout.

    Besides the weights, `out` receives ``summary.json`` (with the baseline to beat), ``log.jsonl``, ``loss.png``,
    ``reconstructions.png``, ``unreadable.txt`` (if any file was) and ``checkpoint.safetensors``: a run with the same
    settings goes on from there.

    Args:
        paths: Photographs. Up to 256 (at most 5 %) are held out to measure the validation loss.
        out: Folder to write.
        config: Architecture and recipe.
        budget: When to stop.
        start: Weights to begin with; None for fresh ones. The encoder's sizes in `config` must be its own, or left at
            their defaults.
        checkpoint_minutes: Time between checkpoints.
        progress: Called with each line of the log.

    Returns:
        The last line of the log.

    Raises:
        SourceError: If no photograph can be read, or fewer than two are given.
        StoreError: If `out` holds a checkpoint of other settings or other photographs.
        ConfigError: If the weights to begin with have another architecture than `config`.
        CheckpointError: If they cannot be loaded.
    """
    start = start or Start()
    config, model = first_model(config, start)
    cache = PhotoCache()
    readable, failures = readable_photos(paths, cache)
    if len(readable) < 2:
        raise SourceError("pretraining needs at least two readable photographs: one to train on, one to validate.")
    out.mkdir(parents=True, exist_ok=True)
    if failures:
        (out / "unreadable.txt").write_text("\n".join(failures) + "\n")
    order = np.random.default_rng([config.seed, 0]).permutation(len(readable))
    held_out = max(1, min(VALIDATION_IMAGES, len(readable) // 20))
    validation = center_crops([readable[i] for i in order[:held_out]], cache, config)
    training = [readable[i] for i in order[held_out:]]

    names = "\n".join(Path(path).name for path in readable)
    photographs = hashlib.sha256(names.encode(errors="surrogateescape")).hexdigest()
    identity = json.dumps({"config": config.to_dict(), **start.identity}, sort_keys=True)
    run = _Run(config, budget, out, model, _Identity(identity, photographs))
    line = run.train(BatchStream(training, cache, config), validation, checkpoint_minutes, progress)
    averaged = run.averaged_model()
    save_model(averaged, start, out)
    baseline = gaussian_neighbour_mse(validation, config.patch_size, config.mask_ratio)
    summary = {**asdict(line), "gaussian_neighbour_mse": baseline, "validation_images": held_out}
    (out / "summary.json").write_text(json.dumps({**summary, "config": config.to_dict()}, indent=1) + "\n")
    plot_loss_curve(run.log_path, out / "loss.png")
    plot_reconstructions(averaged, validation[:8], out / "reconstructions.png")
    return line


class _Identity(NamedTuple):
    """What a run that goes on must share with the one that began: settings and photographs."""

    settings: str
    photographs: str


class _Run:
    """Model, optimiser, averaged weights and clock of one run: all that a checkpoint holds."""

    def __init__(
        self, config: PretrainConfig, budget: Budget, out: Path, model: ViTMAEForPreTraining, identity: _Identity
    ) -> None:
        self.config, self.budget = config, budget
        self.identity, self.photographs = identity
        self.checkpoint, self.log_path = out / "checkpoint.safetensors", out / "log.jsonl"
        self.step, self.hours = 0, 0.0
        self.losses: list[float] = []  # since the last line of the log
        self.model = model.train()
        self.weights = {name: weight for name, weight in self.model.named_parameters() if weight.requires_grad}
        self.average = {name: weight.detach().clone() for name, weight in self.weights.items()}
        decayed = [weight for weight in self.weights.values() if weight.ndim > 1]
        others = [weight for weight in self.weights.values() if weight.ndim <= 1]
        self.optimizer = torch.optim.AdamW(
            [{"params": decayed, "weight_decay": config.weight_decay}, {"params": others, "weight_decay": 0.0}],
            lr=config.learning_rate,
            betas=(0.9, config.beta2),
            fused=True,
        )
        self._resume()

    def train(
        self,
        batches: BatchStream,
        validation: Tensor,
        checkpoint_minutes: float,
        progress: Callable[[Progress], None] | None,
    ) -> Progress:
        """Train until the budget is spent; log, evaluate and checkpoint on the way; return the last line."""
        started, saved = time.monotonic() - self.hours * 3600, time.monotonic()
        steps_before, seconds, line = self.step, time.monotonic(), None
        for pixel_values in batches.iterate(self.step):
            spent = self.budget.spent(self.step, self.hours)
            if spent >= 1:
                break
            rate = learning_rate(self.config, self.step, spent)
            self.losses.append(self._optimize(pixel_values, rate))
            self.step += 1
            self.hours = (time.monotonic() - started) / 3600
            ended = self.budget.spent(self.step, self.hours) >= 1
            if self.step % LOG_EVERY == 0 or ended:
                now = time.monotonic()
                evaluate = ended or self.step % EVALUATE_EVERY == 0
                line = Progress(
                    step=self.step,
                    images=self.step * self.config.batch_size,
                    hours=self.hours,
                    spent=min(1.0, self.budget.spent(self.step, self.hours)),
                    loss=float(np.mean(self.losses)),
                    learning_rate=rate,
                    images_per_second=(self.step - steps_before) * self.config.batch_size / (now - seconds),
                    validation_loss=masked_mse(self.averaged_model(), validation) if evaluate else None,
                )
                self.losses, steps_before, seconds = [], self.step, time.monotonic()
                with self.log_path.open("a") as log:
                    log.write(json.dumps(asdict(line)) + "\n")
                if progress:
                    progress(line)
            if ended or time.monotonic() - saved >= checkpoint_minutes * 60:
                self._save()
                saved = time.monotonic()
        return line or self._last_line()

    def averaged_model(self) -> ViTMAEForPreTraining:
        """Return a copy of the model with the moving average of the weights."""
        model = copy.deepcopy(self.model)
        model.load_state_dict(self.average, strict=False)
        return model.eval()

    def _optimize(self, pixel_values: Tensor, rate: float) -> float:
        rng = np.random.default_rng([self.config.seed, 3, self.step])
        num_patches = (self.config.image_size // self.config.patch_size) ** 2
        noise = torch.from_numpy(rng.random((len(pixel_values), num_patches), dtype=np.float32))
        loss = self.model(pixel_values, noise=noise).loss
        self.optimizer.zero_grad(set_to_none=True)
        loss.backward()
        nn.utils.clip_grad_norm_(self.weights.values(), self.config.gradient_clip)
        for group in self.optimizer.param_groups:
            group["lr"] = rate
        self.optimizer.step()
        decay = min(self.config.ema_decay, (1 + self.step) / (10 + self.step))
        with torch.no_grad():
            torch._foreach_lerp_(list(self.average.values()), list(self.weights.values()), 1 - decay)
        return float(loss.detach())

    def _save(self) -> None:
        tensors: dict[str, Tensor] = {}
        for name, weight in self.weights.items():
            state = self.optimizer.state[weight]
            tensors[f"weight.{name}"] = weight.detach()
            tensors[f"average.{name}"] = self.average[name]
            tensors[f"exp_avg.{name}"] = state["exp_avg"]
            tensors[f"exp_avg_sq.{name}"] = state["exp_avg_sq"]
        metadata = {
            "identity": self.identity,
            "step": str(self.step),
            "hours": repr(self.hours),
            "losses": json.dumps(self.losses),
            "photographs": self.photographs,
        }
        with replacing(self.checkpoint) as partial:
            partial.write_bytes(save({name: tensor.contiguous() for name, tensor in tensors.items()}, metadata))

    def _resume(self) -> None:
        if not self.checkpoint.exists():
            self.log_path.unlink(missing_ok=True)
            return
        with safe_open(self.checkpoint, framework="pt") as file:
            metadata = file.metadata()
        if metadata["identity"] != self.identity:
            raise StoreError(
                f"{self.checkpoint} was written with other settings: {metadata['identity']} there, {self.identity} "
                "now. Give the same settings to go on, or another --out to start afresh."
            )
        if metadata.get("photographs", self.photographs) != self.photographs:
            raise StoreError(
                f"{self.checkpoint} was made from other photographs, or from the same in another order: give those it "
                "was begun with to go on, or another --out to start afresh."
            )
        self.step, self.hours = int(metadata["step"]), float(metadata["hours"])
        self.losses = json.loads(metadata.get("losses", "[]"))
        tensors = load_file(self.checkpoint)
        with torch.no_grad():
            for name, weight in self.weights.items():
                weight.copy_(tensors[f"weight.{name}"])
                self.average[name].copy_(tensors[f"average.{name}"])
                self.optimizer.state[weight] = {
                    "step": torch.tensor(float(self.step)),
                    "exp_avg": tensors[f"exp_avg.{name}"],
                    "exp_avg_sq": tensors[f"exp_avg_sq.{name}"],
                }
        self._trim_log()

    def _trim_log(self) -> None:
        """Drop the lines past the checkpoint, which are about to be written again."""
        lines = [line for line in self._log_lines() if json.loads(line)["step"] <= self.step]
        with replacing(self.log_path) as partial:
            partial.write_text("".join(line + "\n" for line in lines))

    def _log_lines(self) -> list[str]:
        """Return the complete lines of the log; a kill may have cut the last one short."""
        text = self.log_path.read_text() if self.log_path.exists() else ""
        return [line.rstrip("\n") for line in text.splitlines(keepends=True) if line.endswith("\n")]

    def _last_line(self) -> Progress:
        lines = self._log_lines()
        if not lines:
            raise StoreError(f"the budget was spent before the first step, and {self.log_path} has no line.")
        return Progress(**json.loads(lines[-1]))


@torch.inference_mode()
def masked_mse(model: ViTMAEForPreTraining, pixel_values: Tensor, *, batch_size: int = 64) -> float:
    """Return the masked squared error a value under one fixed mask, ImageNet-normalised pixels.

    The figure to hold against 0.73, what a Gaussian average of the visible patches' mean colours reaches.
    """
    num_patches = (model.config.image_size // model.config.patch_size) ** 2
    noise = torch.from_numpy(mask_noise(0, 1, num_patches))
    losses = [
        model(chunk, noise=noise.expand(len(chunk), -1)).loss.item() * len(chunk)
        for chunk in pixel_values.split(batch_size)
    ]
    return float(sum(losses) / len(pixel_values))
