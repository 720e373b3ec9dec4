"""What a model card says of the int8 graph: what it changes on labelled images."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from cinemae.config import ModelConfig
from cinemae.models.directory import INT8_FILE


def precision_section(config: ModelConfig, results: dict[str, Any], directory: Path) -> str:
    """Return the section on ``model.int8.onnx``; empty where there is none, or its figures are another calibration's.

    Args:
        config: The model's settings.
        results: ``int8`` from `cinemae.evaluation.precision.export_int8`.
        directory: The model directory.
    """
    found = results.get("int8")
    if found is None or not (directory / INT8_FILE).is_file():
        return ""
    if found["model"] != config.model_id:
        return (
            "## In int8\n\nThe model was calibrated again since its int8 graph was measured: run cinemae export "
            "--precision int8 again.\n"
        )
    low, high = found["auc_drop_low"], found["auc_drop_high"]
    return f"""\
## In int8

`--precision int8` runs `{INT8_FILE}`: the products of the backbone in 8-bit integers, the rest in float32. On
{found["num_real"]} photographs and {found["num_fake"]} generated images, against float32:

| figure | value |
|---|---|
| difference of the probability, mean | {found["mean_deviation"]:.4f} |
| difference of the probability, 99 % of images below | {found["p99_deviation"]:.4f} |
| difference of the probability, largest | {found["max_deviation"]:.4f} |
| images with another verdict | {found["verdict_changes"]} |
| AUC, all images pooled, float32 | {found["auc_fp32"]:.4f} |
| AUC, all images pooled, int8 | {found["auc_int8"]:.4f} |
| loss of AUC, with 95 % interval | {found["auc_drop"]:.4f} [{low:.4f}, {high:.4f}] |
"""
