"""The table of a protocol: in each cell the paper's figure and, beside it, ours or "not measured"."""

from __future__ import annotations

import dataclasses
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from cinemae.evaluation.protocols.protocol import METRICS, Protocol, ProtocolColumn
from cinemae.evaluation.protocols.toml_settings import PaperFigure
from cinemae.settings import require

NOT_MEASURED = "not measured"
NO_FIGURE = "–"


@dataclass(frozen=True)
class Measurement:
    """A figure of ours, in the unit of the paper's.

    Attributes:
        value: The figure; the mean where there are several runs.
        spread: Standard deviation over runs; None for one run.
        low: Lower end of the 95 % interval over images; None where there is none.
        high: Its upper end.
        n: How many images the figure rests on.
        decimals: How many are printed.

    Example:
        >>> str(Measurement(75.2345, 0.31, 73.0, 77.1, n=800))
        '75.23 [73.00, 77.10] ± 0.31 (n 800)'
    """

    value: float
    spread: float | None = None
    low: float | None = None
    high: float | None = None
    n: int | None = None
    decimals: int = 2

    def __str__(self) -> str:
        def printed(value: float) -> str:
            return f"{value:.{self.decimals}f}"

        interval = "" if self.low is None or self.high is None else f" [{printed(self.low)}, {printed(self.high)}]"
        spread = "" if self.spread is None else f" ± {printed(self.spread)}"
        count = "" if self.n is None else f" (n {self.n})"
        return f"{printed(self.value)}{interval}{spread}{count}"


@dataclass(frozen=True)
class Cell:
    """One cell.

    Attributes:
        row: Name of its row, or of a statement of the paper's text.
        column: Name of its column; "" for a statement.
        paper: What the paper prints; None for nothing.
        measured: Ours; None until it is measured.
    """

    row: str
    column: str
    paper: PaperFigure = None
    measured: Measurement | None = None

    @property
    def ours(self) -> str:
        """What was measured, or that it was not."""
        return NOT_MEASURED if self.measured is None else str(self.measured)

    def __str__(self) -> str:
        return f"{NO_FIGURE if self.paper is None else self.paper} | {self.ours}"


@dataclass(frozen=True)
class ProtocolTable:
    """All cells of a protocol, under one condition and for one metric where these were chosen.

    Attributes:
        protocol: What it is the table of.
        condition: What took the place of "raw"; None: nothing.
        metric: What took the place of "accuracy"; None: nothing.
        columns: Those of the protocol, so changed.
        cells: One tuple for each row, one cell for each column.
        statements: One cell for each statement of the text.
    """

    protocol: Protocol
    condition: str | None
    metric: str | None
    columns: tuple[ProtocolColumn, ...]
    cells: tuple[tuple[Cell, ...], ...]
    statements: tuple[Cell, ...]

    def __iter__(self) -> Iterator[Cell]:
        """All cells: row after row, then the statements."""
        for row in self.cells:
            yield from row
        yield from self.statements

    def with_measured(self, figures: Mapping[tuple[str, str], Measurement]) -> ProtocolTable:
        """Return the table with figures of ours filled in; cells that are not named stay as they are.

        Args:
            figures: By names of row and column; a statement's column is "".

        Raises:
            ConfigError: If there is no such cell.
        """
        known = {(cell.row, cell.column) for cell in self}
        strange = [place for place in figures if place not in known]
        require(
            not strange,
            f'the table of {self.protocol.name} has no cell "{", ".join(strange[0]) if strange else ""}": name a row '
            "and a column as the protocol does.",
        )

        def filled(cells: tuple[Cell, ...]) -> tuple[Cell, ...]:
            found = (figures.get((cell.row, cell.column), cell.measured) for cell in cells)
            return tuple(dataclasses.replace(cell, measured=one) for cell, one in zip(cells, found, strict=True))

        return dataclasses.replace(self, cells=tuple(map(filled, self.cells)), statements=filled(self.statements))

    def to_records(self) -> list[dict[str, Any]]:
        """Return one record a cell, as plain JSON types: row, column, paper (text as printed) and what was measured."""
        return [
            {
                "row": cell.row,
                "column": cell.column,
                "paper": None if cell.paper is None else str(cell.paper),
                "measured": None if cell.measured is None else dataclasses.asdict(cell.measured),
            }
            for cell in self
        ]

    def to_markdown(self) -> str:
        """Return heading, table, statements and remarks.

        Each column of the protocol is two of the table, the paper's figure and ours; the former is left out where the
        paper has none. A table with more columns than rows is printed on its side. Under another condition or metric,
        rows with nothing in them are left out, and the remarks are not said again.
        """
        main = self.condition is None and self.metric is None
        blocks = [self._heading() if main else self._lower_heading()]
        if self.columns and self.cells:
            blocks.append(self._grid(every_row=main))
        if not main:
            return "\n\n".join("\n".join(block) for block in blocks) + "\n"
        if self.statements:
            lines = [[_escaped(cell.row), str(cell)] for cell in self.statements]
            blocks.append(_table(["The text says", "paper", "measured"], lines))
        blocks += _listed("Where the figures come from:", self._origins())
        blocks += _listed("Remarks:", self.protocol.remarks)
        return "\n\n".join("\n".join(block) for block in blocks) + "\n"

    def _heading(self) -> list[str]:
        protocol = self.protocol
        lines = [f"## {protocol.place}: {protocol.title}", "", f"Protocol {protocol.name}, version {protocol.version}."]
        return [*lines, f"Figures in {protocol.unit}."] if protocol.unit else lines

    def _lower_heading(self) -> list[str]:
        what = METRICS[self.metric] if self.metric else METRICS["accuracy"]
        under = f', under "{self.condition}"' if self.condition else ""
        lines = [f"### {self.protocol.place}, {what}{under}"]
        if self.condition and not self.metric:
            lines += ["", "The paper's figures are for files as they come."]
        return lines

    def _origins(self) -> list[str]:
        origins: dict[str, list[str]] = {}
        for row in self.protocol.rows:
            if row.paper:
                origins.setdefault(row.origin, []).append(row.name)
        measured = [row[0].row for row in self.cells if any(cell.measured for cell in row)]
        lines = [f"paper's figures {origin}: {'; '.join(names)}" for origin, names in origins.items()]
        return [*lines, f"measured here: {'; '.join(measured)}"] if measured else lines

    def _shown(self, column: str) -> str:
        """Return a column's name, which does not speak of accuracy where another metric takes its place."""
        return column.replace("mAcc", "mean") if self.metric else column

    def _grid(self, *, every_row: bool) -> list[str]:
        cells = [row for row in self.cells if every_row or any(cell.paper or cell.measured for cell in row)]
        sideways = len(self.columns) > len(self.cells)
        lines = list(zip(*cells, strict=True)) if sideways else cells
        columns = list(zip(*lines, strict=True))
        with_paper = [any(cell.paper is not None for cell in column) for column in columns]
        header = [""]
        for column, has_paper in zip(columns, with_paper, strict=True):
            name = _escaped(column[0].row if sideways else self._shown(column[0].column))
            header += [f"{name}, paper", f"{name}, measured"] if has_paper else [name]
        body = [
            [
                _escaped(self._shown(line[0].column) if sideways else line[0].row),
                *(str(cell) if one else cell.ours for cell, one in zip(line, with_paper, strict=True)),
            ]
            for line in lines
        ]
        return _table(header, body)


def blank_table(protocol: Protocol, *, condition: str | None = None, metric: str | None = None) -> ProtocolTable:
    """Lay out a protocol's table with nothing measured.

    Args:
        protocol: Which.
        condition: Takes the place of "raw", as "aligned" does; columns under other conditions are left out. The paper's
            figures stay: the gap is what is asked.
        metric: Takes the place of "accuracy"; columns of other metrics and all of the paper's figures are left out.

    Raises:
        ConfigError: If the protocol does not ask for such a condition or metric.

    Example:
        >>> from cinemae.evaluation.protocols.protocol import read_protocol
        >>> str(blank_table(read_protocol("table1")).cells[13][-1])
        '96.63 | not measured'
    """
    data = protocol.data
    for what, chosen, allowed in (("condition", condition, data.conditions), ("metric", metric, data.metrics)):
        require(
            chosen is None or chosen in allowed,
            f'{protocol.name} asks for no {what} "{chosen}": choose one of {", ".join(allowed)}.',
        )
    columns = tuple(
        dataclasses.replace(column, condition=condition or column.condition, metric=metric or column.metric)
        for column in protocol.columns
        if (condition is None or column.condition == "raw") and (metric is None or column.metric == "accuracy")
    )
    cells = []
    for row in protocol.rows:
        printed = iter(row.paper)
        figures = {column.name: next(printed, None) for column in protocol.columns if column.in_paper}
        cells.append(
            tuple(Cell(row.name, column.name, None if metric else figures.get(column.name)) for column in columns)
        )
    statements = () if metric else tuple(Cell(one.name, "", one.value) for one in protocol.statements)
    return ProtocolTable(protocol, condition, metric, columns, tuple(cells), statements)


def _table(header: list[str], lines: list[list[str]]) -> list[str]:
    """Write a Markdown table; a line's text may hold the bars between its cells."""
    return [
        f"| {' | '.join(header)} |",
        f"|{'---|' * len(header)}",
        *(f"| {' | '.join(line)} |" for line in lines),
    ]


def _listed(heading: str, lines: Sequence[str]) -> list[list[str]]:
    return [[heading, "", *(f"* {line}" for line in lines)]] if lines else []


def _escaped(name: str) -> str:
    return name.replace("|", "\\|")
