"""The long way round: extract, train, detect; and pretrain. Small numbers, real files."""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
from tests.cli.in_process import invoke


@pytest.fixture(scope="module")
def stores(splits: Path, tiny_model: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    root = tmp_path_factory.mktemp("stores")
    for split in ("train", "val"):
        result = invoke("extract", splits / split, "--out", root / split, "--model", tiny_model)
        assert result.exit_code == 0, result.output
        assert "12 images, 0 of them could not be read" in result.stdout
    return root


def assert_both_engines_agree(model: Path, images: Path) -> None:
    """Score twelve images with the graph, take it away, and score them with torch."""
    with_onnx = invoke("detect", images, "--model", model, "--format", "jsonl")
    assert with_onnx.exit_code == 0
    (model / "model.onnx").unlink()
    with_torch = invoke("detect", images, "--model", model, "--format", "jsonl")
    scores = [[json.loads(line)["prob_fake"] for line in run.stdout.splitlines()] for run in (with_onnx, with_torch)]
    np.testing.assert_allclose(scores[0], scores[1], atol=1e-5)
    assert len(scores[0]) == 12


def test_stores_to_model_to_verdicts(stores: Path, splits: Path, tiny_model: Path, tmp_path: Path):
    model = tmp_path / "model"
    result = invoke(
        "train", stores / "train", "--val", stores / "val", "--out", model, "--backbone", tiny_model / "backbone",
        "--epochs", "2", "--num-seeds", "2", "--name", "demo", "--agg-hidden", "8", "--cls-hidden", "8",
    )  # fmt: skip
    assert result.exit_code == 0, result.output
    assert "validation AUC" in result.stdout
    assert json.loads((model / "config.json").read_text())["provenance"]["train"]["epochs"] == 2

    assert_both_engines_agree(model, splits / "val")
    assert "demo@" in invoke("info", "--model", model).stdout


@pytest.mark.usefixtures("no_graph")
def test_a_head_is_built_as_told(stores: Path, tiny_model: Path, tmp_path: Path):
    result = invoke(
        "train", stores / "train", "--val", stores / "val", "--out", tmp_path, "--backbone", tiny_model / "backbone",
        "--epochs", "1", "--num-seeds", "1", "--cls-hidden", "8,4", "--statistics", "overall",
    )  # fmt: skip
    assert result.exit_code == 0, result.output
    head = json.loads((tmp_path / "config.json").read_text())["head"]
    assert (head["cls_hidden"], head["statistics"]) == ([8, 4], ["overall"])


@pytest.mark.slow
def test_tiles_and_altered_copies_to_model_to_verdicts(splits: Path, tiny_model: Path, tmp_path: Path):
    backbone = ("--backbone", tiny_model / "backbone")
    tiles = (*backbone, "--views", "tiles", "--resize-to", "64")
    for split, out, more in (("train", "train", ()), ("train", "copies", ("--augment-seed", "1")), ("val", "val", ())):
        result = invoke("extract", splits / split, "--out", tmp_path / out, *tiles, *more)
        assert result.exit_code == 0, result.output
    model = tmp_path / "model"
    result = invoke(
        "train", tmp_path / "train", tmp_path / "copies", "--val", tmp_path / "val", "--out", model, *backbone,
        "--epochs", "2", "--num-seeds", "1", "--view-pooling", "mean_std", "--views-drawn", "3",
    )  # fmt: skip
    assert result.exit_code == 0, result.output
    config = json.loads((model / "config.json").read_text())
    assert config["head"]["view_pooling"] == "mean_std"
    assert config["head"]["global_dim"] == 2 * config["backbone"]["hidden_size"]
    assert config["provenance"]["train"]["views_drawn"] == 3
    assert "altered" in (model / "README.md").read_text()
    assert_both_engines_agree(model, splits / "val")


def test_extract_goes_on_and_reports_failures(splits: Path, tiny_model: Path, tmp_path: Path):
    (tmp_path / "data" / "real").mkdir(parents=True)
    (tmp_path / "data" / "real" / "a.png").write_bytes(b"no picture")
    (tmp_path / "data" / "real" / "b.png").write_bytes((splits / "val/real/camera/0.png").read_bytes())
    arguments = ("extract", tmp_path / "data", "--out", tmp_path / "store", "--backbone", tiny_model / "backbone")
    first = invoke(*arguments, "--resize-to", "40", "--num-passes", "3")
    assert first.exit_code == 1, first.output
    assert "2 images, 1 of them could not be read; 1 shards (0 from an earlier run)" in first.stdout
    assert "(1 from an earlier run)" in invoke(*arguments, "--resize-to", "40", "--num-passes", "3").stdout
    other = invoke(*arguments, "--resize-to", "44", "--num-passes", "3")
    assert other.exit_code == 2
    assert other.stderr.count("error: ") == 1


def test_extract_takes_a_model_or_a_backbone(splits: Path, tiny_model: Path, tmp_path: Path):
    result = invoke("extract", splits, "--out", tmp_path, "--model", tiny_model, "--backbone", tiny_model / "backbone")
    assert result.exit_code == 2
    assert "give --model or --backbone, not both" in result.stderr


@pytest.mark.parametrize(
    ("option", "value", "sentence"),
    [
        ("--fusion", "multiply", 'fusion must be "add", "concat" or "gate"'),
        ("--cls-hidden", "wide", "a list of whole numbers such as 256,64, got 'wide'"),
        ("--epochs", "0", "epochs must be at least 1"),
        ("--val-generators", "nobody", "no generator nobody in the store"),
        ("--statistics", "mood", "statistics must be among"),
    ],
)
def test_train_refuses_by_name(stores: Path, tiny_model: Path, tmp_path: Path, option: str, value: str, sentence: str):
    backbone = tiny_model / "backbone"
    result = invoke("train", stores / "train", "--out", tmp_path / "m", "--backbone", backbone, option, value)
    assert result.exit_code == 2
    assert sentence in result.stderr


def test_pretrain_by_steps(splits: Path, tmp_path: Path):
    text = "--image-size 32 --patch-size 8 --hidden-size 16 --num-layers 1 --num-heads 2 --batch-size 4 "
    small = (text + "--decoder-hidden-size 16 --decoder-num-layers 1 --decoder-num-heads 2").split()
    out = tmp_path / "backbone"
    result = invoke("pretrain", splits / "train", "--out", out, "--steps", "3", *small)
    assert result.exit_code == 0, result.output
    assert "step 3" in result.stdout
    assert (out / "model.safetensors").exists()
    for budget in ([], ["--steps", "3", "--hours", "1"]):
        result = invoke("pretrain", splits / "train", "--out", out, *budget, *small)
        assert result.exit_code == 2
        assert "exactly one budget" in result.stderr


@pytest.mark.slow
def test_dinov2_to_backbone_to_model_to_verdicts_and_maps(splits: Path, tmp_path: Path):
    """Patches of 14, a frozen encoder with a decoder trained for it, [CLS] of two layers: the whole stack."""
    import torch
    from transformers import Dinov2Config, Dinov2Model

    torch.manual_seed(0)
    sizes = {"hidden_size": 32, "num_hidden_layers": 3, "num_attention_heads": 2}
    Dinov2Model(Dinov2Config(**sizes, image_size=84, patch_size=14)).save_pretrained(tmp_path / "dinov2")
    encoder, backbone, model = tmp_path / "encoder", tmp_path / "backbone", tmp_path / "model"
    result = invoke("backbone", "convert", tmp_path / "dinov2", "--out", encoder, "--image-size", "112")
    assert result.exit_code == 0, result.output
    assert "3 layers of width 32, 8x8 patches of 14 pixels" in result.stdout
    refused = invoke("extract", splits, "--out", tmp_path / "none", "--backbone", encoder)
    assert refused.exit_code == 2
    assert "train a decoder with cinemae pretrain --encoder" in refused.stderr

    small = [
        "--steps",
        "2",
        "--batch-size",
        "4",
        "--decoder-hidden-size",
        "16",
        "--decoder-num-layers",
        "1",
        "--decoder-num-heads",
        "2",
    ]
    result = invoke(
        "pretrain",
        splits,
        "--out",
        backbone,
        "--encoder",
        encoder,
        "--freeze-encoder",
        "--decoder-num-heads",
        "2",
        *small,
    )
    assert result.exit_code == 0, result.output
    for split in ("train", "val"):
        choice = ("--backbone", backbone, "--cls-layers", "1,3")
        result = invoke("extract", splits / split, "--out", tmp_path / split, *choice)
        assert result.exit_code == 0, result.output
    result = invoke(
        "train", tmp_path / "train", "--val", tmp_path / "val", "--out", model, "--backbone", backbone,
        "--epochs", "2", "--num-seeds", "1",
    )  # fmt: skip
    assert result.exit_code == 0, result.output
    config = json.loads((model / "config.json").read_text())
    assert (config["head"]["global_dim"], config["backbone"]["num_patches"]) == (64, 64)
    assert config["extractor"]["global_feature"] == {"cls_layers": [1, 3]}
    assert "global feature: [CLS] of layers 1, 3" in (model / "README.md").read_text()
    assert "64 patches of 14 pixels" in (shown := invoke("info", "--model", model).stdout)
    assert "global feature (layers 1, 3)" in shown

    maps = ("--heatmap", tmp_path / "maps")
    assert invoke("detect", splits / "val/real/camera/0.png", "--model", model, *maps).exit_code == 0
    assert len(list((tmp_path / "maps").rglob("*.png"))) == 1
    assert_both_engines_agree(model, splits / "val")


@pytest.mark.parametrize(
    ("command", "package"),
    [("extract x --out y", "pyarrow"), ("extract x --out y", "torch"), ("export x", "onnx")],
)
def test_a_missing_extra_is_one_line_with_the_cure(tmp_path: Path, picture, command: str, package: str):
    (tmp_path / "x").mkdir()
    picture(0).save(tmp_path / "x" / "a.png")
    code = f"import sys; sys.modules[{package!r}] = None\nfrom cinemae.app.cli import main\nmain()"
    result = subprocess.run(
        [sys.executable, "-c", code, *command.split()], capture_output=True, text=True, cwd=tmp_path, check=False
    )
    assert result.returncode == 2
    assert result.stderr.count("\n") == 1
    assert "pip install 'cinemae[" in result.stderr
    assert package in result.stderr
