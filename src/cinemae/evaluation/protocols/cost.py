"""What the tables of the paper take on its own data: images looked at, hours, bytes, money, from measured seconds.

How many images there are is counted as published (`cinemae.sources.published`). Rows of other detectors, and of other
backbones than the one at hand, are not counted.
"""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass

from cinemae.evaluation.protocols.protocol import Protocol, ProtocolRow, read_protocol
from cinemae.preset import PAPER
from cinemae.sources.published import BENCHMARKS

TABLES = ("table1", "table2", "table3", "table4", "table5a", "table5b", "table6a", "table6b", "table7")
PROGAN_TRAINING = 720_000
"""LSUN and ProGAN, 20 categories of 36,000 (arXiv 1912.11035, Sec. 3), which no folder of the test sets holds."""

FITTED = 0.75
"""Share of the training images that heads learn from; thresholds are chosen on the others."""

FORWARD_AND_BACKWARD = 3.0
"""A training step's operations by those of looking at the same images: the gradient takes twice as many again."""


@dataclass(frozen=True)
class Rates:
    """Seconds for an image on one machine, and what is kept of it.

    Attributes:
        survey: To read, decode and hash it, all threads at work.
        look: To make its row of a feature store: decode, encode, mask, redraw.
        head: To train one head on its row, for one epoch.
        row_bytes: Of a store, before compression.
    """

    survey: float
    look: float
    head: float
    row_bytes: int


@dataclass(frozen=True)
class TableCost:
    """What one table takes.

    Attributes:
        place: Where in the paper.
        images: Pictures of the data set.
        looks: Rows of feature stores to make: one for each picture, condition and seed of the masks.
        frozen_hours: To survey the pictures and make the stores, or to train parts of the backbone.
        head_hours: To train the heads.
        stored_bytes: Of the stores.
    """

    place: str
    images: int
    looks: int
    frozen_hours: float
    head_hours: float
    stored_bytes: int

    @property
    def hours(self) -> float:
        """All of it."""
        return self.frozen_hours + self.head_hours


def table_cost(protocol: Protocol, rates: Rates) -> TableCost:
    """Work out what a table takes where it is the first to be run on its data.

    Example:
        >>> cost = table_cost(read_protocol("table1"), Rates(survey=0.01, look=0.1, head=0.0, row_bytes=7000))
        >>> cost.images, cost.looks
        (424000, 724000)
    """
    data, rows = protocol.data, [row for row in protocol.rows if _is_ours(protocol, row)]
    trained = {row.train or data.train for row in rows}
    train = sum(_count(data.train_layout, name, training=True) for name in {one for names in trained for one in names})
    test = sum(_count(data.test_layout, name, training=False) for name in data.test)
    looks = train + test * (len(data.conditions) + data.other_masks)
    tuned = [row for row in rows if not (row.freeze_encoder and row.freeze_decoder)]
    per_epoch = FITTED * PAPER.train.epochs * data.seeds
    looked = rates.look * (looks + FORWARD_AND_BACKWARD * len(tuned) * per_epoch * train)
    heads = sum(
        _count(data.train_layout, name, training=True)
        for row in rows
        if row not in tuned and row.detector not in ("nll", "lcas")
        for name in row.train or data.train
    )
    return TableCost(
        place=protocol.place,
        images=train + test,
        looks=looks,
        frozen_hours=(rates.survey * (train + test) + looked) / 3600,
        head_hours=rates.head * per_epoch * heads / 3600,
        stored_bytes=looks * rates.row_bytes,
    )


def cost_table(rates: Rates, price: float, tables: Iterable[str] = TABLES) -> list[str]:
    """Return lines of Markdown: a row for each table, and what shares the work.

    Args:
        rates: Of the machine.
        price: Of its hour, in USD.
        tables: Names of protocols.
    """
    rows = [
        "| table | pictures | rows of stores | hours, frozen half | hours, heads | stores, GB | USD |",
        "|---|---:|---:|---:|---:|---:|---:|",
    ]
    for name in tables:
        one = table_cost(read_protocol(name), rates)
        rows.append(
            f"| {one.place} | {one.images:,} | {one.looks:,} | {one.frozen_hours:,.1f} | {one.head_hours:,.1f} | "
            f"{one.stored_bytes / 1e9:,.1f} | {one.hours * price:,.0f} |"
        )
    return [
        *rows,
        "",
        "Each as if it were the first: Tabs. 1, 5b, 6a, 6b and 7 share their stores, and so do Tabs. 2 and 3. Tab. 5a "
        "trains parts of the backbone, a step being taken as three times a look. Tab. 5b is for this backbone alone. "
        f"At {price:g} USD an hour; without downloading, and without the pictures themselves on disk.",
    ]


def _is_ours(protocol: Protocol, row: ProtocolRow) -> bool:
    """Return whether a row is made of stores of the paper's backbone."""
    if protocol.kind in ("detectors", "corruptions"):
        return row.detector in ("cinemae", "nll", "lcas")
    return row.backbone in (None, "facebook/vit-mae-large")


def _count(layout: str, generator: str, *, training: bool) -> int:
    """Return how many images of a generator there are; photographs that are not stated are as many as the fakes."""
    if layout == "aigcdetect" and training:
        return PROGAN_TRAINING
    benchmark = BENCHMARKS[layout]
    split = "train" if training else next(name for name in ("val", "test") if name in benchmark.splits)
    count = benchmark.counts[generator, split]
    fakes = count.fake or 0
    return count.total or fakes + (fakes if count.real is None else count.real)
