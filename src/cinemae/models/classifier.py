"""A cinemae model as transformers sees it, for ``pipeline("image-classification", ..., trust_remote_code=True)``.

The labels are "real" and "fake", the score of "fake" is `prob_fake`. Verdict, doubts and provenance are not part of it:
for those use `cinemae.Detector`. Needs torch and transformers.
"""

from __future__ import annotations

import os
from typing import Any, Self

import numpy as np
import torch
from torch import Tensor
from transformers import PreTrainedConfig, PreTrainedModel
from transformers.image_processing_base import BatchFeature, ImageProcessingMixin
from transformers.modeling_outputs import ImageClassifierOutput
from transformers.processing_utils import ImagesKwargs

from cinemae.config import DecisionConfig, ImageConfig
from cinemae.core.calibration import calibrate
from cinemae.core.model import CinemaeModel
from cinemae.core.preprocess import preprocess
from cinemae.errors import ConfigError
from cinemae.models.directory import read_model_config, resolve_model
from cinemae.models.weights import load_model
from cinemae.pictures.image import ImageInput, load_image

_DTYPES = {None: "float32", "auto": "float32", "float32": "float32", "bfloat16": "bfloat16"}
_OF_THE_HUB = ("revision", "token", "cache_dir", "local_files_only")


class CinemaeConfig(PreTrainedConfig):  # type: ignore[misc]
    """config.json of a model directory; its own keys become attributes."""

    model_type = "cinemae"


class CinemaeImageProcessor(ImageProcessingMixin):  # type: ignore[misc]
    """Brings pictures to the model's views, as `cinemae.core.preprocess` does.

    Args:
        image: `ImageConfig.to_dict`.
        options: transformers' own.
    """

    model_input_names = ("pixel_values",)
    valid_kwargs = ImagesKwargs

    def __init__(self, image: dict[str, Any] | None = None, **options: Any) -> None:  # noqa: ANN401 - not ours
        super().__init__(**options)
        self.image = image or {}

    def __call__(
        self, images: ImageInput | list[ImageInput], return_tensors: str | None = "pt", **_: object
    ) -> BatchFeature:
        """Return `pixel_values`, (N, V, 3, S, S).

        Args:
            images: What `cinemae.load_image` takes, one or a list.
            return_tensors: "pt" or "np".

        Raises:
            ImageError: If one cannot be read.
        """
        config = ImageConfig.from_dict(self.image)
        given = images if isinstance(images, list) else [images]
        pixel_values = np.stack([preprocess(load_image(image).image, config) for image in given])
        return BatchFeature({"pixel_values": pixel_values}, tensor_type=return_tensors)


class CinemaeForImageClassification(PreTrainedModel):  # type: ignore[misc]
    """The whole method, its calibrated probability as two logits. For scoring only: it gives no gradient.

    Args:
        config: As transformers read it.
        model: Both halves.
        decision: Calibration of the logit.
    """

    config_class = CinemaeConfig
    base_model_prefix = "cinemae"
    main_input_name = "pixel_values"

    def __init__(self, config: CinemaeConfig, model: CinemaeModel, decision: DecisionConfig) -> None:
        super().__init__(config)
        self.cinemae, self.decision = model, decision

    @classmethod
    def from_pretrained(
        cls,
        pretrained_model_name_or_path: str | os.PathLike[str],
        *_: object,
        config: CinemaeConfig | None = None,
        dtype: str | torch.dtype | None = None,
        **options: Any,  # noqa: ANN401 - not ours
    ) -> Self:
        """Load a model directory, or one of the Hub.

        Args:
            pretrained_model_name_or_path: A model directory or a Hub id.
            config: Its config.json, if it was read already.
            dtype: What the backbone computes in: float32 or bfloat16.
            options: revision, token, cache_dir and local_files_only are heeded, for a Hub id; no others.

        Raises:
            ModelDirError: If there is no such model.
            ConfigError: If the dtype is another.
        """
        name = str(dtype).removeprefix("torch.") if dtype is not None else None
        if name not in _DTYPES:
            raise ConfigError(f"a cinemae model computes in float32 or bfloat16, got {name}: choose one.")
        wanted = {key: options[key] for key in _OF_THE_HUB if options.get(key) is not None}
        directory = resolve_model(os.fspath(pretrained_model_name_or_path), **wanted)
        settings = read_model_config(directory)
        model = load_model(directory, settings, dtype=getattr(torch, _DTYPES[name]))
        classifier = cls(config or CinemaeConfig.from_pretrained(directory), model, settings.decision)
        classifier.eval()
        return classifier

    @torch.inference_mode()
    def forward(self, pixel_values: Tensor, **_: object) -> ImageClassifierOutput:
        """Score pictures one by one, so that a score depends on its picture alone.

        Args:
            pixel_values: (N, V, 3, S, S), as `CinemaeImageProcessor` gives them.

        Returns:
            logits (N, 2) in double precision: the logarithms of 1 - prob_fake and prob_fake.
        """
        logits = torch.cat([self.cinemae(views.float())[0] for views in pixel_values])
        prob_fake = torch.from_numpy(calibrate(logits.double().cpu().numpy(), self.decision))
        return ImageClassifierOutput(logits=torch.stack([1 - prob_fake, prob_fake], dim=-1).log())
