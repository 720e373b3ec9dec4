"""The rows of the table in docs/decisions/0020-new-starter.md."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import replace
from typing import Final

from benchmarks.starter_cv import Design, Part

LAYERS: Final = (3, 5, 7, 9)
WHOLE: Final = ("ws",)
QUARTERS: Final = ("m1", "m4")
NATIVE: Final = ("c0",)


def _parts(
    *views: tuple[str, ...], layers: tuple[int, ...] = LAYERS, statistics: tuple[str, ...] = ()
) -> tuple[Part, ...]:
    return tuple(Part(of, layers, statistics or ("cls", "mean", "std")) for of in views)


BASE: Final = Design("three views, layers 3 5 7 9, logistic", _parts(WHOLE, QUARTERS, NATIVE), "logistic", 0.003)


def designs(deliveries: int) -> Iterator[Design]:
    """Yield every design that was tried; those of several deliveries where the store has them."""
    yield BASE
    views = {
        "whole": (WHOLE,),
        "two quarters": (QUARTERS,),
        "native centre": (NATIVE,),
        "whole, native": (WHOLE, NATIVE),
        "whole, quarters": (WHOLE, QUARTERS),
        "quarters, native": (QUARTERS, NATIVE),
        "whole and quarters averaged, native": ((*WHOLE, *QUARTERS), NATIVE),
        "all four views averaged": ((*WHOLE, *QUARTERS, *NATIVE),),
    }
    for name, chosen in views.items():
        yield replace(BASE, name=f"views: {name}", parts=_parts(*chosen))
    for layers in ((3,), (5,), (7,), (9,), (3, 6, 9), (5, 7, 9), (6, 9), (2, 4, 6, 8), (2, 3, 4, 5, 6, 7, 8, 9)):
        name = "layers: " + " ".join(map(str, layers))
        yield replace(BASE, name=name, parts=_parts(WHOLE, QUARTERS, NATIVE, layers=layers))
    for statistics in (
        ("cls",),
        ("mean",),
        ("std",),
        ("diff",),
        ("cls", "std"),
        ("mean", "std"),
        ("cls", "mean", "std", "diff"),
    ):
        name = "tokens: " + " ".join(statistics)
        yield replace(BASE, name=name, parts=_parts(WHOLE, QUARTERS, NATIVE, statistics=statistics))
    for head, strength in (
        ("logistic", 0.0003),
        ("logistic", 0.03),
        ("svm", 3),
        ("wide svm", 10),
        ("whitened", 0.003),
        ("mlp", 10),
    ):
        yield replace(BASE, name=f"head: {head}, {strength:g}", head=head, strength=strength)
        only_cls = _parts(WHOLE, QUARTERS, NATIVE, statistics=("cls",))
        yield replace(
            BASE, name=f"head: {head}, {strength:g}, [CLS] only", parts=only_cls, head=head, strength=strength
        )
    for balance in (0.5, 1):
        yield replace(BASE, name=f"balance: 1 / n^{balance:g}", balance=balance)
    for number in range(1, deliveries):
        copies = tuple(range(number + 1))
        yield replace(BASE, name=f"deliveries: {number + 1}", deliveries=copies)
