"""The squared error of Eq. 4 by band: bands add up to the whole, and each error falls where it belongs."""

from __future__ import annotations

import csv
import hashlib
import math
from pathlib import Path

import numpy as np
import pytest
import torch
from benchmarks.starter_bands import EDGES, BandTerms, gain, judge, read_statistics, store_part
from benchmarks.starter_lcas import LcasTerms
from benchmarks.starter_store import FeatureStore
from transformers import ViTMAEConfig, ViTMAEForPreTraining

from cinemae.core.anomaly_stats import anomaly_stats
from cinemae.core.backbone import FrozenMAE

SIZE, PATCH = 32, 8
FAMILIES = ("gan", "gemini", "flux", "sdxl")
EACH = 6


@pytest.fixture(scope="module")
def backbone() -> FrozenMAE:
    torch.manual_seed(0)
    sizes = {"hidden_size": 16, "num_hidden_layers": 1, "num_attention_heads": 2, "intermediate_size": 16}
    config = ViTMAEConfig(
        image_size=SIZE, patch_size=PATCH, **{**sizes, **{f"decoder_{k}": v for k, v in sizes.items()}}
    )
    return FrozenMAE(ViTMAEForPreTraining(config))


@pytest.mark.parametrize(("frequency", "band"), [(0, 0), (1, 1), (2, 2), (4, 3), (7, 3)])
def test_a_wave_lies_in_the_band_of_its_frequency(backbone: FrozenMAE, frequency: int, band: int) -> None:
    place = (torch.arange(PATCH) + 0.5) * math.pi / PATCH
    wave = torch.cos(place * frequency)[:, None, None].expand(PATCH, PATCH, 3).flatten()  # channel is the fastest axis
    error = BandTerms(backbone).error(wave.expand(1, 1, 2, -1), torch.zeros(1, 1, 2, len(wave)), torch.ones(1, 1, 2))
    expected = torch.zeros(len(EDGES) + 1)
    expected[band] = wave.square().mean()
    torch.testing.assert_close(error[0, 0, 0], expected, atol=1e-5, rtol=1e-5)


def test_the_bands_add_up_to_the_squared_error(backbone: FrozenMAE) -> None:
    views = torch.rand(2, 3, SIZE, SIZE, generator=torch.Generator().manual_seed(0))
    deviation, error = BandTerms(backbone)(views)
    expected = LcasTerms(backbone)(views)
    torch.testing.assert_close(deviation, expected[0], equal_nan=True)
    torch.testing.assert_close(error.sum(-1), expected[1], equal_nan=True)
    assert error.isnan().any()  # where a patch is visible


@pytest.fixture(scope="module")
def stored(tmp_path_factory: pytest.TempPathFactory, backbone: FrozenMAE) -> tuple[FeatureStore, Path]:
    """Drawn pictures of four folds; the features say nothing, the generated views are smoother than the photographs."""
    folder = tmp_path_factory.mktemp("bands")
    rng = np.random.default_rng(0)
    rows = [
        {"class": name, "group": f"{name}-{fold}", "family": family if name == "fake" else "", "fold": fold}
        for fold, family in enumerate(FAMILIES)
        for name in ("fake", "real")
        for _ in range(EACH)
    ]
    for number, row in enumerate(rows):
        row["sha256"] = hashlib.sha256(str(number).encode()).hexdigest()
    with (folder / "list.csv").open("w", newline="", encoding="utf-8") as file:
        writer = csv.DictWriter(file, list(rows[0]))
        writer.writeheader()
        writer.writerows(rows)
    (folder / "features").mkdir()
    (folder / "terms").mkdir()
    views = ("ws", "sc", "c0")
    sha = np.repeat([row["sha256"] for row in rows], len(views))
    noise = np.repeat([5 if row["class"] == "fake" else 60 for row in rows], len(views))[:, None, None, None]
    pixels = np.clip(128 + noise * rng.normal(size=(len(sha), SIZE, SIZE, 3)), 0, 255).astype(np.uint8)
    layers = {f"L{number}": rng.normal(size=(len(sha), 4, 8)).astype(np.float16) for number in (5, 7, 9)}
    np.savez(
        folder / "features" / "p.npz",
        sha=sha,
        delivery=np.zeros(len(sha), np.int8),
        view=np.tile(views, len(rows)),
        spectrum=rng.normal(size=(len(sha), 12)),
        pixels=pixels,
        **layers,
    )
    store_part(BandTerms(backbone), folder / "features" / "p.npz", folder / "terms" / "p.npz")
    return FeatureStore.open([folder / "features"], folder / "list.csv"), folder / "terms"


def test_statistics_are_those_of_both_views(stored: tuple[FeatureStore, Path]) -> None:
    known, statistics = read_statistics(stored[1])
    with np.load(stored[1] / "p.npz") as part:
        of_first = (part["sha"] == known[0]) & (part["view"] == "c0")
        deviation, error = (torch.from_numpy(part[name][of_first]) for name in ("deviation", "error"))
    np.testing.assert_allclose(statistics.lcas[0, 3:], anomaly_stats(deviation + 0.1 * error.sum(-1))[0], rtol=1e-5)
    last = anomaly_stats(error[..., -1])[0]
    np.testing.assert_allclose(statistics.bands[0, -3:], last, rtol=1e-5)
    assert statistics.bands.shape == statistics.logarithms.shape == (len(known), 2 * 3 * (2 + len(EDGES)))


def test_what_the_bands_tell_is_found_on_unseen_folds(stored: tuple[FeatureStore, Path]) -> None:
    store, terms = stored
    scores = dict(judge(store, terms))
    assert len(scores) == 10
    alone = scores["statistics of Eq. 5 and the bands, logarithms alone, logistic"]
    low, high = gain(store.pictures, alone, scores["two views, block spectra"])
    assert 0.1 < low <= high
    assert gain(store.pictures, alone, alone) == (0, 0)


def test_bands_of_other_pictures_are_refused(stored: tuple[FeatureStore, Path], tmp_path: Path) -> None:
    store, terms = stored
    with np.load(terms / "p.npz") as part:
        np.savez(tmp_path / "p.npz", **{name: part[name][:-2] for name in part.files})
    with pytest.raises(SystemExit, match="has bands of 47 pictures, LIST and FEATURES have 48"):
        next(judge(store, tmp_path))
