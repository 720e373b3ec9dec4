"""LCAS by frequency band: is the squared error of Eq. 4 worth more when the DCT bands of a patch are told apart?

    python -m benchmarks.starter_bands LIST.csv FEATURES BACKBONE BANDS

LIST.csv and FEATURES are those of `benchmarks.starter_cv`, FEATURES with the kept pixels of the views ws and c0. BANDS
gets for each part of FEATURES a .npz of the same name: Eq. 5 of each masked patch, and its squared error in four bands
of the orthonormal DCT, which add up to the whole. Parts that are there are left out, so a run goes on where it stopped;
0.09 s a view. Then heads learn on three folds and are judged on the fourth, on the pictures that have bands: of the
design bundled before texture joined it, of that with the three statistics of LCAS, and with three statistics of Eq. 5
and of each band.
"""

from __future__ import annotations

import argparse
from collections.abc import Iterator
from dataclasses import dataclass, fields
from pathlib import Path
from typing import Final

import numpy as np
import torch
from numpy.typing import NDArray
from scipy.fft import dct
from torch import Tensor

from benchmarks.starter_cv import Part, family_aucs, found_at, join, picture_weights
from benchmarks.starter_heads import HEADS, Matrix, Vector
from benchmarks.starter_lcas import BATCH, LcasTerms
from benchmarks.starter_store import FeatureStore, Pictures
from cinemae.core.anomaly_stats import anomaly_stats
from cinemae.core.backbone import FrozenMAE
from cinemae.sources.whole_files import replacing

VIEWS: Final = ("ws", "c0")
EDGES: Final = (1 / 8, 1 / 4, 1 / 2)
"""Where a band ends and the next begins, as shares of the highest frequency along one axis: octaves."""
FIDELITY_WEIGHT: Final = 0.1
REPEATS: Final = 32
"""Times that the columns of statistics stand beside the global feature, so that the penalty weighs less on them."""
DRAWS: Final = 100


def band_of_coefficients(patch_size: int) -> NDArray[np.int64]:
    """Return the band of each coefficient of a patch's DCT by its distance from the first, (patch_size, patch_size).

    Example:
        >>> band_of_coefficients(8)[0].tolist()
        [0, 1, 2, 2, 3, 3, 3, 3]
    """
    frequency = np.arange(patch_size)
    radius = np.hypot(frequency[:, None], frequency[None])
    return np.searchsorted(np.array(EDGES) * patch_size, radius, side="right")


class BandTerms(LcasTerms):
    """`LcasTerms` with the squared error by band: (N, K, L, bands) in place of (N, K, L)."""

    def __init__(self, backbone: FrozenMAE) -> None:
        super().__init__(backbone)
        size = backbone.patch_size
        self.basis = torch.from_numpy(dct(np.eye(size), axis=0, norm="ortho")).float()
        bands = torch.from_numpy(band_of_coefficients(size))
        self.members = torch.stack([bands == band for band in range(len(EDGES) + 1)], -1).float()

    def error(self, pred: Tensor, target: Tensor, mask: Tensor) -> Tensor:
        """Return the squared error of each patch in each band, all divided by the number of a patch's values."""
        size = self.backbone.patch_size
        difference = (pred - target).unflatten(-1, (size, size, -1))
        coefficients = torch.einsum("uy,...yxc,vx->...uvc", self.basis, difference, self.basis)
        energy = torch.einsum("...uvc,uvb->...b", coefficients.square(), self.members) / pred.shape[-1]
        return torch.where(mask[..., None] > 0, energy, torch.nan)


def store_part(terms: BandTerms, features: Path, out: Path) -> None:
    """Write the terms of the views of one part."""
    with np.load(features) as stored:
        chosen = np.isin(stored["view"], VIEWS) & (stored["delivery"] == 0)
        sha, view, pixels = (stored[key][chosen] for key in ("sha", "view", "pixels"))
    batches = torch.from_numpy(pixels).permute(0, 3, 1, 2).split(BATCH)
    found = [terms.of_views(batch / 255) for batch in batches]
    deviation, error = (np.concatenate(values) for values in zip(*found, strict=True))
    with replacing(out) as temporary, temporary.open("wb") as opened:
        np.savez(opened, sha=sha, view=view, deviation=deviation, error=error)


@dataclass(frozen=True)
class Statistics:
    """Of each of N pictures, s1, s2, s3 of both views side by side.

    Attributes:
        lcas: Of LCAS, (N, 6).
        bands: Of Eq. 5 and of the error in each band, (N, 6 + 6 bands).
        logarithms: The same with the logarithm of each patch's error, (N, 6 + 6 bands).
    """

    lcas: Matrix
    bands: Matrix
    logarithms: Matrix


def read_statistics(folder: Path) -> tuple[list[str], Statistics]:
    """Return the SHA-256 of the pictures that have both views, in order, and their statistics."""
    found: dict[str, dict[str, tuple[Matrix, ...]]] = {}
    for file in sorted(folder.glob("*.npz")):
        with np.load(file) as part:
            rows = zip(*_of_part(torch.from_numpy(part["deviation"]), torch.from_numpy(part["error"])), strict=True)
            for sha, view, row in zip(part["sha"].tolist(), part["view"].tolist(), rows, strict=True):
                found.setdefault(sha, {})[view] = row
    known = sorted(sha for sha, views in found.items() if len(views) == len(VIEWS))
    kinds = range(len(fields(Statistics)))
    return known, Statistics(
        *(np.stack([np.concatenate([found[sha][view][kind] for view in VIEWS]) for sha in known]) for kind in kinds)
    )


def _of_part(deviation: Tensor, error: Tensor) -> tuple[Matrix, ...]:
    of_deviation = anomaly_stats(deviation)
    lcas = anomaly_stats(deviation + FIDELITY_WEIGHT * error.sum(-1))
    by_band = [
        torch.cat([of_deviation, *(anomaly_stats(band) for band in values.unbind(-1))], 1)
        for values in (error, error.clamp_min(1e-8).log())
    ]
    return lcas.numpy(), by_band[0].numpy(), by_band[1].numpy()


def cross_scores(rows: Matrix, pictures: Pictures, head: str, strength: float) -> Vector:
    """Return a logit for each picture, from the head that has not seen its fold."""
    scores = np.zeros(len(pictures))
    for fold in np.unique(pictures.fold):
        learnt, here = pictures.fold != fold, pictures.fold == fold
        weights = picture_weights(pictures, learnt, 0)
        scores[here] = HEADS[head](rows[learnt], pictures.fake[learnt], weights[learnt], strength)(rows[here])
    return scores


def judge(store: FeatureStore, folder: Path) -> Iterator[tuple[str, Vector]]:
    """Yield what is looked at and the scores, the design's without LCAS first."""
    known, statistics = read_statistics(folder)
    pictures = store.pictures
    if pictures.sha256.tolist() != known:
        raise SystemExit(f"{folder} has bands of {len(known)} pictures, LIST and FEATURES have {len(pictures)}.")
    parts = [Part((view,), (5, 7, 9), ("cls", "mean", "std"), ("spectrum",)) for view in VIEWS]
    base = join(store, parts, 0)
    beside = {
        "LCAS": statistics.lcas,
        "Eq. 5 and the bands": statistics.bands,
        "Eq. 5 and the bands, logarithms": statistics.logarithms,
    }
    yield "two views, block spectra", cross_scores(base, pictures, "logistic", 0.003)
    for name, columns in beside.items():
        joined = np.concatenate([base, np.tile(columns, REPEATS)], 1)
        yield f"the same and statistics of {name}", cross_scores(joined, pictures, "logistic", 0.003)
    for head, strength in (("logistic", 1.0), ("mlp", 10.0)):
        for name, columns in beside.items():
            yield f"statistics of {name} alone, {head}", cross_scores(columns, pictures, head, strength)


def gain(pictures: Pictures, scores: Vector, base: Vector) -> tuple[float, float]:
    """Return the 95 % interval of the mean family AUC gained, from pictures drawn anew within family or source."""
    generator = np.random.default_rng(0)
    names = np.where(pictures.fake, pictures.family, pictures.group)
    groups = [np.flatnonzero(names == name) for name in np.unique(names)]
    gained = []
    for _ in range(DRAWS):
        drawn = np.concatenate([generator.choice(group, len(group)) for group in groups])
        again = Pictures(*(getattr(pictures, name)[drawn] for name in ("sha256", "fake", "group", "family", "fold")))
        aucs = [np.mean(list(family_aucs(again, of[drawn]).values())) for of in (scores, base)]
        gained.append(aucs[0] - aucs[1])
    low, high = np.quantile(gained, (0.025, 0.975))
    return float(low), float(high)


def main() -> None:
    """Compute what is missing, then print the table."""
    parser = argparse.ArgumentParser(description=(__doc__ or "").partition("\n")[0])
    parser.add_argument("list", type=Path, help="CSV of the pictures")
    parser.add_argument("features", type=Path, help="folder of benchmarks.starter_features")
    parser.add_argument("backbone", type=Path, help="folder that cinemae pretrain wrote")
    parser.add_argument("bands", type=Path, help="folder for the terms")
    options = parser.parse_args()
    options.bands.mkdir(parents=True, exist_ok=True)
    torch.set_num_threads(1)
    terms = BandTerms(FrozenMAE.from_pretrained(options.backbone))
    for number, file in enumerate(sorted(options.features.glob("*.npz")), 1):
        if not (options.bands / file.name).exists():
            store_part(terms, file, options.bands / file.name)
            print(f"{number} parts done", flush=True)
    store = FeatureStore.open([options.features], options.list)
    pictures = store.pictures
    print(f"\n{int(pictures.fake.sum())} generated images, {int((~pictures.fake).sum())} photographs\n")
    print("| looked at | mean family AUC | against the first row | found at 3 % |\n|---|---|---|---|")
    base = None
    for name, scores in judge(store, options.bands):
        base = scores if base is None else base
        auc = np.mean(list(family_aucs(pictures, scores).values()))
        low, high = gain(pictures, scores, base)
        print(f"| {name} | {auc:.3f} | {low:+.3f} to {high:+.3f} | {found_at(pictures, scores):.2f} |", flush=True)


if __name__ == "__main__":
    main()
