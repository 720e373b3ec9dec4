from __future__ import annotations

import dataclasses
import io
import json
import os
import pickle
import re
import threading
import tracemalloc
from collections.abc import Iterator
from pathlib import Path

import numpy as np
import pytest
import torch
from PIL import Image

import cinemae
from cinemae.config import DecisionConfig, ModelConfig
from cinemae.detect.detector import Detector
from cinemae.detect.verdict import Verdict
from cinemae.detect.words import limits_in_words
from cinemae.errors import CinemaeError, ConfigError, ImageError, ModelDirError
from cinemae.models.checked_scores import CheckedScores
from cinemae.models.directory import STARTER, read_model_config
from cinemae.models.scorers import Scores
from cinemae.sources.stream import NUM_WORKERS


@pytest.fixture(scope="module")
def detector(tiny_model: Path) -> Detector:
    return Detector.from_pretrained(tiny_model)


class StubScorer:
    """Gives probabilities in turn."""

    one_by_one = False

    def __init__(self, config: ModelConfig, *probabilities: float) -> None:
        self.config, self.model_id = config, config.model_id
        self._left = list(probabilities)

    def score(self, pixel_values: np.ndarray) -> Scores:
        n = len(pixel_values)
        prob = np.array([self._left.pop(0) for _ in range(n)])
        return Scores(np.zeros(n), prob, np.zeros((n, 3)), np.zeros((n, 2, 16), np.float32), np.full(n, np.nan))

    def lcas_map(self, pixel_values: np.ndarray) -> np.ndarray:
        return np.zeros((4, 4), np.float32)


def test_a_verdict_has_these_keys_in_this_order(detector: Detector, photos: Path, verdict_keys: list[str]):
    verdict = detector.detect(photos / "b.jpg")
    values = verdict.to_dict()
    assert list(values) == verdict_keys
    assert json.loads(json.dumps(values)) == values
    assert values["path"] == str(photos / "b.jpg")
    assert (values["status"], values["format"], values["width"], values["height"]) == ("ok", "JPEG", 60, 50)
    assert values["threshold"] == 0.6
    assert values["warnings"] == ["upscaled"]  # drawn without fine detail
    assert (values["ood_score"], values["redeliveries"], values["provenance"]) == (None, None, [])
    assert values["model"] == detector.config.model_id
    assert all(
        isinstance(values[key], float) for key in ("prob_fake", "logit", "variability", "overall", "sensitivity")
    )


def test_a_failed_file_is_a_verdict_of_nulls(detector: Detector, photos: Path, verdict_keys: list[str]):
    (verdict,) = detector.detect_batch([photos / "empty.jpg"])
    values = verdict.to_dict()
    assert list(values) == [*verdict_keys, "error_message"]
    assert {key for key in verdict_keys if values[key] is not None} == {"path", "status", "schema_version"}
    assert values["status"] == "error"
    assert "empty (0 bytes)" in values["error_message"]
    assert verdict.warnings == ()


def test_every_kind_of_input_gets_the_same_score(detector: Detector, photos: Path):
    path = photos / "a.png"
    with Image.open(path) as image:
        pixels = np.asarray(image)
        sources = [path, str(path), path.read_bytes(), io.BytesIO(path.read_bytes()), image, pixels, pixels / 255]
        verdicts = [detector.detect(source) for source in sources]
    assert len({verdict.prob_fake for verdict in verdicts}) == 1
    assert [verdict.path for verdict in verdicts[:3]] == [str(path), str(path), None]


def test_detect_raises_what_batches_record(detector: Detector, photos: Path):
    with pytest.raises(ImageError, match="damaged, incomplete"):
        detector.detect(photos / "truncated.jpg")
    verdicts = detector.detect_batch([photos / "a.png", photos / "text.jpg", photos / "b.jpg"], on_error="raise")
    assert next(verdicts).status == "ok"
    with pytest.raises(ImageError, match=r"text\.jpg"):
        next(verdicts)


@pytest.mark.parametrize("batch_size", [1, 2, 3, 8, 100])
@pytest.mark.parametrize("keep_pixels", [True, False])
def test_order_and_scores_do_not_depend_on_batches(
    detector: Detector, photos: Path, batch_size: int, keep_pixels: bool
):
    files = sorted(path for path in photos.rglob("*") if path.is_file()) * 3
    verdicts = list(detector.detect_batch(files, batch_size=batch_size, keep_pixels=keep_pixels))
    assert [verdict.path for verdict in verdicts] == [str(path) for path in files]
    alone = {str(path): next(detector.detect_batch([path])) for path in files}
    assert verdicts == [alone[str(path)] for path in files]
    assert sum(verdict.status == "error" for verdict in verdicts) == 9


def test_arrays_may_be_reused_by_the_caller(detector: Detector, picture):
    pictures = [np.asarray(picture(seed)) for seed in range(12)]

    def frames() -> Iterator[np.ndarray]:
        buffer = np.empty_like(pictures[0])
        for pixels in pictures:
            buffer[:] = pixels
            yield buffer

    expected = [detector.detect(pixels).prob_fake for pixels in pictures]
    assert [verdict.prob_fake for verdict in detector.detect_batch(frames(), batch_size=4)] == expected


def test_images_are_read_a_few_ahead_only(detector: Detector, photos: Path):
    taken = 0

    def endless() -> Iterator[Path]:
        nonlocal taken
        while True:
            taken += 1
            yield photos / "a.png"

    verdicts = detector.detect_batch(endless(), batch_size=4)
    for count in range(1, 30):
        next(verdicts)
        assert taken <= count + 2 * 4 + NUM_WORKERS
    verdicts.close()
    assert next(verdicts, None) is None


def test_closing_early_leaves_no_thread(detector: Detector, photos: Path):
    before = set(threading.enumerate())
    verdicts = detector.detect_batch([photos / "a.png"] * 100)
    next(verdicts)
    assert set(threading.enumerate()) - before
    verdicts.close()
    assert not set(threading.enumerate()) - before


@pytest.mark.slow
def test_memory_does_not_grow_with_the_number_of_images(detector: Detector, photos: Path):
    paths = [photos / "a.png", photos / "b.jpg"]

    def run(count: int) -> None:
        for _ in detector.detect_batch(paths[index % 2] for index in range(count)):
            pass

    def peak(count: int) -> int:
        tracemalloc.start()
        run(count)
        result = tracemalloc.get_traced_memory()[1]
        tracemalloc.stop()
        return result

    run(2100)  # CPython keeps up to 2,000 freed tuples of each length, which would look like growth
    assert peak(600) < max(peak(60) for _ in range(3)) * 1.5  # how many threads decode at once varies


def test_bad_arguments_are_refused_at_once(detector: Detector):
    with pytest.raises(ConfigError, match="batch_size must be at least 1, got 0"):
        detector.detect_batch([], batch_size=0)
    with pytest.raises(ConfigError, match='on_error must be "record" or "raise"'):
        detector.detect_batch([], on_error="skip")


def test_no_images_no_verdicts(detector: Detector):
    assert list(detector.detect_batch([])) == []


def test_the_three_verdicts_meet_at_the_limits(detector: Detector, picture):
    probabilities = [0.0, 0.3999999, 0.4, 0.5999999, 0.6, 1.0]
    verdicts = Detector(StubScorer(detector.config, *probabilities)).detect_batch([picture(0)] * 6)
    assert [v.verdict for v in verdicts] == ["real", "real", "uncertain", "uncertain", "ai", "ai"]


@pytest.mark.parametrize(
    ("threshold", "expected"),
    [(0.5, ["real", "uncertain", "ai"]), (0.3, ["ai", "ai", "ai"]), (0.9, ["real", "uncertain", "uncertain"])],
)
def test_a_threshold_by_hand_replaces_the_models(detector: Detector, picture, threshold: float, expected: list[str]):
    by_hand = Detector(StubScorer(detector.config, 0.35, 0.45, 0.55), threshold=threshold)
    verdicts = list(by_hand.detect_batch([picture(0)] * 3))
    assert [verdict.verdict for verdict in verdicts] == expected
    assert {verdict.threshold for verdict in verdicts} == {threshold}
    assert by_hand.model_id == detector.model_id
    assert by_hand.decision.rule == "set by hand"


@pytest.mark.parametrize(
    ("threshold", "risks"),
    [
        (None, ["10 % of the AI-generated ones", "could not tell for 30 %", "2.5 % of the photographs"]),
        (0.5, ["10 % of the AI-generated ones", None, "was not measured: the threshold was set by hand"]),
        (0.3, ["was not measured: the threshold was set by hand"] * 3),
    ],
)
def test_no_error_rate_is_claimed_for_a_threshold_set_by_hand(detector: Detector, picture, threshold, risks):
    measured = dataclasses.replace(
        detector.decision, target_fpr=0.02, target_fnr=0.1, measured_fpr=0.025, measured_fnr=0.1
    )
    scorer = StubScorer(dataclasses.replace(detector.config, decision=measured), 0.35, 0.45, 0.65)
    checked = CheckedScores(10, 10, real=(-4.0, 0.0), fake=(0.0, 4.0), uncertain=0.3)
    by_hand = Detector(scorer, threshold=threshold, checked=checked)
    for verdict, risk in zip(by_hand.detect_batch([picture(0)] * 3), risks, strict=True):
        said = dict(zip(verdict.reason_kinds, verdict.reasons, strict=True)).get("risk")
        assert said is None if risk is None else risk in said
        assert (verdict.false_positive_rate is None) == (threshold is not None)
    foot = limits_in_words(by_hand.decision)
    assert ("was set by hand: how often it errs was not measured" in foot) == (threshold is not None)
    assert ("it was 2.5 % and 10 %" in foot) == (threshold is None)


@pytest.mark.parametrize("threshold", [-0.1, 1.1, float("nan")])
def test_impossible_thresholds_are_refused(tiny_model: Path, threshold: float):
    with pytest.raises(ConfigError, match=r"threshold must lie in \[0, 1\]"):
        Detector.from_pretrained(tiny_model, threshold=threshold)


def test_a_score_that_is_no_number_is_no_verdict(detector: Detector, picture):
    broken = Detector(StubScorer(detector.config, float("nan"), 0.5))
    first, second = broken.detect_batch([picture(0)] * 2)
    assert (first.status, first.verdict, second.status) == ("error", None, "ok")
    assert "no number" in first.error_message
    with pytest.raises(ImageError, match="no number"):
        Detector(StubScorer(detector.config, float("inf"))).detect(picture(0))


def test_the_map_is_made_at_first_use(detector: Detector, photos: Path, monkeypatch: pytest.MonkeyPatch):
    calls = []
    original = detector.scorer.lcas_map
    monkeypatch.setattr(detector.scorer, "lcas_map", lambda pixels: (calls.append(1), original(pixels))[1])
    verdict = detector.detect(photos / "a.png")
    before = repr(verdict)
    assert not calls
    assert verdict.lcas_map.shape == (4, 4)
    assert np.isfinite(verdict.lcas_map).all()
    assert verdict.lcas_map is verdict.lcas_map
    assert len(calls) == 1
    assert repr(verdict) == before
    assert "lcas" not in before
    assert verdict == next(detector.detect_batch([photos / "a.png"]))


def test_tiles_give_one_map_of_the_whole_square(tiny_model_tiles: Path, photos: Path, tmp_path: Path):
    verdict = Detector.from_pretrained(tiny_model_tiles).detect(photos / "a.png")
    assert verdict.lcas_map.shape == (8, 8)
    verdict.save_heatmap(tmp_path / "map.png")


def test_bulk_verdicts_keep_no_pixels_unless_asked(detector: Detector, photos: Path, tmp_path: Path):
    verdict = next(detector.detect_batch([photos / "a.png"]))
    with pytest.raises(
        ConfigError, match=r"its pixels were not kept: use detect, or detect_batch\(\.\.\., keep_pixels"
    ):
        _ = verdict.lcas_map
    (failed,) = detector.detect_batch([photos / "empty.jpg"], keep_pixels=True)
    with pytest.raises(ConfigError, match="it has no pixels"):
        failed.save_heatmap(tmp_path / "x.png")
    kept = next(detector.detect_batch([photos / "a.png"], keep_pixels=True))
    np.testing.assert_array_equal(kept.lcas_map, detector.detect(photos / "a.png").lcas_map)


def test_a_heat_map_is_saved_as_png(detector: Detector, photos: Path, tmp_path: Path):
    verdict = detector.detect(photos / "a.png")
    verdict.save_heatmap(tmp_path / "map.PNG")
    with Image.open(tmp_path / "map.PNG") as sheet:
        assert sheet.format == "PNG"
        assert sheet.width == 512
    with pytest.raises(ConfigError, match=r"written as PNG, got .*map\.jpg': end the name in \.png"):
        verdict.save_heatmap(tmp_path / "map.jpg")


def test_verdicts_can_be_pickled(detector: Detector, photos: Path):
    verdict = detector.detect(photos / "a.png")
    copied = pickle.loads(pickle.dumps(verdict))
    assert copied == verdict
    assert copied.to_dict() == verdict.to_dict()
    with pytest.raises(ConfigError, match="its pixels were not kept"):
        _ = copied.lcas_map


def test_kept_pictures_are_small(detector: Detector):
    verdict = detector.detect(Image.new("RGB", (3000, 2000)))
    assert (verdict.width, verdict.height) == (3000, 2000)
    assert verdict._kept.picture.size == (1024, 683)


def test_the_first_frame_of_an_animation_is_scored_with_a_warning(detector: Detector, picture, tmp_path: Path):
    picture(1).save(tmp_path / "a.gif", save_all=True, append_images=[picture(2)])
    assert "animated_first_frame" in detector.detect(tmp_path / "a.gif").warnings


@pytest.mark.skipif(os.name != "posix", reason="file names are bytes on POSIX only")
def test_paths_that_are_not_unicode_become_valid_json(detector: Detector, photos: Path):
    name = os.fsdecode(b"caf\xe9.png")
    (photos / "a.png").rename(photos / name)
    verdict = detector.detect(photos / name)
    assert Path(verdict.path).exists()
    text = json.dumps(verdict.to_dict(), ensure_ascii=False).encode("utf-8")
    assert json.loads(text)["path"].endswith("caf\\xe9.png")


def test_an_unknown_model_is_refused(tmp_path: Path):
    with pytest.raises(ModelDirError, match=r"a model is a directory that holds config\.json"):
        Detector.from_pretrained(tmp_path / "nothing")
    with pytest.raises(ModelDirError, match=r"a model directory holds config\.json"):
        Detector.from_pretrained(tmp_path)


def test_decision_limits_cannot_cross():
    with pytest.raises(ConfigError):
        DecisionConfig(threshold=0.4, real_below=0.6)


def test_the_public_names_are_there():
    assert cinemae.Detector is Detector
    assert cinemae.Verdict is Verdict
    assert cinemae.CinemaeError is CinemaeError
    assert set(cinemae.__all__) <= set(dir(cinemae))
    for name in cinemae.__all__:
        assert getattr(cinemae, name) is not None
    with pytest.raises(AttributeError, match="no attribute 'nothing'"):
        _ = cinemae.nothing


def test_the_bundled_model_scores(picture, tmp_path: Path):
    detector = Detector.from_pretrained()
    verdict = detector.detect(picture(3, 300, 200))
    assert verdict.status == "ok"
    assert 0 < verdict.prob_fake < 1
    assert verdict.model == f"{read_model_config(STARTER).model_id}+int8"
    assert verdict.lcas_map.size % detector.config.backbone.num_patches == 0
    verdict.save_heatmap(tmp_path / "map.png")
    again = next(detector.detect_batch([picture(4, 300, 200), picture(3, 300, 200)][1:]))
    assert abs(again.prob_fake - verdict.prob_fake) <= 1e-6


def test_an_image_of_too_many_pixels_is_refused(tiny_model, picture):
    detector, image = Detector.from_pretrained(tiny_model), picture(1, 30, 20)
    assert detector.detect(image, max_pixels=600).status == "ok"
    with pytest.raises(ImageError, match="has 30x20 = 600 pixels, more than the 599 allowed"):
        detector.detect(image, max_pixels=599)
    statuses = [verdict.status for verdict in detector.detect_batch([image, picture(2, 3, 3)], max_pixels=599)]
    assert statuses == ["error", "ok"]


def test_called_as_a_function(detector: Detector, photos: Path):
    assert detector(photos / "a.png") == detector.detect(photos / "a.png")


def test_it_says_what_it_is(detector: Detector):
    text = repr(detector)
    assert detector.model_id in text
    assert f"ai from {detector.decision.threshold:.3f}" in text


@pytest.mark.parametrize(
    ("image", "named"),
    [
        ("a.png", "'a.png'"),
        (b"bytes", "b'bytes'"),
        (Path("a.png"), "a.png"),
        (Image.new("RGB", (4, 4)), "PIL.Image"),
        (np.zeros((8, 9, 3), np.uint8), r"an array of shape \(8, 9, 3\)"),
        (torch.zeros(3, 8, 9), r"an array of shape \(3, 8, 9\)"),
    ],
)
def test_one_image_is_no_batch(detector: Detector, image, named: str):
    with pytest.raises(ConfigError, match=f"takes several images, got one, .*{named}.*: call detect"):
        detector.detect_batch(image)


def test_an_array_of_several_images_is_a_batch(detector: Detector, picture):
    pictures = [np.asarray(picture(seed)) for seed in range(2)]
    assert list(detector.detect_batch(np.stack(pictures))) == list(detector.detect_batch(pictures))


def test_a_tensor_is_refused_with_what_to_give_in_its_place(detector: Detector, picture):
    tensor = torch.from_numpy(np.asarray(picture(0)).copy()).permute(2, 0, 1) / 255
    with pytest.raises(ImageError, match="got Tensor: give tensor.*, not normalized") as refused:
        detector.detect(tensor)
    given = re.search(r"give (\S+\(.*?\)\.numpy\(\))", str(refused.value))[1]
    assert detector.detect(eval(given, {"tensor": tensor})).logit == detector.detect(picture(0)).logit


def test_a_revision_belongs_to_a_hub_id(tiny_model: Path):
    with pytest.raises(ConfigError, match="revision 'v1' of None: name the model"):
        Detector.from_pretrained(revision="v1")


def test_a_number_is_a_cuda_device(tiny_model: Path, monkeypatch: pytest.MonkeyPatch):
    monkeypatch.setattr("torch.cuda.is_available", lambda: False)  # what is asked for does not hang on this machine
    with pytest.raises(ConfigError, match="sees no device cuda:0"):
        Detector.from_pretrained(tiny_model, device=0)
