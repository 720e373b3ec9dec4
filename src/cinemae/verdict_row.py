"""A verdict as plain JSON types: what the command line writes, results keep, the service answers and its client gives.

`cinemae.detect.verdict.Verdict` says what each key means, and writes these.
"""

from __future__ import annotations

from typing import NotRequired, TypedDict


class SignalRow(TypedDict):
    """One thing that a file says of its origin: see `cinemae.evidence.signals.ProvenanceSignal`."""

    source: str
    name: str
    value: str
    says: str
    verified: bool | None
    sentence: str


class ExaminedRow(TypedDict):
    """What of a picture was looked at: see `cinemae.core.preprocess.Examined`."""

    share: float
    side: int
    native: float


class VerdictRow(TypedDict):
    """One image; `error_message` is there where it could not be read, and most of the others are None then."""

    path: str | None
    status: str
    verdict: str | None
    prob_fake: float | None
    logit: float | None
    threshold: float | None
    false_positive_rate: float | None
    reasons: list[str] | None
    variability: float | None
    overall: float | None
    sensitivity: float | None
    ood_score: float | None
    warnings: list[str] | None
    redeliveries: dict[str, float] | None
    provenance: list[SignalRow] | None
    width: int | None
    height: int | None
    format: str | None
    content_hash: str | None
    model: str | None
    examined: ExaminedRow | None
    reason_kinds: list[str] | None
    schema_version: int
    error_message: NotRequired[str | None]
