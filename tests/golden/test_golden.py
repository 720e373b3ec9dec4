"""What version 0.1 (commit 98dfb51) left on disk still opens, half-finished runs go on, and names stay what they were.

A failure here means that users lose a store, results, a model or a cache. Change the code, not the golden files; where
a format has to change, keep reading the old one. Whatever is read from disk must be equal to the last bit; scores that
are computed anew may differ by `ROUNDING`, since processors sum in another order.
"""

from __future__ import annotations

import hashlib
import json
import math
import shutil
import sqlite3
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import onnxruntime as ort
import pyarrow.parquet as pq
import pytest

from cinemae import Detector
from cinemae.config import (
    AugmentConfig,
    BackboneInfo,
    DeviationConfig,
    ExtractorConfig,
    ImageConfig,
    MaskConfig,
)
from cinemae.core.masking import complementary_noise, mask_noise
from cinemae.stores.features import FeatureStore, prepare_store, write_shard
from cinemae.stores.results import ResultsHeader
from cinemae.stores.score_cache import ScoreCache
from cinemae.stores.store_format import StoreHeader, StoreRow

GOLDEN = Path(__file__).parent
EXPECTED = json.loads((GOLDEN / "expected.json").read_text())
ROUNDING = 1e-4
HASH = "ab" * 32
CONFIGS = {
    "default": ExtractorConfig(),
    "tiles": ExtractorConfig(image=ImageConfig(size=64, resize_to=256, views="tiles", jpeg_quality=90)),
    "complementary": ExtractorConfig(mask=MaskConfig(num_passes=4, scheme="complementary", seed=7)),
    "unit": ExtractorConfig(
        image=ImageConfig(resize="stretch", mean=(0.5, 0.5, 0.5)), deviation=DeviationConfig("unit", unbiased=True)
    ),
}
IDENTITY = ("path", "status", "verdict", "threshold", "width", "height", "format", "content_hash", "model")
SCORES = ("prob_fake", "logit", "variability", "overall", "sensitivity", "ood_score", "redeliveries")
EXTRACT = ("extract", "pictures", "--out", "store", "--model", "model", "--shard-size", "2")
DETECT_MANY = ("detect", "many", "--model", "model", "--results", "results", "--format", "jsonl")
KILLED = ".{}.0123456789abcdef0123456789abcdef.tmp"
"""What a killed run of version 0.1 leaves of a file that it was writing."""


def contents(folder: Path) -> dict[str, bytes]:
    return {path.relative_to(folder).as_posix(): path.read_bytes() for path in folder.rglob("*") if path.is_file()}


def json_lines(text: str) -> list[dict[str, Any]]:
    return [json.loads(line) for line in text.splitlines()]


def said(model: str) -> list[dict[str, Any]]:
    """The verdicts that version 0.1 gave."""
    return json_lines((GOLDEN / f"verdicts-{model}.jsonl").read_text())


def assert_same_scores(found: list[dict[str, Any]], expected: list[dict[str, Any]]) -> None:
    assert [[row[name] for name in IDENTITY] for row in found] == [[row[name] for name in IDENTITY] for row in expected]
    for row, was in zip(found, expected, strict=True):
        for name in SCORES:
            assert row[name] == (None if was[name] is None else pytest.approx(was[name], abs=ROUNDING)), name


def spoil(folder: Path, keep: set[str]) -> None:
    """Replace all pictures but those named: whoever looks at one of them again finds that it cannot be read."""
    spoilt = [path for path in folder.rglob("*.*") if path.relative_to(folder).as_posix() not in keep]
    assert spoilt
    for path in spoilt:
        path.write_bytes(b"looked at again")


# names


@pytest.mark.parametrize(("scheme", "seed", "passes", "patches", "sha256"), EXPECTED["noise_sha256"])
def test_masks_are_the_same_bytes(scheme: str, seed: int, passes: int, patches: int, sha256: str):
    make = {"independent": mask_noise, "complementary": complementary_noise}[scheme]
    assert hashlib.sha256(make(seed, passes, patches).tobytes()).hexdigest() == sha256


@pytest.mark.parametrize("name", CONFIGS)
def test_fingerprints_stay(name: str):
    assert CONFIGS[name].fingerprint(HASH) == EXPECTED["fingerprint"][name]


@pytest.mark.parametrize(
    ("name", "more"), [("plain", {}), ("augmented", {"augment": AugmentConfig(seed=3), "condition": "jpeg=50"})]
)
def test_the_job_of_an_extraction_keeps_its_id(name: str, more: dict[str, Any]):
    config, backbone = CONFIGS["default"], BackboneInfo(HASH, patch_size=16, num_patches=196, hidden_size=1024)
    header = StoreHeader(
        fingerprint=config.fingerprint(HASH), extractor=config, backbone=backbone, dtype="float32", shard_size=256,
        num_rows=1000, records_hash=HASH, **more,
    )  # fmt: skip
    assert header.job == EXPECTED["extract_job"][name]


def test_the_job_of_a_detection_keeps_its_id():
    header = ResultsHeader(
        model="golden@0123456789ab", fingerprint="0123456789abcdef", threshold=0.75, real_below=0.25, stable=True,
        num_rows=1000, part_size=256, records_hash=HASH,
    )  # fmt: skip
    assert header.job == EXPECTED["detect_job"]


# a model


@pytest.mark.parametrize("model", ["model", "isotonic"])
def test_a_model_keeps_its_id_and_its_scores(work: Path, cinemae: Callable[..., Any], model: str):
    detector = Detector.from_pretrained(work / model)
    assert detector.model_id == EXPECTED["model_id"][model]
    assert EXPECTED["model_id"][model] in cinemae("info", "--model", model).stdout
    found = cinemae("detect", "pictures", "--model", model, "--format", "jsonl", "--stable", code=1)
    assert_same_scores(json_lines(found.stdout), said(model))


def test_a_model_scores_alike_without_its_graph(work: Path, cinemae: Callable[..., Any]):
    (work / "model" / "model.onnx").unlink()
    found = cinemae("detect", "pictures", "--model", "model", "--format", "jsonl", "--stable", code=1)
    assert_same_scores(json_lines(found.stdout), said("model"))


def test_the_curve_of_an_old_graph_is_not_asked(work: Path, cinemae: Callable[..., Any]):
    """Graphs of version 0.1 hold the calibration they were exported with; config.json alone decides."""
    assert "prob_fake" in [output.name for output in ort.InferenceSession(work / "model/model.onnx").get_outputs()]
    config = json.loads((work / "model/config.json").read_text())
    config["decision"] |= {"platt_scale": 0.25, "platt_offset": 0.5}
    (work / "model/config.json").write_text(json.dumps(config))
    found = cinemae("detect", "pictures", "--model", "model", "--format", "jsonl", code=1)
    scored = [row for row in json_lines(found.stdout) if row["status"] == "ok"]
    assert len(scored) == 5
    for row in scored:
        assert row["prob_fake"] == pytest.approx(1 / (1 + math.exp(-0.25 * row["logit"] - 0.5)), abs=1e-9)


def test_a_model_can_be_calibrated_anew(work: Path, cinemae: Callable[..., Any]):
    """Its card, its results and its weights are read, not only its configuration."""
    sources = ("--real", "many/00*.ppm", "--fake", "many/01*.ppm")
    cinemae("calibrate", "model", "--out", "anew", *sources, "--target-fpr", "0.2", "--target-fnr", "0.2")
    before, after = (
        json_lines(cinemae("detect", "many/02*.ppm", "--model", model, "--format", "jsonl").stdout)
        for model in ("model", "anew")
    )
    assert len(before) == 10
    assert [row["logit"] for row in after] == pytest.approx([row["logit"] for row in before], abs=ROUNDING)
    assert [row["model"] for row in after] != [row["model"] for row in before]
    assert contents(work / "model") == contents(GOLDEN / "model")


# a feature store


def test_a_store_opens(work: Path):
    store, shards = FeatureStore.open("store"), [pq.read_table(path) for path in sorted(work.glob("store/*.parquet"))]
    rows = [row for shard in shards for row in shard.to_pylist()]
    loaded = store.load(status=None)
    assert len(rows) == store.num_rows == 6
    assert [path for path, status in zip(loaded["path"], loaded["status"], strict=True) if status == "error"] == [
        "pictures/real/camera/3.png"
    ]
    for name in ("path", "content_hash", "status", "error_message", "generator", "label", "width", "num_bytes"):
        known = [-1 if row[name] is None and loaded[name].dtype != object else row[name] for row in rows]
        assert loaded[name].tolist() == known, name
    for name, shape in (("global_feature", (1, 16)), ("deviation", (1, 2, 16)), ("fidelity", (1, 2, 16))):
        assert loaded[name].shape == (6, *shape)
        expected = [np.full(shape, np.nan) if row[name] is None else np.reshape(row[name], shape) for row in rows]
        np.testing.assert_array_equal(loaded[name], np.asarray(expected, np.float32))


def test_a_finished_store_is_left_alone(work: Path, cinemae: Callable[..., Any]):
    spoil(work / "pictures", keep=set())
    assert "3 shards (3 from an earlier run)" in cinemae(*EXTRACT, code=1).stdout
    assert contents(work / "store") == contents(GOLDEN / "store")


def test_a_half_finished_store_is_gone_on_with(work: Path, cinemae: Callable[..., Any]):
    """The shard that is missing is made, byte for byte as a run in one go makes it here; the others are not touched."""
    cinemae(*(word if word != "store" else "whole" for word in EXTRACT), code=1)
    (work / "store/shard-00001.parquet").rename(work / "store" / KILLED.format("shard-00001.parquet"))
    spoil(work / "pictures", keep={"real/camera/0.png", "real/camera/1.png"})
    assert "3 shards (2 from an earlier run)" in cinemae(*EXTRACT, code=1).stdout
    found, whole, golden = (contents(folder) for folder in (work / "store", work / "whole", GOLDEN / "store"))
    assert found == golden | {"shard-00001.parquet": whole["shard-00001.parquet"]}
    assert whole["store.json"] == golden["store.json"]
    shard, was = (pq.read_table(folder / "store/shard-00001.parquet") for folder in (work, GOLDEN))
    assert shard.schema.equals(was.schema, check_metadata=True)
    for name in shard.column_names:
        if name in ("global_feature", "deviation", "fidelity"):
            values = [np.asarray(table[name].to_pylist()) for table in (shard, was)]
            np.testing.assert_allclose(*values, atol=ROUNDING, err_msg=name)
        else:
            assert shard[name].to_pylist() == was[name].to_pylist(), name


def test_the_same_rows_make_the_same_shard(work: Path):
    header = FeatureStore.open("store").header
    prepare_store("again", header)
    for shard in range(header.num_shards):
        golden = work / f"store/shard-{shard:05d}.parquet"
        write_shard("again", header, shard, [stored_row(row, header) for row in pq.read_table(golden).to_pylist()])
        written = work / "again" / golden.name
        tables = pq.read_table(written), pq.read_table(golden)
        assert tables[0].schema.equals(tables[1].schema, check_metadata=True)
        assert repr(tables[0].to_pylist()) == repr(tables[1].to_pylist())  # nan is not equal to itself
        # Another Arrow names itself in the file, and may compress otherwise.
        if pq.read_metadata(written).created_by == pq.read_metadata(golden).created_by:
            assert written.read_bytes() == golden.read_bytes()
    assert (work / "again/store.json").read_bytes() == (work / "store/store.json").read_bytes()


def stored_row(row: dict[str, Any], header: StoreHeader) -> StoreRow:
    features = {
        name: None if row[name] is None else np.asarray(row[name], np.float32).reshape(shape)
        for name, shape in header.shapes.items()
    }
    known = {name: value for name, value in row.items() if name not in ("status", "warnings", *features)}
    return StoreRow(**known, warnings=tuple(row["warnings"] or ()), **features)


# a results folder


def kept(part: int) -> list[dict[str, Any]]:
    """The rows of a part as another reader finds them, and without what is no key of a verdict."""
    rows = pq.read_table(GOLDEN / f"results/part-{part:06d}.parquet").to_pylist()
    for row in rows:
        del row["error_message"]
        row["examined"] = None  # which came later
    return rows


def test_finished_results_are_not_scored_again(work: Path, cinemae: Callable[..., Any]):
    spoil(work / "many", keep=set())
    assert json_lines(cinemae(*DETECT_MANY).stdout) == kept(0) + kept(1)
    for name, data in contents(GOLDEN / "results").items():
        assert name == "report.json" or (work / "results" / name).read_bytes() == data


def test_half_finished_results_are_gone_on_with(work: Path, cinemae: Callable[..., Any]):
    (work / "results/part-000001.parquet").rename(work / "results" / KILLED.format("part-000001.parquet"))
    (work / "results/report.json").unlink()
    spoil(work / "many", keep={"256.ppm", "257.ppm"})
    found = json_lines(cinemae(*DETECT_MANY).stdout)
    assert found[:256] == kept(0)
    assert_same_scores(found[256:], kept(1))
    report = json.loads((work / "results/report.json").read_text())
    assert (report["num_rows"], report["num_failed"], report["num_scored"]) == (258, 0, 2)
    after, golden = contents(work / "results"), contents(GOLDEN / "results")
    assert after["part-000000.parquet"] == golden["part-000000.parquet"]
    assert after["results.json"] == golden["results.json"]
    assert after.keys() == golden.keys()


# a score cache


def test_a_score_cache_opens(work: Path, cinemae: Callable[..., Any]):
    (context,) = [name for (name,) in sqlite3.connect("cache.sqlite").execute("SELECT name FROM contexts")]
    assert context.startswith(EXPECTED["model_id"]["model"])
    shown = cinemae("cache", "info", "cache.sqlite").stdout
    assert "cache.sqlite: 5 scores" in shown
    assert context in shown
    warnings: list[str] = []
    cache = ScoreCache("cache.sqlite", warn=warnings.append)
    expected = [row for row in said("model") if row["status"] == "ok"]
    for row in expected:
        found = cache.get(context, row["content_hash"])
        assert found is not None
        assert {name: found[name] for name in SCORES} == {name: row[name] for name in SCORES}
    cache.close()
    assert (len(expected), warnings) == (5, [])


def test_a_score_cache_is_gone_on_with(work: Path, cinemae: Callable[..., Any]):
    shutil.copy("cache.sqlite", "before.sqlite")
    found = cinemae("detect", "pictures", "--model", "model", "--cache", "cache.sqlite", "--format", "jsonl", code=1)
    assert "warning" not in found.stderr
    before, after = (
        sqlite3.connect(name).execute("SELECT name, hash, value FROM contexts JOIN scores ON context = id").fetchall()
        for name in ("before.sqlite", "cache.sqlite")
    )
    assert len(before) == 5
    assert set(before) <= set(after)
