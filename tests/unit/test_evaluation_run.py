"""Running detectors over a test set, and whole evaluations: what is scored, refused, counted and kept apart."""

import math
import re
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from cinemae.detect.detector import Detector
from cinemae.errors import ConfigError, EvaluationError, SourceError
from cinemae.evaluation.detectors import PictureSet, Setup, make_sources
from cinemae.evaluation.evaluate import Plan, conditions_of, evaluate, judged_records, picture_set
from cinemae.evaluation.pictures import PictureList, find_duplicates, refuse_shared_images, survey
from cinemae.evaluation.predictions import Column, Predictions
from cinemae.evaluation.run import BATCH_SIZE, Batch, run
from cinemae.models.directory import read_model_config
from cinemae.pictures.corruptions import parse_condition
from cinemae.pictures.file_facts import read_facts
from cinemae.pictures.image import load_image
from cinemae.sources.datasets import read_records
from cinemae.sources.layouts import read_dataset
from cinemae.sources.records import ImageRecord

pytestmark = pytest.mark.usefixtures("one_thread")


class _Source:
    """A source whose scores are given by a function of a batch."""

    def __init__(self, scores, outputs="score", name="mine"):
        self.columns = (Column(name, outputs=outputs),)
        self._scores = scores

    def score(self, batch):
        return self._scores(batch)


class TestRun:
    def test_scores_are_those_of_each_picture_in_its_place(self, tested: Path):
        records = read_records(tested)
        seen = []

        def score(batch: Batch):
            seen.append(len(batch.pictures))
            assert all(picture.mode == "RGB" for picture in batch.pictures)
            return np.array([[np.asarray(picture).mean()] for picture in batch.pictures])

        counts = []
        found = run(records, [_Source(score)], about={"a": 1}, progress=lambda *done: counts.append(done))
        expected = [np.asarray(load_image(record.path).image).mean() for record in records]
        assert found.of(found.columns[0]).tolist() == expected
        assert found.images.path.tolist() == [record.path for record in records]
        assert found.images.label.tolist() == [record.label for record in records]
        assert found.images.generator.tolist() == [record.generator for record in records]
        assert found.images.content_hash.tolist() == [load_image(record.path).content_hash for record in records]
        assert seen == [BATCH_SIZE, 20 - BATCH_SIZE]
        assert counts == [(16, 20), (20, 20)]
        assert found.about == {"a": 1}

    def test_conditions_alter_the_decoded_picture_the_same_each_time(self, tested: Path):
        records = read_records(tested)
        conditions = ["raw", "aligned", "noise=20", "resize=0.50+jpeg=50"]
        source = _Source(lambda batch: np.array([[np.asarray(picture).std()] for picture in batch.pictures]))
        one, again = (run(records, [source], conditions, seed=3) for _ in range(2))
        other = run(records[::-1], [source], conditions, seed=4)
        assert one.conditions == ("raw", "aligned", "noise=20", "resize=0.5+jpeg=50")
        loaded = [load_image(record.path) for record in records]
        for condition in one.conditions:
            expected = [
                np.asarray(parse_condition(condition).apply(each.image, each.content_hash, 3)).std() for each in loaded
            ]
            assert one.scores[condition][:, 0].tolist() == again.scores[condition][:, 0].tolist() == expected
        assert (other.scores["noise=20"][::-1] != one.scores["noise=20"]).all()  # another seed, other noise
        assert (other.scores["raw"][::-1] == one.scores["raw"]).all()

    def test_facts_of_files_are_kept(self, tmp_path: Path, picture):
        picture(4).save(tmp_path / "a.jpg", quality=77)
        picture(0).save(tmp_path / "b.png")
        records = [ImageRecord(str(tmp_path / "a.jpg"), 1), ImageRecord(str(tmp_path / "b.png"), 0)]
        images = run(records, [_Source(lambda batch: np.zeros((len(batch.pictures), 1)))]).images
        facts = read_facts(tmp_path / "a.jpg")
        assert images.container.tolist() == ["JPEG", "PNG"]
        assert images.jpeg_quality[0] == facts.jpeg_quality == 77
        assert math.isnan(images.jpeg_quality[1])
        assert images.num_bytes[0] == (tmp_path / "a.jpg").stat().st_size
        assert (images.width[0], images.height[0], images.generator[0]) == (60, 50, "")

    def test_an_image_that_cannot_be_read_is_a_row_without_scores(self, tmp_path: Path, write_set):
        write_set(tmp_path, 0, 2)
        (tmp_path / "fake/sd/empty.png").touch()
        (tmp_path / "real/slr/text.jpg").write_text("no picture")
        found = run(
            read_records(tmp_path), [_Source(lambda batch: np.ones((len(batch.pictures), 1)))], ["raw", "blur=1"]
        )
        assert len(found.images) == 10
        assert found.images.readable.sum() == 8
        wrong = found.images.chosen(~found.images.readable)
        assert "is empty (0 bytes)" in wrong.error_message[0]
        assert "an image must be one of JPEG" in wrong.error_message[1]
        for scores in found.scores.values():
            assert np.isnan(scores[~found.images.readable]).all()
            assert (scores[found.images.readable] == 1).all()

    def test_a_picture_that_a_corruption_refuses_has_no_score_under_any(self, tmp_path: Path, write_set):
        write_set(tmp_path, 0, 2)
        Image.new("RGB", (16_384, 1)).save(tmp_path / "fake/sd/long.png")  # one pixel more than WebP takes
        found = run(
            read_records(tmp_path),
            [_Source(lambda batch: np.ones((len(batch.pictures), 1)))],
            ["raw", "webp=50", "grayscale"],
        )
        (message,) = found.images.error_message[~found.images.readable]
        assert message.startswith("under webp=50: ")
        long = found.images.path == str(tmp_path / "fake/sd/long.png")
        assert (long == ~found.images.readable).all()
        assert all(np.isnan(scores[long]).all() and (scores[~long] == 1).all() for scores in found.scores.values())
        assert found.images.width[long].tolist() == [16_384]

    def test_a_column_may_keep_silent_under_a_corruption_but_not_on_the_files_as_they_are(self, tested: Path):
        records = read_records(tested)

        def silent_under(condition):
            return _Source(
                lambda batch: np.full((len(batch.pictures), 1), np.nan if batch.condition == condition else 0)
            )

        found = run(records, [silent_under("blur=1")], ["raw", "blur=1"])
        assert np.isnan(found.scores["blur=1"]).all()
        with pytest.raises(
            EvaluationError, match=r"a score must be a finite number, mine returned \[nan\] for .*0.png"
        ):
            run(records, [silent_under("raw")])

    @pytest.mark.parametrize("value", [np.nan, np.inf, -np.inf])
    def test_a_score_that_is_no_finite_number(self, tested: Path, value: float):
        def score(batch: Batch):
            return np.array([[value if path.endswith("slr/3.png") else 0.5] for path in batch.images.path])

        shown = re.escape(str([value]))
        match = f"mine returned {shown} for .*slr/3.png under blur=1: mend the detector, or leave the image out"
        with pytest.raises(EvaluationError, match=match):
            run(read_records(tested), [_Source(score)], ["blur=1"])

    @pytest.mark.parametrize("value", [-0.001, 1.001, 80.0])
    def test_a_probability_outside_its_range(self, tested: Path, value: float):
        source = _Source(lambda batch: np.full((len(batch.pictures), 1), value), outputs="probability")
        with pytest.raises(
            EvaluationError, match=rf'values in \[0, 1\], mine returned {value:g}: set its outputs to "sc'
        ):
            run(read_records(tested), [source])
        source.columns = (replace(source.columns[0], outputs="score"),)
        assert (run(read_records(tested), [source]).scores["raw"] == value).all()

    @pytest.mark.parametrize("shape", [(15, 1), (16, 2), (16,), (1, 16), ()])
    def test_another_number_of_scores(self, tested: Path, shape: tuple[int, ...]):
        source = _Source(lambda batch: np.zeros(shape))
        message = f"mine must return one score an image, 16 of them, got an array of shape {re.escape(str(shape))}"
        with pytest.raises(EvaluationError, match=message):
            run(read_records(tested), [source])

    def test_two_detectors_of_one_name_are_refused_before_anything_is_scored(self, tested: Path):
        def score(batch: Batch):
            raise AssertionError

        with pytest.raises(EvaluationError, match="may have one column, got mine, mine: rename one"):
            run(read_records(tested), [_Source(score), _Source(score)])

    def test_no_detector_or_no_such_condition(self, tested: Path):
        with pytest.raises(EvaluationError, match="needs at least one detector, none was given"):
            run(read_records(tested), [])
        with pytest.raises(ConfigError, match="a condition is one of raw, .* got 'melt=1'"):
            run(read_records(tested), [_Source(None)], ["raw", "melt=1"])

    def test_sets_that_cannot_be_judged(self, tested: Path, tmp_path: Path):
        records, source = read_records(tested), _Source(lambda batch: np.zeros((len(batch.pictures), 1)))
        with pytest.raises(EvaluationError, match="1 of 2 carry no label, such as x.png: name folders real/ and fake/"):
            run([replace(records[0], path="x.png", label=None), records[1]], [source])
        with pytest.raises(EvaluationError, match="the test set needs photographs .* it holds 0 and 10 that can be"):
            run([record for record in records if record.label == 1], [source])
        with pytest.raises(EvaluationError, match="it holds 0 and 0 that can be read"):
            run([], [source])
        (tmp_path / "broken.png").touch()
        unreadable = [ImageRecord(str(tmp_path / "broken.png"), 1), *(one for one in records if one.label == 0)]
        with pytest.raises(EvaluationError, match="it holds 10 and 0 that can be read"):
            run(unreadable, [source])


class TestOurModel:
    def test_scores_are_those_of_the_detector_and_each_mask_seed_is_a_column(self, tiny_model: Path, tested: Path):
        config = read_model_config(tiny_model)
        (source,) = make_sources(["cinemae"], Setup(model=str(tiny_model), device="cpu", mask_seeds=3))
        first = config.extractor.mask.seed
        assert [column.key for column in source.columns] == [("cinemae", None, first + index) for index in range(3)]
        assert {column.threshold for column in source.columns} == {config.decision.threshold}
        found = run(read_records(tested), [source], ["raw", "aligned", "jpeg=50"])
        detector = Detector.from_pretrained(tiny_model)
        verdicts = [detector.detect(path).prob_fake for path in found.images.path.tolist()]
        np.testing.assert_allclose(found.scores["raw"][:, 0], verdicts, atol=1e-6)
        assert (found.scores["raw"][:, 1] != found.scores["raw"][:, 0]).any()
        assert np.isfinite(found.scores["aligned"]).all()
        assert np.isfinite(found.scores["jpeg=50"][:, 0]).all()
        assert np.isnan(found.scores["jpeg=50"][:, 1:]).all()  # the curves are drawn for the model as it is


class TestPictures:
    def test_pictures_are_decoded_when_asked_for(self, training: PictureSet, monkeypatch):
        calls = []
        real = load_image
        monkeypatch.setattr("cinemae.evaluation.pictures.load_image", lambda path: calls.append(path) or real(path))
        pictures = training.pictures
        part = pictures[4:6]
        assert isinstance(part, PictureList)
        assert (len(part), calls) == (2, [])
        assert part[1].tobytes() == real(pictures.records[5].path).image.tobytes()
        assert pictures[-1].mode == "RGB"
        assert len(calls) == 2
        assert len(list(part)) == 2

    def test_a_quarter_of_each_group_is_held_out(self, training: PictureSet):
        fitted, held_out = training.split(0)
        assert (len(fitted.pictures), len(held_out.pictures)) == (24, 8)
        assert set(fitted.images.path) | set(held_out.images.path) == set(training.images.path)
        assert sorted(held_out.images.generator.tolist()) == ["gan", "gan", "phone", "phone", "sd", "sd", "slr", "slr"]
        assert [record.path for record in held_out.pictures.records] == held_out.images.path.tolist()

    def test_overlap_is_told_by_content_whatever_the_name(self, tmp_path: Path, picture):
        for name, seed in (("a", 1), ("b", 2), ("c", 1), ("d", 1)):
            picture(5 * seed).save(tmp_path / f"{name}.png")
        (tmp_path / "e.png").touch()
        (tmp_path / "f.png").touch()
        images = survey([ImageRecord(str(tmp_path / f"{name}.png"), 0) for name in "abcdef"])
        assert find_duplicates(images) == [
            (str(tmp_path / "c.png"), str(tmp_path / "a.png")),
            (str(tmp_path / "d.png"), str(tmp_path / "a.png")),
        ]
        refuse_shared_images(images.chosen([0, 4]), images.chosen([1, 5]))  # two that cannot be read are not one
        with pytest.raises(EvaluationError) as error:
            refuse_shared_images(images.chosen([0, 1]), images.chosen([2, 3]))
        assert str(error.value) == (
            "no image may be in two sets; 2 of the test images are in the training set as well, such as "
            f"{tmp_path / 'c.png'}: take them out, or allow it (--allow-overlap) and trust no figure."
        )


class TestWholeEvaluations:
    def test_an_image_in_training_and_test_set_is_refused_or_allowed(
        self, tmp_path: Path, trained_on: Path, tested: Path, write_set
    ):
        root = write_set(tmp_path / "test", 0, 3)
        copy = root / "fake/sd/copy.png"
        copy.write_bytes((trained_on / "fake/sd/0.png").read_bytes())
        plan = Plan(str(root), detectors=("fredect,crop=48",), train=str(trained_on), setup=Setup(seeds=1), examples=0)
        with pytest.raises(
            EvaluationError, match="1 of the test images are in the training set as well, such as .*copy"
        ):
            evaluate(plan, tmp_path / "out")
        assert not list((tmp_path / "out").iterdir())
        _, results = evaluate(replace(plan, allow_overlap=True), tmp_path / "out")
        assert results.images.num_fake == 7
        for train, validation in ((str(tested), str(root)), (str(trained_on), str(trained_on))):
            plan = replace(plan, source=str(tested), train=train, validation=validation)
            with pytest.raises(EvaluationError, match="no image may be in two sets"):
                evaluate(plan, tmp_path / "out")

    def test_training_and_validation_images_are_kept_apart_too(self, tmp_path: Path, trained_on: Path, tested: Path):
        plan = Plan(str(tested), detectors=("fredect,crop=48",), train=str(trained_on), validation=str(trained_on))
        with pytest.raises(EvaluationError, match="32 of the validation images are in the training set as well"):
            evaluate(plan, tmp_path)

    def test_an_image_twice_in_the_test_set_is_counted(self, tmp_path: Path, write_set):
        root = write_set(tmp_path / "test", 0, 3)
        (root / "fake/sd/again.png").write_bytes((root / "fake/sd/0.png").read_bytes())
        file = tmp_path / "scores.csv"
        file.write_text("\n".join(["path,score", *(f"{record.path},0" for record in read_records(root))]))
        predictions, results = evaluate(Plan(str(root), detectors=(str(file),)), tmp_path / "out")
        assert results.images.num_duplicates == 1
        stored = Predictions.load(tmp_path / "out/predictions.parquet")
        assert stored.columns == predictions.columns
        assert stored.conditions == ("raw", "aligned")
        assert stored.about["test_set"] == str(root)
        assert stored.about["versions"]["numpy"] == np.__version__

    def test_training_images_that_cannot_be_read_are_left_out(self, tmp_path: Path, write_set):
        write_set(tmp_path, 0, 2)
        (tmp_path / "fake/sd/empty.png").touch()
        found = picture_set("training", str(tmp_path))
        assert len(found.pictures) == len(found.images) == 8
        assert found.images.readable.all()

    def test_sets_that_teach_nothing(self, tmp_path: Path, write_set):
        write_set(tmp_path / "data", 0, 1)
        with pytest.raises(
            EvaluationError, match="the training set needs photographs and generated images; it holds 2 "
        ):
            picture_set("training", str(tmp_path / "data/real"))
        with pytest.raises(SourceError, match="nowhere"):
            picture_set("training", str(tmp_path / "nowhere"))
        for path in (tmp_path / "data/fake").rglob("*.png"):
            path.write_bytes(b"")
        with pytest.raises(EvaluationError, match="the validation set needs .* it holds 2 and 0 that can be read"):
            picture_set("validation", str(tmp_path / "data"))

    def test_conditions_each_once(self):
        assert conditions_of(["jpeg=50", "aligned", "jpeg=50"]) == ["raw", "aligned", "jpeg=50"]
        grid = conditions_of(["standard"])
        assert len(grid) == len(set(grid)) == 2 + 30
        assert "social=2" in grid


def test_what_is_tested_of_a_published_data_set_is_not_what_was_trained_on(tmp_path: Path):
    for split in ("train", "val"):
        for folder in ("ai", "nature"):
            target = tmp_path / "BigGAN" / "imagenet_ai_0419_biggan" / split / folder
            target.mkdir(parents=True)
            (target / "a.png").touch()
    (tmp_path / "ADM" / "imagenet_ai_0508_adm" / "val" / "ai").mkdir(parents=True)
    (tmp_path / "ADM" / "imagenet_ai_0508_adm" / "val" / "ai" / "a.png").touch()  # no photographs: tests nothing
    data = read_dataset(tmp_path)
    assert data.layout == "genimage"
    assert [Path(record.path).relative_to(tmp_path).parts[::2] for record in judged_records(data)] == [
        ("BigGAN", "val", "a.png"),
        ("BigGAN", "val", "a.png"),
    ]
    assert any("ADM" in problem for problem in data.report.problems)
