"""``docs/false-positives.md``: its own text, and between two marks the newest table and what the set holds."""

from __future__ import annotations

from collections.abc import Sequence

from benchmarks.false_positives.pictures import Manifest, ManifestError, read_manifest
from benchmarks.false_positives.record import Record, read_records
from benchmarks.false_positives.table import set_to_markdown, to_markdown
from benchmarks.measure import ROOT

PAGE = ROOT / "docs" / "false-positives.md"
MARKS = ("<!-- table: from here to the next mark written by python -m benchmarks.render -->", "<!-- table: end -->")


def render() -> str:
    """Return the page as the committed records and the manifest give it."""
    return with_table(PAGE.read_text(encoding="utf-8"), read_records(), read_manifest())


def with_table(page: str, records: Sequence[Record], manifest: Manifest) -> str:
    """Return a page with the newest record's table, against the record before it, between its marks.

    Raises:
        ManifestError: If the page lacks a mark.
    """
    before, begin, rest = page.partition(MARKS[0])
    _, end, after = rest.partition(MARKS[1])
    if not begin or not end:
        raise ManifestError(
            f"{PAGE.name} must hold the two marks that its table stands between: {' and '.join(MARKS)}."
        )
    table = "Not measured yet."
    if records:
        table = to_markdown(records[-1], records[-2] if len(records) > 1 else None, manifest)
    parts = [begin, table, "## What the set holds", set_to_markdown(manifest), end]
    return before + "\n\n".join(parts) + after
