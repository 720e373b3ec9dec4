"""A model directory is written whole or not at all, whatever ends the run, and nothing that was in it gets lost."""

import dataclasses
import json
import shutil
from pathlib import Path

import pytest

from cinemae.errors import ModelDirError
from cinemae.models import bundle as bundle_module
from cinemae.models.bundle import ModelBundle
from cinemae.models.directory import READY_DIR, STARTER, read_model_config
from cinemae.models.results import Results


def content(directory: Path) -> dict[str, bytes]:
    files = (path for path in directory.rglob("*") if path.is_file())
    return {path.relative_to(directory).as_posix(): path.read_bytes() for path in files}


@pytest.fixture
def copied(tiny_model: Path, tmp_path: Path) -> Path:
    return Path(shutil.copytree(tiny_model, tmp_path / "model"))


def named(bundle: ModelBundle, name: str) -> ModelBundle:
    return dataclasses.replace(bundle, config=dataclasses.replace(bundle.config, name=name))


def test_the_starter_is_read_and_written_to_the_last_byte(tmp_path):
    ModelBundle.read(STARTER).write(tmp_path / "copy")
    assert content(tmp_path / "copy") == content(STARTER)


def test_figures_of_the_starter_are_typed_and_nothing_is_lost():
    values = json.loads((STARTER / "results.json").read_text())
    found = Results.from_dict(values)
    assert json.loads(json.dumps(found.to_dict())) == values
    assert found.training is not None
    assert found.training.auc.value == values["auc"]["value"]
    assert found.training.tpr_at_fpr_1_percent.n == values["tpr_at_fpr_0.01"]["n"]


def test_a_change_in_place_touches_only_what_changed(copied):
    before = {path: path.stat().st_ino for path in copied.rglob("*") if path.is_file()}
    named(ModelBundle.read(copied), "other").write(copied)
    assert read_model_config(copied).name == "other"
    changed = [path.name for path, inode in before.items() if path.stat().st_ino != inode]
    assert changed == ["config.json"]


@pytest.mark.parametrize("in_place", [True, False])
def test_what_fails_before_it_is_whole_changes_nothing(copied, tmp_path, in_place):
    before, target = content(copied), copied if in_place else tmp_path / "new"

    def fail(folder: Path) -> None:
        (folder / "model.onnx").write_bytes(b"half of a graph")
        raise OSError("disk full")

    with pytest.raises(OSError, match="disk full"):
        named(ModelBundle.read(copied), "other").write(target, add=fail)
    assert content(copied) == before
    assert in_place or not any(target.iterdir())


def test_a_run_killed_after_it_was_whole_is_finished_by_whoever_opens_the_model(copied, monkeypatch):
    """All new, never half: the files wait in one folder, and the next to read moves them."""
    bundle = named(ModelBundle.read(copied), "other").changed(without=("model.onnx",), files={"README.md": b"new"})
    with monkeypatch.context() as patch:
        calls = iter([lambda directory: None, lambda directory: (_ for _ in ()).throw(KeyboardInterrupt)])
        patch.setattr(bundle_module, "finish_writing", lambda directory: next(calls)(directory))
        with pytest.raises(KeyboardInterrupt):
            bundle.write(copied)
    assert json.loads((copied / "config.json").read_text())["name"] == "tiny"
    assert (copied / READY_DIR).is_dir()
    assert read_model_config(copied).name == "other"
    assert (copied / "README.md").read_bytes() == b"new"
    assert not (copied / "model.onnx").exists()
    assert not (copied / READY_DIR).exists()


def test_a_run_killed_before_it_was_whole_leaves_nothing_that_stays(copied):
    (copied / ".cinemae-writing-abc").mkdir()
    (copied / ".cinemae-writing-abc" / "config.json").write_text("{half of it")
    assert ".cinemae-writing-abc/config.json" not in ModelBundle.read(copied).files
    named(ModelBundle.read(copied), "other").write(copied)
    assert not [path for path in copied.iterdir() if path.name.startswith(".")]


def test_files_of_another_model_go_and_those_of_nobody_stay(copied, tmp_path):
    for name in ("model.int8.onnx", "model.int8.0123456789ab.data", "calibration.json", "notes.txt"):
        (copied / name).write_text("of before")
    fresh = ModelBundle(read_model_config(copied), files={"head.safetensors": copied / "head.safetensors"})
    fresh.write(copied)
    names = {path.relative_to(copied).as_posix() for path in copied.rglob("*") if path.is_file()}
    assert names == {"config.json", "head.safetensors", "notes.txt"}


def test_what_other_programs_read_of_the_settings_stays(copied):
    config = json.loads((copied / "config.json").read_text())
    (copied / "config.json").write_text(json.dumps({**config, "model_type": "cinemae"}))
    named(ModelBundle.read(copied), "other").write(copied)
    assert json.loads((copied / "config.json").read_text())["model_type"] == "cinemae"


@pytest.mark.parametrize(
    ("text", "sentence"),
    [
        ("{", r"results\.json cannot be used: "),
        ("[]", r"results\.json must hold one JSON object, it holds a list"),
        ('{"int8": {"model": 3}}', r"results\.json cannot be used \(.*\$\.int8.*\): restore it, or delete it"),
    ],
)
def test_figures_that_cannot_be_read_are_named(copied, text, sentence):
    (copied / "results.json").write_text(text)
    with pytest.raises(ModelDirError, match=sentence):
        ModelBundle.read(copied)
