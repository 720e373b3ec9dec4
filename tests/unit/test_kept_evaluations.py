"""Evaluations kept in benchmarks/results/evaluation: nothing of the machine in them, every number theirs."""

import importlib
import json
import re
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest

from cinemae.evaluation.predictions import Column, Images, Predictions
from cinemae.evaluation.tables import tabulate

ROOT = Path(__file__).resolve().parents[2]
KEPT = sorted((ROOT / "benchmarks/results/evaluation").iterdir())
PLACE = "/home/somebody/pictures"


@pytest.fixture
def keeping(monkeypatch):
    """`benchmarks.keep_evaluation`, which is no part of the package."""
    monkeypatch.syspath_prepend(str(ROOT))
    return importlib.import_module("benchmarks.keep_evaluation")


@pytest.fixture
def predictions() -> Predictions:
    """Ten photographs and fifteen fakes of three generators below a folder of somebody's, one of them unreadable."""
    rng = np.random.default_rng(0)
    names = ["slr"] * 10 + ["gan", "sd", "vq"] * 5
    rows = [
        {
            "path": f"{PLACE}/val/{'real' if name == 'slr' else 'fake'}/{name}/{index}.png",
            "content_hash": f"{index:064x}", "label": int(name != "slr"), "generator": name,
            "container": "PNG", "width": 30, "height": 30, "num_bytes": 99,
        }
        for index, name in enumerate(names)
    ]  # fmt: skip
    rows[3]["error_message"] = f"{PLACE}/val/real/slr/3.png is empty (0 bytes)"
    column = Column("ours", threshold=0.5, threshold_rule="the model's own")
    scores = {name: rng.random((25, 1)) for name in ("raw", "aligned", "jpeg=50", "grayscale")}
    for values in scores.values():
        values[3] = np.nan
    about = {"test_set": f"{PLACE}/val", "training_set": None, "found": {"source": f"{PLACE}/val", "problems": []}}
    return Predictions(Images.from_rows(rows), (column,), scores, about)


def test_what_is_kept_names_no_place_of_the_machine(keeping, predictions: Predictions, tmp_path: Path):
    keeping.keep(predictions, tmp_path / "kept")
    assert sorted(path.name for path in (tmp_path / "kept").iterdir()) == [
        "plots", "predictions.parquet", "results.json",
    ]  # fmt: skip
    found = Predictions.load(tmp_path / "kept/predictions.parquet")
    assert found.images.path[[0, 10]].tolist() == ["real/slr/0.png", "fake/gan/10.png"]
    assert found.images.error_message[3] == "real/slr/3.png is empty (0 bytes)"
    assert found.about == {"test_set": "val", "training_set": None, "found": {"source": "val", "problems": []}}
    results = json.loads((tmp_path / "kept/results.json").read_text())
    assert results == tabulate(found).to_dict()
    assert results["detectors"] == tabulate(predictions).to_dict()["detectors"]
    for path in (tmp_path / "kept").rglob("*.*"):
        assert b"somebody" not in path.read_bytes(), path


def test_what_was_kept_before_is_replaced(keeping, predictions: Predictions, tmp_path: Path):
    keeping.keep(predictions, tmp_path)
    before = sorted(path.name for path in (tmp_path / "plots").iterdir())
    raw_only = replace(predictions, scores={"raw": predictions.scores["raw"]})
    keeping.keep(raw_only, tmp_path)
    assert len(list((tmp_path / "plots").iterdir())) < len(before)


def test_a_path_in_what_a_detector_says_of_itself_is_refused(keeping, predictions: Predictions, tmp_path: Path):
    told = replace(predictions, columns=(replace(predictions.columns[0], description="weights of /home/me/x.pt"),))
    with pytest.raises(ValueError, match="no path of this machine may be kept, found '/home/me/x.pt"):
        keeping.keep(told, tmp_path / "kept")
    assert not (tmp_path / "kept").exists()


def test_the_page_shows_what_must_be_seen(keeping, predictions: Predictions, tmp_path: Path, monkeypatch):
    page = importlib.import_module("benchmarks.robustness_page")
    monkeypatch.setattr(page, "EVALUATIONS", tmp_path)
    monkeypatch.setattr(page, "ROOT", tmp_path.parent)
    assert page.render().endswith("Nothing was measured yet.\n")
    keeping.keep(predictions, tmp_path / "drawn")
    text = page.render()
    assert "\n## drawn\n" in text
    raw = tabulate(predictions).detectors[0].conditions["raw"]
    assert f"* ours: mean AUC over generators {raw.mean['auc'].value:.3f} [" in text
    for heading in ("Summary", "ours, raw", "ours, aligned", "Corruptions", "Format probe", "Images"):
        assert f"\n### {heading}\n" in text
    assert "\n#### ours: which generators lose what\n" in text
    header = next(
        line for line in text.splitlines() if line.startswith("| detector | condition | n real / fake | balanced")
    )
    assert header.endswith("| AUC | AUC, all images | AUC, fakes only altered | AUC, photographs only altered |")
    linked = re.findall(r"\]\(\.\./([^)]+\.png)\)", text)
    assert sorted(linked) == sorted(
        path.relative_to(tmp_path.parent).as_posix() for path in (tmp_path / "drawn/plots").iterdir()
    )


@pytest.mark.parametrize("folder", KEPT, ids=lambda path: path.name)
def test_every_committed_number_follows_from_the_committed_predictions(folder: Path):
    kept = json.loads((folder / "results.json").read_text(encoding="utf-8"))
    assert_close(tabulate(Predictions.load(folder / "predictions.parquet")).to_dict(), kept)


def assert_close(found, expected):
    """Compare JSON, numbers up to rounding."""
    if isinstance(expected, dict):
        assert found.keys() == expected.keys()
        for name in expected:
            assert_close(found[name], expected[name])
    elif isinstance(expected, list):
        assert len(found) == len(expected)
        for one, other in zip(found, expected, strict=True):
            assert_close(one, other)
    elif isinstance(expected, float):
        assert found == pytest.approx(expected, rel=1e-9, abs=1e-9)
    else:
        assert found == expected
