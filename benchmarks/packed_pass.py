"""The packed pass against separate, plain Hugging Face calls, with random weights of a published size.

Separate: one `ViTMAEModel` call with mask ratio 0 for the global feature, and one `ViTMAEForPreTraining` call a mask,
both with the default settings. Packed: one `FrozenMAE.encode_and_redraw`, which computes linear layers with oneDNN
where it can. "Packed, torch's products" leaves those to torch, and so shows what packing gains by itself. With
`--parts` it is also timed without one of its parts at a time. All read the same weights in memory.
"""

from __future__ import annotations

import argparse
import statistics
import time
from collections.abc import Callable, Sequence
from contextlib import AbstractContextManager
from unittest import mock

import torch
from torch import Tensor, nn
from transformers import ViTMAEConfig, ViTMAEForPreTraining, ViTMAEModel

from benchmarks.measure import Record, Samples, Target, make_parser, median_ratio, require_close, run, take_turns
from cinemae.core import backbone
from cinemae.core.backbone import FrozenMAE
from cinemae.core.checkpoint import sincos_position_embedding
from cinemae.core.linear import OneDnnLinear
from cinemae.core.masking import mask_noise, plan_masks

SIZES = {
    "base": {},
    "large": {"hidden_size": 1024, "num_hidden_layers": 24, "num_attention_heads": 16, "intermediate_size": 4096},
    "huge": {
        "hidden_size": 1280,
        "num_hidden_layers": 32,
        "num_attention_heads": 16,
        "intermediate_size": 5120,
        "patch_size": 14,
    },
}
TARGETS = {1: 1.25, 8: 1.1}  # batch size: how many times as fast, promised for "large"
TOLERANCE = 1e-4
CLOCKS = {"wall": time.perf_counter, "cpu": time.process_time}


def measure(options: argparse.Namespace) -> Record:
    """Check parity and time both ways in turns, for each batch size."""
    if options.threads:
        torch.set_num_threads(options.threads)
    separate, packed = build_contestants(SIZES[options.size], options.passes)
    checks, figures, targets, samples = {}, {}, [], Samples()
    for batch in options.batch:
        pixel_values = torch.randn(batch, 3, 224, 224, generator=torch.Generator().manual_seed(1))
        with torch.inference_mode():
            for name, found, expected in zip(
                ("global_feature", "pred"), packed(pixel_values), separate(pixel_values), strict=True
            ):
                checks[f"{name}, batch {batch}"] = require_close(name, found, expected, TOLERANCE)
            variants = {"packed, torch's products": _torchs_products}
            if options.parts:
                variants |= {"every token in the last layers": _every_token, "GELU and sums apart": _operators_apart}
            ways = {
                "separate": lambda x=pixel_values: separate(x),
                "packed": lambda x=pixel_values: packed(x),
                **{name: lambda x=pixel_values, way=way: _under(way, packed, x) for name, way in variants.items()},
            }
            seconds = take_turns(ways, options.rounds, clock=CLOCKS[options.clock])
        ratio = median_ratio(seconds["separate"], seconds["packed"])
        for name, values in seconds.items():
            figures[f"batch {batch}, {name}, s"] = statistics.median(values)
            samples[f"batch {batch}, {name}"] = values
        figures[f"batch {batch}, separate / packed"] = ratio
        for name in variants:
            figures[f"batch {batch}, separate / {name}"] = median_ratio(seconds["separate"], seconds[name])
        if options.size == "large" and options.passes == 2 and batch in TARGETS:
            targets.append(Target(f"separate / packed, ViT-L, batch {batch}", ratio, TARGETS[batch], at_least=True))
    settings = {name: getattr(options, name) for name in ("size", "passes", "batch", "rounds", "clock")}
    return Record("packed_pass", {**settings, "threads": torch.get_num_threads()}, checks, figures, targets, samples)


def build_contestants(
    size: dict[str, int], passes: int
) -> tuple[Callable[[Tensor], tuple[Tensor, Tensor]], Callable[[Tensor], tuple[Tensor, Tensor]]]:
    """Return two functions from pixel values to (global_feature, pred): separate calls, and the packed pass."""
    torch.manual_seed(0)
    masked = ViTMAEForPreTraining(ViTMAEConfig(**size)).eval()
    grid = masked.config.image_size // masked.config.patch_size
    for embedding, width in (
        (masked.vit.embeddings.position_embeddings, masked.config.hidden_size),
        (masked.decoder.decoder_pos_embed, masked.config.decoder_hidden_size),
    ):
        embedding.data.copy_(sincos_position_embedding(grid, width))
    whole = share_weights(masked.vit, lambda: ViTMAEModel(ViTMAEConfig(**size, mask_ratio=0.0)))
    frozen = FrozenMAE(share_weights(masked, lambda: ViTMAEForPreTraining(ViTMAEConfig(**size))), copy=False)
    noise = torch.from_numpy(mask_noise(0, passes, grid**2))

    plan = plan_masks(noise, masked.config.mask_ratio)

    def separate(pixel_values: Tensor) -> tuple[Tensor, Tensor]:
        global_feature = whole(pixel_values).last_hidden_state[:, 0]
        preds = [masked(pixel_values, noise=row.expand(len(pixel_values), -1)).logits for row in noise]
        hidden = [pred[:, patches] for pred, patches in zip(preds, plan.hidden, strict=True)]
        return global_feature, torch.stack(hidden, 1)

    def packed(pixel_values: Tensor) -> tuple[Tensor, Tensor]:
        return frozen.encode_and_redraw(pixel_values, plan)

    return separate, packed


Way = Callable[[Tensor], tuple[Tensor, Tensor]]


def _under(change: Callable[[], AbstractContextManager[object]], packed: Way, x: Tensor) -> tuple[Tensor, Tensor]:
    with change():
        return packed(x)


def _torchs_products() -> AbstractContextManager[object]:
    return mock.patch("cinemae.core.linear._available", return_value=False)


def _every_token() -> AbstractContextManager[object]:
    """Compute the last layers for all tokens, and take those that are read."""

    def run_layers(layers: nn.ModuleList, rows: Tensor, runs: Sequence[backbone._Run]) -> Tensor:
        everything = [run._replace(asked=slice(None)) for run in runs]
        for layer in layers:
            rows = backbone._run_layer(layer, rows, everything)
        return backbone._take(rows, runs)

    return mock.patch.object(backbone, "_run_layers", run_layers)


def _operators_apart() -> AbstractContextManager[object]:
    def gelu(layer: OneDnnLinear, rows: Tensor) -> Tensor:
        return nn.functional.gelu(layer(rows))

    def plus(layer: OneDnnLinear, rows: Tensor, other: Tensor) -> Tensor:
        return layer(rows) + other

    return mock.patch.multiple(OneDnnLinear, gelu=gelu, plus=plus)


def share_weights(source: nn.Module, build: Callable[[], nn.Module]) -> nn.Module:
    """Build a second module around the tensors of the first: ViT-L twice would be 2.6 GB."""
    with torch.device("meta"):
        twin = build()
    twin.load_state_dict(source.state_dict(), assign=True)
    return twin.eval()


def main() -> None:
    """Run the benchmark from the command line."""
    parser = make_parser(__doc__)
    parser.add_argument("--size", choices=SIZES, default="large", help="of the random weights")
    parser.add_argument("--batch", type=int, nargs="+", default=[1, 8], help="images a call")
    parser.add_argument("--passes", type=int, default=2, help="masked passes, K")
    parser.add_argument("--rounds", type=int, default=15, help="how often each way is timed")
    parser.add_argument("--parts", action="store_true", help="also time the packed pass without each of its parts")
    parser.add_argument("--threads", type=int, help="of torch; without it torch's own choice")
    parser.add_argument("--clock", choices=CLOCKS, default="wall", help="cpu helps on a machine that is not quiet")
    run(measure, parser)


if __name__ == "__main__":
    main()
