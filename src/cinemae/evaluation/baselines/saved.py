"""A trained baseline on disk: a folder with ``detector.json`` and ``weights.safetensors``; nothing is pickled."""

from __future__ import annotations

import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any, TypeVar

import numpy as np
from numpy.typing import NDArray
from safetensors import SafetensorError
from safetensors.numpy import load_file, save

from cinemae.errors import ModelDirError
from cinemae.settings import Settings

DETECTOR_FILE = "detector.json"
WEIGHTS_FILE = "weights.safetensors"

Arrays = Mapping[str, NDArray[Any]]
SettingsT = TypeVar("SettingsT", bound=Settings)


def write_detector(folder: Path, name: str, values: Mapping[str, Any], arrays: Arrays) -> None:
    """Write a trained detector, making the folder where needed.

    Args:
        folder: Where to.
        name: The detector's name; `read_detector` asks for the same.
        values: What else it needs, as JSON types.
        arrays: Its weights by name.
    """
    folder.mkdir(parents=True, exist_ok=True)
    contiguous = {key: np.ascontiguousarray(value).reshape(value.shape) for key, value in arrays.items()}
    (folder / WEIGHTS_FILE).write_bytes(save(contiguous))
    text = json.dumps({"detector": name, **values}, indent=2, ensure_ascii=False)
    (folder / DETECTOR_FILE).write_text(text + "\n", encoding="utf-8")


def saved_name(folder: Path) -> str:
    """Return the name of the detector that a folder holds.

    Raises:
        ModelDirError: If it holds none.
    """
    return str(_read_json(folder)["detector"])


def read_detector(folder: Path, name: str) -> tuple[dict[str, Any], dict[str, NDArray[Any]]]:
    """Read what `write_detector` wrote.

    Returns:
        The values and the weights.

    Raises:
        ModelDirError: If a file is missing or damaged, or the folder holds another detector.
    """
    values = _read_json(folder)
    if values["detector"] != name:
        raise ModelDirError(f"{folder} holds a saved {values['detector']}, not a saved {name}: name another folder.")
    path = folder / WEIGHTS_FILE
    try:
        return values, dict(load_file(path))
    except FileNotFoundError as error:
        raise ModelDirError(f"a saved detector has its weights in {WEIGHTS_FILE}; {folder} has none.") from error
    except (OSError, SafetensorError) as error:
        raise ModelDirError(f"{path} cannot be read ({error}): restore it, or train again.") from error


def read_settings(folder: Path, values: Mapping[str, Any], key: str, kind: type[SettingsT]) -> SettingsT:
    """Return the settings under a key of what `read_detector` read.

    Raises:
        ModelDirError: If there are none, or they are not settings of this kind.
    """
    try:
        return kind.from_dict(values[key])
    except KeyError as error:
        raise ModelDirError(f"{folder / DETECTOR_FILE} lacks {error}: restore it, or train again.") from error
    except (TypeError, ValueError) as error:
        raise ModelDirError(f'{folder / DETECTOR_FILE} has no settings under "{key}" to go by ({error}).') from error


def misfit(folder: Path, reason: object) -> ModelDirError:
    """Return the error for a folder whose two files do not fit each other."""
    return ModelDirError(
        f"the weights in {folder} do not fit its {DETECTOR_FILE} ({reason}): restore it or train again."
    )


def _read_json(folder: Path) -> dict[str, Any]:
    path = folder / DETECTOR_FILE
    try:
        values = json.loads(path.read_text(encoding="utf-8"))
    except FileNotFoundError as error:
        raise ModelDirError(f"a saved detector is a folder with {DETECTOR_FILE}; {folder} has none.") from error
    except (OSError, ValueError) as error:
        raise ModelDirError(f"{path} cannot be read ({error}): restore it, or train again.") from error
    if not isinstance(values, dict) or not isinstance(values.get("detector"), str):
        raise ModelDirError(
            f'{path} must hold one JSON object with a name under "detector": restore it or train again.'
        )
    return values
