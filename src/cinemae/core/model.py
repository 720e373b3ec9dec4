"""The method end to end, Eqs. 1-9, calibration and doubt: what torch scores with, and what is exported as a graph."""

from __future__ import annotations

import torch
from jaxtyping import Float
from torch import Tensor, nn

from cinemae.config import DecisionConfig, LcasConfig
from cinemae.core.anomaly_stats import anomaly_stats
from cinemae.core.features import FeatureExtractor, features_to_lcas
from cinemae.core.head import CinemaeHead
from cinemae.core.mahalanobis import MahalanobisDistance


class CinemaeModel(nn.Module):
    """Frozen half, trained half and calibration composed; always in evaluation mode.

    Args:
        extractor: The frozen half.
        head: The trained half.
        lcas: Weight and reduction of Eq. 4's terms.
        decision: Calibration of the logit.
        distance: How far an image lies from the training images; None if the model does not know.
    """

    knots: Tensor

    def __init__(
        self,
        extractor: FeatureExtractor,
        head: CinemaeHead,
        lcas: LcasConfig,
        decision: DecisionConfig,
        distance: MahalanobisDistance | None = None,
    ) -> None:
        super().__init__()
        self.extractor, self.head = extractor, head
        self.lcas, self.decision = lcas, decision
        self.distance = distance
        knots = torch.tensor([decision.knot_logits, decision.knot_log_odds])
        self.register_buffer("knots", knots, persistent=False)
        self.eval()

    def forward(
        self, pixel_values: Float[Tensor, "NV 3 H W"], noise: Float[Tensor, "K L"] | None = None
    ) -> tuple[
        Float[Tensor, " N"],
        Float[Tensor, " N"],
        Float[Tensor, "N 3"],
        Float[Tensor, "NV K L"],
        Float[Tensor, "NV D"],
        Float[Tensor, " N"],
    ]:
        """Score N preprocessed images of V views; the paper's V is 1.

        Args:
            pixel_values: ImageNet-normalised, the V views of an image one after the other, (N * V, 3, H, W).
            noise: Masking noise (K, L) in place of the configured one.

        Returns:
            Of each image: logit of Eq. 9 (N,), prob_fake (N,), stats, averaged over the views (N, 3). Of each view:
            lcas (N * V, K, L), nan where visible, and global_feature (N * V, D). Of each image: ood_distance (N,), nan
            if the model does not know.
        """
        features = self.extractor(pixel_values, noise)
        lcas = features_to_lcas(features, self.lcas, self.extractor.backbone.patch_dim)
        views = (-1, self.extractor.config.image.num_views)
        stats = anomaly_stats(lcas).unflatten(0, views)
        global_feature = features.global_feature.unflatten(0, views)
        logit = self.head.score_views(global_feature, stats)
        distance = torch.full_like(logit, torch.nan) if self.distance is None else self.distance(global_feature)
        return logit, self._calibrate(logit), stats.mean(1), lcas, features.global_feature, distance

    def _calibrate(self, logit: Float[Tensor, " N"]) -> Float[Tensor, " N"]:
        """Return `cinemae.core.calibration.calibrate`; a bent line is a sum of clamped pieces, which ONNX has."""
        scale = self.decision.platt_scale
        if self.decision.calibration == "platt":
            return torch.sigmoid(scale * logit + self.decision.platt_offset)
        x, y = self.knots
        width = x[1:] - x[:-1]
        within = (logit[:, None] - x[:-1]).clamp_min(0).minimum(width) @ ((y[1:] - y[:-1]) / width)
        beyond = (logit - x[0]).clamp_max(0) + (logit - x[-1]).clamp_min(0)
        return torch.sigmoid(y[0] + within + scale * beyond)
