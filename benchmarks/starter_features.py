"""Store what the layers of an encoder say of delivered pictures and their views, for `benchmarks.starter_cv`.

    cinemae backbone convert facebook/dinov2-small --out BACKBONE
    python -m benchmarks.starter_features LIST.csv PICTURES BACKBONE FEATURES --deliveries 0,1 --views ws,m1,c0

LIST.csv has the columns `file` (below PICTURES) and `sha256`. Pictures that are stored already or not there are left
out, so a run goes on where it stopped; --poor-copies stores poor copies of some pictures instead; `--part 0/2` and
`--part 1/2` side by side use two cores. A part of 32 pictures is one .npz: sha, delivery and view of each row, and
for each layer [CLS], mean, deviation and neighbours' difference of the patch tokens, in float16; with --keep-pixels the
views themselves too, (N, 224, 224, 3) in uint8, and with --spectra their block spectrum and texture. Processor time,
beside 0.2 s to read and deliver a picture: DINOv2 ViT-S/14 up to layer 9, on a core with AVX-512, 0.07 s a view with
--bfloat16 and 0.13 s in float32; CLIP ViT-B/16 up to layer 6, on one without, 0.17 s with --int8 and 0.34 s in float32.
"""

from __future__ import annotations

import argparse
import csv
import math
from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Final

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor, nn

from benchmarks.starter_deliveries import degrade, deliver, is_lossless
from benchmarks.starter_int8 import in_int8
from benchmarks.starter_views import SIDE, Pixels, cut_views
from cinemae.core.block_spectrum import block_spectrum
from cinemae.core.checkpoint import load_pretrained_folder
from cinemae.core.texture import texture
from cinemae.errors import CinemaeError
from cinemae.extractor_config import BLOCK_SPECTRUM_LENGTH, TEXTURE_LENGTH
from cinemae.pictures.image import load_image
from cinemae.sources.whole_files import replacing

PART: Final = 32
BATCH: Final = 8
POOR_PHOTOGRAPHS: Final = 60
"""Of each source there are poor copies of so many photographs at most."""
MEAN: Final = torch.tensor((0.485, 0.456, 0.406))[:, None, None]
STD: Final = torch.tensor((0.229, 0.224, 0.225))[:, None, None]


@dataclass(frozen=True)
class Plan:
    """What is stored of each picture."""

    deliveries: tuple[int, ...]
    views: tuple[str, ...]
    layers: tuple[int, ...]
    bfloat16: bool
    int8: bool
    keep_pixels: bool
    spectra: bool
    poor_copies: bool


class Encoder(nn.Module):
    """The whole-image pass of a masked autoencoder's encoder, with the tokens after each layer."""

    def __init__(self, folder: Path, plan: Plan) -> None:
        super().__init__()
        self.vit = load_pretrained_folder(str(folder), encoder_only=True).vit.eval()
        self.plan = plan
        self.eval()
        self.run = in_int8(self, (3, SIDE, SIDE)) if plan.int8 else None

    @torch.inference_mode()
    def of_views(self, views: Sequence[Pixels]) -> NDArray[np.float16]:
        """Return (views, layers, 4, width); all views have SIDE pixels a side."""
        batches = [self._batch(np.stack(views[start : start + BATCH])) for start in range(0, len(views), BATCH)]
        return np.concatenate(
            [np.zeros((0, len(self.plan.layers), 4, self.vit.config.hidden_size), np.float16), *batches]
        )

    def _batch(self, views: NDArray[np.uint8]) -> NDArray[np.float16]:
        pixels = torch.from_numpy(views).permute(0, 3, 1, 2) / 255
        (found,) = self.run(pixels) if self.run else (self(pixels).numpy(),)
        return found.astype(np.float16)

    def forward(self, pixels: Tensor) -> Tensor:
        """Return (N, layers, 4, width) of images (N, 3, SIDE, SIDE) in [0, 1]."""
        embeddings = self.vit.embeddings
        pixel_values = (pixels - MEAN) / STD
        position = embeddings.position_embeddings
        cls_token = (embeddings.cls_token + position[:, :1]).expand(pixels.shape[0], -1, -1)
        tokens = torch.cat([cls_token, embeddings.patch_embeddings(pixel_values) + position[:, 1:]], 1)
        tokens = embeddings.norm(tokens) if hasattr(embeddings, "norm") else tokens  # CLIP's, not DINOv2's
        kept = []
        with torch.autocast("cpu", torch.bfloat16, enabled=self.plan.bfloat16):
            for number, layer in enumerate(self.vit.layers[: max(self.plan.layers)], 1):
                tokens = layer(tokens)
                if number in self.plan.layers:
                    kept.append(token_statistics(tokens.float()))
        return torch.stack(kept, 1)


def token_statistics(tokens: Tensor) -> Tensor:
    """Return [CLS], mean, deviation and root mean square difference of neighbouring patches, (N, 4, D).

    Args:
        tokens: (N, 1 + L, D), the patches of a square in rows.
    """
    patches = tokens[:, 1:]
    side = math.isqrt(patches.shape[1])
    grid = patches.unflatten(1, (side, side))
    down, across = grid.diff(dim=1).square().mean((1, 2)), grid.diff(dim=2).square().mean((1, 2))
    return torch.stack([tokens[:, 0], patches.mean(1), patches.std(1), ((down + across) / 2).sqrt()], 1)


@torch.inference_mode()
def of_pixels(views: Sequence[Pixels]) -> dict[str, NDArray[np.float32]]:
    """Return block spectrum and texture of each view, (views, 378) and (views, 918)."""
    values = [torch.from_numpy(view.astype(np.float32))[None].permute(0, 3, 1, 2) / 255 for view in views]
    zero, one = (0, 0, 0), (1, 1, 1)
    spectra, textures = ([measure(value, zero, one) for value in values] for measure in (block_spectrum, texture))
    return {
        "spectrum": torch.cat([torch.zeros(0, BLOCK_SPECTRUM_LENGTH), *spectra]).numpy(),
        "texture": torch.cat([torch.zeros(0, TEXTURE_LENGTH), *textures]).numpy(),
    }


def with_poor_copies(rows: Sequence[dict[str, str]]) -> list[dict[str, str]]:
    """Return every second generated image by its hash, and of each source of photographs the first 60 by theirs."""
    seen: Counter[str] = Counter()
    chosen = []
    for row in sorted(rows, key=lambda row: row["sha256"]):
        seen[row["group"]] += row["class"] == "real"
        if seen[row["group"]] <= POOR_PHOTOGRAPHS if row["class"] == "real" else int(row["sha256"][8:10], 16) % 2 == 0:
            chosen.append(row)
    return chosen


def store_part(rows: Sequence[dict[str, str]], pictures: Path, encoder: Encoder, out: Path) -> None:
    """Write the features of some pictures as one file, whole or not at all."""
    plan, sha, delivery, view, pixels, failed = encoder.plan, [], [], [], [], []
    for row in rows:
        data = (pictures / row["file"]).read_bytes()
        try:
            image = load_image(data).image
        except CinemaeError as error:
            print(f"{row['file']}: {error}")
            failed.append(row["sha256"])
            continue
        for number in plan.deliveries:
            delivered = deliver(image, row["sha256"], number, lossless=is_lossless(data))
            if plan.poor_copies:
                delivered = degrade(delivered, row["sha256"])
            for name, values in cut_views(delivered, plan.views):
                sha.append(row["sha256"])
                delivery.append(number)
                view.append(name)
                pixels.append(values)
    features = encoder.of_views(pixels)
    stored = {f"L{number}": features[:, place] for place, number in enumerate(plan.layers)}
    if plan.spectra:
        stored |= of_pixels(pixels)
    if plan.keep_pixels:
        stored["pixels"] = np.stack(pixels) if pixels else np.zeros((0, SIDE, SIDE, 3), np.uint8)
    with replacing(out) as temporary, temporary.open("wb") as file:
        np.savez(file, sha=sha, delivery=np.array(delivery, np.int8), view=view, failed=np.array(failed, str), **stored)


def main() -> None:
    """Store what is missing."""
    options = _parser().parse_args()
    first, last = (int(number) for number in options.layers.split("-"))
    plan = Plan(
        deliveries=tuple(int(number) for number in options.deliveries.split(",")),
        views=tuple(options.views.split(",")),
        layers=tuple(range(first, last + 1)),
        bfloat16=options.bfloat16,
        int8=options.int8,
        keep_pixels=options.keep_pixels,
        spectra=options.spectra,
        poor_copies=options.poor_copies,
    )
    options.out.mkdir(parents=True, exist_ok=True)
    part, parts = (int(number) for number in options.part.split("/"))
    with options.list.open(newline="", encoding="utf-8") as file:
        rows = list(csv.DictReader(file))
    rows = [
        row
        for row in (with_poor_copies(rows) if plan.poor_copies else rows)
        if int(row["sha256"][:4], 16) % parts == part
    ]
    done = set()
    for stored in options.out.glob("*.npz"):
        with np.load(stored) as values:
            done |= {*values["sha"].tolist(), *values["failed"].tolist()}
    todo = [row for row in rows if row["sha256"] not in done and (options.pictures / row["file"]).exists()]
    print(f"{len(rows)} pictures listed, {len(todo)} to store")
    torch.set_num_threads(1)
    encoder = Encoder(options.backbone, plan)
    for start in range(0, len(todo), PART):
        chosen = todo[start : start + PART]
        store_part(chosen, options.pictures, encoder, options.out / f"{chosen[0]['sha256'][:16]}.npz")
        print(f"{start + len(chosen)} of {len(todo)} stored", flush=True)


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(description=(__doc__ or "").partition("\n")[0])
    parser.add_argument("list", type=Path, help="CSV with the columns file and sha256")
    parser.add_argument("pictures", type=Path, help="folder that `file` is below")
    parser.add_argument("backbone", type=Path, help="folder that cinemae backbone convert wrote")
    parser.add_argument("out", type=Path, help="folder for the parts")
    parser.add_argument("--deliveries", default="0", help="numbers, with commas; 0 is the protocol's")
    parser.add_argument("--views", default="ws,m1,m2,m3,m4,c0", help="names of benchmarks.starter_views, with commas")
    parser.add_argument("--layers", default="2-9", help="first and last layer to store")
    parser.add_argument("--part", default="0/1", help="which of how many shares of the list")
    products = parser.add_mutually_exclusive_group()
    products.add_argument("--bfloat16", action="store_true", help="matrix products in bfloat16")
    products.add_argument("--int8", action="store_true", help="matrix products in integers, by ONNX Runtime")
    parser.add_argument("--keep-pixels", action="store_true", help="store the views beside their features")
    parser.add_argument("--spectra", action="store_true", help="store block spectrum and texture of each view too")
    parser.add_argument("--poor-copies", action="store_true", help="poor copies of some, with noise and cropped")
    return parser


if __name__ == "__main__":
    main()
