"""Run protocols: each table and figure of the paper on the images at hand, the paper's figures beside ours."""

from __future__ import annotations

import json
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any, Self

import numpy as np
from matplotlib.figure import Figure

from cinemae.detect.extract_job import ExtractorSource
from cinemae.evaluation.predictions import ALIGNED, RAW, Column, Predictions
from cinemae.evaluation.protocols.analysis import ANALYSES
from cinemae.evaluation.protocols.bench_data import BenchData, Surveyor, find_data
from cinemae.evaluation.protocols.finetuning import FinetuneOptions, scored_finetuned
from cinemae.evaluation.protocols.measure import Bench, Scored, cell
from cinemae.evaluation.protocols.protocol import DETECTORS, MEAN, Protocol, ProtocolColumn, ProtocolRow, read_protocol
from cinemae.evaluation.protocols.stand_in import adapt
from cinemae.evaluation.protocols.store_cache import StoreCache
from cinemae.evaluation.protocols.table import Measurement, ProtocolTable, blank_table
from cinemae.evaluation.tables import format_probe
from cinemae.evaluation.versions import versions
from cinemae.features.extract_job import DEFAULT_BATCH_SIZE
from cinemae.fit.start import Start
from cinemae.settings import require
from cinemae.statistics.estimate import Estimate

Figures = dict[tuple[str, str], Measurement]


@dataclass(frozen=True)
class ReproduceOptions:
    """How protocols are run.

    Attributes:
        data: Root of the images; None prints "not measured" in every cell.
        train_data: Root of the training images, where they lie elsewhere.
        work: Where stores and fine-tuned models are kept, to be used again.
        model: Model directory or Hub id whose frozen half is used; None for the bundled one.
        backbones: Backbones by the name that rows give them, such as ``facebook/vit-mae-large``; the name ``""`` takes
            the place of the model's in every protocol, with the defaults of every setting.
        paper: Whether heads are trained by `cinemae.preset.PAPER`, but for what a protocol's row changes; in folders of
            their own within `work`.
        baselines: How baselines are made, by name, such as ``{"npr": "npr,epochs=8"}``.
        seeds: In place of the protocols' number of trainings.
        mask_seeds: In place of the protocols' number of seeds of the masks, the model's own among them.
        finetune: How long fine-tuning goes on.
        detectors: Which detectors' rows are measured, of those that a protocol names; empty for all.
        device: Where the frozen half runs.
        follow_links: Whether links to folders that lead out of `data` and `train_data` are entered.
        dtype: What it computes in, "float32" or "bfloat16".
        batch_size: Images handed to it together.
        tell: Called with a line about what is under way.
        progress: Called while a store is made, with (store, images done, images in all).
    """

    data: Path | None = None
    train_data: Path | None = None
    work: Path = Path("cinemae-work")
    model: str | None = None
    backbones: Mapping[str, str] = field(default_factory=dict)
    paper: bool = False
    baselines: Mapping[str, str] = field(default_factory=dict)
    seeds: int | None = None
    mask_seeds: int | None = None
    finetune: FinetuneOptions = field(default_factory=FinetuneOptions)
    detectors: tuple[str, ...] = ()
    device: str = "auto"
    follow_links: bool = False
    dtype: str = "float32"
    batch_size: int = DEFAULT_BATCH_SIZE
    tell: Callable[[str], None] = lambda line: None
    progress: Callable[[str, int, int], None] = lambda name, done, total: None

    def __post_init__(self) -> None:
        unknown = [name for name in self.detectors if name not in DETECTORS]
        require(
            not unknown, f"a protocol's rows are of the detectors {', '.join(DETECTORS)}, got {', '.join(unknown)}."
        )


@dataclass(frozen=True)
class Reproduced:
    """One protocol, run.

    Attributes:
        protocol: As it was run; on other images than the paper's, brought over to them.
        tables: The table as the paper has it, then the same with other metrics and under "aligned".
        about: Data, versions, format probe, spread over masks; plain JSON types.
        figures: Plots by name.
        predictions: Every score of the test images, one detector a row; None for analyses and without data.
    """

    protocol: Protocol
    tables: Sequence[ProtocolTable]
    about: dict[str, Any]
    figures: Mapping[str, Figure] = field(default_factory=dict)
    predictions: Predictions | None = None

    def to_dict(self) -> dict[str, Any]:
        """Return plain JSON types."""
        return {
            "protocol": self.protocol.name,
            "version": self.protocol.version,
            "place": self.protocol.place,
            "title": self.protocol.title,
            "unit": self.protocol.unit,
            **self.about,
            "tables": [
                {"condition": table.condition, "metric": table.metric, "cells": table.to_records()}
                for table in self.tables
            ],
        }

    @classmethod
    def from_dict(cls, values: Mapping[str, Any]) -> Self:
        """Build from `to_dict` output, without plots: what pages are written from.

        Raises:
            ConfigError: If the protocol has another version now, or other cells.
        """
        protocol = read_protocol(values["protocol"])
        require(
            protocol.version == values["version"],
            f"{protocol.name} is at version {protocol.version}, the result is of version {values['version']}: run it "
            "again.",
        )
        measured = values["measured_on"]
        if measured and measured["stand_in"]:
            protocol = adapt(protocol, tuple(measured["train"]["fakes"]), tuple(measured["test"]["fakes"]))
        tables = []
        for stored in values["tables"]:
            figures = {
                (one["row"], one["column"]): Measurement(**one["measured"])
                for one in stored["cells"]
                if one["measured"]
            }
            blank = blank_table(protocol, condition=stored["condition"], metric=stored["metric"])
            tables.append(blank.with_measured(figures))
        shown = {"protocol", "version", "place", "title", "unit", "tables"}
        return cls(protocol, tables, {name: value for name, value in values.items() if name not in shown})

    def to_markdown(self) -> str:
        """Return all tables, what was measured on, and the warnings."""
        first, *others = (table.to_markdown().partition("\n\n") for table in self.tables)
        parts = [first[0], _data_text(self.about), first[2]]
        for heading, _, rest in others:
            parts += [heading, *_probe_lines(self.about), rest]
        return "\n\n".join(part.strip() for part in parts if part) + "\n"


class Reproducer:
    """Runs protocols one after the other; what they share is done once.

    Args:
        options: How.
    """

    def __init__(self, options: ReproduceOptions) -> None:
        self.options = options
        self._data: dict[Any, BenchData] = {}
        self._benches: dict[Any, Bench] = {}

    def run(self, name: str) -> Reproduced:
        """Run one protocol.

        Raises:
            CinemaeError: One sentence for whatever is wrong with protocol, data or models.
        """
        protocol = read_protocol(name)
        if self.options.data is None:
            return Reproduced(protocol, [blank_table(protocol)], {"measured_on": None, "versions": versions()})
        data = self._find(protocol, self.options.data)
        if data.stand_in:
            protocol = adapt(protocol, data.train_generators, data.test_generators)
        bench = self._bench(data, protocol)
        about = {
            "measured_on": data.describe(),
            "frozen_half": bench.cache.frozen.name,
            "format_probe": _probe(data),
            "versions": versions(),
        }
        if protocol.kind == "analysis":
            found = ANALYSES[protocol.analysis](protocol, bench, self.options.finetune)
            tables = [blank_table(protocol).with_measured(found.figures)]
            return Reproduced(protocol, tables, {**about, **found.about}, found.plots)
        if any(row.train for row in protocol.rows):  # the store holds the largest training set
            rows = tuple(replace(row, train=row.train or protocol.data.train) for row in protocol.rows)
            protocol = replace(protocol, rows=rows)
        scored = {row.name: one for row in protocol.rows if (one := self._scored(protocol, row, bench)) is not None}
        tables = [_filled(table, scored, data) for table in _tables(protocol)]
        about |= {"mask_seeds": _mask_spread(protocol, scored, data)}
        return Reproduced(protocol, tables, about, predictions=_predictions(protocol, scored, data))

    def _find(self, protocol: Protocol, root: Path) -> BenchData:
        """Return a protocol's images; images that stand in are the same for every protocol and surveyed once."""
        wanted = protocol.data
        trains = tuple(row.train for row in protocol.rows)
        for key in ("stand-in", (wanted.train_layout, wanted.train, trains, wanted.test_layout, wanted.test)):
            if key in self._data:
                return self._data[key]
        surveyor = Surveyor(self.options.work / "survey", self.options.tell)
        data = find_data(protocol, root, self.options.train_data, surveyor, follow_links=self.options.follow_links)
        self._data["stand-in" if data.stand_in else key] = data
        return data

    def _bench(self, data: BenchData, protocol: Protocol, backbone: str = "") -> Bench:
        """Return the bench of these images and this backbone, made at first use."""
        options = self.options
        path = options.backbones.get(backbone)
        key = (id(data), path)  # data is kept in self._data, so no other comes to the same place
        seeds = options.seeds or protocol.data.seeds
        if key not in self._benches or self._benches[key].seeds != seeds:
            frozen = ExtractorSource(
                options.model, path, device=options.device, dtype=options.dtype, paper=options.paper
            )
            folder = options.work / ("model" if path is None else path.replace("/", "-").strip("-."))
            if options.paper:
                folder = folder.with_name(f"{folder.name}-paper")
            cache = StoreCache(folder, Start.of(frozen), options.progress, options.batch_size)
            self._benches[key] = Bench(data, cache, seeds, options.baselines, options.tell)
        return self._benches[key]

    def _scored(self, protocol: Protocol, row: ProtocolRow, bench: Bench) -> Scored | None:
        """Return the scores of a row, None where nothing here can measure it."""
        conditions = list(protocol.data.conditions)
        if protocol.kind in ("backbones", "finetune") and row.backbone is not None:
            if row.backbone not in self.options.backbones:
                return None
            bench = self._bench(bench.data, protocol, row.backbone)
        if protocol.kind == "finetune" and not (row.freeze_encoder and row.freeze_decoder):
            return scored_finetuned(bench, row, conditions, self.options.finetune)
        if protocol.kind in ("detectors", "corruptions") and row.detector is None:
            return None
        if self.options.detectors and row.detector is not None and row.detector not in self.options.detectors:
            return None
        if row.detector == "univfd" and "univfd" not in self.options.baselines:
            return None  # its weights are the user's to fetch
        self.options.tell(f"{protocol.name}: {row.name}")
        most_passes = max((one.mask.get("num_passes", 0) for one in protocol.rows), default=0)  # 0: none is about masks
        other_masks = protocol.data.other_masks if self.options.mask_seeds is None else self.options.mask_seeds - 1
        return bench.of_row(row, conditions, most_passes, other_masks)


def save(reproduced: Reproduced, out: Path) -> Path:
    """Write ``NAME.json``, ``NAME.md``, the plots and, as ``NAME.parquet``, the scores; return the Markdown file."""
    out.mkdir(parents=True, exist_ok=True)
    name = reproduced.protocol.name
    text = reproduced.to_markdown()
    for title, figure in reproduced.figures.items():
        figure.savefig(out / f"{name}-{title}.png", dpi=110, metadata={"Software": None})
        text += f"\n![{name}, {title}]({name}-{title}.png)\n"
    if reproduced.predictions is not None:
        reproduced.predictions.save(out / f"{name}.parquet")
    (out / f"{name}.json").write_text(json.dumps(reproduced.to_dict(), indent=1) + "\n", encoding="utf-8")
    (out / f"{name}.md").write_text(text, encoding="utf-8")
    return out / f"{name}.md"


def _tables(protocol: Protocol) -> list[ProtocolTable]:
    """Return the paper's table, then the other metrics asked for, each raw and aligned."""
    tables = [blank_table(protocol)]
    if protocol.kind == "analysis":
        return tables
    shown = {column.metric for column in protocol.columns}
    has_accuracy = "accuracy" in shown
    others = [metric for metric in protocol.data.metrics if metric not in shown] if has_accuracy else []
    tables += [blank_table(protocol, metric=metric) for metric in others]
    if ALIGNED in protocol.data.conditions and protocol.kind != "corruptions":
        tables.append(blank_table(protocol, condition=ALIGNED))
        tables += [blank_table(protocol, condition=ALIGNED, metric=metric) for metric in others]
    return tables


def _filled(table: ProtocolTable, scored: Mapping[str, Scored], data: BenchData) -> ProtocolTable:
    figures: Figures = {}
    for row in table.protocol.rows:
        if row.name not in scored:
            continue
        for column in table.columns:
            found = cell(data, scored[row.name], column, row.test)
            if found is not None:
                figures[row.name, column.name] = found
    return table.with_measured(figures)


def _predictions(protocol: Protocol, scored: Mapping[str, Scored], data: BenchData) -> Predictions | None:
    """Return the scores in the form that ``cinemae report`` and ``cinemae compare`` read."""
    if not scored:
        return None
    columns: list[Column] = []
    for name, one in scored.items():
        seeds = range(len(one.chosen))
        rule = "best balanced accuracy on training images held out"
        columns += [
            Column(name, seed, outputs="score", threshold=one.chosen[seed], threshold_rule=rule) for seed in seeds
        ]
    missing = np.full((len(data.test_images), 1), np.nan)
    scores = {
        condition: np.concatenate(
            [one.scores.get(condition, missing.repeat(len(one.chosen), axis=1)) for one in scored.values()], axis=1
        )
        for condition in protocol.data.conditions
    }
    about = {"protocol": protocol.name, "version": protocol.version, "versions": versions()}
    return Predictions(data.test_images, tuple(columns), scores, about)


def _mask_spread(protocol: Protocol, scored: Mapping[str, Scored], data: BenchData) -> dict[str, Any]:
    """Return the mean AUC over generators for other seeds of the masks, for each row of ours that was so measured."""
    column = ProtocolColumn("", MEAN, RAW, "auc")
    result = {}
    for row in protocol.rows:
        one = scored.get(row.name)
        if one is None or one.of_masks is None:
            continue
        together = np.concatenate([one.scores[RAW][:, :1], one.of_masks], axis=1)
        zeros = (0.0,) * together.shape[1]
        found = cell(data, Scored(zeros, zeros, {RAW: together}), column)
        if found is not None:
            result[row.name] = {"auc": found.value, "std": found.spread, "mask_seeds": together.shape[1]}
    return result


def _probe(data: BenchData) -> dict[str, Any]:
    found = {"train": format_probe(data.train_images), "test": format_probe(data.test_images)}
    return {name: probe and probe.to_dict() for name, probe in found.items()}


def _probe_lines(about: Mapping[str, Any]) -> list[str]:
    """Return what the files alone reach, which stands next to every table."""
    lines = []
    for name, probe in about["format_probe"].items():
        if probe is not None:
            alarm = " **ALARM: the files alone tell the classes apart.**" if probe["alarm"] else ""
            lines.append(
                f"Format probe, {name}: balanced accuracy {Estimate.from_dict(probe):.1%} without a pixel.{alarm}"
            )
    return lines


def _data_text(about: Mapping[str, Any]) -> str:
    """Return what the measured figures rest on, in sentences."""
    measured = about["measured_on"]
    if measured is None:
        return "No data was given: nothing is measured."
    lines = []
    if measured["stand_in"]:
        lines.append(
            "**Measured on other images than the paper's**: the paper's figures stand beside ours for orientation, and "
            "the two are no comparison. Accuracy is the mean of both classes' accuracies."
        )
    for name in ("train", "test"):
        fakes = ", ".join(f"{one} {n}" for one, n in measured[name]["fakes"].items())
        lines.append(f"{name.capitalize()}: {measured[name]['photographs']} photographs; fakes: {fakes}.")
    lines.append(f"Frozen half: {about['frozen_half']}. Thresholds come from training images held out, none from test.")
    lines += _probe_lines(about)
    if masks := about.get("mask_seeds"):
        parts = [f"{row} {found['auc']:.1f} ± {found['std']:.1f}" for row, found in masks.items()]
        count = next(iter(masks.values()))["mask_seeds"]
        lines.append(
            f"Mean AUC over generators in %, first training, over {count} seeds of the masks: {'; '.join(parts)}."
        )
    if measured["unread"]:
        lines.append(f"{measured['unread']} files could not be read and count nowhere.")
    return "\n\n".join(lines)
