"""The rows of the table in docs/decisions/0020-new-starter.md."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import replace
from typing import Final

from benchmarks.starter_cv import Design, Part

LAYERS: Final = (3, 5, 7, 9)
TOKENS: Final = ("cls", "mean", "std")
WHOLE: Final = ("ws",)
QUARTERS: Final = ("m1", "m4")
NATIVE: Final = ("c0",)


def _parts(
    *views: tuple[str, ...], layers: tuple[int, ...] = LAYERS, statistics: tuple[str, ...] = TOKENS
) -> tuple[Part, ...]:
    return tuple(Part(of, layers, statistics) for of in views)


ALL: Final = (WHOLE, QUARTERS, NATIVE)
BASE: Final = Design("whole, quarters, native; layers 3 5 7 9; logistic, 0.003", _parts(*ALL), "logistic", 0.003)


def designs(deliveries: int) -> Iterator[Design]:
    """Yield every design of the table.

    Args:
        deliveries: How many of each picture the store holds; with more than one, training on them is tried.
    """
    yield BASE
    views = {
        "whole": (WHOLE,),
        "two quarters": (QUARTERS,),
        "native centre": (NATIVE,),
        "whole, native": (WHOLE, NATIVE),
        "whole, quarters": (WHOLE, QUARTERS),
        "all averaged": ((*WHOLE, *QUARTERS, *NATIVE),),
    }
    for name, chosen in views.items():
        yield replace(BASE, name=f"views: {name}", parts=_parts(*chosen))
    for head, strength in (("logistic", 0.0003), ("logistic", 0.03), ("svm", 3), ("wide svm", 10), ("whitened", 0.003)):
        yield replace(BASE, name=f"head: {head}, {strength:g}", head=head, strength=strength)
    for layers in ((3,), (5,), (7,), (9,), (6, 9), (5, 7, 9), (2, 4, 6, 8)):
        yield replace(BASE, name=f"layers: {' '.join(map(str, layers))}", parts=_parts(*ALL, layers=layers))
    for statistics in (("cls",), ("mean",), ("std",), ("diff",), ("mean", "std"), (*TOKENS, "diff")):
        yield replace(BASE, name=f"tokens: {' '.join(statistics)}", parts=_parts(*ALL, statistics=statistics))
    cls = replace(BASE, parts=_parts(*ALL, statistics=("cls",)))
    for head, strength in (("svm", 3), ("wide svm", 10), ("mlp", 10)):
        yield replace(cls, name=f"tokens: cls; head: {head}, {strength:g}", head=head, strength=strength)
    for balance in (0.5, 1):
        yield replace(BASE, name=f"balance: 1 / n^{balance:g}", balance=balance)
    for number in range(deliveries):
        copies = tuple(range(number + 1))
        yield replace(BASE, name=f"whole view, deliveries: {number + 1}", parts=_parts(WHOLE), deliveries=copies)
