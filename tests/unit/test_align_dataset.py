"""Both classes through the same steps: files keep their place, and no longer tell their class."""

import csv
import json
import os
import tarfile
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from cinemae.doctor.align_dataset import align_dataset, target_names
from cinemae.errors import ConfigError, SourceError
from cinemae.pictures.alignment import AlignConfig, WindowConfig, align_picture, window_picture
from cinemae.pictures.codecs import through_codec
from cinemae.pictures.file_facts import FileFacts, read_facts
from cinemae.pictures.image import load_image
from cinemae.sources.layouts import read_dataset
from cinemae.sources.records import ImageRecord
from cinemae.statistics.format_probe import FactColumns, format_probe_of

WINDOW = WindowConfig(min_side=48, max_side=64)
SIZES = ((60, 50), (48, 64), (55, 55), (64, 49))


@pytest.fixture
def biased(tmp_path, picture):
    """Photographs are JPEGs of several sizes, fakes PNGs of one, as in GenImage."""
    root = tmp_path / "in"
    for index in range(12):
        for folder, suffix, size in (("ai", "png", (56, 56)), ("nature", "JPEG", SIZES[index % 4])):
            path = root / "sdv5" / ("train" if index % 3 else "val") / folder / f"{index}.{suffix}"
            path.parent.mkdir(parents=True, exist_ok=True)
            picture(10 * index + (folder == "ai"), *size).save(path, quality=96)
    return root


def align(root, out, steps):
    return align_dataset(root, read_dataset(root), out, steps)


def probe(root):
    records = read_dataset(root).records
    facts = FactColumns.of([read_facts(record.path) for record in records])
    return format_probe_of(facts, np.array([record.label for record in records]))


def snapshot(root):
    return {path: path.read_bytes() for path in sorted(root.rglob("*")) if path.is_file()}


def pixels(path):
    return np.asarray(load_image(path).image)


@pytest.mark.parametrize("steps", [AlignConfig(size=48), WINDOW], ids=["aligned", "grommelt"])
def test_the_format_probe_falls_to_chance(biased, tmp_path, steps):
    before = snapshot(biased)
    assert probe(biased).value > 0.95
    report = align(biased, tmp_path / "out", steps)
    assert [row.status for row in report.rows] == ["aligned"] * 24
    assert probe(tmp_path / "out").value == 0.5
    assert snapshot(biased) == before


def test_folders_labels_generators_and_splits_stay(biased, tmp_path):
    out = tmp_path / "out"
    align(biased, out, AlignConfig(size=48))
    assert sorted(path.name for path in (out / "sdv5/val/nature").iterdir()) == ["0.jpg", "3.jpg", "6.jpg", "9.jpg"]
    before, after, listed = read_dataset(biased), read_dataset(out), read_dataset(out / "manifest.csv")
    assert [(each.label, each.generator) for each in after.records] == [
        (each.label, each.generator) for each in before.records
    ]
    assert after.splits == before.splits
    assert [each.label for each in listed.records] == [each.label for each in before.records]


def test_an_aligned_file_holds_what_evaluation_sees_under_aligned(biased, tmp_path):
    config = AlignConfig(size=40, jpeg_quality=80)
    align(biased, tmp_path / "out", config)
    for folder, suffix in (("ai", "png"), ("nature", "JPEG")):
        source = load_image(biased / f"sdv5/train/{folder}/1.{suffix}").image
        made = tmp_path / f"out/sdv5/train/{folder}/1.jpg"
        assert np.array_equal(pixels(made), np.asarray(align_picture(source, config)))
        assert read_facts(made).jpeg_quality == 80


def test_the_window_cuts_one_jpeg_of_each_picture_and_scales_none(biased, tmp_path):
    align(biased, tmp_path / "out", WINDOW)
    photograph = pixels(biased / "sdv5/train/nature/1.JPEG")  # 48x64: cut begins at 8 // 16 * 16 = 0
    assert np.array_equal(pixels(tmp_path / "out/sdv5/train/nature/1.png"), photograph[:48])
    fake = through_codec(load_image(biased / "sdv5/train/ai/1.png").image, "JPEG", 96)
    assert np.array_equal(pixels(tmp_path / "out/sdv5/train/ai/1.png"), np.asarray(fake)[:48, :48])


def test_the_cut_keeps_the_grid_of_the_jpeg():
    columns = np.tile(np.arange(100, dtype=np.uint8), (90, 1))
    picture = Image.fromarray(columns).convert("RGB")
    facts = FileFacts("JPEG", 100, 90, 1, 96)
    cut = np.asarray(window_picture(picture, facts, WindowConfig(min_side=60, max_side=100)))
    assert cut.shape == (60, 60, 3)
    assert cut[0, 0, 0] == 16  # (100 - 60) / 2 = 20, down to a multiple of 16


def test_what_does_not_fit_is_a_row_with_its_reason(biased, tmp_path, picture):
    nature = biased / "sdv5/train/nature"
    picture(901, 200, 60).save(nature / "wide.jpg", quality=96)
    picture(902, 60, 20).save(nature / "low.jpg", quality=96)
    picture(903, 60, 60).save(nature / "q85.jpg", quality=85)
    picture(904, 60, 60).save(nature / "web.webp")
    (nature / "empty.jpg").touch()
    whole = (nature / "1.JPEG").read_bytes()
    (nature / "cut.jpg").write_bytes(whole[: len(whole) // 2])
    report = align(biased, tmp_path / "out", WINDOW)
    with (tmp_path / "out/alignment.csv").open(newline="", encoding="utf-8") as file:
        rows = {Path(row["path"]).name: row for row in csv.DictReader(file)}
    assert len(rows) == len(report.rows) == 24 + 6
    told = {name: (rows[name]["status"], rows[name]["reason"]) for name in ("wide.jpg", "low.jpg", "q85.jpg")}
    assert told == {
        "wide.jpg": ("left_out", "a side above 64 pixels"),
        "low.jpg": ("left_out", "a side below 48 pixels"),
        "q85.jpg": ("left_out", "JPEG quality 85, not 96"),
    }
    assert rows["web.webp"]["reason"] == "WEBP, neither JPEG nor lossless"
    assert rows["empty.jpg"]["status"] == rows["cut.jpg"]["status"] == "unreadable"
    assert "is empty (0 bytes)" in rows["empty.jpg"]["reason"]
    assert report.reasons()["JPEG quality 85, not 96"] == (1, 0)
    assert report.counts()[0] == {"aligned": 12, "left_out": 4, "unreadable": 2}
    assert rows["1.JPEG"]["steps"] == "its own JPEG 96; square 48; PNG"
    assert not (tmp_path / "out/sdv5/train/nature/q85.png").exists()


def test_a_generator_that_comes_out_empty_is_named(biased, tmp_path, picture):
    (biased / "adm/train/ai").mkdir(parents=True)
    picture(1, 20, 20).save(biased / "adm/train/ai/x.png")
    assert align(biased, tmp_path / "out", WINDOW).emptied_generators() == ["ADM"]


def test_a_second_run_goes_on_and_gives_the_same_files(biased, tmp_path):
    out = tmp_path / "out"
    align(biased, out, AlignConfig(size=48))
    first = snapshot(out)
    lost, kept = out / "sdv5/train/ai/1.jpg", out / "sdv5/train/ai/2.jpg"
    lost.unlink()
    time = kept.stat().st_mtime_ns
    align(biased, out, AlignConfig(size=48))
    assert snapshot(out) == first
    assert kept.stat().st_mtime_ns == time  # not made again


def test_other_steps_need_another_folder(biased, tmp_path):
    out = tmp_path / "out"
    align(biased, out, AlignConfig(size=48))
    with pytest.raises(SourceError, match=r"begun with other steps \(.*size 48.*now .*size 32.*another folder"):
        align(biased, out, AlignConfig(size=32))
    (out / "alignment.json").write_text("{", encoding="utf-8")
    with pytest.raises(SourceError, match="is damaged: delete the folder"):
        align(biased, out, AlignConfig(size=48))


def test_a_folder_with_other_things_is_left_alone(biased, tmp_path):
    (tmp_path / "out").mkdir()
    (tmp_path / "out/thesis.txt").write_text("mine", encoding="utf-8")
    with pytest.raises(SourceError, match="holds something else"):
        align(biased, tmp_path / "out", WINDOW)
    assert [path.name for path in (tmp_path / "out").iterdir()] == ["thesis.txt"]


@pytest.mark.parametrize("place", ["in", "in/aligned", ".", "link"])
def test_nothing_is_written_into_the_data_set(biased, tmp_path, place):
    (tmp_path / "link").symlink_to(biased)
    before = snapshot(biased)
    with pytest.raises(SourceError, match="never written into the data set it is made of"):
        align(biased, tmp_path / place, WINDOW)
    assert snapshot(biased) == before


def test_a_glob_is_not_written_into_either(biased):
    with pytest.raises(SourceError, match="never written into"):
        align_dataset(f"{biased}/**/*.png", read_dataset(f"{biased}/**/*.png"), biased / "new", WINDOW)


def test_archives_become_folders_and_the_manifest_keeps_their_labels(tmp_path, picture):
    picture(1, 60, 60).save(tmp_path / "a.png")
    for label in ("0", "1"):
        (tmp_path / "a.cls").write_text(label, encoding="utf-8")
        with tarfile.open(tmp_path / f"shard-{label}.tar", "w") as tar:
            tar.add(tmp_path / "a.png", "000.png")
            tar.add(tmp_path / "a.cls", "000.cls")
    out = tmp_path / "out"
    source = tmp_path / "*.tar"
    with pytest.raises(SourceError, match="never written into"):
        align_dataset(source, read_dataset(source), out, AlignConfig())
    out = tmp_path.parent / f"{tmp_path.name}-out"
    align_dataset(source, read_dataset(source), out, AlignConfig(size=32))
    listed = read_dataset(out / "manifest.csv").records
    assert [os.path.relpath(each.path, out) for each in listed] == ["shard-0/000.jpg", "shard-1/000.jpg"]
    assert [each.label for each in listed] == [0, 1]


def test_names_that_would_fall_together_keep_their_endings(tmp_path):
    records = [ImageRecord(str(tmp_path / name)) for name in ("a.jpg", "a.PNG", "b.png")]
    assert target_names(records, tmp_path, ".jpg") == ["a.jpg.jpg", "a.PNG.jpg", "b.jpg"]
    elsewhere = [ImageRecord("/somewhere/else/a.jpg")]
    assert target_names(elsewhere, tmp_path, ".png") == ["somewhere/else/a.png"]
    with pytest.raises(SourceError, match="1 would be given twice"):
        target_names([*records, records[0]], tmp_path, ".jpg")


def test_settings_are_checked():
    with pytest.raises(ConfigError, match="the lower one first, got 600 to 500"):
        WindowConfig(min_side=600, max_side=500)
    with pytest.raises(ConfigError, match="jpeg_quality must be from 1 to 100, got 0"):
        WindowConfig(jpeg_quality=0)


def test_the_settings_lie_beside_the_pictures(biased, tmp_path):
    align(biased, tmp_path / "out", WINDOW)
    assert json.loads((tmp_path / "out/alignment.json").read_text(encoding="utf-8")) == {
        "format_version": 1, "steps": "WindowConfig", "min_side": 48, "max_side": 64, "jpeg_quality": 96,
    }  # fmt: skip
