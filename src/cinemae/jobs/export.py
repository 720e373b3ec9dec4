"""Write a model's ONNX graph: the whole method from `pixel_values` to verdict in one file, for the light install.

Large weights that float16 holds exactly are stored as float16 and widened when the graph is loaded; all others stay
float32. So torch and ONNX compute with the same numbers, and a backbone that was saved in float16, as `jobs.pretrain`
does, takes half the space (decision 0007).
"""

from __future__ import annotations

import contextlib
import io
import logging
import warnings
from collections.abc import Iterator
from pathlib import Path

import numpy as np
import onnx
import torch
from onnx import TensorProto, helper, numpy_helper
from safetensors.torch import load_file
from torch import Tensor, nn

from cinemae.config import DecisionConfig, LcasConfig, ModelConfig
from cinemae.core.anomaly_stats import anomaly_stats
from cinemae.core.backbone import FrozenMAE
from cinemae.core.features import FeatureExtractor, features_to_lcas
from cinemae.core.head import CinemaeHead
from cinemae.data.model_dir import (
    BACKBONE_DIR,
    FINGERPRINT_KEY,
    HEAD_FILE,
    HEAD_KEY,
    ONNX_FILE,
    file_hash,
    read_model_config,
)
from cinemae.errors import FingerprintMismatchError, ModelDirError

OUTPUTS = ("logit", "prob_fake", "stats", "lcas", "global_feature")
_SMALLEST_NARROWED = 1024  # values; smaller tensors stay float32


class CinemaeGraph(nn.Module):
    """The method end to end, Eqs. 1-9 and calibration: what is exported, and what torch scores with.

    Args:
        extractor: The frozen half.
        head: The trained half.
        lcas: Weight and reduction of Eq. 4's terms.
        decision: Calibration of the logit.
    """

    def __init__(
        self, extractor: FeatureExtractor, head: CinemaeHead, lcas: LcasConfig, decision: DecisionConfig
    ) -> None:
        super().__init__()
        self.extractor, self.head = extractor, head
        self.lcas, self.decision = lcas, decision

    def forward(self, pixel_values: Tensor, noise: Tensor) -> tuple[Tensor, Tensor, Tensor, Tensor, Tensor]:
        """Return logit (N,), prob_fake (N,), stats (N, 3), lcas (N, K, L) and global_feature (N, D)."""
        features = self.extractor(pixel_values, noise)
        lcas = features_to_lcas(features, self.lcas, self.extractor.backbone.patch_dim)
        stats = anomaly_stats(lcas)
        logit = self.head(features.global_feature, stats)
        prob_fake = torch.sigmoid(self.decision.platt_scale * logit + self.decision.platt_offset)
        return logit, prob_fake, stats, lcas, features.global_feature


def load_graph(directory: Path, config: ModelConfig | None = None) -> CinemaeGraph:
    """Load backbone and head of a model directory as one torch module, in evaluation mode.

    Raises:
        ModelDirError: If the head is missing or does not fit config.json.
        FingerprintMismatchError: If the backbone is not the one the head was trained on.
    """
    config = config or read_model_config(directory)
    extractor = FeatureExtractor(FrozenMAE.from_pretrained(directory / BACKBONE_DIR), config.extractor)
    if extractor.fingerprint != config.fingerprint:
        raise FingerprintMismatchError(
            f"the head in {directory} was trained on features {config.fingerprint}, its backbone gives "
            f"{extractor.fingerprint}: the two do not belong together; train again or restore the backbone."
        )
    head = CinemaeHead(config.head)
    try:
        head.load_state_dict(load_file(directory / HEAD_FILE))
    except (OSError, RuntimeError) as error:
        reason = str(error).splitlines()[0]
        raise ModelDirError(f"{directory / HEAD_FILE} does not fit its config.json: {reason}") from error
    return CinemaeGraph(extractor, head, config.lcas, config.decision).eval()


def export_onnx(directory: Path) -> Path:
    """Write ``model.onnx`` of a model directory from its backbone, head and config.json.

    The graph takes `pixel_values` (N, 3, S, S) and `noise` (K, L), both float32 with N and K free; `noise` has the
    configured masks as its default. It gives the outputs named in `OUTPUTS`.

    Args:
        directory: A model directory with config.json, backbone and head.

    Returns:
        The path written.

    Raises:
        ModelDirError: If the directory is incomplete.
        FingerprintMismatchError: If backbone and head do not belong together.
    """
    graph = load_graph(directory)
    backbone = graph.extractor.backbone
    size = backbone.image_size
    sample = (torch.zeros(2, 3, size, size), torch.rand(3, backbone.num_patches))
    batch, passes = torch.export.Dim("N", min=1, max=4096), torch.export.Dim("K", min=1, max=64)
    with _quiet(), torch.inference_mode():
        program = torch.onnx.export(
            graph,
            sample,
            input_names=["pixel_values", "noise"],
            output_names=list(OUTPUTS),
            dynamic_shapes=({0: batch}, {0: passes}),
            dynamo=True,
            external_data=False,
        )
    if program is None:
        raise ModelDirError(f"the graph of {directory} could not be exported.")
    model = program.model_proto
    _add_default_noise(model, graph.extractor.noise)
    _narrow_weights(model)
    _drop_traces(model)
    sources = {FINGERPRINT_KEY: graph.extractor.fingerprint, HEAD_KEY: file_hash(directory / HEAD_FILE)}
    helper.set_model_props(model, sources)
    onnx.checker.check_model(model)
    path = directory / ONNX_FILE
    partial = path.with_suffix(".partial")
    onnx.save(model, partial)
    partial.replace(path)
    return path


@contextlib.contextmanager
def _quiet() -> Iterator[None]:
    """Keep the exporter's progress lines and deprecation warnings out of the user's terminal."""
    logger = logging.getLogger("torch.onnx")
    level = logger.level
    logger.setLevel(logging.ERROR)
    try:
        with warnings.catch_warnings(), contextlib.redirect_stdout(io.StringIO()):
            warnings.simplefilter("ignore")
            yield
    finally:
        logger.setLevel(level)


def _add_default_noise(model: onnx.ModelProto, noise: Tensor) -> None:
    """Give the input `noise` the configured masks as default value; feeding the input overrides it."""
    model.graph.initializer.append(numpy_helper.from_array(noise.numpy(), "noise"))


def _drop_traces(model: onnx.ModelProto) -> None:
    """Remove the exporter's notes on where in the source each node came from: they hold paths of the machine."""
    for part in (model.graph, *model.graph.node, *model.graph.initializer, *model.graph.input, *model.graph.output):
        part.doc_string = ""
        del part.metadata_props[:]


def _narrow_weights(model: onnx.ModelProto) -> None:
    """Store every large weight that float16 holds exactly as float16, and cast it back where it is used."""
    casts = []
    for weight in model.graph.initializer:
        if weight.data_type != TensorProto.FLOAT or weight.name == "noise":
            continue
        values = numpy_helper.to_array(weight)
        with np.errstate(over="ignore"):  # too large for float16: not equal, so it stays
            narrow = values.astype(np.float16)
        if values.size < _SMALLEST_NARROWED or not np.array_equal(narrow.astype(np.float32), values):
            continue
        name = weight.name
        weight.CopyFrom(numpy_helper.from_array(narrow, f"{name}.float16"))
        casts.append(helper.make_node("Cast", [f"{name}.float16"], [name], to=TensorProto.FLOAT))
    nodes = [*casts, *model.graph.node]
    del model.graph.node[:]
    model.graph.node.extend(nodes)
    del model.graph.value_info[:]
