"""The fuzz targets hold on their corpus and on changes of it; Atheris, which looks further, is not needed here."""

from __future__ import annotations

import importlib
import importlib.util
import os
import random
import subprocess
import sys
import warnings
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parents[2]
sys.path.insert(0, str(ROOT))
corpus, targets = importlib.import_module("fuzz.corpus"), importlib.import_module("fuzz.targets")
sys.path.remove(str(ROOT))

IMAGES, MODELS = corpus.images(), corpus.model_files()
BODIES = corpus.bodies() | corpus.kept("body")
ORIGINS = corpus.seeds("provenance")


@pytest.fixture(autouse=True)
def _quiet():
    """Pillow warns of damage that it can live with; a warning made an error would be another reason to refuse."""
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        yield


def changed(data, rng):
    """One change as a fuzzer makes them: bytes flipped, cut out, doubled, or a length made large."""
    at, length = rng.randrange(len(data) + 1), rng.randrange(1, 9)
    return rng.choice(
        [
            data[:at] + rng.randbytes(length) + data[at + length :],
            data[:at] + data[at + length :],
            data[:at] + data[max(0, at - 20) :],
            data[:at] + b"\xff\xff\xff\xff" + data[at + 4 :],
            data[:at],
        ]
    )


@pytest.mark.parametrize("name", IMAGES)
def test_any_image(name):
    targets.read_any_image(IMAGES[name])
    rng = random.Random(name)
    for _ in range(40):
        targets.read_any_image(changed(IMAGES[name], rng))


@pytest.mark.parametrize("name", ORIGINS)
def test_any_provenance(name):
    targets.read_any_provenance(ORIGINS[name])
    rng = random.Random(name)
    for _ in range(10):
        targets.read_any_provenance(changed(ORIGINS[name], rng))


def test_kept_images():
    for data in corpus.kept("image").values():
        targets.read_any_image(data)


@pytest.mark.parametrize("name", BODIES)
def test_any_body(name):
    targets.read_any_body(BODIES[name])
    rng = random.Random(name)
    for _ in range(20):
        targets.read_any_body(changed(BODIES[name], rng))


@pytest.mark.slow
@pytest.mark.skipif(importlib.util.find_spec("atheris") is None, reason="atheris is built for Linux, up to Python 3.13")
@pytest.mark.parametrize("name", targets.TARGETS)
def test_a_minute_of_atheris(name, tmp_path):
    (tmp_path / "found").mkdir()
    options = ("-max_total_time=60", f"-artifact_prefix={tmp_path}/", tmp_path / "found")
    # A child begins with the peak memory of this process, which the fuzzer would take for its own; a shell's does not.
    command = ["sh", "-c", '"$@"; exit $?', "sh", sys.executable, "-m", "fuzz.run", name, *map(str, options)]
    environment = {**os.environ, "PYTHONPATH": os.pathsep.join([str(ROOT), *filter(None, sys.path)])}
    done = subprocess.run(command, cwd=ROOT, env=environment, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr[-4000:]
    assert "Done " in done.stderr


def test_bodies_can_fail(monkeypatch):
    monkeypatch.setattr(targets, "_answer", lambda kind, body, size: size)
    with pytest.raises(targets.BrokenPromiseError, match="in one piece 9, in many 7"):
        targets.read_any_body(b"image/png\n" + b"a picture")


def test_any_model():
    rng = random.Random(0)
    for data in MODELS.values():
        targets.read_any_model(data)
        if data[:1] != b"G":
            for _ in range(4):
                targets.read_any_model(data[:1] + changed(data[1:], rng))


def test_the_targets_can_fail(monkeypatch):
    whole = next(iter(IMAGES.values()))
    monkeypatch.setattr(targets, "MAX_PIXELS", 10**9)
    monkeypatch.setattr(targets, "load_image", lambda data, **_: targets_loaded(data))
    with pytest.raises(targets.BrokenPromiseError, match=r"said to be 1x1"):
        targets.read_any_image(whole)

    def raise_another(*_, **__):
        raise KeyError("not promised")

    monkeypatch.setattr(targets, "load_image", raise_another)
    with pytest.raises(KeyError):
        targets.read_any_image(whole)
    monkeypatch.setattr(targets, "read_model_config", raise_another)
    with pytest.raises(KeyError):
        targets.read_any_model(MODELS["config"])


def targets_loaded(data):
    """A loaded image whose size is not what it says."""
    import dataclasses

    from cinemae.pictures.image import load_image

    return dataclasses.replace(load_image(data), width=1, height=1)
