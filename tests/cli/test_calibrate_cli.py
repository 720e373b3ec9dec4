"""``cinemae calibrate``: images to a calibrated model to verdicts, and to one-line errors."""

from __future__ import annotations

import json
import shutil
from pathlib import Path

import pytest
from tests.cli.in_process import invoke

from cinemae.models.directory import read_model_config

pytestmark = pytest.mark.usefixtures("one_thread")
RATES = ("--target-fpr", "0.1", "--target-fnr", "0.2", "--device", "cpu")


@pytest.fixture(scope="module")
def images(tmp_path_factory: pytest.TempPathFactory, picture) -> Path:
    root = tmp_path_factory.mktemp("images")
    for folder, count, noise in (("photos", 12, 4), ("generated/gan", 8, 0)):
        (root / folder).mkdir(parents=True)
        for index in range(count):
            picture(5 * index + noise).save(root / folder / f"{index}.png")
    return root


def test_images_to_model_to_verdicts(images: Path, tiny_model: Path, tmp_path: Path):
    out = tmp_path / "mine"
    sources = ("--real", images / "photos", "--fake", images / "generated")
    result = invoke("calibrate", tiny_model, *sources, "--out", out, *RATES)
    assert result.exit_code == 0, result.output
    lines = result.stdout.splitlines()
    assert lines[0] == f"{out}: calibrated on 12 photographs and 8 generated images"
    assert lines[1].startswith("  probability: Platt scaling; calibration error ") or "isotonic" in lines[1]
    decision = read_model_config(out).decision
    assert f'  "ai" from {decision.threshold:.3f}, "real" below {decision.real_below:.3f}: {decision.rule}' in lines
    assert "  mind: 12 photographs are few:" in result.stdout
    assert lines[-1] == f"every figure: {out / 'README.md'}"
    assert sorted(path.name for path in out.iterdir()) == [
        "README.md",
        "backbone",
        "calibration.json",
        "config.json",
        "head.safetensors",
        "model.onnx",
        "ood.safetensors",
        "reliability.png",
        "results.json",
        "risk-coverage.png",
    ]
    verdicts = invoke("detect", images / "photos", "--model", out, "--format", "jsonl")
    words = [json.loads(line)["verdict"] for line in verdicts.stdout.splitlines()]
    assert words.count("ai") == 1, "a tenth of 12, rounded down"
    _check_what_is_left(out)


def _check_what_is_left(out: Path) -> None:
    values = json.loads((out / "calibration.json").read_text())
    assert values["n_real"] == sum(row["n"] for row in values["reliability"]["chosen"]["bins"]) - values["n_fake"] == 12
    after = values["held_out"]["chosen"]["calibration_error"]["value"]
    assert values["reliability"]["chosen"]["calibration_error"] == pytest.approx(after)
    assert values["reliability"]["none"]["balanced"] is True
    assert values["risk_coverage"]["coverage"][-1] == 1
    assert set(values["risk_coverage"]["coverage_at"]) == {"0.01", "0.02", "0.05"}
    card = (out / "README.md").read_text()
    assert "](reliability.png)" in card
    assert "](risk-coverage.png)" in card
    shown = invoke("info", "--model", out).stdout
    assert "out of distribution farther out than 99% of the photographs calibrated on" in shown
    assert "(held out: " in shown


def test_in_place_and_an_unreadable_file(images: Path, tiny_model: Path, tmp_path: Path):
    model = Path(shutil.copytree(tiny_model, tmp_path / "model"))
    (tmp_path / "more").mkdir()
    (tmp_path / "more" / "broken.png").write_bytes(b"no picture")
    result = invoke(
        "calibrate", model, "--real", images / "photos", "--real", tmp_path / "more", "--fake", images / "generated",
        *RATES,
    )  # fmt: skip
    assert result.exit_code == 1, result.output
    assert f"1 images could not be read: {model / 'calibration-unreadable.txt'}" in result.stdout
    assert read_model_config(model).decision.target_fpr == 0.1


@pytest.mark.parametrize(
    ("arguments", "sentence"),
    [
        (
            ("--real", "photos", "--fake", "generated"),
            "the bundled model and those of the Hub are not changed in place",
        ),
        (("MODEL", "--real", "photos", "--fake", "nowhere"), "there is no folder, glob, .csv manifest"),
        (("MODEL", "--real", "photos", "--fake", "generated"), "needs at least 50 photographs, got 12"),
        (("MODEL", "--real", "photos", "--fake", "photos", *RATES), "have the same content: take it out of one class"),
        (
            ("MODEL", "--real", "photos", "--fake", "generated", "--target-fpr", "2"),
            "target_fpr must lie between 0 and",
        ),
        (("no/such/model", "--real", "photos", "--fake", "generated", "--out", "x"), "is not a directory"),
        (("MODEL", "--real", "photos", "--fake", "generated", "--out", ".", *RATES), "is written into a new folder"),
        (("MODEL", "--real", "photos", "--fake", "generated", "--trained-on", "photos", *RATES), "store.json"),
    ],
)
def test_what_cannot_be_done_is_one_line_and_changes_nothing(arguments, sentence, images, tiny_model, monkeypatch):
    monkeypatch.chdir(images)
    before = {path: path.read_bytes() for path in tiny_model.rglob("*") if path.is_file()}
    result = invoke("calibrate", *(tiny_model if part == "MODEL" else part for part in arguments))
    assert result.exit_code == 2, result.output
    (line,) = result.stderr.splitlines()
    assert line.startswith("error: ")
    assert sentence in line
    assert {path: path.read_bytes() for path in tiny_model.rglob("*") if path.is_file()} == before


@pytest.mark.parametrize("left_out", ["--real", "--fake"])
def test_both_classes_must_be_named(left_out, tiny_model):
    named = [part for option in ("--real", "--fake") if option != left_out for part in (option, "somewhere")]
    result = invoke("calibrate", tiny_model, *named)
    assert result.exit_code == 2
    assert left_out in result.stderr
