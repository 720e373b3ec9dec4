"""The words that people read: of the three verdicts, of shares in percent, and of the other deliveries of a picture.

Machines read `Word`, which stays as it is; every surface writes `WORDS`.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from types import MappingProxyType
from typing import Literal

from cinemae.config import BY_HAND, DecisionConfig

Word = Literal["ai", "uncertain", "real"]

WORDS: Mapping[Word, str] = MappingProxyType({"ai": "AI-generated", "uncertain": "uncertain", "real": "photograph"})
"""What a verdict is called wherever people read it."""

CALLED: Mapping[Word, str] = MappingProxyType(
    {"ai": "called AI-generated", "uncertain": "uncertain", "real": "called a photograph"}
)
"""The same within a sentence, after "is" or "are"."""

_MOST_DECIMALS = 4


def word_for(prob_fake: float, decision: DecisionConfig) -> Word:
    """Return the verdict that a probability alone gets.

    Example:
        >>> [word_for(prob, DecisionConfig(threshold=0.8, real_below=0.3)) for prob in (0.2, 0.3, 0.8)]
        ['real', 'uncertain', 'ai']
    """
    if prob_fake >= decision.threshold:
        return "ai"
    return "real" if prob_fake < decision.real_below else "uncertain"


def flipped(word: Word, redeliveries: Mapping[str, float], decision: DecisionConfig) -> dict[str, Word]:
    """Return the re-deliveries, by name, that get another verdict than "ai" or "real" of the picture itself.

    Nothing flips from "uncertain": it claims nothing.

    Example:
        >>> flipped("ai", {"jpeg=85": 0.9, "mirror": 0.4}, DecisionConfig(threshold=0.5))
        {'mirror': 'real'}
    """
    if word == "uncertain":
        return {}
    words = {name: word_for(prob_fake, decision) for name, prob_fake in redeliveries.items()}
    return {name: other for name, other in words.items() if other != word}


def limits_in_words(decision: DecisionConfig) -> str:
    """Say how the thresholds were set, and how often they err on images that they were not chosen by.

    Example:
        >>> limits_in_words(DecisionConfig(target_fpr=0.02, target_fnr=0.1, measured_fpr=0.036, measured_fnr=0.1))[-80:]
        'On the images that the model was checked on it was 3.6 % and 10 %, respectively.'
        >>> limits_in_words(DecisionConfig(threshold=0.9, real_below=0.3, rule=BY_HAND, target_fnr=0.1))
        'The limit of 90 % was set by hand: how often it errs was not measured.'
    """
    if decision.rule == BY_HAND:
        high = percent(decision.threshold, decimals=decimals_for((decision.real_below, decision.threshold)))
        return f"The limit of {high} was set by hand: how often it errs was not measured."
    if decision.target_fpr is None or decision.target_fnr is None:
        return f"How these limits were set: {decision.rule}."
    aim = (
        f"These limits were set to call at most {100 * decision.target_fpr:g} % of photographs AI-generated, and at "
        f"most {100 * decision.target_fnr:g} % of AI-generated images photographs."
    )
    if decision.measured_fpr is None or decision.measured_fnr is None:
        return aim
    found = " and ".join(error_rate(share) for share in (decision.measured_fpr, decision.measured_fnr))
    return f"{aim} On the images that the model was checked on it was {found}, respectively."


def error_rate(share: float) -> str:
    """Return a share that is often small: with a decimal below ten percent.

    Example:
        >>> error_rate(0.0364), error_rate(0.1003)
        ('3.6 %', '10 %')
    """
    return percent(share, decimals=int(share < 0.0995))


def percent(share: float, *, decimals: int = 0) -> str:
    """Return a share as people read it; never 0 or 100 %, which would claim certainty.

    Example:
        >>> percent(0.217), percent(0.019, decimals=1), percent(0.0001), percent(1.0)
        ('22 %', '1.9 %', 'less than 1 %', 'more than 99 %')
    """
    if share < 0.005 / 10**decimals:
        return f"less than {10**-decimals:.{decimals}f} %"
    if share >= 1 - 0.005 / 10**decimals:
        return f"more than {100 - 10**-decimals:.{decimals}f} %"
    return f"{100 * share:.{decimals}f} %"


def decimals_for(shares: Iterable[float]) -> int:
    """Return how many decimals of a percentage keep shares apart that differ: none where rounding contradicts nothing.

    Example:
        >>> decimals_for([0.91, 0.8313]), decimals_for([0.826, 0.8313])
        (0, 1)
    """
    apart = sorted(set(shares))
    for decimals in range(_MOST_DECIMALS):
        if len({f"{100 * share:.{decimals}f}" for share in apart}) == len(apart):
            return decimals
    return _MOST_DECIMALS
