"""How fast the frozen half of a bare backbone is here, and what the paper's tables would take at that speed."""

from __future__ import annotations

import tempfile
import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, replace
from datetime import UTC, datetime
from functools import partial
from pathlib import Path
from typing import Any, Literal

import numpy as np
import torch

from cinemae.core.backbone import FrozenMAE
from cinemae.core.features import FeatureExtractor
from cinemae.core.preprocess import preprocess
from cinemae.errors import EvaluationError
from cinemae.evaluation.pictures import survey
from cinemae.evaluation.protocols.cost import Rates, cost_table
from cinemae.evaluation.speed import SpeedConfig, Stage, draw_photograph, median_seconds, peak_memory
from cinemae.evaluation.versions import processor, versions
from cinemae.features.extract import extract_rows
from cinemae.features.training_set import TrainingSet
from cinemae.models.scorers import find_device, torch_precision
from cinemae.pictures.image import load_image
from cinemae.preset import PAPER
from cinemae.settings import Settings, require, usable_cores
from cinemae.sources.records import ImageRecord
from cinemae.training.train import fit_head

SIDE = 512
"""Of the pictures drawn: about what GenImage's are."""
HEAD_IMAGES = 1024
MOST_DEVIATION = {"fp32": 0.02, "bf16": 0.2}
"""How far an image's mean of Eq. 5 may be from that in float32 on the processor, by its spread over the pictures."""


@dataclass(frozen=True)
class FrozenSpeedConfig(Settings):
    """What to measure: where the backbone runs and in what, batch sizes, pictures, rounds; USD an hour there.

    The clock "cpu" counts the processor's seconds, all threads together: for a machine that is busy with other work.
    """

    device: str = "auto"
    precision: str = "auto"
    batch_sizes: tuple[int, ...] = (1, 16, 64)
    images: int = 64
    rounds: int = 5
    price: float = 2.5
    clock: Literal["wall", "cpu"] = "wall"

    def __post_init__(self) -> None:
        super().__post_init__()
        require(self.price >= 0, f"the price of an hour must not be negative, got {self.price}.")


@dataclass(frozen=True)
class FrozenSpeedReport:
    """What was measured, and on what.

    Attributes:
        backbone: As it was named.
        device: Processor or GPU, in words.
        cores: Usable ones.
        precision: What the backbone computed in, "fp32" or "bf16".
        config: What was asked for.
        stages: In the order of the work; the frozen half once for each batch size.
        rates: What `cinemae.evaluation.protocols.cost` works with.
        deviation: Largest difference of an image's mean of Eq. 5 from float32 on the processor, by its spread.
        peak_memory: Of the process, in MB; None where the system does not say.
        peak_device_memory: What torch held on the GPU at most, in MB; None elsewhere.
        when: Date.
    """

    backbone: str
    device: str
    cores: int
    precision: str
    config: FrozenSpeedConfig
    stages: tuple[Stage, ...]
    rates: Rates
    deviation: float
    peak_memory: float | None
    peak_device_memory: float | None
    when: str

    def to_markdown(self) -> str:
        """Return a block to paste into a page of benchmarks."""
        config = self.config
        rows = [f"| {s.name} | {s.batch_size} | {1 / s.seconds:,.1f} | {1e3 * s.seconds:.2f} |" for s in self.stages]
        memories = {"of the process": self.peak_memory, "on the GPU": self.peak_device_memory}
        memory = ", ".join(f"{value:.0f} MB {where}" for where, value in memories.items() if value is not None)
        packages = ", ".join(f"{name} {version}" for name, version in versions().items())
        return "\n".join(
            [
                f"### {self.backbone}, frozen half in {self.precision}, on {self.device}, {self.when}",
                "",
                "| stage | batch size | images/s | ms/image |",
                "|---|---:|---:|---:|",
                *rows,
                "",
                f"An image's mean of Eq. 5 differs from float32 on the processor by {self.deviation:.1e} of its spread "
                f"at most. Peak memory: {memory or 'unknown'}. {config.images} drawn JPEGs of {SIDE}x{SIDE}, "
                f"median of {config.rounds} rounds, {self.cores} cores. Versions: {packages}.",
                "",
                "The paper's tables at this speed:",
                "",
                *cost_table(self.rates, config.price),
            ]
        )


def measure_frozen_speed(backbone: str, config: FrozenSpeedConfig) -> FrozenSpeedReport:
    """Time the survey of pictures, the frozen half in batches, the making of a store, and an epoch of a head.

    Args:
        backbone: As `FrozenMAE.from_pretrained` takes it; run with the paper's settings.
        config: What to measure.

    Raises:
        CheckpointError: If there is no such backbone.
        EvaluationError: If Eq. 5 differs from float32 on the processor by more than `MOST_DEVIATION`.
    """
    device = find_device(config.device)
    precision = torch_precision(config.precision, device)
    dtype = torch.bfloat16 if precision == "bf16" else torch.float32
    frozen = FrozenMAE.from_pretrained(backbone, device=device, dtype=dtype)
    extractor = FeatureExtractor(frozen, PAPER.extractor(frozen.image_size)).to(device)
    if device.type == "cuda":
        torch.cuda.reset_peak_memory_stats()
    with _pictures(config) as records:
        stages, row_bytes = _time(extractor, records, config)
        on_gpu = torch.cuda.max_memory_allocated() / 1e6 if device.type == "cuda" else None
        of_process = peak_memory()
        deviation = _check(extractor, backbone, records[:8], precision)
    by_name = {stage.name: stage.seconds for stage in stages}
    return FrozenSpeedReport(
        backbone=Path(backbone).name if Path(backbone).exists() else backbone,
        device=torch.cuda.get_device_name() if device.type == "cuda" else processor(),
        cores=usable_cores(),
        precision=precision,
        config=config,
        stages=stages,
        rates=Rates(by_name["survey"], by_name["row of a store"], by_name["head, an epoch"], row_bytes),
        deviation=deviation,
        peak_memory=of_process,
        peak_device_memory=on_gpu,
        when=datetime.now(UTC).date().isoformat(),
    )


@contextmanager
def _pictures(config: FrozenSpeedConfig) -> Iterator[list[ImageRecord]]:
    drawn = SpeedConfig(images=config.images, width=SIDE, height=SIDE)
    with tempfile.TemporaryDirectory() as name:
        paths = [Path(name) / f"{index}.jpg" for index in range(config.images)]
        for index, path in enumerate(paths):
            path.write_bytes(draw_photograph(drawn, index))
        yield [ImageRecord(str(path), index % 2, "drawn") for index, path in enumerate(paths)]


def _time(
    extractor: FeatureExtractor, records: list[ImageRecord], config: FrozenSpeedConfig
) -> tuple[tuple[Stage, ...], int]:
    """Return the stages, and the bytes of a row."""
    count, image = len(records), extractor.config.image
    views = np.concatenate([preprocess(load_image(record.path).image, image) for record in records])
    pixel_values = torch.from_numpy(views).to(extractor.noise.device)
    clock = time.perf_counter if config.clock == "wall" else time.process_time
    seconds_of = partial(median_seconds, rounds=config.rounds, clock=clock)
    stages = [Stage("survey", 1, seconds_of(lambda: survey(records)) / count)]
    for size in config.batch_sizes:
        batch = pixel_values[torch.arange(size) % len(pixel_values)]
        stages.append(Stage("frozen half", size, seconds_of(partial(_look, extractor, batch)) / size))
    size = max(config.batch_sizes)
    made = seconds_of(lambda: list(extract_rows(records, extractor, batch_size=size)))
    features = _look(extractor, pixel_values[:1])
    values = sum(part.numel() for part in (features.global_feature, features.deviation, features.fidelity))
    head = replace(PAPER.head, global_dim=extractor.global_dim)
    drawn, train = _drawn(extractor.global_dim), replace(PAPER.train, epochs=1)
    learnt = seconds_of(lambda: fit_head(drawn, drawn[np.arange(32)], head, train, 0, []))
    stages += [Stage("row of a store", size, made / count)]
    stages += [Stage("head, an epoch", train.batch_size, learnt / HEAD_IMAGES)]
    return tuple(stages), 4 * values


def _look(extractor: FeatureExtractor, pixel_values: torch.Tensor) -> Any:  # noqa: ANN401 - Features, on the CPU
    with torch.inference_mode():
        features = extractor(pixel_values)
        features.global_feature.cpu()  # waits for the GPU
        return features


def _drawn(dim: int) -> TrainingSet:
    rng = np.random.default_rng(0)
    labels = np.arange(HEAD_IMAGES) % 2
    values = [rng.standard_normal((HEAD_IMAGES, 1, width), np.float32) for width in (dim, 3)]
    return TrainingSet.of(values[0], values[1], labels, np.where(labels == 1, "drawn", "photographs"))


def _check(extractor: FeatureExtractor, backbone: str, records: list[ImageRecord], precision: str) -> float:
    """Return how far Eq. 5 is from float32 on the processor, by its spread over the pictures."""
    exact = FeatureExtractor(FrozenMAE.from_pretrained(backbone, device="cpu"), extractor.config)
    found = [
        np.array(
            [
                np.nanmean(row.deviation)
                for rows in extract_rows(records, one)
                for row in rows
                if row.deviation is not None
            ]
        )
        for one in (extractor, exact)
    ]
    deviation = float(np.abs(found[0] - found[1]).max() / found[1].std())
    if not deviation <= MOST_DEVIATION[precision]:
        raise EvaluationError(
            f"Eq. 5 in {precision} on {extractor.noise.device} must be that of float32 on the processor within "
            f"{MOST_DEVIATION[precision]:g} of its spread, and differs by {deviation:.2g}: speed means nothing "
            "then; please report this with the versions of your packages."
        )
    return deviation
