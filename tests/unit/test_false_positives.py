"""The regression set of photographs and its table: benchmarks/false_positives."""

import csv
import dataclasses
import hashlib
import io
import json
import sys
from pathlib import Path

import numpy as np
import pytest
import yaml
from PIL import Image
from scipy.ndimage import convolve
from scipy.stats import binomtest

sys.path.append(str(Path(__file__).resolve().parents[2]))  # benchmarks are no part of the installed package

from benchmarks.false_positives import cameras, paper, pixels
from benchmarks.false_positives.__main__ import main
from benchmarks.false_positives.page import MARKS, PAGE, render, with_table
from benchmarks.false_positives.pictures import (
    RECIPES,
    Manifest,
    ManifestError,
    Picture,
    Source,
    make,
    read_manifest,
)
from benchmarks.false_positives.record import Judged, Record, measure, read_records, save_records, with_record
from benchmarks.false_positives.table import clustered_interval, tabulate, to_markdown

from cinemae.detect.detector import Detector
from cinemae.pictures.file_facts import read_facts
from cinemae.sources.layouts import read_dataset

ROOT = Path(__file__).resolve().parents[2]
MANIFEST = read_manifest()


def open_picture(encoded: bytes) -> Image.Image:
    return Image.open(io.BytesIO(encoded))


def named(key: str) -> Picture:
    return next(picture for picture in MANIFEST.pictures if picture.key == key)


class TestManifest:
    @pytest.mark.parametrize("source", MANIFEST.sources.values(), ids=lambda source: source.name)
    def test_every_file_is_in_its_package_and_says_whose_it_is(self, source: Source):
        assert hashlib.sha256(source.read()).hexdigest() == source.sha256
        assert source.licence

    def test_categories(self):
        counts = {name: sum(one.category == name for one in MANIFEST.pictures) for name in MANIFEST.about}
        assert len(counts) >= 15
        assert min(counts.values()) >= 6
        assert sum(counts.values()) == len(MANIFEST.pictures) >= 150
        assert all(MANIFEST.about.values())

    def test_nothing_lies_idle(self):
        assert {one.source.name for one in MANIFEST.pictures if one.source} == set(MANIFEST.sources)
        assert {one.recipe for one in MANIFEST.pictures if one.recipe} == set(RECIPES)

    def test_the_form_for_reports_offers_the_same_categories(self):
        form = yaml.safe_load((ROOT / ".github/ISSUE_TEMPLATE/false-accusation.yml").read_text(encoding="utf-8"))
        (options,) = (one["attributes"]["options"] for one in form["body"] if one.get("id") == "category")
        assert options == [*MANIFEST.about, "like none of them"]

    def test_each_picture_says_where_it_comes_from(self):
        assert named("night/rocket.jpg").origin == "skimage/data/rocket.jpg"
        assert named("night/china-night-mode.jpg").origin == "sklearn/datasets/images/china.jpg, through night"
        assert named("graphics/chart-2.png").origin == "drawn by chart"

    @pytest.mark.parametrize(
        ("line", "sentence"),
        [
            ('{ of = ["rocket", "moonshot"] }', "night: there is no source moonshot: add it"),
            ('{ of = ["rocket"], recipe = "melt", save = "png" }', "night: a recipe is one of .*, got 'melt'"),
            ('{ of = ["rocket"], recipe = "night", save = "png" }', "the options of night do not fit: .*'stops'"),
            ('{ of = ["rocket", "rocket"] }', "night/rocket.jpg stands twice: give it a tag"),
        ],
    )
    def test_mistakes_are_named(self, tmp_path: Path, line: str, sentence: str):
        source = {"name": "rocket", "package": "skimage", "path": "data/rocket.jpg", "sha256": "0", "licence": "x"}
        text = "[[source]]\n" + "".join(f'{key} = "{value}"\n' for key, value in source.items())
        (tmp_path / "m.toml").write_text(f'{text}[[category]]\nname = "night"\nabout = "x"\npictures = [{line}]\n')
        with pytest.raises(ManifestError, match=sentence):
            read_manifest(tmp_path / "m.toml")

    def test_another_file_or_none(self):
        rocket = MANIFEST.sources["rocket"]
        with pytest.raises(ManifestError, match=f"rocket.jpg must have the SHA-256 0a, got {rocket.sha256}"):
            dataclasses.replace(rocket, sha256="0a").read()
        with pytest.raises(ManifestError, match="rocket is a file of not_there, which is not installed: pip install"):
            dataclasses.replace(rocket, package="not_there").read()


@pytest.fixture(scope="module")
def one_of_each() -> tuple[Picture, ...]:
    """For each recipe and set of options, the picture whose source is the smallest file."""
    found: dict[tuple, Picture] = {}
    for picture in sorted(MANIFEST.pictures, key=lambda one: len(one.source.read()) if one.source else 0):
        found.setdefault((picture.recipe, tuple(picture.options)), picture)
    return tuple(found.values())


@pytest.fixture(scope="module")
def made(one_of_each, tmp_path_factory) -> Path:
    folder = tmp_path_factory.mktemp("set")
    make(folder, one_of_each)
    return folder


class TestMake:
    @pytest.mark.slow
    def test_the_same_bytes_each_time(self, one_of_each, made: Path):
        assert {picture.recipe for picture in one_of_each} == {None, *RECIPES}
        for picture in one_of_each:
            assert (made / "real" / picture.key).read_bytes() == picture.encode(), picture.key

    def test_no_two_alike(self, made: Path):
        digests = [hashlib.sha256(file.read_bytes()).hexdigest() for file in made.rglob("real/*/*")]
        assert len(set(digests)) == len(digests)
        drawn = [named(f"graphics/landscape-{number}.png").encode() for number in (1, 2)]
        assert drawn[0] != drawn[1]

    def test_every_picture_can_be_read_and_holds_something(self, one_of_each, made: Path):
        for picture in one_of_each:
            with Image.open(made / "real" / picture.key) as image:
                values = np.asarray(image.convert("RGB"), np.float32)
            assert min(values.shape[:2]) >= 80, picture.key
            assert values.std() > 3, picture.key

    def test_what_ships_is_passed_on_as_it_is(self):
        assert named("everyday/hopper.jpg").encode() == MANIFEST.sources["hopper"].read()

    def test_saved_as_told(self):
        assert read_facts(named("old-camera/coffee-old-camera-phone.jpg").encode()).jpeg_quality == 30
        assert open_picture(named("screenshot/chelsea-post.png").encode()).format == "PNG"

    def test_the_list_is_a_data_set_of_photographs_by_category(self, one_of_each, made: Path):
        rows = list(csv.DictReader((made / "pictures.csv").read_text(encoding="utf-8").splitlines()))
        assert [row["path"] for row in rows] == [f"real/{picture.key}" for picture in one_of_each]
        assert {row["label"] for row in rows} == {"real"}
        for row in rows:
            assert hashlib.sha256((made / row["path"]).read_bytes()).hexdigest() == row["sha256"]
            assert row["licence"] or row["origin"].startswith("drawn by")
        for source in (made, made / "pictures.csv"):
            records = read_dataset(source).records
            assert {record.label for record in records} == {0}
            assert {record.generator for record in records} == {picture.category for picture in one_of_each}

    def test_a_folder_that_holds_something(self, tmp_path: Path):
        (tmp_path / "mine.txt").touch()
        with pytest.raises(ManifestError, match="new or empty folder, .* holds something: give another"):
            make(tmp_path)


class TestPixels:
    def test_the_curve_of_srgb(self):
        levels = np.linspace(0, 1, 256, dtype=np.float32)
        assert np.abs(pixels.to_srgb(pixels.to_linear(levels)) - levels).max() < 1e-5
        assert pixels.to_linear(np.float32([0.5]))[0] == pytest.approx(0.21404114, abs=1e-6)  # IEC 61966-2-1

    def test_convolution_repeats_the_edges(self):
        rng = np.random.default_rng(0)
        values, kernel = rng.random((9, 7, 3), np.float32), rng.random((3, 5), np.float32) / 15
        expected = np.stack([convolve(values[..., c], kernel, mode="nearest") for c in range(3)], axis=-1)
        assert np.abs(pixels.convolved(values, kernel) - expected).max() < 1e-6

    @pytest.mark.parametrize("size", [(640, 480), (100, 300), (303, 101)])
    def test_fitted_is_exactly_that_size(self, picture, size):
        assert pixels.fitted(picture(1, 451, 300), *size).size == size

    def test_transparent_is_white(self):
        assert pixels.to_pixels(Image.new("RGBA", (2, 2), (0, 0, 0, 0))).min() == 1


class TestRecipes:
    """They do what they claim."""

    @pytest.fixture
    def china(self) -> Image.Image:
        return open_picture(MANIFEST.sources["china"].read())

    def test_night_is_dark_and_noisy_and_its_mode_less_of_both(self, china):
        flat = Image.new("RGB", (200, 200), (128, 128, 128))
        dark, mode = (
            pixels.luma(pixels.to_pixels(cameras.night(flat, np.random.default_rng(1), stops=4.5, frames=frames)))
            for frames in (1, 6)
        )
        assert dark.mean() < mode.mean() < 0.5
        noise = [(grey - pixels.blurred(grey, 2.0))[80:120, 80:120].std() for grey in (dark, mode)]
        assert noise[1] < noise[0] / 2
        assert noise[0] > 0.01

    def test_more_light_less_noise(self):
        flat = Image.new("RGB", (200, 200), (128, 128, 128))
        seen = [
            pixels.to_pixels(cameras.night(flat, np.random.default_rng(1), stops=stops)).std() for stops in (2.0, 6.0)
        ]
        assert seen[0] < seen[1]

    def test_a_bayer_sensor_keeps_what_has_one_colour(self):
        flat = np.broadcast_to(np.float32([0.2, 0.5, 0.8]), (12, 14, 3))
        assert np.abs(cameras._demosaiced(flat) - flat).max() < 1e-6

    def test_a_bayer_sensor_colours_what_is_fine(self):
        lines = np.zeros((20, 20, 3), np.float32)
        lines[:, ::2] = 1  # grey lines of a pixel's width
        seen = cameras._demosaiced(lines)
        assert np.ptp(seen, axis=-1).max() > 0.5

    @pytest.mark.parametrize("angle", [0, 15, 45, 75])
    def test_halftone_dots_cover_the_more_the_darker(self, angle):
        covers = [paper._dots(np.full((240, 240), amount, np.float32), angle, 6.0).mean() for amount in (0.1, 0.5, 0.9)]
        assert covers[1] == pytest.approx(0.5, abs=0.03)
        assert covers[0] == pytest.approx(1 - covers[2], abs=0.03)
        assert covers[0] < 0.2

    def test_shallow_focus_is_sharp_inside_only(self, china):
        soft = cameras.shallow_focus(china, np.random.default_rng(0), centre=[0.25, 0.5], radii=[0.2, 0.4], blur=8)
        before, after = (pixels.luma(pixels.to_pixels(image)) for image in (china, soft))
        height, width = before.shape
        inside = np.s_[height // 3 : height // 2, width // 5 : width // 4]
        outside = np.s_[height - 100 :, width - 200 :]
        assert np.abs(before[inside] - after[inside]).max() < 0.01
        assert np.diff(after[outside], axis=1).std() < np.diff(before[outside], axis=1).std() / 4

    def test_shapes(self, china):
        assert open_picture(named("portrait/hopper-passport.jpg").encode()).size == (413, 531)
        wide = open_picture(named("panorama/china-panorama.jpg").encode())
        assert wide.width > 2.5 * wide.height
        assert open_picture(named("thumbnail/rocket-small.jpg").encode()).size == (120, 80)
        assert open_picture(named("black-and-white/rocket-black-and-white.jpg").encode()).mode == "L"

    def test_few_colours(self):
        poster = open_picture(named("painterly/flower-poster.png").encode())
        assert len(poster.getcolors()) == 8


def record(pictures: dict[str, tuple[str, float]], version: str = "2.0", digest: str = "a") -> Record:
    judged = {key: Judged(prob, verdict, ("small",), digest) for key, (verdict, prob) in pictures.items()}
    return Record("2026-01-02T03:04:05+00:00", version, None, "m@1", 0.8, 0.3, "by hand", {"numpy": version}, judged)


SOURCES = {name: Source(name, "package", f"{name}.png", "0", "CC0") for name in ("cat", "dog")}
SMALL = Manifest(
    SOURCES,
    {"night": "dark", "day": "bright"},
    tuple(
        Picture(category, f"{name}-{number}.png", SOURCES[name])
        for category, name, number in (("day", "cat", 1), ("day", "cat", 2), ("night", "dog", 1), ("night", "cat", 3))
    ),
)
BEFORE = record(
    {
        "day/cat-1.png": ("real", 0.1),
        "day/cat-2.png": ("ai", 0.9),
        "night/dog-1.png": ("uncertain", 0.5),
        "night/gone.png": ("ai", 0.95),
    },
    "1.0",
)
AFTER = record(
    {
        "day/cat-1.png": ("real", 0.25),
        "day/cat-2.png": ("uncertain", 0.7),
        "night/dog-1.png": ("ai", 0.82),
        "night/cat-3.png": ("ai", 0.9),
    }
)


class TestTable:
    def test_worst_first_with_wilsons_intervals(self):
        night, day, everything = tabulate(AFTER, None, SMALL)
        assert [night.category, day.category, everything.category] == ["night", "day", "all pictures"]
        for share, hits, n in (
            (night.accused, 2, 2),
            (day.accused, 0, 2),
            (day.unsure, 1, 2),
            (everything.accused, 2, 4),
        ):
            exact = binomtest(hits, n).proportion_ci(method="wilson")
            assert (share.value, share.low, share.high, share.n) == (hits / n, exact.low, exact.high, n)
        assert (night.num_originals, day.num_originals, everything.num_originals) == (2, 1, 2)
        assert (night.accused_before, night.change) == (None, None)

    def test_before_is_of_the_pictures_that_both_hold(self):
        night, day, everything = tabulate(AFTER, BEFORE, SMALL)
        assert (night.accused_before.value, night.accused_before.n, night.unsure_before.value) == (0, 1, 1)
        assert night.change == pytest.approx(0.32)
        assert (day.accused_before.value, day.change) == (0.5, pytest.approx((0.15 - 0.2) / 2))
        assert (everything.accused_before.n, everything.change) == (3, pytest.approx((0.15 - 0.2 + 0.32) / 3))

    def test_in_words(self):
        text = to_markdown(AFTER, BEFORE, SMALL)
        assert "Before: cinemae 1.0 at commit unknown, model m@1" in text
        assert "1 pictures are new, 1 are gone" in text
        assert "other bytes" not in text
        assert (
            "| night | 2 | 2 | 0 (0 % [0, 79]) | 2 (100 % [34, 100]) | 1 (100 % [21, 100]) | 0 (0 % [0, 66]) | +0.320 |"
            in text
        )
        assert "Other verdicts: 2. Moved by 0.1 or more: 1." in text
        lines = [line for line in text.splitlines() if line.startswith(("| day/", "| night/"))]
        assert lines == [
            "| night/dog-1.png | uncertain 0.500 | ai 0.820 | +0.320 |",
            "| day/cat-2.png | ai 0.900 | uncertain 0.700 | -0.200 |",
            "| day/cat-1.png | real 0.100 | real 0.250 | +0.150 |",
        ]
        assert 'By original, called "ai" now: dog 1 of 1, cat 1 of 3.' in text
        assert "night/cat-3.png 0.900 (small); night/dog-1.png 0.820 (small)." in text

    def test_other_bytes_are_said(self):
        other = dataclasses.replace(
            AFTER, pictures={key: dataclasses.replace(one, sha256="b") for key, one in AFTER.pictures.items()}
        )
        assert "3 pictures have other bytes than before (numpy 1.0 → 2.0)" in to_markdown(other, BEFORE, SMALL)

    def test_nobody_accused_and_nothing_moved(self):
        calm = record({"day/cat-1.png": ("real", 0.1)})
        text = to_markdown(calm, record({"day/cat-1.png": ("real", 0.15)}, "1.0"), SMALL)
        assert "No verdict is another, and no `prob_fake` moved by 0.1 or more." in text
        assert text.endswith('No picture is called "ai" now.')

    def test_whole_originals_are_drawn(self):
        assert clustered_interval({"a": 10}, {"a": 10, "b": 10}) == (0.0, 1.0)
        rng = np.random.default_rng(0)
        many = {str(name): int(hit) for name, hit in enumerate(rng.random(400) < 0.2)}
        found = clustered_interval(many, dict.fromkeys(many, 1))
        exact = binomtest(sum(many.values()), 400).proportion_ci(method="wilson")
        assert found == pytest.approx((exact.low, exact.high), abs=0.015)  # one picture each: nearly that of pictures


class TestRecords:
    def test_round_trip_and_one_a_version(self, tmp_path: Path):
        path = tmp_path / "records.json"
        assert read_records(path) == []
        save_records([BEFORE, AFTER], path)
        assert read_records(path) == [BEFORE, AFTER]
        assert sum('"prob_fake"' in line for line in path.read_text().splitlines()) == 8  # a line a picture
        again = dataclasses.replace(AFTER, threshold=0.9)
        assert with_record([BEFORE, AFTER], again) == [BEFORE, again]
        assert json.loads(path.read_text())[0]["cinemae"] == "1.0"

    def test_the_committed_record_is_of_this_set(self):
        newest = read_records()[-1]
        assert set(newest.pictures) == {picture.key for picture in MANIFEST.pictures}

    @pytest.mark.usefixtures("one_thread")
    def test_measured_by_evaluate_and_judged_as_detect_does(self, tiny_model: Path, made: Path, tmp_path: Path):
        found = measure(made, str(tiny_model), tmp_path / "report")
        detector = Detector.from_pretrained(tiny_model)
        assert (found.model, found.threshold, found.real_below) == (detector.model_id, 0.6, 0.4)
        assert len(found.pictures) == sum(1 for _ in made.rglob("real/*/*"))
        for key in list(found.pictures)[::9]:
            verdict = detector.detect(made / "real" / key)
            one = found.pictures[key]
            assert (one.verdict, one.warnings) == (verdict.verdict, verdict.warnings)
            assert one.prob_fake == pytest.approx(verdict.prob_fake, abs=1e-5)
            assert hashlib.sha256((made / "real" / key).read_bytes()).hexdigest().startswith(one.sha256)
        assert "Photographs accused" in (tmp_path / "report/report.md").read_text()


class TestCommandLine:
    def test_a_model_against_itself(self, tiny_model: Path, tmp_path: Path, capsys):
        make(tmp_path / "set", (named("night/rocket.jpg"),))
        model = str(tiny_model)
        main(["compare", "--pictures", str(tmp_path / "set"), "--before", model, "--after", model])
        printed = capsys.readouterr().out
        assert printed.startswith("Before: cinemae ")
        assert "| all pictures | 1 | 1 |" in printed
        assert "No verdict is another" in printed

    def test_errors_are_a_sentence(self, tmp_path: Path, made: Path):
        (tmp_path / "mine.txt").touch()
        with pytest.raises(SystemExit, match="error: the pictures need a new or empty folder"):
            main(["make", str(tmp_path)])
        with pytest.raises(SystemExit, match=r"error: .*nowhere.json holds no record"):
            main(["compare", "--pictures", str(made), "--before", str(tmp_path / "nowhere.json")])


def test_the_page_is_what_the_records_give():
    assert PAGE.read_text(encoding="utf-8") == render()


def test_the_page_keeps_its_own_text():
    page = f"before\n\n{MARKS[0]}\nold\n{MARKS[1]}\n\nafter\n"
    once = with_table(page, [BEFORE, AFTER], SMALL)
    assert once.startswith("before\n\n")
    assert once.endswith("\n\nafter\n")
    assert "old\n" not in once
    assert "Before: cinemae 1.0" in once
    assert "| cat | `package/cat.png` | CC0 | 3 |" in once
    assert with_table(once, [BEFORE, AFTER], SMALL) == once
    assert "Not measured yet." in with_table(page, [], SMALL)
    with pytest.raises(ManifestError, match="must hold the two marks"):
        with_table("no marks", [], SMALL)
