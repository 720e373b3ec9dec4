"""A model directory as one value: read once, changed as a value, written whole or not at all.

This is the only module that writes a model directory. New content is written and flushed to the disk in a hidden folder
of the directory first. One rename of that folder decides; moving the files to their places only carries it out, and
whoever opens the directory next does that for a run that was killed meanwhile.
"""

from __future__ import annotations

import dataclasses
import json
import os
import re
import shutil
import tempfile
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Self

import msgspec

from cinemae.config import ModelConfig
from cinemae.errors import ModelDirError
from cinemae.models.directory import (
    BACKBONE_DIR,
    CALIBRATION_FILE,
    CARD_FILE,
    CONFIG_FILE,
    HEAD_FILE,
    OBSOLETE_FILE,
    OOD_FILE,
    PLOTS,
    READY_DIR,
    RESULTS_FILE,
    UNREADABLE_FILES,
    finish_writing,
    parse_model_config,
    read_json,
)
from cinemae.models.results import Results

_OWN = (CONFIG_FILE, RESULTS_FILE, CARD_FILE, CALIBRATION_FILE, HEAD_FILE, OOD_FILE, *PLOTS, *UNREADABLE_FILES)
_GRAPH = re.compile(r"model(\.int8)?(\.[0-9a-f]{12}\.data|\.onnx)")
_STAGE = ".cinemae-writing-"


@dataclass(frozen=True)
class ModelBundle:
    """Everything that a model directory holds.

    Attributes:
        config: Settings, thresholds and calibration.
        results: Every figure; None where the directory holds none.
        files: All other files, the card, weights and plots among them, by their path in the directory: the content, or
            where it lies.
        for_others: Keys of config.json that other programs read.
    """

    config: ModelConfig
    results: Results | None = None
    files: Mapping[str, bytes | Path] = field(default_factory=dict)
    for_others: Mapping[str, Any] = field(default_factory=dict)

    @classmethod
    def read(cls, directory: Path) -> Self:
        """Read a model directory; weights are not loaded.

        Raises:
            ModelDirError: If it is no model directory, or settings or figures cannot be read.
        """
        finish_writing(directory)
        values = read_json(directory / CONFIG_FILE)
        config = parse_model_config(values, directory / CONFIG_FILE)
        own = set(config.to_dict())
        files: dict[str, bytes | Path] = {}
        for path in sorted(directory.rglob("*")):
            name = path.relative_to(directory)
            hidden = any(part.startswith(".") for part in name.parts) or path.suffix == ".partial"
            if path.is_file() and not hidden and name.as_posix() not in (CONFIG_FILE, RESULTS_FILE):
                files[name.as_posix()] = path
        for_others = {name: value for name, value in values.items() if name not in own}
        return cls(config, _read_results(directory / RESULTS_FILE), files, for_others)

    def changed(self, *, without: tuple[str, ...] = (), files: Mapping[str, bytes | Path] | None = None) -> Self:
        """Return this bundle with other files.

        Args:
            without: Files to leave out; of a graph, the weights beside it go too.
            files: Files to add or to replace.
        """
        beside = [re.compile(rf"{re.escape(Path(name).stem)}\.[0-9a-f]{{12}}\.data") for name in without]
        kept = {
            name: content
            for name, content in self.files.items()
            if name not in without and not any(pattern.fullmatch(name) for pattern in beside)
        }
        return dataclasses.replace(self, files={**kept, **(files or {})})

    def write(self, directory: Path, *, add: Callable[[Path], object] | None = None) -> Path:
        """Write the bundle, whole or not at all. Files of a model that lay there before go; anything else stays.

        Args:
            directory: New, empty or a model directory; that of `read` to change a model in place.
            add: Called with a folder before anything else is changed; what it leaves there becomes part of the model.

        Returns:
            The directory.
        """
        directory.mkdir(parents=True, exist_ok=True)
        finish_writing(directory)
        for left in directory.glob(f"{_STAGE}*"):  # by a killed run
            shutil.rmtree(left, ignore_errors=True)
        stage = Path(tempfile.mkdtemp(prefix=_STAGE, dir=directory))
        try:
            self._stage(stage, directory)
            if add is not None:
                add(stage)
            staged = {path.relative_to(stage).as_posix() for path in stage.rglob("*") if path.is_file()}
            gone = sorted(_own_files(directory) - staged - set(self.files))
            (stage / OBSOLETE_FILE).write_text(json.dumps(gone), encoding="utf-8")
            for path in stage.rglob("*"):
                _flush(path)
            stage.rename(directory / READY_DIR)
        except BaseException:
            shutil.rmtree(stage, ignore_errors=True)
            raise
        finish_writing(directory)
        return directory

    def _stage(self, stage: Path, directory: Path) -> None:
        _write_json(stage / CONFIG_FILE, {**self.for_others, **self.config.to_dict()}, indent=2)
        if self.results is not None:
            _write_json(stage / RESULTS_FILE, self.results.to_dict(), indent=1)
        for name, content in self.files.items():
            target = stage / name
            if isinstance(content, Path) and content.resolve() == (directory / name).resolve():
                continue
            target.parent.mkdir(exist_ok=True)
            if isinstance(content, Path):
                shutil.copyfile(content, target)
            else:
                target.write_bytes(content)


def _own_files(directory: Path) -> set[str]:
    """Return the files of a directory that belong to a model by their names."""
    names = {path.relative_to(directory).as_posix() for path in directory.glob("*") if path.is_file()}
    backbone = {f"{BACKBONE_DIR}/{path.name}" for path in (directory / BACKBONE_DIR).glob("*")}
    return {name for name in names if name in _OWN or _GRAPH.fullmatch(name)} | backbone


def _read_results(path: Path) -> Results | None:
    if not path.is_file():
        return None
    try:
        return Results.from_dict(read_json(path))
    except msgspec.ValidationError as error:
        raise ModelDirError(f"{path} cannot be used ({error}): restore it, or delete it to go without.") from error


def _write_json(path: Path, values: Mapping[str, Any], *, indent: int) -> None:
    path.write_text(json.dumps(values, indent=indent, ensure_ascii=False) + "\n", encoding="utf-8")


def _flush(path: Path) -> None:
    """Make the system write a file to the disk before anything counts on it."""
    if path.is_file():
        with path.open("rb+") as file:
            os.fsync(file.fileno())
