"""``cinemae info``: what a model is."""

from __future__ import annotations

from typing import TYPE_CHECKING

import typer

from cinemae.app.options import ModelOption

if TYPE_CHECKING:
    from pathlib import Path

    from cinemae.config import DecisionConfig, ModelConfig


def info(model: ModelOption = None) -> None:
    """Show a model's name, settings and thresholds."""
    from cinemae.models.directory import read_model_config, resolve_model

    directory = resolve_model(model)
    for name, value in describe(read_model_config(directory), directory).items():
        typer.echo(f"{name:<12}  {value}")


def describe(config: ModelConfig, directory: Path) -> dict[str, str]:
    """Return what there is to say of a model, each in one line."""
    from cinemae.models.directory import BACKBONE_DIR, ONNX_FILE

    backbone, image, mask, head = config.backbone, config.extractor.image, config.extractor.mask, config.head
    decision, onnx = config.decision, directory / ONNX_FILE
    graph = f"{onnx.stat().st_size / 1e6:.1f} MB, runs without torch" if onnx.is_file() else "none: needs torch"
    wanted = config.extractor.global_feature
    of_layers = f" (layers {', '.join(map(str, wanted.cls_layers))})" if wanted.cls_layers else ""
    of_layers += f" ({', '.join(wanted.token_statistics)})" if wanted.token_statistics != ("cls",) else ""
    enters = [*([f"global feature{of_layers}", *wanted.of_pixels] if head.use_global else []), *head.statistics]
    resize = f"shorter side to {image.resize_to}" if image.resize == "shortest_edge" else "stretched"
    resize = "whole picture and native centre" if image.views == "whole_native" else resize
    return {
        "model": config.model_id,
        "directory": str(directory),
        "fingerprint": config.fingerprint,
        "backbone": f"{backbone.num_patches} patches of {backbone.patch_size} pixels, width {backbone.hidden_size}"
        + ("" if (directory / BACKBONE_DIR).is_dir() else " (not in the directory)"),
        "image": f"{image.size} pixels, {resize}, {image.num_views} view{'s' if image.num_views > 1 else ''}"
        + (f", JPEG quality {image.jpeg_quality}" if image.jpeg_quality else ""),
        "masks": f"{mask.num_passes} {mask.scheme}, {mask.mask_ratio:.0%} hidden, seed {mask.seed}",
        "LCAS": f"fidelity weight {config.lcas.fidelity_weight}, reduction {config.lcas.reduction}",
        "head": f"{', '.join(enters)}; fusion {head.fusion}, {head.fusion_level}",
        "probability": _calibration(decision),
        "verdict": f'"ai" from {decision.threshold:.3f}, "real" below {decision.real_below:.3f}',
        "threshold": decision.rule + _measured(decision),
        "doubt": f"out of distribution farther out than {config.ood.limit:.0%} of the photographs calibrated on"
        if config.ood.levels
        else "cannot tell images unlike anything seen: run cinemae calibrate",
        "onnx": graph,
        "precision": f"{config.precision} on a processor, unless asked otherwise",
    }


def _calibration(decision: DecisionConfig) -> str:
    if decision.calibration == "isotonic":
        return f"isotonic regression of the logit, {len(decision.knot_logits)} knots"
    sign = "-" if decision.platt_offset < 0 else "+"
    return f"sigmoid({decision.platt_scale:.3f} * logit {sign} {abs(decision.platt_offset):.3f})"


def _measured(decision: DecisionConfig) -> str:
    if decision.measured_fpr is None or decision.measured_fnr is None:
        return ""
    return f" (held out: {decision.measured_fpr:.1%} and {decision.measured_fnr:.1%})"
