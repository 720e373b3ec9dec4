import dataclasses
import io

import numpy as np
import pytest
import torch
from PIL import Image
from sklearn.linear_model import LogisticRegression
from tests.unit.stores import write_store

from cinemae.config import BackboneInfo, ExtractorConfig, HeadConfig, ImageConfig, LcasConfig, MaskConfig, TrainConfig
from cinemae.core.anomaly_stats import anomaly_stats
from cinemae.core.head import pool_views
from cinemae.errors import ConfigError, FingerprintMismatchError, TrainingError
from cinemae.features.training_set import TrainingSet, require_both_classes, split_by_generator
from cinemae.statistics.plot_style import to_png
from cinemae.stores.store_format import StoreRow
from cinemae.training.samples import sample_weights
from cinemae.training.train import fit_head, plot_history, predict_logits, seeded_head, train

pytestmark = pytest.mark.usefixtures("one_thread")

VIEWS, PASSES, PATCHES, WIDTH = 5, 2, 4, 6
DIRECTION = np.array([1, -1, 1, -1, 1, -1])  # sums to 0: LayerNorm hides what moves all values alike
LCAS = LcasConfig()
HEAD = HeadConfig(global_dim=WIDTH, agg_hidden=8, cls_hidden=(8,))
TRAIN = TrainConfig(learning_rate=3e-3, epochs=6, num_seeds=2)


LINEAR = HeadConfig(global_dim=VIEWS * WIDTH, statistics=(), view_pooling="concat", cls_hidden=(), clip_global=2.0)
LBFGS = TrainConfig(optimizer="lbfgs", epochs=25, num_seeds=1, weight_decay=1 / (0.01 * 120))


def make_row(index, label, generator, *, of_global=0.0, of_fidelity=0.0):
    """Features of pure noise, moved by the label as much as asked."""
    rng, sign = np.random.default_rng([7, index]), 2 * (label or 0) - 1
    deviation, fidelity = rng.normal(size=(2, VIEWS, PASSES, PATCHES)).astype(np.float32)
    fidelity += np.float32(sign * of_fidelity)
    for values in (deviation, fidelity):
        values[:, 0, 0] = values[:, 1, 1] = np.nan
    return StoreRow(
        path=f"{index}.png",
        label=label,
        generator=generator,
        content_hash=f"{index:064d}",
        global_feature=(rng.normal(size=(VIEWS, WIDTH)) + sign * of_global * DIRECTION).astype(np.float32),
        deviation=deviation,
        fidelity=fidelity,
    )


def make_rows(start, count, names=("camera", "gan", "diffusion"), **moved):
    """As many photographs as fakes; the fakes take turns among all names but the first."""
    photographs = [make_row(start + i, 0, names[0], **moved) for i in range(count)]
    fakes = [make_row(start + count + i, 1, names[1 + i % (len(names) - 1)], **moved) for i in range(count)]
    return [*photographs, *fakes]


def store_of(path, rows, *, mask_seed=0):
    extractor = ExtractorConfig(ImageConfig(size=16, views="five"), MaskConfig(seed=mask_seed))
    backbone = BackboneInfo(content_hash="ab" * 32, patch_size=8, num_patches=PATCHES, hidden_size=WIDTH)
    return write_store(path, rows, extractor, backbone)


def read(path, rows):
    return TrainingSet.from_stores([store_of(path, rows)], LCAS)


@pytest.fixture(scope="module")
def learnable(tmp_path_factory):
    """Training and validation sets whose classes differ in the global feature; other generators in each."""
    root = tmp_path_factory.mktemp("learnable")
    validation = make_rows(1000, 40, ("camera", "sd", "flow"), of_global=0.5)
    return read(root / "train", make_rows(0, 60, of_global=0.5)), read(root / "val", validation)


@pytest.fixture(scope="module")
def data(tmp_path_factory):
    """Photographs and fakes of eight generators."""
    return read(tmp_path_factory.mktemp("data") / "store", make_rows(0, 80, ("camera", *"abcdefgh")))


@pytest.fixture(scope="module")
def report(learnable):
    return train(*learnable, HEAD, TRAIN)


class TestTrainingSet:
    def test_holds_the_readable_labelled_rows_of_the_store(self, tmp_path):
        unlabelled = make_row(2, None, None)
        broken = StoreRow(path="3.png", label=1, generator="gan", error_message="the file is empty")
        rows = [make_row(0, 0, None), unlabelled, broken, make_row(1, 1, "gan")]
        data = read(tmp_path / "store", rows)
        assert len(data) == 2
        assert data.labels.tolist() == [0, 1]
        assert data.generators.tolist() == ["", "gan"]
        np.testing.assert_array_equal(data.global_feature, np.stack([rows[0].global_feature, rows[3].global_feature]))

    def test_computes_the_statistics_of_every_view_from_the_stored_terms(self, tmp_path):
        rows = make_rows(0, 3)
        store = store_of(tmp_path / "store", rows)
        data = TrainingSet.from_stores([store], LcasConfig(fidelity_weight=0.5, reduction="literal"))
        for position, row in enumerate(rows):
            lcas = torch.from_numpy(row.deviation + 0.5 * 3 * 8 * 8 * row.fidelity)
            np.testing.assert_allclose(data.stats[position], anomaly_stats(lcas), rtol=1e-5)

    def test_joins_stores_in_their_order(self, tmp_path):
        first, second = make_rows(0, 3), make_rows(10, 4)
        stores = [store_of(tmp_path / "a", first), store_of(tmp_path / "b", second)]
        data = TrainingSet.from_stores(stores, LCAS)
        expected = [row.global_feature for row in [*first, *second]]
        np.testing.assert_array_equal(data.global_feature, np.stack(expected))

    def test_of_two_frozen_halves_is_refused_naming_both(self, tmp_path):
        first = store_of(tmp_path / "a", make_rows(0, 3))
        second = store_of(tmp_path / "b", make_rows(0, 3), mask_seed=1)
        sentence = (
            f"{first.path} has fingerprint {first.fingerprint} and {second.path} has {second.fingerprint}: extract"
        )
        with pytest.raises(FingerprintMismatchError, match=sentence):
            TrainingSet.from_stores([first, second], LCAS)

    @pytest.mark.parametrize("where", ["global_feature", "deviation", "fidelity"])
    @pytest.mark.parametrize("value", [np.nan, np.inf])
    def test_of_broken_features_is_refused(self, tmp_path, where, value):
        rows = make_rows(0, 3)
        broken = np.full_like(getattr(rows[2], where), value)
        rows[2] = dataclasses.replace(rows[2], **{where: broken})
        with pytest.raises(TrainingError, match="a feature in .* is not finite: extract the store again"):
            read(tmp_path / "store", rows)

    def test_without_a_label_is_refused(self, tmp_path):
        with pytest.raises(
            TrainingError, match="no readable image in .* carries a label: name folders real/ and fake/"
        ):
            read(tmp_path / "store", [make_row(0, None, None)])

    def test_of_unreadable_images_only_is_refused(self, tmp_path):
        rows = [StoreRow(path="a.png", label=label, error_message="empty") for label in (0, 1)]
        with pytest.raises(TrainingError, match="no readable image"):
            read(tmp_path / "store", rows)


class TestTrain:
    def test_what_can_be_learnt_is_learnt(self, report):
        assert report.results.mean_generator_auc > 0.95
        assert report.results.auc.value > 0.95

    def test_from_the_statistics_alone_too(self, tmp_path):
        data = [read(tmp_path / name, make_rows(start, 60, of_fidelity=4.0)) for name, start in (("a", 0), ("b", 1000))]
        only_stats = dataclasses.replace(HEAD, use_global=False)
        report = train(*data, only_stats, dataclasses.replace(TRAIN, num_seeds=1, epochs=15))
        assert report.results.mean_generator_auc > 0.95

    def test_what_cannot_be_learnt_stays_at_chance(self, tmp_path):
        training, validation = read(tmp_path / "a", make_rows(0, 60)), read(tmp_path / "b", make_rows(1000, 150))
        report = train(training, validation, HEAD, dataclasses.replace(TRAIN, num_seeds=1))
        assert report.results.auc.value == pytest.approx(0.5, abs=0.1)

    def test_same_seed_same_weights_whatever_the_global_state(self, report, learnable):
        torch.manual_seed(99)
        before = torch.get_rng_state()
        again = train(*learnable, HEAD, TRAIN)
        assert torch.equal(torch.get_rng_state(), before)
        weights, others = report.head.state_dict(), again.head.state_dict()
        assert [name for name in weights if not torch.equal(weights[name], others[name])] == []
        assert again.history == report.history
        assert again.decision == report.decision
        assert again.results == report.results

    def test_dropout_is_seeded_too(self, learnable):
        head = dataclasses.replace(HEAD, dropout=0.3)
        logits = [
            predict_logits(fit_head(*learnable, head, dataclasses.replace(TRAIN, epochs=2), seed, []), learnable[1])
            for seed in (3, 3, 4)
        ]
        np.testing.assert_array_equal(logits[0], logits[1])
        assert not np.array_equal(logits[0], logits[2])

    def test_the_first_seed_ships_whatever_the_others_reach(self, report, learnable):
        first = fit_head(*learnable, HEAD, TRAIN, TRAIN.seed, [])
        weights = report.head.state_dict()
        assert [name for name, weight in first.state_dict().items() if not torch.equal(weights[name], weight)] == []
        spread = report.results.mean_generator_auc_over_seeds
        assert spread.seeds == (0, 1)
        assert spread.values[0] == report.results.mean_generator_auc

    def test_the_spread_over_seeds_is_mean_and_sample_deviation(self, report):
        spread = report.results.mean_generator_auc_over_seeds
        assert spread.mean == pytest.approx(np.mean(spread.values))
        assert spread.std == pytest.approx(np.std(spread.values, ddof=1))

    def test_one_seed_has_no_spread(self, learnable):
        report = train(*learnable, HEAD, dataclasses.replace(TRAIN, num_seeds=1, epochs=1))
        assert report.results.mean_generator_auc_over_seeds.std is None

    def test_every_epoch_of_every_seed_is_recorded_and_told(self, learnable):
        told = []
        report = train(*learnable, HEAD, dataclasses.replace(TRAIN, epochs=2), progress=told.append)
        assert told == report.history
        assert [(line.seed, line.epoch) for line in told] == [(0, 1), (0, 2), (1, 1), (1, 2)]

    def test_epoch_lines_weigh_both_classes_alike(self, report, learnable):
        logits, labels = predict_logits(report.head, learnable[1]), learnable[1].labels
        last = [line for line in report.history if line.seed == TRAIN.seed][-1]
        losses = torch.nn.functional.binary_cross_entropy_with_logits(
            torch.from_numpy(logits), torch.from_numpy(labels).double(), reduction="none"
        ).numpy()
        assert last.val_loss == pytest.approx((losses[labels == 0].mean() + losses[labels == 1].mean()) / 2)
        hits = (logits >= 0) == (labels == 1)
        assert last.val_accuracy == pytest.approx((hits[labels == 0].mean() + hits[labels == 1].mean()) / 2)
        assert last.val_auc == pytest.approx(report.results.mean_generator_auc, abs=1e-9)

    def test_the_logit_of_an_image_is_the_mean_over_its_views(self, report, learnable):
        data = learnable[1]
        with torch.inference_mode():
            of_views = torch.stack(
                [
                    report.head(torch.from_numpy(data.global_feature[:, view]), torch.from_numpy(data.stats[:, view]))
                    for view in range(VIEWS)
                ]
            )
        np.testing.assert_allclose(predict_logits(report.head, data), of_views.mean(0), rtol=1e-4, atol=1e-5)

    def test_views_can_be_joined_before_the_head(self, learnable):
        head = dataclasses.replace(HEAD, global_dim=2 * WIDTH, view_pooling="mean_std")
        report = train(*learnable, head, dataclasses.replace(TRAIN, num_seeds=1))
        assert report.results.mean_generator_auc > 0.95
        joined, _ = pool_views(torch.from_numpy(learnable[0].global_feature), torch.zeros(120, VIEWS, 3), "mean_std")
        torch.testing.assert_close(report.head.global_mean, joined.mean(0))

    def test_a_spread_between_views_can_be_learnt_where_means_cannot(self, tmp_path):
        """Fakes differ in nothing but how much their views differ."""

        def spread(start):
            rows = make_rows(start, 60)
            return [dataclasses.replace(row, global_feature=row.global_feature * (1 + 2 * row.label)) for row in rows]

        data = [read(tmp_path / name, spread(start)) for name, start in (("a", 0), ("b", 1000))]
        auc = {}
        for how, dim in (("mean", WIDTH), ("mean_std", 2 * WIDTH)):
            head = dataclasses.replace(HEAD, global_dim=dim, view_pooling=how, statistics=())
            report = train(*data, head, dataclasses.replace(TRAIN, num_seeds=1, epochs=15))
            auc[how] = report.results.mean_generator_auc
        assert auc["mean_std"] > 0.95
        assert auc["mean_std"] > auc["mean"] + 0.1

    def test_views_are_drawn_anew_at_each_step_and_follow_from_the_seed(self, learnable):
        head = dataclasses.replace(HEAD, global_dim=2 * WIDTH, view_pooling="mean_std")
        weights = [
            fit_head(*learnable, head, dataclasses.replace(TRAIN, epochs=2, views_drawn=drawn), seed, []).state_dict()
            for drawn, seed in ((3, 0), (3, 0), (3, 1), (None, 0))
        ]
        names = [name for name in weights[0] if name.startswith("mlp")]
        for name in names:
            assert torch.equal(weights[0][name], weights[1][name])
            assert not torch.equal(weights[0][name], weights[2][name])
            assert not torch.equal(weights[0][name], weights[3][name])
        assert torch.equal(weights[0]["global_mean"], weights[3]["global_mean"])  # the scaling is of all views

    def test_drawing_as_many_views_as_there_are_is_drawing_none(self, learnable):
        head = dataclasses.replace(HEAD, global_dim=WIDTH, view_pooling="mean")
        config = dataclasses.replace(TRAIN, batch_size=1000, epochs=1)  # one step: the order of a batch hardly matters
        drawn = fit_head(*learnable, head, dataclasses.replace(config, views_drawn=VIEWS), 0, [])
        whole = fit_head(*learnable, head, config, 0, [])
        for name, weight in whole.state_dict().items():
            torch.testing.assert_close(drawn.state_dict()[name], weight, rtol=1e-3, atol=1e-3)

    def test_drawing_views_that_are_never_joined_is_refused(self, learnable):
        with pytest.raises(ConfigError, match='view_pooling "logit" never joins them: set view_pooling to "mean" or'):
            train(*learnable, HEAD, dataclasses.replace(TRAIN, views_drawn=3))

    def test_a_linear_head_by_lbfgs_is_logistic_regression(self, learnable):
        """Of the clipped, standardised features behind the LayerNorm; scikit-learn's C is 1 / (N weight_decay)."""
        training, validation = learnable
        report = train(training, validation, LINEAR, LBFGS)
        of_train, of_val = (data.pooled("concat")[0] for data in learnable)
        mean, std = of_train.mean(0), of_train.std(0, ddof=1)

        def behind_norm(rows):
            scaled = np.clip((rows - mean) / std, -2, 2)
            return (scaled - scaled.mean(1, keepdims=True)) / np.sqrt(scaled.var(1, keepdims=True) + 1e-5)

        model = LogisticRegression(C=1 / (len(training) * LBFGS.weight_decay), tol=1e-6)
        expected = model.fit(behind_norm(of_train), training.labels).decision_function(behind_norm(of_val))
        found = predict_logits(report.head, validation)
        assert np.corrcoef(found, expected)[0, 1] > 0.998
        np.testing.assert_allclose(found, expected, atol=0.1 * expected.std())

    def test_lbfgs_ends_at_the_same_logits_whatever_it_begins_with(self, learnable):
        heads = [fit_head(*learnable, LINEAR, LBFGS, seed, []) for seed in (0, 1)]
        logits = [predict_logits(head, learnable[1]) for head in heads]
        assert logits[0].std() > 0.5
        np.testing.assert_allclose(logits[0], logits[1], atol=5e-3)

    def test_lbfgs_learns_with_statistics_as_well(self, learnable):
        head = dataclasses.replace(LINEAR, statistics=HEAD.statistics, agg_hidden=4)
        assert train(*learnable, head, LBFGS).history[-1].val_auc > 0.95

    @pytest.mark.parametrize(
        ("head", "config", "sentence"),
        [
            (LINEAR, dataclasses.replace(LBFGS, views_drawn=2, optimizer="adam"), '"concat" takes all of them'),
            (dataclasses.replace(LINEAR, dropout=0.5), LBFGS, "lbfgs needs the same samples .* dropout 0.5 and views"),
            (
                dataclasses.replace(LINEAR, view_pooling="mean", global_dim=WIDTH),
                dataclasses.replace(LBFGS, views_drawn=2),
                "lbfgs needs the same samples at every step, got dropout 0.0 and views_drawn 2",
            ),
        ],
    )
    def test_settings_that_do_not_go_together_are_refused(self, learnable, head, config, sentence):
        with pytest.raises(ConfigError, match=sentence):
            train(*learnable, head, config)

    def test_scaling_of_the_inputs_comes_from_training_images_alone(self, report, learnable):
        stats = learnable[0].stats.reshape(-1, 3)
        np.testing.assert_allclose(report.head.stats_mean, stats.mean(0), rtol=1e-4, atol=1e-5)
        np.testing.assert_allclose(report.head.stats_std, stats.std(0, ddof=1), rtol=1e-4)

    def test_initial_weights_depend_on_the_seed_alone(self):
        torch.manual_seed(5)
        first = seeded_head(HEAD, 1).state_dict()
        torch.manual_seed(6)
        second, other = seeded_head(HEAD, 1).state_dict(), seeded_head(HEAD, 2).state_dict()
        assert all(torch.equal(first[name], second[name]) for name in first)
        assert not torch.equal(first["mlp_agg.0.weight"], other["mlp_agg.0.weight"])

    def test_thresholds_come_from_validation_alone(self, report, learnable):
        prob_rule = report.decision.rule
        assert f"{(learnable[1].labels == 0).sum()} validation photographs" in prob_rule
        assert report.results.false_positive_rate.value <= TRAIN.target_fpr

    @pytest.mark.parametrize(("keep", "counts"), [(0, "4 and 0"), (1, "0 and 4")])
    def test_one_class_alone_is_refused(self, learnable, keep, counts):
        training, validation = learnable
        one = training[np.flatnonzero(training.labels == keep)[:4]]
        with pytest.raises(TrainingError, match=f"the training set needs photographs and .* it holds {counts}"):
            train(one, validation, HEAD, TRAIN)
        with pytest.raises(TrainingError, match=f"the validation set needs photographs and .* it holds {counts}"):
            train(training, one, HEAD, TRAIN)

    def test_two_of_each_class_are_enough_to_run(self, learnable):
        training, validation = learnable
        few = np.r_[np.flatnonzero(validation.labels == 0)[:2], np.flatnonzero(validation.labels == 1)[:2]]
        require_both_classes(validation[few].labels, "the few")
        report = train(training, validation[few], HEAD, dataclasses.replace(TRAIN, epochs=1, num_seeds=1))
        assert report.results.per_generator[0].auc.n == 3

    def test_diverging_training_is_an_error_that_says_what_to_do(self, learnable):
        with pytest.raises(TrainingError, match="diverged to logits that are not finite: lower the learning rate"):
            train(*learnable, HEAD, dataclasses.replace(TRAIN, learning_rate=1e30))

    def test_the_epochs_are_kept_and_drawn(self, report):
        assert report.results.history == tuple(report.history)
        with Image.open(io.BytesIO(to_png(plot_history(report.history)))) as image:
            image.load()
            assert image.format == "PNG"
            assert min(image.size) > 200


class TestSampleWeights:
    DATA = TrainingSet.of(
        np.zeros((9, 1, 1), np.float32),
        np.zeros((9, 1, 3), np.float32),
        np.array([0, 0, 0, 0, 0, 0, 1, 1, 1]),
        np.array(["a", "a", "a", "a", "a", "b", "gan", "gan", "sd"]),
    )

    def _shares(self, balance):
        weights = sample_weights(self.DATA, balance)
        groups = list(zip(self.DATA.labels.tolist(), self.DATA.generators.tolist(), strict=True))
        return {group: sum(w for w, g in zip(weights, groups, strict=True) if g == group) for group in set(groups)}

    def test_none_weighs_every_image_alike(self):
        assert sample_weights(self.DATA, "none").tolist() == [1.0] * 9

    def test_class_gives_both_classes_half(self):
        shares = self._shares("class")
        assert shares[0, "a"] + shares[0, "b"] == pytest.approx(4.5)
        assert shares[1, "gan"] + shares[1, "sd"] == pytest.approx(4.5)
        assert shares[0, "a"] == pytest.approx(5 * shares[0, "b"])

    def test_generator_gives_each_generator_and_source_its_share_of_the_half(self):
        assert self._shares("generator") == pytest.approx(
            {(0, "a"): 2.25, (0, "b"): 2.25, (1, "gan"): 2.25, (1, "sd"): 2.25}
        )

    @pytest.mark.parametrize("balance", ["none", "class", "generator"])
    def test_the_mean_weight_is_one(self, balance):
        assert sample_weights(self.DATA, balance).mean() == pytest.approx(1)

    def test_a_photo_source_named_like_a_generator_is_its_own_group(self):
        data = TrainingSet.of(self.DATA.global_feature, self.DATA.stats, self.DATA.labels, np.array(["x"] * 9))
        np.testing.assert_allclose(sample_weights(data, "generator"), sample_weights(data, "class"))

    def test_they_enter_the_loss(self, learnable):
        training, validation = learnable
        fakes = np.flatnonzero(training.labels == 1)[:6]
        unbalanced = training[np.r_[np.flatnonzero(training.labels == 0), fakes]]
        mean = {}
        for balance in ("none", "class"):
            config = dataclasses.replace(TRAIN, class_balance=balance, epochs=3)
            mean[balance] = predict_logits(fit_head(unbalanced, validation, HEAD, config, 0, []), validation).mean()
        assert mean["class"] > mean["none"] + 0.5


class TestSplitByGenerator:
    @staticmethod
    def _fakes(data):
        return set(data.generators[data.labels == 1].tolist())

    def test_whole_generators_are_held_out(self, data):
        training, validation, how = split_by_generator(data, None, seed=0)
        assert self._fakes(training) | self._fakes(validation) == set("abcdefgh")
        assert self._fakes(training) & self._fakes(validation) == set()
        assert len(self._fakes(validation)) == 2
        assert how == f"generators held out: {', '.join(sorted(self._fakes(validation)))}; a quarter of the photographs"

    def test_no_image_is_lost_or_used_twice(self, data):
        training, validation, _ = split_by_generator(data, None, seed=0)
        features = np.concatenate([training.global_feature, validation.global_feature]).reshape(len(data), -1)
        assert len(np.unique(features, axis=0)) == len(data) == len(training) + len(validation)

    def test_about_a_quarter_of_the_photographs_is_held_out(self, data):
        _, validation, _ = split_by_generator(data, None, seed=0)
        assert 10 <= (validation.labels == 0).sum() <= 30

    def test_the_draw_depends_on_the_seed_alone(self, data):
        held_out = [split_by_generator(data, None, seed=seed)[1].global_feature for seed in (0, 0, 1)]
        np.testing.assert_array_equal(held_out[0], held_out[1])
        assert not np.array_equal(held_out[0], held_out[2])

    def test_named_generators_are_held_out(self, data):
        training, validation, how = split_by_generator(data, ["b", "e"], seed=0)
        assert self._fakes(validation) == {"b", "e"}
        assert self._fakes(training) == set("acdfgh")
        assert how.startswith("generators held out: b, e;")

    def test_a_single_generator_is_split_by_image_and_the_sentence_says_so(self, data):
        names = np.where(data.labels == 1, "only", data.generators)
        single = TrainingSet.of(data.global_feature, data.stats, data.labels, names)
        training, validation, how = split_by_generator(single, None, seed=0)
        assert self._fakes(training) == self._fakes(validation) == {"only"}
        assert "one generator only, so the figures say nothing of unseen ones" in how

    def test_a_name_that_is_not_there_is_refused_with_those_that_are(self, data):
        with pytest.raises(TrainingError, match="no generator z in the store; it holds a, b, c, d, e, f, g, h"):
            split_by_generator(data, ["a", "z"], seed=0)

    def test_holding_out_every_generator_is_refused(self, data):
        with pytest.raises(TrainingError, match="none is left to train on"):
            split_by_generator(data, list("abcdefgh"), seed=0)
