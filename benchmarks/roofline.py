"""What this machine can do, what each stage of the method needs of it, and how near the stages come.

The rate is that of one large matrix product (4096 x 4096 x 4096), the bandwidth that of reading 256 MB, both measured
in the same turns as the stages. References in the same turns: a plain transcription of the method (one whole-image call
and K masked calls of Hugging Face's ViTMAE, default settings), and Hugging Face's CLIP ViT-L/14 image encoder, with
default settings and with the linear layers that `FrozenMAE` uses. ViT-L sizes with random weights; and the bundled
starter with its own, the views of one image as a batch. The method runs in torch, stage by stage, and as the exported
graph in ONNX Runtime, which is what a processor gets unless told otherwise and what the targets are held against.
"""

from __future__ import annotations

import argparse
import statistics
import tempfile
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any
from unittest import mock

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor, nn
from transformers import CLIPVisionConfig, CLIPVisionModel, ViTMAEConfig, ViTMAEForPreTraining, ViTMAEModel

from benchmarks.large_model import make_large_graph
from benchmarks.measure import Record, Samples, Target, make_parser, median_ratio, require_close, run, take_turns
from benchmarks.packed_pass import CLOCKS, SIZES, share_weights
from benchmarks.roofline_work import Sizes, Work, encoder_alone, method, transcription
from cinemae.config import ExtractorConfig, HeadConfig, LcasConfig
from cinemae.core.backbone import FrozenMAE
from cinemae.core.checkpoint import load_pretrained_folder
from cinemae.core.features import FeatureExtractor, features_to_stats
from cinemae.core.head import CinemaeHead
from cinemae.core.linear import use_onednn
from cinemae.core.masking import num_visible, patchify
from cinemae.models.directory import BACKBONE_DIR, STARTER, read_model_config
from cinemae.models.scorers import OnnxScorer, TorchScorer

Run = Callable[[Tensor], Any]
LARGE = 4096
TOLERANCE = 1e-4
STAGES = {"embedding": "_embed", "encoder": "_encode", "decoder": "_redraw"}
MAE, CLIP, CLIP_DNN, PLAIN, GRAPH = "method", "CLIP ViT-L/14", "CLIP ViT-L/14, oneDNN", "transcription", "ONNX Runtime"
GEMM, GEMM_TORCH, READ, COPY = "large product", "large product, torch's", "read 256 MB", "copy 256 MB"
BOUNDS = {1: 0.70, 8: 0.85}  # batch size of ViT-L: share of the transcription's time that is promised


@dataclass(frozen=True)
class Group:
    """What runs on the same pixels.

    Attributes:
        name: Model and batch.
        ways: What is timed, by name.
        works: What each needs; of the method each stage.
        pixel_values: The input.
        directory: The model, with its graph.
        batch: Images of ViT-L together; None for the starter.
    """

    name: str
    ways: dict[str, Run]
    works: dict[str, Work]
    pixel_values: Tensor
    directory: Path
    batch: int | None = None


def measure(options: argparse.Namespace) -> Record:
    """Check parity, then time machine, stages and references in turns, for each model and batch."""
    if options.threads:
        torch.set_num_threads(options.threads)
    machine, clock = machine_contestants(), CLOCKS[options.clock]
    checks, figures, targets, samples = {}, {}, [], Samples()
    with tempfile.TemporaryDirectory() as temporary:
        large = make_large_graph(Path(options.keep or temporary) / "vit-l")
        groups = [*large_groups(large, options.batch), starter_group()]
    for group in groups:
        spent: Samples = {}
        with torch.inference_mode():
            checks |= _check(group)
            ways = {name: lambda way=way, x=group.pixel_values: way(x) for name, way in group.ways.items()}
            with _stage_clock(spent, clock):
                seconds = take_turns({**machine, **ways}, options.rounds, clock=clock)
        stages = {name: values[-options.rounds :] for name, values in spent.items()}
        rest = [whole - sum(parts) for whole, *parts in zip(seconds[MAE], *stages.values(), strict=True)]
        seconds |= {f"method, {name}": values for name, values in {**stages, "scores": rest}.items()}
        samples |= {f"{group.name}, {name}": values for name, values in seconds.items()}
        figures |= _machine_figures(seconds, group.name) | _stage_figures(seconds, group)
        targets += _targets(seconds, group)
    settings = {name: getattr(options, name) for name in ("batch", "rounds", "clock")}
    return Record("roofline", {**settings, "threads": torch.get_num_threads()}, checks, figures, targets, samples)


def large_groups(directory: Path, batches: list[int]) -> Iterator[Group]:
    """Yield the method, the transcription and CLIP, twice, at ViT-L sizes."""
    ways, clips = _ways(directory), _clip(SIZES["large"])
    for batch in batches:
        clip = encoder_alone(1024, 24, 256, 588, batch)
        works = _works(directory, batch) | {CLIP: clip, CLIP_DNN: clip}
        yield Group(f"ViT-L, batch {batch}", ways | clips, works, _pixel_values(directory, batch), directory, batch)


def starter_group() -> Group:
    """Return the method, the transcription and the graph of the bundled starter, on the views of one image."""
    views = read_model_config(STARTER).extractor.image.num_views
    works, pixel_values = _works(STARTER, views), _pixel_values(STARTER, views)
    return Group(f"starter, {views} views", _ways(STARTER), works, pixel_values, STARTER)


def _ways(directory: Path) -> dict[str, Run]:
    """Return the method in torch, its transcription, and its graph, on a model's weights."""
    masked = load_pretrained_folder(str(directory / BACKBONE_DIR)).eval()
    graph = OnnxScorer(directory, num_threads=torch.get_num_threads())
    ways = method_and_transcription(masked, graph.config.extractor)
    return {**ways, GRAPH: lambda pixel_values: graph.score(_images(pixel_values, directory))}


def _images(pixel_values: Tensor, directory: Path) -> NDArray[np.float32]:
    """Return views as scorers take them, (N, V, 3, S, S)."""
    views = read_model_config(directory).extractor.image.num_views
    return pixel_values.unflatten(0, (-1, views)).numpy()


def _pixel_values(directory: Path, views: int) -> Tensor:
    size = read_model_config(directory).extractor.image.size
    return torch.randn(views, 3, size, size, generator=torch.Generator().manual_seed(1))


def _works(directory: Path, views: int) -> dict[str, Work]:
    config, mae = read_model_config(directory), ViTMAEConfig.from_pretrained(directory / BACKBONE_DIR)
    sizes = Sizes(
        width=mae.hidden_size,
        depth=mae.num_hidden_layers,
        decoder_width=mae.decoder_hidden_size,
        decoder_depth=mae.decoder_num_hidden_layers,
        patches=config.backbone.num_patches,
        patch_dim=3 * mae.patch_size**2,
        visible=num_visible(config.backbone.num_patches, config.extractor.mask.mask_ratio),
        passes=config.extractor.mask.num_passes,
    )
    stages = method(sizes, views)
    named = {f"method, {name}": work for name, work in stages.items()}
    whole = sum(stages.values(), Work())
    return {**named, MAE: whole, GRAPH: whole, PLAIN: transcription(sizes, views)}


def method_and_transcription(masked: ViTMAEForPreTraining, config: ExtractorConfig) -> dict[str, Run]:
    """Return the method to its statistics and logit, and the transcription to its predictions, on the same weights."""
    settings = masked.config.to_dict()
    whole = share_weights(masked.vit, lambda: ViTMAEModel(ViTMAEConfig(**{**settings, "mask_ratio": 0.0})))
    frozen = FrozenMAE(share_weights(masked, lambda: ViTMAEForPreTraining(ViTMAEConfig(**settings))), copy=False)
    extractor, head = FeatureExtractor(frozen, config), CinemaeHead(HeadConfig(global_dim=frozen.hidden_size)).eval()

    def score(pixel_values: Tensor) -> tuple[Tensor, Tensor, Tensor]:
        features = extractor(pixel_values)
        stats = features_to_stats(features, LcasConfig(), frozen.patch_dim)
        return features.global_feature, features.fidelity, head(features.global_feature, stats)

    def transcribe(pixel_values: Tensor) -> tuple[Tensor, Tensor]:
        rows = [row.expand(len(pixel_values), -1) for row in extractor.noise]
        global_feature = whole(pixel_values).last_hidden_state[:, 0]
        return global_feature, torch.stack([masked(pixel_values, noise=row).logits for row in rows], 1)

    return {MAE: score, PLAIN: transcribe}


def _clip(size: dict[str, int]) -> dict[str, Run]:
    clip = CLIPVisionModel(CLIPVisionConfig(**size, patch_size=14)).eval()
    use_onednn(clip)

    def by_torch(pixel_values: Tensor) -> Any:
        with mock.patch("cinemae.core.linear._available", return_value=False):  # what its layers were before
            return clip(pixel_values)

    return {CLIP: by_torch, CLIP_DNN: clip}


def machine_contestants() -> dict[str, Callable[[], object]]:
    """Return what measures the machine: a large product by oneDNN and by torch, and moving 256 MB."""
    generator = torch.Generator().manual_seed(2)
    left, right = torch.randn(2, LARGE, LARGE, generator=generator)
    memory, other = torch.ones(2**26), torch.empty(2**26)
    fast = nn.Linear(LARGE, LARGE, bias=False)
    fast.weight.data.copy_(right)
    both = nn.Sequential(fast.requires_grad_(False))
    use_onednn(both)
    return {
        GEMM: lambda: both(left),
        GEMM_TORCH: lambda: nn.functional.linear(left, right),
        READ: lambda: memory.sum(),
        COPY: lambda: other.copy_(memory),
    }


@contextmanager
def _stage_clock(spent: Samples, clock: Callable[[], float]) -> Iterator[None]:
    """Keep the seconds of each stage of every pass."""

    def timed(stage: str, compute: Callable[..., Any]) -> Callable[..., Any]:
        def run_stage(*arguments: Any) -> Any:
            begin = clock()
            result = compute(*arguments)
            spent.setdefault(stage, []).append(clock() - begin)
            return result

        return run_stage

    patches = [mock.patch.object(FrozenMAE, name, timed(s, getattr(FrozenMAE, name))) for s, name in STAGES.items()]
    for patch in patches:
        patch.start()
    try:
        yield
    finally:
        for patch in patches:
            patch.stop()


def _check(group: Group) -> dict[str, float]:
    """Compare the global feature, and the squared error of every masked patch, with the transcription's."""
    x = group.pixel_values
    global_feature, fidelity, _ = group.ways[MAE](x)
    expected, pred = group.ways[PLAIN](x)
    hidden = ~fidelity.isnan()
    errors = (pred - patchify(x, round((pred.shape[-1] / 3) ** 0.5))[:, None]).square().mean(-1)
    checks = {
        f"global_feature, {group.name}": require_close("global_feature", global_feature, expected, TOLERANCE),
        f"fidelity, {group.name}": require_close("fidelity", fidelity[hidden], errors[hidden], TOLERANCE),
    }
    logit = TorchScorer(group.directory, device="cpu", precision="fp32").score(_images(x, group.directory)).logit
    checks[f"logit by ONNX Runtime, {group.name}"] = require_close(
        "logit", group.ways[GRAPH](x).logit, logit, TOLERANCE
    )
    if CLIP in group.ways:
        found, by_torch = (group.ways[name](x).pooler_output for name in (CLIP_DNN, CLIP))
        checks[f"CLIP with oneDNN, {group.name}"] = require_close("CLIP", found, by_torch, TOLERANCE)
    return checks


def _machine_figures(seconds: Samples, group: str) -> dict[str, float]:
    median = {name: statistics.median(values) for name, values in seconds.items()}
    return {
        f"{group} | one product by oneDNN | GFLOP/s": 2e-9 * LARGE**3 / median[GEMM],
        f"{group} | one product by torch | GFLOP/s": 2e-9 * LARGE**3 / median[GEMM_TORCH],
        f"{group} | reading memory | GB/s": 2**28 / 1e9 / median[READ],
        f"{group} | copying memory | GB/s": 2 * 2**28 / 1e9 / median[COPY],
    }


def _stage_figures(seconds: Samples, group: Group) -> dict[str, float]:
    """Return for each stage and reference: operations, bytes, seconds, rate, possible / measured seconds."""
    figures = {}
    limits = list(zip(_fastest_products(seconds), seconds[READ], strict=True))
    for name, work in group.works.items():
        possible = [work.seconds(2 * LARGE**3 / gemm, 2**28 / read) for gemm, read in limits]
        median = statistics.median(seconds[name])
        figures |= {
            f"{group.name} | {name} | GFLOP": work.operations / 1e9,
            f"{group.name} | {name} | GB": work.bytes / 1e9,
            f"{group.name} | {name} | ms": 1e3 * median,
            f"{group.name} | {name} | GFLOP/s": work.operations / 1e9 / median,
            f"{group.name} | {name} | possible / measured": median_ratio(possible, seconds[name]),
            f"{group.name} | {name} | of transcription": median_ratio(seconds[name], seconds[PLAIN]),
        }
    return figures


def _fastest_products(seconds: Samples) -> list[float]:
    """Return for each round how long the large product took by the faster library."""
    return [min(both) for both in zip(seconds[GEMM], seconds[GEMM_TORCH], strict=True)]


def _targets(seconds: Samples, group: Group) -> list[Target]:
    if group.batch is None:
        return []
    targets = []
    ratio = median_ratio(seconds[GRAPH], seconds[PLAIN])
    if group.batch in BOUNDS:
        targets.append(Target(f"{GRAPH} / transcription, {group.name}", ratio, BOUNDS[group.batch], at_least=False))
    if group.batch == 8:
        share = group.works[GRAPH].operations / (2 * LARGE**3)
        rate = median_ratio([share * once for once in _fastest_products(seconds)], seconds[GRAPH])
        targets.append(Target(f"rate of {GRAPH} / of one large product, {group.name}", rate, 0.85, at_least=True))
    ratio = median_ratio(seconds[GRAPH], seconds[CLIP])
    return [*targets, Target(f"{GRAPH} / CLIP ViT-L/14, {group.name}", ratio, 1.0, at_least=False)]


def main() -> None:
    """Run the benchmark from the command line."""
    parser = make_parser(__doc__)
    parser.add_argument("--batch", type=int, nargs="+", default=[1, 8], help="images a call")
    parser.add_argument("--rounds", type=int, default=5, help="how often each is timed")
    parser.add_argument("--threads", type=int, help="of torch; without it torch's own choice")
    parser.add_argument("--keep", help="a folder for the model of ViT-L sizes, 3 GB; without it it is made anew")
    parser.add_argument("--clock", choices=CLOCKS, default="wall", help="cpu helps on a machine that is not quiet")
    run(measure, parser)


if __name__ == "__main__":
    main()
