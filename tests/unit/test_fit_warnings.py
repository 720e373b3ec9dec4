from __future__ import annotations

import msgspec
import pytest
from scipy.stats import binomtest

from cinemae.config import DecisionConfig
from cinemae.fit.split import ClassSplit
from cinemae.fit.warnings import (
    accused,
    no_better_than_chance,
    warn_of_data,
    warn_of_format,
    warn_of_results,
)
from cinemae.models.results import CalibrationFigures, SeedSpread, TrainingResults
from cinemae.statistics.estimate import Estimate
from cinemae.statistics.figures import CalledRates, GeneratorFigures, HeldOutRates
from cinemae.statistics.metrics import rate


def split(
    label: int, kind: str = "groups", groups=("a", "b", "c"), held_out=("d",), num_train: int = 500
) -> ClassSplit:
    return ClassSplit(label, kind, groups, held_out, num_train, 100)


def names(warnings) -> list[str]:
    return [warning.name for warning in warnings]


def results(low: float = 0.7, hits: int = 4, n: int = 250) -> TrainingResults:
    """What the rules look at; all other figures are no matter."""
    auc, other = Estimate(0.8, low, 0.9, 500), Estimate(0.5, 0.4, 0.6, 500)
    rates = HeldOutRates(rate(hits, n), other, other, other, other)
    calibration = CalibrationFigures(
        origin="validation", n_real=n, n_fake=250, left_out={}, seed=0, decision=DecisionConfig(), held_out={},
        rates=rates, warnings=(),
    )  # fmt: skip
    return TrainingResults(
        n_real=n, n_fake=250, auc=auc, mean_generator_auc=0.8, average_precision=other, tpr_at_fpr_1_percent=other,
        tpr_at_fpr_5_percent=other, brier_score=other, calibration_error=other, false_positive_rate=other,
        called_ai=other, uncertain=other, per_photo_source=(), cross_fitted=CalledRates(0.0, 0.0, 0.0, 0.0),
        per_generator=(GeneratorFigures("gan", Estimate(0.7, 0.6, 0.8, 300), other, other),),
        mean_generator_auc_over_seeds=SeedSpread((0,), (0.8,), 0.8, None), calibration=calibration,
    )  # fmt: skip


def test_nothing_is_said_of_enough_images_from_many_places():
    assert warn_of_data([split(0), split(1)], 0, 0, 0) == []
    assert warn_of_results(results(), 0.02) == []
    assert warn_of_format(Estimate(0.6, 0.5, 0.7, 100)) == []
    assert warn_of_format(None) == []


def test_few_images_of_a_class_are_told_below_two_hundred():
    assert names(warn_of_data([split(0, num_train=199), split(1, num_train=200)], 0, 0, 0)) == ["few_photographs"]
    found = warn_of_data([split(0), split(1, num_train=60)], 0, 0, 0)
    assert [warning.sentence for warning in found] == [
        "60 generated images to train on are few (fewer than 200): others of the same kind may well give another model."
    ]


def test_one_source_or_generator_may_be_what_was_learnt():
    found = warn_of_data([split(0, "images", ("x",), ("x",)), split(1)], 0, 0, 0)
    assert names(found) == ["one_source", "seen_groups"]
    assert '"photographs" or "taken with this camera, or saved by this site"' in found[0].sentence
    found = warn_of_data([split(0), split(1, "own", ("sdxl",), ("sdxl",))], 0, 0, 0)
    assert names(found) == ["one_generator", "seen_groups"]
    assert "all generated images come as one generator (sdxl)" in found[0].sentence


def test_what_training_knew_is_told():
    two = ("a", "b")
    both = warn_of_data([split(0, "images", two, two), split(1, "images", two, two)], 0, 0, 0)
    assert both[0].sentence.startswith("training knew every source and every generator that is measured on, and near-")


def test_files_left_out_are_counted():
    found = warn_of_data([split(0), split(1)], 3, 2, 1)
    assert names(found) == ["unread", "duplicates", "overlap"]
    assert [warning.sentence for warning in found] == [
        "files left out as they could not be read: 1.",
        "files left out as another of their class has the same content: 3.",
        "training images left out as they are measured on: 2.",
    ]


@pytest.mark.parametrize(("value", "serious"), [(0.61, False), (0.8, False), (0.81, True), (1.0, True)])
def test_a_bias_of_formats_is_told_and_serious_above_eighty_percent(value, serious):
    (warning,) = warn_of_format(Estimate(value, value, value, 100))
    assert warning.serious is serious
    assert f"balanced accuracy of {100 * value:.0f} % (chance: 50 %)" in warning.sentence
    assert "Run cinemae data align, then fit again." in warning.sentence
    assert ("its figures mean little" in warning.sentence) is serious


def test_a_model_no_better_than_chance_is_told_before_all_else():
    assert no_better_than_chance(results(low=0.5))
    assert not no_better_than_chance(results(low=0.501))
    (warning,) = warn_of_results(results(low=0.45, n=20), 0.02)
    assert (warning.name, warning.serious) == ("chance", True)
    assert "AUC 0.800, 95 % interval 0.450 to 0.900" in warning.sentence


def test_generators_that_are_missed_are_named():
    rows = tuple(
        GeneratorFigures(name, Estimate(value, value - 0.1, value + 0.1, 300), rate(1, 2), rate(1, 2))
        for name, value in (("gan", 0.7), ("flux", 0.304), ("sdxl", 0.55), ("ldm", 0.62))
    )
    (warning,) = warn_of_results(msgspec.structs.replace(results(), per_generator=rows), 0.02)
    assert warning.name == "missed_generator"
    assert warning.sentence.endswith("reaches down to 0.5): flux (AUC 0.30), sdxl (AUC 0.55).")


def test_a_threshold_needs_one_photograph_a_share_of_the_target():
    (warning,) = warn_of_results(results(hits=1, n=49), 0.02)
    assert warning.name == "threshold"
    assert warning.sentence == (
        "a threshold for 2 % false accusations takes 50 held-out photographs, there are 49: it was set above all of "
        'them, and as many as 6.1 % (3 / 49) of other photographs may be called "ai".'
    )
    (warning,) = warn_of_results(results(hits=1, n=50), 0.02)
    assert warning.name == "false_positive_rate"
    assert warn_of_results(results(hits=4, n=200), 0.02) == []
    assert names(warn_of_results(results(hits=2, n=200), 0.001)) == ["threshold"]


@pytest.mark.parametrize(("hits", "n", "words"), [(1, 50, ("is", "it")), (3, 120, ("are", "them"))])
def test_the_share_of_false_accusations_has_wilsons_interval(hits, n, words):
    interval = binomtest(hits, n).proportion_ci(method="wilson")
    assert accused(rate(hits, n)) == (
        f'{hits} of {n} held-out photographs {words[0]} called "ai" by thresholds chosen without {words[1]}: the true '
        f"share lies between {100 * interval.low:.1f} % and {100 * interval.high:.1f} % (95 %), for photographs like "
        "these"
    )


def test_none_of_n_is_the_rule_of_three():
    """The share p at which none of n is seen in one case of twenty: (1 - p) ** n = 0.05."""
    assert accused(rate(0, 100)).endswith("the true share may still be 3.0 % (3 / 100)")
    share = 1 - 0.05 ** (1 / 100)
    assert share == pytest.approx(0.03, abs=0.001)
    assert accused(rate(0, 2)).endswith("100.0 % (3 / 2)")
