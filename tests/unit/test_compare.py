"""Two detectors on the same images: the paired bootstrap by brute force, McNemar's test by hand."""

import json
import math
from dataclasses import replace

import numpy as np
import pytest
from msgspec import structs
from sklearn.metrics import roc_auc_score

from cinemae.errors import EvaluationError
from cinemae.evaluation.compare import MOST_SHOWN, DetectorComparison, Side, compare, pick, to_text
from cinemae.evaluation.predictions import Column, Images, Predictions
from cinemae.statistics.format_probe import ProbeResult
from cinemae.statistics.resampling import RESAMPLES

A = Column("a", threshold=0.5, description="the one")
B = Column("b", seed=1, mask_seed=2, outputs="score", threshold=0.0)


def make_images(count: int = 30, start: int = 0) -> Images:
    """Photographs and fakes in turns."""
    rows = [
        {"path": f"{index}.png", "content_hash": f"hash {index}", "label": index % 2}
        for index in range(start, start + count)
    ]
    return Images.from_rows(rows)


def make(images: Images, columns: tuple[Column, ...] = (A, B), seed: int = 0) -> Predictions:
    """The first detector is a good one, the second a worse one of another scale."""
    rng = np.random.default_rng(seed)
    good = (0.35 + 0.3 * images.label + rng.normal(0, 0.2, len(images))).clip(0, 1).round(2)
    bad = (images.label - 0.5 + rng.normal(0, 2, len(images))).round(1)
    return Predictions(images, columns, {"raw": np.stack([good, bad][: len(columns)], axis=1)})


@pytest.fixture(scope="module")
def both() -> Predictions:
    return make(make_images())


@pytest.fixture(scope="module")
def result(both: Predictions) -> DetectorComparison:
    return compare(Side(both, A), Side(both, B), seed=3)


@pytest.fixture(scope="module")
def values(result: DetectorComparison) -> dict:
    """What ``--json`` prints."""
    return result.to_dict()


class TestAucDifference:
    @pytest.mark.slow
    def test_equals_a_paired_bootstrap_by_brute_force(self, both: Predictions, values: dict):
        labels = both.images.label
        scores = [both.of(column) for column in (A, B)]
        aucs = [roc_auc_score(labels, each) for each in scores]
        assert [values["auc_a"], values["auc_b"]] == pytest.approx(aucs)
        rng, apart = np.random.default_rng(3), []
        classes = [np.flatnonzero(labels == label) for label in (0, 1)]
        for _ in range(RESAMPLES // 100):
            draws = [of[rng.integers(0, len(of), (100, len(of)))] for of in classes]
            for chosen in np.concatenate(draws, axis=1):
                first, second = (roc_auc_score(labels[chosen], each[chosen]) for each in scores)
                apart.append(first - second)
        found = values["auc_difference"]
        assert found["value"] == pytest.approx(aucs[0] - aucs[1])
        assert [found["low"], found["high"]] == pytest.approx(np.percentile(apart, (2.5, 97.5)).tolist(), abs=1e-12)
        share = min(np.mean(np.array(apart) <= 1e-12), np.mean(np.array(apart) >= -1e-12))
        assert found["p_value"] == pytest.approx(max(2 * share, 1 / RESAMPLES))
        assert 0 < found["p_value"] < 0.5
        assert found["n"] == 30

    def test_a_detector_is_no_better_than_itself(self, both: Predictions):
        found = compare(Side(both, A), Side(both, A)).to_dict()
        assert found["auc_difference"] == {"value": 0.0, "low": 0.0, "high": 0.0, "n": 30, "p_value": 1.0}
        assert found["mcnemar"]["p_value"] == 1.0
        assert found["mcnemar"]["only_a_right"] == found["mcnemar"]["only_b_right"] == 0
        assert all(one["rank_a"] == one["rank_b"] for one in found["disagreements"])

    def test_another_scale_is_no_difference(self, both: Predictions):
        stretched = replace(both, scores={"raw": np.exp(5 * both.scores["raw"])})
        found = compare(Side(both, A), Side(stretched, A)).to_dict()
        assert (found["auc_difference"]["low"], found["auc_difference"]["high"]) == (0.0, 0.0)

    def test_turned_around_it_changes_its_sign(self, both: Predictions, values: dict):
        found = compare(Side(both, B), Side(both, A), seed=3).to_dict()["auc_difference"]
        before = values["auc_difference"]
        assert [found["value"], found["low"], found["high"]] == pytest.approx(
            [-before["value"], -before["high"], -before["low"]]
        )
        assert found["p_value"] == before["p_value"]

    def test_a_clear_difference_has_the_least_p_that_so_many_resamples_can_tell(self):
        images = make_images(200)
        scores = np.stack([images.label, 1.0 - images.label], axis=1)
        found = compare(*(Side(Predictions(images, (A, B), {"raw": scores}), column) for column in (A, B)))
        assert found.to_dict()["auc_difference"] == {
            "value": 1.0,
            "low": 1.0,
            "high": 1.0,
            "n": 200,
            "p_value": 1 / RESAMPLES,
        }
        assert "p < 0.001 (paired bootstrap)" in to_text(found)

    @pytest.mark.parametrize("count", [2, 3])
    def test_a_single_image_of_a_class_tells_nothing(self, count: int):
        few = make(make_images(count))
        found = compare(Side(few, A), Side(few, B)).to_dict()["auc_difference"]
        assert (found["low"], found["high"], found["p_value"]) == (-1.0, 1.0, None)
        assert "paired bootstrap" not in to_text(compare(Side(few, A), Side(few, B)))


class TestMcNemar:
    def test_equals_the_binomial_by_hand(self, both: Predictions, values: dict):
        labels = both.images.label.tolist()
        right_a = [(score >= 0.5) == bool(label) for score, label in zip(both.of(A), labels, strict=True)]
        right_b = [(score >= 0.0) == bool(label) for score, label in zip(both.of(B), labels, strict=True)]
        table = [sum(a == x and b == y for a, b in zip(right_a, right_b, strict=True)) for x in (1, 0) for y in (1, 0)]
        found = values["mcnemar"]
        assert table == [found[name] for name in ("both_right", "only_a_right", "only_b_right", "both_wrong")]
        n, k = table[1] + table[2], min(table[1:3])
        assert n > 5
        tail = sum(math.comb(n, i) for i in range(k + 1)) / 2**n
        assert found["p_value"] == pytest.approx(min(1.0, 2 * tail))

    @pytest.mark.parametrize("which", [0, 1])
    def test_without_a_threshold_there_is_none(self, both: Predictions, which: int):
        columns = tuple(replace(column, threshold=None) if i == which else column for i, column in enumerate((A, B)))
        found = compare(*(Side(replace(both, columns=columns), column) for column in columns))
        assert found.to_dict()["mcnemar"] is None
        assert "McNemar  not possible: one of them has no threshold." in to_text(found)


class TestTheSameImages:
    def test_order_and_paths_do_not_matter(self, both: Predictions, result: DetectorComparison):
        order = np.random.default_rng(0).permutation(30)
        images = both.images.chosen(order)
        moved = replace(images, path=np.char.add("elsewhere/", images.path))
        other = Predictions(moved, both.columns, {"raw": both.scores["raw"][order]})
        assert compare(Side(both, A), Side(other, B), seed=3) == result

    def test_images_that_could_not_be_read_are_left_out(self, both: Predictions, result: DetectorComparison):
        broken = Images.from_rows([{"path": "broken.png", "label": 1, "error_message": "it is empty"}])
        joined = {
            name: np.concatenate([getattr(both.images, name), getattr(broken, name)])
            for name in Images.__dataclass_fields__
        }
        scores = {"raw": np.concatenate([both.scores["raw"], [[np.nan, np.nan]]])}
        assert compare(Side(Predictions(Images(**joined), both.columns, scores), A), Side(both, B), seed=3) == result

    def test_an_image_that_occurs_twice_counts_once(self, both: Predictions, result: DetectorComparison):
        twice = np.concatenate([np.arange(30), [4, 4, 7]])
        other = Predictions(both.images.chosen(twice), both.columns, {"raw": both.scores["raw"][twice]})
        assert compare(Side(other, A), Side(other, B), seed=3) == result
        assert compare(Side(both, A), Side(other, B), seed=3) == result

    @pytest.mark.parametrize(
        ("first", "second", "sentence"),
        [
            (
                (30, 0),
                (28, 0),
                "2 are in the first predictions only and 0 in the second only, such as 28.png: evaluate",
            ),
            ((30, 0), (30, 4), "4 are in the first predictions only and 4 in the second only, such as 0.png: evaluate"),
            (
                (28, 0),
                (30, 0),
                "0 are in the first predictions only and 2 in the second only, such as 28.png: evaluate",
            ),
        ],
    )
    def test_other_images_are_refused(self, first, second, sentence: str):
        with pytest.raises(EvaluationError, match=f"compared on the same images with the same labels.*{sentence}"):
            compare(Side(make(make_images(*first)), A), Side(make(make_images(*second)), A))

    def test_other_labels_are_refused(self, both: Predictions):
        label = both.images.label.copy()
        label[5] = 0
        other = replace(both, images=replace(both.images, label=label))
        with pytest.raises(
            EvaluationError, match="1 are in the first predictions only and 1 in the second only, such as 5"
        ):
            compare(Side(both, A), Side(other, A))

    def test_one_class_is_refused(self):
        images = make_images().chosen(slice(0, 30, 2))
        one = Predictions(images, (A,), {"raw": np.zeros((15, 1))})
        with pytest.raises(
            EvaluationError, match="a comparison needs photographs and generated images; it holds 15 and 0"
        ):
            compare(Side(one, A), Side(one, A))

    def test_a_missing_score_is_refused(self, both: Predictions):
        scores = both.scores["raw"].copy()
        scores[3, 1] = np.nan
        with pytest.raises(
            EvaluationError, match="needs a finite score of every image; b has none for 3.png under raw"
        ):
            compare(Side(both, A), Side(replace(both, scores={"raw": scores}), B))


class TestDisagreements:
    def test_those_furthest_apart_come_first(self):
        images = make_images(6)
        scores = np.array([[0.1, 0.2, 0.3, 0.4, 0.5, 0.6], [60, 10, 20, 30, 40, 50]]).T
        found = compare(*(Side(Predictions(images, (A, B), {"raw": scores}), column) for column in (A, B))).to_dict()
        first, second = found["disagreements"][:2]
        assert first == {
            "path": "0.png", "label": 0, "score_a": 0.1, "score_b": 60.0,
            "rank_a": pytest.approx(0.5 / 6), "rank_b": pytest.approx(5.5 / 6),
        }  # fmt: skip
        assert second["path"] == "1.png"  # the others differ by one place each, and stand in their order

    def test_no_more_than_can_be_read(self):
        many = make(make_images(100))
        found = compare(Side(many, A), Side(many, B)).to_dict()["disagreements"]
        assert len(found) == MOST_SHOWN
        apart = [abs(one["rank_a"] - one["rank_b"]) for one in found]
        assert apart == sorted(apart, reverse=True)


class TestText:
    def test_what_a_person_reads(self, result: DetectorComparison, values: dict):
        text = to_text(result)
        assert text.startswith(
            "A: a under raw (the one)\nB: b under raw, seed 1, mask seed 2\n15 photographs and 15 gener"
        )
        apart = values["auc_difference"]
        expected = (
            f"A - B {apart['value']:+.3f} [{apart['low']:+.3f}, {apart['high']:+.3f}], p {apart['p_value']:.3f} ("
        )
        assert expected in text
        assert f"both wrong {values['mcnemar']['both_wrong']}; p {values['mcnemar']['p_value']:.3f} (exact" in text
        assert text.splitlines()[-1].endswith(values["disagreements"][-1]["path"])

    def test_the_bias_alarm_is_shown_beside(self, result: DetectorComparison):
        probe = ProbeResult(0.7, 0.655, 0.74, 30, alarm=True)
        told = "Format   70.0 % [65.5, 74.0] balanced accuracy without looking at a pixel"
        lines = to_text(structs.replace(result, format_probe=probe)).splitlines()
        assert f"{told}, ALARM: the files alone tell the classes apart" in lines
        assert told in to_text(structs.replace(result, format_probe=replace(probe, alarm=False))).splitlines()
        assert "Format" not in to_text(structs.replace(result, format_probe=None))

    def test_it_is_json(self, values: dict):
        assert json.loads(json.dumps(values, allow_nan=False)) == values


class TestPick:
    def test_the_only_one_needs_no_name(self, both: Predictions):
        alone = replace(both, columns=(A,), scores={"raw": both.scores["raw"][:, :1]})
        assert pick(alone, None).column == pick(both, "a").column == A
        assert pick(both, "b").condition == "raw"

    def test_of_several_runs_the_first(self, both: Predictions):
        columns = (replace(A, seed=0), replace(A, seed=1))
        assert pick(replace(both, columns=columns), None).column.seed == 0

    def test_what_is_not_there(self, both: Predictions):
        with pytest.raises(EvaluationError, match="the predictions hold a, b: say which to compare, as in FILE::a"):
            pick(both, None)
        with pytest.raises(EvaluationError, match="hold no detector c, they hold a, b"):
            pick(both, "c")
        with pytest.raises(EvaluationError, match="hold no condition jpeg=50, they hold raw"):
            pick(both, "a", "jpeg=50")
