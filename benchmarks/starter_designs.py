"""The rows of the table in docs/decisions/experiments.md, "Designs of a new starter"."""

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
    two = replace(BASE, parts=_parts(WHOLE, NATIVE, layers=(5, 7, 9)))
    for head, strength in (("logistic", 0.003), ("wide svm", 10)):
        yield replace(two, name=f"two views, layers 5 7 9: {head}", head=head, strength=strength)
    for layers in ((9,), (7, 8, 9)):
        name = f"two views, layers {' '.join(map(str, layers))}: logistic"
        yield replace(two, name=name, parts=_parts(WHOLE, NATIVE, layers=layers))
    yield replace(
        two,
        name="two views, mean std: logistic",
        parts=_parts(WHOLE, NATIVE, layers=(5, 7, 9), statistics=("mean", "std")),
    )
    spectral = replace(two, parts=tuple(replace(part, of_pixels=("spectrum",)) for part in two.parts))
    yield replace(spectral, name="two views, block spectra: logistic")
    yield replace(spectral, name="two views, block spectra: wide svm", head="wide svm", strength=10)
    for balance in (0.25, 0.5):
        yield replace(spectral, name=f"two views, block spectra, balance: 1 / n^{balance:g}", balance=balance)
    alone = tuple(replace(part, layers=(), of_pixels=("spectrum",)) for part in two.parts)
    yield replace(two, name="block spectra of two views alone: logistic", parts=alone, strength=0.03)
    for share in (0.125, 0.25, 0.5):
        yield replace(spectral, name=f"two views, block spectra, pictures: {share:g} of all", share=share)
    textured = replace(two, parts=tuple(replace(part, of_pixels=("spectrum", "texture")) for part in two.parts))
    yield replace(textured, name="two views, block spectra, texture: logistic")
    yield replace(textured, name="two views, block spectra, texture: wide svm", head="wide svm", strength=10)
    for balance in (0.25, 0.5):
        name = f"two views, block spectra, texture, balance: 1 / n^{balance:g}"
        yield replace(textured, name=name, balance=balance)
    alone = tuple(replace(part, layers=()) for part in textured.parts)
    yield replace(two, name="block spectra and texture of two views alone: logistic", parts=alone)
    whole = replace(BASE, parts=_parts(WHOLE, layers=(5, 7, 9)), copied=deliveries - 1)
    for number in range(deliveries if deliveries > 1 else 0):
        name = f"whole view, pictures with {deliveries} deliveries: {number + 1} of them"
        yield replace(whole, name=name, deliveries=tuple(range(number + 1)))
