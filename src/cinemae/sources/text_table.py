"""Cells of text as columns, to be read in a terminal; set by Rich."""

from __future__ import annotations

import io
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
    from rich.console import Console
    from rich.table import Table
    from rich.text import Text

    table = Table(box=None, pad_edge=False, padding=(0, 1), collapse_padding=False, header_style="")
    for place, name in enumerate(header):
        table.add_column(Text(name), justify="left" if place < left else "right", no_wrap=True)
    for row in rows:
        table.add_row(*map(Text, row))
    out = io.StringIO()
    Console(file=out, width=10_000, color_system=None, legacy_windows=False).print(table)
    return "\n".join(line.rstrip() for line in out.getvalue().splitlines())
