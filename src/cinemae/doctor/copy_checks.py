"""Checks between files: the same file, the same picture saved anew, look-alikes; across splits, classes, or neither."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Sequence
from typing import NamedTuple

from cinemae.doctor.file_rows import FileRow
from cinemae.doctor.findings import Finding, Severity, count_of, singles
from cinemae.doctor.near_duplicates import find_near


class _Wording(NamedTuple):
    """How one degree of sameness is spoken of."""

    check: str
    title: str
    what: str
    between_classes: Severity
    within: Severity
    classes_advice: str


_SPLIT_ADVICE = "Keep each such group in one split only: a detector is otherwise judged on what it was trained on."
_BY_DESIGN = (
    "Look at the pairs. Fakes that were made from these photographs (reconstructions, conversions, edits) are so by "
    "design: keep a pair in one split. Otherwise one label is wrong."
)
_SAME_FILE = _Wording(
    "file",
    "The same file",
    "file",
    "serious",
    "warning",
    "One of the two labels is wrong: find out which and delete the other file.",
)
_SAME_PICTURE = _Wording("copy", "The same picture saved anew", "picture", "serious", "warning", _BY_DESIGN)
_LOOK_ALIKE = _Wording("look_alike", "Look-alikes", "scene", "warning", "note", _BY_DESIGN)


def check_copies(rows: Sequence[FileRow], others: Sequence[FileRow] = ()) -> list[Finding]:
    """Find files, pictures and scenes that occur more than once.

    Args:
        rows: Of the data set.
        others: Of data sets that may share nothing with it; each has its own word for `split`.
    """
    everything = [row for row in (*rows, *others) if row.sha256 and row.num_bytes]
    ours = {id(row) for row in rows}
    by_digest: defaultdict[str, list[FileRow]] = defaultdict(list)
    for row in everything:
        by_digest[row.sha256 or ""].append(row)
    distinct = [group for group in by_digest.values() if group[0].print is not None]
    near = find_near([group[0].print or b"" for group in distinct])

    def files(groups: Sequence[Sequence[int]]) -> list[list[FileRow]]:
        return [[row for place in group for row in distinct[place]] for group in groups]

    found = []
    for wording, groups in (
        (_SAME_FILE, [group for group in by_digest.values() if len(group) > 1]),
        (_SAME_PICTURE, files(near.copies)),
        (_LOOK_ALIKE, files(near.look_alikes)),
    ):
        found += _findings(wording, [group for group in groups if any(id(row) in ours for row in group)], ours)
    flat = [row.name for row in rows if row.status == "ok" and row.print is None]
    if flat:
        found.append(
            Finding(
                "flat",
                "note",
                "Pictures of one flat colour",
                f"{count_of(len(flat), 'picture')} {'is' if len(flat) == 1 else 'are'} nearly one flat colour and "
                f"{'was' if len(flat) == 1 else 'were'} compared by bytes only, not by looks.",
                "Look at them: pictures that failed to be made or fetched are often so.",
                singles(flat),
            )
        )
    return found


def _findings(wording: _Wording, groups: Sequence[Sequence[FileRow]], ours: set[int]) -> list[Finding]:
    """Sort groups by what they cross; a group that crosses both is named twice."""
    splits = [group for group in groups if len({row.split for row in group}) > 1]
    classes = [group for group in groups if {0, 1} <= {row.label for row in group}]
    crossing = {id(group) for group in (*splits, *classes)}
    within = [group for group in groups if id(group) not in crossing and sum(id(row) in ours for row in group) > 1]
    found = []
    if splits:
        sentence = f"No {wording.what} may be in two splits; {_number(splits, wording)} found across {_splits(splits)}."
        title = f"{wording.title} in two splits"
        found.append(_finding(f"{wording.check}_in_two_splits", "serious", title, sentence, _SPLIT_ADVICE, splits))
    if classes:
        sentence = f"No {wording.what} should be both real and fake; {_number(classes, wording)} found in both classes."
        title = f"{wording.title} in both classes"
        severity, advice = wording.between_classes, wording.classes_advice
        found.append(_finding(f"{wording.check}_in_both_classes", severity, title, sentence, advice, classes))
    if within:
        sentence = f"Each {wording.what} should count once; {_number(within, wording)} found within a split and class."
        title = f"{wording.title} more than once"
        advice = "Keep one of each group, or know that it weighs more and that intervals come out too narrow."
        found.append(_finding(f"{wording.check}_twice", wording.within, title, sentence, advice, within))
    return found


def _finding(
    check: str, severity: Severity, title: str, sentence: str, advice: str, groups: Sequence[Sequence[FileRow]]
) -> Finding:
    names = tuple(tuple(row.name for row in _telling_order(group)) for group in groups)
    return Finding(check, severity, title, sentence, advice, names, {"num_groups": len(groups)})


def _telling_order(group: Sequence[FileRow]) -> list[FileRow]:
    """Put one file of each split and class first, so that the first names show what the group crosses."""
    seen: set[tuple[str | None, int | None]] = set()
    first: list[FileRow] = []
    rest: list[FileRow] = []
    for row in group:
        key = (row.split, row.label)
        (rest if key in seen else first).append(row)
        seen.add(key)
    return first + rest


def _number(groups: Sequence[Sequence[FileRow]], wording: _Wording) -> str:
    num_files = sum(len(group) for group in groups)
    verb = "was" if len(groups) == 1 else "were"
    return f"{count_of(len(groups), wording.what)} ({num_files:,} files) {verb}"


def _splits(groups: Sequence[Sequence[FileRow]]) -> str:
    names = sorted({row.split or "files without a split" for group in groups for row in group})
    return " and ".join(names) if len(names) < 3 else f"{', '.join(names[:-1])} and {names[-1]}"
