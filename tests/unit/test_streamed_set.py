import dataclasses

import numpy as np
import pytest
import torch
from sklearn.covariance import LedoitWolf

from cinemae.calibration.outliers import fit_distance, fit_distance_streamed, learn_outliers, learn_outliers_streamed
from cinemae.config import BackboneInfo, ExtractorConfig, HeadConfig, ImageConfig, LcasConfig, MaskConfig, TrainConfig
from cinemae.errors import FingerprintMismatchError, TrainingError
from cinemae.features import streamed_set
from cinemae.features.streamed_set import StreamedSet, feature_bytes
from cinemae.features.training_set import TrainingSet, split_by_generator
from cinemae.stores.features import FeatureStore, prepare_store, write_shard
from cinemae.stores.store_format import StoreHeader, StoreRow
from cinemae.training.build_model import _refuse_overlap
from cinemae.training.samples import make_samples, sample_weights
from cinemae.training.train import fit_head, predict_logits, train

pytestmark = pytest.mark.usefixtures("one_thread")

VIEWS, PASSES, PATCHES, WIDTH = 5, 2, 4, 6
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


def write_store(path, rows, mask_seed=0):
    extractor = ExtractorConfig(ImageConfig(size=16, views="five"), MaskConfig(seed=mask_seed))
    backbone = BackboneInfo(content_hash="ab" * 32, patch_size=8, num_patches=PATCHES, hidden_size=WIDTH)
    header = StoreHeader(
        fingerprint=extractor.fingerprint(backbone.content_hash),
        extractor=extractor,
        backbone=backbone,
        dtype="float32",
        shard_size=20,
        num_rows=len(rows),
        records_hash="0" * 64,
    )
    prepare_store(path, header)
    for shard in range(header.num_shards):
        write_shard(path, header, shard, [rows[index] for index in header.rows_of(shard)])
    return FeatureStore.open(path)


@pytest.fixture(scope="module")
def stores(tmp_path_factory):
    root = tmp_path_factory.mktemp("streamed")
    return [write_store(root / "one", make_rows(130)), write_store(root / "two", make_rows(70, seed=1))]


@pytest.fixture(scope="module")
def whole(stores):
    return TrainingSet.from_stores(stores, LCAS)


@pytest.fixture
def small_parts(monkeypatch):
    """Two blocks of 20 rows a part."""
    monkeypatch.setattr(streamed_set, "PART_BYTES", 2 * 20 * 4 * VIEWS * (WIDTH + 2 * PASSES * PATCHES))


@pytest.fixture
def streamed(stores, small_parts):
    data = StreamedSet(stores, LCAS)
    assert data.blocks_together == 2
    assert data.num_blocks == 11
    return data


class TestStreamedSet:
    def test_holds_what_is_held_in_memory(self, streamed, whole):
        assert len(streamed) == len(whole)
        np.testing.assert_array_equal(streamed.labels, whole.labels)
        np.testing.assert_array_equal(streamed.generators, whole.generators)
        parts = list(streamed.parts())
        assert len(parts) == 6
        for name in ("global_feature", "stats", "labels", "generators"):
            np.testing.assert_array_equal(np.concatenate([getattr(part, name) for part in parts]), getattr(whole, name))
        assert [streamed.names(label) for label in (0, 1)] == [whole.names(label) for label in (0, 1)]
        np.testing.assert_array_equal(streamed.made_by(["gan", ""]), whole.made_by(["gan", ""]))

    @pytest.mark.parametrize("val_generators", [None, ["gan"]])
    def test_is_split_like_it(self, streamed, whole, val_generators):
        for one, other in zip(
            split_by_generator(streamed, val_generators, seed=3),
            split_by_generator(whole, val_generators, seed=3),
            strict=True,
        ):
            if isinstance(one, str):
                assert one == other
            else:
                np.testing.assert_array_equal(one.generators, other.generators)
                found = np.concatenate([part.global_feature for part in one.parts()])
                np.testing.assert_array_equal(found, other.global_feature)

    def test_choosing_twice(self, streamed, whole):
        first, second = np.arange(len(whole)) % 3 > 0, np.arange((np.arange(len(whole)) % 3 > 0).sum()) % 2 > 0
        np.testing.assert_array_equal(streamed[first][second].labels, whole[first][second].labels)
        assert len(streamed) == len(whole)

    @pytest.mark.parametrize("balance", ["none", "class", "generator"])
    def test_weights(self, streamed, whole, balance):
        part, numbers = streamed.read(range(streamed.num_blocks))
        found = streamed.weights(balance)[numbers, part.labels]
        np.testing.assert_allclose(found, sample_weights(whole, balance), rtol=1e-6)

    def test_what_is_refused(self, stores, tmp_path):
        other = write_store(tmp_path / "other", make_rows(10), mask_seed=1)
        with pytest.raises(FingerprintMismatchError, match="must come from one frozen half"):
            StreamedSet([stores[0], other], LCAS)
        unlabelled = write_store(tmp_path / "none", [make_row(0, label=None, generator=None)])
        with pytest.raises(TrainingError, match="carries a label"):
            StreamedSet([unlabelled], LCAS)
        broken = make_row(0, label=0, generator="a")
        broken.global_feature[0, 0] = np.inf
        data = StreamedSet([write_store(tmp_path / "inf", [broken])], LCAS)
        with pytest.raises(TrainingError, match="is not finite: extract the store again"):
            list(data.parts())

    def test_some_rows_spread_over_the_store(self, stores):
        found = stores[0].load_some(("label", "width"), 45)
        assert found["width"].tolist() == [
            10 + row for shard in (0, 3) for row in range(20 * shard, 20 * shard + 20) if row % 11 != 3
        ]
        assert len(stores[0].load_some(("label",), 1000)["label"]) == stores[0].counts().num_ok
        assert feature_bytes(stores) == 200 * 4 * VIEWS * (WIDTH + 2 * PASSES * PATCHES)


class TestSamples:
    @pytest.mark.parametrize("pooling", ["logit", "mean_std"])
    def test_an_epoch_holds_every_sample_once_in_whole_batches(self, streamed, pooling):
        head = dataclasses.replace(HEAD, view_pooling=pooling)
        samples = make_samples(streamed, head, TRAIN, torch.Generator().manual_seed(1))
        batches = list(samples.batches(32))
        assert [len(batch) for batch in batches[:-1]] == [32] * (len(batches) - 1)
        assert sum(map(len, batches)) == len(samples)
        generator = torch.Generator().manual_seed(9)
        in_memory = make_samples(TrainingSet.from_stores(streamed.stores, LCAS), head, TRAIN, generator)
        for name in ("global_feature", "stats", "labels", "weights"):
            found = torch.cat([getattr(batch, name) for batch in batches]).reshape(len(samples), -1)
            expected = torch.cat([getattr(batch, name) for batch in in_memory.batches(32)]).reshape(len(samples), -1)
            for values in (found, expected):
                assert len(values) == len(samples)
            torch.testing.assert_close(found.sort(0).values, expected.sort(0).values)

    def test_each_epoch_has_an_order_of_its_own_that_hangs_on_the_seed(self, streamed):
        def orders(seed):
            samples = make_samples(streamed, HEAD, TRAIN, torch.Generator().manual_seed(seed))
            return [torch.cat([batch.stats[:, 0] for batch in samples.batches(32)]) for _ in range(2)]

        (first, second), again, other = orders(1), orders(1), orders(2)
        assert torch.equal(first, again[0])
        assert torch.equal(second, again[1])
        assert not torch.equal(first, second)
        assert not torch.equal(first, other[0])

    def test_classes_are_mixed_within_a_part(self, streamed):
        samples = make_samples(streamed, HEAD, TRAIN, torch.Generator().manual_seed(1))
        assert all(0 < batch.labels.mean() < 1 for batch in samples.batches(32))


class TestTraining:
    def test_with_one_batch_an_epoch_the_order_does_not_matter(self, streamed, whole):
        config = dataclasses.replace(TRAIN, batch_size=10_000, epochs=20)
        heads = [fit_head(data, whole, HEAD, config, 0, []) for data in (streamed, whole)]
        for (name, found), expected in zip(heads[0].state_dict().items(), heads[1].state_dict().values(), strict=True):
            torch.testing.assert_close(found, expected, rtol=1e-3, atol=1e-4, msg=name)
        np.testing.assert_allclose(*(predict_logits(head, whole) for head in heads), atol=1e-3)

    @pytest.mark.parametrize("changes", [{}, {"view_pooling": "mean_std", "global_dim": 2 * WIDTH}])
    def test_in_small_batches_it_learns_as_well(self, streamed, whole, changes):
        head = dataclasses.replace(HEAD, **changes)
        reports = [train(data, data, head, dataclasses.replace(TRAIN, epochs=12)) for data in (streamed, whole)]
        aucs = [report.history[-1].val_auc for report in reports]
        assert min(aucs) > 0.9
        assert aucs[0] == pytest.approx(aucs[1], abs=0.02)
        assert reports[0].history[-1].train_loss == pytest.approx(reports[1].history[-1].train_loss, abs=0.05)

    def test_the_same_seed_gives_the_same_head(self, streamed):
        first, second = (fit_head(streamed, streamed, HEAD, TRAIN, 4, []) for _ in range(2))
        for found, expected in zip(first.state_dict().values(), second.state_dict().values(), strict=True):
            assert torch.equal(found, expected)

    def test_logits_are_those_of_memory(self, streamed, whole):
        head = fit_head(whole, whole, HEAD, TRAIN, 0, [])
        np.testing.assert_allclose(predict_logits(head, streamed), predict_logits(head, whole), atol=1e-6)


class TestOutliers:
    def test_sums_give_what_scikit_learn_gives(self):
        rng = np.random.default_rng(0)
        values = (rng.normal(size=(90, 7)) @ rng.normal(size=(7, 7))).astype(np.float32)
        found = fit_distance_streamed(lambda: iter((values[:20], values[20:21], values[21:])))
        expected = fit_distance(values)
        torch.testing.assert_close(found.mean, expected.mean)
        torch.testing.assert_close(found.whitening, expected.whitening, rtol=1e-4, atol=1e-6)
        scaled = (values - values.mean(0, np.float64)) / values.std(0, dtype=np.float64)
        shrunk = LedoitWolf(assume_centered=True).fit(scaled)
        assert 0 < shrunk.shrinkage_ < 1  # or the test would say nothing of shrinkage

    def test_streamed(self, streamed, whole):
        (found, reference), (expected, of_memory) = (
            learn_outliers_streamed(streamed, streamed),
            learn_outliers(whole.global_feature, whole.global_feature, whole.labels),
        )
        torch.testing.assert_close(found.whitening, expected.whitening, rtol=1e-4, atol=1e-5)
        np.testing.assert_allclose(reference.values, of_memory.values, rtol=1e-4)


class TestOverlap:
    def test_hashes_that_only_end_alike_are_no_overlap(self, tmp_path):
        one = write_store(tmp_path / "one", [make_row(index, label=0, generator="a", seed=0) for index in range(5)])
        other = write_store(tmp_path / "other", [make_row(index, label=0, generator="a", seed=1) for index in range(5)])
        _refuse_overlap([one], [other])
        shared = [make_row(3, label=0, generator="a", seed=0), make_row(9, label=0, generator="a", seed=0)]
        with pytest.raises(TrainingError, match=r"1 of the validation images .* such as 0/3.png"):
            _refuse_overlap([one], [write_store(tmp_path / "shared", shared)])
