"""A model on disk: one directory, each part in a plain format, nothing pickled.

::

    config.json                 every setting, threshold and calibration (`cinemae.config.ModelConfig`)
    model.onnx                  the whole method in one graph; all that the light install needs besides config.json
    model.int8.onnx             the same with products of 8-bit integers; may be missing. The weights of a large graph
                                lie in a file beside it, model.HASH.data or model.int8.HASH.data
    head.safetensors            the trained half
    ood.safetensors             what the training images look like, to tell when an image is unlike them; may be missing
    backbone/config.json        the frozen half, in the Hub's ViTMAE layout
    backbone/model.safetensors
    README.md                   the model card
    results.json                every figure of it; of its calibration, with curves: calibration.json
"""

from __future__ import annotations

import hashlib
import json
from pathlib import Path

from cinemae.config import ModelConfig
from cinemae.errors import ConfigError, MissingDependencyError, ModelDirError

CONFIG_FILE = "config.json"
ONNX_FILE = "model.onnx"
INT8_FILE = "model.int8.onnx"
HEAD_FILE = "head.safetensors"
OOD_FILE = "ood.safetensors"
BACKBONE_DIR = "backbone"
RESULTS_FILE = "results.json"
CALIBRATION_FILE = "calibration.json"
FINGERPRINT_KEY, HEAD_KEY = "cinemae.fingerprint", "cinemae.head_sha256"  # what a graph says it was exported from
OOD_KEY = "cinemae.ood_sha256"
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
        reason = (str(error).strip().splitlines() or [type(error).__name__])[0]
        raise ModelDirError(f"there is no directory {name}, and the Hub gave no such model: {reason}") from error


def read_model_config(directory: Path) -> ModelConfig:
    """Read a model's config.json.

    Raises:
        ModelDirError: If it is missing, is not JSON, or holds settings this version cannot read.
    """
    path = directory / CONFIG_FILE
    try:
        values = json.loads(path.read_text(encoding="utf-8"))
        if not isinstance(values, dict):
            raise ModelDirError(f"{path} must hold one JSON object, it holds a {type(values).__name__}.")
        return ModelConfig.from_dict(values)
    except FileNotFoundError as error:
        raise ModelDirError(f"a model directory holds {CONFIG_FILE}; {directory} does not.") from error
    except RecursionError as error:
        raise ModelDirError(f"{path} cannot be used: its brackets are nested too deeply.") from error
    except (OSError, ValueError, TypeError, AttributeError) as error:
        if isinstance(error, ConfigError | json.JSONDecodeError | OSError):
            raise ModelDirError(f"{path} cannot be used: {error}") from error
        raise ModelDirError(f"{path} cannot be used: a setting has the wrong type ({error}).") from error


def file_hash(path: Path) -> str:
    """Return the SHA-256 of a file, in hexadecimal."""
    with path.open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()


def write_model_config(config: ModelConfig, directory: Path) -> None:
    """Write config.json, making the directory where needed."""
    directory.mkdir(parents=True, exist_ok=True)
    text = json.dumps(config.to_dict(), indent=2, ensure_ascii=False) + "\n"
    (directory / CONFIG_FILE).write_text(text, encoding="utf-8")
