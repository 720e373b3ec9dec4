"""``cinemae train --unfreeze``: images to verdicts, to the history of the NLL, and to one-line errors."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import pytest
from tests.cli.in_process import invoke

pytestmark = [pytest.mark.slow, pytest.mark.usefixtures("one_thread")]
SMALL = ("--epochs", "2", "--batch-size", "8", "--agg-hidden", "8", "--cls-hidden", "8", "--device", "cpu")


@pytest.fixture(scope="module")
def store(splits: Path, tiny_model: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("stores") / "store"
    assert invoke("extract", splits / "val", "--out", folder, "--model", tiny_model).exit_code == 0
    return folder


def test_images_to_model_to_verdicts(splits: Path, tiny_model: Path, tmp_path: Path):
    (tmp_path / "more" / "fake" / "gan").mkdir(parents=True)
    (tmp_path / "more" / "fake" / "gan" / "broken.png").write_bytes(b"no picture")
    model = tmp_path / "model"
    result = invoke(
        "train", splits / "train", tmp_path / "more", "--val", splits / "val", "--out", model, "--model", tiny_model,
        "--unfreeze", "both", "--backbone-learning-rate", "0.001", "--masks", "fresh", "--name", "tuned",
        "--num-seeds", "2", *SMALL,
    )  # fmt: skip
    assert result.exit_code == 1, result.output
    assert f"{model}: validation AUC" in result.stdout
    assert "over 2 seeds" in result.stdout
    assert f"1 images could not be read: {model / 'unreadable.txt'}" in result.stdout
    config = json.loads((model / "config.json").read_text())
    assert config["name"] == "tuned"
    assert config["provenance"]["finetune"]["unfreeze"] == "both"
    assert config["provenance"]["finetune"]["masks"] == "fresh"
    assert config["provenance"]["finetune"]["backbone_learning_rate"] == 0.001
    start = json.loads((tiny_model / "config.json").read_text())
    assert config["backbone"]["content_hash"] != start["backbone"]["content_hash"]
    assert config["extractor"] == start["extractor"]
    assert len(json.loads((model / "results.json").read_text())["history"]) == 4

    with_onnx = invoke("detect", splits / "val", "--model", model, "--format", "jsonl")
    (model / "model.onnx").unlink()
    with_torch = invoke("detect", splits / "val", "--model", model, "--format", "jsonl")
    scores = [[json.loads(line)["prob_fake"] for line in run.stdout.splitlines()] for run in (with_onnx, with_torch)]
    assert len(scores[0]) == 12
    np.testing.assert_allclose(scores[0], scores[1], atol=1e-5)


def test_a_bare_backbone_to_the_history_of_its_nll(splits: Path, tiny_model: Path, tmp_path: Path):
    result = invoke(
        "train", splits / "train", "--val", splits / "val", "--out", tmp_path, "--backbone", tiny_model / "backbone",
        "--unfreeze", "decoder", "--objective", "reconstruction", "--measure-every", "2", "--max-steps", "3",
        "--reconstructed", "real", *SMALL, "--epochs", "9",
    )  # fmt: skip
    assert result.exit_code == 0, result.output
    written = json.loads((tmp_path / "nll.json").read_text())
    assert [line["step"] for line in written["history"]] == [0, 2, 3]
    assert written["trained_on"] == 6
    assert written["extractor"]["image"]["resize_to"] == 37
    for name, group in written["history"][-1]["groups"].items():
        before = written["history"][0]["groups"][name]["value"]
        line = f"  {name}: {before:.2f} at step 0, {group['value']:.2f} at step 3 (n = 6)"
        assert line in result.stdout.splitlines()
    assert {path.name for path in tmp_path.iterdir()} == {"nll.json", "nll.png", "backbone"}


@pytest.mark.parametrize(
    ("options", "sentence"),
    [
        ([], "needs images to validate on, of their own: name them with --val"),
        (["--val", "{store}"], "--unfreeze trains from images, and {store} is a feature store: give the images"),
        (["--val", "{val}", "--val-generators", "gan"], "splits stores: with --unfreeze name the validation images"),
        (["--val", "{val}/real"], "the validation set needs photographs and generated images, at least two of each"),
        (["--val", "{train}"], "12 of the validation images are in the training set as well"),
        (["--val", "{val}", "--backbone", "x"], "give --model or --backbone, not both"),
        (["--val", "{val}", "--masks", "loose"], 'masks must be "fixed" or "fresh", got \'loose\''),
        (["--val", "{val}", "--statistics", "none"], "the decoder reaches the head through the statistics alone"),
        (["--val", "{val}", "--num-seeds", "0"], "num_seeds must be at least 1, got 0"),
        (["--val", "nowhere"], "there is no folder, glob"),
    ],
)
def test_refuses_by_name(
    splits: Path, store: Path, tiny_model: Path, tmp_path: Path, options: list[str], sentence: str
):
    places = {"store": store, "val": splits / "val", "train": splits / "train"}
    options = [option.format(**places) for option in options]
    result = invoke(
        "train",
        splits / "train",
        "--out",
        tmp_path / "m",
        "--model",
        tiny_model,
        "--unfreeze",
        "both",
        *SMALL,
        *options,
    )
    assert result.exit_code == 2
    assert sentence.format(**places) in result.stderr
    assert result.stderr.count("\n") == 1
    assert not (tmp_path / "m").exists()


def test_a_store_to_train_on_where_images_are_needed(splits: Path, store: Path, tiny_model: Path, tmp_path: Path):
    result = invoke("train", store, "--val", splits / "val", "--out", tmp_path / "m", "--unfreeze", "both")
    assert result.exit_code == 2
    assert f"--unfreeze trains from images, and {store} is a feature store" in result.stderr


def test_images_where_a_store_is_needed(splits: Path, store: Path, tmp_path: Path):
    for sources in ([splits / "train"], [store, "--val", splits / "val"]):
        result = invoke("train", *sources, "--out", tmp_path / "m")
        assert result.exit_code == 2
        assert "a head is trained on feature stores, and" in result.stderr
        assert "or train from the images with --unfreeze" in result.stderr
    assert f"a feature store is a folder with a store.json, {tmp_path / 'no'} has none" in (
        invoke("train", tmp_path / "no", "--out", tmp_path / "m").stderr
    )


def test_options_of_fine_tuning_without_it(store: Path, tmp_path: Path):
    result = invoke("train", store, "--out", tmp_path / "m", "--masks", "fresh", "--max-steps", "3", "--device", "cpu")
    assert result.exit_code == 2
    assert "--masks, --max-steps, --device belongs to training from images: give --unfreeze" in result.stderr
