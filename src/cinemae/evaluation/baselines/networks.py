"""Networks of the baselines: ResNets and CLIP's image encoder, fresh or from a local folder in the Hub's own layout.

The only module of the workbench that imports transformers. Nothing is downloaded.
"""

from __future__ import annotations

import contextlib
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal

import torch
from safetensors import SafetensorError
from torch import Tensor, nn
from transformers import (
    AutoConfig,
    CLIPConfig,
    CLIPVisionConfig,
    CLIPVisionModelWithProjection,
    ResNetConfig,
    ResNetForImageClassification,
)
from transformers.utils import logging

from cinemae.config import IMAGENET_MEAN, IMAGENET_STD
from cinemae.core.linear import use_onednn
from cinemae.errors import CheckpointError
from cinemae.settings import Settings, require

CLIP_MEAN = (0.48145466, 0.4578275, 0.40821073)
CLIP_STD = (0.26862954, 0.26130258, 0.27577711)
_CLASSIFIER = "classifier."


@dataclass(frozen=True)
class ResNetShape(Settings):
    """The architecture of a ResNet, as a saved detector keeps it: stages of `depths` blocks with `widths` channels."""

    depths: tuple[int, ...]
    widths: tuple[int, ...]
    stem_width: int = 64
    stem_kernel: int = 7
    block: Literal["bottleneck", "basic"] = "bottleneck"
    activation: str = "relu"
    downsample_in_first_stage: bool = False
    downsample_in_bottleneck: bool = False

    def __post_init__(self) -> None:
        super().__post_init__()
        require(
            len(self.depths) == len(self.widths) > 0 and min(*self.depths, *self.widths, self.stem_width) >= 1,
            f"a ResNet needs a depth and a width of at least 1 a stage, got {self.depths} and {self.widths}.",
        )


def bottleneck_shape(depths: tuple[int, ...], width: int, stem_kernel: int = 7) -> ResNetShape:
    """Return the shape of He et al. 2016: stem of `width` channels, stage i with 4 * width * 2^i.

    Example:
        >>> bottleneck_shape((3, 4, 6, 3), 64).widths
        (256, 512, 1024, 2048)
    """
    widths = tuple(4 * width * 2**stage for stage in range(len(depths)))
    return ResNetShape(depths, widths, stem_width=width, stem_kernel=stem_kernel)


class LogitResNet(nn.Module):
    """A ResNet that gives one logit a picture, of pixels in [0, 1] normalised by ImageNet's mean and deviation.

    Args:
        shape: The architecture.
        seed: Of the fresh weights; torch's global random state is left as it is.
    """

    def __init__(self, shape: ResNetShape, *, seed: int) -> None:
        super().__init__()
        self.shape = shape
        with torch.random.fork_rng(devices=[]):
            torch.manual_seed(seed)
            self.resnet = ResNetForImageClassification(_resnet_config(shape))
            stem = self.resnet.resnet.embedder.embedder
            if shape.stem_kernel != stem.convolution.kernel_size[0]:
                kernel = shape.stem_kernel
                stem.convolution = nn.Conv2d(3, shape.stem_width, kernel, stride=2, padding=kernel // 2, bias=False)
                nn.init.kaiming_normal_(stem.convolution.weight, mode="fan_out", nonlinearity="relu")
        self.to(memory_format=torch.channels_last)  # type: ignore[call-overload]  # up to twice as fast on a CPU

    def normalise(self, pixels: Tensor) -> Tensor:
        """Return (pixels - mean) / std, (N, 3, H, W)."""
        return normalise(pixels, IMAGENET_MEAN, IMAGENET_STD)

    def forward(self, pixels: Tensor) -> Tensor:
        """Return logits, (N,), of pixels (N, 3, H, W) in [0, 1]."""
        return self.logits(self.normalise(pixels))

    def logits(self, pixel_values: Tensor) -> Tensor:
        """Return logits, (N,), of what is normalised already."""
        result: Tensor = self.resnet(pixel_values).logits[:, 0]
        return result


def load_resnet(folder: Path, *, seed: int) -> LogitResNet:
    """Load a ResNet classifier from a local folder, its classifier replaced by a fresh one with one logit.

    Args:
        folder: In the Hub's layout: config.json and model.safetensors.
        seed: Of the fresh classifier.

    Raises:
        CheckpointError: If the folder cannot be read, is no ResNet, or lacks weights.
    """
    kind = "an ImageNet ResNet is a local folder with the config.json and model.safetensors of a Hub repository"
    with _reading(folder, kind):
        config = AutoConfig.from_pretrained(folder, local_files_only=True)
        if not isinstance(config, ResNetConfig):
            raise CheckpointError(f"{folder} holds a {config.model_type}, not a resnet: use microsoft/resnet-50.")
        given, loading = ResNetForImageClassification.from_pretrained(
            folder, local_files_only=True, use_safetensors=True, output_loading_info=True, dtype=torch.float32
        )
    _require_complete(folder, loading, but=_CLASSIFIER)
    network = LogitResNet(_shape_of(config), seed=seed)
    weights = {name: weight for name, weight in given.state_dict().items() if not name.startswith(_CLASSIFIER)}
    network.resnet.load_state_dict(weights, strict=False)
    return network


class ClipEncoder(nn.Module):
    """CLIP's frozen image encoder with its projection: pixels in [0, 1] to `image_embeds`.

    Attributes:
        image_size: Side of its input, in pixels.
        dim: Length of an embedding.
    """

    def __init__(self, model: CLIPVisionModelWithProjection) -> None:
        super().__init__()
        self.model = model.eval().requires_grad_(False)
        use_onednn(self.model)  # about twice as fast on some processors (decision 0008)
        self.image_size = int(model.config.image_size)
        self.dim = int(model.config.projection_dim)

    @torch.inference_mode()
    def forward(self, pixels: Tensor) -> Tensor:
        """Return embeddings, (N, dim), of pixels (N, 3, image_size, image_size) in [0, 1]; not normalised."""
        result: Tensor = self.model(pixel_values=normalise(pixels, CLIP_MEAN, CLIP_STD)).image_embeds
        return result


def load_clip_encoder(folder: Path) -> ClipEncoder:
    """Load the image half of CLIP from a local folder in the Hub's layout: a whole CLIP, or its image half.

    Raises:
        CheckpointError: If the folder cannot be read, is no CLIP, or lacks weights.
    """
    kind = "CLIP is a local folder with the config.json and model.safetensors of a Hub repository"
    with _reading(folder, kind):
        config = AutoConfig.from_pretrained(folder, local_files_only=True)
        if isinstance(config, CLIPConfig):
            config.vision_config.projection_dim = config.projection_dim
            config = config.vision_config
        if not isinstance(config, CLIPVisionConfig):
            raise CheckpointError(
                f"{folder} holds a {config.model_type}, not a clip: use openai/clip-vit-large-patch14."
            )
        model, loading = CLIPVisionModelWithProjection.from_pretrained(
            folder,
            config=config,
            local_files_only=True,
            use_safetensors=True,
            output_loading_info=True,
            dtype=torch.float32,
        )
    _require_complete(folder, loading)
    return ClipEncoder(model)


def normalise(pixels: Tensor, mean: tuple[float, ...], std: tuple[float, ...]) -> Tensor:
    """Return (pixels - mean) / std by channel, (N, 3, H, W)."""
    shape = (1, len(mean), 1, 1)
    return (pixels - pixels.new_tensor(mean).view(shape)) / pixels.new_tensor(std).view(shape)


def _resnet_config(shape: ResNetShape) -> ResNetConfig:
    return ResNetConfig(
        embedding_size=shape.stem_width,
        hidden_sizes=list(shape.widths),
        depths=list(shape.depths),
        layer_type=shape.block,
        hidden_act=shape.activation,
        downsample_in_first_stage=shape.downsample_in_first_stage,
        downsample_in_bottleneck=shape.downsample_in_bottleneck,
        num_labels=1,
    )


def _shape_of(config: ResNetConfig) -> ResNetShape:
    return ResNetShape(
        depths=tuple(config.depths),
        widths=tuple(config.hidden_sizes),
        stem_width=config.embedding_size,
        block=config.layer_type,
        activation=config.hidden_act,
        downsample_in_first_stage=config.downsample_in_first_stage,
        downsample_in_bottleneck=config.downsample_in_bottleneck,
    )


def _require_complete(folder: Path, loading: dict[str, Any], *, but: str | None = None) -> None:
    missing = sorted(name for name in loading["missing_keys"] if but is None or not name.startswith(but))
    if missing:
        raise CheckpointError(
            f"{folder} lacks {len(missing)} of the weights that its config.json promises, {missing[0]} first: the file "
            "is damaged or belongs to another architecture; download it again."
        )


@contextlib.contextmanager
def _reading(folder: Path, kind: str) -> Iterator[None]:
    """Turn what goes wrong into one sentence, and keep progress bars and loading tables out of the terminal."""
    if not folder.is_dir():
        raise CheckpointError(f"{kind}; {folder} is not a folder.")
    shown, level = logging.is_progress_bar_enabled(), logging.get_verbosity()
    logging.disable_progress_bar()
    logging.set_verbosity_error()  # a whole CLIP holds text weights too, which the library would list
    try:
        yield
    except (OSError, ValueError, RuntimeError, SafetensorError) as error:
        if isinstance(error, CheckpointError):
            raise
        reason = (str(error).strip().splitlines() or [type(error).__name__])[0]
        raise CheckpointError(f"{kind}; {folder} could not be loaded as one: {reason}") from error
    finally:
        logging.set_verbosity(level)
        if shown:
            logging.enable_progress_bar()
