"""Every error that cinemae raises on purpose.

Each sentence says the rule, what came, and what to do. All derive from `CinemaeError`, so one ``except`` catches them.
"""

from __future__ import annotations

import hashlib
import logging
import traceback
from typing import Any

UNEXPECTED = "an unexpected "
"""How the sentence about an error that nobody foresaw begins."""

_logger = logging.getLogger(__name__)


class CinemaeError(Exception):
    """Root of every error that cinemae raises on purpose."""


def log_unexpected(error: Exception) -> str:
    """Log an error that nobody foresaw, and return the sentence for the image at which it happened.

    In bulk such an image is a row, as one that cannot be read. The log names no file, since it may be shown to others
    than the row; the same fault has the same id at every image.

    Args:
        error: What was raised; never a `CinemaeError`, which speaks for itself.
    """
    places = [f"{type(error).__name__}"]
    places += [f"{frame.filename}:{frame.lineno}" for frame in traceback.extract_tb(error.__traceback__)]
    number = hashlib.sha256("\n".join(places).encode()).hexdigest()[:8]
    _logger.error("unexpected error %s while an image was examined", number, exc_info=error)
    return (
        f"{UNEXPECTED}{type(error).__name__} (error {number}) kept this image from being examined: the log explains "
        "it under that id; please report both."
    )


def first_line(error: BaseException) -> str:
    r"""Return the first line of what an error says, or its name where it says nothing.

    Example:
        >>> first_line(ValueError("no such layer\nTraceback")), first_line(ValueError())
        ('no such layer', 'ValueError')
    """
    return (str(error).strip().splitlines() or [type(error).__name__])[0]


class ConfigError(CinemaeError, ValueError):
    """A setting is outside its allowed values."""


class ImageError(CinemaeError, ValueError):
    """A file or object could not be read as one still image."""


def why_unread(error: Exception) -> str:
    """Return why an image has no result: its own fault, or the sentence of `log_unexpected`.

    Args:
        error: What was raised while the image was examined.

    Raises:
        CinemaeError: The error itself, if it is about more than this image.
    """
    if isinstance(error, ImageError):
        return str(error)
    if isinstance(error, CinemaeError):
        raise error
    return log_unexpected(error)


class SourceError(CinemaeError, ValueError):
    """A folder, glob, list or manifest of images is missing, empty or malformed."""


class RemoteError(CinemaeError, OSError):
    """An object in a store or on the web cannot be fetched, listed or written."""


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


class CacheError(CinemaeError, ValueError):
    """A score cache is missing, damaged, or another kind of file."""


class MissingDependencyError(CinemaeError, ImportError):
    """An optional package is needed; the sentence gives the line that installs it."""


class WorkerError(CinemaeError, RuntimeError):
    """A process that should work on images cannot be started, or dies whatever it is given; or a cluster is gone."""


class FailureLimitError(CinemaeError, RuntimeError):
    """More images failed than the caller allows; what is finished is kept."""

    @classmethod
    def check(cls, num_failed: int, max_failures: int | None) -> None:
        """Raise if more failed than `max_failures`; None allows any number."""
        if max_failures is not None and num_failed > max_failures:
            raise cls(
                f"stopped: {num_failed} images could not be read, {max_failures} were allowed. What is finished is "
                "kept: see what its failed rows say, then run the same command again."
            )


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
