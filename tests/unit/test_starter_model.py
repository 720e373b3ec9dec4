"""How the bundled model is put together from stored features, on drawn ones with a known answer."""

from __future__ import annotations

import csv
import hashlib
import json
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
from benchmarks import starter_record
from benchmarks.starter_cv import family_aucs
from benchmarks.starter_deliveries import degrade, protocol_steps
from benchmarks.starter_model import EXTRACTOR, HEAD, TRAIN, Data, cross_logits, data_rows, names, read_data
from benchmarks.starter_pictures import in_turns
from benchmarks.starter_record import Judged, make_record, photograph_sources, record_beside
from benchmarks.starter_store import FeatureStore
from PIL import Image

from cinemae.calibration.report import report_calibration

FAMILIES = ("gan", "gemini", "flux", "sdxl")
EACH = 24
PATCHES = 16


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A list, features and LCAS terms: generated images differ in the whole view, every third picture is not square."""
    folder = tmp_path_factory.mktemp("starter")
    rng = np.random.default_rng(0)
    rows = []
    for fold, family in enumerate(FAMILIES):
        for number in range(EACH):
            wide = {"width": 300 if number % 3 == 0 else 200, "height": 200, "format": "JPEG", "license": "MIT"}
            rows.append({"class": "fake", "group": f"{family}-1", "family": family, "fold": fold, **wide})
            source = "faces" if fold == 0 and number % 2 else f"camera-{fold}"
            rows.append({"class": "real", "group": source, "family": "", "fold": fold, "make": "Canon", **wide})
    for number, row in enumerate(rows):
        row |= {"sha256": hashlib.sha256(str(number).encode()).hexdigest(), "repo": f"someone/{row['group']}"}
    with (folder / "list.csv").open("w", newline="", encoding="utf-8") as file:
        writer = csv.DictWriter(file, ["sha256", "class", "group", "family", "fold", "repo", "make", *wide])
        writer.writeheader()
        writer.writerows(rows)
    _store(folder / "features", folder / "lcas", rows, ("ws", "c0"), rng)
    _store(folder / "squares", folder / "lcas-squares", [row for row in rows if row["width"] == 300], ("sc",), rng)
    some = [row for n, row in enumerate(rows) if n % 4 < 2]
    for name in ("poor", "portraits"):
        _store(folder / name, folder / f"lcas-{name}", some, ("ws", "c0"), rng)
    return folder


def _store(features: Path, lcas: Path, rows: list, views: tuple[str, ...], rng: np.random.Generator) -> None:
    features.mkdir()
    lcas.mkdir()
    sha = [row["sha256"] for row in rows for _ in views]
    view = [name for _ in rows for name in views]
    fake = np.array([row["class"] == "fake" and name != "c0" for row in rows for name in views])
    tokens = rng.normal(size=(len(sha), 4, 8)) + 2 * fake[:, None, None]
    np.savez(features / "p.npz", sha=sha, delivery=np.zeros(len(sha), np.int8), view=view, L6=tokens)
    terms = rng.random((2, len(sha), 2, PATCHES)).astype(np.float32)
    terms[..., ::4] = np.nan
    np.savez(lcas / "p.npz", deviation=terms[0], fidelity=terms[1])


@pytest.fixture(scope="module")
def store(folder: Path) -> FeatureStore:
    both = [folder / "features", folder / "squares"]
    return FeatureStore.open(both, folder / "list.csv", [folder / "lcas", folder / "lcas-squares"])


@pytest.fixture(scope="module")
def beside(folder: Path) -> dict[str, FeatureStore]:
    """Poor copies and portraits."""
    return {
        name: FeatureStore.open([folder / name], folder / "list.csv", [folder / f"lcas-{name}"])
        for name in ("poor", "portraits")
    }


@pytest.fixture(scope="module")
def data(store: FeatureStore, beside: dict[str, FeatureStore]) -> Data:
    return read_data(store, 588, **beside)


def test_both_views_lie_side_by_side_and_only_pictures_that_are_not_square_have_a_copy(data: Data) -> None:
    dim = len(EXTRACTOR.global_feature.cls_layers) * 3 * 8
    assert data.pictures.images.global_feature.shape == (len(FAMILIES) * EACH * 2, 2, dim)
    assert len(data.squares.images) == len(FAMILIES) * EACH * 2 // 3
    assert np.isfinite(data.photograph_lcas).all()
    assert len(data.photograph_lcas) == len(FAMILIES) * EACH * 2 * 2 * PATCHES * 3 // 4


def test_a_copy_has_the_native_view_and_statistics_of_its_picture(store: FeatureStore, data: Data) -> None:
    copied = store.rows["sc"][:, 0] >= 0
    squares, pictures = data.squares.images, data.pictures.images[copied]
    assert np.array_equal(squares.global_feature[:, 1], pictures.global_feature[:, 1])
    assert not np.array_equal(squares.global_feature[:, 0], pictures.global_feature[:, 0])
    assert np.array_equal(squares.labels, pictures.labels)


def test_a_fold_left_out_leaves_with_its_copies(data: Data) -> None:
    left = data.without(2)
    parts = left.pictures, left.squares, left.poor, left.portraits
    assert all(set(part.fold) == {0, 1, 3} for part in parts)
    assert len(left.trained_on()) == sum(len(part.images) for part in parts) == 3 * len(data.trained_on()) // 4
    assert "flux-1" not in left.trained_on().names(1)


def test_families_unseen_are_told_by_what_they_share(
    folder: Path,
    store: FeatureStore,
    beside: dict[str, FeatureStore],
    data: Data,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    pictures, fold = data.pictures.images, data.pictures.fold
    head = replace(HEAD, global_dim=2 * pictures.global_feature.shape[-1], agg_hidden=4)
    found = cross_logits(data, head, replace(TRAIN, epochs=3))
    logits = found.pictures
    assert min(family_aucs(store.pictures, logits).values()) > 0.9
    cut = store.pictures[store.rows["sc"][:, 0] >= 0]
    assert min(family_aucs(cut, found.squares).values()) > 0.8
    calibration = report_calibration(logits, pictures.labels, pictures.generators, TRAIN, fold=fold)
    assert np.array_equal(calibration.crossed.fold, fold)
    for name, part in beside.items():
        judged = record_beside(part.pictures, getattr(found, name), calibration)
        assert (judged["photographs"], judged["generated"]) == (48, 48)
        assert judged["mean_family_auc"] > 0.9
        called = judged["generated called ai"]["value"], judged["generated called photograph"]["value"]
        assert called[0] > 0.5 > called[1]
    monkeypatch.setattr(starter_record, "FFHQ", ("faces",))
    record = make_record(Judged(store.pictures, logits, calibration), folder / "list.csv", "model")
    assert json.loads(json.dumps(record)) == record
    real, called = ~store.pictures.fake, calibration.crossed.called_ai
    shares = [called[real & (store.pictures.group == name)].mean() for name in np.unique(store.pictures.group[real])]
    assert record["verdicts"]["photographs called ai, sources counting alike"] == pytest.approx(np.mean(shares))
    assert [(row["name"], row["n"], row["ffhq"]) for row in record["ffhq"]] == [("gan", EACH, EACH // 2)]
    assert record["ffhq"][0]["auc_ffhq"]["value"] > 0.9
    assert [row["n"] for row in record["sources"]] == [EACH] * 3  # those of 20 or more
    assert [(row["name"], row["n"]) for row in record["makers"]] == [("Canon", 4 * EACH)]
    assert sum(row["n"] for row in record["deliveries"]) == 4 * EACH
    assert abs(record["format_probe"]["mean_family_auc"] - 0.5) < 0.2  # both classes have the same sizes


def test_copies_of_one_collection_are_one_source(store: FeatureStore, monkeypatch: pytest.MonkeyPatch) -> None:
    groups = store.pictures.group
    first, second = np.unique(groups)[:2]
    monkeypatch.setattr(starter_record, "FFHQ", (first, second))
    sources = photograph_sources(store.pictures)
    copies = np.isin(groups, (first, second))
    assert set(sources[copies]) == {"FFHQ"}
    assert np.array_equal(sources[~copies], groups[~copies])


def test_small_groups_go_together_and_the_card_names_repositories(folder: Path, store: FeatureStore) -> None:
    few = store.pictures[np.arange(len(store.pictures)) < 30]
    assert set(names(few)) <= {*(f"{family}, others" for family in FAMILIES), "other sources"}
    rows = data_rows(folder / "list.csv", store.pictures)
    assert rows[0] == {"set": "fake/flux-1", "images": EACH, "origin": "github.com: someone/flux-1; MIT"}


def test_pictures_are_taken_from_all_groups_in_turns() -> None:
    rows = [{"sha256": str(number), "group": "a" if number < 8 else "b"} for number in range(10)]
    assert [row["group"] for row in in_turns(rows, "group")][:4] == ["a", "b", "a", "b"]


@pytest.mark.parametrize("name", ["poor", "portraits"])
def test_what_is_judged_alone_is_not_learnt_from(data: Data, name: str) -> None:
    alone = replace(data, learnt=tuple(other for other in data.learnt if other != name))
    assert len(data.trained_on()) - len(alone.trained_on()) == len(getattr(data, name).images) == 96
    assert len(replace(data, learnt=("pictures", name)).trained_on()) == len(data.pictures.images) + 96


def test_a_poor_copy_is_cropped_and_noisy_and_always_the_same() -> None:
    image = Image.new("RGB", (400, 300), (128, 128, 128))
    shas = [hashlib.sha256(str(number).encode()).hexdigest() for number in range(200)]
    copies = [degrade(image, sha) for sha in shas]
    assert np.array_equal(np.asarray(degrade(image, shas[7])), np.asarray(copies[7]))
    assert np.mean([copy.size != image.size for copy in copies]) == pytest.approx(0.5, abs=0.1)
    assert all(copy.width >= 160 and copy.height >= 120 for copy in copies)
    assert np.mean([np.asarray(copy).std() > 1 for copy in copies]) == pytest.approx(0.75, abs=0.1)


def test_the_protocol_scales_four_in_ten_and_saves_seven() -> None:
    drawn = [protocol_steps(hashlib.sha256(str(number).encode()).hexdigest()) for number in range(2000)]
    assert np.mean(drawn, 0) == pytest.approx((0.4, 0.7), abs=0.04)
