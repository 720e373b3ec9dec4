"""Records → the table that a release prints: who is accused, by category, worst first, before and now."""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import numpy as np

from benchmarks.false_positives.pictures import Manifest
from benchmarks.false_positives.record import Judged, Record
from cinemae.statistics.estimate import Estimate
from cinemae.statistics.metrics import rate

ALL = "all pictures"
_MOVED = 0.1  # prob_fake; smaller moves without another verdict are not named
_NAMED = 15


@dataclass(frozen=True)
class Row:
    """One category.

    Attributes:
        category: Its name.
        num_originals: Different pictures that its own were made from; the intervals know nothing of that.
        accused: Share called "ai" now.
        unsure: Share called "uncertain" now.
        accused_before: The same before, of the pictures that both records hold; None if there are none.
        unsure_before: Likewise.
        change: Mean change of prob_fake over the pictures that both hold.
    """

    category: str
    num_originals: int
    accused: Estimate
    unsure: Estimate
    accused_before: Estimate | None = None
    unsure_before: Estimate | None = None
    change: float | None = None


def tabulate(after: Record, before: Record | None, manifest: Manifest) -> list[Row]:
    """Return a row a category, the most accused first, and one of all pictures at the end."""
    known = {} if before is None else before.pictures
    origins = _origins(manifest)
    categories: dict[str, list[str]] = {}
    for key in after.pictures:
        categories.setdefault(key.partition("/")[0], []).append(key)
    rows = [_row(name, keys, after.pictures, known, origins) for name, keys in categories.items()]
    rows.sort(key=lambda row: (-row.accused.value, -row.unsure.value, row.category))
    return [*rows, _row(ALL, list(after.pictures), after.pictures, known, origins)]


def _origins(manifest: Manifest) -> dict[str, str]:
    """Return of each picture what it was made from; a drawing is its own original."""
    return {one.key: one.key if one.source is None else one.source.name for one in manifest.pictures}


def _row(
    category: str,
    keys: Sequence[str],
    after: Mapping[str, Judged],
    before: Mapping[str, Judged],
    origins: Mapping[str, str],
) -> Row:
    num_originals = len({origins.get(key, key) for key in keys})
    accused, unsure = _share(after, keys, "ai"), _share(after, keys, "uncertain")
    both = [key for key in keys if key in before]
    if not both:
        return Row(category, num_originals, accused, unsure)
    change = sum(after[key].prob_fake - before[key].prob_fake for key in both) / len(both)
    shares = _share(before, both, "ai"), _share(before, both, "uncertain")
    return Row(category, num_originals, accused, unsure, *shares, change)


def clustered_interval(
    hits: Mapping[str, int], totals: Mapping[str, int], *, seed: int = 0, resamples: int = 2000
) -> tuple[float, float]:
    """Return the 95 % interval of a share when whole originals are drawn anew, with all that was made of them.

    Pictures of one original are alike, so the interval over pictures is too narrow.

    Args:
        hits: Pictures that count, by original.
        totals: All pictures, by original.
        seed: Of the resampling.
        resamples: How many.

    Example:
        >>> clustered_interval({"a": 10, "b": 0}, {"a": 10, "b": 10})
        (0.0, 1.0)
    """
    names = sorted(totals)
    counts = np.array([[hits.get(name, 0), totals[name]] for name in names], np.float64)
    drawn = np.random.default_rng(seed).integers(len(names), size=(resamples, len(names)))
    sums = counts[drawn].sum(axis=1)
    low, high = np.quantile(sums[:, 0] / sums[:, 1], (0.025, 0.975))
    return float(low), float(high)


def _share(judged: Mapping[str, Judged], keys: Sequence[str], verdict: str) -> Estimate:
    return rate(sum(judged[key].verdict == verdict for key in keys), len(keys))


def to_markdown(after: Record, before: Record | None, manifest: Manifest) -> str:
    """Return the table, what changed, and who is accused, as Markdown; a terminal can show it too."""
    parts = [f"Now: {_describe(after)}"]
    if before is not None:
        parts = [f"Before: {_describe(before)}", *parts, *_remarks(after, before)]
    parts.append(_table(tabulate(after, before, manifest), with_before=before is not None))
    if before is not None:
        parts.append(_moves(after, before))
    return "\n\n".join([*parts, *_accused(after, manifest)])


def _describe(record: Record) -> str:
    return (
        f'cinemae {record.cinemae} at commit {record.commit or "unknown"}, model {record.model}, "ai" from '
        f'{record.threshold:.4g}, "real" below {record.real_below:.4g} ({record.rule}); measured {record.when[:10]}.'
    )


def _remarks(after: Record, before: Record) -> list[str]:
    """Say where the two did not look at the same pictures."""
    both = set(after.pictures) & set(before.pictures)
    new, gone = len(after.pictures) - len(both), len(before.pictures) - len(both)
    other = sum(after.pictures[key].sha256 != before.pictures[key].sha256 for key in both)
    remarks = []
    if new or gone:
        remarks.append(f"{new} pictures are new, {gone} are gone: before and change are of those in both.")
    if other:
        packages = [
            f"{name} {old} → {after.versions.get(name)}"
            for name, old in before.versions.items()
            if after.versions.get(name) != old
        ]
        remarks.append(
            f"{other} pictures have other bytes than before ({', '.join(packages) or 'recipes or machine differ'}): "
            "a part of the change may be theirs."
        )
    return remarks


def _table(rows: Sequence[Row], *, with_before: bool) -> str:
    if not with_before:
        lines = ['| category | pictures | originals | called "ai" | "uncertain" |', "|---|---:|---:|---|---|"]
        return "\n".join([*lines, *(_cells(row) for row in rows)])
    lines = [
        '| category | pictures | originals | called "ai" before | now | "uncertain" before | now | mean change of '
        "`prob_fake` |",
        "|---|---:|---:|---|---|---|---|---:|",
    ]
    for row in rows:
        shares = (row.accused_before, row.accused, row.unsure_before, row.unsure)
        change = "new" if row.change is None else f"{row.change:+.3f}"
        cells = (row.category, str(row.accused.n), str(row.num_originals), *map(_show, shares), change)
        lines.append(f"| {' | '.join(cells)} |")
    return "\n".join(lines)


def _cells(row: Row) -> str:
    cells = (row.category, str(row.accused.n), str(row.num_originals), _show(row.accused), _show(row.unsure))
    return f"| {' | '.join(cells)} |"


def _show(share: Estimate | None) -> str:
    """Return a count of pictures and its share with the interval, in per cent."""
    if share is None:
        return "-"
    hits = round(share.value * share.n)
    return f"{hits} ({100 * share.value:.0f} % [{100 * share.low:.0f}, {100 * share.high:.0f}])"


def _moves(after: Record, before: Record) -> str:
    """Return which verdicts are others now, and which probabilities moved most."""
    both = [key for key in after.pictures if key in before.pictures]

    def change(key: str) -> float:
        return after.pictures[key].prob_fake - before.pictures[key].prob_fake

    turned = [key for key in both if after.pictures[key].verdict != before.pictures[key].verdict]
    moved = [key for key in both if key not in turned and abs(change(key)) >= _MOVED]
    named = sorted(turned, key=change, reverse=True) + sorted(moved, key=change, reverse=True)[:_NAMED]
    if not named:
        return f"No verdict is another, and no `prob_fake` moved by {_MOVED:g} or more."
    lines = ["| picture | before | now | change |", "|---|---|---|---:|"]
    for key in named:
        cells = (f"{one.verdict} {one.prob_fake:.3f}" for one in (before.pictures[key], after.pictures[key]))
        lines.append(f"| {key} | {' | '.join(cells)} | {change(key):+.3f} |")
    return "\n".join([f"Other verdicts: {len(turned)}. Moved by {_MOVED:g} or more: {len(moved)}.", "", *lines])


def _accused(record: Record, manifest: Manifest) -> list[str]:
    """Return who is called "ai", by picture and by original, and how sure the share is."""
    origins = _origins(manifest)
    totals = Counter(origins.get(key, key) for key in record.pictures)
    accused = {key: one for key, one in record.pictures.items() if one.verdict == "ai"}
    if not accused:
        return ['No picture is called "ai" now.']
    hits = Counter(origins.get(key, key) for key in accused)
    low, high = clustered_interval(hits, totals)
    of_each = ", ".join(f"{name} {count} of {totals[name]}" for name, count in hits.most_common())
    worst = sorted(accused, key=lambda key: -accused[key].prob_fake)
    named = []
    for key in worst:
        warnings = f" ({', '.join(accused[key].warnings)})" if accused[key].warnings else ""
        named.append(f"{key} {accused[key].prob_fake:.3f}{warnings}")
    return [
        f'By original, called "ai" now: {of_each}. The {len(totals)} originals drawn anew with all that was made of '
        f"them, the share of all pictures lies between {100 * low:.0f} % and {100 * high:.0f} %.",
        f"By picture, with `prob_fake` and the verdict's warnings: {'; '.join(named)}.",
    ]


def set_to_markdown(manifest: Manifest) -> str:
    """Return what the set holds: its categories, and the files it is made from with their licences."""
    lines = ["| category | pictures | what |", "|---|---:|---|"]
    for name, about in manifest.about.items():
        count = sum(picture.category == name for picture in manifest.pictures)
        lines.append(f"| {name} | {count} | {about} |")
    lines += ["", "| original | package | licence | pictures |", "|---|---|---|---:|"]
    for source in manifest.sources.values():
        count = sum(picture.source == source for picture in manifest.pictures)
        lines.append(f"| {source.name} | `{source.package}/{source.path}` | {source.licence} | {count} |")
    drawn = sum(picture.source is None for picture in manifest.pictures)
    return "\n".join([*lines, f"| none | | drawn by code | {drawn} |"])
