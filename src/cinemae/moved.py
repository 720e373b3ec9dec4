"""Modules under the names that they had in version 0.1: what the documentation named then can still be imported.

``import cinemae`` installs `OldNames`. Importing an old name gives the module of today, the same object, with a
`DeprecationWarning` that names it.
"""

from __future__ import annotations

import sys
import warnings
from collections.abc import Sequence
from importlib import import_module
from importlib.abc import Loader, MetaPathFinder
from importlib.machinery import ModuleSpec
from types import ModuleType

MOVED = {
    "cinemae.bulk.detect_job": "cinemae.detect.detect_job",
    "cinemae.bulk.job": "cinemae.stores.bulk",
    "cinemae.bulk.ray_engine": "cinemae.detect.ray_engine",
    "cinemae.core.image": "cinemae.pictures.image",
    "cinemae.data.archives": "cinemae.sources.archives",
    "cinemae.data.corruptions": "cinemae.pictures.corruptions",
    "cinemae.data.datasets": "cinemae.sources.datasets",
    "cinemae.data.image_warnings": "cinemae.evidence.image_warnings",
    "cinemae.data.known_makers": "cinemae.evidence.known_makers",
    "cinemae.data.layouts": "cinemae.sources.layouts",
    "cinemae.data.model_dir": "cinemae.models.directory",
    "cinemae.data.provenance": "cinemae.evidence.provenance",
    "cinemae.data.sources": "cinemae.sources.sources",
    "cinemae.data.store": "cinemae.stores.features",
    "cinemae.detector": "cinemae.detect.detector",
    "cinemae.jobs.build_model": "cinemae.training.build_model",
    "cinemae.jobs.doctor.check": "cinemae.doctor.check",
    "cinemae.jobs.export": "cinemae.models.export",
    "cinemae.jobs.extract": "cinemae.features.extract",
    "cinemae.jobs.finetune": "cinemae.backbones.finetune",
    "cinemae.jobs.pretrain": "cinemae.backbones.pretrain",
    "cinemae.jobs.train": "cinemae.training.train",
    "cinemae.scorers": "cinemae.models.scorers",
    "cinemae.verdict": "cinemae.detect.verdict",
    "cinemae.verdict_cache": "cinemae.detect.verdict_cache",
}
"""Old name to new name of every module that the documentation of version 0.1 named."""

_PARENTS = {name.rpartition(".")[0] for name in MOVED} - {"cinemae", "cinemae.core"} | {"cinemae.jobs"}


class OldNames(MetaPathFinder, Loader):
    """Finds the modules of `MOVED` under their old names, and the packages that they were in."""

    def __init__(self) -> None:
        self._specs: dict[str, ModuleSpec | None] = {}

    def find_spec(
        self, fullname: str, path: Sequence[str] | None, target: ModuleType | None = None
    ) -> ModuleSpec | None:
        """Return how to load an old name; None for any other."""
        if fullname in _PARENTS:
            return ModuleSpec(fullname, self, is_package=True)
        return ModuleSpec(fullname, self) if fullname in MOVED else None

    def create_module(self, spec: ModuleSpec) -> ModuleType:
        """Return the module of today."""
        if spec.name in _PARENTS:
            return ModuleType(spec.name)
        new = MOVED[spec.name]
        warnings.warn(f"{spec.name} is now {new}", DeprecationWarning, stacklevel=2)
        module = import_module(new)
        self._specs[module.__name__] = module.__spec__
        return module

    def exec_module(self, module: ModuleType) -> None:
        """Execute nothing, which was done under the name of today; give back the spec that importlib replaced."""
        if module.__name__ in self._specs:
            module.__spec__ = self._specs[module.__name__]


def install() -> None:
    """Let old names be imported; a second call does nothing."""
    if not any(isinstance(finder, OldNames) for finder in sys.meta_path):
        sys.meta_path.append(OldNames())
