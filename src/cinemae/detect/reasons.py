"""Why an image got its verdict, in sentences for people: the command line, the page and the report say the same.

Each sentence has a kind, and each kind belongs to one group, so that a page can put them under headings. The kinds are
for programs and stay; the sentences may be worded anew.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from types import MappingProxyType
from typing import TYPE_CHECKING, Literal, Self

from cinemae.config import BY_HAND, DecisionConfig
from cinemae.detect.words import CALLED, Word, decimals_for, error_rate, flipped, percent, word_for
from cinemae.evidence.image_warnings import explain
from cinemae.evidence.provenance import summarise
from cinemae.evidence.redelivery import in_words
from cinemae.models.checked_scores import CheckedScores

if TYPE_CHECKING:
    from collections.abc import Sequence

    from cinemae.detect.verdict import Verdict
    from cinemae.evidence.signals import ProvenanceSignal

ReasonKind = Literal[
    "conflict",
    "score",
    "comparison",
    "deliveries_agree",
    "examined_all",
    "declared",
    "deliveries_differ",
    "risk",
    "examined_part",
    "warning",
]
CONFLICT = "Conflict"
"""First word of the reason that comes before all others where the file declares the contrary of the verdict."""

ReasonGroup = Literal["conflict", "why", "file", "doubt"]

GROUPS: Mapping[ReasonKind, ReasonGroup] = MappingProxyType(
    {
        "conflict": "conflict",
        "score": "why",
        "comparison": "why",
        "deliveries_agree": "why",
        "examined_all": "why",
        "declared": "file",
        "deliveries_differ": "doubt",
        "risk": "doubt",
        "examined_part": "doubt",
        "warning": "doubt",
    }
)
"""Under which heading a kind belongs, in the order in which sentences come: the file contradicts the verdict; why this
verdict; what the file says of itself, which is no part of the score; what makes it less sure."""


@dataclass(frozen=True)
class Reason:
    """One sentence.

    Attributes:
        kind: What it is about, for programs.
        sentence: For people, with its full stop.
    """

    kind: ReasonKind
    sentence: str

    @property
    def group(self) -> ReasonGroup:
        """Under which heading it belongs."""
        return GROUPS[self.kind]


@dataclass(frozen=True)
class Reasons:
    """Why an image got its verdict, and what speaks against relying on it, in the order of `GROUPS`."""

    items: tuple[Reason, ...] = ()

    @classmethod
    def of(cls, verdict: Verdict) -> Self:
        """Return those of a verdict; of one that was kept before kinds were, the conflict and the others."""
        if verdict.reason_kinds:
            return cls(tuple(map(Reason, verdict.reason_kinds, verdict.reasons)))
        first = verdict.conflict
        return cls(tuple(Reason("conflict" if said == first else "score", said) for said in verdict.reasons))

    @property
    def kinds(self) -> tuple[ReasonKind, ...]:
        """What each is about."""
        return tuple(reason.kind for reason in self.items)

    @property
    def sentences(self) -> tuple[str, ...]:
        """What people read."""
        return tuple(reason.sentence for reason in self.items)

    def under(self, group: ReasonGroup) -> tuple[str, ...]:
        """Return the sentences of one group."""
        return tuple(reason.sentence for reason in self.items if reason.group == group)


def reasons_for(scored: Verdict, decision: DecisionConfig, checked: CheckedScores | None = None) -> Reasons:
    """Say why an image got its verdict, and what speaks against relying on it.

    Args:
        scored: With scores and all evidence; its word and reasons are not looked at.
        decision: The thresholds.
        checked: What the model gave the images that it was checked on; without it no sentence compares the score.
    """
    found = sorted(_sentences(scored, decision, checked), key=lambda reason: list(GROUPS).index(reason.kind))
    return Reasons(tuple(found))


def conflict_of(word: Word, provenance: Sequence[ProvenanceSignal]) -> str | None:
    """Say it loudly where the file declares the contrary of the verdict; the score stays what it is.

    Args:
        word: The verdict.
        provenance: What the file says. That it was generated is believed of anybody; that it was taken with a camera,
            of Content Credentials whose signer is vouched for.

    Returns:
        A sentence that begins with `CONFLICT`; None where nothing contradicts.
    """
    if word == "real":
        against = next((signal for signal in provenance if signal.says == "generated"), None)
    elif word == "ai":
        against = next((signal for signal in provenance if signal.says == "camera" and signal.verified), None)
    else:
        return None
    verdict = {"real": "a photograph", "ai": "AI-generated"}[word]
    return None if against is None else f"{CONFLICT}: by its score it is {verdict}, yet {against.sentence}."


def _sentences(scored: Verdict, decision: DecisionConfig, checked: CheckedScores | None) -> Iterator[Reason]:
    prob_fake, redeliveries = scored.prob_fake or 0.0, scored.redeliveries or {}
    word = word_for(prob_fake, decision)
    flips = flipped(word, redeliveries, decision)
    if conflict := conflict_of("uncertain" if flips else word, scored.provenance):
        yield Reason("conflict", conflict)
    yield Reason("score", _score(prob_fake, word, decision))
    if checked is not None and scored.logit is not None:
        yield Reason("comparison", _comparison(scored.logit, word, checked))
    if redeliveries:
        yield _deliveries(word, redeliveries, decision)
    if not flips and (risk := _risk(word, decision, checked)):
        yield Reason("risk", risk)
    if scored.examined is not None:
        kind: ReasonKind = "examined_part" if scored.examined.share < 0.995 else "examined_all"
        yield Reason(kind, scored.examined.sentence)
    if said := summarise(scored.provenance):
        yield Reason("declared", f"{said[0].upper()}{said[1:]}.")
    for sentence in explain(scored.warnings):
        yield Reason("warning", sentence)


def _score(prob_fake: float, word: Word, decision: DecisionConfig) -> str:
    values = (prob_fake, decision.real_below, decision.threshold)
    decimals = decimals_for(values)
    prob, low, high = (percent(value, decimals=decimals) for value in values)
    limits = {
        "ai": f"from {high} on, an image is called AI-generated",
        "real": f"below {low}, an image is called a photograph",
        "uncertain": f"from {low} to {high}, the model cannot tell",
    }
    return f"The probability of being AI-generated is {prob}: {limits[word]}."


def _comparison(logit: float, word: Word, checked: CheckedScores) -> str:
    higher = f"higher than that of {percent(checked.photographs_below(logit))} of the {checked.n_real:,} photographs"
    lower = (
        f"lower than that of {percent(checked.generated_above(logit))} of the {checked.n_fake:,} AI-generated images"
    )
    said = {"ai": higher, "real": lower, "uncertain": f"{higher} and {lower}"}[word]
    return f"The score is {said} that the model was checked on."


def _risk(word: Word, decision: DecisionConfig, checked: CheckedScores | None) -> str | None:
    """Return the risk that belongs to this verdict; None where nobody measured it.

    A threshold set by hand leaves unknown how often images reach it, and for how many the model cannot tell.
    """
    if decision.rule == BY_HAND and not (word == "real" and decision.measured_fnr is not None):
        said = "How often this verdict is wrong was not measured: the threshold was set by hand."
        return None if word == "uncertain" else said
    checked_on = "the images that the model was checked on"
    if word == "uncertain":
        share = None if checked is None else checked.uncertain
        said = f"The model could not tell for {{}} of {checked_on}."
    elif word == "ai":
        share = decision.measured_fpr
        said = f"Among {checked_on}, {{}} of the photographs were called AI-generated by mistake."
    else:
        share = decision.measured_fnr
        said = f"Among {checked_on}, {{}} of the AI-generated ones were called photographs by mistake."
    return None if share is None else said.format(error_rate(share))


def _deliveries(word: Word, redeliveries: Mapping[str, float], decision: DecisionConfig) -> Reason:
    words = {name: word_for(prob_fake, decision) for name, prob_fake in redeliveries.items()}
    others: dict[Word, list[str]] = {}
    for name, other in words.items():
        if other != word:
            others.setdefault(other, []).append(name)
    if others:
        found = "; ".join(f"{in_words(names)}, it is {CALLED[other]}" for other, names in others.items())
        return Reason("deliveries_differ", f"As it is, the picture is {CALLED[word]}; {found}.")
    low, high = min(redeliveries.values()), max(redeliveries.values())
    decimals = decimals_for((low, high, decision.real_below, decision.threshold))
    limits = dict.fromkeys(percent(value, decimals=min(1, decimals)) for value in (low, high))
    return Reason(
        "deliveries_agree",
        f"Also scored {in_words(redeliveries)}, the picture gets the same verdict ({' to '.join(limits)}).",
    )
