"""Load a model directory's weights with torch: the frozen half alone, or the whole method."""

from __future__ import annotations

from pathlib import Path

import torch
from safetensors import SafetensorError
from safetensors.torch import load_file

from cinemae.config import ModelConfig
from cinemae.core.backbone import FrozenMAE
from cinemae.core.features import FeatureExtractor
from cinemae.core.head import CinemaeHead
from cinemae.core.model import CinemaeModel
from cinemae.errors import FingerprintMismatchError, ModelDirError, first_line
from cinemae.models.directory import BACKBONE_DIR, HEAD_FILE, read_model_config


def load_extractor(
    directory: Path,
    config: ModelConfig,
    *,
    device: str | torch.device = "cpu",
    dtype: torch.dtype = torch.float32,
) -> FeatureExtractor:
    """Load the frozen half of a model directory.

    Args:
        directory: The model directory.
        config: Its config.json.
        device: Where to run.
        dtype: What the backbone computes in.

    Raises:
        ModelDirError: If there is no backbone.
        FingerprintMismatchError: If it is not the one the head was trained on.
    """
    if not (directory / BACKBONE_DIR).is_dir():
        raise ModelDirError(f"torch needs the backbone of a model, {directory} holds no folder {BACKBONE_DIR}.")
    backbone = FrozenMAE.from_pretrained(directory / BACKBONE_DIR, local_files_only=True, device=device, dtype=dtype)
    extractor = FeatureExtractor(backbone, config.extractor).to(device)
    if extractor.fingerprint != config.fingerprint:
        raise FingerprintMismatchError(
            f"the head in {directory} was trained on features {config.fingerprint}, its backbone gives "
            f"{extractor.fingerprint}: the two do not belong together; restore the backbone or train again."
        )
    return extractor.eval()


def load_model(
    directory: Path,
    config: ModelConfig | None = None,
    *,
    device: str | torch.device = "cpu",
    dtype: torch.dtype = torch.float32,
) -> CinemaeModel:
    """Load backbone and head of a model directory as one torch module, in evaluation mode.

    Args:
        directory: The model directory.
        config: Its config.json; None to read it.
        device: Where to run.
        dtype: What the backbone computes in; the head stays float32.

    Raises:
        ModelDirError: If a file is missing or does not fit config.json.
        FingerprintMismatchError: If the backbone is not the one the head was trained on.
    """
    config = config or read_model_config(directory)
    extractor = load_extractor(directory, config, device=device, dtype=dtype)
    return CinemaeModel(extractor, load_head(directory, config), config.lcas).to(device)


def load_head(directory: Path, config: ModelConfig) -> CinemaeHead:
    """Load the trained half of a model directory.

    Args:
        directory: The model directory.
        config: Its config.json.

    Raises:
        ModelDirError: If the file is missing or does not fit config.json.
    """
    head, path = CinemaeHead(config.head), directory / HEAD_FILE
    try:
        head.load_state_dict(load_file(path))
    except (OSError, RuntimeError, SafetensorError) as error:
        raise ModelDirError(f"{path} cannot be used ({first_line(error)}): restore it or train again.") from error
    return head
