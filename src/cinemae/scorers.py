"""From `pixel_values` to scores: `OnnxScorer` needs only the light install, `TorchScorer` runs on any torch device.

Both run the same computation. An image is never computed together with a varying number of others, because matrix
products of different sizes may round differently: `OnnxScorer` runs image by image, `TorchScorer` in chunks of one
fixed size. So a score depends on the image and the model alone.
"""

from __future__ import annotations

import dataclasses
import os
from abc import abstractmethod
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal, Protocol

import numpy as np
from numpy.typing import NDArray

from cinemae.config import ModelConfig
from cinemae.core.calibration import calibrate
from cinemae.core.masking import complementary_noise, noise_from_config
from cinemae.data.model_dir import (
    FINGERPRINT_KEY,
    HEAD_FILE,
    HEAD_KEY,
    ONNX_FILE,
    OOD_FILE,
    OOD_KEY,
    file_hash,
    read_model_config,
)
from cinemae.errors import ConfigError, MissingDependencyError, ModelDirError

Device = Literal["auto", "cpu", "cuda", "mps"]
MAP_PASSES = 4
"""Masked passes of a full-coverage map; with a mask ratio of 0.75 each patch is hidden in three of them."""

_INPUTS = ("pixel_values", "noise")
_OUTPUTS = ["logit", "stats", "lcas"]
_DISTANCE = "ood_distance"  # graphs of older models lack it
_Outputs = tuple[NDArray[np.float32], NDArray[np.float32], NDArray[np.float32], NDArray[np.float32]]


@dataclass(frozen=True)
class Scores:
    """What the model says of N images.

    Attributes:
        logit: z of Eq. 9, the views joined as the head was trained to, (N,).
        prob_fake: The calibrated probability that the image was generated, (N,).
        stats: s1, s2, s3, averaged over the views, (N, 3).
        lcas: Of the first view, (N, K, L), nan where visible.
        ood_distance: How far from the training images, (N,); nan if the model does not know.
            `cinemae.core.calibration.ood_score` says how far that is.
    """

    logit: NDArray[np.float64]
    prob_fake: NDArray[np.float64]
    stats: NDArray[np.float64]
    lcas: NDArray[np.float32]
    ood_distance: NDArray[np.float64]


class Scorer(Protocol):
    """Whatever turns `pixel_values` into `Scores`. Safe to call from several threads."""

    config: ModelConfig

    def score(self, pixel_values: NDArray[np.float32], *, mask_seed: int | None = None) -> Scores:
        """Score N images of V views, (N, V, 3, S, S), with the model's masks or those of another seed."""
        ...

    def lcas_map(self, pixel_values: NDArray[np.float32]) -> NDArray[np.float32]:
        """Return how hard each patch of one image's views (V, 3, S, S) is to predict from its context."""
        ...


class _ModelScorer:
    """Views, calibration and full-coverage maps around `_run`: the same for every engine."""

    def __init__(self, config: ModelConfig) -> None:
        self.config = config
        mask, num_patches = config.extractor.mask, config.backbone.num_patches
        self._noise = noise_from_config(mask, num_patches)
        self._map_noise = complementary_noise(mask.seed, MAP_PASSES, num_patches)

    @abstractmethod
    def _run(self, pixel_values: NDArray[np.float32], noise: NDArray[np.float32]) -> _Outputs:
        """Return logit (N,), stats (N, 3), lcas (N * V, K, L) and ood_distance (N,) of (N * V, 3, S, S)."""

    def score(self, pixel_values: NDArray[np.float32], *, mask_seed: int | None = None) -> Scores:
        """Score preprocessed images.

        Args:
            pixel_values: (N, V, 3, S, S), as `cinemae.core.preprocess.preprocess` gives them, stacked.
            mask_seed: Draw the masks from another seed than the model's, to see how much hangs on them.

        Raises:
            ConfigError: If the shape is not the model's.
        """
        image = self.config.extractor.image
        self._check_shape(pixel_values, (image.num_views, 3, image.size, image.size))
        n, views = pixel_values.shape[:2]
        noise = self._noise
        if mask_seed is not None:
            mask = dataclasses.replace(self.config.extractor.mask, seed=mask_seed)
            noise = noise_from_config(mask, self.config.backbone.num_patches)
        logit, stats, lcas, distance = self._run(pixel_values.reshape(n * views, *pixel_values.shape[2:]), noise)
        return Scores(
            logit=logit.astype(np.float64),
            prob_fake=calibrate(logit.astype(np.float64), self.config.decision),
            stats=stats.astype(np.float64),
            lcas=lcas.reshape(n, views, *lcas.shape[1:])[:, 0],
            ood_distance=distance.astype(np.float64),
        )

    def lcas_map(self, pixel_values: NDArray[np.float32]) -> NDArray[np.float32]:
        """Return the LCAS of every patch, averaged over four complementary masks.

        Args:
            pixel_values: All views of one image, (V, 3, S, S).

        Returns:
            (rows, columns) over what `cinemae.heatmap.view_box` names: the centre view, or all tiles put together.
            High means hard to predict from context, which photographs are; it is not a fake score.

        Raises:
            ConfigError: If the shape is not the model's.
        """
        image = self.config.extractor.image
        self._check_shape(pixel_values[None], (image.num_views, 3, image.size, image.size))
        tiles = round(image.num_views**0.5) if image.views == "tiles" else 1
        lcas = self._run(pixel_values, self._map_noise)[2][: tiles * tiles]
        rows = round(lcas.shape[2] ** 0.5)
        maps = np.nanmean(lcas, axis=1, dtype=np.float64).reshape(tiles, tiles, rows, rows)
        return np.asarray(maps.transpose(0, 2, 1, 3).reshape(tiles * rows, tiles * rows), np.float32)

    def _check_shape(self, pixel_values: NDArray[np.float32], shape: tuple[int, ...]) -> None:
        if pixel_values.shape[1:] != shape or not len(pixel_values):
            raise ConfigError(
                f"pixel_values of {self.config.name} must be N images of shape {shape}, got an array of shape "
                f"{pixel_values.shape}: preprocess with the model's own image settings."
            )


class OnnxScorer(_ModelScorer):
    """Runs ``model.onnx`` on the processor with ONNX Runtime.

    Args:
        model_dir: A model directory with config.json and model.onnx.
        num_threads: How many compute one image; None for one a core. Changes speed, not scores.

    Raises:
        ModelDirError: If a file is missing or cannot be used.
    """

    def __init__(self, model_dir: str | Path, *, num_threads: int | None = None) -> None:
        directory = Path(model_dir)
        super().__init__(read_model_config(directory))
        self._session = _open_session(directory / ONNX_FILE, self.config.fingerprint, num_threads)
        known = {node.name for node in self._session.get_outputs()}
        self._outputs = [*_OUTPUTS, _DISTANCE] if _DISTANCE in known else _OUTPUTS

    def _run(self, pixel_values: NDArray[np.float32], noise: NDArray[np.float32]) -> _Outputs:
        views = self.config.extractor.image.num_views  # an image's views run together, whatever it came with
        rows = [
            self._session.run(self._outputs, {"pixel_values": pixel_values[start : start + views], "noise": noise})
            for start in range(0, len(pixel_values), views)
        ]
        logit, stats, lcas, *distance = (np.concatenate(parts) for parts in zip(*rows, strict=True))
        return logit, stats, lcas, distance[0] if distance else np.full_like(logit, np.nan)


class TorchScorer(_ModelScorer):
    """Runs the backbone and the head with torch.

    Args:
        model_dir: A model directory with config.json, backbone and head.safetensors.
        device: Where to run: "cpu", "cuda", "cuda:1", "mps"; "auto" takes a CUDA device if there is one.
        dtype: What the backbone computes in.

    Raises:
        MissingDependencyError: If torch or transformers is not installed.
        ModelDirError: If a file is missing or cannot be used.
        FingerprintMismatchError: If the head was trained on another backbone's features.
        ConfigError: If there is no such device.
    """

    def __init__(
        self, model_dir: str | Path, *, device: str = "auto", dtype: Literal["float32", "bfloat16"] = "float32"
    ) -> None:
        directory = Path(model_dir)
        super().__init__(read_model_config(directory))
        try:
            import torch

            from cinemae.data.model_weights import load_model
        except ModuleNotFoundError as error:
            package = (error.name or "torch").partition(".")[0]
            raise MissingDependencyError(
                f"{directory} is to be run with torch, and {package} is not installed: pip install 'cinemae[torch]'"
            ) from error
        self._torch = torch
        self._device = find_device(device)
        self._chunk = self.config.extractor.image.num_views * (1 if self._device.type == "cpu" else 8)
        self._model = load_model(directory, self.config, device=self._device, dtype=getattr(torch, dtype))

    def _run(self, pixel_values: NDArray[np.float32], noise: NDArray[np.float32]) -> _Outputs:
        torch, views = self._torch, self.config.extractor.image.num_views
        mask_noise = torch.from_numpy(noise).to(self._device)
        chunks: list[list[NDArray[np.float32]]] = []
        with torch.inference_mode():
            for start in range(0, len(pixel_values), self._chunk):
                part = torch.from_numpy(pixel_values[start : start + self._chunk]).to(self._device)
                filling = part.new_zeros(self._chunk - len(part), *part.shape[1:])
                whole = torch.cat([part, filling]) if len(filling) else part
                logit, _, stats, lcas, _, distance = self._model(whole, mask_noise)
                images = len(part) // views
                outputs = zip((logit, stats, lcas, distance), (images, images, len(part), images), strict=True)
                chunks.append([output[:count].float().cpu().numpy() for output, count in outputs])
        logit, stats, lcas, distance = (np.concatenate(parts) for parts in zip(*chunks, strict=True))
        return logit, stats, lcas, distance


def make_scorer(model_dir: str | Path, device: str = "auto", *, num_threads: int | None = None) -> Scorer:
    """Choose how to run a model.

    Args:
        model_dir: A model directory.
        device: "auto" and "cpu" run model.onnx, or torch where there is none; "cuda" and "mps" run torch.
        num_threads: As for `OnnxScorer`; torch has a setting of its own.

    Raises:
        ConfigError: If the device is none of these, or torch cannot see it.
        MissingDependencyError: If torch is needed and not installed.
        ModelDirError: If the directory lacks a file or holds one that cannot be used.
    """
    if device.partition(":")[0] not in ("auto", "cpu", "cuda", "mps"):
        raise ConfigError(f"device must be auto, cpu, cuda or mps, got {device!r}.")
    if device in ("auto", "cpu") and (Path(model_dir) / ONNX_FILE).exists():
        return OnnxScorer(model_dir, num_threads=num_threads)
    return TorchScorer(model_dir, device=device)


def _open_session(path: Path, fingerprint: str, num_threads: int | None) -> Any:  # noqa: ANN401 - it has no types
    if not path.is_file():
        raise ModelDirError(f"the light install scores with {ONNX_FILE}, {path.parent} holds none: run cinemae export.")
    # ONNX Runtime 1.29 and later sends usage data and leaves files behind unless this is set before its import.
    os.environ.setdefault("ORT_DISABLE_TELEMETRY", "1")
    import onnxruntime

    options = onnxruntime.SessionOptions()
    options.log_severity_level = 4
    options.intra_op_num_threads = num_threads or 0  # 0: one a core
    options.add_session_config_entry("session.intra_op.allow_spinning", "0")  # leave the cores to the decoders
    try:
        session = onnxruntime.InferenceSession(str(path), options, providers=["CPUExecutionProvider"])
    except Exception as error:  # ONNX Runtime raises a family of its own without a common root
        reason = (str(error).strip().splitlines() or [type(error).__name__])[0]
        raise ModelDirError(f"{path} cannot be used ({reason}): fetch it again, or run cinemae export.") from error
    given = {node.name for node in (*session.get_inputs(), *session.get_overridable_initializers())}
    given |= {node.name for node in session.get_outputs()}
    missing = sorted({*_INPUTS, *_OUTPUTS} - given)
    if missing:
        raise ModelDirError(f"{path} has no {', '.join(missing)}: it is not a cinemae graph; run cinemae export.")
    stated = session.get_modelmeta().custom_metadata_map
    beside = {key: path.parent / name for key, name in ((HEAD_KEY, HEAD_FILE), (OOD_KEY, OOD_FILE))}
    others = [key for key, file in beside.items() if file.is_file() and stated.get(key) != file_hash(file)]
    if stated.get(FINGERPRINT_KEY) != fingerprint or others:
        raise ModelDirError(
            f"{path} was exported from another backbone, head or extractor setting than lie beside it: run cinemae "
            "export again."
        )
    return session


def find_device(name: str) -> Any:  # noqa: ANN401 - torch is optional here
    """Return a torch device; "auto" takes a CUDA device if there is one.

    Raises:
        ConfigError: If torch sees no such device.
    """
    import torch

    if name == "auto":
        name = "cuda" if torch.cuda.is_available() else "cpu"
    kind = name.partition(":")[0]
    seen = {"cpu": True, "cuda": torch.cuda.is_available(), "mps": torch.backends.mps.is_available()}
    if not seen.get(kind, False):
        raise ConfigError(f"torch sees no device {name} on this machine: use cpu, or install the torch build for it.")
    return torch.device(name)
