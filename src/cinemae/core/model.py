"""The method end to end, Eqs. 1-9: what torch scores with, and what is exported as a graph.

It ends with the logit. What that means (`cinemae.core.calibration`, `cinemae.core.mahalanobis`) is said outside the
graph, so that other thresholds need no other graph.
"""

from __future__ import annotations

from jaxtyping import Float
from torch import Tensor, nn

from cinemae.config import LcasConfig
from cinemae.core.anomaly_stats import anomaly_stats
from cinemae.core.features import FeatureExtractor, features_to_lcas
from cinemae.core.head import CinemaeHead


class CinemaeModel(nn.Module):
    """Frozen half and trained half composed; always in evaluation mode.

    Args:
        extractor: The frozen half.
        head: The trained half.
        lcas: Weight and reduction of Eq. 4's terms.
    """

    def __init__(self, extractor: FeatureExtractor, head: CinemaeHead, lcas: LcasConfig) -> None:
        super().__init__()
        self.extractor, self.head, self.lcas = extractor, head, lcas
        self.eval()

    def forward(
        self, pixel_values: Float[Tensor, "NV 3 H W"], noise: Float[Tensor, "K L"] | None = None
    ) -> tuple[Float[Tensor, " N"], Float[Tensor, "N 3"], Float[Tensor, "NV K L"], Float[Tensor, "NV D"]]:
        """Score N preprocessed images of V views; the paper's V is 1.

        Args:
            pixel_values: ImageNet-normalised, the V views of an image one after the other, (N * V, 3, H, W).
            noise: Masking noise (K, L) in place of the configured one.

        Returns:
            Of each image: logit of Eq. 9 (N,) and stats, averaged over the views (N, 3). Of each view: lcas
            (N * V, K, L), nan where visible, and global_feature (N * V, D).
        """
        features = self.extractor(pixel_values, noise)
        lcas = features_to_lcas(features, self.lcas, self.extractor.backbone.patch_dim)
        views = (-1, self.extractor.config.image.num_views)
        stats = anomaly_stats(lcas).unflatten(0, views)
        logit = self.head.score_views(features.global_feature.unflatten(0, views), stats)
        return logit, stats.mean(1), lcas, features.global_feature
