"""A training set in a file gives what one in memory gives."""

import dataclasses
import tempfile

import numpy as np
import pytest
import torch
from tests.unit.stores import write_store

from cinemae.calibration.outliers import learn_outliers
from cinemae.config import BackboneInfo, ExtractorConfig, HeadConfig, ImageConfig, LcasConfig, TrainConfig
from cinemae.errors import TrainingError
from cinemae.features import training_set
from cinemae.features.training_set import TrainingSet, features_bytes, split_by_generator
from cinemae.stores.store_format import StoreRow
from cinemae.training.build_model import refuse_shared_files
from cinemae.training.train import predict_logits, train

pytestmark = pytest.mark.usefixtures("one_thread")

VIEWS, PASSES, PATCHES, WIDTH = 5, 2, 4, 6
KIND = {
    "extractor": ExtractorConfig(ImageConfig(size=16, views="five")),
    "backbone": BackboneInfo(content_hash="ab" * 32, patch_size=8, num_patches=PATCHES, hidden_size=WIDTH),
    "shard_size": 20,
}
LCAS = LcasConfig()
HEAD = HeadConfig(global_dim=WIDTH, agg_hidden=8, cls_hidden=(8,))
TRAIN = TrainConfig(learning_rate=3e-3, epochs=3, num_seeds=1)


def make_row(index, *, label, generator, seed=0):
    rng = np.random.default_rng([seed, index])
    deviation, fidelity = rng.normal(size=(2, VIEWS, PASSES, PATCHES)).astype(np.float32)
    for values in (deviation, fidelity):
        values[:, 0, 0] = values[:, 1, 1] = np.nan
    shift = (2 * (label or 0) - 1) * 0.6 * np.array([1, -1, 1, -1, 1, -1])
    return StoreRow(
        path=f"{seed}/{index}.png",
        label=label,
        generator=generator,
        content_hash=f"{seed:032x}{index:032x}",
        source_format="PNG",
        width=10 + index,
        height=20,
        global_feature=(rng.normal(size=(VIEWS, WIDTH)) + shift).astype(np.float32),
        deviation=deviation,
        fidelity=fidelity,
    )


def make_rows(count, seed=0):
    """Labels and generators in turn; some rows broken, some without a label."""
    rows = []
    for index in range(count):
        label = index % 2
        generator = ("camera", ("gan", "sd", "flow", None)[index // 2 % 4])[label]
        if index % 11 == 3:
            rows.append(StoreRow(f"{seed}/{index}.png", label, generator, error_message="the file is empty"))
        else:
            rows.append(make_row(index, label=None if index % 13 == 5 else label, generator=generator, seed=seed))
    return rows


@pytest.fixture(scope="module")
def stores(tmp_path_factory):
    root = tmp_path_factory.mktemp("mapped")
    return [write_store(root / "one", make_rows(130), **KIND), write_store(root / "two", make_rows(70, seed=1), **KIND)]


@pytest.fixture(scope="module")
def whole(stores):
    return TrainingSet.from_stores(stores, LCAS)


@pytest.fixture
def mapped(stores, monkeypatch):
    """A set in a file, worked on in slices of 9 images."""
    monkeypatch.setattr(training_set, "SLICE_BYTES", 9 * 4 * VIEWS * WIDTH)
    return TrainingSet.from_stores(stores, LCAS, mapped=True)


def assert_same(found, expected):
    for name in ("global_feature", "stats", "labels", "generators"):
        np.testing.assert_array_equal(getattr(found, name), getattr(expected, name), err_msg=name)


class TestMappedSet:
    def test_holds_what_is_held_in_memory(self, mapped, whole):
        assert_same(mapped, whole)
        assert isinstance(mapped.global_feature, np.memmap)
        assert not isinstance(whole.global_feature, np.memmap)
        assert [mapped.names(label) for label in (0, 1)] == [whole.names(label) for label in (0, 1)]

    @pytest.mark.parametrize("val_generators", [None, ["gan"]])
    def test_is_split_like_it_and_stays_in_a_file(self, mapped, whole, val_generators):
        found, expected = (split_by_generator(data, val_generators, seed=3) for data in (mapped, whole))
        for one, other in zip(found[:2], expected[:2], strict=True):
            assert_same(one, other)
            assert isinstance(one.global_feature, np.memmap)
        assert found[2] == expected[2]

    def test_choosing_twice(self, mapped, whole):
        first, second = np.arange(len(whole)) % 3 > 0, np.arange((np.arange(len(whole)) % 3 > 0).sum()) % 2 > 0
        assert_same(mapped[first][second], whole[first][second])
        assert len(mapped[first & ~first]) == 0

    @pytest.mark.parametrize("pooling", ["logit", "mean", "mean_std", "concat"])
    def test_views_are_joined_alike(self, mapped, whole, pooling):
        for found, expected in zip(mapped.pooled(pooling), whole.pooled(pooling), strict=True):
            np.testing.assert_array_equal(found, expected)
        assert isinstance(mapped.pooled(pooling)[0], np.memmap)

    def test_the_file_has_no_name(self, stores, tmp_path, monkeypatch):
        monkeypatch.setattr(tempfile, "tempdir", str(tmp_path))
        data = TrainingSet.from_stores(stores, LCAS, mapped=True)
        assert list(tmp_path.iterdir()) == []
        assert np.isfinite(data.global_feature).all()

    def test_some_rows_spread_over_the_store(self, stores):
        found = stores[0].load(("label", "width"), most_rows=45)
        assert found["width"].tolist() == [
            10 + row for shard in (0, 3) for row in range(20 * shard, 20 * shard + 20) if row % 11 != 3
        ]
        assert (
            len(stores[0].load(("label",), most_rows=1000)["label"])
            == (stores[0].load(("status",), status=None)["status"] == "ok").sum()
        )
        assert features_bytes(stores) == 200 * 4 * VIEWS * (WIDTH + 3)


class TestTraining:
    @pytest.mark.parametrize("changes", [{}, {"view_pooling": "mean_std", "global_dim": 2 * WIDTH}])
    def test_a_head_is_that_of_memory(self, mapped, whole, changes):
        head = dataclasses.replace(HEAD, **changes)
        found, expected = (train(data, data, head, TRAIN) for data in (mapped, whole))
        for (name, one), other in zip(
            found.head.state_dict().items(), expected.head.state_dict().values(), strict=True
        ):
            torch.testing.assert_close(one, other, rtol=1e-4, atol=1e-5, msg=name)
        np.testing.assert_allclose(predict_logits(found.head, mapped), predict_logits(found.head, whole), atol=1e-6)

    def test_outliers(self, mapped, whole):
        (found, reference), (expected, of_memory) = (
            learn_outliers(data.global_feature, data.global_feature, data.labels) for data in (mapped, whole)
        )
        torch.testing.assert_close(found.whitening, expected.whitening, rtol=1e-4, atol=1e-5)
        np.testing.assert_allclose(reference.values, of_memory.values, rtol=1e-4)


class TestOverlap:
    def test_hashes_that_only_end_alike_are_no_overlap(self, tmp_path):
        def store(name, *rows):
            made = [make_row(index, label=0, generator="a", seed=seed) for index, seed in rows]
            return write_store(tmp_path / name, made, **KIND)

        one = store("one", *((index, 0) for index in range(5)))
        refuse_shared_files([one], [store("other", *((index, 1) for index in range(5)))])
        with pytest.raises(TrainingError, match=r"1 of the validation images .* such as 0/3.png"):
            refuse_shared_files([one], [store("shared", (3, 0), (9, 0))])
