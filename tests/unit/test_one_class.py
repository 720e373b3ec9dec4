from __future__ import annotations

import io
import tarfile

import pytest

from cinemae.errors import SourceError
from cinemae.sources.one_class import read_class


@pytest.fixture
def put(tmp_path, picture):
    """`put("photos/phone/a.png")` draws a picture there."""

    def draw_at(name: str) -> None:
        path = tmp_path / name
        path.parent.mkdir(parents=True, exist_ok=True)
        picture(0, 8, 8).save(path)

    return draw_at


def groups(records):
    return [(record.label, record.generator) for record in records]


def test_sub_folders_are_groups_and_a_file_beside_them_is_of_the_folder_itself(tmp_path, put):
    for name in ("photos/dslr/trip/a.png", "photos/phone/a.png", "photos/z.png"):
        put(name)
    assert groups(read_class([str(tmp_path / "photos")], 0)) == [(0, "dslr"), (0, "phone"), (0, "photos")]


def test_a_folder_without_sub_folders_is_one_group(tmp_path, put, monkeypatch):
    put("sdxl/a.png")
    monkeypatch.chdir(tmp_path / "sdxl")
    assert groups(read_class([str(tmp_path / "sdxl")], 1)) == groups(read_class(["."], 1)) == [(1, "sdxl")]


def test_names_of_splits_and_classes_are_no_groups(tmp_path, put):
    for name in ("data/train/real/phone/a.png", "data/val/real/b.png"):
        put(name)
    assert groups(read_class([str(tmp_path / "data")], 0)) == [(0, "phone"), (0, "data")]


def test_folders_of_one_name_are_told_apart(tmp_path, put):
    for name in ("one/images/a.png", "two/images/a.png", "three/a.png"):
        put(name)
    sources = [str(tmp_path / name) for name in ("one/images", "two/images", "three")]
    assert groups(read_class(sources, 1)) == [(1, sources[0]), (1, sources[1]), (1, "three")]


def test_a_glob_groups_by_the_folders_below_its_fixed_part(tmp_path, put):
    for name in ("photos/phone/a.png", "photos/dslr/b.png"):
        put(name)
    assert groups(read_class([str(tmp_path / "photos" / "**" / "*.png")], 0)) == [(0, "dslr"), (0, "phone")]


def test_a_manifest_names_groups_and_may_leave_labels_out(tmp_path, put):
    put("a.png")
    (tmp_path / "list.csv").write_text("path,label,generator\na.png,,phone\na.png,real,\n")
    assert groups(read_class([str(tmp_path / "list.csv")], 0)) == [(0, "phone"), (0, "list")]


def test_a_tar_is_a_group_of_its_own(tmp_path, put):
    put("a.png")
    data = (tmp_path / "a.png").read_bytes()
    with tarfile.open(tmp_path / "shots.tar", "w") as tar:
        member = tarfile.TarInfo("000.png")
        member.size = len(data)
        tar.addfile(member, io.BytesIO(data))
    assert groups(read_class([str(tmp_path / "shots.tar")], 0)) == [(0, "shots")]


def test_images_of_the_other_class_are_refused(tmp_path, put):
    for name in ("data/fake/sdxl/a.png", "data/real/phone/b.png"):
        put(name)
    (tmp_path / "list.csv").write_text("path,label\ndata/fake/sdxl/a.png,fake\n")
    sentence = r"--real names photographs, but in .*data the image .*a\.png is said to be among the generated images: "
    with pytest.raises(SourceError, match=sentence):
        read_class([str(tmp_path / "data")], 0)
    with pytest.raises(SourceError, match=r"in .*list\.csv the image .*a\.png"):
        read_class([str(tmp_path / "list.csv")], 0)
    with pytest.raises(SourceError, match=r"--fake names generated images, but .*b\.png is said to be among the photo"):
        read_class([str(tmp_path / "data")], 1)


def test_the_folder_that_was_named_may_be_called_anything(tmp_path, put):
    """GenImage calls its photographs nature; somebody's generated landscapes may be called so as well."""
    put("nature/a.png")
    assert groups(read_class([str(tmp_path / "nature")], 1)) == [(1, "nature")]
