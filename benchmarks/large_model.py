"""A whole model directory of ViT-L sizes with random weights, for what is measured without the published ones."""

from __future__ import annotations

import json
from pathlib import Path

import torch
from safetensors.torch import save_file
from transformers import ViTMAEConfig, ViTMAEForPreTraining

from benchmarks.packed_pass import SIZES
from cinemae.config import (
    BackboneInfo,
    DecisionConfig,
    ExtractorConfig,
    HeadConfig,
    LcasConfig,
    LcasReference,
    ModelConfig,
)
from cinemae.core.backbone import hash_weights
from cinemae.core.checkpoint import save_pretrained_folder
from cinemae.core.head import CinemaeHead
from cinemae.models.directory import BACKBONE_DIR, CONFIG_FILE, HEAD_FILE, ONNX_FILE
from cinemae.models.export import export_onnx


def weight_bytes() -> int:
    """Return how many bytes the weights of backbone and head take in float32."""
    with torch.device("meta"):
        modules = ViTMAEForPreTraining(ViTMAEConfig(**SIZES["large"])), CinemaeHead(HeadConfig())
    return sum(tensor.nbytes for module in modules for tensor in module.state_dict().values())


def _write_large_model(directory: Path) -> None:
    """Write config.json, backbone and head with random weights."""
    torch.manual_seed(0)
    mae, head = ViTMAEForPreTraining(ViTMAEConfig(**SIZES["large"])), CinemaeHead(HeadConfig())
    save_pretrained_folder(mae, directory / BACKBONE_DIR)
    save_file(head.state_dict(), directory / HEAD_FILE)
    patches = mae.vit.embeddings.patch_embeddings.num_patches
    config = ModelConfig(
        name="random-large",
        backbone=BackboneInfo(hash_weights(mae), mae.config.patch_size, patches, mae.config.hidden_size),
        extractor=ExtractorConfig(),
        lcas=LcasConfig(),
        head=head.config,
        decision=DecisionConfig(),
        reference=LcasReference(),
        provenance={},
    )
    (directory / CONFIG_FILE).write_text(json.dumps(config.to_dict()))


def make_large_graph(directory: Path) -> Path:
    """Write the model and its graph in float32, unless the graph is there; return the directory."""
    if not (directory / ONNX_FILE).is_file():
        directory.mkdir(parents=True, exist_ok=True)
        _write_large_model(directory)
        export_onnx(directory)
    return directory
