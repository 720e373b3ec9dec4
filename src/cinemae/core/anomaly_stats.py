"""From patch scores to three numbers an image: variability s1, overall s2, sensitivity s3 (Sec. 4.3, Eq. 6)."""

from __future__ import annotations

import torch
from jaxtyping import Float
from torch import Tensor


def anomaly_stats(lcas: Float[Tensor, "N K L"]) -> Float[Tensor, "N 3"]:
    """Summarise the LCAS of K masked passes as s1, s2, s3.

    * s1, variability: maximum minus minimum over the masked patches of a pass, averaged over the passes;
    * s2, overall: mean over all masked patches of all passes;
    * s3, sensitivity: ``1/K * sum_k |mu_k - s2|`` with mu_k the mean of pass k (Eq. 6). With K = 1 it is 0.

    Args:
        lcas: Scores of shape (N, K, L), nan where a patch is visible.

    Returns:
        Shape (N, 3), always in the order s1, s2, s3.

    Example:
        >>> nan = float("nan")
        >>> anomaly_stats(torch.tensor([[[1.0, 3.0, nan], [nan, 5.0, 7.0]]]))
        tensor([[2., 4., 2.]])
    """
    masked = ~lcas.isnan()
    infinity = torch.full_like(lcas, torch.inf)
    largest = torch.where(masked, lcas, -infinity).amax(-1)
    smallest = torch.where(masked, lcas, infinity).amin(-1)
    values = torch.where(masked, lcas, torch.zeros_like(lcas))
    count = masked.sum(-1).to(lcas.dtype)

    variability = (largest - smallest).mean(-1)
    overall = values.sum((-2, -1)) / count.sum(-1)
    per_pass = values.sum(-1) / count
    sensitivity = (per_pass - overall[:, None]).abs().mean(-1)
    return torch.stack([variability, overall, sensitivity], dim=-1)
