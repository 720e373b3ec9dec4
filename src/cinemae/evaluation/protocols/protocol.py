"""Protocols: versioned TOML files, one for each table and figure of the paper, with the paper's own figures as printed.

A protocol names training set, test sets, conditions and metrics, and lays out a table; `protocol_table` has its cells.
``benchmarks/protocols/README.md`` says what the keys mean.
"""

from __future__ import annotations

import os
import tomllib
from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from decimal import Decimal
from pathlib import Path
from typing import Any, Literal, TypeVar

from cinemae.config import DeviationConfig, HeadConfig, LcasConfig, MaskConfig
from cinemae.errors import ConfigError
from cinemae.evaluation.baselines.methods import METHODS
from cinemae.evaluation.protocols.toml_settings import PaperFigure, build, build_all, within
from cinemae.pictures.corruptions import parse_condition
from cinemae.settings import Settings, require
from cinemae.sources.published import BENCHMARKS

Layout = Literal["genimage", "aigcdetect", "chameleon", "tree"]
Kind = Literal["detectors", "corruptions", "ablation", "finetune", "backbones", "analysis"]
Analysis = Literal["none", "nll_curve", "nll_histogram", "threshold_transfer", "correlation", "maps"]
Group = Literal["all", "true_negative", "true_positive", "false_positive", "false_negative"]

METRICS: dict[str, str] = {
    "accuracy": "accuracy at the detector's own threshold",
    "accuracy_chosen": "accuracy at the threshold that is best on validation images of the training set",
    "fake_accuracy": "share of fakes found, at the detector's own threshold",
    "real_accuracy": "share of photographs let pass, at the detector's own threshold",
    "auc": "area under the ROC curve",
    "average_precision": "area under the precision-recall curve",
    "parameters": "millions of parameters of the encoder",
    "nll_real": "mean NLL of photographs",
    "nll_fake": "mean NLL of fakes",
    "nll_real_first": "mean NLL of photographs before the decoder is trained",
    "nll_fake_first": "mean NLL of fakes before the decoder is trained",
    "nll_real_last": "mean NLL of photographs after the decoder is trained",
    "nll_fake_last": "mean NLL of fakes after the decoder is trained",
    "spearman_entropy": "Spearman's rho with the Shannon entropy of the grey levels",
    "spearman_high_frequency": "Spearman's rho with the share of power at high frequencies",
    "spearman_gradient_tv": "Spearman's rho with the total variation of the gradients",
    "count": "number of images",
    "median_variability": "median of s1",
    "median_overall": "median of s2",
    "median_sensitivity": "median of s3",
}
DETECTORS = ("cinemae", "nll", "lcas", "format-probe", *(method.name for method in METHODS if method.runs))
MEAN = "mean"
POOLED = "pooled"
OWN_MEASUREMENT = "measured by the paper"

_PACKAGED = Path(__file__).parents[1] / "protocol_files"  # where a wheel has them
_CHECKOUT = Path(__file__).parents[4] / "benchmarks" / "protocols"
_KINDS_OF: dict[str, tuple[str, ...]] = {
    "head": ("ablation", "analysis"),
    "lcas": ("ablation",),
    "mask": ("ablation",),
    "deviation": ("ablation",),
    "backbone": ("backbones", "finetune", "analysis"),
    "freeze_encoder": ("finetune", "analysis"),
    "freeze_decoder": ("finetune", "analysis"),
    "group": ("analysis",),
}

SettingsT = TypeVar("SettingsT", DeviationConfig, HeadConfig, LcasConfig, MaskConfig)


@dataclass(frozen=True)
class ProtocolData(Settings):
    """Which images are trained on and tested on, and what is done to them.

    Attributes:
        train_layout: Data set of the training images.
        train: Its generators, each with the photographs that belong to it.
        test_layout: Data set of the test images.
        test: Its generators.
        conditions: As `parse_condition` reads them, in its spelling.
        metrics: Of `METRICS`, what a run reports beside the columns of the table.
        seeds: How many times each training is done.
        other_masks: Seeds of the masks, beside the model's own, that tell how much hangs on them.
    """

    train_layout: Layout
    train: tuple[str, ...]
    test_layout: Layout
    test: tuple[str, ...]
    conditions: tuple[str, ...]
    metrics: tuple[str, ...]
    seeds: int = 3
    other_masks: int = 2

    def __post_init__(self) -> None:
        super().__post_init__()
        for name in ("train", "test", "conditions", "metrics"):
            require(bool(getattr(self, name)), f"{name} must name at least one.")
            _require_distinct(getattr(self, name), name)
        _require_generators(self.train, self.train_layout, "train")
        _require_generators(self.test, self.test_layout, "test")
        for text in self.conditions:
            condition = parse_condition(text).name
            require(condition == text, f'the condition "{text}" is spelt "{condition}".')
        for metric in self.metrics:
            _require_metric(metric)
        require(self.seeds >= 1, f"seeds must be at least 1, got {self.seeds}.")
        require(self.other_masks >= 0, f"other_masks must not be negative, got {self.other_masks}.")


@dataclass(frozen=True)
class ProtocolColumn(Settings):
    """A column: one metric of one test set under one condition.

    Attributes:
        name: As the paper heads it.
        test: A generator, "mean" (of the generators' values, unweighted) or "pooled" (all images together).
        condition: One of the protocol's.
        metric: One of `METRICS`.
        in_paper: Whether the paper has this column; if not, its rows hold no figure for it.
    """

    name: str
    test: str = MEAN
    condition: str = "raw"
    metric: str = "accuracy"
    in_paper: bool = True

    def __post_init__(self) -> None:
        super().__post_init__()
        _require_metric(self.metric)


@dataclass(frozen=True)
class ProtocolRow(Settings):
    """A row: one detector, or one setting of ours.

    Attributes:
        name: As the paper calls it.
        paper: The paper's figures, one for each column that the paper has; empty for a row that it has not.
        origin: Where the paper has them from.
        detector: Which of `DETECTORS` measures it; None: none here does, or the row is a setting of ours.
        train: Generators trained on; empty: the protocol's.
        test: Generator tested on, where all columns are of one; None: as the columns say.
        group: Which images, by label and verdict.
        backbone: Name of the MAE's weights on the Hub.
        freeze_encoder: Whether the encoder is left as it is.
        freeze_decoder: Whether the decoder is left as it is.
        head: Changes to `HeadConfig`.
        lcas: Changes to `LcasConfig`.
        mask: Changes to `MaskConfig`.
        deviation: Changes to `DeviationConfig`.
    """

    name: str
    paper: tuple[PaperFigure, ...] = ()
    origin: str = ""
    detector: str | None = None
    train: tuple[str, ...] = ()
    test: str | None = None
    group: Group = "all"
    backbone: str | None = None
    freeze_encoder: bool = True
    freeze_decoder: bool = True
    head: Mapping[str, Any] = field(default_factory=dict)
    lcas: Mapping[str, Any] = field(default_factory=dict)
    mask: Mapping[str, Any] = field(default_factory=dict)
    deviation: Mapping[str, Any] = field(default_factory=dict)

    def __post_init__(self) -> None:
        super().__post_init__()
        require(
            self.detector is None or self.detector in DETECTORS,
            f'detector must be one of {", ".join(DETECTORS)}, got "{self.detector}".',
        )
        stated = self.origin in (OWN_MEASUREMENT, "not stated by the paper") or self.origin.startswith("copied from ")
        require(
            stated if self.paper else not self.origin,
            'a row with figures of the paper has an origin, "measured by the paper", "not stated by the paper" or '
            f'"copied from ...", and one without has none; got "{self.origin}".',
        )
        self.head_config(HeadConfig())
        self.lcas_config(LcasConfig())
        self.mask_config(MaskConfig())
        self.deviation_config(DeviationConfig())

    def head_config(self, default: HeadConfig) -> HeadConfig:
        """Return the head's settings with this row's changes.

        Example:
            >>> ProtocolRow("late", head={"fusion_level": "late"}).head_config(HeadConfig(global_dim=8)).fusion_level
            'late'
        """
        return _changed(default, self.head)

    def lcas_config(self, default: LcasConfig) -> LcasConfig:
        """Return the settings of Eq. 4 with this row's changes."""
        return _changed(default, self.lcas)

    def mask_config(self, default: MaskConfig) -> MaskConfig:
        """Return the settings of the masks with this row's changes."""
        return _changed(default, self.mask)

    def deviation_config(self, default: DeviationConfig) -> DeviationConfig:
        """Return the settings of Eq. 5 with this row's changes."""
        return _changed(default, self.deviation)


@dataclass(frozen=True)
class Statement(Settings):
    """Something that the paper's text says of the table or figure.

    Attributes:
        name: What is said, in a few words.
        quote: The paper's words, formulas in plain signs.
        value: The number or bound in them; None where there is none.
    """

    name: str
    quote: str
    value: PaperFigure = None


@dataclass(frozen=True)
class Protocol(Settings):
    """A table or figure: what it needs, how it is laid out, and what the paper says.

    Attributes:
        name: As the file is called.
        place: Where in the paper, as "Tab. 1".
        title: One line.
        kind: What is compared (detectors, corruptions, settings of ours, freezing, backbones), or an analysis.
        analysis: Which one; "none" for the other kinds.
        unit: Of the paper's figures; measured ones are brought to it.
        remarks: Where the paper is silent, or does not agree with itself.
        data: Images, conditions, metrics, seeds.
        columns: Of the table.
        rows: Of the table.
        statements: Of the text.
        version: Goes up whenever a change moves a measured figure.
    """

    name: str
    place: str
    title: str
    kind: Kind
    unit: str
    data: ProtocolData
    columns: tuple[ProtocolColumn, ...]
    rows: tuple[ProtocolRow, ...]
    analysis: Analysis = "none"
    remarks: tuple[str, ...] = ()
    statements: tuple[Statement, ...] = ()
    version: int = 1

    def __post_init__(self) -> None:
        super().__post_init__()
        require(
            (self.kind == "analysis") == (self.analysis != "none"),
            f'a protocol of kind "analysis", and no other, says which analysis; got kind "{self.kind}" and analysis '
            f'"{self.analysis}".',
        )
        for what, parts in (("columns", self.columns), ("rows", self.rows), ("statements", self.statements)):
            _require_distinct([part.name for part in parts], what)
        for column in self.columns:
            self._check_column(column)
        for row in self.rows:
            self._check_row(row)

    @property
    def detectors(self) -> tuple[str, ...]:
        """The detectors that the rows need, each once, in the order of the rows."""
        return tuple(dict.fromkeys(row.detector for row in self.rows if row.detector))

    def _check_column(self, column: ProtocolColumn) -> None:
        tests = (*self.data.test, MEAN, POOLED)
        require(
            column.test in tests,
            f'column "{column.name}": test must be one of {", ".join(tests)}, got "{column.test}".',
        )
        require(
            column.condition in self.data.conditions,
            f'column "{column.name}": condition must be one of {", ".join(self.data.conditions)}, got '
            f'"{column.condition}".',
        )

    def _check_row(self, row: ProtocolRow) -> None:
        wanted = sum(column.in_paper for column in self.columns)
        require(
            len(row.paper) in (0, wanted),
            f'row "{row.name}": the paper has {wanted} columns, got {len(row.paper)} figures.',
        )
        require(
            row.test is None or row.test in self.data.test,
            f'row "{row.name}": test must be one of {", ".join(self.data.test)}, got "{row.test}".',
        )
        _require_distinct(row.train, f'row "{row.name}": train')
        _require_generators(row.train, self.data.train_layout, f'row "{row.name}": train')
        plain = ProtocolRow(row.name)
        for name, kinds in _KINDS_OF.items():
            require(
                self.kind in kinds or getattr(row, name) == getattr(plain, name),
                f'row "{row.name}": {name} belongs to protocols of kind {" or ".join(kinds)}, this one is of kind '
                f"{self.kind}.",
            )


def list_protocols() -> tuple[str, ...]:
    """Return the names of the protocols that come with cinemae.

    Example:
        >>> "table1" in list_protocols()
        True
    """
    return tuple(sorted(path.stem for path in protocol_folder().glob("*.toml")))


def protocol_folder() -> Path:
    """Return the folder of the files: inside an installed package, or ``benchmarks/protocols`` of a checkout."""
    return _PACKAGED if _PACKAGED.is_dir() else _CHECKOUT


def read_protocol(name_or_path: str | os.PathLike[str]) -> Protocol:
    """Read and check a protocol.

    Args:
        name_or_path: One of `list_protocols`, or the path of a ``.toml`` file.

    Raises:
        ConfigError: If there is none, it is not TOML, or it breaks a rule; the sentence names the file.

    Example:
        >>> protocol = read_protocol("table1")
        >>> [str(figure) for row in protocol.rows for figure in row.paper[-1:] if row.detector == "cinemae"]
        ['96.63']
    """
    path = Path(name_or_path)
    if path.suffix != ".toml":
        names = list_protocols()
        require(
            str(name_or_path) in names,
            f"there is no protocol {name_or_path}: choose one of {', '.join(names)}, or give the path of a .toml file.",
        )
        path = protocol_folder() / f"{name_or_path}.toml"
    with within(path.name):
        try:
            values = tomllib.loads(path.read_text(encoding="utf-8"), parse_float=Decimal)
        except OSError as error:
            raise ConfigError(f"a protocol must be a readable file: {error.strerror}.") from None
        except (tomllib.TOMLDecodeError, UnicodeDecodeError) as error:
            raise ConfigError(f"a protocol must be valid TOML in UTF-8: {error}.") from None
        protocol = _protocol(values)
        require(protocol.name == path.stem, f'name must be that of the file, "{path.stem}", got "{protocol.name}".')
    return protocol


def _protocol(values: dict[str, Any]) -> Protocol:
    version = values.get("version")
    require(type(version) is int and version >= 1, f"version must be a whole number from 1 up, got {version!r}.")
    table = values.pop("table", {})
    require(
        isinstance(table, dict) and set(table) == {"columns", "rows"},
        "a protocol has a [table] with the keys columns and rows, and no other.",
    )
    parts = {
        "data": build(ProtocolData, values.pop("data", {}), "data"),
        "columns": build_all(ProtocolColumn, table["columns"], "column"),
        "rows": build_all(ProtocolRow, table["rows"], "row"),
        "statements": build_all(Statement, values.pop("statements", []), "statement"),
    }
    return build(Protocol, values, "", parts)


def _changed(default: SettingsT, changes: Mapping[str, Any]) -> SettingsT:
    try:
        return type(default).from_dict({**default.to_dict(), **changes})
    except TypeError as error:
        raise ConfigError(f"{type(default).__name__} has a setting of the wrong type: {error}.") from None


def _require_metric(metric: str) -> None:
    require(metric in METRICS, f'a metric is one of {", ".join(METRICS)}; got "{metric}".')


def _require_generators(names: Sequence[str], layout: Layout, what: str) -> None:
    if layout == "tree":  # images of one's own, with generators of any name
        return
    known = BENCHMARKS[layout].generators
    strange = [name for name in names if name not in known]
    require(not strange, f"{what}: {layout} has no {', '.join(strange)}; it has {', '.join(known)}.")


def _require_distinct(names: Sequence[str], what: str) -> None:
    doubled = [name for name, count in Counter(names).items() if count > 1]
    require(not doubled, f"{what} must differ from one another, got twice: {', '.join(doubled)}.")
