"""The adapter of DetectZoo, on a small stand-in that follows its published interface.

The package itself was not tried: it needs torchvision and torchaudio of torch's own build, several gigabytes that the
project's environment leaves out.
"""

import sys

import numpy as np
import pytest
from PIL import Image

from cinemae.errors import CheckpointError, ConfigError
from cinemae.evaluation.baselines.detectzoo_detector import DetectZooDetector
from cinemae.evaluation.detectors import Setup, make_sources

STAND_IN = """
from dataclasses import dataclass, field

__version__ = "0.1.4"


@dataclass
class DetectionResult:
    score: float
    label: str
    confidence: float = 0.0
    metadata: dict = field(default_factory=dict)


class Brightness:
    def __init__(self, *, checkpoint_path=None, threshold=0.25, device="cpu", **kwargs):
        if checkpoint_path is None:
            raise FileNotFoundError("checkpoint not found at `cache/weights.pth`.\\nPlace it there.")
        self.threshold, self.made_with = threshold, (checkpoint_path, device, kwargs)

    def predict(self, input_data):
        assert input_data.mode == "RGB"
        score = input_data.getpixel((0, 0))[0] / 255
        return DetectionResult(score, "ai" if score >= self.threshold else "human")


def list_detectors(modality=None):
    return {"image": ["brightness"], "text": ["entropy"]}[modality]


def load_detector(name, **kwargs):
    return {"brightness": Brightness}[name](**kwargs)
"""


@pytest.fixture
def detectzoo(tmp_path, monkeypatch):
    (tmp_path / "detectzoo.py").write_text(STAND_IN)
    monkeypatch.syspath_prepend(tmp_path)
    monkeypatch.delitem(sys.modules, "detectzoo", raising=False)
    yield
    sys.modules.pop("detectzoo", None)


PICTURES = [Image.new("RGB", (4, 3), (value, 0, 0)) for value in (0, 51, 255)]


@pytest.mark.usefixtures("detectzoo")
class TestAdapter:
    def test_scores_threshold_and_options_are_the_packages(self):
        (source,) = make_sources(["detectzoo:brightness,checkpoint_path=own.pth"], Setup(device="cuda"))
        (column,) = source.columns
        assert (column.detector, column.outputs, column.threshold) == ("detectzoo:brightness", "score", 0.25)
        assert column.description == "brightness of DetectZoo 0.1.4, with the weights that it fetched or was given"
        assert source._detector._detector.made_with == ("own.pth", "cuda", {})
        np.testing.assert_allclose(source._detector.predict(PICTURES), [0, 0.2, 1])
        assert DetectZooDetector("brightness", {"checkpoint_path": "a"})._detector.made_with == ("a", "cpu", {})

    def test_weights_that_cannot_be_had_are_told_with_what_to_do(self):
        sentence = (
            r"could not load brightness \(FileNotFoundError: checkpoint not found at `cache/weights.pth`.\). It "
            r"fetches weights from .* keep them; .*name the file: detectzoo:brightness,checkpoint_path=FILE"
        )
        with pytest.raises(CheckpointError, match=sentence):
            make_sources(["detectzoo:brightness"], Setup())

    @pytest.mark.parametrize("name", ["entropy", "nothing"])
    def test_what_is_no_detector_of_images_is_refused(self, name):
        with pytest.raises(ConfigError, match=f"DetectZoo 0.1.4 has no detector '{name}' of images: brightness"):
            make_sources([f"detectzoo:{name}"], Setup())


class TestMissing:
    def test_without_the_package_it_says_what_to_install(self, monkeypatch):
        monkeypatch.setitem(sys.modules, "detectzoo", None)
        with pytest.raises(ConfigError, match=r"detectzoo:lgrad needs the package DetectZoo \(pip install detectzoo\)"):
            make_sources(["detectzoo:lgrad"], Setup())

    def test_a_torchvision_of_another_build_is_told(self, tmp_path, monkeypatch):
        """What torchvision raises beside a CPU build of torch."""
        (tmp_path / "detectzoo.py").write_text("raise RuntimeError('operator torchvision::nms does not exist')")
        monkeypatch.syspath_prepend(tmp_path)
        monkeypatch.delitem(sys.modules, "detectzoo", raising=False)
        sentence = "torchvision and torchaudio of the same build as torch; .* operator torchvision::nms does not exist"
        with pytest.raises(ConfigError, match=sentence):
            make_sources(["detectzoo:lgrad"], Setup())
