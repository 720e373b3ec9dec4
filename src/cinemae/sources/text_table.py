"""Cells of text as columns, to be read in a terminal."""

from __future__ import annotations

from collections.abc import Sequence


def table_of(header: Sequence[str], rows: Sequence[Sequence[str]], *, left: int = 1) -> str:
    """Return columns under their heads.

    Args:
        header: Of each column.
        rows: Cells as text.
        left: How many columns, from the first, are set flush left; the others are right.

    Example:
        >>> print(table_of(("fact", "n"), [("width", "12")]))
        fact    n
        width  12
    """
    lines = [header, *rows]
    widths = [max(len(line[column]) for line in lines) for column in range(len(header))]
    return "\n".join(
        "  ".join(
            cell.ljust(width) if column < left else cell.rjust(width)
            for column, (cell, width) in enumerate(zip(line, widths, strict=True))
        ).rstrip()
        for line in lines
    )
