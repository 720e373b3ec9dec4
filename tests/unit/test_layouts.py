import dataclasses
import io
import json
import os
import tarfile
from collections import Counter
from pathlib import Path

import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from cinemae.errors import SourceError
from cinemae.pictures.image import load_image
from cinemae.sources import layouts
from cinemae.sources.dataset_report import DataSetReport, ReadAs
from cinemae.sources.layouts import read_dataset
from cinemae.sources.published import BENCHMARKS, PublishedCount, canonical_generator, known_generator
from cinemae.sources.records import ImageRecord

# As released: the generator's folder, and the one inside the archive of the same.
GENIMAGE = {
    "Midjourney": ("Midjourney", "imagenet_midjourney"),
    "SD v1.4": ("stable_diffusion_v_1_4", "imagenet_ai_0419_sdv4"),
    "SD v1.5": ("stable_diffusion_v_1_5", "imagenet_ai_0424_sdv5"),
    "ADM": ("ADM", "imagenet_ai_0508_adm"),
    "GLIDE": ("glide", "imagenet_glide"),
    "Wukong": ("wukong", "imagenet_ai_0424_wukong"),
    "VQDM": ("VQDM", "imagenet_ai_0419_vqdm"),
    "BigGAN": ("BigGAN", "imagenet_ai_0419_biggan"),
}
AIGCDETECT = {
    "ProGAN": "progan", "StyleGAN": "stylegan", "BigGAN": "biggan", "CycleGAN": "cyclegan", "StarGAN": "stargan",
    "GauGAN": "gaugan", "StyleGAN2": "stylegan2", "WFIR": "whichfaceisreal", "ADM": "ADM", "GLIDE": "Glide",
    "Midjourney": "Midjourney", "SD v1.4": "stable_diffusion_v_1_4", "SD v1.5": "stable_diffusion_v_1_5",
    "VQDM": "VQDM", "Wukong": "wukong", "DALL-E 2": "DALLE2",
}  # fmt: skip
FORENSYNTHS = {
    "ProGAN": "progan", "StyleGAN": "stylegan", "BigGAN": "biggan", "CycleGAN": "cyclegan", "StarGAN": "stargan",
    "GauGAN": "gaugan", "CRN": "crn", "IMLE": "imle", "SITD": "seeingdark", "SAN": "san", "Deepfakes": "deepfake",
    "StyleGAN2": "stylegan2", "WFIR": "whichfaceisreal",
}  # fmt: skip
CATEGORIES = {"progan": ("airplane", "train"), "stylegan": ("bedroom", "car"), "cyclegan": ("apple", "winter")}


@pytest.fixture(scope="module")
def save(picture):
    """Save pictures drawn in code, another for each call, under a root."""
    encoded = {}
    for kind in ("PNG", "JPEG"):
        data = io.BytesIO()
        picture(1, 8, 8).save(data, kind)
        encoded[kind] = data.getvalue()

    def save(root, *names):
        for name in names:
            path = root / name
            path.parent.mkdir(parents=True, exist_ok=True)
            path.write_bytes(encoded["PNG" if path.suffix.lower() == ".png" else "JPEG"])

    return save


@pytest.fixture
def small(monkeypatch):
    """Set what a data set has published, so that a small copy can be complete."""

    def small(layout, **counts):
        benchmark = BENCHMARKS[layout]
        numbers = {key: PublishedCount(**counts) for key in benchmark.counts}
        changed = {**BENCHMARKS, layout: dataclasses.replace(benchmark, counts=numbers)}
        monkeypatch.setattr(layouts, "BENCHMARKS", changed)

    return small


@pytest.fixture
def genimage(tmp_path, save):
    """All eight generators: 2 fakes and 1 photograph for training, 3 and 2 for validation."""
    root = tmp_path / "GenImage"
    for outer, inner in GENIMAGE.values():
        at = f"{outer}/{inner}"
        save(root, *(f"{at}/train/ai/000_x_{index}.PNG" for index in range(2)), f"{at}/train/nature/n01_1.JPEG")
        save(root, *(f"{at}/val/ai/001_x_{index}.png" for index in range(3)))
        save(root, *(f"{at}/val/nature/ILSVRC2012_val_{index}.JPEG" for index in range(2)))
    return root


def class_folders(root, save, generators, real=2, fake=2):
    for folder in generators.values():
        for category in CATEGORIES.get(folder, (".",)):
            save(root, *(f"{folder}/{category}/0_real/{index}.png" for index in range(real)))
            save(root, *(f"{folder}/{category}/1_fake/{index}.png" for index in range(fake)))


def found(dataset):
    return {(count.generator, count.split): (count.real, count.fake) for count in dataset.report.counts}


def check_pairs(dataset):
    """Every test set has only its generator's fakes and own photographs, all of them."""
    for generator, indices in dataset.test_sets.items():
        expected = [
            index
            for index, (record, split) in enumerate(zip(dataset.records, dataset.splits, strict=True))
            if record.generator == generator and record.label is not None and split != "train"
        ]
        assert indices == expected


class TestGenImage:
    def test_generators_splits_and_pairs(self, genimage):
        dataset = read_dataset(genimage)
        assert dataset.layout == "genimage"
        assert found(dataset) == {(name, split): counts for name in GENIMAGE
                                  for split, counts in (("train", (1, 2)), ("val", (2, 3)))}  # fmt: skip
        assert (dataset.report.num_real, dataset.report.num_fake) == (24, 40)
        assert sorted(dataset.test_sets) == sorted(GENIMAGE)
        check_pairs(dataset)
        for indices in dataset.test_sets.values():
            assert Counter(dataset.records[index].label for index in indices) == {0: 2, 1: 3}
            assert all("/val/" in dataset.records[index].path for index in indices)
        assert all(load_image(record.path).width == 8 for record in dataset.records)

    def test_one_split(self, genimage):
        dataset = read_dataset(genimage, "genimage", "validation")
        assert set(dataset.splits) == {"val"}
        assert len(dataset.records) == 40
        assert not any("train" in problem for problem in dataset.report.problems)
        train = read_dataset(genimage, split="train")
        assert Counter(record.label for record in train.records) == {0: 8, 1: 16}
        assert {len(indices) for indices in train.test_sets.values()} == {3}

    def test_folders_as_the_readme_has_them_and_one_generator_alone(self, tmp_path, save):
        save(tmp_path / "all", "Stable Diffusion V1.4/val/ai/a.png", "Stable Diffusion V1.4/val/nature/b.JPEG",
             "Stable Diffusion V1.5/val/ai/a.png", "Stable Diffusion V1.5/val/nature/b.JPEG")  # fmt: skip
        assert sorted(read_dataset(tmp_path / "all").test_sets) == ["SD v1.4", "SD v1.5"]
        save(tmp_path / "imagenet_ai_0419_vqdm", "val/ai/a.png", "val/nature/b.JPEG")
        dataset = read_dataset(tmp_path / "imagenet_ai_0419_vqdm")
        assert (dataset.layout, dataset.test_sets) == ("genimage", {"VQDM": [0, 1]})

    def test_a_folder_named_ai_above_labels_nothing(self, tmp_path, save):
        save(tmp_path, "ai/GenImage/ADM/val/ai/a.png", "ai/GenImage/ADM/val/nature/b.JPEG")
        records = read_dataset(tmp_path, "genimage").records
        assert [(record.label, record.generator) for record in records] == [(1, "ADM"), (0, "ADM")]

    def test_complete_is_said_to_be(self, genimage, small):
        small("genimage", real=2, fake=3)
        report = read_dataset(genimage, split="val").report
        assert report.problems == ()
        assert report.to_text().endswith("nothing is missing")

    def test_what_is_missing_is_said_exactly(self, genimage, small):
        small("genimage", real=2, fake=3)
        for path in genimage.glob("wukong/*/val/*/*"):
            path.unlink()
        for path in genimage.glob("VQDM/*/val/nature/*"):
            path.unlink()
        for path in genimage.glob("ADM/*/val/ai/*_0.png"):
            path.unlink()
        next(genimage.glob("glide/*/val/ai/*_1.png")).write_bytes(b"")
        extra = next(genimage.glob("BigGAN/*/val/nature/*_1.JPEG"))
        extra.with_name("more.JPEG").write_bytes(extra.read_bytes())
        dataset = read_dataset(genimage, split="val")
        assert dataset.report.problems == (
            "ADM, split val: 2 fake images, 1 fewer than the 3 published.",
            "Wukong, split val: missing; nothing was found under <Generator>/[imagenet_.../]{train|val}/{ai,nature}, "
            "2 real and 3 fake images were published.",
            "VQDM, split val: the class real is missing, 2 were published.",
            "BigGAN, split val: 3 real images, 1 more than the 2 published.",
            f"1 image of 0 bytes: {genimage}/glide/imagenet_glide/val/ai/001_x_1.png.",
        )
        assert sorted(dataset.test_sets) == ["ADM", "BigGAN", "GLIDE", "Midjourney", "SD v1.4", "SD v1.5"]
        assert dataset.report.empty_files == (f"{genimage}/glide/imagenet_glide/val/ai/001_x_1.png",)
        assert len(dataset.records) == 40 - 5 - 2 - 1 + 1  # the empty file stays: it becomes a row with an error

    def test_a_split_that_is_not_there_is_said_once(self, tmp_path, genimage):
        for path in genimage.glob("*/*/train/*/*"):
            path.unlink()
        problems = read_dataset(genimage).report.problems
        assert [problem for problem in problems if "train" in problem] == [
            "split train: nothing was found of any generator; give split= one that is there to check only that."
        ]

    def test_images_of_other_generators_are_kept_and_named(self, genimage, save):
        save(genimage, "sdxl/val/ai/a.png", "val/ai/b.png")
        dataset = read_dataset(genimage)
        others = [problem for problem in dataset.report.problems if "does not list" in problem]
        assert others == [
            "SDXL, split val: 0 real and 1 fake image that GenImage does not list; kept as they are.",
            "images without a generator, split val: 0 real and 1 fake image that GenImage does not list; "
            "kept as they are.",
        ]
        assert not {"SDXL", "unknown"} & set(dataset.test_sets)  # no photographs of their own

    def test_inside_tars(self, genimage, tmp_path):
        (tmp_path / "tars").mkdir()
        for outer, inner in list(GENIMAGE.values())[:2]:
            with tarfile.open(tmp_path / "tars" / f"{outer}.tar", "w") as tar:
                tar.add(genimage / outer / inner / "val", "val")
        dataset = read_dataset(tmp_path / "tars", "genimage")
        assert sorted(dataset.test_sets) == ["Midjourney", "SD v1.4"]
        assert found(dataset)["SD v1.4", "val"] == (2, 3)


class TestClassFolders:
    def test_aigcdetect(self, tmp_path, save):
        class_folders(tmp_path / "test", save, AIGCDETECT)
        dataset = read_dataset(tmp_path)
        assert dataset.layout == "aigcdetect"
        categories = {name: len(CATEGORIES.get(folder, (".",))) for name, folder in AIGCDETECT.items()}
        assert found(dataset) == {(name, "test"): (2 * n, 2 * n) for name, n in categories.items()}
        assert sorted(dataset.test_sets) == sorted(AIGCDETECT)
        check_pairs(dataset)
        assert read_dataset(tmp_path / "test", "aigcdetect", "test").test_sets == dataset.test_sets

    def test_forensynths(self, tmp_path, save):
        class_folders(tmp_path, save, FORENSYNTHS)
        dataset = read_dataset(tmp_path)
        assert dataset.layout == "forensynths"
        assert sorted(dataset.test_sets) == sorted(FORENSYNTHS)
        check_pairs(dataset)

    def test_the_category_train_is_no_split(self, tmp_path, save):
        class_folders(tmp_path, save, {"ProGAN": "progan"})
        dataset = read_dataset(tmp_path)
        assert set(dataset.splits) == {"test"}
        assert len(dataset.test_sets["ProGAN"]) == 8

    def test_one_generator_alone_is_recognised_by_its_folder(self, tmp_path, save):
        save(tmp_path / "whichfaceisreal", "0_real/a.jpg", "1_fake/b.jpg")
        dataset = read_dataset(tmp_path / "whichfaceisreal")
        assert (dataset.layout, dataset.test_sets) == ("forensynths", {"WFIR": [0, 1]})

    def test_published_totals_in_hundreds(self, tmp_path, save, small):
        class_folders(tmp_path, save, {"GLIDE": "Glide"}, real=60, fake=61)
        small("aigcdetect", total=200)
        assert not [p for p in read_dataset(tmp_path, "aigcdetect").report.problems if p.startswith("GLIDE")]
        small("aigcdetect", total=300)
        (problem,) = (p for p in read_dataset(tmp_path, "aigcdetect").report.problems if p.startswith("GLIDE"))
        assert problem == "GLIDE, split test: 121 images, about 179 fewer than the 300 published."
        text = read_dataset(tmp_path, "aigcdetect").report.to_text()
        assert "both published" in text

    def test_missing_generator_and_class(self, tmp_path, save):
        class_folders(tmp_path, save, {"CRN": "crn", "SAN": "san"})
        for path in tmp_path.glob("san/1_fake/*"):
            path.unlink()
        problems = read_dataset(tmp_path).report.problems
        assert "SAN, split test: the class fake is missing, 219 were published." in problems
        assert "CRN, split test: 2 real images, 6,380 fewer than the 6,382 published." in problems
        assert (
            "Deepfakes, split test: missing; nothing was found under <generator>/[category/]{0_real,1_fake}, "
            "2,707 real and 2,698 fake images were published."
        ) in problems
        assert any(problem.startswith("StyleGAN2, split test: missing;") and "about 15,900 images were" in problem
                   for problem in problems)  # fmt: skip


class TestChameleon:
    @pytest.mark.parametrize("below", ["", "Chameleon", "Chameleon/test"])
    def test_as_released(self, tmp_path, save, small, below):
        small("chameleon", real=2, fake=1)
        save(tmp_path / "Chameleon" / "test", "0_real/a.jpg", "0_real/b.jpg", "1_fake/c.jpg")
        dataset = read_dataset(tmp_path / below, "auto" if below != "Chameleon/test" else "chameleon")
        assert dataset.layout == "chameleon"
        assert dataset.test_sets == {"Chameleon": [0, 1, 2]}
        assert found(dataset) == {("Chameleon", "test"): (2, 1)}
        assert dataset.report.problems == ()

    def test_published_counts(self, tmp_path, save):
        save(tmp_path, "test/0_real/a.jpg", "test/1_fake/c.jpg")
        assert read_dataset(tmp_path, "chameleon").report.problems == (
            "Chameleon, split test: 1 real image, 14,862 fewer than the 14,863 published.",
            "Chameleon, split test: 1 fake image, 11,169 fewer than the 11,170 published.",
        )


class TestPlain:
    def test_a_tree_tests_each_generator_against_all_photographs(self, tmp_path, save):
        save(tmp_path, "fake/sd_v1.4/a.png", "fake/mine/b.png", "fake/c.png", "real/d.jpg", "real/coco/e.jpg", "f.png")
        dataset = read_dataset(tmp_path)
        assert dataset.layout == "tree"
        names = {os.path.relpath(record.path, tmp_path): index for index, record in enumerate(dataset.records)}
        photographs = {names["real/d.jpg"], names["real/coco/e.jpg"]}
        assert {name: set(indices) for name, indices in dataset.test_sets.items()} == {
            "SD v1.4": photographs | {names["fake/sd_v1.4/a.png"]},
            "mine": photographs | {names["fake/mine/b.png"]},
            "unknown": photographs | {names["fake/c.png"]},
        }
        assert all(indices == sorted(indices) for indices in dataset.test_sets.values())
        assert dataset.report.num_unlabelled == 1
        assert dataset.report.problems == (f"1 image without a label, in no test set: {tmp_path}/f.png.",)

    def test_photographs_of_a_generator_are_its_own(self, tmp_path, save):
        save(tmp_path, "mine/0_real/a.png", "mine/1_fake/b.png", "yours/1_fake/c.png", "yours/0_real/d.png")
        dataset = read_dataset(tmp_path)
        assert (dataset.layout, dataset.test_sets) == ("tree", {"mine": [0, 1], "yours": [2, 3]})

    def test_splits_of_a_tree(self, tmp_path, save):
        save(tmp_path, "train/fake/sd/a.png", "train/real/b.png", "test/fake/sd/c.png", "test/real/train/d.png")
        dataset = read_dataset(tmp_path)
        assert dataset.splits == ("test", "test", "train", "train")
        assert dataset.test_sets == {"sd": [0, 1]}
        assert read_dataset(tmp_path, split="train").test_sets == {"sd": [0, 1]}
        with pytest.raises(SourceError, match=r"split 'val' was asked for, .* has only test and train: give another"):
            read_dataset(tmp_path, split="val")
        with pytest.raises(SourceError, match="a split is train, val or test, got 'dev'"):
            read_dataset(tmp_path, split="dev")

    def test_without_splits(self, tmp_path, save):
        save(tmp_path, "fake/sd/a.png", "real/b.png")
        with pytest.raises(SourceError, match="names no split in its folders"):
            read_dataset(tmp_path, split="test")

    def test_one_class_alone(self, tmp_path, save):
        save(tmp_path, "fake/sd/a.png")
        dataset = read_dataset(tmp_path)
        assert dataset.test_sets == {}
        assert dataset.report.problems == ("there is no real image at all: nothing can be evaluated without.",)
        (tmp_path / "fake").rename(tmp_path / "real")
        assert read_dataset(tmp_path).report.problems == (
            "there is no fake image at all: only how many photographs are accused can be told.",
        )

    def test_links_that_lead_nowhere(self, tmp_path, save):
        save(tmp_path, "fake/sd/a.png", "real/b.png")
        (tmp_path / "real" / "c.png").symlink_to("nowhere.png")
        report = read_dataset(tmp_path).report
        assert report.missing_files == (f"{tmp_path}/real/c.png",)
        assert report.problems == (f"1 image whose path leads to no file: {tmp_path}/real/c.png.",)

    def test_manifest(self, tmp_path, save):
        save(tmp_path, "a.png", "test/fake/b.png")
        (tmp_path / "list.csv").write_text("path,label,generator\na.png,real,\ntest/fake/b.png,1,DALLE2\nc.png,0,\n")
        dataset = read_dataset(tmp_path / "list.csv")
        assert dataset.layout == "manifest"
        assert dataset.test_sets == {"DALL-E 2": [0, 1, 2]}
        assert dataset.splits == (None, "test", None)
        assert dataset.report.missing_files == (f"{tmp_path}/c.png",)

    def test_glob(self, tmp_path, save):
        save(tmp_path, "fake/sd/a.png", "real/b.png", "real/c.jpg")
        assert read_dataset(f"{tmp_path}/**/*.png").test_sets == {"sd": [0, 1]}

    def test_tar(self, tmp_path):
        with tarfile.open(tmp_path / "val-000.tar", "w") as tar:
            for name, data in {
                "a.png": b"x",
                "a.cls": b"0",
                "b.png": b"",
                "b.json": b'{"label":1,"generator":"SD14"}',
            }.items():
                info = tarfile.TarInfo(name)
                info.size = len(data)
                tar.addfile(info, io.BytesIO(data))
        dataset = read_dataset(tmp_path)
        assert (dataset.layout, dataset.splits) == ("tar", ("val", "val"))
        assert dataset.test_sets == {"SD v1.4": [0, 1]}
        assert dataset.report.empty_files == (f"{tmp_path}/val-000.tar/b.png",)

    def test_parquet_as_on_the_hub(self, tmp_path):
        features = {"label": {"names": ["real", "fake"]}, "generator": {"names": ["Real", "GLIDE", "SD15"]}}
        columns = {"image": [{"bytes": b"x", "path": None}] * 4, "label": [0, 1, 0, 1], "generator": [0, 1, 0, 2]}
        table = pa.table(columns).replace_schema_metadata({"huggingface": json.dumps({"info": {"features": features}})})
        (tmp_path / "data").mkdir()
        for name in ("train-00000-of-00001", "validation-00000-of-00001"):
            pq.write_table(table, tmp_path / "data" / f"{name}.parquet")
        dataset = read_dataset(tmp_path, "parquet")
        assert dataset.splits == ("train",) * 4 + ("val",) * 4
        assert dataset.test_sets == {"GLIDE": [4, 5, 6], "SD v1.5": [4, 6, 7]}
        assert read_dataset(tmp_path, split="train").test_sets == {"GLIDE": [0, 1, 2], "SD v1.5": [0, 2, 3]}


class TestMisfit:
    @pytest.mark.parametrize("layout", ["genimage", "aigcdetect", "forensynths", "chameleon"])
    def test_says_what_was_looked_for_and_what_was_found(self, tmp_path, save, layout):
        save(tmp_path, "fake/sd/a.png", "real/b.png")
        with pytest.raises(SourceError) as caught:
            read_dataset(tmp_path, layout)
        benchmark = BENCHMARKS[layout]
        for words in (benchmark.title, benchmark.tree, benchmark.generators[-1], "fake/sd, real", "another layout"):
            assert words in str(caught.value)

    def test_genimage_without_a_split(self, tmp_path, save):
        save(tmp_path, "ADM/ai/a.png", "ADM/nature/b.png")
        assert read_dataset(tmp_path).layout == "tree"
        with pytest.raises(SourceError, match="has images in ADM/ai, ADM/nature: give"):
            read_dataset(tmp_path, "genimage")

    def test_many_folders_are_cut_short(self, tmp_path, save):
        save(tmp_path, *(f"folder{index:02}/a.png" for index in range(12)))
        with pytest.raises(SourceError, match="folder00, .*, folder07 and 4 more: give"):
            read_dataset(tmp_path, "genimage")

    def test_another_kind_of_file(self, tmp_path, save):
        save(tmp_path, "fake/sd/a.png", "real/b.png")
        with pytest.raises(SourceError, match=r"layout 'tar' was asked for, but .* is a tree: give layout='tree'"):
            read_dataset(tmp_path, "tar")
        with pytest.raises(SourceError, match="a layout is one of auto, genimage, .*, got 'imagenet'"):
            read_dataset(tmp_path, "imagenet")

    def test_mostly_other_folders_are_a_tree(self, tmp_path, save):
        save(tmp_path, "progan/0_real/a.png", *(f"mine{index}/1_fake/a.png" for index in range(3)))
        assert read_dataset(tmp_path).layout == "tree"


class TestReport:
    def test_text(self, genimage):
        lines = read_dataset(genimage, split="val").report.to_text().splitlines()
        assert lines[0] == f"{genimage} (layout genimage)"
        assert lines[1:3] == [
            "generator   split  real  published  fake  published",
            "Midjourney  val       2      6,000     3      6,000",
        ]
        assert lines[4] == "SD v1.5     val       2      8,000     3      8,000"
        assert lines[10] == "all                  16               24"
        assert lines[11] == "published counts: arXiv 2306.08571, Sec. 3"
        assert lines[12] == "- Midjourney, split val: 2 real images, 5,998 fewer than the 6,000 published."

    def test_text_of_a_plain_tree(self, tmp_path, save):
        save(tmp_path, "fake/sd/a.png", "real/b.png")
        assert read_dataset(tmp_path).report.to_text().splitlines()[1:] == [
            "generator     split  real  fake",
            "sd                      0     1",
            "(none named)            1     0",
            "all                     1     1",
            "nothing is missing",
        ]

    def test_what_was_read_as_which_class(self, genimage, tmp_path, save):
        assert read_dataset(genimage, split="val").report.read_as_sentence == (
            "read nature/ (16) as photographs and ai/ (24) as generated images"
        )
        save(tmp_path, "mine/Real/a.png", "mine/real/b.png", "mine/0_real/fake/c.png", "mine/FAKE/real/d.png")
        assert read_dataset(tmp_path / "mine").report.read_as == (
            ReadAs(0, "0_real", 1),
            ReadAs(1, "FAKE", 1),
            ReadAs(0, "Real", 1),
            ReadAs(0, "real", 1),
        )
        save(tmp_path, "nature/e.png")
        alone = read_dataset(tmp_path / "nature").report
        assert alone.read_as_sentence == "read nature/ (1) as photographs and nothing as generated images"

    def test_labels_that_no_folder_tells(self, tmp_path, save):
        save(tmp_path, "a.png", "fake/b.png", "fake/c.png")
        (tmp_path / "list.csv").write_text("path,label\na.png,real\nfake/b.png,1\nfake/c.png,0\n")
        assert read_dataset(tmp_path / "list.csv").report.read_as_sentence == (
            "read labels beside the images (2) as photographs and fake/ (1) as generated images"
        )

    def test_dict_is_json(self, genimage):
        report = read_dataset(genimage, split="val").report
        values = json.loads(json.dumps(report.to_dict()))
        assert values["counts"][0] == {
            "generator": "Midjourney", "split": "val", "real": 2, "fake": 3,
            "published": {"real": 6000, "fake": 6000, "total": None},
        }  # fmt: skip
        assert (values["layout"], values["split"], values["num_real"], values["num_fake"]) == (
            "genimage",
            "val",
            16,
            24,
        )
        assert set(values) == {field.name for field in dataclasses.fields(DataSetReport)} | {"num_real", "num_fake"}

    def test_long_lists_are_cut_short(self, tmp_path, save):
        save(tmp_path, "fake/sd/a.png", "real/b.png")
        for index in range(7):
            (tmp_path / "real" / f"empty{index}.png").touch()
        report = read_dataset(tmp_path).report
        assert len(report.empty_files) == 7
        assert report.problems[0].startswith("7 images of 0 bytes: ")
        assert report.problems[0].endswith("empty4.png and 2 more.")


class TestPublished:
    def test_genimage_adds_up_to_what_the_paper_says(self):
        counts = BENCHMARKS["genimage"].counts
        assert len(counts) == 16
        assert sum(count.fake for count in counts.values()) == 1_350_000
        assert sum(count.real for (_, split), count in counts.items() if split == "val") == 50_000
        assert {count.real for (_, split), count in counts.items() if split == "train"} == {None}

    def test_two_sources_agree_where_they_count_the_same_images(self):
        aigcdetect = {name: count.total for (name, _), count in BENCHMARKS["aigcdetect"].counts.items()}
        shared = {name: count for (name, _), count in BENCHMARKS["forensynths"].counts.items() if name in aigcdetect}
        assert len(shared) > 5
        for name, count in shared.items():
            total = count.total or count.real + count.fake
            assert abs(total - aigcdetect[name]) < 100, name
        for (name, split), count in BENCHMARKS["genimage"].counts.items():
            if split == "val" and name != "BigGAN":  # ForenSynths's in AIGCDetectBenchmark
                assert count.real + count.fake == aigcdetect[name]

    def test_names_of_folders_are_those_of_their_generators(self):
        for name, folders in GENIMAGE.items():
            assert {canonical_generator(folder) for folder in folders} == {name}
        for names in (AIGCDETECT, FORENSYNTHS):
            assert {name: canonical_generator(folder) for name, folder in names.items()} == {
                name: name for name in names
            }
        for names, layout in ((GENIMAGE, "genimage"), (AIGCDETECT, "aigcdetect"), (FORENSYNTHS, "forensynths")):
            assert list(names) == BENCHMARKS[layout].generators
        assert canonical_generator("my own") == "my own"
        assert known_generator("my own") is None
        for benchmark in BENCHMARKS.values():
            assert all(known_generator(name) == name for name in benchmark.generators)

    def test_records_keep_their_place(self, tmp_path):
        with tarfile.open(tmp_path / "x.tar", "w") as tar:
            info = tarfile.TarInfo("fake/DALLE2/a.png")
            info.size = 1
            tar.addfile(info, io.BytesIO(b"x"))
        (record,) = read_dataset(Path(tmp_path)).records
        assert record == ImageRecord(f"{tmp_path}/x.tar/fake/DALLE2/a.png", 1, "DALL-E 2", record.place)
        assert record.place.size == 1
