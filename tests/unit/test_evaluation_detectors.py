"""From ``--detector`` to scores: anybody's class, files of scores, and what is trained here without a test image."""

import re
import sys
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from cinemae.core.preprocess import preprocess
from cinemae.errors import ConfigError, EvaluationError
from cinemae.evaluation.analyses.transfer import best_threshold
from cinemae.evaluation.baselines.frequency import FreDect, FreDectConfig
from cinemae.evaluation.detectors import PictureSet, Setup, make_sources
from cinemae.evaluation.evaluate import picture_set
from cinemae.evaluation.predictions import Column
from cinemae.evaluation.run import Batch, DetectorColumns, run
from cinemae.features.training_set import hold_out
from cinemae.models.directory import read_model_config
from cinemae.pictures.image import load_image
from cinemae.sources.datasets import read_records
from cinemae.sources.records import ImageRecord

pytestmark = pytest.mark.usefixtures("one_thread")


FREDECT = "fredect,crop=48"


@pytest.fixture(scope="module")
def trained(training: PictureSet) -> tuple[list[DetectorColumns], list[str]]:
    """FreDect of two seeds, and what was told of its training."""
    lines: list[str] = []
    return make_sources([FREDECT], Setup(train=training, seeds=2, tell=lines.append)), lines


def own_detector(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, body: str) -> str:
    """Write a module with a class ``Mine`` to the working directory and return its specification."""
    name = f"mine_{re.sub('[^a-z0-9]', '', str(tmp_path))[-30:]}"
    (tmp_path / f"{name}.py").write_text(f"import numpy as np\n\nclass Mine:\n{body}\n")
    monkeypatch.chdir(tmp_path)
    return f"{name}:Mine"


PREDICT = "    def predict(self, images):\n        return [image.width / 100 for image in images]\n"


class TestAnybodysClass:
    def test_the_least_it_must_be(self, tmp_path: Path, monkeypatch, tested: Path):
        spec = own_detector(tmp_path, monkeypatch, PREDICT)
        path = list(sys.path)
        (source,) = make_sources([spec], Setup())
        assert sys.path == path
        (column,) = source.columns
        assert column == Column(
            spec, outputs="score", threshold_rule="none: the detector states none", description=spec
        )
        assert (run(read_records(tested), [source]).scores["raw"] == 0.6).all()

    def test_what_it_may_say_of_itself(self, tmp_path: Path, monkeypatch):
        said = (
            "    name, outputs, threshold, description = 'Best', 'probability', np.float32(0.25), 'trained on cats'\n"
        )
        (source,) = make_sources([own_detector(tmp_path, monkeypatch, said + PREDICT)], Setup())
        assert source.columns == (
            Column("Best", None, None, "probability", 0.25, "the detector's own", "trained on cats"),
        )

    def test_probabilities_without_a_threshold_are_judged_at_a_half_and_the_rule_says_so(self, tmp_path, monkeypatch):
        spec = own_detector(tmp_path, monkeypatch, "    outputs = 'probability'\n" + PREDICT)
        (column,) = make_sources([spec], Setup())[0].columns
        assert (column.threshold, column.threshold_rule) == (
            0.5,
            "0.5, the detector states probabilities and no threshold",
        )

    def test_a_class_may_decline_a_threshold(self, tmp_path: Path, monkeypatch):
        spec = own_detector(tmp_path, monkeypatch, "    outputs, threshold = 'probability', None\n" + PREDICT)
        (column,) = make_sources([spec], Setup())[0].columns
        assert (column.threshold, column.threshold_rule) == (None, "none: the detector states none")

    def test_its_threshold_may_be_chosen_on_a_validation_set(self, tmp_path: Path, monkeypatch, training: PictureSet):
        body = "    threshold = 9.0\n    def predict(self, images):\n        return [np.std(each) for each in images]\n"
        (source,) = make_sources([own_detector(tmp_path, monkeypatch, body)], Setup(validation=training))
        scores = np.array([np.asarray(picture).std() for picture in training.pictures])
        labels = training.images.label
        expected = best_threshold(scores[labels == 0], scores[labels == 1])
        assert source.columns[0].threshold == expected != 9.0
        assert source.columns[0].threshold_rule == "best balanced accuracy on 32 images of the validation set"

    @pytest.mark.parametrize(
        "found", ["np.zeros((len(images), 1))", "np.zeros(len(images), np.float16)", "[0] * len(images)"]
    )
    def test_a_column_or_a_row_of_numbers(self, tmp_path: Path, monkeypatch, tested: Path, training, found: str):
        spec = own_detector(tmp_path, monkeypatch, f"    def predict(self, images):\n        return {found}\n")
        (source,) = make_sources([spec], Setup(validation=training))
        assert (run(read_records(tested), [source]).scores["raw"] == 0).all()

    @pytest.mark.parametrize(
        ("found", "sentence"),
        [
            ("np.zeros(len(images) + 1)", r"one score an image, 16 of them, got an array of shape \(17, 1\)"),
            ("np.full(len(images) + 1, np.nan)", r"one score an image, 16 of them, got an array of shape \(17, 1\)"),
            ("np.zeros((len(images), 2))", r"one score an image, 16 of them, got an array of shape \(16, 2\)"),
            ("None", r"one score an image, 16 of them, got an array of shape \(\)"),
            ("0.5", r"one score an image, 16 of them, got an array of shape \(\)"),
            ("['high'] * len(images)", "must return one number an image: could not convert string to float"),
            ("[[0], [0, 1]]", "must return one number an image: setting an array element"),
            ("{'a': 1}", "must return one number an image: float"),
            ("[float('nan')] * len(images)", r"a score must be a finite number, .* returned \[nan\] for .*0.png"),
            ("[float('inf')] * len(images)", r"a score must be a finite number, .* returned \[inf\] for .*0.png"),
        ],
    )
    def test_what_is_not_a_number_an_image(
        self, tmp_path: Path, monkeypatch, tested: Path, training, found: str, sentence: str
    ):
        """On test images, under a condition other than raw, and where a threshold is chosen."""
        spec = own_detector(tmp_path, monkeypatch, f"    def predict(self, images):\n        return {found}\n")
        sources = make_sources([spec], Setup())
        for condition in ("raw", "blur=1"):
            with pytest.raises(EvaluationError, match=sentence):
                run(read_records(tested), sources, [condition])
        with pytest.raises(EvaluationError, match=sentence):
            make_sources([spec], Setup(validation=training))

    @pytest.mark.parametrize(
        ("body", "sentence"),
        [
            (
                "    outputs = 'logit'\n" + PREDICT,
                r'outputs of .*:Mine must be "probability" or "score", got \'logit\'',
            ),
            (
                "    threshold = float('nan')\n" + PREDICT,
                "threshold of .*:Mine must be a finite number or None, got nan",
            ),
            ("    threshold = 'half'\n" + PREDICT, "threshold of .*:Mine must be a finite number or None, got 'half'"),
            (
                "    pass\n",
                r"a detector needs a method predict\(images\) that returns a number an image; .*:Mine has none",
            ),
            ("    predict = 3\n", r"a detector needs a method predict\(images\)"),
            ("    def __init__(self, path): ...\n", "is built without arguments; TypeError: .*missing 1 required"),
            (
                "    1 / 0\n",
                "an importable module that is built without arguments; ZeroDivisionError: division by zero",
            ),
        ],
    )
    def test_a_class_that_cannot_be_used(self, tmp_path: Path, monkeypatch, body: str, sentence: str):
        with pytest.raises(ConfigError, match=sentence):
            make_sources([own_detector(tmp_path, monkeypatch, body)], Setup())

    @pytest.mark.parametrize("spec", ["nowhere_at_all:Mine", "json:Mine", ":Mine", "json:"])
    def test_a_class_that_is_not_there(self, spec: str):
        with pytest.raises(ConfigError, match=f"{spec} must name a class of an importable module"):
            make_sources([spec], Setup())

    def test_it_takes_no_options(self):
        with pytest.raises(ConfigError, match="json:JSONDecoder takes no option here, got size"):
            make_sources(["json:JSONDecoder,size=3"], Setup())


class TestFilesOfScores:
    @pytest.fixture
    def records(self, tested: Path) -> list[ImageRecord]:
        return read_records(tested)

    def write(self, path: Path, names: list[str], column: str = "score", values=None) -> Path:
        values = [index / 100 for index in range(len(names))] if values is None else values
        lines = [f'"{name}",{value},x' for name, value in zip(names, values, strict=True)]
        path.write_text("\n".join([f"path,{column},remark", *lines]) + "\n")
        return path

    def test_absolute_paths(self, tmp_path: Path, records):
        file = self.write(tmp_path / "other, tool.csv", [record.path for record in records])
        (source,) = make_sources([str(file)], Setup())
        assert source.columns == (Column("other, tool", outputs="score", description="scores of other, tool.csv"),)
        found = run(records, [source], ["raw", "blur=1"])
        assert found.scores["raw"][:, 0].tolist() == [index / 100 for index in range(20)]
        assert np.isnan(found.scores["blur=1"]).all()

    def test_paths_relative_to_the_files_folder_or_to_the_working_directory(
        self, tmp_path: Path, records, tested: Path, monkeypatch
    ):
        names = [str(Path(record.path).relative_to(tested)) for record in records]
        beside = self.write(tested / "beside.csv", names)
        elsewhere = self.write(tmp_path / "elsewhere.csv", names)
        first = run(records, make_sources([str(beside)], Setup()))
        monkeypatch.chdir(tested)
        second = run(read_records("."), make_sources([str(elsewhere)], Setup()))
        assert first.scores["raw"].tolist() == second.scores["raw"].tolist()
        beside.unlink()

    def test_a_path_that_could_be_two_files(self, tmp_path: Path, monkeypatch, picture):
        """sub/0.png is 0.png beside the CSV file, and sub/0.png from here: neither guess is taken."""
        for name in ("0.png", "sub/0.png"):
            (tmp_path / name).parent.mkdir(exist_ok=True)
            picture(len(name)).save(tmp_path / name)
        self.write(tmp_path / "sub/scores.csv", ["sub/0.png", "0.png"])
        monkeypatch.chdir(tmp_path)
        sources = make_sources(["sub/scores.csv"], Setup())
        with pytest.raises(EvaluationError, match=r"scores.csv gives sub/0.png one score if .*: write absolute paths"):
            run([ImageRecord("0.png", 0), ImageRecord("sub/0.png", 1)], sources)

    def test_probabilities_as_cinemae_detect_writes_them(self, tmp_path: Path, records):
        names = [*(record.path for record in records), str(tmp_path / "unreadable.png")]
        file = self.write(tmp_path / "ours.csv", names, "prob_fake", [*np.linspace(0, 1, 20), ""])
        (source,) = make_sources([str(file)], Setup())
        (column,) = source.columns
        assert (column.outputs, column.threshold) == ("probability", 0.5)
        assert run(records, [source]).scores["raw"][:, 0].tolist() == np.linspace(0, 1, 20).tolist()

    def test_images_that_it_lacks(self, tmp_path: Path, records):
        file = self.write(tmp_path / "few.csv", [record.path for record in records[:14]])
        with pytest.raises(
            EvaluationError, match=r"few.csv lacks .*phone/4.png \(and 1 more of the 16 at hand\): write its pat"
        ):
            run(records, make_sources([str(file)], Setup()))

    def test_images_that_cannot_be_read_need_no_score(self, tmp_path: Path, records):
        (tmp_path / "empty.png").touch()
        file = self.write(tmp_path / "all.csv", [record.path for record in records])
        found = run([*records, ImageRecord(str(tmp_path / "empty.png"), 1)], make_sources([str(file)], Setup()))
        assert np.isnan(found.scores["raw"]).sum() == 1

    @pytest.mark.parametrize("value", ["nan", "inf", "-inf", "", "high", "0,5"])
    def test_lines_without_a_finite_number(self, tmp_path: Path, value: str):
        file = tmp_path / "scores.csv"
        file.write_text(f'path,score\na.png,0.5\nb.png,"{value}"\n')
        with pytest.raises(
            EvaluationError, match=f"scores.csv, line 3: a score must be a finite number, got '{value}'"
        ):
            make_sources([str(file)], Setup())

    @pytest.mark.parametrize(
        ("text", "sentence"),
        [
            ("", "needs the columns path and score .* has none"),
            ("file,score\na,1\n", "needs the columns path and score .* has file, score"),
            ("path,value\na,1\n", "needs the columns path and score .* has path, value"),
            ("path,score\n", "holds no line below its header"),
            ("path,score\na.png\n", "line 2: a score must be a finite number, got None"),
            ("path,score\na.png,1\n./a.png,2\n", "line 3: ./a.png has a second score: keep one"),
        ],
    )
    def test_other_files(self, tmp_path: Path, text: str, sentence: str):
        (tmp_path / "scores.csv").write_text(text)
        with pytest.raises(EvaluationError, match=sentence):
            make_sources([str(tmp_path / "scores.csv")], Setup())

    def test_files_that_are_no_text(self, tmp_path: Path):
        for name in ("none.csv", "picture.csv"):
            if name == "picture.csv":
                (tmp_path / name).write_bytes(b"\xff\xfe\x00picture")
            with pytest.raises(EvaluationError, match=f"{name} could not be read as UTF-8 CSV"):
                make_sources([str(tmp_path / name)], Setup())

    def test_a_line_without_a_path_is_of_no_image(self, tmp_path: Path, records):
        file = tmp_path / "scores.csv"
        lines = [f"{index},{record.path}" for index, record in enumerate(records)]
        file.write_text("\n".join(["score,path", *lines, "7"]))
        assert run(records, make_sources([str(file)], Setup())).scores["raw"][:, 0].tolist() == list(range(20))


class TestTrainedHere:
    """Test images choose nothing: neither what is fitted nor a threshold."""

    def test_anybodys_class_with_a_fit_is_trained_too(self, training: PictureSet, tmp_path: Path, monkeypatch):
        body = (
            "    def fit(self, pictures, labels, *, seed):\n"
            "        self.sign = (-1) ** seed * len(pictures) * (labels.mean() > 0)\n\n"
            "    def predict(self, images):\n"
            "        return [self.sign * np.asarray(image).std() for image in images]\n"
        )
        spec = own_detector(tmp_path, monkeypatch, body)
        sources = make_sources([spec], Setup(train=training, seeds=2))
        assert [source.columns[0].seed for source in sources] == [0, 1]
        assert {source.columns[0].threshold_rule for source in sources} == {
            "best balanced accuracy on 8 images held out from training"
        }
        batch = Batch("raw", training.images.chosen([0]), [training.pictures[0]])
        (first, second) = (float(source.score(batch)[0, 0]) for source in sources)
        assert first == -second > 0

    def test_a_kept_baseline_is_not_trained_again(self, trained, training: PictureSet, tmp_path: Path):
        for told in (2, 0):
            lines: list[str] = []
            again = make_sources([FREDECT], Setup(train=training, seeds=2, keep=tmp_path, tell=lines.append))
            assert len(lines) == told
            assert [source.columns for source in again] == [source.columns for source in trained[0]]
        fewer = training.chosen(list(range(len(training.images) - 1)))
        lines = []
        make_sources([FREDECT], Setup(train=fewer, seeds=1, keep=tmp_path, tell=lines.append))
        assert len(lines) == 1  # other images, so another detector

    def test_the_threshold_is_the_best_on_training_images_held_out(self, trained, training: PictureSet):
        sources, lines = trained
        assert lines == [f"training {FREDECT}, seed {seed}, on 24 images" for seed in (0, 1)]
        images = training.images
        for seed, source in enumerate(sources):
            held_out = hold_out(images.label, images.generator, seed=seed)
            detector = FreDect(FreDectConfig(crop=48))
            pictures = list(training.pictures)
            fitted = [picture for picture, out in zip(pictures, held_out, strict=True) if not out]
            detector.fit(fitted, images.label[~held_out], seed=seed)
            scores = detector.predict([picture for picture, out in zip(pictures, held_out, strict=True) if out])
            labels = images.label[held_out]
            (column,) = source.columns
            assert column.key == ("fredect", seed, None)
            assert column.threshold == pytest.approx(best_threshold(scores[labels == 0], scores[labels == 1]))
            assert column.threshold_rule == "best balanced accuracy on 8 images held out from training"
            assert column.description == detector.description

    def test_no_test_image_is_opened_before_all_is_fitted_and_chosen(
        self, training: PictureSet, tested: Path, trained_on: Path, monkeypatch
    ):
        opened = []

        def watched(source, **settings):
            opened.append(Path(str(source)))
            return load_image(source, **settings)

        monkeypatch.setattr("cinemae.evaluation.pictures.load_image", watched)
        sources = make_sources([FREDECT], Setup(train=training))
        assert opened
        assert all(path.is_relative_to(trained_on) for path in opened)
        columns = sources[0].columns
        opened.clear()
        assert run(read_records(tested), sources).columns == columns
        assert opened
        assert all(path.is_relative_to(tested) for path in opened)

    def test_neither_labels_nor_number_of_test_images_move_a_score_or_threshold(self, trained, tested: Path):
        sources, _ = trained
        records = read_records(tested)
        turned = [replace(record, label=1 - record.label) for record in records if "/0.png" in record.path]
        one, other = run(records, sources), run(turned, sources)
        assert one.columns == other.columns
        chosen = np.char.endswith(one.images.path, "/0.png")
        np.testing.assert_allclose(one.scores["raw"][chosen], other.scores["raw"], rtol=1e-12)
        real, fake = (one.scores["raw"][one.images.label == label, 0] for label in (0, 1))
        assert real.max() < fake.min()  # it did learn

    def test_a_validation_set_takes_the_place_of_what_is_held_out(self, training: PictureSet, trained_on: Path):
        fitted, validation = training.split(5)
        lines = []
        (source,) = make_sources([FREDECT], Setup(train=fitted, validation=validation, tell=lines.append))
        assert lines == [f"training {FREDECT}, seed 0, on 24 images"]
        assert source.columns[0].threshold_rule == "best balanced accuracy on 8 images of the validation set"

    def test_what_was_kept_is_taken_again(self, training: PictureSet, tmp_path: Path, trained):
        for _ in range(2):
            lines = []
            (source,) = make_sources([FREDECT], Setup(train=training, keep=tmp_path, tell=lines.append))
            assert source.columns[0].threshold == pytest.approx(trained[0][0].columns[0].threshold)
        assert lines == []
        lines = []
        make_sources([f"{FREDECT},c=3"], Setup(train=training, keep=tmp_path, tell=lines.append))
        assert len(lines) == 1  # other options, another detector

    @pytest.mark.parametrize("name", ["nll", "lcas"])
    def test_frozen_scores_choose_a_threshold_and_learn_nothing_else(
        self, name: str, tiny_model: Path, training: PictureSet
    ):
        (source,) = make_sources([name], Setup(model=str(tiny_model), device="cpu", train=training, seeds=3))
        (column,) = source.columns
        assert (column.key, column.outputs) == ((name, None, None), "score")
        assert column.description == f"frozen backbone of {read_model_config(tiny_model).model_id}, no head"
        batch = Batch("raw", training.images, list(training.pictures))
        scores = source.score(batch)[:, 0]
        held_out = hold_out(training.images.label, training.images.generator, seed=0)
        labels = training.images.label[held_out]
        expected = best_threshold(scores[held_out][labels == 0], scores[held_out][labels == 1])
        assert column.threshold == pytest.approx(expected, rel=1e-6)
        assert len(np.unique(scores)) == 32

    def test_frozen_scores_are_minus_the_mean_over_masked_patches(self, tiny_model: Path, training: PictureSet):
        import torch

        from cinemae.core.lcas import local_contextual_anomaly_score, nll_approx
        from cinemae.core.masking import mask_noise
        from cinemae.evaluation.frozen_detectors import FrozenDetector
        from cinemae.models.weights import load_extractor

        config = read_model_config(tiny_model)
        backbone = load_extractor(tiny_model, config).backbone
        pixel_values = torch.from_numpy(preprocess(training.pictures[0], config.extractor.image))
        pred, mask = backbone.reconstruct(pixel_values, torch.from_numpy(np.array(mask_noise(0, 2, 16))))
        target = _patches(pixel_values, 8)
        nll = nll_approx(pred, target[:, None].expand_as(pred), mask, sigma=1.0)
        found = FrozenDetector("nll", str(tiny_model), "cpu").predict([training.pictures[0]])
        assert found == pytest.approx([-float(nll.nanmean())], rel=1e-4)
        lcas = local_contextual_anomaly_score(
            pred, target[:, None].expand_as(pred), mask,
            fidelity_weight=config.lcas.fidelity_weight, reduction=config.lcas.reduction,
        )  # fmt: skip
        found = FrozenDetector("lcas", str(tiny_model), "cpu").predict([training.pictures[0]])
        assert found == pytest.approx([-float(lcas.nanmean())], rel=1e-4)

    def test_the_format_probe_sees_the_files_of_both_sets_and_no_pixel(
        self, tmp_path: Path, training: PictureSet, write_set
    ):
        root = write_set(tmp_path / "jpeg", 5000, 4, "jpg")
        for path in (root / "real").rglob("*.jpg"):
            Image.open(path).save(path.with_suffix(".png"))
            path.unlink()
        train = picture_set("training", str(root))
        sources = make_sources(["format-probe"], Setup(train=train, seeds=2))
        assert [source.columns[0].key for source in sources] == [("format-probe", 0, None), ("format-probe", 1, None)]
        found = run(read_records(root), sources, ["raw", "aligned"])
        assert (found.images.label == (found.scores["raw"][:, 0] > 0.5)).all()
        assert np.isnan(found.scores["aligned"]).all()

    @pytest.mark.parametrize("name", ["fredect", "nll", "format-probe"])
    def test_without_a_training_set(self, name: str):
        with pytest.raises(
            EvaluationError, match=f"{name} is trained here, and no training set was given: name one wi"
        ):
            make_sources([name], Setup())

    def test_a_training_set_too_small_to_hold_out_a_photograph(self, training: PictureSet):
        kept = np.nonzero((training.images.label == 1) | (np.arange(32) % 8 == 0))[0]  # one photograph of each camera
        with pytest.raises(
            EvaluationError, match="the quarter of the training set held out .* it holds 0 and 4 that can"
        ):
            make_sources([FREDECT], Setup(train=training.chosen(kept)))


class TestNames:
    def test_no_such_detector(self):
        match = "there is no detector 'resnet': name one of cinemae, nll, lcas, format-probe, fredect, npr, .*or a .csv"
        with pytest.raises(ConfigError, match=match):
            make_sources(["resnet"], Setup())

    @pytest.mark.parametrize(
        ("spec", "sentence"),
        [
            ("cinemae,epochs=3", "cinemae takes no option here, got epochs"),
            ("nll,sigma=2", "nll takes no option here, got sigma"),
            ("fredect,epochs=3", "fredect has no option epochs; its options: crop, color, c"),
            ("fredect,crop=big", 'crop must be a whole number, got "big"'),
            ("fredect,crop", 'options are written name=value, with commas between: "crop" is none'),
        ],
    )
    def test_options_that_a_detector_has_not(self, spec: str, sentence: str, training: PictureSet):
        with pytest.raises(ConfigError, match=sentence):
            make_sources([spec], Setup(train=training))

    def test_two_detectors_of_one_name(self, tmp_path: Path, monkeypatch, tiny_model: Path):
        """Also one that says it is ours: its scores would pass for ours with other masks."""
        spec = own_detector(tmp_path, monkeypatch, "    name = 'cinemae'\n" + PREDICT)
        with pytest.raises(ConfigError, match=f"a name of its own, cinemae and {spec} are both cinemae: rename one"):
            make_sources(["cinemae", spec], Setup(model=str(tiny_model), device="cpu"))
        with pytest.raises(ConfigError, match=f"{spec} and {spec} are both cinemae"):
            make_sources([spec, spec], Setup())


def _patches(pixel_values, size: int):
    """Cut into patches by hand: rows of patches, each row by row with channels last."""
    import torch

    n, channels, height, width = pixel_values.shape
    patches = [
        pixel_values[:, :, top : top + size, left : left + size].permute(0, 2, 3, 1).reshape(n, size * size * channels)
        for top in range(0, height, size)
        for left in range(0, width, size)
    ]
    return torch.stack(patches, dim=1)
