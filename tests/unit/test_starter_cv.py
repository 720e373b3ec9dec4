"""The starter's cross-validation on drawn features with a known answer."""

import csv
import hashlib
from pathlib import Path

import numpy as np
import pytest
from benchmarks.starter_cv import (
    Design,
    Part,
    cross_scores,
    evaluate,
    family_aucs,
    found_at,
    join,
    judge,
    picture_weights,
)
from benchmarks.starter_heads import HEADS
from benchmarks.starter_store import FeatureStore

WIDTH = 6
FAMILIES = ("gan", "gemini", "flux", "sdxl")
PER_FAMILY, PER_SOURCE = 30, 40


def _write(folder: Path, shift: float) -> tuple[Path, Path]:
    """Write a list of four folds and two parts of features; generated images differ by `shift` in layer 2's mean."""
    rng = np.random.default_rng(0)
    rows = []
    for fold, family in enumerate(FAMILIES):
        rows += [("fake", f"{family}-1", family, fold)] * PER_FAMILY
        rows += [("real", f"camera-{fold}", "", fold)] * PER_SOURCE
    shas = [hashlib.sha256(str(n).encode()).hexdigest() for n in range(len(rows))]
    table = folder / "list.csv"
    with table.open("w", newline="", encoding="utf-8") as file:
        writer = csv.writer(file)
        writer.writerow(["sha256", "class", "group", "family", "fold"])
        writer.writerows((sha, *row) for sha, row in zip(shas, rows, strict=True))
    parts = folder / "features"
    parts.mkdir()
    for half in (0, 1):
        chosen = range(half, len(rows), 2)
        sha, delivery, view, layers = [], [], [], {1: [], 2: []}
        for n in chosen:
            for copy in (0, 1):
                for name in ("whole", "crop"):
                    if name == "crop" and copy == 0 and n % 5 == 0:
                        continue  # a small picture has no crop
                    sha.append(shas[n])
                    delivery.append(copy)
                    view.append(name)
                    for layer, values in layers.items():
                        drawn = rng.normal(size=(4, WIDTH))
                        drawn[1] += shift * (layer == 2 and rows[n][0] == "fake")
                        values.append(drawn)
        stacked = {f"L{layer}": np.array(values, np.float16) for layer, values in layers.items()}
        fake = np.array([[rows[shas.index(one)][0] == "fake"] for one in sha])
        spectrum = rng.normal(size=(len(sha), WIDTH)) + 3 * fake
        np.savez(parts / f"p{half}.npz", sha=sha, delivery=np.array(delivery), view=view, spectrum=spectrum, **stacked)
    return table, parts


@pytest.fixture
def store(tmp_path: Path) -> FeatureStore:
    table, parts = _write(tmp_path, 1.0)
    return FeatureStore.open([parts], table)


def _design(layer: int, head: str = "logistic", **options) -> Design:
    return Design("drawn", (Part(("whole", "crop"), (layer,), ("mean", "std")),), head, 1.0, **options)


def test_views_are_averaged_over_those_a_picture_has(store: FeatureStore) -> None:
    both = join(store, [Part(("whole", "crop"), (2,), ("mean",))], 0)
    whole, crop = (join(store, [Part((view,), (2,), ("mean",))], 0) for view in ("whole", "crop"))
    has_crop = store.has(("crop",), 0)
    assert 0 < (~has_crop).sum() < len(has_crop)
    np.testing.assert_allclose(both[has_crop], (whole + crop)[has_crop] / 2, atol=1e-3)
    np.testing.assert_array_equal(both[~has_crop], whole[~has_crop])
    row = store.rows["whole"][3, 1]
    parts = np.concatenate([np.load(file)["sha"] for file in store.files])
    assert parts[row] == store.pictures.sha256[3]


def test_the_spectrum_joins_the_layers_or_stands_alone(store: FeatureStore) -> None:
    layer, alone, both = (
        join(store, [Part(("whole",), layers, ("mean",), of_pixels)], 0)
        for layers, of_pixels in (((2,), ()), ((), ("spectrum",)), ((2,), ("spectrum",)))
    )
    np.testing.assert_array_equal(both, np.concatenate([layer, alone], 1))
    design = Design("drawn", (Part(("whole", "crop"), (), (), ("spectrum",)),), "logistic", 1.0)
    assert evaluate(store, design).mean_auc > 0.99


@pytest.mark.parametrize("head", sorted(HEADS))
def test_every_head_finds_the_layer_that_differs_and_nothing_in_the_other(store: FeatureStore, head: str) -> None:
    differs, same = (evaluate(store, _design(layer, head, deliveries=(0, 1))) for layer in (2, 1))
    assert differs.mean_auc > 0.9
    assert 0.35 < same.mean_auc < 0.65
    assert set(differs.families) == set(FAMILIES)
    assert differs.counts == dict.fromkeys(FAMILIES, PER_FAMILY)


def test_a_fold_is_scored_by_a_head_that_has_not_seen_it(store: FeatureStore) -> None:
    before = cross_scores(store, _design(2))
    of_fold = store.pictures.fold == 0
    store.pictures.fake[of_fold] = ~store.pictures.fake[of_fold]
    after = cross_scores(store, _design(2))
    np.testing.assert_array_equal(before[of_fold], after[of_fold])
    assert not np.allclose(before[~of_fold], after[~of_fold])


def test_figures_follow_from_the_scores(store: FeatureStore) -> None:
    pictures = store.pictures
    perfect = pictures.fake.astype(float) + np.random.default_rng(1).uniform(0, 0.5, len(pictures))
    assert set(family_aucs(pictures, perfect).values()) == {1.0}
    assert found_at(pictures, perfect) == 1.0
    reversed_gan = np.where(pictures.family == "gan", -1.0, perfect)
    assert family_aucs(pictures, reversed_gan)["gan"] == 0.0
    assert found_at(pictures, reversed_gan) == 0.75
    verdicts = judge(pictures, perfect)
    assert verdicts.ai_of_fakes == 1.0
    assert verdicts.ai_of_photographs <= 0.06
    assert verdicts.worst_source == ""  # none has 50 photographs
    assert verdicts.calibration_error < 0.06


def test_weights_even_out_families_and_classes(store: FeatureStore) -> None:
    pictures = store.pictures
    pictures.family[np.flatnonzero(pictures.family == "gan")[:20]] = "flux"
    weights = picture_weights(pictures, pictures.fold >= 0, 1.0)
    of = {family: weights[pictures.family == family].sum() for family in FAMILIES}
    np.testing.assert_allclose(list(of.values()), len(pictures) / 8)
    assert weights[pictures.fake].sum() == pytest.approx(weights[~pictures.fake].sum())


def test_a_share_of_the_pictures_teaches_less_and_all_are_judged(store: FeatureStore) -> None:
    few, all_ = (cross_scores(store, _design(2, share=share)) for share in (0.1, 1.0))
    pictures = store.pictures
    assert np.all(few != 0)
    assert found_at(pictures, few) < found_at(pictures, all_)


def test_training_can_keep_to_pictures_with_a_delivery(store: FeatureStore) -> None:
    store.rows["whole"][::2, 1] = -1
    store.rows["crop"][::2, 1] = -1
    kept = cross_scores(store, _design(2, copied=1))
    store.pictures.fake[::2] = ~store.pictures.fake[::2]  # of pictures that training must not look at
    np.testing.assert_array_equal(cross_scores(store, _design(2, copied=1)), kept)
