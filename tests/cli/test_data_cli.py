"""`cinemae data`: what it prints, what it writes, how it ends."""

import csv
import json
import subprocess
import sys

import numpy as np
import pytest
from PIL import Image
from sklearn.ensemble import RandomForestClassifier
from tests.cli.in_process import invoke

from cinemae.sources.layouts import read_dataset


def assert_refused(result, sentence):
    assert result.exit_code == 2, result.output
    assert result.stdout == ""
    assert result.stderr.startswith("error: ")
    assert sentence in result.stderr


@pytest.fixture(autouse=True)
def small_forest(monkeypatch):
    """The format probe with few trees: what it says is tested in `test_format_probe.py`."""

    def forest(seed):
        return RandomForestClassifier(5, class_weight="balanced", min_samples_leaf=2, random_state=seed)

    monkeypatch.setattr("cinemae.statistics.format_probe._forest", forest)


@pytest.fixture
def dataset(tmp_path):
    """Six photographs and six fakes saved alike, in two splits."""
    rng = np.random.default_rng(0)
    root = tmp_path / "set"
    for number in range(12):
        folder = root / ("val", "train")[number < 8] / ("real/phone", "fake/gan")[number % 2]
        folder.mkdir(parents=True, exist_ok=True)
        small = Image.fromarray(rng.integers(0, 256, (12, 12, 3), np.uint8))
        small.resize((60, 60), Image.Resampling.BICUBIC).save(folder / f"{number}.png")
    return root


def test_a_sound_set_ends_with_0(dataset):
    result = invoke("data", "check", dataset)
    assert result.exit_code == 0, result.output
    assert "12 files, 12 readable: 6 photographs, 6 generated images (train 8, val 4)." in result.stdout
    assert result.stdout.endswith("0 serious findings, 0 warnings, 0 notes.\n")


def test_a_leak_ends_with_1_and_is_in_all_three_forms(dataset, tmp_path):
    (dataset / "val/fake/gan/\x1b[31m.png").write_bytes((dataset / "train/fake/gan/1.png").read_bytes())
    out, page = tmp_path / "out.json", tmp_path / "page.html"
    result = invoke("data", "check", dataset, "--json", out, "--html", page)
    assert result.exit_code == 1
    assert "SERIOUS: The same file in two splits" in result.stdout
    assert r"train/fake/gan/1.png = val/fake/gan/\x1b[31m.png" in result.stdout
    assert "\x1b" not in result.stdout
    found = json.loads(out.read_text(encoding="utf-8"))
    assert found["findings"][0]["check"] == "file_in_two_splits"
    assert found["check_version"] == 1
    assert "The same file in two splits" in page.read_text(encoding="utf-8")


def test_a_training_set_elsewhere_is_held_against(dataset):
    result = invoke("data", "check", dataset / "val", "--against", dataset / "train")
    assert result.exit_code == 0
    (dataset / "val/real/phone/x.png").write_bytes((dataset / "train/real/phone/0.png").read_bytes())
    assert invoke("data", "check", dataset / "val", "--against", dataset / "train").exit_code == 1


def test_wrong_usage_ends_with_2(dataset, tmp_path):
    assert_refused(invoke("data", "check", tmp_path / "nowhere"), "check the path")
    assert_refused(invoke("data", "check", dataset, "--split", "test"), "split 'test' was asked for")
    assert_refused(invoke("data", "check", dataset, "--layout", "odd"), "got 'odd'")
    assert_refused(invoke("data", "check", dataset, "--manifest", tmp_path / "none.csv"), "could not be read")
    assert_refused(invoke("data", "check", dataset, "--json", tmp_path / "no/x.json"), "make the folder first")
    assert_refused(invoke("data", "manifest", dataset, "--out", tmp_path / "no/x.csv"), "make the folder first")


def test_a_manifest_is_written_checked_and_read_by_other_commands(dataset):
    manifest = dataset / "manifest.csv"
    result = invoke("data", "manifest", dataset, "--out", manifest)
    assert result.exit_code == 0
    assert result.stdout == f"{manifest}: 12 files, 0 left out\n"
    assert len(read_dataset(manifest).records) == 12
    assert invoke("data", "check", dataset, "--manifest", manifest).exit_code == 0
    (dataset / "val/fake/gan/9.png").unlink()
    result = invoke("data", "check", dataset, "--manifest", manifest)
    assert result.exit_code == 1
    assert "SERIOUS: Files that are not there" in result.stdout


def test_files_that_cannot_be_listed_are_named(dataset):
    (dataset / "val/fake/gan/gone.png").symlink_to("nowhere.png")
    result = invoke("data", "manifest", dataset, "--out", dataset / "manifest.csv")
    assert result.exit_code == 1
    assert "left out: " in result.stderr
    assert "gone.png" in result.stderr


def test_an_aligned_copy_says_what_was_done(dataset, tmp_path):
    (dataset / "train/real/phone/empty.jpg").touch()
    out = tmp_path / "aligned"
    result = invoke("data", "align", dataset, out, "--size", "32", "--quality", "90")
    assert result.exit_code == 1  # one could not be read
    lines = result.stdout.splitlines()
    assert lines[0] == "centre square, scaled to 32x32 (bicubic), saved as JPEG of quality 90 (4:2:0)"
    assert [line.split() for line in lines[2:4]] == [["real", "7", "6", "0", "1"], ["fake", "6", "6", "0", "0"]]
    assert invoke("data", "check", out).exit_code == 0


def test_the_window_names_what_it_leaves_out(dataset, tmp_path):
    with Image.open(dataset / "train/fake/gan/1.png") as image:
        image.resize((90, 90)).save(dataset / "train/fake/gan/large.png")
    out = tmp_path / "aligned"
    result = invoke("data", "align", dataset, out, "--preset", "grommelt", "--window", "50-64")
    assert result.exit_code == 0, result.output
    assert "left out: a side above 64 pixels: 0 real, 1 fake" in result.stdout
    with (out / "alignment.csv").open(newline="", encoding="utf-8") as file:
        statuses = [row["status"] for row in csv.DictReader(file)]
    assert sorted(set(statuses)) == ["aligned", "left_out"]


def test_a_class_that_comes_out_empty_ends_with_1(dataset, tmp_path):
    for path in (dataset / "train/fake/gan").iterdir():
        path.unlink()
    for path in (dataset / "val/fake/gan").iterdir():
        with Image.open(path) as image:
            image.resize((20, 20)).save(path)
    result = invoke("data", "align", dataset, tmp_path / "out", "--preset", "grommelt", "--window", "50-64")
    assert result.exit_code == 1
    assert "no image is left of: gan" in result.stdout
    assert "WARNING: no fake image came through" in result.stdout


def test_options_of_the_other_preset_are_refused(dataset, tmp_path):
    out = tmp_path / "out"
    assert_refused(invoke("data", "align", dataset, out, "--window", "50-60"), "give --size, or --preset grommelt")
    assert_refused(invoke("data", "align", dataset, out, "--preset", "grommelt", "--size", "9"), "scales nothing")
    assert_refused(
        invoke("data", "align", dataset, out, "--preset", "grommelt", "--window", "9"), "such as 450-550, got '9'"
    )
    assert_refused(invoke("data", "align", dataset, dataset / "out"), "never written into the data set")
    assert not out.exists()


@pytest.mark.parametrize("command", ["align", "manifest"])
def test_what_needs_no_extra_imports_none(dataset, tmp_path, command):
    code = f"""
import sys
from cinemae.app.cli import app
arguments = ["data", {command!r}, {str(dataset)!r}]
arguments += ["--out", {str(tmp_path / "m.csv")!r}] if {command!r} == "manifest" else [{str(tmp_path / "out")!r}]
try:
    app(arguments)
except SystemExit as end:
    assert end.code == 0, end.code
heavy = {{"torch", "sklearn", "scipy", "matplotlib", "faiss", "imagehash", "pyarrow", "jinja2"}} & set(sys.modules)
assert not heavy, heavy
"""
    result = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=False)
    assert result.returncode == 0, result.stderr


WITHOUT = """
import sys

class Missing:
    def find_spec(self, name, path=None, target=None):
        if name.partition(".")[0] in {packages!r}:
            raise ModuleNotFoundError(f"No module named {{name!r}}", name=name)

sys.meta_path.insert(0, Missing())
sys.argv = ["cinemae", "data", "check", {dataset!r}]
from cinemae.__main__ import main
main()
"""


@pytest.mark.parametrize(
    ("packages", "code", "said"),
    [
        (("torch", "transformers", "onnx", "onnxscript", "jaxtyping"), 0, ""),
        (("torch", "sklearn"), 2, "error: this needs sklearn, which is not installed: pip install 'cinemae[data]'\n"),
    ],
)
def test_check_needs_the_extra_data_alone(dataset, packages, code, said):
    program = WITHOUT.format(packages=packages, dataset=str(dataset))
    result = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True, check=False)
    assert (result.returncode, result.stderr) == (code, said), result.stdout
