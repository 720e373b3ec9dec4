"""The frozen half of the method in one call: `pixel_values` to `Features`.

`Features` is the one value that crosses to the trained half, and what the feature store keeps: the two terms of Eq. 4
for every patch and pass, not their sum, so that lambda, K, the statistics and the fusion can be studied again without
running the backbone.
"""

from __future__ import annotations

from dataclasses import dataclass

import torch
from jaxtyping import Float
from torch import Tensor, nn

from cinemae.config import ExtractorConfig, LcasConfig
from cinemae.core.anomaly_stats import anomaly_stats
from cinemae.core.backbone import MaskedAutoencoder
from cinemae.core.block_spectrum import block_spectrum
from cinemae.core.lcas import combine_terms, context_moments, reconstruction_fidelity, statistical_deviation
from cinemae.core.masking import MaskPlan, noise_from_config, patchify, plan_masks
from cinemae.core.texture import texture
from cinemae.errors import ConfigError


@dataclass(frozen=True)
class Features:
    """What the frozen half knows of N images.

    Attributes:
        global_feature: The encoder's [CLS] of the whole image, Eq. 3, (N, D); D is a multiple of the encoder's width
            where several layers, or statistics of their tokens, are joined; block spectrum and texture follow if asked
            for.
        deviation: Eq. 5 averaged over each patch's values, (N, K, L), nan where visible.
        fidelity: Squared error of Eq. 4 averaged over each patch's values, (N, K, L), nan where visible.
    """

    global_feature: Float[Tensor, "N D"]
    deviation: Float[Tensor, "N K L"]
    fidelity: Float[Tensor, "N K L"]


class FeatureExtractor(nn.Module):
    """Backbone, masks and Eqs. 3-5 composed.

    Args:
        backbone: The masked autoencoder: a `FrozenMAE`, but where it is fine-tuned.
        config: Image, mask and deviation settings; its image size must be the backbone's.

    Raises:
        ConfigError: If the image size is not the one the backbone was made for, or a layer named is not there.
    """

    noise: Tensor
    visible: Tensor
    hidden: Tensor
    restore: Tensor
    mean: Tensor
    std: Tensor

    def __init__(self, backbone: MaskedAutoencoder, config: ExtractorConfig) -> None:
        super().__init__()
        if config.image.size != backbone.image_size:
            raise ConfigError(
                f"the backbone takes images of {backbone.image_size} pixels, the extractor is set to "
                f"{config.image.size}: set image.size to {backbone.image_size}."
            )
        deepest = max(config.global_feature.cls_layers, default=1)
        if deepest > backbone.num_layers:
            raise ConfigError(
                f"the backbone's encoder has {backbone.num_layers} layers, cls_layers names layer {deepest}: name "
                "those that are there."
            )
        self.backbone = backbone
        self.config = config
        self.register_buffer("noise", torch.from_numpy(noise_from_config(config.mask, backbone.num_patches)))
        for name, index in plan_masks(self.noise, config.mask.mask_ratio)._asdict().items():
            self.register_buffer(name, index, persistent=False)
        self.register_buffer("mean", torch.tensor(config.image.mean))
        self.register_buffer("std", torch.tensor(config.image.std))

    @property
    def fingerprint(self) -> str:
        """Changes whenever the extracted features could."""
        return self.config.fingerprint(self.backbone.content_hash)

    @property
    def global_dim(self) -> int:
        """D, the length of the global feature."""
        return self.config.global_feature.dim(self.backbone.hidden_size)

    def forward(self, pixel_values: Float[Tensor, "N 3 H W"], noise: Float[Tensor, "K L"] | None = None) -> Features:
        """Extract the features of preprocessed images.

        Args:
            pixel_values: ImageNet-normalised, (N, 3, H, W).
            noise: Masking noise (K, L) in place of the configured one.

        Returns:
            `Features`, float32 on the backbone's device.
        """
        plan = self._plan if noise is None else plan_masks(noise, self.config.mask.mask_ratio)
        wanted = self.config.global_feature
        global_feature, pred = self.backbone.encode_and_redraw(
            pixel_values, plan, cls_layers=wanted.cls_layers, token_statistics=wanted.token_statistics
        )
        global_feature = global_feature.float()
        if wanted.block_spectrum:
            global_feature = torch.cat([global_feature, block_spectrum(pixel_values, self.mean, self.std)], dim=-1)
        if wanted.texture:
            global_feature = torch.cat([global_feature, texture(pixel_values, self.mean, self.std)], dim=-1)
        target = patchify(pixel_values.float(), self.backbone.patch_size)
        pred = pred.float()
        if self.config.deviation.pixel_space == "unit":
            pred, target = self._to_unit(pred), self._to_unit(target)
        settings, context = self.config.deviation, target[:, plan.visible]
        context_mean, context_std = context_moments(
            context, context.new_zeros(context.shape[:-1]), unbiased=settings.unbiased, sigma_floor=settings.sigma_floor
        )
        hidden = pred.new_ones(pred.shape[:-1])
        return Features(
            global_feature=global_feature,
            deviation=_among_all(statistical_deviation(pred, context_mean, context_std, hidden), plan),
            fidelity=_among_all(reconstruction_fidelity(pred, target[:, plan.hidden], hidden), plan),
        )

    @property
    def _plan(self) -> MaskPlan:
        return MaskPlan(self.visible, self.hidden, self.restore)

    def _to_unit(self, patches: Tensor) -> Tensor:
        repeats = patches.shape[-1] // self.mean.numel()  # channel is the fastest axis of a patch
        return patches * self.std.repeat(repeats) + self.mean.repeat(repeats)


def _among_all(values: Tensor, plan: MaskPlan) -> Tensor:
    """Put values of the masked patches (N, K, M) at their places among all, (N, K, L), nan where visible."""
    shuffled = nn.functional.pad(values, (plan.visible.shape[1], 0), value=torch.nan)
    return shuffled.gather(2, plan.restore.expand_as(shuffled))


def features_to_lcas(features: Features, config: LcasConfig, patch_dim: int) -> Float[Tensor, "N K L"]:
    """Return the LCAS of every masked patch, Eq. 4, (N, K, L), nan where visible."""
    return terms_to_lcas(features.deviation, features.fidelity, config, patch_dim)


def terms_to_lcas(deviation: Tensor, fidelity: Tensor, config: LcasConfig, patch_dim: int) -> Tensor:
    """Return `combine_terms` of both terms of Eq. 4, of any one shape, as `config` weighs and sums them."""
    weight, reduction = config.fidelity_weight, config.reduction
    return combine_terms(deviation, fidelity, fidelity_weight=weight, reduction=reduction, patch_dim=patch_dim)


def features_to_stats(features: Features, config: LcasConfig, patch_dim: int) -> Float[Tensor, "N 3"]:
    """Return s1, s2, s3 of every image, (N, 3)."""
    return anomaly_stats(features_to_lcas(features, config, patch_dim))
