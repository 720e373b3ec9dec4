"""From images to a report, to the same report from the predictions alone, to a comparison."""

import json
import os
import re
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
from PIL import Image
from sklearn.metrics import roc_auc_score
from tests.cli.in_process import invoke
from typer.testing import Result

from cinemae.detect.detector import Detector
from cinemae.evaluation.predictions import Predictions
from cinemae.models.directory import read_model_config

pytestmark = pytest.mark.usefixtures("one_thread")

OURS = """import numpy as np

class Flatness:
    name, outputs = "flatness", "score"

    def predict(self, images):
        return [-np.asarray(image, float).std() for image in images]
"""


def assert_refused(result: Result, sentence: str) -> None:
    """One line on standard error says what is wrong; nothing else is said."""
    assert result.exit_code == 2, result.output
    assert result.stdout == ""
    (line,) = [line for line in result.stderr.splitlines() if not line.startswith("training ")]
    assert line.startswith("error: ")
    assert re.search(sentence, line), line


@pytest.fixture(scope="module")
def dataset(tmp_path_factory: pytest.TempPathFactory, picture) -> Path:
    root = tmp_path_factory.mktemp("data")
    for split, start in (("train", 0), ("test", 1000)):
        for place, folder in enumerate(("real/phone", "real/slr", "fake/gan", "fake/sd")):
            (root / split / folder).mkdir(parents=True)
            for index in range(5):
                noisy = 4 * (place > 1)  # what FreDect can learn: photographs are smooth
                picture(5 * (start + 100 * place + index) + noisy).save(root / split / folder / f"{index}.png")
    return root


@pytest.fixture(scope="module")
def evaluated(dataset: Path, tiny_model: Path, tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, Result]:
    """Four kinds of detectors at once."""
    root = tmp_path_factory.mktemp("evaluated")
    (root / "flat_detector.py").write_text(OURS)
    before = Path.cwd()
    os.chdir(root)
    try:
        result = invoke(
            "evaluate", dataset / "test", "--train", dataset / "train", "--out", root / "out", "--model", tiny_model,
            "--detector", "cinemae", "--detector", "fredect,crop=48", "--detector", "format-probe",
            "--detector", "flat_detector:Flatness", "--corruptions", "jpeg=50", "--seeds", "2", "--mask-seeds", "2",
            "--examples", "1", "--device", "cpu",
        )  # fmt: skip
    finally:
        os.chdir(before)
    return root / "out", result


def without_maps(page: str) -> str:
    """Take what only `evaluate` shows out of a page: the maps at its end, and the link to them."""
    last = page.index(">Where this comes from</h2>")
    page = re.sub(r'<li><a href="#part-[0-9]+">Example maps</a></li>\n', "", page)
    return (page[: page.find("<h2", last)] if "Example maps" in page else page[: page.index("</main>")]).rstrip()


class TestEvaluate:
    def test_it_ends_well_and_tells_what_it_found(self, evaluated: tuple[Path, Result]):
        out, result = evaluated
        assert result.exit_code == 0, result.output
        lines = result.stdout.splitlines()
        assert lines[0] == "10 photographs, 10 generated, 0 unreadable files"
        assert lines[-1] == f"report: {out / 'report.html'}"
        assert lines[1] == "data set: read real/ (10) as photographs and fake/ (10) as generated images"
        assert lines[1] in result.stderr.splitlines()  # before a picture is opened
        shares = [line for line in lines if line.startswith("verdicts of ")]
        assert [line.partition(":")[0] for line in shares] == ["verdicts of cinemae, raw"]
        others = [line for line in lines[4:-1] if line not in shares and not line.startswith("WARNING")]
        shown = [tuple(line.split()[:2]) for line in others]
        assert shown == [
            (name, condition)
            for name in ("cinemae", "fredect", "format-probe", "flatness")
            for condition in (("raw",) if name == "format-probe" else ("raw", "aligned"))
        ]
        for seed in (0, 1):
            assert f"training fredect,crop=48, seed {seed}, on 16 images" in result.stderr
        assert {path.name for path in out.iterdir()} == {
            "predictions.parquet", "results.json", "report.md", "report.html", "plots",
        }  # fmt: skip

    def test_figures_are_those_of_the_images(self, evaluated: tuple[Path, Result], dataset: Path, tiny_model: Path):
        out, _ = evaluated
        results = json.loads((out / "results.json").read_text())
        files = sorted((dataset / "test").rglob("*.png"))
        labels = ["fake" in path.parts for path in files]
        detectors = {one["detector"]: one["conditions"] for one in results["detectors"]}
        flat = [-np.asarray(Image.open(path), float).std() for path in files]
        assert detectors["flatness"]["raw"]["pooled"]["auc"]["value"] == pytest.approx(roc_auc_score(labels, flat))
        ours = [verdict.prob_fake for verdict in Detector.from_pretrained(tiny_model).detect_batch(files)]
        assert detectors["cinemae"]["raw"]["pooled"]["auc"]["value"] == pytest.approx(roc_auc_score(labels, ours))
        assert detectors["fredect"]["raw"]["pooled"]["auc"]["value"] == 1.0
        assert set(detectors["cinemae"]) == {"raw", "aligned", "jpeg=50"}
        assert set(detectors["format-probe"]) == {"raw"}
        assert results["images"]["generators"] == {"gan": 5, "sd": 5}
        assert results["about"]["fingerprints"] == {"cinemae": read_model_config(tiny_model).fingerprint}

    def test_the_page_shows_example_maps(self, evaluated: tuple[Path, Result]):
        page = (evaluated[0] / "report.html").read_text()
        assert page.count("<figcaption>") == 4  # one of each kind
        assert "Example maps" in page
        assert "Example maps" not in (evaluated[0] / "report.md").read_text()

    def test_files_that_cannot_be_read_are_rows_and_exit_code_1(self, tmp_path: Path, dataset: Path):
        for label in ("real", "fake"):
            (tmp_path / "data" / label).mkdir(parents=True)
            for index in range(2):
                data = (dataset / "test" / label / {"real": "slr", "fake": "sd"}[label] / f"{index}.png").read_bytes()
                (tmp_path / "data" / label / f"{index}.png").write_bytes(data)
        (tmp_path / "data/fake/empty.png").touch()
        lines = [f"{path},{index}" for index, path in enumerate((tmp_path / "data").rglob("*.png"))]
        (tmp_path / "scores.csv").write_text("\n".join(["path,score", *lines]))
        result = invoke("evaluate", tmp_path / "data", "--out", tmp_path / "out", "--detector", tmp_path / "scores.csv")
        assert result.exit_code == 1, result.output
        assert result.stdout.startswith("2 photographs, 2 generated, 1 unreadable files\n")
        images = Predictions.load(tmp_path / "out/predictions.parquet").images
        assert len(images) == 5
        assert (~images.readable).sum() == 1
        assert "fake/empty.png" in (tmp_path / "out/report.md").read_text()
        before = {path.name: path.read_bytes() for path in (tmp_path / "out").glob("re*")}
        for name in before:
            (tmp_path / "out" / name).unlink()
        again = invoke("report", tmp_path / "out/predictions.parquet")  # beside the predictions unless told otherwise
        assert again.exit_code == 0
        assert again.stdout == result.stdout
        assert {path.name: path.read_bytes() for path in (tmp_path / "out").glob("re*")} == before


class TestReport:
    def test_it_is_what_evaluate_wrote_without_a_picture_being_there(
        self, evaluated: tuple[Path, Result], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
    ):
        out, first = evaluated

        def refused(*arguments, **settings):
            raise AssertionError

        monkeypatch.setattr("PIL.Image.open", refused)  # whichever module reads a picture
        result = invoke("report", out / "predictions.parquet", "--out", tmp_path)
        assert result.exit_code == 0, result.output
        assert result.stdout.splitlines()[:-1] == first.stdout.splitlines()[:-1]
        for name in ("results.json", "report.md", *(f"plots/{path.name}" for path in (out / "plots").iterdir())):
            assert (tmp_path / name).read_bytes() == (out / name).read_bytes(), name
        pages = [(folder / "report.html").read_text() for folder in (out, tmp_path)]
        assert pages[0] != pages[1]
        assert without_maps(pages[0]) == without_maps(pages[1])

    def test_it_loads_nothing_that_only_scoring_needs(self, evaluated: tuple[Path, Result], tmp_path: Path):
        """A third of the time of a report would go into loading torch and transformers."""
        code = (
            "import sys\nfrom cinemae.app.cli import main\ntry: main()\nexcept SystemExit: pass\n"
            "print(sorted({'torch', 'transformers', 'onnxruntime', 'sklearn'} & set(sys.modules)))"
        )
        arguments = ["report", str(evaluated[0] / "predictions.parquet"), "--out", str(tmp_path)]
        result = subprocess.run([sys.executable, "-c", code, *arguments], capture_output=True, text=True, check=True)
        assert (tmp_path / "report.html").exists()
        assert result.stdout.splitlines()[-1] == "['sklearn']"

    def test_what_is_no_predictions_file(self, dataset: Path, tmp_path: Path):
        assert_refused(invoke("report", tmp_path / "none.parquet"), "there is no file .*none.parquet")
        assert_refused(invoke("report", dataset / "test/real/slr/0.png"), "predictions are a Parquet file")


class TestCompare:
    def test_two_detectors_of_one_file(self, evaluated: tuple[Path, Result]):
        file = evaluated[0] / "predictions.parquet"
        result = invoke("compare", f"{file}::fredect", f"{file}::flatness", "--condition", "aligned")
        assert result.exit_code == 0, result.output
        assert result.stdout.startswith("A: fredect under aligned, seed 0 (logistic regression")
        assert "10 photographs and 10 generated images, the same for both." in result.stdout
        assert "McNemar  not possible: one of them has no threshold." in result.stdout
        assert re.search(r"^Format   \d+\.\d % \[.*\] balanced accuracy without", result.stdout, re.MULTILINE)

    def test_as_json(self, evaluated: tuple[Path, Result]):
        file = evaluated[0] / "predictions.parquet"
        result = invoke("compare", f"{file}::cinemae", f"{file}::fredect", "--json", "--seed", "4")
        found = json.loads(result.stdout)
        results = {one["detector"]: one for one in json.loads((evaluated[0] / "results.json").read_text())["detectors"]}
        for side, name in (("auc_a", "cinemae"), ("auc_b", "fredect")):
            assert found[side] == pytest.approx(results[name]["conditions"]["raw"]["pooled"]["auc"]["value"])
        assert found["auc_difference"]["value"] == pytest.approx(found["auc_a"] - found["auc_b"])
        counts = [found["mcnemar"][name] for name in ("only_a_right", "only_b_right", "both_right", "both_wrong")]
        assert sum(counts) == 20

    def test_what_cannot_be_compared(self, evaluated: tuple[Path, Result], tmp_path: Path, dataset: Path):
        file = evaluated[0] / "predictions.parquet"
        assert_refused(invoke("compare", file, file), "say which to compare, as in FILE::cinemae")
        assert_refused(invoke("compare", f"{file}::cinemae", f"{file}::other"), "hold no detector other")
        found = invoke("compare", f"{file}::cinemae", f"{file}::fredect", "--condition", "blur=1")
        assert_refused(found, "hold no condition blur=1, they hold raw, aligned, jpeg=50")
        found = invoke("compare", f"{file}::cinemae", f"{file}::format-probe", "--condition", "jpeg=50")
        assert_refused(found, "format-probe has none for .* under jpeg=50")
        lines = [f"{path},0.5" for path in (dataset / "train").rglob("*.png")]
        (tmp_path / "scores.csv").write_text("\n".join(["path,score", *lines]))
        other = invoke("evaluate", dataset / "train", "--out", tmp_path, "--detector", tmp_path / "scores.csv")
        assert other.exit_code == 0, other.output
        found = invoke("compare", f"{file}::cinemae", tmp_path / "predictions.parquet")
        assert_refused(found, "20 are in the first predictions only and 20 in the second only")


class TestRefused:
    @pytest.mark.parametrize(
        ("arguments", "sentence"),
        [
            (("--detector", "resnet"), "there is no detector 'resnet': name one of cinemae, nll"),
            (("--detector", "fredect"), "fredect is trained here, and no training set was given"),
            (("--detector", "fredect,epochs=3", "--train", "TRAIN"), "fredect has no option epochs"),
            (("--detector", "nowhere:Class"), "nowhere:Class must name a class of an importable module"),
            (("--detector", "nowhere.csv"), "the file of scores nowhere.csv could not be read"),
            (("--layout", "pile"), "a layout is one of auto, genimage"),
            (("--split", "val"), "val"),
            (("--corruptions", "melt=3"), "a condition is one of raw"),
            (("--train", "nowhere"), "there is no folder, glob, .csv manifest, .tar or .parquet file nowhere"),
            (("--train", "TEST"), "20 of the test images are in the training set as well"),
            (("--train", "TRAIN", "--validation", "TEST"), "20 of the test images are in the validation set as well"),
            (("--model", "nowhere/model"), "nowhere"),
        ],
    )
    def test_in_one_line(self, dataset: Path, tiny_model: Path, tmp_path: Path, arguments, sentence: str):
        places = {"TRAIN": dataset / "train", "TEST": dataset / "test"}
        chosen = [places.get(argument, argument) for argument in arguments]
        model = () if "--model" in arguments else ("--model", tiny_model)
        assert_refused(invoke("evaluate", dataset / "test", "--out", tmp_path / "out", *model, *chosen), sentence)
        assert not (tmp_path / "out/predictions.parquet").exists()

    def test_a_test_set_without_labels_or_without_photographs(self, dataset: Path, tmp_path: Path, picture):
        picture(0).save(tmp_path / "a.png")
        assert_refused(
            invoke("evaluate", tmp_path, "--out", tmp_path / "out"), "1 of 1 carry no label, such as .*a.png"
        )
        found = invoke("evaluate", dataset / "test/fake", "--out", tmp_path / "out")
        assert_refused(found, "the test set needs photographs .* it holds 0 and 10 that can be read")

    def test_photographs_alone(self, dataset: Path, tmp_path: Path, tiny_model: Path):
        """They need no generated images to say which of them are accused."""
        real = dataset / "test/real"
        found = invoke("evaluate", real, "--out", tmp_path / "out", "--model", tiny_model, "--examples", "1")
        assert found.exit_code == 0, found.output
        told = "data set: there is no fake image at all: only how many photographs are accused can be told."
        assert found.stderr.splitlines()[0] == told  # before the work
        assert told in found.stdout.splitlines()  # and after it
        raw = json.loads((tmp_path / "out/results.json").read_text())["detectors"][0]["conditions"]["raw"]
        assert [one["false_positive_rate"]["n"] for one in raw["photo_sources"]] == [5, 5]
        page = (tmp_path / "out/report.html").read_text()
        assert "Photographs most accused" in page
        assert "Generated images most trusted" not in page
        (tmp_path / "out/report.html").unlink()
        again = invoke("report", tmp_path / "out/predictions.parquet")
        assert again.stdout == found.stdout

    def test_a_place_that_cannot_be_written_to_before_anything_is_scored(self, dataset: Path, tmp_path: Path):
        (tmp_path / "out").touch()
        assert_refused(invoke("evaluate", dataset / "test", "--out", tmp_path / "out"), "out: File exists")
