"""Figures and reports of predictions made by hand."""

import json
import re
from dataclasses import replace
from html.parser import HTMLParser
from pathlib import Path

import numpy as np
import pytest
from msgspec import structs
from PIL import Image
from sklearn.metrics import average_precision_score, balanced_accuracy_score, roc_auc_score

from cinemae.errors import EvaluationError
from cinemae.evaluation import plots
from cinemae.evaluation.predictions import Column, Images, Predictions
from cinemae.evaluation.report import write_report
from cinemae.evaluation.results import EvaluationResults, UnreadImage
from cinemae.evaluation.section import show
from cinemae.evaluation.sections import build_sections, summary_lines
from cinemae.evaluation.tables import pairs, tabulate
from cinemae.statistics import resampling
from cinemae.statistics.estimate import Estimate
from cinemae.statistics.metrics import rate
from cinemae.statistics.resampling import auc_of, estimate, estimate_groups
from cinemae.statistics.risk_coverage import risk_coverage

OURS = Column("ours", threshold=0.5, threshold_rule="the model's own", description="a model")
# Photographs of two sources, fakes of an easy, a hard and a medium generator.
GROUPS = (("real", "phone", 12), ("real", "slr", 8), ("fake", "easy", 6), ("fake", "hard", 5), ("fake", "middling", 7))
MEANS = {"phone": 0.2, "slr": 0.35, "easy": 0.9, "hard": 0.3, "middling": 0.6}


def make_images(groups=GROUPS) -> Images:
    rows = [
        {
            "path": f"{kind}/{name}/{index}.png", "content_hash": f"{kind}{name}{index}", "label": int(kind == "fake"),
            "generator": name, "container": "PNG", "width": 100 + 7 * index % 20, "height": 100, "num_bytes": 99,
        }
        for kind, name, count in groups
        for index in range(count)
    ]  # fmt: skip
    return Images.from_rows(rows)


def make_scores(images: Images, seed: int, means=MEANS) -> np.ndarray:
    rng = np.random.default_rng(seed)
    centre = np.array([means.get(name, 0.5) for name in images.generator.tolist()])
    return (centre + rng.normal(0, 0.2, len(images))).clip(0, 1).round(3)


def one_detector(images: Images, column: Column = OURS, conditions=("raw",)) -> Predictions:
    """Predictions of one detector, other scores under each condition."""
    scores = {name: make_scores(images, seed)[:, None] for seed, name in enumerate(conditions)}
    return Predictions(images, (column,), scores)


@pytest.fixture(scope="module")
def predictions() -> Predictions:
    """One detector, files as they are, and one corruption; another whose scores have no threshold."""
    images = make_images()
    columns = (OURS, Column("theirs", outputs="score"))
    scores = {
        condition: np.stack([make_scores(images, seed), 10 * make_scores(images, seed + 50)], axis=1)
        for seed, condition in enumerate(("raw", "aligned", "jpeg=50", "grayscale"))
    }
    return Predictions(images, columns, scores, {"test_set": "by hand"})


@pytest.fixture(scope="module")
def results(predictions: Predictions) -> EvaluationResults:
    return tabulate(predictions)


@pytest.fixture(scope="module")
def values(results: EvaluationResults) -> dict:
    """What results.json holds."""
    return results.to_dict()


@pytest.fixture(scope="module")
def report(results: EvaluationResults, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder, made for the purpose, that holds the report of `results`."""
    folder = tmp_path_factory.mktemp("report") / "new" / "folder"
    written = write_report(results, folder, title="A title")
    assert [path.relative_to(folder).name for path in written] == ["report.html", "report.md", "results.json"]
    return folder


def by_name(rows: list[dict]) -> dict[str, dict]:
    return {row["generator"]: row for row in rows}


class TestFigures:
    def test_each_generator_against_all_photographs(self, predictions: Predictions, values: dict):
        images, scores = predictions.images, predictions.of(OURS)
        rows = by_name(values["detectors"][0]["conditions"]["raw"]["generators"])
        assert set(rows) == {"easy", "hard", "middling"}
        real = scores[images.label == 0]
        groups = [(real, scores[images.generator == name]) for name in ("easy", "hard", "middling")]
        for name, one in zip(("easy", "hard", "middling"), estimate_groups(groups, {"auc": auc_of})[0], strict=True):
            assert rows[name]["auc"] == one["auc"].to_dict()
        for name, row in rows.items():
            chosen = (images.label == 0) | (images.generator == name)
            labels, these = images.label[chosen], scores[chosen]
            real, fake = these[labels == 0], these[labels == 1]
            called = these >= 0.5
            assert (row["num_real"], row["num_fake"]) == (20, len(fake))
            assert row["real_accuracy"] == rate(int((real < 0.5).sum()), 20).to_dict()
            assert row["fake_accuracy"] == rate(int((fake >= 0.5).sum()), len(fake)).to_dict()
            assert row["balanced_accuracy"]["value"] == pytest.approx(balanced_accuracy_score(labels, called))
            assert row["accuracy"]["value"] == pytest.approx(np.mean(called == labels))
            assert row["auc"]["value"] == estimate(real, fake, {"auc": auc_of})["auc"].value
            assert row["auc"]["value"] == pytest.approx(roc_auc_score(labels, these))
            weights = np.where(labels == 0, 1 / len(real), 1 / len(fake))
            expected = average_precision_score(labels, these, sample_weight=weights)
            assert row["average_precision"]["value"] == pytest.approx(expected)
            assert row["oracle_balanced_accuracy"]["value"] >= row["balanced_accuracy"]["value"]
            assert all(figure["n"] for figure in row.values() if isinstance(figure, dict))

    def test_of_all_images_together(self, predictions: Predictions, values: dict):
        images, scores = predictions.images, predictions.of(OURS)
        pooled = values["detectors"][0]["conditions"]["raw"]["pooled"]
        real, fake = scores[images.label == 0], scores[images.label == 1]
        assert (pooled["num_real"], pooled["num_fake"]) == (20, 18)
        assert pooled["auc"]["value"] == pytest.approx(roc_auc_score(images.label, scores))
        expected = estimate(real, fake, {"b": resampling.brier_of, "c": resampling.calibration_error_of})
        assert pooled["brier_score"] == expected["b"].to_dict()
        assert pooled["calibration_error"] == expected["c"].to_dict()
        reliability = values["detectors"][0]["conditions"]["raw"]["reliability"]
        assert reliability["calibration_error"] == pytest.approx(pooled["calibration_error"]["value"])
        assert sum(row["n"] for row in reliability["bins"]) == 38

    def test_the_mean_over_generators_and_how_far_they_lie_apart(self, predictions: Predictions, values: dict):
        found = values["detectors"][0]["conditions"]["raw"]
        groups = [(real, fake) for _, real, fake in pairs(predictions.images, predictions.of(OURS))]
        assert found["mean"]["auc"]["n"] == 38
        expected = estimate_groups(groups, {"auc": auc_of})[1]["auc"].to_dict()
        assert {name: found["mean"]["auc"][name] for name in expected} == expected
        for name in ("auc", "balanced_accuracy", "real_accuracy", "fake_accuracy", "brier_score"):
            figures = [row[name]["value"] for row in found["generators"]]
            mean = found["mean"][name]
            assert mean["value"] == pytest.approx(np.mean(figures))
            assert mean["std"] == pytest.approx(np.std(figures, ddof=1))
            assert (mean["min"], mean["max"]) == (min(figures), max(figures))

    def test_the_worst_generator_stands_first(self, values: dict):
        for detector, key in zip(values["detectors"], ("balanced_accuracy", "auc"), strict=True):
            for found in detector["conditions"].values():
                figures = [row[key]["value"] for row in found["generators"]]
                assert figures == sorted(figures)
        assert values["detectors"][0]["conditions"]["raw"]["generators"][0]["generator"] == "hard"

    def test_the_most_accused_photographs_stand_first(self, predictions: Predictions, values: dict):
        sources = values["detectors"][0]["conditions"]["raw"]["photo_sources"]
        scores, images = predictions.of(OURS), predictions.images
        for row in sources:
            chosen = scores[images.generator == row["source"]]
            assert row["false_positive_rate"] == rate(int((chosen >= 0.5).sum()), len(chosen)).to_dict()
        assert [row["source"] for row in sources] == ["slr", "phone"]
        assert values["detectors"][1]["conditions"]["raw"]["photo_sources"] == []

    def test_without_a_threshold_there_is_no_accuracy_and_without_probabilities_no_calibration(self, values: dict):
        found = values["detectors"][1]["conditions"]["raw"]
        names = {"num_real", "num_fake", "auc", "average_precision", "tpr_at_fpr_0.01", "tpr_at_fpr_0.05"}
        assert set(found["pooled"]) == names | {"oracle_balanced_accuracy"}
        assert not {"reliability", "risk_coverage"} & set(found)

    def test_a_corruption_of_one_class_alone(self, predictions: Predictions, values: dict):
        images = predictions.images
        raw, altered = predictions.of(OURS), predictions.of(OURS, "jpeg=50")
        found = values["detectors"][0]["conditions"]["jpeg=50"]["one_class_only"]
        real, fake = images.label == 0, images.label == 1
        for name, scores in (("fakes", np.where(fake, altered, raw)), ("photographs", np.where(real, altered, raw))):
            assert found[name]["auc"]["value"] == pytest.approx(roc_auc_score(images.label, scores))
            assert found[name]["balanced_accuracy"]["value"] == pytest.approx(
                balanced_accuracy_score(images.label, scores >= 0.5)
            )
        assert found["fakes"]["auc"] != found["photographs"]["auc"]
        conditions = values["detectors"][0]["conditions"]
        assert [name for name, one in conditions.items() if "one_class_only" not in one] == ["raw"]

    def test_without_the_files_as_they_are_no_class_stands_alone(self, predictions: Predictions):
        scores = {name: values for name, values in predictions.scores.items() if name != "raw"}
        found = tabulate(replace(predictions, scores=scores))
        assert found.detectors[0].conditions["jpeg=50"].one_class_only is None
        assert len(build_sections(found)) > 5  # radar and curves need the files as they are, and are left out

    def test_scores_with_a_threshold_can_abstain_too(self, predictions: Predictions):
        column = Column("theirs", outputs="score", threshold=5.0)
        found = tabulate(replace(predictions, columns=(OURS, column))).to_dict()["detectors"][1]["conditions"]["raw"]
        assert "reliability" not in found
        scores, labels = predictions.of(predictions.columns[1]), predictions.images.label
        assert found["risk_coverage"]["aurc"] == risk_coverage(scores, labels, threshold=5.0).aurc.to_dict()
        assert found["risk_coverage"]["error"][-1] == pytest.approx(np.mean((scores >= 5) != (labels == 1)))

    def test_the_fingerprint_is_that_of_files_and_labels_in_any_order(self, predictions: Predictions, values: dict):
        images = predictions.images
        found = values["images"]["fingerprint"]
        assert re.fullmatch("[0-9a-f]{16}", found)
        turned = Predictions(
            images.chosen(slice(None, None, -1)), (OURS,), {"raw": predictions.scores["raw"][::-1, :1]}
        )
        assert tabulate(turned).to_dict()["images"]["fingerprint"] == found
        other = replace(images, label=np.where(np.arange(38) == 37, 0, images.label))
        assert tabulate(replace(predictions, images=other)).to_dict()["images"]["fingerprint"] != found

    def test_nothing_is_nan_and_all_is_json(self, values: dict):
        text = json.dumps(values, allow_nan=False)
        assert json.loads(text) == values

    def test_they_are_read_back_whole(self, results: EvaluationResults, values: dict):
        read = EvaluationResults.from_dict(values)
        assert read.to_dict() == values
        assert read.detectors[0].conditions["jpeg=50"] == results.detectors[0].conditions["jpeg=50"]

    def test_as_a_dictionary_they_are_what_version_0_1_gave(self, results: EvaluationResults, values: dict):
        with pytest.warns(DeprecationWarning, match=r"EvaluationResults\['images'\] is now EvaluationResults.images;"):
            assert results["images"] == values["images"]


class TestPairs:
    def test_photographs_of_a_generators_own_set_are_held_against_it_alone(self):
        images = make_images(
            (("real", "gan", 3), ("real", "sd", 4), ("fake", "gan", 2), ("fake", "sd", 2), ("fake", "new", 2))
        )
        scores = np.arange(len(images), dtype=float)
        found = {name: (real.tolist(), fake.tolist()) for name, real, fake in pairs(images, scores)}
        assert found == {
            "gan": ([0, 1, 2], [7, 8]),
            "sd": ([3, 4, 5, 6], [9, 10]),
            "new": ([0, 1, 2, 3, 4, 5, 6], [11, 12]),
        }

    def test_a_fake_of_nobody_is_held_against_all_photographs(self):
        images = make_images((("real", "phone", 3), ("real", "", 2), ("fake", "", 2)))
        ((name, real, fake),) = pairs(images, np.arange(7.0))
        assert (name, real.tolist(), fake.tolist()) == ("", [0, 1, 2, 3, 4], [5, 6])

    def test_images_without_a_score_are_left_out(self):
        images = make_images((("real", "phone", 3), ("fake", "gan", 2)))
        scores = np.array([0.0, np.nan, 2.0, np.nan, 4.0])
        ((_, real, fake),) = pairs(images, scores)
        assert (real.tolist(), fake.tolist()) == ([0.0, 2.0], [4.0])


class TestSpread:
    @pytest.fixture
    def many(self) -> Predictions:
        """Three trainings with thresholds of their own, and a model with two seeds of its masks."""
        images = make_images()
        columns = (
            *(Column("trained", seed=seed, threshold=0.4 + 0.1 * seed) for seed in range(3)),
            *(replace(OURS, mask_seed=seed) for seed in (4, 5)),
        )
        raw = np.stack([make_scores(images, seed) for seed in range(5)], axis=1)
        corrupted = raw.copy()
        corrupted[:, 4] = np.nan
        return Predictions(images, columns, {"raw": raw, "blur=1": corrupted})

    def test_over_trainings(self, many: Predictions):
        trained = tabulate(many).to_dict()["detectors"][0]
        found = trained["conditions"]["raw"]["spread"]
        assert set(found) == {"seeds"}
        assert found["seeds"]["runs"] == [0, 1, 2]
        images = many.images
        rows = [row["generator"] for row in trained["conditions"]["raw"]["generators"]]
        assert sorted(found["seeds"]["generators"]) == sorted(rows)
        for figure in ("auc", "balanced_accuracy"):
            expected, of_hard = [], []
            for column in many.columns[:3]:
                scores, of_generators = many.of(column), []
                for name in ("easy", "hard", "middling"):
                    chosen = (images.label == 0) | (images.generator == name)
                    labels, these = images.label[chosen], scores[chosen]
                    called = these >= column.threshold
                    value = roc_auc_score(labels, these) if figure == "auc" else balanced_accuracy_score(labels, called)
                    of_generators.append(value)
                expected.append(np.mean(of_generators))
                of_hard.append(of_generators[1])
            assert found["seeds"]["generators"]["hard"][figure]["values"] == pytest.approx(of_hard)
            assert found["seeds"]["generators"]["hard"][figure]["std"] == pytest.approx(np.std(of_hard, ddof=1))
            assert found["seeds"][figure]["values"] == pytest.approx(expected)
            assert found["seeds"][figure]["mean"] == pytest.approx(np.mean(expected))
            assert found["seeds"][figure]["std"] == pytest.approx(np.std(expected, ddof=1))
        assert trained["runs"] == [{"seed": seed, "mask_seed": None} for seed in range(3)]

    def test_over_seeds_of_the_masks_where_all_were_run(self, many: Predictions):
        ours = tabulate(many).to_dict()["detectors"][1]["conditions"]
        assert set(ours["raw"]["spread"]) == {"mask_seeds"}
        assert ours["raw"]["spread"]["mask_seeds"]["runs"] == [4, 5]
        first = ours["raw"]["spread"]["mask_seeds"]["auc"]["values"][0]
        assert first == pytest.approx(ours["raw"]["mean"]["auc"]["value"])
        assert ours["blur=1"]["spread"] == {}

    def test_figures_are_those_of_the_first_run(self, many: Predictions):
        alone = replace(many, columns=many.columns[:1], scores={name: of[:, :1] for name, of in many.scores.items()})
        assert (
            tabulate(alone).to_dict()["detectors"][0]["conditions"]["raw"]["pooled"]
            == (tabulate(many).to_dict()["detectors"][0]["conditions"]["raw"]["pooled"])
        )

    def test_in_words(self, many: Predictions):
        summary = next(section for section in build_sections(tabulate(many)) if section.title == "Summary")
        assert summary.table is not None
        (trained, ours) = (row[-1] for row in summary.table.rows)
        assert re.fullmatch(r"0\.\d{3} ± 0\.\d{3} \(3 trainings\)", trained)
        assert re.fullmatch(r"0\.\d{3} ± 0\.\d{3} \(2 mask seeds\)", ours)
        table = next(section for section in build_sections(tabulate(many)) if section.title == "trained, raw").table
        assert table is not None
        (hard,) = (row for row in table.rows if row[0] == "hard")
        of_hard = tabulate(many).to_dict()["detectors"][0]["conditions"]["raw"]["spread"]["seeds"]["generators"][
            "hard"
        ]["auc"]
        assert hard[-1] == f"{of_hard['mean']:.3f} ± {of_hard['std']:.3f} (3 trainings)"


@pytest.fixture(scope="module")
def alone() -> Predictions:
    images = make_images((("real", "phone", 12), ("real", "slr", 8)))
    columns = (OURS, Column("theirs", outputs="score"))
    scores = np.full((20, 2), 0.1)
    scores[[0, 12, 13], 0] = (0.5, 0.7, 0.9)  # one of the phone at the very threshold, two of the other
    return Predictions(images, columns, {"raw": scores, "jpeg=50": np.full((20, 2), 0.1)})


class TestPhotographsAlone:
    """Without generated images there is one thing to tell: who is accused."""

    def test_rates(self, alone: Predictions):
        ours, theirs = tabulate(alone).to_dict()["detectors"]
        raw = ours["conditions"]["raw"]
        assert raw["pooled"] == {"num_real": 20, "num_fake": 0, "real_accuracy": rate(17, 20).to_dict()}
        assert raw["photo_sources"] == [
            {"source": "slr", "false_positive_rate": rate(2, 8).to_dict()},
            {"source": "phone", "false_positive_rate": rate(1, 12).to_dict()},
        ]
        assert (raw["mean"], raw["generators"], raw["spread"]) == ({}, [], {})
        assert ours["conditions"]["jpeg=50"]["pooled"]["real_accuracy"] == rate(20, 20).to_dict()
        assert theirs["conditions"]["raw"]["pooled"] == {"num_real": 20, "num_fake": 0}

    def test_in_words(self, alone: Predictions, tmp_path: Path):
        results = tabulate(alone)
        lines = [re.split(r"  +", line) for line in summary_lines(results)]
        assert lines[0] == ["20 photographs, 0 generated, 0 unreadable files"]
        assert lines[2] == ["ours", "raw", "15.0 % [5.2, 36.0]", "slr 25.0 % [7.1, 59.1]"]
        assert lines[3:] == [["theirs", "raw", "-", "-"]]
        write_report(results, tmp_path)
        text = (tmp_path / "report.md").read_text()
        assert "| ours | jpeg=50 | 20 | 0.0 % [0.0, 16.1] |" in text
        assert "| theirs | raw | 20 | - |" in text
        assert "| slr | 8 | 25.0 % [7.1, 59.1] |\n| phone | 12 | 8.3 % [1.5, 35.4] |" in text
        assert "AUC" not in text.replace("there is no AUC", "")
        assert not list((tmp_path / "plots").iterdir())

    def test_generated_images_that_cannot_be_read_are_not_left_out_in_silence(self, alone: Predictions):
        images = alone.images
        labels, errors = images.label.copy(), images.error_message.astype("U20")
        labels[0], errors[0] = 1, "it is empty"
        with pytest.raises(EvaluationError, match="needs photographs and generated images; it holds 19 and 0 that can"):
            tabulate(replace(alone, images=replace(images, label=labels, error_message=errors)))


class TestRefused:
    def test_an_empty_class(self):
        images = make_images((("fake", "gan", 3),))
        with pytest.raises(
            EvaluationError, match="the test set needs photographs .* it holds 0 and 3 that can be read"
        ):
            tabulate(Predictions(images, (OURS,), {"raw": np.zeros((3, 1))}))

    @pytest.mark.parametrize("column", [0, 1])
    def test_scores_of_a_part(self, column: int):
        images = make_images((("real", "phone", 3), ("fake", "gan", 3)))
        scores = np.zeros((6, 2))
        scores[4:, column] = np.nan
        columns = (replace(OURS, seed=0), replace(OURS, seed=1))
        with pytest.raises(
            EvaluationError, match=r"ours has none for fake/gan/1.png under raw \(and 1 more\): evaluate"
        ):
            tabulate(Predictions(images, columns, {"raw": scores}))


def test_images_that_could_not_be_read_count_nowhere_and_are_named(predictions: Predictions):
    rows = [{"path": "fake/easy/bad.png", "label": 1, "generator": "easy", "error_message": "it is empty"}] * 60
    unread = Images.from_rows(rows)
    both = {
        name: np.concatenate([getattr(predictions.images, name), getattr(unread, name)])
        for name in Images.__dataclass_fields__
    }
    scores = {name: np.concatenate([of, np.full((60, 2), np.nan)]) for name, of in predictions.scores.items()}
    found = tabulate(replace(predictions, images=Images(**both), scores=scores))
    plain = tabulate(predictions)
    assert found.to_dict()["detectors"] == plain.to_dict()["detectors"]
    assert found.format_probe == plain.format_probe
    assert (found.images.num_images, found.images.num_unread) == (98, 60)
    assert found.images.unread == (UnreadImage("fake/easy/bad.png", "it is empty"),) * 50
    assert found.images.generators == {"easy": 6, "hard": 5, "middling": 7}
    assert found.images.photo_sources == {"phone": 12, "slr": 8}


@pytest.mark.parametrize("generator", [None, "gan"])
def test_one_generator_or_none_named(generator: str | None, tmp_path: Path):
    images = make_images((("real", "phone", 3), ("fake", generator, 2)))
    found = tabulate(one_detector(images))
    assert found.detectors[0].conditions["raw"].mean["auc"].std is None
    write_report(found, tmp_path)
    assert f"| {generator or 'not stated'} | 3 / 2 |" in (tmp_path / "report.md").read_text()


def test_one_image_a_class(tmp_path: Path):
    images = make_images((("real", "phone", 1), ("fake", "gan", 1)))
    found = tabulate(Predictions(images, (OURS,), {"raw": np.array([[0.1], [0.9]])}))
    auc = found.detectors[0].conditions["raw"].mean["auc"]
    assert (auc.value, auc.low, auc.high) == (1.0, 0.0, 1.0)
    assert found.format_probe is None
    write_report(found, tmp_path)
    assert "Too few images of a class to ask what their format gives away" in (tmp_path / "report.md").read_text()


class _Page(HTMLParser):
    """Collects tags with their attributes, and the text of headings and cells."""

    def __init__(self, text: str) -> None:
        super().__init__()
        self.tags: list[tuple[str, dict[str, str | None]]] = []
        self.cells: list[str] = []
        self.feed(text)

    def handle_starttag(self, tag, attrs):
        self.tags.append((tag, dict(attrs)))
        if tag in ("td", "th", "h1", "h2", "h3"):
            self.cells.append("")

    def handle_data(self, data):
        if self.cells:
            self.cells[-1] += data


class TestReport:
    def test_what_is_written(self, values: dict, report: Path):
        assert json.loads((report / "results.json").read_text()) == values
        markdown = (report / "report.md").read_text()
        assert markdown.startswith("# A title\n")
        for title in ("Images", "Format probe", "Summary", "ours, raw", "theirs, aligned", "Corruptions"):
            assert f"\n## {title}\n" in markdown
        linked = re.findall(r"!\[[^\]]*\]\(([^)]+)\)", markdown)
        assert len(linked) == len(set(linked)) > 8
        for name in linked:
            with Image.open(report / name) as plot:
                assert plot.format == "PNG"
        assert {f"plots/{path.name}" for path in (report / "plots").iterdir()} == set(linked)

    def test_the_page_asks_for_nothing(self, report: Path):
        text = (report / "report.html").read_text()
        assert "http://" not in text
        assert "https://" not in text
        assert "@import" not in text
        assert "url(" not in text
        page = _Page(text)
        anchors = {attributes["id"] for _, attributes in page.tags if "id" in attributes}
        for tag, attributes in page.tags:
            assert tag not in ("script", "link", "iframe", "object")
            assert (attributes.get("src") or "data:image/png;base64,").startswith("data:image/png;base64,")
            if tag == "a":
                assert (attributes["href"] or "").removeprefix("#") in anchors
        assert sum(tag == "img" for tag, _ in page.tags) == len(list((report / "plots").iterdir()))

    def test_the_tables_hold_every_generator_with_interval_and_n(self, values: dict, report: Path):
        markdown, page = (report / "report.md").read_text(), _Page((report / "report.html").read_text())
        for row in values["detectors"][0]["conditions"]["raw"]["generators"]:
            auc = "{value:.3f} [{low:.3f}, {high:.3f}]".format(**row["auc"])
            assert re.search(rf"\| {row['generator']} \| 20 / {row['num_fake']} \|.*\| {re.escape(auc)} \|", markdown)
            assert auc in page.cells
        lines = markdown.splitlines()
        header = next(index for index, line in enumerate(lines) if line.startswith("| generator | n real / fake |"))
        assert lines[header + 2].startswith("| hard |")
        assert lines[header + 5].startswith("| all images | 20 / 18 |")

    def test_every_table_row_has_the_headers_width(self, results: EvaluationResults):
        for section in build_sections(results):
            if section.table is not None:
                assert {len(row) for row in section.table.rows} <= {len(section.table.header)}, section.title

    def test_the_same_results_give_the_same_files(self, values: dict, report: Path, tmp_path: Path):
        write_report(EvaluationResults.from_dict(json.loads(json.dumps(values))), tmp_path, title="A title")
        files = [path.relative_to(report) for path in report.rglob("*.*")]
        assert len(files) > 10
        for name in files:
            assert (report / name).read_bytes() == (tmp_path / name).read_bytes()

    def test_the_terminal_shows_mean_and_worst(self, results: EvaluationResults):
        lines = summary_lines(results)
        assert lines[0] == "20 photographs, 18 generated, 0 unreadable files"
        assert lines[1].startswith("format probe: ")
        (ours,) = [line for line in lines if re.match(r"ours +raw", line)]
        raw = results.detectors[0].conditions["raw"]
        assert show(raw.mean["auc"], "auc") in ours
        assert ours.endswith(f"hard {show(raw.generators[0].balanced_accuracy, 'x')}")
        (theirs,) = [line for line in lines if re.match(r"theirs +aligned", line)]
        worst = results.detectors[1].conditions["aligned"].generators[0]
        assert theirs.endswith(f"-{' ' * 21}  {worst.generator} {show(worst.auc, 'auc')}")


class TestFormatAlarm:
    SENTENCE = "The files alone tell the classes apart"

    def test_files_that_tell_the_classes_apart_raise_it(self, tmp_path: Path):
        images = make_images()
        telling = replace(images, container=np.where(images.label == 1, "PNG", "JPEG"))
        results = tabulate(one_detector(telling, conditions=("raw", "jpeg=50", "grayscale")))
        assert results.format_probe is not None
        assert results.format_probe.alarm is True
        assert results.format_probe.value == 1.0
        write_report(results, tmp_path)
        markdown, page = ((tmp_path / name).read_text() for name in ("report.md", "report.html"))
        assert f"> **Warning.** {self.SENTENCE} (100.0 % [" in markdown
        assert f'<p class="warning" role="note"><strong>Warning.</strong> {self.SENTENCE} (100.0 % [' in page
        assert summary_lines(results)[1].startswith(f"WARNING: {self.SENTENCE} (100.0 % [")
        assert markdown.count("ALARM, see above.") == 4  # beside every table of scores

    def test_files_that_are_alike_do_not(self, tmp_path: Path):
        results = tabulate(one_detector(replace(make_images(), width=np.full(38, 100))))
        assert results.format_probe is not None
        assert results.format_probe.alarm is False
        write_report(results, tmp_path)
        texts = [(tmp_path / name).read_text() for name in ("report.md", "report.html")]
        for text in (*summary_lines(results), *texts):
            assert self.SENTENCE not in text
            assert "ALARM" not in text


class TestReversed:
    def results(self, scores: np.ndarray) -> EvaluationResults:
        about = {"found": {"read_as": "read a/ (20) as photographs and b/ (18) as generated images"}}
        return tabulate(Predictions(make_images(), (OURS,), {"raw": scores[:, None]}, about))

    def test_scores_the_wrong_way_round_are_hinted_at_with_what_was_read_as_what(self, tmp_path: Path):
        results = self.results(1 - make_scores(make_images(), 0))
        (line,) = [line for line in summary_lines(results) if "reversed" in line]
        auc = show(results.detectors[0].conditions["raw"].pooled.auc, "auc")
        assert line.startswith(f"WARNING: ours has AUC {auc}, well below the 0.5 of chance. Its scores may be reversed")
        assert "(read a/ (20) as photographs and b/ (18) as generated images)" in line
        write_report(results, tmp_path)
        for name in ("report.md", "report.html"):
            assert f"ours has AUC {auc}, well below the 0.5 of chance." in (tmp_path / name).read_text()

    @pytest.mark.parametrize(
        ("scores", "below"),
        [(make_scores(make_images(), 0), 0), (np.tile([0.4, 0.6], 19), 0), (np.r_[0.5:1:20j, 0.45:1:18j], 0.5)],
    )
    def test_scores_that_are_right_or_near_chance_are_not(self, scores: np.ndarray, below: float):
        results = self.results(scores)
        value = results.detectors[0].conditions["raw"].pooled.auc.value
        assert value < below or below == 0
        assert not [line for line in summary_lines(results) if "reversed" in line]


class TestAlterations:
    """A corruption of one class alone that a detector takes for the class."""

    def report(self, shift: float) -> str:
        images = make_images()
        raw = make_scores(images, 0)
        predictions = Predictions(images, (OURS,), {"raw": raw[:, None], "noise=20": raw[:, None] + shift})
        sections = build_sections(tabulate(predictions))
        return next(section.warning or "" for section in sections if section.title == "Corruptions")

    def test_that_moves_the_figures_is_named(self):
        scores = make_scores(images := make_images(), 0)
        moved = [roc_auc_score(images.label, scores + 0.6 * (images.label == label)) for label in (1, 0)]
        assert moved[0] > 0.99
        assert moved[1] < 0.6
        words = f"ours under noise=20 ({moved[0]:.3f} and {moved[1]:.3f})"
        assert f"beyond the intervals of altering none and of altering both: {words}. There" in self.report(0.6)

    def test_that_does_not_is_not(self):
        assert self.report(0.01) == ""


def test_corruptions_are_drawn_as_a_mean_over_generators(results: EvaluationResults):
    curves = plots.corruption_curves(results)
    assert curves is not None
    shown = {axes.get_title(): axes for axes in curves.axes if axes.get_visible()}
    assert set(shown) == {"jpeg", "grayscale"}
    ours, theirs = (
        next(line for line in shown["jpeg"].lines if line.get_label() == name) for name in ("ours", "theirs")
    )
    conditions = results.detectors[0].conditions
    assert ours.get_ydata().tolist() == [conditions[name].mean["auc"].value for name in ("raw", "jpeg=50")]
    assert ours.get_color() != theirs.get_color()
    at_threshold = plots.corruption_curves(results, "balanced_accuracy")
    assert at_threshold is not None
    named = {line.get_label() for axes in at_threshold.axes for line in axes.lines}
    assert "ours" in named
    assert "theirs" not in named  # it has no threshold
    assert plots.corruption_curves(structs.replace(results, conditions=("raw", "aligned"))) is None


def test_the_radar_has_a_spoke_a_generator(results: EvaluationResults, values: dict):
    figure = plots.radar(results.detectors[0])
    assert figure is not None
    assert [axes.get_title() for axes in figure.axes] == ["AUC", "balanced accuracy"]
    rows = by_name(values["detectors"][0]["conditions"]["grayscale"]["generators"])
    for axes, name in zip(figure.axes, ("auc", "balanced_accuracy"), strict=True):
        assert [label.get_text() for label in axes.get_xticklabels()] == ["easy", "hard", "middling"]
        line = next(line for line in axes.lines if line.get_label() == "grayscale")
        expected = [rows[generator][name]["value"] for generator in ("easy", "hard", "middling", "easy")]
        assert line.get_ydata().tolist() == expected
    without = plots.radar(results.detectors[1])
    assert without is not None
    assert [axes.get_title() for axes in without.axes] == ["AUC"]
    assert plots.radar(structs.replace(results.detectors[0], conditions={})) is None


class TestHostileNames:
    NAMES = (
        "a|b", "<script>alert(1)</script>", "$\\frac{$", '" onerror="x', "line\nbreak", "a\\|b", "../../up",
        "{{ 7 * 7 }}",
    )  # fmt: skip

    @pytest.fixture(scope="class")
    @classmethod
    def report(cls, tmp_path_factory: pytest.TempPathFactory) -> Path:
        images = make_images((("real", "<b>phone</b>", 4), *(("fake", name, 3) for name in cls.NAMES)))
        column = replace(OURS, detector="<i>me|</i> $x$ $\\bad$", description="<u>", threshold_rule="<s>|")
        found = one_detector(images, column, ("raw", "aligned", "jpeg=50"))
        folder = tmp_path_factory.mktemp("hostile")
        write_report(tabulate(replace(found, about={"<q>": "<q>"})), folder, title="<em>")
        return folder

    def test_names_are_shown_and_do_nothing(self, report: Path):
        page = _Page((report / "report.html").read_text())
        ours = "html head meta title style body main h1 h2 h3 p nav ul li a div label input img strong"
        ours += " table thead tbody tr th td"
        assert {tag for tag, _ in page.tags} <= set(ours.split(" "))
        assert not any("onerror" in attributes for _, attributes in page.tags)
        for name in self.NAMES:
            assert name in page.cells
        assert page.cells[0].startswith("<em>")

    def test_a_bar_or_a_new_line_breaks_no_table(self, report: Path):
        lines = (report / "report.md").read_text().splitlines()
        header = next(index for index, line in enumerate(lines) if line.startswith("| generator | n real"))
        width = lines[header].count("|")
        rows = lines[header + 2 : header + 2 + len(self.NAMES) + 1]
        assert all(len(re.findall(r"(?<!\\)\|", row)) == width for row in rows)
        assert any(row.startswith("| a\\|b |") for row in rows)
        assert any(row.startswith("| line break |") for row in rows)

    def test_detectors_of_like_names_keep_their_own_plots(self, tmp_path: Path):
        images = make_images()
        columns = tuple(Column(name, outputs="score") for name in ("x-1", "x.1"))
        scores = {"raw": np.stack([make_scores(images, seed) for seed in range(2)], axis=1)}
        write_report(tabulate(Predictions(images, columns, scores)), tmp_path)
        linked = re.findall(r"\((plots/[^)]+x-1-raw[^)]*)\)", (tmp_path / "report.md").read_text())
        one, other = ((tmp_path / name).read_bytes() for name in linked)
        assert one != other


def test_a_detector_that_says_nothing_under_corruptions_is_in_their_table_as_far_as_it_speaks(
    predictions: Predictions, tmp_path: Path
):
    scores = {name: np.full_like(of, np.nan) if name != "raw" else of for name, of in predictions.scores.items()}
    results = tabulate(replace(predictions, scores=scores))
    assert [list(detector.conditions) for detector in results.detectors] == [["raw"], ["raw"]]
    write_report(results, tmp_path)
    assert "| ours | raw |" in (tmp_path / "report.md").read_text().partition("## Corruptions")[2]


def test_figures_as_text():
    figure = Estimate(0.1234, 0.05, 0.2, n=9)
    assert show(figure, "auc") == "0.123 [0.050, 0.200]"
    assert show(figure, "fake_accuracy") == "12.3 % [5.0, 20.0]"
    assert show(None, "auc") == "-"


def test_the_roc_curve_is_that_of_all_images(predictions: Predictions, results: EvaluationResults, values: dict):
    images, scores = predictions.images, predictions.of(OURS)
    found = values["detectors"][0]["conditions"]["raw"]["roc"]
    false, true = found["false_positive_rate"], found["true_positive_rate"]
    assert (false[0], true[0], false[-1], true[-1]) == (0, 0, 1, 1)
    assert np.trapezoid(true, false) == pytest.approx(roc_auc_score(images.label, scores))
    called = scores >= 0.5
    assert found["at_threshold"] == [called[images.label == label].mean() for label in (0, 1)]
    assert values["detectors"][1]["conditions"]["raw"]["roc"]["at_threshold"] is None  # it has no threshold
    assert "roc" not in values["detectors"][0]["conditions"]["jpeg=50"]
    titles = [section.title for section in build_sections(results) if section.title.startswith("ROC")]
    assert titles == ["ROC curve, raw", "ROC curve, aligned"]


WORDS = {"ai": "AI-generated", "uncertain": "uncertain", "real": "photograph"}


class TestVerdictShares:
    COLUMN = replace(OURS, threshold=0.6, real_below=0.4)

    def test_every_image_is_counted_once(self):
        images = make_images()
        scores = make_scores(images, 0)
        scores[[0, 1]] = 0.6, 0.4  # on the limits: "ai" from the one on, "uncertain" from the other
        found = tabulate(Predictions(images, (self.COLUMN,), {"raw": scores[:, None]}))
        rows = {row["group"]: row for row in found.to_dict()["detectors"][0]["conditions"]["raw"]["verdicts"]}
        assert set(rows) == {"photographs", "generated, all", "easy", "hard", "middling"}
        for name, row in rows.items():
            chosen = images.label == int(name != "photographs")
            these = scores[chosen & ((images.generator == name) | (name in ("photographs", "generated, all")))]
            assert row["n"] == len(these)
            counted = [round(row[word]["value"] * row["n"]) for word in ("ai", "uncertain", "real")]
            assert counted == [(these >= 0.6).sum(), ((these >= 0.4) & (these < 0.6)).sum(), (these < 0.4).sum()]
        (section,) = [one for one in build_sections(found) if one.title.startswith("The three verdicts")]
        assert section.table is not None
        assert [row[0] for row in section.table.rows][:3] == ["photographs", "generated, all", "hard"]
        photographs, generated = (
            ", ".join(f"{row[word]['value']:.1%} {name}" for word, name in WORDS.items())
            for row in (rows["photographs"], rows["generated, all"])
        )
        told = f"verdicts of ours, raw: photographs: {photographs}; generated, all: {generated}"
        assert [line for line in summary_lines(found) if line.startswith("verdicts")] == [told]

    def test_two_verdicts_have_none(self, results: EvaluationResults, values: dict):
        assert "verdicts" not in values["detectors"][0]["conditions"]["raw"]
        assert not [line for line in summary_lines(results) if line.startswith("verdicts")]
        assert not [one for one in build_sections(results) if one.title.startswith("The three verdicts")]

    def test_the_limits_are_kept_with_the_predictions(self, tmp_path: Path):
        images = make_images()
        Predictions(images, (self.COLUMN,), {"raw": make_scores(images, 0)[:, None]}).save(tmp_path / "p.parquet")
        assert Predictions.load(tmp_path / "p.parquet").columns == (self.COLUMN,)


def test_a_wide_table_shows_what_matters_until_all_is_asked_for(report: Path):
    page = (report / "report.html").read_text()
    (header,) = set(re.findall(r"<thead><tr>(<th[^>]*>generator</th>.*?)</tr></thead>", page)[:1])
    assert re.findall(r'<th scope="col">([^<]+)</th>', header) == ["generator", "n real / fake", "balanced acc.", "AUC"]
    assert len(re.findall(r'<th scope="col" class="more">', header)) == 9
    assert page.count("All 13 columns") >= 2
