"""What a user must know before trusting a fitted model: rules, each with its number, turned into sentences."""

from __future__ import annotations

from collections.abc import Sequence

from cinemae.fit.config import FEW_IMAGES, STRONG_BIAS
from cinemae.fit.split import ClassSplit, images_needed
from cinemae.models.results import FitWarning, TrainingResults
from cinemae.sources.one_class import CLASS
from cinemae.statistics.estimate import Estimate
from cinemae.statistics.figures import GeneratorFigures
from cinemae.statistics.format_probe import ALARM

_GROUP = ("source", "generator")


def warn_of_data(
    splits: Sequence[ClassSplit], num_duplicates: int, num_overlap: int, num_unread: int
) -> list[FitWarning]:
    """Return what there is to say of the images before anything was trained.

    Args:
        splits: Of photographs and of generated images.
        num_duplicates: Files left out as their content came before in the same class.
        num_overlap: Training images left out as they are measured on.
        num_unread: Files that could not be read.
    """
    found = []
    for split in splits:
        few = "few_photographs" if split.label == 0 else "few_generated"
        if split.num_train < FEW_IMAGES:
            found.append(
                FitWarning(
                    few,
                    f"{split.num_train} {CLASS[split.label]} to train on are few (fewer than {FEW_IMAGES}): "
                    "others of the same kind may well give another model.",
                )
            )
    found += [_one_group(split) for split in splits if len({*split.groups, *split.held_out}) == 1]
    known = [_GROUP[split.label] for split in splits if set(split.groups) & set(split.held_out)]
    if known:
        found.append(
            FitWarning(
                "seen_groups",
                f"training knew every {' and every '.join(known)} that is measured on, and near-duplicates (bursts, "
                "copies saved again) may be on both sides: expect less on others.",
            )
        )
    for name, number, text in (
        ("unread", num_unread, "files left out as they could not be read"),
        (
            "duplicates",
            num_duplicates,
            "files left out as another of their class has the same content",
        ),
        ("overlap", num_overlap, "training images left out as they are measured on"),
    ):
        if number:
            found.append(FitWarning(name, f"{text}: {number}."))
    return found


def warn_of_format(probe: Estimate | None) -> list[FitWarning]:
    """Return what there is to say of a format probe's balanced accuracy."""
    if probe is None or probe.value <= ALARM:
        return []
    serious = probe.value > STRONG_BIAS
    return [
        FitWarning(
            "format_bias",
            "container, size and JPEG quality alone, pixels unseen, tell your classes apart with a balanced accuracy "
            f"of {100 * probe.value:.0f} % (chance: 50 %): the model may have learnt how the files were saved, not how "
            f"the pictures were made{', and its figures mean little' if serious else ''}. Run cinemae data align, then "
            "fit again.",
            serious,
        )
    ]


def warn_of_results(results: TrainingResults, target_fpr: float) -> list[FitWarning]:
    """Return what there is to say of the figures on held-out images.

    Args:
        results: As `cinemae.training.train.train` gives them.
        target_fpr: Share of photographs that the threshold was to accuse at most.
    """
    if no_better_than_chance(results):
        auc = results.auc
        return [
            FitWarning(
                "chance",
                f"on held-out images the model cannot be told from guessing: AUC {auc.value:.3f}, 95 % interval "
                f'{auc.low:.3f} to {auc.high:.3f}, where 0.5 is chance. Every verdict is set to "uncertain". '
                "More, and more varied, images may help.",
                serious=True,
            )
        ]
    return [*_missed_generators(results.per_generator), *_unsure_rate(results, target_fpr)]


def no_better_than_chance(results: TrainingResults) -> bool:
    """Tell whether the 95 % interval of the AUC reaches down to 0.5."""
    return results.auc.low <= 0.5


def accused(rate: Estimate) -> str:
    """Say of how many held-out photographs the verdict was false, and how large the true share may be.

    By Wilson's interval; where it was none, by the rule of three: with n images the share is below 3 / n with 95 %
    confidence.

    Args:
        rate: Of photographs that are called "ai".

    Example:
        >>> accused(Estimate(0.0, 0.0, 0.06, 60))
        'none of 60 held-out photographs is called "ai" by thresholds chosen without it: the true share may still be \
5.0 % (3 / 60)'
    """
    hits, n = round(rate.value * rate.n), rate.n
    if not hits:
        return (
            f'none of {n} held-out photographs is called "ai" by thresholds chosen without it: the true share may '
            f"still be {_three_in(n)}"
        )
    return (
        f'{hits} of {n} held-out photographs {"is" if hits == 1 else "are"} called "ai" by thresholds chosen without '
        f"{'it' if hits == 1 else 'them'}: the true share lies between {100 * rate.low:.1f} % and "
        f"{100 * rate.high:.1f} % (95 %), for photographs like these"
    )


def _three_in(n: int) -> str:
    """Return the upper end of the share by the rule of three.

    It holds as well for a threshold that was set above all of n photographs: more than a share p of others lies above
    it with probability (1 - p) ** n, which is 0.05 for p = 3 / n.
    """
    return f"{100 * min(1.0, 3 / n):.1f} % (3 / {n})"


def _one_group(split: ClassSplit) -> FitWarning:
    name = (*split.groups, *split.held_out)[0]
    learnt = "taken with this camera, or saved by this site" if split.label == 0 else "made by this one generator"
    return FitWarning(
        "one_source" if split.label == 0 else "one_generator",
        f"all {CLASS[split.label]} come as one {_GROUP[split.label]} ({name}): nobody can tell whether the model "
        f'learnt "{CLASS[split.label]}" or "{learnt}". Put those of different {_GROUP[split.label]}s in a sub-folder '
        "each.",
    )


def _missed_generators(rows: Sequence[GeneratorFigures]) -> list[FitWarning]:
    missed = [f"{row.generator} (AUC {row.auc.value:.2f})" for row in rows if row.auc.low <= 0.5]
    if not missed:
        return []
    return [
        FitWarning(
            "missed_generator",
            "generators that the model may not tell from photographs at all (the 95 % interval of the AUC reaches down "
            f"to 0.5): {', '.join(missed)}.",
        )
    ]


def _unsure_rate(results: TrainingResults, target_fpr: float) -> list[FitWarning]:
    if results.calibration is None:
        return []
    rate, needed = results.calibration.rates.photographs_called_ai, images_needed(target_fpr)
    if rate.n >= needed:
        return [FitWarning("false_positive_rate", f"{accused(rate)}.")] if rate.n < FEW_IMAGES else []
    return [
        FitWarning(
            "threshold",
            f"a threshold for {100 * target_fpr:g} % false accusations takes {needed} held-out photographs, there are "
            f"{rate.n}: it was set above all of them, and as many as {_three_in(rate.n)} of other photographs "
            'may be called "ai".',
        )
    ]
