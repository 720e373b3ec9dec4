"""Links to folders that lead out of the folder named: left alone and told of, entered with ``--follow-links``."""

from __future__ import annotations

import os
from pathlib import Path

import pytest
from tests.cli.in_process import invoke

from cinemae.app.cli import app

_SIZES = (
    "--image-size 32 --patch-size 8 --hidden-size 16 --num-layers 1 --num-heads 2 --batch-size 4 "
    "--decoder-hidden-size 16 --decoder-num-layers 1 --decoder-num-heads 2 --steps 1"
)
_TINY = _SIZES.split()


@pytest.fixture
def linked(tmp_path: Path, picture) -> Path:
    """A data set with one picture of each class, whose other folders lie elsewhere: two photographs, two fakes."""
    root = tmp_path / "set"
    for number, (label, group) in enumerate((("real", "camera"), ("fake", "gen"))):
        (root / label).mkdir(parents=True)
        picture(10 * number).save(root / label / "own.png")
        (tmp_path / "elsewhere" / group).mkdir(parents=True)
        for index in (1, 2):
            picture(10 * number + index).save(tmp_path / "elsewhere" / group / f"{index}.png")
        (root / label / group).symlink_to(tmp_path / "elsewhere" / group, target_is_directory=True)
    return root


def test_every_command_that_takes_folders_of_images_has_the_option():
    from typer.main import get_command

    group = get_command(app)
    commands = {
        **group.commands,
        **{f"data {name}": command for name, command in group.commands["data"].commands.items()},
    }
    having = {
        name for name, command in commands.items() if "--follow-links" in {o for p in command.params for o in p.opts}
    }
    assert having == {
        *("detect", "extract", "evaluate", "fit", "calibrate", "pretrain", "train", "reproduce", "export"),
        *("data check", "data align", "data manifest"),
    }


@pytest.mark.parametrize("follow", [False, True])
def test_data_manifest_and_align(linked: Path, tmp_path: Path, follow: bool):
    flag = ["--follow-links"] if follow else []
    listed = invoke("data", "manifest", linked, "--out", linked / "m.csv", *flag)
    assert listed.exit_code == 0
    assert f"m.csv: {6 if follow else 2} files, 0 left out" in listed.stdout
    assert ("2 links to folders outside not followed" in listed.stdout) != follow
    aligned = invoke("data", "align", linked, tmp_path / "out", "--size", "16", *flag)
    assert len(list((tmp_path / "out").rglob("*.jpg"))) == (6 if follow else 2)
    assert ("2 links to folders outside not followed" in aligned.stdout) != follow


@pytest.mark.parametrize("follow", [False, True])
def test_data_check(linked: Path, tmp_path: Path, follow: bool):
    import json

    result = invoke("data", "check", linked, "--json", tmp_path / "r.json", *(["--follow-links"] if follow else []))
    assert ("Links that lead out" in result.stdout) != follow
    report = json.loads((tmp_path / "r.json").read_text())
    assert (report["num_files"], report["options"]["follow_links"]) == ((6, True) if follow else (2, False))
    assert [len(found["groups"]) for found in report["findings"] if found["check"] == "links"] == (
        [] if follow else [2]
    )


@pytest.mark.parametrize("command", ["fit", "calibrate"])
def test_fit_and_calibrate_count_what_is_behind_the_link(linked: Path, tiny_model: Path, tmp_path: Path, command: str):
    """Both refuse so few images, by their number: what is refused tells what was listed."""
    if command == "fit":
        arguments = ("fit", "--model", tiny_model, "--out", tmp_path / "m")
    else:
        arguments = ("calibrate", tiny_model, "--out", tmp_path / "m")
    arguments = (*arguments, "--real", linked / "real", "--fake", linked / "fake")
    alone, followed = invoke(*arguments), invoke(*arguments, "--follow-links")
    assert (alone.exit_code, followed.exit_code) == (2, 2)
    sentence = "there are {0} photographs and {0} generated images" if command == "fit" else "50 photographs, got {0}:"
    assert sentence.format(1) in alone.stderr
    assert sentence.format(3) in followed.stderr


def test_a_source_of_links_alone_says_so(linked: Path, tmp_path: Path):
    (linked / "real" / "own.png").unlink()
    result = invoke("fit", "--real", linked / "real", "--fake", linked / "fake", "--out", tmp_path / "m")
    assert result.exit_code == 2
    assert "1 link to a folder outside not followed" in result.stderr


def test_pretrain_follows_and_goes_on_without_what_cannot_be_listed(linked: Path, tmp_path: Path):
    arguments = ("pretrain", linked, tmp_path / "gone", *_TINY)
    alone = invoke(*arguments, "--out", tmp_path / "a")
    assert alone.exit_code == 1, alone.output
    assert "left out: there is no file, folder or glob" in alone.stderr
    assert "2 links to folders outside not followed" in alone.stdout
    followed = invoke("pretrain", linked, "--follow-links", *_TINY, "--out", tmp_path / "b")
    assert followed.exit_code == 0
    assert "not followed" not in followed.stdout
    if os.geteuid():
        (linked / "fake").chmod(0)
        try:
            assert invoke("pretrain", linked, linked / "real", *_TINY, "--out", tmp_path / "c").exit_code == 1
        finally:
            (linked / "fake").chmod(0o755)
    nothing = invoke("pretrain", tmp_path / "gone", *_TINY, "--out", tmp_path / "d")
    assert (nothing.exit_code, "there is no file" in nothing.stderr) == (2, True)
