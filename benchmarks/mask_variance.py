"""How much a score and a map hang on which masks were drawn, by the number of passes and how their masks relate.

    python -m benchmarks.mask_variance PICTURES --each 20

PICTURES holds real/ and fake/, of which the first pictures by hash of their names are taken. Each is scored with the
masks of eight seeds; what the head is told of the whole picture stays the same. Printed are, for each way to draw
masks:

* the root mean square deviation of s1, s2 and s3 over the seeds, in percent of their deviation over the pictures;
* that of the probability, in percentage points, and the share of pictures that get more than one verdict;
* of the map of the first view: patches with a value; how far a patch lies from where it lies by the masks of all other
  seeds, four complementary passes each, in percentage points of the photographs' patches, by which maps are coloured
  (root mean square); and Spearman's correlation with that map.

The head has learnt from two independent masks that hide 75 %: other ratios and numbers move its inputs, so that what
their probabilities are is not judged here, only how far they scatter.
"""

from __future__ import annotations

import argparse
import hashlib
import itertools
from collections.abc import Sequence
from dataclasses import dataclass, fields, replace
from pathlib import Path
from typing import Final

import numpy as np
import torch
from numpy.typing import NDArray
from scipy.stats import spearmanr

from cinemae.config import DecisionConfig, LcasReference, ModelConfig
from cinemae.core.anomaly_stats import anomaly_stats
from cinemae.core.calibration import calibrate
from cinemae.core.features import FeatureExtractor, features_to_lcas
from cinemae.core.masking import complementary_noise, mask_noise
from cinemae.core.model import CinemaeModel
from cinemae.core.preprocess import preprocess
from cinemae.detect.heatmap import lcas_levels
from cinemae.detect.words import word_for
from cinemae.models.directory import read_model_config, resolve_model
from cinemae.models.weights import load_model
from cinemae.pictures.image import load_image
from cinemae.sources.datasets import read_records
from cinemae.sources.records import ImageRecord

SEEDS: Final = 8
MAP: Final = "K = 4, complementary"
"""The scheme of the maps that ship; all seeds but one of it are the reference."""

Values = NDArray[np.float64]


@dataclass(frozen=True)
class Scheme:
    """A way to draw masks.

    Attributes:
        ratio: Share of patches that a pass hides.
        passes: K.
        complementary: The visible sets are disjoint.
    """

    name: str
    ratio: float
    passes: int
    complementary: bool

    def noise(self, seed: int, num_patches: int) -> torch.Tensor:
        """Return its noise (K, L)."""
        make = complementary_noise if self.complementary else mask_noise
        return torch.from_numpy(make(seed, self.passes, num_patches))


SCHEMES: Final = (
    Scheme("K = 2, independent", 0.75, 2, False),
    Scheme("K = 2, complementary", 0.75, 2, True),
    Scheme("K = 2, complementary, half hidden", 0.5, 2, True),
    Scheme("K = 4, independent", 0.75, 4, False),
    Scheme(MAP, 0.75, 4, True),
)


@dataclass(frozen=True)
class Drawn:
    """What one scheme gave, for each seed and picture: s1 to s3 (S, N, 3), logit (S, N), map (S, N, L)."""

    stats: Values
    logit: Values
    lcas_map: Values


class Scattering:
    """A model under other masks than its own."""

    def __init__(self, model: CinemaeModel, config: ModelConfig) -> None:
        self.model, self.config = model, config
        mask = config.extractor.mask
        self.extractors = {
            ratio: FeatureExtractor(
                model.extractor.backbone, replace(config.extractor, mask=replace(mask, mask_ratio=ratio))
            )
            for ratio in {scheme.ratio for scheme in SCHEMES}
        }

    @torch.inference_mode()
    def __call__(self, pixel_values: torch.Tensor) -> dict[str, Drawn]:
        """Score one picture's views (V, 3, S, S) by each scheme under all seeds."""
        found = {}
        for ratio, extractor in self.extractors.items():
            chosen = [scheme for scheme in SCHEMES if scheme.ratio == ratio]
            rows = [[scheme.noise(seed, extractor.backbone.num_patches) for seed in range(SEEDS)] for scheme in chosen]
            distinct, place = torch.cat(list(itertools.chain(*rows))).unique(dim=0, return_inverse=True)
            features = extractor(pixel_values, distinct)
            lcas = features_to_lcas(features, self.config.lcas, extractor.backbone.patch_dim)[:, place]
            of_schemes = lcas.split([SEEDS * scheme.passes for scheme in chosen], 1)
            for scheme, of_scheme in zip(chosen, of_schemes, strict=True):
                of_seeds = of_scheme.unflatten(1, (SEEDS, -1)).transpose(0, 1)  # (S, V, K, L)
                stats = anomaly_stats(of_seeds.flatten(0, 1)).unflatten(0, (SEEDS, -1))
                logit = self.model.head.score_views(features.global_feature.expand(SEEDS, -1, -1), stats)
                values = stats.mean(1), logit, of_seeds[:, 0].nanmean(1)
                found[scheme.name] = Drawn(*(one.double().numpy()[:, None] for one in values))
        return found


def draw(scatter: Scattering, records: Sequence[ImageRecord]) -> dict[str, Drawn]:
    """Score all pictures under all seeds."""
    image, found = scatter.config.extractor.image, []
    for number, record in enumerate(records, 1):
        found.append(scatter(torch.from_numpy(preprocess(load_image(record.path).image, image))))
        print(f"{number} of {len(records)}", flush=True)
    parts = [field.name for field in fields(Drawn)]
    return {
        scheme.name: Drawn(*(np.concatenate([getattr(one[scheme.name], part) for one in found], 1) for part in parts))
        for scheme in SCHEMES
    }


def scatter_of(values: Values) -> float:
    """Return the root mean square deviation over the first axis.

    Example:
        >>> scatter_of(np.array([[1.0, 5.0], [3.0, 5.0]]))
        1.0
    """
    return float(np.sqrt(values.var(0, ddof=1).mean()))


def line(name: str, drawn: Drawn, maps: Values, decision: DecisionConfig, reference: LcasReference) -> str:
    """Return a scheme's row of the table."""
    stats = [100 * scatter_of(one) / one.mean(0).std(ddof=1) for one in np.moveaxis(drawn.stats, 2, 0)]
    prob = calibrate(drawn.logit, decision)
    words = np.array([[word_for(float(one), decision) for one in row] for row in prob])
    changed = float(np.mean([len(set(of_picture)) > 1 for of_picture in words.T]))
    distance, correlation = _map_figures(drawn.lcas_map, maps, reference)
    cells = (
        name,
        *(f"{one:.1f}" for one in stats),
        f"{100 * scatter_of(prob):.2f}",
        f"{100 * changed:.0f} %",
        f"{100 * np.mean(~np.isnan(drawn.lcas_map)):.1f} %",
        f"{distance:.1f}",
        f"{correlation:.3f}",
    )
    return f"| {' | '.join(cells)} |"


def _map_figures(lcas_map: Values, maps: Values, reference: LcasReference) -> tuple[float, float]:
    squares, correlations = [], []
    for seed, of_seed in enumerate(lcas_map):
        others = np.delete(maps, seed, 0).mean(0)
        for one, other in zip(of_seed, others, strict=True):
            there = ~np.isnan(one)
            levels = [100 * lcas_levels(values[there], reference) for values in (one, other)]
            squares.append(np.square(levels[0] - levels[1]).mean())
            correlations.append(float(spearmanr(one[there], other[there]).statistic))
    return float(np.sqrt(np.mean(squares))), float(np.mean(correlations))


def chosen_of(records: Sequence[ImageRecord], each: int) -> list[ImageRecord]:
    """Return so many pictures of either class, by the hash of their names."""
    ordered = sorted(records, key=lambda record: hashlib.sha256(Path(record.path).name.encode()).hexdigest())
    return [record for label in (0, 1) for record in [one for one in ordered if one.label == label][:each]]


def main() -> None:
    """Print the table."""
    parser = argparse.ArgumentParser(description=(__doc__ or "").partition("\n")[0])
    parser.add_argument("pictures", help="labelled images, as cinemae evaluate takes them")
    parser.add_argument("--each", type=int, default=20, help="pictures of either class")
    parser.add_argument("--model", help="model directory; the bundled one if not given")
    options = parser.parse_args()
    torch.set_num_threads(1)
    directory = resolve_model(options.model)
    config = read_model_config(directory)
    records = chosen_of(read_records(options.pictures), options.each)
    found = draw(Scattering(load_model(directory, config), config), records)
    print(f"\n{len(records)} pictures, {SEEDS} seeds, {config.model_id}\n")
    print("| masks | s1 | s2 | s3 | probability | verdict changes | map covers | off by | correlation |")
    print(f"|---|{'---|' * 8}")
    for name, drawn in found.items():
        print(line(name, drawn, found[MAP].lcas_map, config.decision, config.reference))


if __name__ == "__main__":
    main()
