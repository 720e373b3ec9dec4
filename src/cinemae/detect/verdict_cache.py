"""Verdicts by content: what a model said of the same bytes before, in the words that today's thresholds give.

Kept is what depends on an image's bytes and the model alone: scores, warnings, provenance, size. The word, its reasons
and the threshold are not: `cinemae.detect.detector.Detector` finds them anew. Exact copies are scored once even when
threads meet them at the same time.
"""

from __future__ import annotations

import hashlib
import json
import os
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Self

from cinemae.detect.verdict import Verdict
from cinemae.evidence.signals import ProvenanceSignal
from cinemae.models.directory import file_hash
from cinemae.models.scorers import Scorer
from cinemae.stores.score_cache import MEMORY, ScoreCache
from cinemae.version import __version__

MEMORY_BYTES = 2**26
"""Size of the cache of a run without a file: some hundred thousand images."""

_KEPT = (
    *("prob_fake", "logit", "variability", "overall", "sensitivity"),
    *("ood_score", "redeliveries", "width", "height", "format"),
)
_PACKAGES = ("pillow", "onnxruntime", "torch", "pillow-heif", "c2pa-python")
"""What a score or a signal can change with; a package that is not installed matters as well."""


@dataclass
class _Claim:
    lock: threading.Lock = field(default_factory=threading.Lock)
    wanted: int = 0


class VerdictCache:
    """What one model said of images.

    Args:
        scores: Where it is kept.
        context: What a score depends on besides the image; `describe_context` says it for a model.
    """

    def __init__(self, scores: ScoreCache, context: str) -> None:
        self.scores, self.context = scores, context
        self._claims: dict[str, _Claim] = {}
        self._lock = threading.Lock()

    @classmethod
    def open(
        cls,
        path: str | os.PathLike[str] | None,
        model_dir: Path,
        scorer: Scorer,
        *,
        warn: Callable[[str], None] | None = None,
    ) -> Self:
        """Open the cache of a model.

        Args:
            path: The file; None for a cache that ends with this process.
            model_dir: The model's directory.
            scorer: What runs it.
            warn: Is told, once, why the file is not used, if it cannot be.
        """
        if path is None:
            return cls(ScoreCache(MEMORY, max_bytes=MEMORY_BYTES, warn=warn), "this process")
        return cls(ScoreCache(path, warn=warn), describe_context(model_dir, scorer))

    @contextmanager
    def claimed(self, content_hash: str) -> Iterator[None]:
        """Let one thread at a time work on the same content, so that the others find its answer."""
        with self._lock:
            claim = self._claims.setdefault(content_hash, _Claim())
            claim.wanted += 1
        try:
            with claim.lock:
                yield
        finally:
            with self._lock:
                claim.wanted -= 1
                if not claim.wanted:
                    del self._claims[content_hash]

    def find(self, content_hash: str, *, stable: bool) -> dict[str, Any] | None:
        """Return the attributes of a verdict on this content, but for its path and words; None if none is kept.

        Args:
            content_hash: SHA-256 of the image's bytes.
            stable: Whether the scores of re-deliveries are wanted.
        """
        kept = self.scores.get(self.context, content_hash)
        if kept is None or (stable and kept.get("redeliveries") is None):
            return None
        try:
            found = {name: kept[name] for name in _KEPT}
            found["warnings"] = tuple(kept["warnings"])
            found["provenance"] = tuple(ProvenanceSignal(**signal) for signal in kept["provenance"])
        except (KeyError, TypeError):  # written by something else: as if it were not there
            return None
        if not stable:
            found["redeliveries"] = None
        return found

    def keep(self, verdict: Verdict) -> None:
        """Keep a verdict with scores; one without re-deliveries does not replace one with."""
        if verdict.status != "ok" or verdict.content_hash is None:
            return
        if verdict.redeliveries is None and self.find(verdict.content_hash, stable=True) is not None:
            return
        kept: dict[str, Any] = {name: getattr(verdict, name) for name in _KEPT}
        kept["redeliveries"] = None if verdict.redeliveries is None else dict(verdict.redeliveries)
        kept["warnings"] = list(verdict.warnings)
        kept["provenance"] = [signal.to_dict() for signal in verdict.provenance]
        self.scores.put(self.context, verdict.content_hash, kept)


def describe_context(model_dir: Path, scorer: Scorer) -> str:
    """Name what a score depends on besides the image: the model, its weights, the engine, and versions.

    Args:
        model_dir: The model's directory; the files in it that can be run are hashed.
        scorer: What runs it.
    """
    names = sorted(path.name for path in model_dir.iterdir() if path.suffix in (".onnx", ".safetensors"))
    facts = {
        "files": {name: file_hash(model_dir / name) for name in names},
        "engine": scorer.engine,
        "cinemae": __version__,
        "packages": {name: _version_of(name) for name in _PACKAGES},
    }
    digest = hashlib.sha256(json.dumps(facts, sort_keys=True).encode()).hexdigest()[:16]
    return f"{scorer.model_id} {digest}"


def _version_of(package: str) -> str | None:
    from importlib.metadata import PackageNotFoundError, version  # slow to import, and needed with a file only

    try:
        return version(package)
    except PackageNotFoundError:
        return None
