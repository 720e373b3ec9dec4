"""UnivFD: frozen CLIP image features and the simplest of classifiers (Ojha et al. 2023, CVPR, arXiv 2302.10174)."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, ClassVar, Literal, Self

import numpy as np
from numpy.typing import NDArray
from PIL import Image

from cinemae.errors import ConfigError, FingerprintMismatchError
from cinemae.evaluation.baselines.baseline import Baseline
from cinemae.evaluation.baselines.crops import center_square, training_square
from cinemae.evaluation.baselines.linear_probe import LinearProbe
from cinemae.evaluation.baselines.network_training import to_pixels
from cinemae.evaluation.baselines.networks import ClipEncoder, FrozenEncoder, load_clip_encoder
from cinemae.evaluation.baselines.saved import Arrays, misfit
from cinemae.models.directory import file_hash
from cinemae.settings import Settings, require

HUB_REPOSITORY = "openai/clip-vit-large-patch14"
_WEIGHTS = "model.safetensors"


@dataclass(frozen=True)
class UnivFdConfig(Settings):
    """Which encoder, and which classifier on its features.

    `backbone` is a local folder with CLIP; the paper's is ViT-L/14. "linear" is logistic regression, trained as in
    Wang et al. 2020 on a random crop of each picture that is blurred and recompressed with the given probabilities;
    "nearest" compares centre crops with those of all training pictures, unaltered, by cosine. Crops are of the
    encoder's own input size.
    """

    backbone: str = ""
    mode: Literal["linear", "nearest"] = "linear"
    blur: float = 0.5
    recompress: float = 0.5
    c: float = 100.0  # inverse L2 penalty times the length of a feature; not stated by the paper
    batch_size: int = 16

    def __post_init__(self) -> None:
        super().__post_init__()
        for name in ("blur", "recompress"):
            require(0 <= getattr(self, name) <= 1, f"{name} must lie in [0, 1], got {getattr(self, name)}.")
        require(self.c > 0, f"c must be positive, got {self.c}.")
        require(self.batch_size >= 1, f"batch_size must be at least 1, got {self.batch_size}.")

    @property
    def classifier(self) -> str:
        """The classifier in words."""
        return "logistic regression" if self.mode == "linear" else "nearest neighbour by cosine"

    @property
    def encoder(self) -> str:
        """The encoder's folder."""
        return Path(self.backbone).name


@dataclass(frozen=True)
class NearestNeighbours:
    """Training features of length 1, to compare with.

    Attributes:
        real: (R, D) float32.
        fake: (F, D) float32.
    """

    real: NDArray[np.float32]
    fake: NDArray[np.float32]

    @classmethod
    def fit(cls, features: NDArray[np.float32], labels: NDArray[np.int64]) -> Self:
        """Keep the features (N, D) of both classes apart."""
        unit = _to_unit_length(features)
        return cls(unit[labels == 0], unit[labels == 1])

    def score(self, features: NDArray[np.float32]) -> NDArray[np.float64]:
        """Return cosine similarity to the nearest fake less that to the nearest real, (N,), in [-2, 2].

        Example:
            >>> bank = NearestNeighbours.fit(np.eye(2, dtype=np.float32), np.array([0, 1]))
            >>> bank.score(np.array([[3.0, 4.0]], np.float32)).round(3).tolist()
            [0.2]
        """
        unit = _to_unit_length(features)
        nearest: NDArray[np.float64] = ((unit @ self.fake.T).max(1) - (unit @ self.real.T).max(1)).astype(np.float64)
        return nearest

    def arrays(self) -> Arrays:
        """Return both sets of features by name, to be saved."""
        return {"real": self.real, "fake": self.fake}

    @classmethod
    def from_arrays(cls, arrays: Arrays, folder: Path) -> Self:
        """Rebuild from saved arrays, read from `folder`.

        Raises:
            ModelDirError: If one is missing or both do not fit each other.
        """
        try:
            bank = cls(arrays["real"], arrays["fake"])
        except KeyError as error:
            raise misfit(folder, f"there is no {error.args[0]}") from error
        if bank.real.ndim != 2 or bank.real.shape[1:] != bank.fake.shape[1:]:
            raise misfit(folder, f"features of both classes have shapes {bank.real.shape} and {bank.fake.shape}")
        return bank


class UnivFd(Baseline[UnivFdConfig, "LinearProbe | NearestNeighbours"]):
    """The detector. The encoder is read at the first need and never changed; of it a saved detector has only the hash.

    Args:
        config: Its settings.

    Raises:
        ConfigError: If no encoder is named, or no folder of that name holds one.
    """

    name = "univfd"
    what = "{c.classifier} on frozen CLIP image features, encoder {c.encoder}"
    config_type: ClassVar[type[UnivFdConfig]] = UnivFdConfig
    repository: ClassVar[str] = HUB_REPOSITORY
    _needs: ClassVar[str] = "CLIP's image encoder"

    def __init__(self, config: UnivFdConfig | None = None) -> None:
        super().__init__(config)
        self._require_backbone(self.config.backbone)
        if self.config.mode == "nearest":
            self.outputs, self.threshold = "score", 0.0
        self._encoder: ClipEncoder | FrozenEncoder | None = None

    def _learn(
        self, pictures: Sequence[Image.Image], labels: NDArray[np.int64], seed: int, progress: object
    ) -> LinearProbe | NearestNeighbours:
        if self.config.mode == "linear":
            return LinearProbe.fit(self._features(pictures, seed=seed), labels, self.config.c)
        return NearestNeighbours.fit(self._features(pictures), labels)

    def predict(self, images: Sequence[Image.Image]) -> NDArray[np.float64]:
        """Return the probability that each RGB picture is generated, or its score in mode "nearest", (N,).

        Raises:
            TrainingError: If the detector has not been trained.
        """
        return self._trained().score(self._features(images))

    def _kept(self, learnt: LinearProbe | NearestNeighbours) -> tuple[dict[str, Any], Arrays]:
        return {"backbone_sha256": self._backbone_hash()}, learnt.arrays()

    def _restored(self, folder: Path, values: Mapping[str, Any], arrays: Arrays) -> LinearProbe | NearestNeighbours:
        there, now = values.get("backbone_sha256"), self._backbone_hash()
        if there != now:
            raise FingerprintMismatchError(
                f"{folder} was trained on features of an encoder {str(there)[:16]}, {self.config.backbone} holds "
                f"{now[:16]}: name the encoder it was trained on, or train again."
            )
        if self.config.mode == "linear":
            return LinearProbe.from_arrays(arrays, None, folder)
        return NearestNeighbours.from_arrays(arrays, folder)

    def _features(self, pictures: Sequence[Image.Image], seed: int | None = None) -> NDArray[np.float32]:
        """Return features (N, D): of centre crops, or with a seed of altered random crops."""
        if self._encoder is None:
            self._encoder = self._read_encoder()
        features = np.empty((len(pictures), self._encoder.dim), np.float32)
        for start in range(0, len(pictures), self.config.batch_size):
            rows = range(start, min(start + self.config.batch_size, len(pictures)))
            squares = [self._square(pictures[row], self._encoder.image_size, row, seed) for row in rows]
            features[rows.start : rows.stop] = self._encoder(to_pixels(squares)).numpy()
        return features

    def _square(self, image: Image.Image, size: int, row: int, seed: int | None) -> NDArray[np.uint8]:
        if seed is None:
            return center_square(image, size)
        rng = np.random.default_rng([seed, row])
        return training_square(image, size, rng, blur=self.config.blur, recompress=self.config.recompress)

    def _read_encoder(self) -> ClipEncoder | FrozenEncoder:
        return load_clip_encoder(Path(self.config.backbone))

    def _require_backbone(self, backbone: str) -> None:
        missing = [name for name in ("config.json", _WEIGHTS) if not (Path(backbone) / name).is_file()]
        if backbone and not missing:
            return
        came = f"{backbone} has no {missing[0]}" if backbone else "none was named"
        folder = self.repository.rpartition("/")[2]
        raise ConfigError(
            f"{self.name} needs {self._needs} as a local folder with config.json and {_WEIGHTS}; {came}. Download "
            f"{self.repository} from the Hub (hf download {self.repository} --local-dir {folder}) and name the folder: "
            f"{self.name},backbone={folder}"
        )

    def _backbone_hash(self) -> str:
        return file_hash(Path(self.config.backbone) / _WEIGHTS)


def _to_unit_length(features: NDArray[np.float32]) -> NDArray[np.float32]:
    lengths = np.linalg.norm(features, axis=1, keepdims=True)
    unit: NDArray[np.float32] = features / np.maximum(lengths, np.float32(1e-12))
    return unit
