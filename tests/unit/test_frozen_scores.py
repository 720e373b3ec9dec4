import dataclasses

import numpy as np
import pytest
import torch
from tests.unit.stores import write_store

from cinemae.config import BackboneInfo, ExtractorConfig, ImageConfig, LcasConfig, MaskConfig
from cinemae.core.anomaly_stats import anomaly_stats
from cinemae.core.backbone import FrozenMAE
from cinemae.core.features import FeatureExtractor
from cinemae.core.lcas import local_contextual_anomaly_score, nll_approx
from cinemae.core.masking import patchify
from cinemae.core.preprocess import preprocess
from cinemae.errors import EvaluationError, FingerprintMismatchError
from cinemae.evaluation.analyses.frozen_scores import FrozenScores
from cinemae.models.directory import BACKBONE_DIR
from cinemae.stores.store_format import StoreRow

pytestmark = pytest.mark.usefixtures("one_thread")

EXTRACTOR = ExtractorConfig(
    ImageConfig(size=32, resize_to=40, views="five"), MaskConfig(num_passes=3, scheme="independent")
)
LCAS = LcasConfig(fidelity_weight=0.3, reduction="literal")


@pytest.fixture(scope="module")
def extractor(tiny_model):
    backbone = FrozenMAE.from_pretrained(tiny_model / BACKBONE_DIR)
    return FeatureExtractor(backbone, EXTRACTOR)


@pytest.fixture(scope="module")
def rows(extractor, picture):
    """Photographs 0 and 2, fakes 1 and 3, one image without label and one that could not be read."""
    found = []
    for index, label in enumerate((0, 1, 0, 1, None)):
        with torch.inference_mode():
            features = extractor(torch.from_numpy(preprocess(picture(index), EXTRACTOR.image)))
        found.append(
            StoreRow(
                path=f"{index}.png",
                label=label,
                generator=[None, "gan"][label or 0],
                content_hash=f"{index:064x}",
                global_feature=features.global_feature.numpy(),
                deviation=features.deviation.numpy(),
                fidelity=features.fidelity.numpy(),
            )
        )
    return [*found, StoreRow(path="broken.png", label=1, generator="gan", error_message="the file is empty")]


def store_of(path, extractor, rows, config=EXTRACTOR):
    backbone = extractor.backbone
    info = BackboneInfo(backbone.content_hash, backbone.patch_size, backbone.num_patches, 16)
    return write_store(path, rows, config, info, shard_size=4)


@pytest.fixture(scope="module")
def store(tmp_path_factory, extractor, rows):
    return store_of(tmp_path_factory.mktemp("stores") / "store", extractor, rows)


class TestFrozenScores:
    def test_are_those_of_the_equations_on_the_redrawn_patches(self, store, extractor, picture):
        scores = FrozenScores.from_stores([store], LCAS)
        for index in range(4):
            pixel_values = torch.from_numpy(preprocess(picture(index), EXTRACTOR.image))
            with torch.inference_mode():
                pred, mask = extractor.backbone.reconstruct(pixel_values, extractor.noise)
            target = patchify(pixel_values, extractor.backbone.patch_size)[:, None].expand_as(pred)
            nll = nll_approx(pred, target, mask, sigma=1.0)
            assert scores.nll[index] == pytest.approx(nll.nanmean().item(), rel=1e-4)
            lcas = local_contextual_anomaly_score(pred, target, mask, fidelity_weight=0.3, reduction="literal")
            assert scores.lcas[index] == pytest.approx(lcas.nanmean().item(), rel=1e-4)
            np.testing.assert_allclose(scores.stats[index], anomaly_stats(lcas).mean(0), rtol=1e-4)

    def test_holds_what_is_known_of_the_labelled_readable_images(self, store):
        scores = FrozenScores.from_stores([store], LCAS)
        assert len(scores) == 4
        assert scores.labels.tolist() == [0, 1, 0, 1]
        assert scores.generators.tolist() == ["", "gan", "", "gan"]
        assert scores.paths.tolist() == [f"{index}.png" for index in range(4)]
        assert scores.content_hashes.tolist() == [f"{index:064x}" for index in range(4)]

    def test_nll_does_not_depend_on_how_the_terms_of_lcas_are_joined(self, store):
        first, second = (FrozenScores.from_stores([store], config) for config in (LCAS, LcasConfig()))
        np.testing.assert_array_equal(first.nll, second.nll)
        assert (first.lcas != second.lcas).all()

    def test_joins_stores_in_their_order_and_chooses_images(self, store, extractor, rows, tmp_path):
        other = store_of(tmp_path / "other", extractor, rows[2:4])
        scores = FrozenScores.from_stores([store, other], LCAS)
        assert scores.paths.tolist() == ["0.png", "1.png", "2.png", "3.png", "2.png", "3.png"]
        chosen = scores[scores.labels == 1]
        assert chosen.paths.tolist() == ["1.png", "3.png", "3.png"]
        np.testing.assert_array_equal(chosen.nll, scores.nll[[1, 3, 5]])
        np.testing.assert_array_equal(chosen.stats, scores.stats[[1, 3, 5]])

    def test_as_a_detector_the_score_is_turned_around(self, store):
        scores = FrozenScores.from_stores([store], LCAS)
        for name, expected in (("nll", scores.nll), ("lcas", scores.lcas)):
            np.testing.assert_array_equal(scores.values(name).scores, expected)
            np.testing.assert_array_equal(scores.as_detector(name).scores, -expected)
            assert scores.as_detector(name).generator_names == ("gan",)

    def test_of_two_frozen_halves_is_refused_naming_both(self, store, extractor, rows, tmp_path):
        config = dataclasses.replace(EXTRACTOR, mask=MaskConfig(num_passes=3, seed=9))
        other = store_of(tmp_path / "other", extractor, rows, config)
        with pytest.raises(FingerprintMismatchError, match=f"{store.fingerprint} and .*{other.fingerprint}"):
            FrozenScores.from_stores([store, other], LCAS)

    def test_without_stores_labels_or_finite_features_it_is_refused(self, extractor, rows, tmp_path):
        with pytest.raises(EvaluationError, match="at least one feature store, got none"):
            FrozenScores.from_stores([], LCAS)
        with pytest.raises(EvaluationError, match="no readable image in .*bare carries a label"):
            FrozenScores.from_stores([store_of(tmp_path / "bare", extractor, rows[4:])], LCAS)
        broken = dataclasses.replace(rows[0], fidelity=np.full_like(rows[0].fidelity, np.inf))
        with pytest.raises(EvaluationError, match="is not finite: extract the stores again"):
            FrozenScores.from_stores([store_of(tmp_path / "inf", extractor, [broken, *rows[1:]])], LCAS)

    def test_one_class_alone_cannot_be_judged(self, extractor, rows, tmp_path):
        scores = FrozenScores.from_stores([store_of(tmp_path / "fakes", extractor, [rows[1], rows[3]])], LCAS)
        with pytest.raises(EvaluationError, match="both needed, got 0 and 2"):
            scores.values("nll")
