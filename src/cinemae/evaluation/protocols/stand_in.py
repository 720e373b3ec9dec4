"""A protocol brought over to other images than the paper's: the same rows and metrics, other test sets.

The paper's figures stay beside the columns that mean the same thing, a mean over generators for instance. They are
figures of other images: nobody may read the two as a comparison, and the heading says so.
"""

from __future__ import annotations

from dataclasses import replace

from cinemae.evaluation.predictions import RAW
from cinemae.evaluation.protocols.protocol import MEAN, POOLED, Protocol, ProtocolColumn, ProtocolRow

STARTER_ROW = "backbone of the model at hand"


def adapt(protocol: Protocol, train: tuple[str, ...], test: tuple[str, ...]) -> Protocol:
    """Put other generators in the place of a protocol's.

    Columns of single generators become one for each test generator, for every metric and condition that they had. Rows
    of single generators become one for each. Rows of the paper's backbones become one for each way of freezing, with
    the backbone of the model at hand. Of a protocol with several training sets the rows with the largest stay: all rows
    are trained on all training images.

    Args:
        protocol: As the paper has it.
        train: Generators to train on.
        test: Generators to test on.
    """
    named = tuple(column for column in protocol.columns if column.test not in (MEAN, POOLED))
    columns: list[ProtocolColumn] = []
    for column in protocol.columns:
        if column not in named:
            columns.append(column)
            continue
        first = next(one for one in named if (one.metric, one.condition) == (column.metric, column.condition))
        if column is first:
            columns += [_column_of(column, name, named) for name in test]
    kept = [column for column in protocol.columns if column not in named and column.in_paper]
    rows = _rows(protocol, train, test, [protocol.columns.index(column) for column in kept])
    data = protocol.data
    return replace(
        protocol,
        data=replace(data, train_layout="tree", test_layout="tree", train=train, test=test),
        columns=tuple(columns),
        rows=tuple(rows),
        statements=(),
    )


def _column_of(column: ProtocolColumn, generator: str, named: tuple[ProtocolColumn, ...]) -> ProtocolColumn:
    parts = [generator]
    parts += [column.condition] if column.condition != RAW else []
    parts += [column.metric] if len({one.metric for one in named}) > 1 else []
    return replace(column, name=", ".join(parts), test=generator, in_paper=False)


def _rows(protocol: Protocol, train: tuple[str, ...], test: tuple[str, ...], kept: list[int]) -> list[ProtocolRow]:
    """Return the rows; of the paper's figures those of the columns that stay, by their places."""
    places = [index for index, column in enumerate(protocol.columns) if column.in_paper]
    largest = any(row.train for row in protocol.rows)
    rows: list[ProtocolRow] = []
    seen: set[object] = set()
    for row in protocol.rows:
        paper = tuple(row.paper[places.index(index)] for index in kept) if row.paper else ()
        changed = replace(row, paper=paper, origin=row.origin if paper else "")
        if row.test is not None:  # Figs. 2 and 3: a row a generator
            if row.test == next(one.test for one in protocol.rows if one.test is not None):
                rows += [replace(changed, name=name, test=name, train=(), paper=(), origin="") for name in test]
        elif protocol.analysis == "threshold_transfer":  # Fig. 4: a row for each generator trained on
            if row is protocol.rows[0]:
                rows += [
                    replace(changed, name=f"trained on {name}", train=(name,), paper=(), origin="") for name in train
                ]
        elif row.backbone is not None:
            key = (row.freeze_encoder, row.freeze_decoder)
            if key not in seen:
                rows.append(replace(changed, name=_freezing(row, protocol), paper=(), origin="", backbone=None))
            seen.add(key)
        elif row.train or not largest:
            rows.append(replace(changed, train=()))
    return rows


def _freezing(row: ProtocolRow, protocol: Protocol) -> str:
    if protocol.kind == "backbones":
        return STARTER_ROW
    words = {
        (False, False): "neither frozen",
        (True, False): "encoder frozen",
        (False, True): "decoder frozen",
        (True, True): "both frozen",
    }
    return words[row.freeze_encoder, row.freeze_decoder]
