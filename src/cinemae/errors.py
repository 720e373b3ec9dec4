"""Every error that cinemae raises on purpose.

Each sentence says the rule, what came, and what to do. All derive from `CinemaeError`, so one ``except`` catches them.
"""

from __future__ import annotations

from typing import Any


class CinemaeError(Exception):
    """Root of every error that cinemae raises on purpose."""


class ConfigError(CinemaeError, ValueError):
    """A setting is outside its allowed values."""


class ImageError(CinemaeError, ValueError):
    """A file or object could not be read as one still image."""


class SourceError(CinemaeError, ValueError):
    """A folder, glob, list or manifest of images is missing, empty or malformed."""


class CheckpointError(CinemaeError, ValueError):
    """Backbone weights are missing, of the wrong kind, or do not fit the architecture."""


class ModelDirError(CinemaeError, ValueError):
    """A model directory is missing a file or holds one that cannot be read."""


class StoreError(CinemaeError, ValueError):
    """A feature store is missing, malformed, or does not hold what was asked of it."""


class FingerprintMismatchError(CinemaeError, ValueError):
    """Two artefacts were made by different backbones or extractor settings."""


class TrainingError(CinemaeError, ValueError):
    """The data cannot train or validate a head (one class, too few images, non-finite features)."""


class EvaluationError(CinemaeError, ValueError):
    """Predictions cannot be judged or compared (one class, NaN scores, other images), or a file of them is damaged."""


class MissingDependencyError(CinemaeError, ImportError):
    """An optional package is needed; the sentence gives the line that installs it."""


class ServiceError(CinemaeError, RuntimeError):
    """A service refused a request of `cinemae.client.Client`.

    Args:
        message: What it said.
        status: The HTTP status code.
        problem: The RFC 9457 object that it sent; empty if it sent none.
    """

    def __init__(self, message: str, *, status: int, problem: dict[str, Any]) -> None:
        super().__init__(message)
        self.status, self.problem = status, problem
