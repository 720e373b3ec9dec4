"""Networks of the baselines: ResNets, Swin and frozen encoders, fresh or from a local folder in the Hub's own layout.

The only module of the workbench that imports transformers. Nothing is downloaded.
"""

from __future__ import annotations

import contextlib
import json
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal, TypeVar, cast

import torch
from safetensors import SafetensorError
from torch import Tensor, nn
from transformers import (
    AutoConfig,
    AutoModel,
    CLIPConfig,
    CLIPVisionConfig,
    CLIPVisionModelWithProjection,
    PreTrainedConfig,
    PreTrainedModel,
    ResNetConfig,
    ResNetForImageClassification,
    SwinConfig,
    SwinForImageClassification,
    ViTMAEConfig,
)
from transformers.utils import logging

from cinemae.config import CLIP_MEAN, CLIP_STD, IMAGENET_MEAN, IMAGENET_STD
from cinemae.core.checkpoint import load_pretrained_folder
from cinemae.core.linear import use_onednn
from cinemae.core.vit_mae import NormedViTMAEConfig
from cinemae.errors import CheckpointError
from cinemae.evaluation.baselines.layers import seeded
from cinemae.settings import Settings, require

_CLASSIFIER = "classifier."
_RESNET = {
    "channels": "num_channels",
    "stem_width": "embedding_size",
    "widths": "hidden_sizes",
    "depths": "depths",
    "block": "layer_type",
    "activation": "hidden_act",
    "downsample_in_first_stage": "downsample_in_first_stage",
    "downsample_in_bottleneck": "downsample_in_bottleneck",
}
"""What transformers calls the fields of `ResNetShape`; its stem's kernel is always 7."""
_PUBLISHED = {"resnet": "microsoft/resnet-50", "swin": "microsoft/swin-tiny-patch4-window7-224"}


@dataclass(frozen=True)
class ResNetShape(Settings):
    """The architecture of a ResNet, as a saved detector keeps it: stages of `depths` blocks with `widths` channels."""

    depths: tuple[int, ...]
    widths: tuple[int, ...]
    channels: int = 3
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


def basic_shape(depths: tuple[int, ...], width: int) -> ResNetShape:
    """Return the shape of ResNet-18 and 34 (He et al. 2016): blocks of two 3x3 layers, stage i with width * 2^i.

    Example:
        >>> basic_shape((2, 2, 2, 2), 64).widths
        (64, 128, 256, 512)
    """
    widths = tuple(width * 2**stage for stage in range(len(depths)))
    return ResNetShape(depths, widths, stem_width=width, block="basic")


def bottleneck_shape(depths: tuple[int, ...], width: int, *, stem_kernel: int = 7, channels: int = 3) -> ResNetShape:
    """Return the shape of He et al. 2016: stem of `width` channels, stage i with 4 * width * 2^i.

    Example:
        >>> bottleneck_shape((3, 4, 6, 3), 64).widths
        (256, 512, 1024, 2048)
    """
    widths = tuple(4 * width * 2**stage for stage in range(len(depths)))
    return ResNetShape(depths, widths, channels, stem_width=width, stem_kernel=stem_kernel)


class LogitResNet(nn.Module):
    """A ResNet that gives one logit a picture, of pixels in [0, 1] normalised by ImageNet's mean and deviation.

    Args:
        shape: The architecture.
        seed: Of the fresh weights; torch's global random state is left as it is.
    """

    def __init__(self, shape: ResNetShape, *, seed: int) -> None:
        super().__init__()
        self.shape = shape
        with seeded(seed):
            values = shape.to_dict()
            config = ResNetConfig(**{theirs: values[ours] for ours, theirs in _RESNET.items()}, num_labels=1)
            self.resnet = ResNetForImageClassification(config)
            stem = self.resnet.resnet.embedder.embedder
            if shape.stem_kernel != stem.convolution.kernel_size[0]:
                kernel = shape.stem_kernel
                stem.convolution = nn.Conv2d(
                    shape.channels, shape.stem_width, kernel, stride=2, padding=kernel // 2, bias=False
                )
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

    def feature_map(self, pixel_values: Tensor) -> Tensor:
        """Return the last stage's activations, (N, widths[-1], H / 32, W / 32), of what is normalised already."""
        result: Tensor = self.resnet.resnet(pixel_values).last_hidden_state
        return result


ResNetT = TypeVar("ResNetT", bound=LogitResNet)


def load_resnet(folder: Path, network_type: type[ResNetT], *, seed: int) -> ResNetT:
    """Load a ResNet classifier from a local folder; classifier, layers around it, a stem of other channels are fresh.

    Args:
        folder: In the Hub's layout: config.json and model.safetensors.
        network_type: The network to put its weights into.
        seed: Of what is fresh.

    Raises:
        CheckpointError: If the folder cannot be read, is no ResNet, or lacks weights.
    """
    config, given = _given_classifier(folder, "an ImageNet ResNet", ResNetConfig, ResNetForImageClassification)
    shape = ResNetShape.from_dict({ours: getattr(config, theirs) for ours, theirs in _RESNET.items()})
    network = network_type(shape, seed=seed)
    own = network.resnet.state_dict()
    weights = {name: weight for name, weight in given.items() if weight.shape == own[name].shape}
    network.resnet.load_state_dict(weights, strict=False)
    return network


@dataclass(frozen=True)
class SwinShape(Settings):
    """The architecture of a Swin transformer on squares of `image_size` pixels, patches of 4."""

    image_size: int
    depths: tuple[int, ...]
    heads: tuple[int, ...]
    width: int
    window: int


class LogitSwin(nn.Module):
    """A Swin transformer that gives one logit a picture, of pixels in [0, 1] normalised as in ImageNet.

    Args:
        shape: The architecture.
        seed: Of the fresh weights; torch's global random state is left as it is.
    """

    def __init__(self, shape: SwinShape, *, seed: int) -> None:
        super().__init__()
        config = SwinConfig(
            image_size=shape.image_size,
            embed_dim=shape.width,
            depths=list(shape.depths),
            num_heads=list(shape.heads),
            window_size=shape.window,
            num_labels=1,
        )
        with seeded(seed):
            self.swin = SwinForImageClassification(config)

    def forward(self, pixels: Tensor) -> Tensor:
        """Return logits, (N,), of pixels (N, 3, S, S) in [0, 1]."""
        result: Tensor = self.swin(normalise(pixels, IMAGENET_MEAN, IMAGENET_STD)).logits[:, 0]
        return result


def load_swin(folder: Path, shape: SwinShape, *, seed: int) -> LogitSwin:
    """Load a Swin classifier from a local folder, its classifier replaced by a fresh one with one logit.

    Raises:
        CheckpointError: If the folder cannot be read, is no Swin, lacks weights, or its shape is another.
    """
    config, given = _given_classifier(folder, "an ImageNet Swin", SwinConfig, SwinForImageClassification)
    found = SwinShape(
        shape.image_size, tuple(config.depths), tuple(config.num_heads), config.embed_dim, config.window_size
    )
    if found != shape:
        raise CheckpointError(f"{folder} holds {found}, and {shape} was asked for: name its depths, heads and width.")
    network = LogitSwin(shape, seed=seed)
    network.swin.load_state_dict(given, strict=False)
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
    with _reading(folder, "CLIP"):
        config = AutoConfig.from_pretrained(folder, local_files_only=True)
        if isinstance(config, CLIPConfig):
            config.vision_config.projection_dim = config.projection_dim
            config = config.vision_config
        if not isinstance(config, CLIPVisionConfig):
            raise CheckpointError(
                f"{folder} holds a {config.model_type}, not a clip: use openai/clip-vit-large-patch14."
            )
        return ClipEncoder(_pretrained(CLIPVisionModelWithProjection, folder, config=config))


class FrozenEncoder(nn.Module):
    """A frozen vision transformer: pixels in [0, 1] to the [CLS] after its last norm.

    Attributes:
        image_size: Side of the squares that it is given, in pixels.
        dim: Length of a feature.
    """

    def __init__(self, model: PreTrainedModel, image_size: int, mean: Sequence[float], std: Sequence[float]) -> None:
        super().__init__()
        self.model = model.eval().requires_grad_(False)
        use_onednn(self.model)
        self.image_size = image_size
        self._mean, self._std = tuple(mean), tuple(std)
        of = model.config
        self._patches = (of.image_size // of.patch_size) ** 2 if isinstance(of, ViTMAEConfig) else 0
        self.dim = self(torch.zeros(1, 3, image_size, image_size)).shape[1]

    @torch.inference_mode()
    def forward(self, pixels: Tensor) -> Tensor:
        """Return features, (N, dim), of pixels (N, 3, image_size, image_size) in [0, 1]."""
        order = {"noise": torch.arange(self._patches).expand(len(pixels), -1)} if self._patches else {}  # else drawn
        found = self.model(pixel_values=normalise(pixels, self._mean, self._std), **order).last_hidden_state
        return cast("Tensor", found[:, 0])


def load_encoder(folder: Path, image_size: int) -> FrozenEncoder | ClipEncoder:
    """Load any encoder with a [CLS]: DINOv2, DINOv3, ViT, CLIP, MAE, or what `cinemae backbone convert` wrote.

    Mean and deviation of the pixels are those of its preprocessor_config.json, else ImageNet's. CLIP gives its
    projected feature at its own size.

    Args:
        folder: Local, in the Hub's layout.
        image_size: Side of the squares to give it, in pixels.

    Raises:
        CheckpointError: If the folder cannot be read, lacks weights, has no [CLS], or takes no squares of this size.
    """
    with _reading(folder, "a frozen encoder"):
        kind = PreTrainedConfig.get_config_dict(folder)[0].get("model_type")
        if kind in (CLIPConfig.model_type, CLIPVisionConfig.model_type):
            return load_clip_encoder(folder)
        if kind in (ViTMAEConfig.model_type, NormedViTMAEConfig.model_type):
            model = load_pretrained_folder(str(folder), encoder_only=True).vit
            model.config.mask_ratio = 0.0
        else:
            model = _pretrained(AutoModel, folder, but="pooler.")
        if not hasattr(getattr(model, "embeddings", None), "cls_token"):
            raise CheckpointError(f"{folder} holds a {kind}, which has no [CLS]: use a DINOv2, ViT or CLIP.")
        path = folder / "preprocessor_config.json"
        values = json.loads(path.read_text(encoding="utf-8")) if path.is_file() else {}
        mean, std = values.get("image_mean", IMAGENET_MEAN), values.get("image_std", IMAGENET_STD)
        return FrozenEncoder(model, image_size, mean, std)


def normalise(pixels: Tensor, mean: Sequence[float], std: Sequence[float]) -> Tensor:
    """Return (pixels - mean) / std by channel, (N, 3, H, W)."""
    shape = (1, len(mean), 1, 1)
    return (pixels - pixels.new_tensor(mean).view(shape)) / pixels.new_tensor(std).view(shape)


def _given_classifier(
    folder: Path, kind: str, config_type: type[PreTrainedConfig], model_type: type[PreTrainedModel]
) -> tuple[Any, dict[str, Tensor]]:
    """Return the configuration of a classifier in a local folder, and its weights but for the last layer."""
    with _reading(folder, kind):
        config = AutoConfig.from_pretrained(folder, local_files_only=True)
        if not isinstance(config, config_type):
            use = _PUBLISHED[config_type.model_type]
            raise CheckpointError(f"{folder} holds a {config.model_type}, not a {config_type.model_type}: use {use}.")
        weights = _pretrained(model_type, folder, but=_CLASSIFIER).state_dict().items()
    return config, {name: weight for name, weight in weights if not name.startswith(_CLASSIFIER)}


def _pretrained(model_type: Any, folder: Path, *, but: str = "-", **more: Any) -> Any:  # noqa: ANN401 - not ours
    """Return a model with the weights of a local folder, all of them there but perhaps those that begin with `but`."""
    model, loading = model_type.from_pretrained(
        folder, local_files_only=True, use_safetensors=True, output_loading_info=True, dtype=torch.float32, **more
    )
    missing = sorted(name for name in loading["missing_keys"] if not name.startswith(but))
    if missing:
        raise CheckpointError(
            f"{folder} lacks {len(missing)} of the weights that its config.json promises, {missing[0]} first: the file "
            "is damaged or belongs to another architecture; download it again."
        )
    return model


@contextlib.contextmanager
def _reading(folder: Path, kind: str) -> Iterator[None]:
    """Turn what goes wrong into one sentence, and keep progress bars and loading tables out of the terminal."""
    kind = f"{kind} is a local folder with the config.json and model.safetensors of a Hub repository"
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
