"""`cinemae fit` from folders to a verdict, with a quick model to begin with."""

from __future__ import annotations

import json
import shutil
from collections.abc import Iterator
from pathlib import Path

import pytest
from PIL import Image
from sklearn.ensemble import RandomForestClassifier
from tests.cli.in_process import invoke
from typer.testing import Result

from cinemae.statistics.plot_style import new_figure

pytestmark = pytest.mark.usefixtures("one_thread")


@pytest.fixture(scope="module")
def images(tmp_path_factory, picture) -> Path:
    """Sixty photographs from two cameras and sixty reddish pictures of two generators."""
    root = tmp_path_factory.mktemp("images")
    for start, name in ((0, "photos/phone"), (1000, "photos/dslr"), (2000, "made/gan"), (3000, "made/ldm")):
        (root / name).mkdir(parents=True)
        for index in range(30):
            drawn = picture(start + index, 40, 40)
            if name.startswith("made"):
                drawn = Image.blend(drawn, Image.new("RGB", drawn.size, "red"), 0.5)
            drawn.save(root / name / f"{index}.png")
    return root


@pytest.fixture(scope="module")
def base(tiny_model, tmp_path_factory) -> Iterator[Path]:
    """A quick model to begin with, which stands in for the bundled one too; small forests, and no plot of training."""
    folder = shutil.copytree(tiny_model, tmp_path_factory.mktemp("base") / "tiny")
    config = json.loads((folder / "config.json").read_text())
    config["provenance"]["train"] = {"learning_rate": 0.003, "epochs": 8, "num_seeds": 1}
    (folder / "config.json").write_text(json.dumps(config))
    with pytest.MonkeyPatch.context() as patch:
        for module in ("fit", "compare"):
            patch.setattr(f"cinemae.fit.{module}.STARTER", folder)
        patch.setattr("cinemae.training.build_model.plot_history", lambda history: new_figure(1, 1))
        patch.setattr(
            "cinemae.statistics.format_probe._forest", lambda seed: RandomForestClassifier(5, random_state=seed)
        )
        yield folder


@pytest.fixture(scope="module")
def fitted(images, base, tmp_path_factory) -> tuple[Path, Result]:
    out = tmp_path_factory.mktemp("fitted") / "mine"
    return out, invoke("fit", "--real", images / "photos", "--fake", images / "made", "--out", out, "--model", base)


def test_the_end_says_what_was_done_how_good_it_is_and_what_comes_next(fitted):
    out, result = fitted
    assert result.exit_code == 0, result.output
    text = result.stdout
    assert text.startswith(f"{out}: mine@")
    assert "photographs: a random part of each source's images held out (dslr, phone); 45 to train on, 15 to" in text
    assert f"features: 120 images looked at, 0 known from before; kept in {out}.work\n" in text
    assert "  AUC 1.000 [1.000, 1.000]\n" in text
    assert "\n  worst generator " in text
    assert "0 of 15 photographs (0.0 % [0.0, 20.4]) are called AI-generated" in text
    assert "yours is better here" in text
    assert "container, size and JPEG quality alone: AUC 0.500" in text
    assert "say nothing of generators and cameras that are not in your folders" in text
    assert "\nwarning: a threshold for 2 % false accusations takes 50 held-out photographs, there are 15" in text
    assert text.endswith(f"every figure: {out / 'README.md'}\nnext: cinemae detect photo.jpg --model {out}\n")


def test_the_next_command_works(fitted, images):
    out, _ = fitted
    result = invoke("detect", images / "made" / "gan" / "0.png", "--model", out, "--format", "jsonl")
    assert result.exit_code == 0, result.output
    assert json.loads(result.stdout)["prob_fake"] > 0.5


def test_the_calibration_lies_in_the_model(fitted):
    out, _ = fitted
    assert json.loads((out / "calibration.json").read_text())
    card = (out / "README.md").read_text()
    assert "## Before you trust it" in card
    assert "## Calibration" in card


def test_json_and_an_unreadable_file(fitted, images, base, tmp_path, no_graph):
    more = shutil.copytree(images / "photos", tmp_path / "photos")
    (more / "phone" / "torn.png").write_text("not a picture")
    arguments = ("--real", more, "--fake", images / "made", "--model", base, "--work", fitted[0].with_name("mine.work"))
    result = invoke("fit", *arguments, "--out", tmp_path / "m", "--json", "--split", "groups", "--name", "two")
    assert result.exit_code == 1, result.output
    values = json.loads(result.stdout)
    assert (values["num_reused"], values["num_extracted"]) == (120, 0)
    assert values["model_id"].startswith("two@")
    assert [split["kind"] for split in values["splits"]] == ["groups", "groups"]
    assert [Path(row["path"]).name for row in values["unread"]] == ["torn.png"]
    again = invoke("fit", *arguments, "--out", tmp_path / "m")
    assert again.exit_code == 1
    assert f"{more / 'phone' / 'torn.png'}: an image must be one of JPEG" in again.stdout
    assert "warning: files left out as they could not be read: 1." in again.stdout


@pytest.mark.parametrize(
    ("change", "sentence"),
    [
        (("--fake", "made/gan"), "there are 60 photographs and 30 generated images: add more, or use a model"),
        (("--fake", "photos"), "60 files were given as both"),
        (("--fake", "nowhere"), "there is no folder, glob"),
        (("--fake", "made", "--split", "hair"), 'split_by must be "auto", "groups" or "images"'),
        (("--fake", "made", "--backbone", "b"), "give --model or --backbone, not both"),
    ],
)
def test_what_cannot_be_fitted_is_one_line_and_exit_code_two(images, base, tmp_path, change, sentence, monkeypatch):
    monkeypatch.chdir(images)
    result = invoke("fit", "--real", "photos", *change, "--out", tmp_path / "m", "--model", base)
    assert result.exit_code == 2
    assert sentence in result.stderr
    assert result.stderr.count("\n") == 1
    assert not list(tmp_path.iterdir())


def test_one_class_alone_is_wrong_usage(images, tmp_path):
    result = invoke("fit", "--real", images / "photos", "--out", tmp_path / "m")
    assert result.exit_code == 2
    assert "--fake" in result.stderr
