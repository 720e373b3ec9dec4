"""How fast a model is here, stage by stage, and whether it says what the exact path says: behind ``cinemae bench``.

The pictures are drawn in code, so that no data is needed and everybody measures on the same ones.
"""

from __future__ import annotations

import io
import statistics
import sys
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray
from PIL import Image

from cinemae.core.preprocess import preprocess
from cinemae.detect.detector import Detector
from cinemae.errors import EvaluationError, MissingDependencyError, ModelDirError
from cinemae.evaluation.versions import processor, versions
from cinemae.models.directory import resolve_model
from cinemae.models.scorers import OnnxScorer, Scorer, TorchScorer, make_scorer
from cinemae.pictures.image import load_image
from cinemae.settings import Settings, require, usable_cores

TOLERANCE = 1e-3
"""Largest difference of prob_fake from the exact path that float32 may show on any device."""


@dataclass(frozen=True)
class SpeedConfig(Settings):
    """What to measure: how a model is run, batch sizes, and the pictures drawn (sides in pixels)."""

    device: str = "auto"
    precision: str = "auto"
    compiled: bool = False
    batch_sizes: tuple[int, ...] = (1, 8, 32)
    images: int = 32
    rounds: int = 5
    width: int = 1280
    height: int = 960
    seed: int = 0

    def __post_init__(self) -> None:
        super().__post_init__()
        require(bool(self.batch_sizes), "at least one batch size must be given.")
        for name in ("images", "rounds", "width", "height"):
            require(getattr(self, name) >= 1, f"{name} must be at least 1, got {getattr(self, name)}.")
        require(min(self.batch_sizes) >= 1, f"batch sizes must be at least 1, got {min(self.batch_sizes)}.")


@dataclass(frozen=True)
class Stage:
    """One thing that was timed.

    Attributes:
        name: In words.
        batch_size: Images handled together.
        seconds: For an image, the median over the rounds.
    """

    name: str
    batch_size: int
    seconds: float


@dataclass(frozen=True)
class SpeedReport:
    """What was measured, and on what.

    Attributes:
        model_id: Name and hash of the model, with its precision.
        device: Processor or GPU, in words.
        engine: What computed: ONNX Runtime or torch.
        config: What was asked for.
        stages: In the order of the work.
        exact: The path that the answers were compared with, in words.
        deviation: Largest difference of prob_fake from it.
        peak_memory: Of the process, without the exact path, in MB; None where the system does not say.
        peak_device_memory: What torch held on the GPU at most, in MB; None elsewhere.
        when: Date.
    """

    model_id: str
    device: str
    engine: str
    config: SpeedConfig
    stages: tuple[Stage, ...]
    exact: str
    deviation: float
    peak_memory: float | None
    peak_device_memory: float | None
    when: str

    def to_markdown(self) -> str:
        """Return a block to paste into a page of benchmarks."""
        rows = [f"| {s.name} | {s.batch_size} | {1 / s.seconds:.1f} | {1e3 * s.seconds:.2f} |" for s in self.stages]
        memories = {"of the process": self.peak_memory, "on the GPU": self.peak_device_memory}
        memory = ", ".join(f"{value:.0f} MB {where}" for where, value in memories.items() if value is not None)
        packages = ", ".join(f"{name} {version}" for name, version in versions().items())
        config = self.config
        return "\n".join(
            [
                f"### {self.model_id} on {self.device}, {self.when}",
                "",
                "| stage | batch size | images/s | ms/image |",
                "|---|---:|---:|---:|",
                *rows,
                "",
                f"Computed by {self.engine}. prob_fake differs from "
                f"{self.exact} by {self.deviation:.1e} at most. Peak memory: {memory or 'unknown'}. {config.images} "
                f"drawn JPEGs of {config.width}x{config.height}, median of {config.rounds} rounds, {usable_cores()} "
                f"cores. Versions: {packages}.",
            ]
        )


def measure_speed(model: str | None, config: SpeedConfig) -> SpeedReport:
    """Time decoding, preprocessing, the model in batches and the whole, and check the model's answers.

    Args:
        model: A model directory or a Hub id; None for the bundled starter.
        config: What to measure.

    Raises:
        EvaluationError: If float32 differs from the exact path by more than `TOLERANCE`.
        CinemaeError: If the model cannot be run as asked.
    """
    directory = resolve_model(model)
    scorer = make_scorer(directory, config.device, precision=config.precision, compiled=config.compiled)
    files = [draw_photograph(config, index) for index in range(config.images)]
    image = scorer.config.extractor.image
    pixel_values = np.stack([preprocess(load_image(file).image, image) for file in files])
    cuda = _cuda(scorer)
    if cuda is not None:
        cuda.reset_peak_memory_stats()
    stages = _time_stages(scorer, files, pixel_values, config)
    of_process, on_device = peak_memory(), None if cuda is None else cuda.max_memory_allocated() / 1e6
    exact, deviation = _check(scorer, directory, pixel_values[:8])
    return SpeedReport(
        model_id=scorer.model_id,
        device=processor() if cuda is None else cuda.get_device_name(),
        engine=scorer.engine,
        config=config,
        stages=tuple(stages),
        exact=exact,
        deviation=deviation,
        peak_memory=of_process,
        peak_device_memory=on_device,
        when=datetime.now(UTC).date().isoformat(),
    )


def draw_photograph(config: SpeedConfig, index: int) -> bytes:
    """Draw smooth colour with a sensor's noise, which takes a camera's effort to decode, and write it as JPEG."""
    rng = np.random.default_rng([config.seed, index])
    coarse = Image.fromarray(rng.integers(0, 256, (12, 16, 3), np.uint8))
    smooth = np.asarray(coarse.resize((config.width, config.height), Image.Resampling.BICUBIC), np.float32)
    noisy = smooth + 6 * rng.standard_normal(smooth.shape, np.float32)
    file = io.BytesIO()
    Image.fromarray(noisy.clip(0, 255).astype(np.uint8)).save(file, "JPEG", quality=90)
    return file.getvalue()


def _check(scorer: Scorer, directory: Path, pixel_values: NDArray[np.float32]) -> tuple[str, float]:
    """Return the exact path's name and how far prob_fake is from it."""
    exact: Scorer
    try:
        exact, name = TorchScorer(directory, device="cpu", precision="fp32"), "torch in float32 on the processor"
    except (MissingDependencyError, ModelDirError):  # the light install, or a model without its backbone
        exact, name = OnnxScorer(directory), "ONNX Runtime in float32"
    expected = exact.score(pixel_values).prob_fake
    deviation = float(np.abs(scorer.score(pixel_values).prob_fake - expected).max())
    if scorer.model_id == scorer.config.model_id and not deviation <= TOLERANCE:  # others name their precision
        raise EvaluationError(
            f"float32 must give what the exact path gives, but prob_fake differs from {name} by {deviation:.2g}: "
            "speed means nothing then; please report this with the versions of your packages."
        )
    return name, deviation


def _time_stages(
    scorer: Scorer, files: Sequence[bytes], pixel_values: NDArray[np.float32], config: SpeedConfig
) -> list[Stage]:
    image, count = scorer.config.extractor.image, len(files)
    pictures = [load_image(file).image for file in files]
    stages = [
        Stage("decode", 1, median_seconds(lambda: [load_image(file) for file in files], config.rounds) / count),
        Stage(
            "preprocess", 1, median_seconds(lambda: [preprocess(one, image) for one in pictures], config.rounds) / count
        ),
    ]
    for size in config.batch_sizes:
        batch = pixel_values[np.arange(size) % count]
        stages.append(Stage("model", size, median_seconds(lambda b=batch: scorer.score(b), config.rounds) / size))  # type: ignore[misc]
    detector, size = Detector(scorer), max(config.batch_sizes)
    whole = median_seconds(lambda: list(detector.detect_batch(files, batch_size=size)), config.rounds)
    return [*stages, Stage("whole", size, whole / count)]


def median_seconds(run: Callable[[], object], rounds: int, clock: Callable[[], float] = time.perf_counter) -> float:
    """Return the median seconds of a run; the first, which fills caches and compiles, does not count."""
    run()
    seconds = []
    for _ in range(rounds):
        begin = clock()
        run()
        seconds.append(clock() - begin)
    return statistics.median(seconds)


def peak_memory() -> float | None:
    """Return the most memory that this process has held, in MB; None where the system does not say."""
    status = Path("/proc/self/status")
    lines = status.read_text(encoding="utf-8").splitlines() if status.is_file() else []
    for line in lines:  # of Linux, where getrusage counts what the parent held when it started this process
        if line.startswith("VmHWM:"):
            return int(line.split()[1]) * 1024 / 1e6
    try:
        import resource
    except ModuleNotFoundError:  # Windows
        return None
    unit = 1 if sys.platform == "darwin" else 1024
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * unit / 1e6


def _cuda(scorer: Scorer) -> Any:  # noqa: ANN401 - torch is optional here
    """Return torch.cuda if that is where the model runs."""
    if not scorer.device.startswith("cuda"):
        return None
    import torch

    return torch.cuda
