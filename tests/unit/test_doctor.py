"""The doctor of data sets: planted faults are found, sound sets are let be, figures are those of independent sums."""

import dataclasses
import io
import json
import re
import tarfile
from collections import Counter
from pathlib import Path

import numpy as np
import pytest
from PIL import Image, ImageOps
from scipy.stats.contingency import association
from sklearn.ensemble import RandomForestClassifier
from sklearn.metrics import roc_auc_score

from cinemae.doctor import class_checks
from cinemae.doctor.check import CheckOptions, check_dataset
from cinemae.doctor.class_checks import check_classes, find_imbalances
from cinemae.doctor.copy_checks import check_copies
from cinemae.doctor.file_checks import check_files, check_passed_over
from cinemae.doctor.file_rows import FileRow, read_row
from cinemae.doctor.near_duplicates import COPY_LIMIT, RADIUS, find_near, picture_print
from cinemae.doctor.text import to_text
from cinemae.errors import SourceError
from cinemae.evaluation.doctor_page import write_doctor_page
from cinemae.pictures.image import load_image
from cinemae.sources.layouts import read_dataset
from cinemae.sources.manifest import write_manifest
from cinemae.sources.records import ImageRecord, Unlisted
from cinemae.statistics.estimate import Estimate


@pytest.fixture(autouse=True)
def small_forest(monkeypatch):
    """The format probe with few trees: what it says is tested in `test_format_probe.py`."""

    def forest(seed):
        return RandomForestClassifier(5, class_weight="balanced", min_samples_leaf=2, random_state=seed)

    monkeypatch.setattr("cinemae.statistics.format_probe._forest", forest)


@pytest.fixture
def sound(tmp_path):
    """A data set with nothing amiss: both classes saved alike, every picture another."""
    root = tmp_path / "set"
    for number in range(24):
        split, folder = ("train", "val")[number % 3 == 0], ("real/phone", "fake/gan")[number % 2]
        path = root / split / folder / f"{number}.png"
        path.parent.mkdir(parents=True, exist_ok=True)
        scene(number).save(path)
    return root


def scene(seed, width=64, height=64):
    """A picture with detail at every scale, as photographs have it: random colours, each scale half as strong."""
    rng = np.random.default_rng(seed)
    total = np.full((height, width, 3), 128.0)
    for scale in range(5):
        side = 3 * 2**scale
        noise = Image.fromarray(rng.integers(0, 256, (side, side, 3), np.uint8))
        total += (np.asarray(noise.resize((width, height), Image.Resampling.BICUBIC), float) - 128) / 2**scale
    return Image.fromarray(total.clip(0, 255).astype(np.uint8))


def checks(report_or_findings):
    findings = getattr(report_or_findings, "findings", report_or_findings)
    return {finding.check: finding for finding in findings}


def row(name, label=0, split=None, **facts):
    record = ImageRecord(name, label, facts.pop("generator", None))
    given = {"status": "ok", "container": "JPEG", "width": 64, "height": 64, "num_bytes": 1, **facts}
    return FileRow(name, record, split, **given)


# ---- files


def test_a_sound_set_has_no_finding(sound):
    report = check_dataset(sound)
    assert report.findings == ()
    assert report.classes.probes["all"].value == 0.5
    assert set(report.classes.probes) == {"all", "train", "val"}
    assert [each.distance for each in report.classes.imbalances] == [0.0] * 4  # no JPEG, so no quality


def test_nothing_is_changed(sound):
    before = {path: (path.read_bytes(), path.stat().st_mtime_ns) for path in sound.rglob("*.png")}
    check_dataset(sound)
    assert {path: (path.read_bytes(), path.stat().st_mtime_ns) for path in sound.rglob("*") if path.is_file()} == before


@pytest.mark.parametrize(
    ("data", "check", "kind"),
    [
        (b"", "empty", None),
        (b"<!DOCTYPE html><html>404</html>", "not_a_picture", "an HTML or XML page"),
        (b"  <?xml version='1.0'?><Error/>", "not_a_picture", "an HTML or XML page"),
        (b"PK\x03\x04" + bytes(50), "not_a_picture", "a ZIP archive"),
        (b"version https://git-lfs.github.com/spec/v1\n", "not_a_picture", "a Git LFS pointer"),
        (bytes(900), "not_a_picture", "nothing but zero bytes"),
        (b'{"error": "rate limit"}', "not_a_picture", "JSON text"),
        (b"not found\n", "not_a_picture", "plain text"),
        (b"%PDF-1.7", "not_a_picture", "a PDF"),
        (b"\x1f\x8b\x08", "not_a_picture", "a gzip archive"),
        (b"\x00\x00\x00\x18ftypmp42", "not_a_picture", "a video"),
        (b"\x93NUMPY\x01\x00", "damaged", None),
        (b"\xff\xd8\xff\xe0half", "damaged", None),
    ],
)
def test_files_that_cannot_be_read_are_told_apart(sound, data, check, kind):
    broken = sound / "val/real/phone/broken.jpg"
    broken.write_bytes(data)
    found = read_row(ImageRecord(str(broken), 0), "val", sound)
    assert found.kind == kind
    report = check_dataset(sound)
    assert [(each.check, each.severity, each.groups) for each in report.findings] == [
        (check, "serious", (("val/real/phone/broken.jpg",),))
    ]
    assert kind is None or kind in report.findings[0].sentence


def test_a_broken_link_and_a_manifest_line_are_missing_files(sound):
    (sound / "val/real/phone/gone.jpg").symlink_to("nowhere.jpg")
    assert checks(check_dataset(sound))["missing"].groups == (("val/real/phone/gone.jpg",),)


def test_what_is_out_of_the_ordinary_is_named(sound):
    place = sound / "train/real/phone"
    scene(301).save(place / "really-png.jpg", "PNG")
    scene(302).convert("CMYK").save(place / "print.jpg")
    frames = [scene(number) for number in (303, 304)]
    frames[0].save(place / "moving.gif", save_all=True, append_images=frames[1:])
    deep = np.random.default_rng(0).integers(0, 65_536, (64, 64), np.uint16)
    Image.fromarray(deep).save(place / "deep.png")
    found = checks(check_dataset(sound))
    assert found["wrong_suffix"].groups == (("train/real/phone/really-png.jpg",),)
    assert (found["wrong_suffix"].severity, found["cmyk"].severity) == ("warning", "note")
    assert found["cmyk"].groups == (("train/real/phone/print.jpg",),)
    assert found["animated"].groups == (("train/real/phone/moving.gif",),)
    assert found["16-bit"].groups == (("train/real/phone/deep.png",),)
    assert "1 file is animated (1 real)" in found["animated"].sentence


def test_16_bits_in_three_channels_are_seen_too(tmp_path):
    import struct
    import zlib

    def chunk(kind, data):
        body = kind + data
        return struct.pack(">I", len(data)) + body + struct.pack(">I", zlib.crc32(body))

    values = np.random.default_rng(0).integers(0, 256, (4, 4 * 6), np.uint8)
    lines = b"".join(b"\0" + line.tobytes() for line in values)
    header = struct.pack(">IIBBBBB", 4, 4, 16, 2, 0, 0, 0)
    parts = chunk(b"IHDR", header) + chunk(b"IDAT", zlib.compress(lines)) + chunk(b"IEND", b"")
    (tmp_path / "deep.png").write_bytes(b"\x89PNG\r\n\x1a\n" + parts)
    assert read_row(ImageRecord(str(tmp_path / "deep.png")), None, tmp_path).traits == ("16-bit",)


def test_pictures_with_another_ending_are_named(sound, picture):
    picture(401).save(sound / "lost.pic", "PNG")
    (sound / "notes.TXT").write_text("mine", encoding="utf-8")
    found = checks(check_dataset(sound))
    assert found["passed_over_pictures"].groups == (("lost.pic",),)
    assert found["passed_over_pictures"].severity == "warning"
    assert (found["passed_over"].groups, found["passed_over"].severity) == ((("notes.TXT",),), "note")
    assert "(1 .txt)" in found["passed_over"].sentence


def test_a_folder_that_cannot_be_listed_is_no_damaged_picture(tmp_path):
    found = read_row(ImageRecord(str(tmp_path / "locked"), place=Unlisted("the folder is locked.")), None, tmp_path)
    assert (found.name, found.status, found.error_message) == ("locked", "unlisted", "the folder is locked.")
    findings = checks(check_files([found, row("a.jpg")]))
    assert (findings["unlisted"].severity, findings["unlisted"].groups) == ("serious", (("locked",),))
    assert not findings.keys() & {"damaged", "unlabelled"}


def test_endings_are_counted():
    (found,) = check_passed_over([], ["a/.hidden", "b.tar.gz", "c.gz"])
    assert "(2 .gz, 1 without an ending)" in found.sentence


@pytest.mark.parametrize(
    ("labels", "severity", "words"),
    [
        ([0, 0], "warning", "there is no generated image"),
        ([1], "warning", "there is no photograph"),
        ([0] * 10 + [1], "note", "1 generated image stands against 10"),
        ([0, 1], None, ""),
    ],
)
def test_classes_are_counted(labels, severity, words):
    found = checks(check_files([row(str(number), label) for number, label in enumerate(labels)]))
    assert (found["classes"].severity if found else None) == severity
    assert not words or words in found["classes"].sentence


def test_images_without_a_label_are_named(tmp_path, picture):
    picture(1).save(tmp_path / "a.png")
    report = check_dataset(tmp_path)
    assert checks(report)["unlabelled"].groups == (("a.png",),)
    assert report.classes.imbalances == ()


# ---- copies


def altered(image):
    """The same picture as others may save it."""
    for quality in (90, 50):
        buffer = io.BytesIO()
        image.save(buffer, "JPEG", quality=quality)
        yield load_image(buffer.getvalue()).image
    yield image.resize((image.width // 2, image.height // 2), Image.Resampling.BICUBIC)
    yield image.resize((200, 150), Image.Resampling.BICUBIC)


def bits_between(first, second):
    one, other = (np.unpackbits(np.frombuffer(each[:32], np.uint8)) for each in (first, second))
    return int((one != other).sum())


def test_a_print_survives_saving_and_scaling_and_tells_pictures_apart():
    images = [scene(seed, 120, 90) for seed in range(12)]
    prints = [picture_print(image) for image in images]
    for image, mine in zip(images, prints, strict=True):
        for other in altered(image):
            theirs = picture_print(other)
            assert bits_between(mine, theirs) <= RADIUS
            first, second = (np.frombuffer(each[32:], np.uint8).astype(float) for each in (mine, theirs))
            assert np.abs(first - second).mean() <= COPY_LIMIT
        assert bits_between(mine, picture_print(ImageOps.mirror(image))) > RADIUS  # docs/data.md says so
    nearest = min(bits_between(a, b) for number, a in enumerate(prints) for b in prints[:number])
    assert nearest > RADIUS


def test_the_hash_is_the_sign_of_low_frequencies(picture):
    """Against scipy's DCT written out: 64x64 grey, the 16x16 lowest of each axis, against their median."""
    from scipy.fft import dctn

    image = picture(3, 130, 70)
    small = image.resize((64, 64), Image.Resampling.LANCZOS).convert("L")
    low = dctn(np.asarray(small, np.float64))[:16, :16]
    assert picture_print(image)[:32] == np.packbits(low > np.median(low)).tobytes()


def test_flat_pictures_have_no_print(sound):
    assert picture_print(Image.new("RGB", (50, 40), "navy")) is None
    Image.new("RGB", (64, 64), "navy").save(sound / "val/fake/gan/navy.png")
    found = checks(check_dataset(sound))
    assert list(found) == ["flat"]
    assert (found["flat"].severity, found["flat"].groups) == ("note", (("val/fake/gan/navy.png",),))


def _reference_groups(prints):
    """All pairs one by one, joined by hand."""
    table = [np.frombuffer(each, np.uint8) for each in prints]

    def joined(near):
        groups = [{number} for number in range(len(table))]
        for one in range(len(table)):
            for other in range(one):
                if near(table[one], table[other]):
                    first = next(group for group in groups if one in group)
                    second = next(group for group in groups if other in group)
                    if first is not second:
                        groups.remove(second)
                        first |= second
        return {tuple(sorted(group)) for group in groups if len(group) > 1}

    def alike(a, b):
        return int(np.unpackbits(a[:32] ^ b[:32]).sum()) <= RADIUS

    copies = joined(lambda a, b: alike(a, b) and np.abs(a[32:].astype(int) - b[32:]).mean() <= COPY_LIMIT)
    of = {number: group for group in copies for number in group}
    wider = {group for group in joined(alike) if len({of.get(number, number) for number in group}) > 1}
    return copies, wider


def test_groups_are_those_of_all_pairs(monkeypatch):
    monkeypatch.setattr("cinemae.doctor.near_duplicates._BATCH", 16)
    monkeypatch.setattr("cinemae.doctor.near_duplicates._MOST_PAIRS", 7)
    rng = np.random.default_rng(0)
    prints = []
    for _ in range(25):
        bits, thumbnail = rng.integers(0, 2, 256, np.uint8), rng.integers(0, 240, 192)
        for _ in range(rng.integers(1, 5)):  # a chain: each a few bits from the last
            turned = bits.copy()
            turned[rng.choice(256, rng.integers(0, RADIUS + 6), replace=False)] ^= 1
            bits = turned
            shifted = thumbnail + rng.choice([0, 3, 4, 12])
            prints.append(np.packbits(bits).tobytes() + shifted.astype(np.uint8).tobytes())
    found = find_near(prints)
    copies, look_alikes = _reference_groups(prints)
    assert len(copies) > 3
    assert len(look_alikes) > 3
    assert set(found.copies) == copies
    assert set(found.look_alikes) == look_alikes


def test_too_few_pictures_have_no_groups():
    assert find_near([]) == find_near([bytes(224)])


def test_the_same_file_in_two_splits_is_a_leak(sound):
    (sound / "val/fake/gan/again.png").write_bytes((sound / "train/fake/gan/1.png").read_bytes())
    found = checks(check_dataset(sound))
    assert list(found) == ["file_in_two_splits"]
    leak = found["file_in_two_splits"]
    assert (leak.severity, leak.num_files) == ("serious", 2)
    assert leak.groups == (("train/fake/gan/1.png", "val/fake/gan/again.png"),)
    assert "1 file (2 files) was found across train and val" in leak.sentence


def test_the_same_picture_saved_anew_in_two_splits_is_a_leak(sound):
    with Image.open(sound / "train/real/phone/2.png") as image:
        image.resize((100, 100)).save(sound / "val/real/phone/again.jpg", quality=80)
    found = checks(check_dataset(sound))
    assert found["copy_in_two_splits"].severity == "serious"
    assert found["copy_in_two_splits"].groups == (("train/real/phone/2.png", "val/real/phone/again.jpg"),)


def test_one_file_under_both_labels_is_serious(sound):
    (sound / "train/real/phone/x.png").write_bytes((sound / "train/fake/gan/1.png").read_bytes())
    found = checks(check_dataset(sound))
    assert list(found) == ["file_in_both_classes"]
    assert found["file_in_both_classes"].severity == "serious"


def test_a_file_twice_in_one_place_is_a_warning(sound):
    (sound / "train/fake/gan/x.png").write_bytes((sound / "train/fake/gan/1.png").read_bytes())
    found = checks(check_dataset(sound))
    assert [(each.check, each.severity) for each in found.values()] == [("file_twice", "warning")]


def test_a_changed_scene_is_a_look_alike_and_no_copy():
    image = scene(1)
    brighter = Image.fromarray((np.asarray(image) * 0.7).astype(np.uint8))
    prints = [picture_print(each) for each in (image, brighter, scene(6))]
    rows = [row(str(number), number, "train", sha256=str(number), print=prints[number]) for number in range(2)]
    rows.append(row("2", 1, "val", sha256="2", print=prints[2]))
    found = checks(check_copies(rows))
    assert [(each.check, each.severity) for each in found.values()] == [("look_alike_in_both_classes", "warning")]
    moved = [dataclasses.replace(each, split=split) for each, split in zip(rows, ("train", "val", "val"), strict=True)]
    assert checks(check_copies(moved))["look_alike_in_two_splits"].severity == "serious"
    alike = [dataclasses.replace(each, record=ImageRecord(each.name, 1)) for each in rows]
    assert [(each.check, each.severity) for each in check_copies(alike)] == [("look_alike_twice", "note")]


def test_another_set_may_share_nothing(sound, tmp_path):
    other = tmp_path / "other"
    (other / "real").mkdir(parents=True)
    with Image.open(sound / "val/real/phone/0.png") as image:
        image.save(other / "real/a.jpg", quality=85)
    scene(900).save(other / "real/b.jpg")
    scene(900).save(other / "real/c.png")  # their own affair
    (other / "real/broken.jpg").touch()
    found = checks(check_dataset(sound, CheckOptions(against=(str(other),))))
    assert list(found) == ["copy_in_two_splits"]
    assert found["copy_in_two_splits"].groups == (("val/real/phone/0.png", str(other / "real/a.jpg")),)
    assert str(other) in found["copy_in_two_splits"].sentence


def test_the_first_names_of_a_group_show_what_it_crosses():
    splits = ("train", "train", "val")
    rows = [row(str(number), 0, split, sha256="x", print=bytes(224)) for number, split in enumerate(splits)]
    (found,) = check_copies(rows)
    assert found.groups == (("0", "2", "1"),)


# ---- classes


@pytest.fixture
def uneven():
    """Facts drawn from different laws for both classes."""
    rng = np.random.default_rng(0)
    rows = []
    for label, shares, width, quality in ((0, (0.7, 0.2, 0.1), 500, 90), (1, (0.3, 0.3, 0.4), 530, 80)):
        for number in range(80):
            container = str(rng.choice(["JPEG", "PNG", "WEBP"], p=shares))
            facts = {
                "container": container,
                "width": int(rng.normal(width, 40)),
                "height": int(rng.normal(400, 10)),
                "jpeg_quality": int(rng.normal(quality, 4)) if container == "JPEG" else None,
            }
            rows.append(row(f"{label}-{number}", label, **facts))
    return rows


def _reference_distance(real, fake):
    """The largest gap between the two empirical distributions, at every value that occurs."""
    return max(
        abs(np.mean([each <= value for each in real]) - np.mean([each <= value for each in fake]))
        for value in {*real, *fake}
    )


def test_imbalances_are_what_independent_sums_give(uneven):
    found = {each.fact: each for each in find_imbalances(uneven)}
    assert list(found) == ["container", "JPEG quality", "width", "height", "aspect"]
    reals, fakes = ([each for each in uneven if each.label == label] for label in (0, 1))
    widths = [[each.width for each in part] for part in (reals, fakes)]
    assert found["width"].distance == pytest.approx(_reference_distance(*widths))
    auc = roc_auc_score([0] * 80 + [1] * 80, widths[0] + widths[1])
    assert found["width"].auc == pytest.approx(auc)
    qualities = [[each.jpeg_quality for each in part if each.jpeg_quality] for part in (reals, fakes)]
    assert found["JPEG quality"].distance == pytest.approx(_reference_distance(*qualities))
    assert (found["JPEG quality"].num_real, found["JPEG quality"].num_fake) == tuple(map(len, qualities))
    counts = [Counter(each.container for each in part) for part in (reals, fakes)]
    names = sorted(counts[0] | counts[1])
    table = np.array([[count[name] for name in names] for count in counts])
    assert found["container"].cramers_v == pytest.approx(association(table, method="cramer"))
    half = sum(abs(counts[0][name] - counts[1][name]) for name in names) / 80 / 2
    assert found["container"].distance == pytest.approx(half)


def test_the_best_rule_reaches_the_accuracy_stated(uneven):
    """No threshold on the width does better, and one does as well."""
    found = next(each for each in find_imbalances(uneven) if each.fact == "width")
    widths, labels = np.array([each.width for each in uneven]), np.array([each.label for each in uneven])
    right = [
        max(accuracy, 1 - accuracy)
        for value in np.unique(widths)
        for accuracy in [((widths > value)[labels == 1].mean() + (widths <= value)[labels == 0].mean()) / 2]
    ]
    assert max(right) == pytest.approx(found.accuracy)


def test_classes_of_one_law_have_no_finding():
    rng = np.random.default_rng(1)
    rows = [
        row(str(number), number % 2, width=int(rng.integers(300, 500)), jpeg_quality=int(rng.integers(70, 96)))
        for number in range(400)
    ]
    assert check_classes(rows).findings == ()


def test_a_difference_that_may_be_chance_is_none():
    rows = [row("a", 0, width=100), row("b", 0, width=110), row("c", 1, width=300), row("d", 1, width=310)]
    found = check_classes(rows)
    assert max(each.distance for each in found.imbalances) == 1.0
    assert "imbalance" not in checks(found)


@pytest.mark.parametrize(("shift", "severity"), [(12, None), (45, "warning"), (100, "serious")])
def test_severity_follows_the_distance(shift, severity):
    rng = np.random.default_rng(2)
    widths = rng.normal(500, 60, 600) + shift * (np.arange(600) % 2)
    rows = [row(str(number), number % 2, width=int(width)) for number, width in enumerate(widths)]
    (width,) = (each for each in find_imbalances(rows) if each.fact == "width")
    assert width.severity == severity


def test_formats_that_give_the_classes_away_are_serious():
    rows = [row(str(number), number % 2, container=("JPEG", "PNG")[number % 2]) for number in range(60)]
    found = check_classes(rows)
    assert found.probes["all"].value == 1.0
    alarm = checks(found)["format_probe"]
    assert alarm.severity == "serious"
    assert "it reaches 100.0 % [100.0, 100.0] (n = 60)" in alarm.sentence
    assert checks(found)["imbalance"].title == "The classes differ in container"


def test_a_split_that_alone_is_biased_is_named():
    rows = [row(f"t{number}", number % 2, "train") for number in range(900)]
    rows += [row(f"v{number}", number % 2, "val", container=("JPEG", "PNG")[number % 2]) for number in range(60)]
    found = check_classes(rows)
    assert found.probes["all"].value < 0.6
    assert "(n = 60) in split val" in checks(found)["format_probe"].sentence


@pytest.mark.parametrize(("low", "severity", "words"), [(0.45, "warning", "may be chance"), (0.55, "serious", "n = 9")])
def test_an_alarm_that_may_be_chance_is_a_warning(monkeypatch, low, severity, words):
    monkeypatch.setattr(class_checks, "format_probe_of", lambda *_, **__: Estimate(0.7, low, 0.9, n=9))
    alarm = checks(check_classes([row("a", 0), row("b", 1)]))["format_probe"]
    assert alarm.severity == severity
    assert words in alarm.sentence


def test_a_generator_that_hides_in_the_mean_is_named():
    rows = [row(f"r{number}", 0) for number in range(300)]
    rows += [row(f"a{number}", 1, generator="plain") for number in range(300)]
    rows += [row(f"b{number}", 1, generator="odd", width=640) for number in range(25)]
    found = check_classes(rows)
    assert "imbalance" not in checks(found)
    odd = checks(found)["generator_imbalance"]
    assert (odd.severity, list(odd.figures)) == ("warning", ["odd"])
    assert "odd by width (100 %: 640)" in odd.sentence


def test_sources_are_described(uneven):
    found = check_classes(uneven).sources
    assert [(each.label, each.num_files) for each in found] == [(0, 80), (1, 80)]
    assert re.fullmatch(r"JPEG \d+ %, PNG \d+ %, WEBP \d+ %", found[0].containers)


# ---- integrity


@pytest.fixture
def listed(sound, tmp_path):
    manifest = tmp_path / "list.csv"
    found = read_dataset(sound)
    write_manifest(found.records, found.splits, manifest)
    return manifest


def integrity(root, manifest):
    report = check_dataset(root, CheckOptions(manifest=str(manifest)))
    return {name: each for name, each in checks(report).items() if name.startswith("manifest")}


def test_an_unchanged_set_is_said_to_be_so(sound, listed):
    found = integrity(sound, listed)
    assert [(name, each.severity) for name, each in found.items()] == [("manifest", "note")]
    assert "All 24 files of list.csv are there, byte for byte, and no other." in found["manifest"].sentence


def test_what_is_missing_changed_and_extra_is_named(sound, listed):
    (sound / "train/fake/gan/1.png").unlink()
    with (sound / "train/fake/gan/5.png").open("ab") as file:
        file.write(b"x")
    scene(700).save(sound / "train/fake/gan/new.png")
    (sound / "train/fake/gan/7.png").rename(sound / "train/fake/gan/moved.png")
    found = integrity(sound, listed)
    assert found["manifest_missing"].groups == (("set/train/fake/gan/1.png",), ("set/train/fake/gan/7.png",))
    assert found["manifest_changed"].groups == (("set/train/fake/gan/5.png",),)
    assert found["manifest_extra"].groups == (("train/fake/gan/moved.png",), ("train/fake/gan/new.png",))
    assert {name: each.severity for name, each in found.items()} == {
        "manifest_missing": "serious",
        "manifest_changed": "serious",
        "manifest_extra": "warning",
    }


def test_a_manifest_that_came_without_its_data_is_held_against_the_folder(sound, tmp_path):
    inside = sound / "list.csv"
    found = read_dataset(sound)
    write_manifest(found.records, found.splits, inside)
    (tmp_path / "mails").mkdir()
    inside.rename(tmp_path / "mails/list.csv")
    assert list(integrity(sound, tmp_path / "mails/list.csv")) == ["manifest"]


def test_another_label_than_the_manifest_gives_is_serious(sound, listed):
    text = listed.read_text(encoding="utf-8")
    listed.write_text(text.replace("gan/5.png,fake", "gan/5.png,real"), encoding="utf-8")
    found = integrity(sound, listed)
    assert found["manifest_relabelled"].groups == (("set/train/fake/gan/5.png (real in the manifest)",),)


def test_a_manifest_is_a_source_with_splits(sound, listed):
    report = check_dataset(listed, CheckOptions(split="val"))
    assert {each.split for each in report.rows} == {"val"}
    assert len(report.rows) == 8
    with pytest.raises(SourceError, match="split 'test' was asked for, .* names it nowhere"):
        check_dataset(listed, CheckOptions(split="test"))


def test_a_manifest_without_checksums_is_refused_at_once(sound, tmp_path):
    (tmp_path / "m.csv").write_text("path,label\na.png,0\n", encoding="utf-8")
    with pytest.raises(SourceError, match="sha256 is missing among path, label: write one with"):
        check_dataset(sound, CheckOptions(manifest=str(tmp_path / "m.csv")))
    (tmp_path / "m.csv").write_text("path,sha256\na.png,\n", encoding="utf-8")
    with pytest.raises(SourceError, match="names no SHA-256"):
        check_dataset(sound, CheckOptions(manifest=str(tmp_path / "m.csv")))


def test_archives_are_checked_but_not_against_a_manifest(tmp_path, listed):
    for number, name in enumerate(("real/a.png", "fake/b.png", "fake/c.png")):
        (tmp_path / name).parent.mkdir(exist_ok=True)
        scene(number).save(tmp_path / name)
    (tmp_path / "fake/c.png").write_bytes(b"PK\x03\x04....")
    with tarfile.open(tmp_path / "all.tar", "w") as tar:
        for name in ("real/a.png", "fake/b.png", "fake/c.png"):
            tar.add(tmp_path / name, name)
    report = check_dataset(tmp_path / "all.tar")
    assert [each.status for each in report.rows] == ["ok", "ok", "unreadable"]
    assert "1 a ZIP archive" in checks(report)["not_a_picture"].sentence
    with pytest.raises(SourceError, match="lies in an archive: unpack the archive first"):
        check_dataset(tmp_path / "all.tar", CheckOptions(manifest=str(listed)))


def test_a_part_of_a_published_set_is_said_to_be_one(tmp_path):
    for number, folder in enumerate(("ai", "nature")):
        path = tmp_path / "GenImage/ADM/val" / folder / "0.png"
        path.parent.mkdir(parents=True)
        scene(number).save(path)
    found = checks(check_dataset(tmp_path / "GenImage"))
    assert found["published"].severity == "warning"
    assert "ADM, split val: 1 real image, 5,999 fewer" in " ".join(found["published"].figures["problems"])


# ---- forms


def test_the_report_is_plain_json_and_readable_text(sound):
    (sound / "val/fake/gan/again.png").write_bytes((sound / "train/fake/gan/1.png").read_bytes())
    (sound / "val/real/phone/empty.jpg").touch()
    report = check_dataset(sound)
    found = json.loads(json.dumps(report.to_dict(), allow_nan=False))
    assert (found["num_files"], found["num_readable"], found["severities"]["serious"]) == (26, 25, 2)
    assert found["findings"][0]["groups"] == [["val/real/phone/empty.jpg"]]
    text = to_text(report)
    assert "26 files, 25 readable: 12 photographs, 13 generated images (train 16, val 9)." in text
    assert "SERIOUS: The same file in two splits" in text
    assert "     train/fake/gan/1.png = val/fake/gan/again.png" in text
    assert text.endswith("2 serious findings, 0 warnings, 0 notes.")
    assert max(map(len, text.splitlines())) < 140


def test_long_lists_are_cut_in_text_and_whole_in_json(sound):
    for number in range(5):
        (sound / f"val/real/phone/empty-{number}.jpg").touch()
    report = check_dataset(sound)
    assert len(report.to_dict()["findings"][0]["groups"]) == 5
    text = to_text(report)
    assert "empty-2.jpg\n     ... and 2 more" in text
    assert "empty-3.jpg" not in text


def test_the_page_shows_the_pairs_and_asks_for_nothing(sound, tmp_path):
    with Image.open(sound / "train/real/phone/2.png") as image:
        image.save(sound / "val/real/phone/<b>$x_$.jpg", quality=90)
    report = check_dataset(sound)
    page = tmp_path / "page.html"
    write_doctor_page(report, page)
    text = page.read_text(encoding="utf-8")
    assert "The same picture saved anew in two splits" in text
    assert "&lt;b&gt;$x_$.jpg" in text
    assert "<b>$x_$" not in text
    assert text.count("data:image/png;base64,") == 2  # one pair, one plot
    assert not re.search(r"""(src|href)=["'](?!data:|#)""", text)


def test_a_page_is_written_when_pictures_are_gone(sound, tmp_path):
    (sound / "val/fake/gan/again.png").write_bytes((sound / "train/fake/gan/1.png").read_bytes())
    with Image.open(sound / "train/fake/gan/5.png") as image:
        image.save(sound / "val/fake/gan/anew.jpg")
    report = check_dataset(sound)
    (sound / "val/fake/gan/anew.jpg").unlink()
    write_doctor_page(report, tmp_path / "page.html")
    assert "0 of 1 groups are shown" in (tmp_path / "page.html").read_text(encoding="utf-8")


def test_two_examinations_agree(sound):
    (sound / "val/fake/gan/again.png").write_bytes((sound / "train/fake/gan/1.png").read_bytes())
    assert check_dataset(sound).to_dict() == check_dataset(Path(sound)).to_dict()


def test_progress_counts_all_sets(sound):
    seen = []
    options = CheckOptions(against=(str(sound / "val"),))
    check_dataset(sound, options, progress=lambda done, total: seen.append((done, total)))
    assert seen == [(number, 32) for number in range(1, 33)]
