import csv
import os
import subprocess
from pathlib import Path

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from PIL import Image

from cinemae.errors import ImageError, SourceError
from cinemae.sources.archives import read_encoded
from cinemae.sources.datasets import read_records
from cinemae.sources.local_files import Listing, find_images, list_images
from cinemae.sources.records import IMAGE_SUFFIXES, ImageRecord, Unlisted, hash_records
from cinemae.sources.remote_object import is_remote
from cinemae.sources.sources import find_records


def touch(root: Path, *names: str) -> None:
    for name in names:
        path = root / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_bytes(b"")


def labels(root: Path, source: Path | str | None = None) -> dict[str, tuple[int | None, str | None]]:
    records = read_records(root if source is None else source)
    return {os.path.relpath(r.path, root).replace(os.sep, "/"): (r.label, r.generator) for r in records}


def manifest(folder: Path, text: str) -> Path:
    path = folder / "list.csv"
    path.write_text(text, encoding="utf-8", newline="")
    return path


class TestFolderTree:
    def test_real_and_fake_with_their_generators(self, tmp_path):
        touch(tmp_path, "real/a.jpg", "real/coco/b.png", "fake/sd1.4/x.jpg", "fake/sd1.4/deep/er/y.jpg", "fake/z.webp")
        assert labels(tmp_path) == {
            "fake/sd1.4/deep/er/y.jpg": (1, "sd1.4"),
            "fake/sd1.4/x.jpg": (1, "sd1.4"),
            "fake/z.webp": (1, None),
            "real/a.jpg": (0, None),
            "real/coco/b.png": (0, "coco"),
        }

    def test_other_names_for_real_and_fake_in_any_case(self, tmp_path):
        touch(tmp_path, "Nature/a.jpg", "AI/b.jpg", "0_real/c.jpg", "1_fake/d.jpg")
        assert {name: label for name, (label, _) in labels(tmp_path).items()} == {
            "0_real/c.jpg": 0,
            "1_fake/d.jpg": 1,
            "AI/b.jpg": 1,
            "Nature/a.jpg": 0,
        }

    def test_genimage_and_aigcdetect_layouts_name_the_generator_above(self, tmp_path):
        touch(
            tmp_path,
            "Midjourney/imagenet_midjourney/train/ai/a.PNG",
            "Midjourney/imagenet_midjourney/val/nature/b.JPEG",
            "progan/airplane/1_fake/c.png",
            "train/fake/d.png",
        )
        assert list(labels(tmp_path).values()) == [(1, "Midjourney"), (0, "Midjourney"), (1, "progan"), (1, None)]

    def test_outermost_name_counts(self, tmp_path):
        touch(tmp_path, "fake/real/a.jpg", "fake/ai/b.jpg")
        assert list(labels(tmp_path).values()) == [(1, "ai"), (1, "real")]

    def test_without_such_a_folder_the_label_is_unknown(self, tmp_path):
        (tmp_path / "ai").mkdir()
        source = tmp_path / "ai" / "holiday"  # what lies above the source says nothing of its images
        touch(source, "a.jpg", "really/b.jpg")
        assert set(labels(source).values()) == {(None, None)}

    def test_the_source_folder_itself_may_be_the_label(self, tmp_path):
        touch(tmp_path, "fake/sd1.4/x.jpg", "fake/y.jpg")
        assert list(labels(tmp_path / "fake").values()) == [(1, "sd1.4"), (1, None)]

    def test_paths_are_as_given(self, tmp_path, monkeypatch):
        touch(tmp_path, "photos/real/a.jpg")
        monkeypatch.chdir(tmp_path)
        assert read_records("photos") == [ImageRecord("photos/real/a.jpg", 0, None)]
        assert read_records("photos/") == [ImageRecord("photos/real/a.jpg", 0, None)]
        assert read_records(".") == [ImageRecord("./photos/real/a.jpg", 0, "photos")]

    def test_glob(self, tmp_path):
        touch(tmp_path, "real/a.jpg", "fake/gan/b.jpg", "fake/gan/c.png", "notes.txt")
        assert labels(tmp_path, f"{tmp_path}/**/*.jpg") == {"fake/gan/b.jpg": (1, "gan"), "real/a.jpg": (0, None)}
        assert labels(tmp_path, f"{tmp_path}/fake/*/*") == {"fake/gan/b.jpg": (1, "gan"), "fake/gan/c.png": (1, "gan")}

    def test_a_folder_with_brackets_in_its_name_is_a_folder(self, tmp_path):
        touch(tmp_path, "set[1]/real/a.jpg")
        assert len(read_records(tmp_path / "set[1]")) == 1

    @pytest.mark.parametrize("name", ["nowhere", "nowhere/*.jpg", "empty", "notes.txt"])
    def test_missing_empty_or_other_sources_are_refused_by_name(self, tmp_path, name):
        (tmp_path / "empty").mkdir()
        touch(tmp_path, "notes.txt")
        with pytest.raises(SourceError, match=name.replace("*", r"\*")):
            read_records(tmp_path / name)


class TestManifest:
    def test_columns_in_any_order_and_more_of_them(self, tmp_path):
        path = manifest(
            tmp_path, "﻿Label,note,path,generator\r\nfake,x,a.jpg,sd\r\n0,,/b.jpg,\r\n\r\n,,sub/c.jpg,?\r\nREAL,,d,\r\n"
        )
        assert read_records(path) == [
            ImageRecord(str(tmp_path / "a.jpg"), 1, "sd"),
            ImageRecord("/b.jpg", 0, None),
            ImageRecord(str(tmp_path / "sub/c.jpg"), None, "?"),
            ImageRecord(str(tmp_path / "d"), 0, None),
        ]

    def test_generator_column_may_be_left_out(self, tmp_path):
        path = manifest(tmp_path, "path,label\na.jpg,1\n")
        assert read_records(str(path)) == [ImageRecord(str(tmp_path / "a.jpg"), 1, None)]

    def test_relative_to_the_manifest_not_the_working_directory(self, tmp_path, monkeypatch):
        manifest(tmp_path, "path,label\nimages/a.jpg,1\n")
        (tmp_path / "elsewhere").mkdir()
        monkeypatch.chdir(tmp_path / "elsewhere")
        assert read_records("../list.csv")[0].path == "../images/a.jpg"

    @pytest.mark.parametrize(
        ("text", "words"),
        [
            ("", ["line 1", "path and label is missing"]),
            ("path,generator\na.jpg,x\n", ["line 1", "label is missing"]),
            ("file,label\na.jpg,1\n", ["line 1", "path is missing among file, label"]),
            ("path,label,path\na.jpg,1,b.jpg\n", ["line 1", "path appears more than once"]),
            ("path,label\na.jpg,1\nb.jpg,2\n", ["line 3", "0, 1, real, fake or empty", "'2'"]),
            ("path,label\na.jpg,1\n ,1\n", ["line 3", "path must name a file", "' '"]),
            ("path,label\na\0.jpg,1\n", ["line 2", "path must name a file"]),
            ("path,label\na.jpg,1,sd\n", ["line 2", "2 columns", "has 3"]),
            ("path,label\na.jpg\n", ["line 2", "2 columns", "has 1"]),
            ('path,label\na.jpg,1\n"b.jpg,1\n', ["line 3", "not valid CSV"]),
            ("path,label\n", ["lists no image"]),
        ],
    )
    def test_what_is_wrong_is_said_with_its_line(self, tmp_path, text, words):
        path = manifest(tmp_path, text)
        with pytest.raises(SourceError) as caught:
            read_records(path)
        assert all(word in str(caught.value) for word in [str(path), *words]), caught.value

    def test_not_utf8(self, tmp_path):
        path = tmp_path / "list.csv"
        path.write_bytes("path,label\ncafé.jpg,1\n".encode("latin-1"))
        with pytest.raises(SourceError, match="could not be read as UTF-8"):
            read_records(path)

    texts = st.text(st.characters(codec="utf-8", exclude_characters="\0"))
    local_paths = texts.filter(lambda text: text.strip() and not is_remote(text.strip()))

    @settings(suppress_health_check=[HealthCheck.function_scoped_fixture], max_examples=50)
    @given(rows=st.lists(st.tuples(local_paths, st.sampled_from([None, 0, 1]), texts.map(str.strip)), min_size=1))
    def test_whatever_csv_can_hold_comes_back(self, tmp_path, rows):
        path = tmp_path / "list.csv"
        with path.open("w", newline="", encoding="utf-8") as file:
            writer = csv.writer(file)
            writer.writerow(["path", "label", "generator"])
            writer.writerows((name, "" if label is None else label, generator) for name, label, generator in rows)
        expected = [ImageRecord(str(tmp_path / name), label, generator or None) for name, label, generator in rows]
        assert read_records(path) == expected

    def test_hash_follows_order_and_every_field(self):
        records = [ImageRecord("a", 0, None), ImageRecord("b", 1, "sd")]
        others = [
            records[::-1],
            records[:1],
            [records[0], ImageRecord("b", None, "sd")],
            [records[0], ImageRecord("b", 1, None)],
            [ImageRecord("a", 0, ""), records[1]],
        ]
        assert len({hash_records(each) for each in [records, *others]}) == 6
        assert hash_records(iter(records)) == hash_records(records)


@pytest.fixture
def too_deep(tmp_path):
    """A folder with real/nnn.../..., whose path is longer than the system takes: nobody can list it, not even root."""
    (tmp_path / "set" / "real").mkdir(parents=True)
    here = os.open(tmp_path / "set" / "real", os.O_RDONLY)
    for _ in range(17):
        os.mkdir("n" * 250, dir_fd=here)
        below = os.open("n" * 250, os.O_RDONLY, dir_fd=here)
        os.close(here)
        here = below
    os.close(here)
    yield tmp_path / "set"
    subprocess.run(["rm", "-rf", tmp_path / "set" / "real"], check=True)


class TestFindImages:
    def test_folders_are_searched_to_the_bottom_in_order(self, tmp_path):
        touch(tmp_path, "b/x.JPG", "b.jpg", "a/z.png", "a/notes.txt", "a/.hidden.webp", "c.tif/inside.gif", "README")
        found = [os.path.relpath(path, tmp_path) for path in find_images([tmp_path])]
        assert found == ["a/.hidden.webp", "a/z.png", "b/x.JPG", "b.jpg", "c.tif/inside.gif"]

    def test_arguments_keep_their_order_and_named_files_any_suffix(self, tmp_path):
        touch(tmp_path, "z.dat", "d/a.jpg", "noname")
        paths = [str(tmp_path / name) for name in ("z.dat", "d", "noname")]
        assert list(find_images(paths)) == [paths[0], str(tmp_path / "d/a.jpg"), paths[2]]

    def test_glob_yields_images_unless_it_spells_a_suffix_out(self, tmp_path):
        touch(tmp_path, "a.jpg", "b.dat", "c/d.png")
        assert [Path(path).name for path in find_images([f"{tmp_path}/*"])] == ["a.jpg", "d.png"]
        assert [Path(path).name for path in find_images([f"{tmp_path}/**"])] == ["a.jpg", "d.png"]
        assert [Path(path).name for path in find_images([f"{tmp_path}/*.dat"])] == ["b.dat"]

    def test_loops_of_links_end_and_each_file_comes_once(self, tmp_path):
        root = tmp_path / "root"
        outside = tmp_path / "outside"
        touch(root, "real/a.jpg", "fake/b.jpg")
        touch(outside, "c.jpg")
        for index in range(4):
            (root / "real" / f"up{index}").symlink_to("..", target_is_directory=True)
            (outside / f"back{index}").symlink_to(root, target_is_directory=True)
        (root / "aa").symlink_to("real", target_is_directory=True)
        (root / "out1").symlink_to(outside, target_is_directory=True)
        (root / "out2").symlink_to(outside, target_is_directory=True)
        (root / "self").symlink_to("self")
        inside = ["fake/b.jpg", "real/a.jpg"]
        for follow, expected in ((False, inside), (True, sorted([*inside, "out1/c.jpg"]))):
            for source in (str(root), f"{root}/**"):
                found = list_images(source, listing := Listing(follow))
                assert sorted(os.path.relpath(record.path, root) for record in found) == expected
                assert [Path(link).name for link in sorted(listing.links)] == ([] if follow else ["out1", "out2"])
        assert len(list(find_images([f"{root}/**/*.jpg"]))) == 2

    def test_a_wildcard_does_not_lead_out_by_a_link_either(self, tmp_path):
        touch(tmp_path, "root/a/x.jpg", "outside/y.jpg")
        (tmp_path / "root" / "b").symlink_to("../outside", target_is_directory=True)
        for pattern in ("root/*", "root/*/*.jpg"):
            found = [list_images(f"{tmp_path}/{pattern}", Listing(follow)) for follow in (False, True)]
            assert [[Path(record.path).name for record in one] for one in found] == [["x.jpg"], ["x.jpg", "y.jpg"]]
        assert [Path(path).name for path in find_images([tmp_path / "root" / "b"])] == ["y.jpg"]  # named outright

    def test_a_folder_of_nothing_but_links_says_how_to_follow_them(self, tmp_path):
        touch(tmp_path, "outside/y.jpg")
        (tmp_path / "root").mkdir()
        (tmp_path / "root" / "b").symlink_to("../outside", target_is_directory=True)
        with pytest.raises(
            SourceError, match="root holds no image: .* 1 link to a folder .* --follow-links enters them"
        ):
            list_images(str(tmp_path / "root"), Listing())

    @pytest.mark.parametrize("format", ["JPEG", "PNG", "WEBP", "GIF", "TIFF", "BMP", "PPM", "JPEG2000"])
    def test_a_picture_without_a_suffix_is_found_by_its_first_bytes(self, tmp_path, format):
        touch(tmp_path, "a.jpg")
        Image.new("RGB", (20, 10), (1, 2, 3)).save(tmp_path / "plain", format)
        for source in (str(tmp_path), f"{tmp_path}/*"):
            assert [Path(record.path).name for record in list_images(source, Listing())] == ["a.jpg", "plain"]

    def test_what_is_left_out_is_counted(self, tmp_path):
        touch(tmp_path, "a.jpg", "b/notes.txt", "b/c.png", "b/x.tar", "empty")
        for name, text in (("P5", "P5 is a title"), ("BMW", "BM is how this text begins, too"), ("page", "<html>")):
            (tmp_path / name).write_text(text)
        os.mkfifo(tmp_path / "pipe")  # which is not waited for
        for source in (str(tmp_path), f"{tmp_path}/**", f"{tmp_path}/*"):
            listing = Listing()
            assert [Path(record.path).name for record in list_images(source, listing)] == ["a.jpg", "c.png"]
            assert listing.num_left_out == 7
            assert listing.summary() == "7 files in folders were left out: no images by suffix or first bytes."
        assert Listing().summary() == ""

    def test_raw_files_are_pictures(self, tmp_path):
        touch(tmp_path, "a.dng", "b.NEF")
        assert [Path(path).name for path in find_images([tmp_path])] == ["a.dng", "b.NEF"]

    def test_a_link_never_gives_its_label_to_images_that_have_their_own(self, tmp_path):
        touch(tmp_path, "fake/b.jpg", "ai/x.jpg")
        (tmp_path / "0_real").symlink_to("fake", target_is_directory=True)
        assert labels(tmp_path) == {"ai/x.jpg": (1, None), "fake/b.jpg": (1, None)}

    def test_what_only_looks_like_an_image_is_left_to_the_reader(self, tmp_path):
        os.mkfifo(tmp_path / "pipe.jpg")
        (tmp_path / "broken.png").symlink_to("nowhere")
        (tmp_path / "loop.gif").symlink_to("loop.gif")
        assert [Path(path).name for path in find_images([tmp_path])] == ["broken.png", "loop.gif", "pipe.jpg"]
        assert list(find_images([tmp_path / "broken.png"])) == [str(tmp_path / "broken.png")]

    def test_deep_trees_do_not_exhaust_the_stack(self, tmp_path, monkeypatch):
        monkeypatch.chdir(tmp_path)
        depth = 1200  # deeper than Python's recursion limit
        here = os.open(".", os.O_RDONLY)
        for _ in range(depth):
            os.mkdir("d", dir_fd=here)
            below = os.open("d", os.O_RDONLY, dir_fd=here)
            os.close(here)
            here = below
        os.close(os.open("x.jpg", os.O_CREAT | os.O_WRONLY, dir_fd=here))
        os.close(here)
        assert list(find_images(["d"])) == ["d/" * depth + "x.jpg"]
        subprocess.run(["rm", "-rf", "d"], check=True)  # pytest's own clean-up would exhaust the stack

    @pytest.mark.parametrize("name", ["nowhere.jpg", "none/*.jpg", "empty", "a\0.jpg", "n" * 300])
    def test_missing_paths_are_refused_at_once(self, tmp_path, name):
        (tmp_path / "empty").mkdir()
        touch(tmp_path, "good.jpg")
        with pytest.raises(SourceError):
            find_images([tmp_path / "good.jpg", str(tmp_path / name)])

    def test_unreadable_folder_is_named(self, tmp_path, monkeypatch):
        touch(tmp_path, "a.jpg", "locked/b.jpg")
        real = os.scandir

        def refuse(path):
            if str(path).endswith("locked"):
                raise PermissionError(13, "Permission denied")
            return real(path)

        monkeypatch.setattr(os, "scandir", refuse)
        found = find_images([tmp_path])
        assert next(found).endswith("a.jpg")
        sentence = r"locked could not be listed \(Permission denied\): make it readable"
        with pytest.raises(SourceError, match=sentence):
            next(found)
        with pytest.raises(SourceError, match=sentence):
            read_records(tmp_path / "locked")

    def test_a_folder_that_cannot_be_listed_is_a_record_that_says_so(self, too_deep):
        touch(too_deep, "fake/b.jpg", "z.jpg")
        for records in (list(find_records([too_deep])), read_records(too_deep)):
            assert [record.place is None for record in records] == [True, False, True]
            with pytest.raises(ImageError, match=r"could not be listed \(File name too long\): make it readable or"):
                read_encoded(records[1])
        assert [record.label for record in read_records(too_deep)] == [1, 0, None]

    def test_an_argument_that_names_nothing_is_a_record_among_others(self, tmp_path):
        touch(tmp_path, "a.jpg")
        (tmp_path / "empty").mkdir()
        names = [tmp_path / "nowhere.jpg", tmp_path / "a.jpg", tmp_path / "empty", f"{tmp_path}/*.gif"]
        records = list(find_records(names))
        assert [record.path for record in records] == [str(name) for name in names]
        reasons = [record.place.reason if isinstance(record.place, Unlisted) else "" for record in records]
        assert [reason.partition(" ")[0] for reason in reasons] == ["there", "", str(names[2]), names[3]]
        with pytest.raises(SourceError, match=r"there is no file, folder or glob '.*nowhere.jpg': check the path"):
            find_records([names[0], names[2]])

    def test_suffixes_are_lower_case_with_a_dot(self):
        assert all(suffix == suffix.lower() and suffix.startswith(".") for suffix in IMAGE_SUFFIXES)
