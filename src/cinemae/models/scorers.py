"""From `pixel_values` to scores: `OnnxScorer` needs only the light install, `TorchScorer` runs on any torch device.

Both run the same computation. An image is never computed together with a varying number of others, because matrix
products of different sizes may round differently: `OnnxScorer` runs image by image, `TorchScorer` in chunks of one
fixed size. So a score depends on the image, the model and the precision alone. `Scorer.model_id` names the latter two.
"""

from __future__ import annotations

import contextlib
import dataclasses
import threading
from abc import abstractmethod
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Protocol

import numpy as np
from numpy.typing import NDArray

from cinemae.config import ModelConfig
from cinemae.core.calibration import calibrate
from cinemae.core.mahalanobis import MahalanobisDistance
from cinemae.core.masking import complementary_noise, noise_from_config
from cinemae.errors import ConfigError, MissingDependencyError
from cinemae.models.directory import ONNX_FILE, read_model_config
from cinemae.models.distance import load_distance
from cinemae.models.onnx_session import GRAPHS, OUTPUTS, open_session

PRECISIONS = ("auto", "fp32", "bf16", "int8")
"""What the products of the backbone are computed in; see `make_scorer` for "auto"."""

MAP_PASSES = 4
"""Masked passes of a full-coverage map; with a mask ratio of 0.75 each patch is hidden in three of them."""

_DISTANCE = "ood_distance"  # only graphs of older models have it
_Outputs = tuple[NDArray[np.float32], ...]


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
    """Whatever turns `pixel_values` into `Scores`. Safe to call from several threads.

    Attributes:
        config: The model's settings.
        model_id: `ModelConfig.model_id`, with ``+bf16`` or ``+int8`` where that is what it computes in: scores of
            different precision are not those of the same model.
        engine: What computes, in words; another engine rounds differently.
        device: Where: "cpu", "cuda", "cuda:1", "mps".
        one_by_one: Whether an image alone costs no more than one among others, so that threads should score images side
            by side; if not, they should be given together.
    """

    config: ModelConfig
    model_id: str
    engine: str
    device: str
    one_by_one: bool

    def score(self, pixel_values: NDArray[np.float32], *, mask_seed: int | None = None) -> Scores:
        """Score N images of V views, (N, V, 3, S, S), with the model's masks or those of another seed."""
        ...

    def lcas_map(self, pixel_values: NDArray[np.float32]) -> NDArray[np.float32]:
        """Return how hard each patch of one image's views (V, 3, S, S) is to predict from its context."""
        ...


class _ModelScorer:
    """Views, calibration and full-coverage maps around `_run`: the same for every engine."""

    engine = "ONNX Runtime"
    device = "cpu"
    one_by_one = True

    def __init__(self, config: ModelConfig, precision: str, distance: MahalanobisDistance | None) -> None:
        self.config = config
        self._distance = distance
        self.precision = precision
        self.model_id = config.model_id if precision == "fp32" else f"{config.model_id}+{precision}"
        mask, num_patches = config.extractor.mask, config.backbone.num_patches
        self._noise = noise_from_config(mask, num_patches)
        self._map_noise = complementary_noise(mask.seed, MAP_PASSES, num_patches)

    @abstractmethod
    def _run(self, pixel_values: NDArray[np.float32], noise: NDArray[np.float32]) -> _Outputs:
        """Return logit (N,), stats (N, 3), lcas (N * V, K, L) and global_feature (N * V, D) of (N * V, 3, S, S).

        Graphs of older models may give ood_distance (N,) as well.
        """

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
        flat = pixel_values.reshape(n * views, *pixel_values.shape[2:])
        logit, stats, lcas, global_feature, *stated = self._run(flat, noise)
        distance = stated[0] if stated else np.full(n, np.nan)
        if self._distance is not None:
            distance = self._distance(global_feature.reshape(n, views, -1))
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
            (rows, columns) over what `cinemae.detect.heatmap.view_box` names: the centre view, or all tiles put
            together, nan where a tile is not looked at.
            High means hard to predict from context; it is not a fake score.

        Raises:
            ConfigError: If the shape is not the model's.
        """
        image = self.config.extractor.image
        self._check_shape(pixel_values[None], (image.num_views, 3, image.size, image.size))
        places = image.tile_places
        lcas = self._run(pixel_values, self._map_noise)[2][: len(places)]
        rows = round(lcas.shape[2] ** 0.5)
        side = 1 + max(row for row, _ in places)
        whole = np.full((side, side, rows, rows), np.nan, np.float32)
        for (row, column), values in zip(places, np.asarray(np.nanmean(lcas, axis=1, dtype=np.float64)), strict=True):
            whole[row, column] = values.reshape(rows, rows)
        return whole.transpose(0, 2, 1, 3).reshape(side * rows, side * rows)

    def _check_shape(self, pixel_values: NDArray[np.float32], shape: tuple[int, ...]) -> None:
        if pixel_values.shape[1:] != shape or not len(pixel_values):
            raise ConfigError(
                f"pixel_values of {self.config.name} must be N images of shape {shape}, got an array of shape "
                f"{pixel_values.shape}: preprocess with the model's own image settings."
            )


class OnnxScorer(_ModelScorer):
    """Runs ``model.onnx``, or ``model.int8.onnx``, on the processor with ONNX Runtime.

    Args:
        model_dir: A model directory with config.json and the graph.
        precision: "fp32" or "int8": which graph.
        num_threads: How many compute one image; None for one a core. Changes speed, not scores.

    Raises:
        ConfigError: If the precision is another.
        ModelDirError: If a file is missing or cannot be used.
    """

    def __init__(self, model_dir: str | Path, *, precision: str = "fp32", num_threads: int | None = None) -> None:
        if precision not in GRAPHS:
            raise ConfigError(f"ONNX Runtime computes in {' or '.join(GRAPHS)} here, got {precision!r}.")
        directory = Path(model_dir)
        config = read_model_config(directory)
        self._session = open_session(directory, precision, config.fingerprint, num_threads)
        stated = any(node.name == _DISTANCE for node in self._session.get_outputs())
        super().__init__(config, precision, load_distance(directory, config, required=not stated))
        self._outputs = [*OUTPUTS, _DISTANCE] if stated and self._distance is None else [*OUTPUTS]

    def _run(self, pixel_values: NDArray[np.float32], noise: NDArray[np.float32]) -> _Outputs:
        views = self.config.extractor.image.num_views  # an image's views run together, whatever it came with
        rows = [
            self._session.run(self._outputs, {"pixel_values": pixel_values[start : start + views], "noise": noise})
            for start in range(0, len(pixel_values), views)
        ]
        return tuple(np.concatenate(parts) for parts in zip(*rows, strict=True))


class TorchScorer(_ModelScorer):
    """Runs the backbone and the head with torch.

    What is there for GPUs (bf16, pinned memory, CUDA graphs) was not measured on one.

    Args:
        model_dir: A model directory with config.json, backbone and head.safetensors.
        device: Where to run: "cpu", "cuda", "cuda:1", "mps"; "auto" takes a CUDA device if there is one.
        precision: What the backbone computes in, "fp32" or "bf16"; "auto" is bf16 on a CUDA device that has it. What
            follows the backbone is float32.
        compiled: Compile the model at its first call, which takes a minute or more; on CUDA devices it is then run as
            a CUDA graph, one call after the other.

    Raises:
        MissingDependencyError: If torch or transformers is not installed.
        ModelDirError: If a file is missing or cannot be used.
        FingerprintMismatchError: If the head was trained on another backbone's features.
        ConfigError: If there is no such device, or it cannot compute in this precision.
    """

    def __init__(
        self, model_dir: str | Path, *, device: str = "auto", precision: str = "auto", compiled: bool = False
    ) -> None:
        directory = Path(model_dir)
        config = read_model_config(directory)
        try:
            import torch

            from cinemae.models.weights import load_model
        except ModuleNotFoundError as error:
            package = (error.name or "torch").partition(".")[0]
            raise MissingDependencyError(
                f"{directory} is to be run with torch, and {package} is not installed: pip install 'cinemae[torch]'"
            ) from error
        self._torch = torch
        self._device = find_device(device)
        super().__init__(config, torch_precision(precision, self._device), load_distance(directory, config))
        self.device = str(self._device)
        self.engine = f"torch on {self.device}{', compiled' if compiled else ''}"
        self.one_by_one = False
        self._chunk = self.config.extractor.image.num_views * (1 if self._device.type == "cpu" else 8)
        dtype = torch.bfloat16 if self.precision == "bf16" else torch.float32
        self._model = load_model(directory, self.config, device=self._device, dtype=dtype)
        self._forward: Callable[..., Any] = self._model
        self._one_at_a_time: contextlib.AbstractContextManager[Any] = contextlib.nullcontext()
        if compiled:
            graphs = self._device.type == "cuda"
            self._forward = torch.compile(self._model, mode="reduce-overhead" if graphs else "default", dynamic=False)
            self._one_at_a_time = threading.Lock()

    def _run(self, pixel_values: NDArray[np.float32], noise: NDArray[np.float32]) -> _Outputs:
        torch, views = self._torch, self.config.extractor.image.num_views
        chunks: list[tuple[Any, ...]] = []
        with torch.inference_mode(), self._one_at_a_time:
            mask_noise = None if noise is self._noise else self._to_device(noise)  # None: the model's own, sorted once
            for start in range(0, len(pixel_values), self._chunk):
                part = self._to_device(pixel_values[start : start + self._chunk])
                filling = part.new_zeros(self._chunk - len(part), *part.shape[1:])
                whole = torch.cat([part, filling]) if len(filling) else part
                images = len(part) // views
                outputs = zip(self._forward(whole, mask_noise), (images, images, len(part), len(part)), strict=True)
                # a CUDA graph writes its next results where these lie
                chunks.append(tuple(output[:count].float().clone() for output, count in outputs))
            return tuple(torch.cat(parts).cpu().numpy() for parts in zip(*chunks, strict=True))

    def _to_device(self, values: NDArray[np.float32]) -> Any:  # noqa: ANN401 - torch is optional here
        """Copy to the device; to a GPU from pinned memory, so that the processor need not wait for it."""
        tensor = self._torch.from_numpy(values)
        if self._device.type != "cuda":
            return tensor.to(self._device)
        return tensor.pin_memory().to(self._device, non_blocking=True)


def make_scorer(
    model_dir: str | Path,
    device: str = "auto",
    *,
    precision: str = "auto",
    compiled: bool = False,
    num_threads: int | None = None,
) -> Scorer:
    """Choose how to run a model.

    Args:
        model_dir: A model directory.
        device: "auto" and "cpu" run model.onnx, or torch where there is none; "cuda" and "mps" run torch.
        precision: "fp32"; "bf16", which runs torch; "int8", which runs model.int8.onnx on the processor; "auto" is bf16
            on CUDA devices that have it, on a processor with ONNX Runtime what the model names, else fp32.
        compiled: Run torch, and compile the model; as for `TorchScorer`.
        num_threads: As for `OnnxScorer`; torch has a setting of its own.

    Raises:
        ConfigError: If device or precision is none of these, torch cannot see the device, or the two do not go
            together.
        MissingDependencyError: If torch is needed and not installed.
        ModelDirError: If the directory lacks a file or holds one that cannot be used.
    """
    if device.partition(":")[0] not in ("auto", "cpu", "cuda", "mps"):
        raise ConfigError(f"device must be auto, cpu, cuda or mps, got {device!r}.")
    if precision not in PRECISIONS:
        raise ConfigError(f"precision must be auto, fp32, bf16 or int8, got {precision!r}.")
    on_processor = device in ("auto", "cpu")
    if precision == "auto" and on_processor and not compiled:
        precision = read_model_config(Path(model_dir)).precision
    if precision == "int8":
        if compiled or not on_processor:
            asked = "compiled" if on_processor else f"on {device}"
            raise ConfigError(f"int8 runs on the processor with ONNX Runtime, not {asked}: take fp32 or bf16 there.")
        return OnnxScorer(model_dir, precision="int8", num_threads=num_threads)
    if on_processor and precision != "bf16" and not compiled and (Path(model_dir) / ONNX_FILE).exists():
        return OnnxScorer(model_dir, num_threads=num_threads)
    return TorchScorer(model_dir, device=device, precision=precision, compiled=compiled)


def torch_precision(wanted: str, device: Any) -> str:  # noqa: ANN401 - torch is optional here
    """Return "fp32" or "bf16".

    Raises:
        ConfigError: If torch does not compute in it on this device.
    """
    import torch

    has_bf16 = device.type == "cpu" or (
        device.type == "cuda" and torch.cuda.is_bf16_supported(including_emulation=False)
    )
    if wanted == "auto":
        return "bf16" if device.type == "cuda" and has_bf16 else "fp32"
    if wanted == "bf16" and not has_bf16:
        raise ConfigError(f"{device} does not compute in bf16: take fp32.")
    if wanted not in ("fp32", "bf16"):
        raise ConfigError(f"torch computes in fp32 or bf16 here, got {wanted!r}.")
    return wanted


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
