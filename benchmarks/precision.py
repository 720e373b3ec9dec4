"""The int8 graph against float32 and against a plain transcription of the method: time, memory, and the answers.

The transcription is what a reader of the paper would write: one whole-image `ViTMAEModel` call and a
`ViTMAEForPreTraining` call for each mask, with default settings. It leaves out Eqs. 4-9, which counts for it. The
bundled model runs with its own weights; ViT-L has random ones, so its scores mean nothing, but are compared all the
same. Its graphs take minutes to make: name a folder to keep them in (--keep), and the next run is quick.
"""

from __future__ import annotations

import argparse
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable
from pathlib import Path

import numpy as np
import torch
import transformers
from torch import Tensor

from benchmarks.large_model import make_large_graph, weight_bytes
from benchmarks.measure import (
    KILOBYTES,
    Record,
    Samples,
    Target,
    make_parser,
    median_ratio,
    require_close,
    run,
    take_turns,
)
from cinemae.core.checkpoint import load_pretrained_folder
from cinemae.core.masking import noise_from_config
from cinemae.models.directory import (
    BACKBONE_DIR,
    INT8_FILE,
    STARTER,
    read_model_config,
)
from cinemae.models.export_int8 import quantize_graph
from cinemae.models.scorers import OnnxScorer, TorchScorer

MOST_TIME, MOST_MEMORY = 0.55, 0.4
CLOCKS = {"wall": time.perf_counter, "cpu": time.process_time}
EXACT, CLOSE = 1e-4, 0.15  # largest difference of prob_fake: two engines in float32, int8 and float32
PEAK = f"""
import sys
import numpy as np
from cinemae.models.scorers import OnnxScorer
scorer = OnnxScorer(sys.argv[1], precision=sys.argv[2])
image = scorer.config.extractor.image
shape = (1, image.num_views, 3, image.size, image.size)
for _ in range(3):
    scorer.score(np.random.default_rng(0).standard_normal(shape, np.float32))
{KILOBYTES}
print(kilobytes("VmHWM") * 1024)
"""


def measure(options: argparse.Namespace) -> Record:
    """Check and time every way in turns, for both models and each batch size; then weigh them."""
    transformers.logging.set_verbosity_error()
    if options.threads:
        torch.set_num_threads(options.threads)
    checks: dict[str, float] = {}
    figures: dict[str, float] = {}
    targets, samples = list[Target](), Samples()
    with tempfile.TemporaryDirectory() as temporary:
        for name in options.models:
            directory = STARTER if name == "starter" else make_vit_l(Path(options.keep or temporary) / "vit-l")
            _time(name, directory, options, (checks, figures, targets, samples))
            if name == "ViT-L":
                _weigh(directory, figures, targets)
    settings = {name: getattr(options, name) for name in ("models", "batch", "rounds", "clock")}
    return Record("precision", {**settings, "threads": torch.get_num_threads()}, checks, figures, targets, samples)


def make_vit_l(directory: Path) -> Path:
    """Write a model of ViT-L sizes with random weights, and both graphs of it, unless they are there."""
    make_large_graph(directory)
    if not (directory / INT8_FILE).is_file():
        quantize_graph(directory, directory)
    return directory


def transcribe(directory: Path) -> Callable[[Tensor], Tensor]:
    """Return the plain way from pixel values (N, 3, S, S) to global features, redrawing the masked patches besides."""
    masked, whole = (load_pretrained_folder(str(directory / BACKBONE_DIR)).eval() for _ in range(2))
    whole.config.mask_ratio = 0.0
    config = read_model_config(directory)
    noise = torch.from_numpy(noise_from_config(config.extractor.mask, config.backbone.num_patches))

    def run_all(pixel_values: Tensor) -> Tensor:
        with torch.inference_mode():
            for row in noise:
                masked(pixel_values, noise=row.expand(len(pixel_values), -1))
            return whole.vit(pixel_values).last_hidden_state[:, 0]  # type: ignore[no-any-return]

    return run_all


def _time(
    name: str,
    directory: Path,
    options: argparse.Namespace,
    found: tuple[dict[str, float], dict[str, float], list[Target], Samples],
) -> None:
    checks, figures, targets, samples = found
    plain, exact = transcribe(directory), TorchScorer(directory, device="cpu")
    graphs = {
        precision: OnnxScorer(directory, precision=precision, num_threads=options.threads)
        for precision in ("fp32", "int8")
    }
    image = exact.config.extractor.image
    for batch in options.batch:
        shape = (batch, image.num_views, 3, image.size, image.size)
        pixels = np.random.default_rng(batch).standard_normal(shape, np.float32)
        flat = torch.from_numpy(pixels).flatten(0, 1)
        expected = exact.score(pixels).prob_fake
        with torch.inference_mode():
            features = exact._model.extractor.backbone.global_feature(flat)
        what = f"{name}, batch {batch}"
        checks[f"{what}: global_feature, transcription"] = require_close(what, plain(flat), features, EXACT)
        for precision, tolerance in (("fp32", EXACT), ("int8", CLOSE)):
            scores = graphs[precision].score(pixels).prob_fake
            checks[f"{what}: prob_fake, graph in {precision}"] = require_close(what, scores, expected, tolerance)
        ways: dict[str, Callable[[], object]] = {
            "transcription": lambda flat=flat: plain(flat),  # type: ignore[misc]
            "torch": lambda pixels=pixels: exact.score(pixels),  # type: ignore[misc]
            "graph": lambda pixels=pixels: graphs["fp32"].score(pixels),  # type: ignore[misc]
            "int8": lambda pixels=pixels: graphs["int8"].score(pixels),  # type: ignore[misc]
        }
        seconds = take_turns(ways, options.rounds, warm_up=0, clock=CLOCKS[options.clock])  # all of them ran above
        for way, values in seconds.items():
            figures[f"{what}, {way}, s"] = statistics.median(values)
            samples[f"{what}, {way}"] = values
        for way in ("transcription", "torch", "graph"):
            figures[f"{what}, int8 / {way}"] = median_ratio(seconds["int8"], seconds[way])
        if batch == 8:
            ratio = figures[f"{what}, int8 / transcription"]
            targets.append(Target(f"{what}, int8 / transcription", ratio, MOST_TIME, False))


def _weigh(directory: Path, figures: dict[str, float], targets: list[Target]) -> None:
    for precision in ("fp32", "int8"):
        ratio = _peak_memory(directory, precision) / weight_bytes()
        figures[f"ViT-L, batch 1, peak memory / float32 weights, {precision}"] = ratio
    targets.append(Target("ViT-L, batch 1, int8: peak memory / float32 weights", ratio, MOST_MEMORY, False))


def _peak_memory(directory: Path, precision: str) -> float:
    """Return the most memory in bytes that a process of its own holds while it scores one image."""
    command = [sys.executable, "-c", PEAK, str(directory), precision]
    return float(subprocess.run(command, check=True, capture_output=True, text=True).stdout)


def main() -> None:
    """Run the benchmark from the command line."""
    parser = make_parser(__doc__)
    parser.add_argument("--keep", help="a folder for the model of ViT-L sizes, 3 GB; without it it is made anew")
    parser.add_argument("--models", nargs="+", choices=("starter", "ViT-L"), default=["starter", "ViT-L"], help="which")
    parser.add_argument("--batch", type=int, nargs="+", default=[1, 8], help="images a call")
    parser.add_argument("--rounds", type=int, default=5, help="how often each way is timed")
    parser.add_argument("--threads", type=int, help="of torch and ONNX Runtime; without it one a core")
    parser.add_argument("--clock", choices=CLOCKS, default="wall", help="cpu helps on a machine that is not quiet")
    run(measure, parser)


if __name__ == "__main__":
    main()
