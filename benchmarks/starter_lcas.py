"""Store the two terms of LCAS for views that `benchmarks.starter_features --keep-pixels` kept.

    python -m benchmarks.starter_lcas FEATURES BACKBONE LCAS

BACKBONE is the encoder with its trained decoder, as `cinemae pretrain` wrote it. For each part of FEATURES, LCAS gets a
.npz of the same name: deviation and fidelity of each view (rows, K, L), nan where visible, in the order of the part's
rows. Parts that are there are left out, so a run goes on where it stopped; `--part 0/2` and `--part 1/2` side by
side use two cores.
"""

from __future__ import annotations

import argparse
from pathlib import Path
from typing import Final

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor, nn

from benchmarks.starter_features import MEAN, STD
from benchmarks.starter_int8 import in_int8
from benchmarks.starter_views import SIDE
from cinemae.config import DeviationConfig, MaskConfig
from cinemae.core.backbone import FrozenMAE
from cinemae.core.lcas import context_moments, reconstruction_fidelity, statistical_deviation
from cinemae.core.masking import noise_from_config, patchify
from cinemae.sources.whole_files import replacing

BATCH: Final = 16


class LcasTerms(nn.Module):
    """The masked passes alone: what `cinemae.core.features.FeatureExtractor` gives but for the global feature."""

    def __init__(self, backbone: FrozenMAE) -> None:
        super().__init__()
        self.backbone = backbone
        self.noise = noise_from_config(MaskConfig(), backbone.num_patches)

    def forward(self, views: Tensor) -> tuple[Tensor, Tensor]:
        """Return deviation and fidelity of views (N, 3, H, W) in [0, 1], (N, K, L) each."""
        pixel_values, settings = (views - MEAN) / STD, DeviationConfig()
        pred, mask = self.backbone.reconstruct(pixel_values, self.noise)
        target = patchify(pixel_values, self.backbone.patch_size)[:, None].expand_as(pred)
        mean, std = context_moments(target, mask, unbiased=settings.unbiased, sigma_floor=settings.sigma_floor)
        return statistical_deviation(pred, mean, std, mask), self.error(pred, target, mask)

    @torch.inference_mode()
    def of_views(self, views: Tensor) -> list[NDArray[np.float32]]:
        """Return the same as arrays."""
        return [values.numpy() for values in self(views)]

    def error(self, pred: Tensor, target: Tensor, mask: Tensor) -> Tensor:
        """Return the second term of Eq. 4 of patches (N, K, L, P), nan where visible."""
        return reconstruction_fidelity(pred, target, mask)


def main() -> None:
    """Store what is missing."""
    parser = argparse.ArgumentParser(description=(__doc__ or "").partition("\n")[0])
    parser.add_argument("features", type=Path, help="folder of parts with pixels")
    parser.add_argument("backbone", type=Path, help="folder that cinemae pretrain wrote")
    parser.add_argument("out", type=Path, help="folder for the terms")
    parser.add_argument("--int8", action="store_true", help="matrix products in integers, by ONNX Runtime")
    parser.add_argument("--part", default="0/1", help="which of how many shares of the parts")
    options = parser.parse_args()
    options.out.mkdir(parents=True, exist_ok=True)
    torch.set_num_threads(1)
    terms = LcasTerms(FrozenMAE.from_pretrained(options.backbone)).eval()
    run = in_int8(terms, (3, SIDE, SIDE)) if options.int8 else terms.of_views
    part, parts = (int(number) for number in options.part.split("/"))
    for number, file in enumerate(sorted(options.features.glob("*.npz"))[part::parts], 1):
        out = options.out / file.name
        if out.exists():
            continue
        with np.load(file) as stored:
            pixels = torch.from_numpy(stored["pixels"]).permute(0, 3, 1, 2)
        found = [run(batch / 255) for batch in pixels.split(BATCH)] if len(pixels) else []
        deviation, fidelity = (
            np.concatenate(values) for values in (zip(*found, strict=True) if found else ([np.zeros(0)],) * 2)
        )
        with replacing(out) as temporary, temporary.open("wb") as opened:
            np.savez(opened, deviation=deviation, fidelity=fidelity)
        print(f"{number} parts done", flush=True)


if __name__ == "__main__":
    main()
