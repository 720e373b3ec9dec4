"""A model on disk: one directory, each part in a plain format, nothing pickled.

::

    config.json                 every setting, threshold and calibration (`cinemae.config.ModelConfig`)
    model.onnx                  the method from pixels to logit as a graph, for the light install; it reads its weights
                                from the two safetensors files
    model.int8.onnx             the same with products of 8-bit integers and weights of its own, large ones in a file
                                beside it, model.int8.HASH.data; may be missing
    head.safetensors            the trained half
    ood.safetensors             what the training images look like, to tell when an image is unlike them; may be missing
    backbone/config.json        the frozen half, in the Hub's ViTMAE layout
    backbone/model.safetensors
    README.md                   the model card
    results.json                every figure of it; of its calibration, with curves: calibration.json
"""

from __future__ import annotations

import contextlib
import hashlib
import json
import shutil
import zlib
from pathlib import Path
from typing import Any

from cinemae.config import ModelConfig
from cinemae.errors import ConfigError, MissingDependencyError, ModelDirError, first_line

CONFIG_FILE = "config.json"
ONNX_FILE = "model.onnx"
INT8_FILE = "model.int8.onnx"
HEAD_FILE = "head.safetensors"
OOD_FILE = "ood.safetensors"
BACKBONE_DIR = "backbone"
BACKBONE_FILE = f"{BACKBONE_DIR}/model.safetensors"
RESULTS_FILE = "results.json"
CALIBRATION_FILE = "calibration.json"
CARD_FILE = "README.md"
TRAINING_PLOT = "training.png"
CALIBRATION_PLOTS = ("reliability.png", "risk-coverage.png")
PLOTS = (TRAINING_PLOT, *CALIBRATION_PLOTS)
UNREADABLE_FILES = ("unreadable.txt", "calibration-unreadable.txt")  # of fine-tuning, and of calibrating
READY_DIR, OBSOLETE_FILE = ".cinemae-ready", ".obsolete"  # see `finish_writing`
FINGERPRINT_KEY, HEAD_KEY = "cinemae.fingerprint", "cinemae.head_sha256"  # what a graph says it was exported from
BACKBONE_KEY = "cinemae.backbone_crc32"  # `file_checksum` of the backbone that a graph reads weights from
PRECISION_KEY = "cinemae.precision"  # what a graph computes in; graphs without it: float32
STARTER = Path(__file__).resolve().parent.parent / "starter"


def resolve_model(
    path_or_id: str | Path | None,
    *,
    revision: str | None = None,
    token: str | None = None,
    cache_dir: str | Path | None = None,
    local_files_only: bool = False,
) -> Path:
    """Find a model's directory: None is the bundled starter, else a local directory, else a Hub id.

    Args:
        path_or_id: ``owner/name`` for a Hub id, or ``owner/name@revision``.
        revision: Branch, tag or commit of a Hub id.
        token: For a private one; None for the one that ``hf auth login`` keeps.
        cache_dir: Where the Hub's files are kept; None for its own cache.
        local_files_only: Never ask the network; the cache must hold the files.

    Raises:
        ModelDirError: If there is no such directory and the name is no Hub id that can be fetched.
        MissingDependencyError: If it names a Hub id and the package that downloads from the Hub is not installed.
    """
    if path_or_id is None:
        return STARTER
    path = Path(path_or_id)
    if path.is_dir():
        return path
    name = str(path_or_id)
    if name.count("/") != 1 or name.startswith((".", "/", "~")) or path.exists():
        raise ModelDirError(f"a model is a directory that holds {CONFIG_FILE}; {name} is not a directory.")
    try:
        from huggingface_hub import snapshot_download
    except ImportError as error:
        raise MissingDependencyError(
            f"there is no directory {name}; to fetch it from the Hub, run: pip install 'cinemae[torch]'"
        ) from error
    try:
        repository, _, stated = name.partition("@")
        found = snapshot_download(
            repository,
            revision=stated or revision,
            token=token,
            cache_dir=cache_dir,
            local_files_only=local_files_only,
        )
        return Path(found)
    except (OSError, ValueError) as error:
        raise ModelDirError(
            f"there is no directory {name}, and the Hub gave no such model: {first_line(error)}"
        ) from error


def read_model_config(directory: Path) -> ModelConfig:
    """Read a model's config.json.

    Raises:
        ModelDirError: If it is missing, is not JSON, or holds settings this version cannot read.
    """
    finish_writing(directory)
    return parse_model_config(read_json(directory / CONFIG_FILE), directory / CONFIG_FILE)


def parse_model_config(values: dict[str, Any], path: Path) -> ModelConfig:
    """Build the settings from the content of a config.json.

    Raises:
        ModelDirError: If it holds settings this version cannot read.
    """
    try:
        return ModelConfig.from_dict(values)
    except ConfigError as error:
        raise ModelDirError(f"{path} cannot be used: {error}") from error
    except (ValueError, TypeError, AttributeError) as error:
        raise ModelDirError(f"{path} cannot be used: a setting has the wrong type ({error}).") from error


def read_json(path: Path) -> dict[str, Any]:
    """Read a file of a model directory that holds a JSON object.

    Raises:
        ModelDirError: If it is missing, or is something else.
    """
    try:
        values = json.loads(path.read_text(encoding="utf-8"))
    except FileNotFoundError as error:
        raise ModelDirError(f"a model directory holds {path.name}; {path.parent} does not.") from error
    except RecursionError as error:
        raise ModelDirError(f"{path} cannot be used: its brackets are nested too deeply.") from error
    except (OSError, ValueError) as error:
        raise ModelDirError(f"{path} cannot be used: {error}") from error
    if not isinstance(values, dict):
        raise ModelDirError(f"{path} must hold one JSON object, it holds a {type(values).__name__}.")
    return values


def finish_writing(directory: Path) -> None:
    """Move files into their places that `cinemae.models.bundle` has written whole; config.json last.

    It does so itself, at once; here it is done for a run that was killed between the two.
    """
    ready = directory / READY_DIR
    if not ready.is_dir():
        return
    try:
        for name in json.loads((ready / OBSOLETE_FILE).read_text(encoding="utf-8")):
            (directory / name).unlink(missing_ok=True)
        files = [path for path in ready.rglob("*") if path.is_file() and path.name != OBSOLETE_FILE]
        for path in sorted(files, key=lambda path: path == ready / CONFIG_FILE):
            target = directory / path.relative_to(ready)
            target.parent.mkdir(exist_ok=True)
            with contextlib.suppress(FileNotFoundError):  # another process is doing the same
                path.replace(target)
        shutil.rmtree(ready, ignore_errors=True)
    except FileNotFoundError:
        return  # another process has done it
    except OSError as error:
        raise ModelDirError(
            f"{directory} was being written when the run ended, and the rest cannot be done here ({error}): let "
            "whoever may write there open the model once."
        ) from error


def is_hidden(path: Path) -> bool:
    """Tell whether a file or folder is none of a model's, but left by a run that was killed, or of another program."""
    return path.name.startswith(".")


def file_hash(path: Path) -> str:
    """Return the SHA-256 of a file, in hexadecimal."""
    with path.open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()


def file_checksum(path: Path) -> str:
    """Return the CRC-32 of a file, in hexadecimal: tells two files apart in a quarter of the time of `file_hash`."""
    checksum = 0
    with path.open("rb") as file:
        while part := file.read(1 << 20):
            checksum = zlib.crc32(part, checksum)
    return f"{checksum:08x}"
