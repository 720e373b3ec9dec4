from __future__ import annotations

import numpy as np
import pytest
from sklearn.metrics import roc_auc_score

from cinemae.core.preprocess import preprocess
from cinemae.errors import FingerprintMismatchError
from cinemae.features.extract import extract
from cinemae.fit import compare as fit_compare
from cinemae.fit.compare import compare_with_bundled
from cinemae.models.directory import read_model_config
from cinemae.models.scorers import OnnxScorer
from cinemae.models.weights import load_extractor
from cinemae.pictures.image import load_image
from cinemae.sources.records import ImageRecord

pytestmark = pytest.mark.usefixtures("one_thread")


@pytest.fixture
def bundled(tiny_model, monkeypatch):
    monkeypatch.setattr(fit_compare, "STARTER", tiny_model)
    return tiny_model


@pytest.fixture(scope="module")
def store(tiny_model, tmp_path_factory, picture):
    root = tmp_path_factory.mktemp("compare")
    records = []
    for index in range(24):
        picture(index).save(root / f"{index}.png")
        records.append(ImageRecord(str(root / f"{index}.png"), index % 2, "a"))
    extract(records, root / "store", load_extractor(tiny_model, read_model_config(tiny_model)))
    return root / "store", records


def test_the_bundled_models_scores_are_those_of_detect(bundled, store):
    folder, records = store
    labels = np.array([record.label for record in records])
    scorer = OnnxScorer(bundled)
    pixels = np.stack([preprocess(load_image(record.path).image, scorer.config.extractor.image) for record in records])
    scores = scorer.score(pixels)
    found = compare_with_bundled(labels.astype(float), labels, folder, seed=0)
    assert found.auc.value == 1
    assert found.auc_bundled.value == pytest.approx(roc_auc_score(labels, scores.logit))
    called = scores.prob_fake >= scorer.config.decision.threshold
    assert found.false_positive_rate.value == pytest.approx(called[labels == 0].mean())
    assert found.called_ai.value == pytest.approx(called[labels == 1].mean())
    assert found.bundled == scorer.config.model_id
    assert found.verdict == "better"


def test_a_store_of_another_frozen_half_is_refused(store, tiny_model_tiles, monkeypatch):
    monkeypatch.setattr(fit_compare, "STARTER", tiny_model_tiles)
    labels = np.array([record.label for record in store[1]])
    with pytest.raises(FingerprintMismatchError, match="the bundled model's head takes features of fingerprint"):
        compare_with_bundled(labels.astype(float), labels, store[0], seed=0)


@pytest.mark.parametrize(("shift", "verdict"), [(4.0, "better"), (-4.0, "worse"), (0.0, "undecided")])
def test_the_verdict_needs_an_interval_without_nought(bundled, store, shift, verdict, monkeypatch):
    rng = np.random.default_rng(0)
    labels = np.array([record.label for record in store[1]])
    theirs = rng.normal(size=24)
    monkeypatch.setattr(fit_compare, "predict_logits", lambda head, data: theirs)
    assert compare_with_bundled(theirs + shift * labels, labels, store[0], seed=0).verdict == verdict
