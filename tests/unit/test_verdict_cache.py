import dataclasses
import json
import os
import shutil
import threading
from pathlib import Path

import numpy as np
import pytest

from cinemae.detect.detector import Detector
from cinemae.detect.verdict_cache import VerdictCache, describe_context
from cinemae.models.scorers import OnnxScorer
from cinemae.pictures.picture import Picture
from cinemae.sources.sources import EncodedImage


class Counting:
    """Counts its images, and asks for several at a time."""

    engine, one_by_one = "ONNX Runtime", False

    def __init__(self, scorer):
        self.scorer, self.config, self.model_id, self.images = scorer, scorer.config, scorer.model_id, 0

    def score(self, pixel_values, *, mask_seed=None):
        self.images += len(pixel_values)
        return self.scorer.score(pixel_values, mask_seed=mask_seed)


class CountingOnnx(OnnxScorer):
    images = 0

    def score(self, pixel_values, *, mask_seed=None):
        self.images += len(pixel_values)
        return super().score(pixel_values, mask_seed=mask_seed)


@pytest.fixture(scope="module")
def scorer(tiny_model):
    return CountingOnnx(tiny_model, num_threads=1)


@pytest.fixture(params=["one by one", "together"])
def counting(request, scorer):
    scorer.images = 0
    return scorer if request.param == "one by one" else Counting(scorer)


@pytest.fixture
def files(picture, tmp_path):
    for name, seed in (("a", 0), ("b", 1), ("c", 2)):
        picture(seed, 70, 50).save(tmp_path / f"{name}.png")
    for name in ("a1", "a2", "a3"):
        shutil.copy(tmp_path / "a.png", tmp_path / f"{name}.png")
    (tmp_path / "broken.png").write_bytes(b"\x89PNG\r\n\x1a\nrest")
    return [str(tmp_path / f"{name}.png") for name in ("a", "b", "a1", "broken", "c", "a2", "a3", "b")]


def answers(detector, images, **options):
    return [json.dumps(verdict.to_dict()) for verdict in detector.detect_batch(images, **options)]


class TestExactCopies:
    def test_they_are_scored_once_and_answered_as_without_a_cache(self, counting, files, tiny_model):
        plain = answers(Detector(counting), files)
        assert counting.images == 7
        counting.images = 0
        cached = Detector(counting, cache=VerdictCache.open(None, tiny_model, counting))
        assert answers(cached, files, batch_size=3) == plain
        assert counting.images == 3
        assert answers(cached, files) == plain
        assert counting.images == 3

    def test_threads_that_meet_the_same_content_at_once(self, scorer, files, tiny_model):
        scorer.images = 0
        cached = Detector(scorer, cache=VerdictCache.open(None, tiny_model, scorer))
        barrier = threading.Barrier(4)

        def work():
            barrier.wait()
            list(cached.detect_batch([files[0]] * 3))

        threads = [threading.Thread(target=work) for _ in range(4)]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join()
        assert scorer.images == 1

    def test_bytes_and_named_bytes_are_the_same_content(self, counting, files, tiny_model):
        data = Path(files[0]).read_bytes()
        cached = Detector(counting, cache=VerdictCache.open(None, tiny_model, counting))
        verdicts = list(cached.detect_batch([files[0], data, EncodedImage("s3://x/a.png", data)]))
        assert [verdict.path for verdict in verdicts] == [files[0], None, "s3://x/a.png"]
        assert dataclasses.replace(verdicts[0], path=None) == dataclasses.replace(verdicts[2], path=None) == verdicts[1]
        assert counting.images == 1

    def test_bytes_that_could_not_be_fetched_are_a_row(self, counting):
        [verdict] = Detector(counting).detect_batch([EncodedImage("s3://x/a.png", None, "no such object.")])
        assert (verdict.status, verdict.path, verdict.error_message) == ("error", "s3://x/a.png", "no such object.")

    def test_pixels_are_scored_each_time(self, counting, files, tiny_model):
        cached = Detector(counting, cache=VerdictCache.open(None, tiny_model, counting))
        array = np.zeros((40, 40, 3), np.uint8)
        assert len({verdict.prob_fake for verdict in cached.detect_batch([array, array])}) == 1

    def test_a_map_needs_the_pixels(self, scorer, files, tiny_model):
        cached = Detector(scorer, cache=VerdictCache.open(None, tiny_model, scorer))
        scorer.images = 0
        verdicts = list(cached.detect_batch([files[0], files[0]], keep_pixels=True))
        assert all(verdict.lcas_map.ndim == 2 for verdict in verdicts)
        assert scorer.images == 2


class TestAcrossRuns:
    def test_a_file_answers_the_next_run(self, counting, files, tmp_path, tiny_model):
        path = tmp_path / "scores.sqlite"
        plain = answers(Detector(counting), files)
        first = VerdictCache.open(path, tiny_model, counting)
        assert answers(Detector(counting, cache=first), files) == plain
        first.scores.close()
        counting.images = 0
        second = VerdictCache.open(path, tiny_model, counting)
        assert answers(Detector(counting, cache=second), files) == plain
        assert counting.images == 0
        second.scores.close()

    def test_words_follow_the_thresholds_of_the_day(self, counting, files, tmp_path, tiny_model):
        path = tmp_path / "scores.sqlite"
        cache = VerdictCache.open(path, tiny_model, counting)
        list(Detector(counting, cache=cache).detect_batch(files))
        counting.images = 0
        for threshold in (0.0, 0.37, 1.0):
            expected = answers(Detector(counting, threshold=threshold), files)
            counting.images = 0
            assert answers(Detector(counting, threshold=threshold, cache=cache), files) == expected
            assert counting.images == 0
        cache.scores.close()

    def test_a_stable_answer_serves_a_plain_question_and_not_the_other_way_round(self, counting, files, tiny_model):
        cache = VerdictCache.open(None, tiny_model, counting)
        plain, stable = answers(Detector(counting), files[:1]), answers(Detector(counting), files[:1], stable=True)
        cached = Detector(counting, cache=cache)
        assert answers(cached, files[:1]) == plain
        counting.images = 0
        assert answers(cached, files[:1], stable=True) == stable
        assert counting.images > 1
        assert answers(cached, files[:1]) == plain
        counting.images = 0
        assert answers(cached, files[:1], stable=True) == stable
        assert counting.images == 0

    def test_provenance_comes_back(self, counting, picture, tmp_path, tiny_model):
        from PIL import Image

        exif = Image.Exif()
        exif[0x0131] = "Midjourney v6"
        picture(3, 60, 60).save(tmp_path / "m.jpg", exif=exif)
        expected = answers(Detector(counting), [tmp_path / "m.jpg"])
        cached = Detector(counting, cache=VerdictCache.open(None, tiny_model, counting))
        assert [answers(cached, [tmp_path / "m.jpg"]) for _ in range(2)] == [expected, expected]
        assert "Midjourney" in expected[0]

    def test_another_model_has_answers_of_its_own(self, scorer, files, tmp_path, tiny_model):
        other_dir = tmp_path / "model"
        shutil.copytree(tiny_model, other_dir)
        weights = bytearray((other_dir / "head.safetensors").read_bytes())
        weights[-1] ^= 1
        (other_dir / "head.safetensors").write_bytes(weights)
        assert describe_context(tiny_model, scorer) != describe_context(other_dir, scorer)
        assert describe_context(tiny_model, scorer).startswith(f"{scorer.model_id} ")

    def test_a_row_that_something_else_wrote_is_as_if_it_were_not_there(self, counting, files, tiny_model):
        cache = VerdictCache.open(None, tiny_model, counting)
        cache.scores.put(cache.context, Picture.read(files[0]).content_hash, {"logit": 3})
        assert answers(Detector(counting, cache=cache), files[:1]) == answers(Detector(counting), files[:1])

    def test_a_cache_that_fails_ends_no_run(self, counting, files, tmp_path, tiny_model):
        told = []
        path = tmp_path / "scores.sqlite"
        path.write_text("my notes")
        cache = VerdictCache.open(path, tiny_model, counting, warn=told.append)
        assert answers(Detector(counting, cache=cache), files) == answers(Detector(counting), files)
        assert len(told) == 1


def test_what_cannot_be_read_is_a_row_with_a_cache_too(counting, tmp_path, tiny_model):
    os.mkfifo(tmp_path / "pipe")
    paths = [tmp_path / "missing", tmp_path, tmp_path / "pipe", "a\0b"]
    cached = Detector(counting, cache=VerdictCache.open(None, tiny_model, counting))
    assert answers(cached, paths) == answers(Detector(counting), paths)
    assert [verdict.status for verdict in cached.detect_batch(paths)] == ["error"] * 4


def test_what_is_too_large_for_the_limit_of_today_is_refused_though_it_is_known(counting, files, tiny_model):
    detector = Detector(counting, cache=VerdictCache.open(None, tiny_model, counting))
    assert [one.status for one in detector.detect_batch(files[:1])] == ["ok"]
    (refused,) = detector.detect_batch(files[:1], max_pixels=70 * 50 - 1)
    assert refused.status == "error"
    assert "more than the 3,499 allowed" in refused.error_message
    assert [one.status for one in detector.detect_batch(files[:1], max_pixels=70 * 50)] == ["ok"]
    assert counting.images == 1
