"""The method end to end, Eqs. 1-9 and calibration: what torch scores with, and what is exported as a graph."""

from __future__ import annotations

import torch
from jaxtyping import Float
from torch import Tensor, nn

from cinemae.config import DecisionConfig, LcasConfig
from cinemae.core.anomaly_stats import anomaly_stats
from cinemae.core.features import FeatureExtractor, features_to_lcas
from cinemae.core.head import CinemaeHead


class CinemaeModel(nn.Module):
    """Frozen half, trained half and calibration composed; always in evaluation mode.

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
        self.eval()

    def forward(
        self, pixel_values: Float[Tensor, "N 3 H W"], noise: Float[Tensor, "K L"] | None = None
    ) -> tuple[
        Float[Tensor, " N"], Float[Tensor, " N"], Float[Tensor, "N 3"], Float[Tensor, "N K L"], Float[Tensor, "N D"]
    ]:
        """Score preprocessed views.

        Args:
            pixel_values: ImageNet-normalised, (N, 3, H, W).
            noise: Masking noise (K, L) in place of the configured one.

        Returns:
            logit of Eq. 9 (N,), prob_fake (N,), stats (N, 3), lcas (N, K, L), nan where visible, and
            global_feature (N, D).
        """
        features = self.extractor(pixel_values, noise)
        lcas = features_to_lcas(features, self.lcas, self.extractor.backbone.patch_dim)
        stats = anomaly_stats(lcas)
        logit = self.head(features.global_feature, stats)
        prob_fake = torch.sigmoid(self.decision.platt_scale * logit + self.decision.platt_offset)
        return logit, prob_fake, stats, lcas, features.global_feature
