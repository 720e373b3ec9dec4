"""``--preset paper`` on every command that extracts or trains, and the options that win beside it."""

from __future__ import annotations

import json
from pathlib import Path

import pytest
from tests.cli.in_process import invoke

from cinemae.config import ExtractorConfig, GlobalFeatureConfig, HeadConfig, ImageConfig, LcasConfig, TrainConfig
from cinemae.models.directory import read_model_config
from cinemae.preset import PAPER
from cinemae.stores.features import FeatureStore

pytestmark = pytest.mark.usefixtures("one_thread", "no_graph")


@pytest.fixture(scope="module")
def departing(tiny_model: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A model that looks at five views and takes more than [CLS]."""
    folder = tmp_path_factory.mktemp("departing") / "model"
    folder.mkdir()
    for name in ("backbone", "head.safetensors"):
        (folder / name).symlink_to(tiny_model / name)
    config = json.loads((tiny_model / "config.json").read_text())
    image = ImageConfig(size=32, resize_to=37, views="five")
    extractor = ExtractorConfig(image=image, global_feature=GlobalFeatureConfig(token_statistics=("cls", "mean")))
    config["extractor"] = extractor.to_dict()
    config.pop("fingerprint")
    (folder / "config.json").write_text(json.dumps(config))
    return folder


@pytest.fixture(scope="module")
def stores(splits: Path, departing: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    root = tmp_path_factory.mktemp("stores")
    paper = ("--preset", "paper")
    for name, split, options in (("paper", "train", paper), ("val", "val", paper), ("other", "train", ())):
        result = invoke("extract", splits / split, "--out", root / name, "--model", departing, *options)
        assert result.exit_code == 0, result.output
    return root


def trained(store: Path, departing: Path, out: Path, *options: str):
    val = store.with_name("val")
    return invoke("train", store, "--val", val, "--out", out, "--backbone", departing / "backbone", *options)


def test_features_are_those_of_the_paper_whatever_the_model(stores: Path):
    assert FeatureStore.open(stores / "paper").config == PAPER.extractor(32)
    assert FeatureStore.open(stores / "other").config.image.views == "five"


def test_what_is_given_beside_it_wins_in_extraction(splits: Path, departing: Path, tmp_path: Path):
    options = ("--preset", "paper", "--num-passes", "3")
    assert invoke("extract", splits / "val", "--out", tmp_path, "--model", departing, *options).exit_code == 0
    config = FeatureStore.open(tmp_path).config
    assert (config.mask.num_passes, config.image) == (3, PAPER.extractor(32).image)


def test_a_head_is_trained_by_the_paper_and_says_so(stores: Path, departing: Path, tmp_path: Path):
    out = tmp_path / "model"
    result = trained(stores / "paper", departing, out, "--preset", "paper")
    assert result.exit_code == 0, result.output
    config = read_model_config(out)
    assert config.lcas == PAPER.lcas
    assert config.head == HeadConfig(
        standardize_statistics=False, standardize_global=False, global_dim=config.head.global_dim
    )
    assert TrainConfig.from_dict(config.provenance["train"]) == PAPER.train
    assert config.provenance["preset"] == {"name": "paper", "beside_it": {}}
    assert "\n* training by the preset paper\n" in (out / "README.md").read_text()


def test_threshold_one_half_stands_beside_the_chosen_one(stores: Path, departing: Path, tmp_path: Path):
    out = tmp_path / "model"
    result = trained(stores / "paper", departing, out, "--preset", "paper", "--epochs", "2")
    assert result.exit_code == 0, result.output
    results = json.loads((out / "results.json").read_text())
    half = results["at_half"]["balanced_accuracy"]["value"]
    (last,) = [line for line in results["history"] if (line["seed"], line["epoch"]) == (0, 2)]
    assert half == pytest.approx(last["val_accuracy"])
    right = 1 - results["at_half"]["false_positive_rate"]["value"], results["at_half"]["called_ai"]["value"]
    assert half == pytest.approx(sum(right) / 2)
    assert f"balanced accuracy at 0.5 of the probability before calibration: {half:.3f} [" in result.stdout
    assert f"where papers mostly judge: balanced accuracy {half:.3f} [" in (out / "README.md").read_text()


def test_what_is_given_beside_it_wins_in_training_even_at_our_default(stores: Path, departing: Path, tmp_path: Path):
    out = tmp_path / "model"
    beside = ("--reduction", "mean", "--epochs", "2", "--standardize-global", "--name", "mine")
    result = trained(stores / "paper", departing, out, "--preset", "paper", *beside)
    assert result.exit_code == 0, result.output
    config = read_model_config(out)
    assert config.lcas == LcasConfig(reduction="mean")
    assert (config.head.standardize_global, config.head.standardize_statistics) == (True, False)
    assert (config.provenance["train"]["epochs"], config.provenance["train"]["class_balance"]) == (2, "none")
    told = {"epochs": 2, "reduction": "mean", "standardize_global": True}
    assert config.provenance["preset"]["beside_it"] == told
    words = "* training by the preset paper; set beside it: epochs 2, reduction mean, standardize_global True"
    assert words in (out / "README.md").read_text()


def test_without_it_the_defaults_are_ours(stores: Path, departing: Path, tmp_path: Path):
    result = trained(stores / "paper", departing, tmp_path / "model", "--epochs", "2")
    assert result.exit_code == 0, result.output
    config = read_model_config(tmp_path / "model")
    assert (config.lcas, config.provenance["train"]["class_balance"]) == (LcasConfig(), "class")
    assert "preset" not in config.provenance


def test_a_store_of_another_frozen_half_is_refused(stores: Path, departing: Path, tmp_path: Path):
    result = trained(stores / "other", departing, tmp_path / "model", "--preset", "paper")
    assert result.exit_code == 2
    assert f"{stores / 'other'} has, with the paper's value in brackets, image.views 'five' ('center')" in result.stderr
    assert result.stderr.count("\n") == 1
    assert not (tmp_path / "model").exists()


def test_another_preset_is_wrong_usage(stores: Path, departing: Path, tmp_path: Path):
    result = trained(stores / "paper", departing, tmp_path / "model", "--preset", "ours")
    assert result.exit_code == 2
    assert "--preset" in result.stderr


@pytest.mark.slow
def test_fine_tuning_takes_the_papers_pictures(splits: Path, departing: Path, tmp_path: Path):
    result = invoke(
        "train", splits / "train", "--val", splits / "val", "--out", tmp_path / "model", "--model", departing,
        "--unfreeze", "none", "--preset", "paper", "--epochs", "1", "--device", "cpu",
    )  # fmt: skip
    assert result.exit_code == 0, result.output
    config = read_model_config(tmp_path / "model")
    assert config.extractor == PAPER.extractor(32)
    assert (config.lcas, config.head.standardize_global) == (PAPER.lcas, False)
    train = TrainConfig.from_dict(config.provenance["train"])
    assert (train.class_balance, train.num_seeds) == ("none", 1)
