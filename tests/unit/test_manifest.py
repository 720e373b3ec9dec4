"""A data set written as CSV is read again as what it was."""

import csv
import hashlib
import os
import sys

import pytest

from cinemae.errors import SourceError
from cinemae.sources.datasets import read_records
from cinemae.sources.layouts import read_dataset
from cinemae.sources.manifest import COLUMNS, hash_file, read_manifest, relative_name, write_manifest
from cinemae.sources.records import ImageRecord, Unlisted


@pytest.fixture
def dataset(tmp_path, picture):
    root = tmp_path / "set"
    for number, name in enumerate(
        ("train/real/phone/a.jpg", "train/fake/gan/a.png", "val/real/phone/b.jpg", "val/fake/gan/=b.png")
    ):
        (root / name).parent.mkdir(parents=True, exist_ok=True)
        picture(number, 40, 30).save(root / name)
    return root


def write(root, out):
    found = read_dataset(root)
    return write_manifest(found.records, found.splits, out)


def test_every_file_is_a_row_with_its_hash(dataset, tmp_path):
    out = dataset / "manifest.csv"
    report = write(dataset, out)
    assert (report.num_rows, report.left_out) == (4, ())
    with out.open(newline="", encoding="utf-8") as file:
        header, *rows = csv.reader(file)
    assert tuple(header) == COLUMNS
    data = (dataset / "train/fake/gan/a.png").read_bytes()
    digest = hashlib.sha256(data).hexdigest()
    assert rows[0] == [
        "train/fake/gan/a.png", "fake", "gan", "train", digest, str(len(data)), "40", "30", "PNG",
    ]  # fmt: skip
    assert b"\r" not in out.read_bytes()


@pytest.mark.parametrize("place", ["set/manifest.csv", "lists/manifest.csv"])
def test_the_manifest_is_the_same_set_of_images(dataset, tmp_path, place):
    out = tmp_path / place
    out.parent.mkdir(exist_ok=True)
    write(dataset, out)
    there = {(os.path.realpath(each.path), each.label, each.generator) for each in read_records(dataset)}
    again = {(os.path.realpath(each.path), each.label, each.generator) for each in read_records(out)}
    assert again == there
    assert sorted(row.split for row in read_manifest(out)) == ["train", "train", "val", "val"]


def test_a_name_that_a_spreadsheet_would_run_is_defused_and_still_the_file(tmp_path):
    assert relative_name(str(tmp_path / "=b.png"), str(tmp_path)) == "./=b.png"
    assert relative_name(str(tmp_path / "-x/b.png"), str(tmp_path)) == "./-x/b.png"
    assert relative_name(str(tmp_path / "x/=b.png"), str(tmp_path)) == "x/=b.png"


def test_damaged_files_are_listed_and_missing_ones_named(dataset):
    (dataset / "val/real/phone/cut.jpg").write_bytes(b"\xff\xd8\xff")
    (dataset / "val/real/phone/gone.jpg").symlink_to("nowhere.jpg")
    out = dataset / "manifest.csv"
    report = write(dataset, out)
    ((path, reason),) = report.left_out
    assert path.endswith("gone.jpg")
    assert "could not be read (No such file or directory)" in reason
    (cut,) = (row for row in read_manifest(out) if row.path.endswith("cut.jpg"))
    assert cut.sha256 == hashlib.sha256(b"\xff\xd8\xff").hexdigest()
    assert "cut.jpg,real,phone,val" in out.read_text(encoding="utf-8")


def test_a_folder_that_cannot_be_listed_is_left_out_for_that_reason(tmp_path):
    record = ImageRecord(str(tmp_path / "locked"), place=Unlisted("the folder is locked."))
    assert write_manifest([record], [None], tmp_path / "m.csv").left_out == ((record.path, "the folder is locked."),)


@pytest.mark.skipif(sys.platform != "linux", reason="file names are bytes only there")
def test_a_name_that_is_no_utf8_is_left_out_by_name(dataset, picture):
    name = os.fsdecode(b"caf\xe9.png")
    picture(9).save(dataset / "val/fake/gan" / name)
    report = write(dataset, dataset / "manifest.csv")
    assert [reason for _, reason in report.left_out] == ["its name is not UTF-8, and a manifest is: rename it"]


def test_archives_are_refused(tmp_path, picture):
    import tarfile

    picture(1).save(tmp_path / "a.png")
    with tarfile.open(tmp_path / "fake.tar", "w") as tar:
        tar.add(tmp_path / "a.png", "a.png")
    found = read_dataset(tmp_path / "fake.tar")
    with pytest.raises(SourceError, match=r"lists files, and .*fake\.tar/a\.png lies in an archive: unpack it"):
        write_manifest(found.records, found.splits, tmp_path / "m.csv")
    assert not (tmp_path / "m.csv").exists()


def test_only_regular_files_are_hashed(tmp_path):
    with pytest.raises(SourceError, match="is no regular file"):
        hash_file(tmp_path)
    with pytest.raises(SourceError, match="could not be read"):
        hash_file("a\0b")


@pytest.mark.parametrize(
    ("text", "sentence"),
    [
        ("path,label\na.jpg,0\n", "line 1: .* sha256 is missing among path, label"),
        ("path,sha256\na.jpg,xyz\n", "line 2: a SHA-256 has 64 hex digits, got 'xyz'"),
        ("path,sha256\n,\n", "line 2: path must name a file"),
        ("path,sha256\na.jpg\n", "line 2: the header has 2 columns, this line has"),
        ("path,sha256\na.jpg,,3\n", "line 2: the header has 2 columns, this line has"),
        ("path,sha256,label\na.jpg,,x\n", "line 2: a label is 0, 1, real, fake or empty, got 'x'"),
    ],
)
def test_a_malformed_manifest_is_refused_by_line(tmp_path, text, sentence):
    (tmp_path / "m.csv").write_text(text, encoding="utf-8")
    with pytest.raises(SourceError, match=sentence):
        read_manifest(tmp_path / "m.csv", ("path", "sha256"))


def test_a_file_that_is_no_text_is_refused(tmp_path):
    (tmp_path / "m.csv").write_bytes(b"\xff\xfe\x00")
    with pytest.raises(SourceError, match="could not be read as UTF-8 text"):
        read_manifest(tmp_path / "m.csv")


def test_a_failure_leaves_no_half_file(dataset, tmp_path):
    (tmp_path / "m.csv").write_text("before", encoding="utf-8")
    found = read_dataset(dataset)

    def fail_at_the_second(done, _):
        if done == 2:
            raise KeyError

    with pytest.raises(KeyError):
        write_manifest(found.records, found.splits, tmp_path / "m.csv", progress=fail_at_the_second)
    assert sorted(path.name for path in tmp_path.iterdir()) == ["m.csv", "set"]
    assert (tmp_path / "m.csv").read_text(encoding="utf-8") == "before"
