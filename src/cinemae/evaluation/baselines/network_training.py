"""The one training loop of the baselines that are networks, and how they are asked afterwards."""

from __future__ import annotations

import copy
import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from pathlib import Path

import numpy as np
import torch
from numpy.typing import NDArray
from PIL import Image
from sklearn.metrics import roc_auc_score
from torch import Tensor, nn

from cinemae.errors import TrainingError
from cinemae.evaluation.baselines.crops import center_square, training_square
from cinemae.evaluation.baselines.layers import seeded
from cinemae.evaluation.baselines.linear_probe import require_labels
from cinemae.settings import Settings, require

_ASKED_AT_ONCE = 32
_ORDER, _SQUARE, _HELD_OUT = 0, 1, 2  # streams of random numbers that never meet
_HELD_OUT_SHARE = 0.1


@dataclass(frozen=True)
class NetworkConfig(Settings):
    """How a network is trained: Adam, binary cross-entropy, random crops and mirror images.

    `blur` and `recompress` are probabilities (see `cinemae.evaluation.baselines.crops.training_square`); the learning
    rate is multiplied by `decay` after every `decay_every` epochs; `weight_decay` is Adam's L2 penalty. With a
    `patience` of 1 or more a tenth of the pictures of either class is held out; training ends after so many epochs
    without a higher AUC on them, and the weights of the best epoch are kept. 0: all pictures, all epochs.
    """

    crop: int = 224
    epochs: int = 10
    batch_size: int = 32
    learning_rate: float = 1e-4
    decay: float = 1.0
    decay_every: int = 10
    weight_decay: float = 0.0
    patience: int = 0
    blur: float = 0.0
    recompress: float = 0.0

    def __post_init__(self) -> None:
        super().__post_init__()
        require(self.crop >= 16, f"crop must be at least 16 pixels, got {self.crop}.")
        require(self.batch_size >= 2, f"batch_size must be at least 2, got {self.batch_size}.")
        for name in ("epochs", "decay_every"):
            require(getattr(self, name) >= 1, f"{name} must be at least 1, got {getattr(self, name)}.")
        require(self.learning_rate > 0, f"learning_rate must be positive, got {self.learning_rate}.")
        require(0 < self.decay <= 1, f"decay must lie in (0, 1], got {self.decay}.")
        for name in ("weight_decay", "patience"):
            require(getattr(self, name) >= 0, f"{name} must not be negative, got {getattr(self, name)}.")
        for name in ("blur", "recompress"):
            require(0 <= getattr(self, name) <= 1, f"{name} must lie in [0, 1], got {getattr(self, name)}.")

    @property
    def crops(self) -> str:
        """What is cut from a picture, in words."""
        return f"{self.crop}x{self.crop} crops"

    @property
    def blocks(self) -> str:
        """The blocks of each stage, as the option takes them, of a network that is told by them."""
        return "+".join(map(str, getattr(self, "depths", ())))

    @property
    def origin(self) -> str:
        """Where the weights begin, in words."""
        backbone = getattr(self, "backbone", "")
        return f"from the weights in {Path(backbone).name}" if backbone else "from scratch"


@dataclass(frozen=True)
class EpochDone:
    """One epoch of training.

    Attributes:
        epoch: From 1.
        epochs: How many there will be.
        loss: Mean weighted binary cross-entropy over the epoch.
        held_out_auc: On what is held out, by centre crops; None where nothing is.
    """

    epoch: int
    epochs: int
    loss: float
    held_out_auc: float | None = None


def train_network(
    network: nn.Module,
    pictures: Sequence[Image.Image],
    labels: NDArray[np.int64],
    config: NetworkConfig,
    *,
    seed: int,
    progress: Callable[[EpochDone], None] | None = None,
) -> None:
    """Train a network that maps pixels (N, 3, crop, crop) in [0, 1] to logits (N,), both classes weighed alike.

    Order and crops follow from the seed, the epoch and a picture's place alone. torch's global random state is
    left as it was; what a network draws by it, for dropout, follows from the seed too. A picture is indexed once an
    epoch and not kept.

    Args:
        network: Trained in place, on a GPU where there is one, and left there in evaluation mode.
        pictures: RGB; may decode when indexed.
        labels: (N,), 0 real, 1 fake.
        config: Optimiser, crops and alterations; how long.
        seed: Of order, crops and what is held out.
        progress: Called after every epoch.

    Raises:
        TrainingError: If labels and pictures do not match, a class is missing or too small to hold some of it out, or
            training diverges.
    """
    require_labels(pictures, labels)
    with seeded(seed):  # for dropout
        _train(network, pictures, labels, config, seed, progress)


def _train(
    network: nn.Module,
    pictures: Sequence[Image.Image],
    labels: NDArray[np.int64],
    config: NetworkConfig,
    seed: int,
    progress: Callable[[EpochDone], None] | None,
) -> None:
    device = best_device()
    channels_last(network).to(device).train()
    targets, weights = (torch.from_numpy(of).float().to(device) for of in (labels, class_weights(labels)))
    optimizer = torch.optim.Adam(
        network.parameters(), lr=config.learning_rate, weight_decay=config.weight_decay, fused=True
    )
    schedule = torch.optim.lr_scheduler.StepLR(optimizer, config.decay_every, config.decay)
    held_out = _held_out(labels, seed) if config.patience else np.empty(0, np.int64)
    learnt = np.setdiff1d(np.arange(len(labels)), held_out)
    best = _Best()
    for epoch in range(1, config.epochs + 1):
        total = 0.0
        for places in _batches(len(learnt), config.batch_size, np.random.default_rng([seed, _ORDER, epoch])):
            chosen = learnt[places]
            squares = [_square(pictures[index], config, [seed, _SQUARE, epoch, index]) for index in chosen.tolist()]
            loss = nn.functional.binary_cross_entropy_with_logits(
                network(_on(device, squares)), targets[chosen], weight=weights[chosen]
            )
            optimizer.zero_grad()
            loss.backward()
            optimizer.step()
            total += loss.item() * len(chosen)
        schedule.step()
        if not math.isfinite(total):
            raise TrainingError(f"training diverged in epoch {epoch}: lower learning_rate ({config.learning_rate}).")
        auc = None
        if config.patience:
            auc = float(roc_auc_score(labels[held_out], _logits_of(network, pictures, held_out, config.crop)))
            best.see(epoch, auc, network)
            network.train()
        if progress:
            progress(EpochDone(epoch, config.epochs, total / len(learnt), auc))
        if config.patience and epoch - best.epoch >= config.patience:
            break
    if config.patience:
        network.load_state_dict(best.weights)
    network.eval()


@dataclass
class _Best:
    """The epoch that judged what is held out best, and its weights."""

    auc: float = -1.0
    epoch: int = 0
    weights: dict[str, Tensor] = field(default_factory=dict)

    def see(self, epoch: int, auc: float, network: nn.Module) -> None:
        """Keep an epoch's weights if its AUC is the highest so far."""
        if auc > self.auc:
            self.auc, self.epoch, self.weights = auc, epoch, copy.deepcopy(network.state_dict())


def _logits_of(
    network: nn.Module, pictures: Sequence[Image.Image], chosen: NDArray[np.int64], crop: int
) -> NDArray[np.float64]:
    """Return the logits of some pictures, of which a batch is in memory at a time."""
    batches = np.array_split(chosen, math.ceil(len(chosen) / _ASKED_AT_ONCE))
    return np.concatenate([predict_logits(network, [pictures[i] for i in batch.tolist()], crop) for batch in batches])


def _held_out(labels: NDArray[np.int64], seed: int) -> NDArray[np.int64]:
    """Draw a tenth of either class."""
    rng = np.random.default_rng([seed, _HELD_OUT])
    of_classes = [np.flatnonzero(labels == label) for label in (0, 1)]
    counts = [round(_HELD_OUT_SHARE * len(of_class)) for of_class in of_classes]
    if min(counts) == 0:
        fewest = min(len(of_class) for of_class in of_classes)
        raise TrainingError(
            f"patience holds a tenth of either class out, which needs at least 6 pictures of each, got {fewest}: "
            "add pictures, or leave patience at 0."
        )
    return np.concatenate(
        [rng.choice(of_class, count, replace=False) for of_class, count in zip(of_classes, counts, strict=True)]
    )


@torch.inference_mode()
def predict_logits(network: nn.Module, images: Sequence[Image.Image], crop: int) -> NDArray[np.float64]:
    """Return the logit of the centre crop of each RGB picture, (N,)."""
    network.eval()
    device = next(network.parameters()).device
    logits = [np.empty(0)]
    for start in range(0, len(images), _ASKED_AT_ONCE):
        rows = range(start, min(start + _ASKED_AT_ONCE, len(images)))
        pixels = _on(device, [center_square(images[row], crop) for row in rows])
        logits.append(network(pixels).double().cpu().numpy())
    return np.concatenate(logits)


def channels_last(network: nn.Module) -> nn.Module:
    """Lay a network's weights out, in place, as convolutions are fastest on a processor: up to a third less time."""
    return network.to(memory_format=torch.channels_last)  # type: ignore[call-overload, no-any-return]  # not in its stubs


def _on(device: torch.device, squares: Sequence[NDArray[np.uint8]]) -> Tensor:
    """Return squares as pixels (N, 3, crop, crop) in [0, 1], channels last as the weights."""
    return to_pixels(squares).to(device, memory_format=torch.channels_last)


def best_device() -> torch.device:
    """Return the GPU where there is one that torch can use, else the processor."""
    return torch.device("cuda" if torch.cuda.is_available() else "cpu")


def to_pixels(squares: Sequence[NDArray[np.uint8]]) -> Tensor:
    """Stack (S, S, 3) uint8 squares to (N, 3, S, S) float32 in [0, 1], channels last in memory."""
    return torch.from_numpy(np.stack(squares)).permute(0, 3, 1, 2).float() / 255


def class_weights(labels: NDArray[np.int64]) -> NDArray[np.float64]:
    """Return a weight for each picture, mean 1, the same sum for both classes.

    Example:
        >>> class_weights(np.array([0, 0, 0, 1])).round(2).tolist()
        [0.67, 0.67, 0.67, 2.0]
    """
    return len(labels) / (2 * np.bincount(labels, minlength=2)[labels])


def _square(picture: Image.Image, config: NetworkConfig, seed: list[int]) -> NDArray[np.uint8]:
    rng = np.random.default_rng(seed)
    return training_square(picture, config.crop, rng, blur=config.blur, recompress=config.recompress)


def _batches(count: int, size: int, rng: np.random.Generator) -> list[NDArray[np.int64]]:
    """Split a shuffle into batches of at most `size`, as equal as can be: batch norm cannot learn from one picture."""
    number = max(1, min(math.ceil(count / size), count // 2))
    return np.array_split(rng.permutation(count), number)
