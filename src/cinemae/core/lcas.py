"""The Local Contextual Anomaly Score of each masked patch: Eqs. 1-5.

LCAS says how hard a patch is to predict from its context. Photographs score HIGHER than generated images (Sec. 3,
Fig. 8): it is not a fake score, and nothing here calls it one.

The paper leaves open whether the per-value terms of Eqs. 4 and 5 are averaged or summed over a patch
(`reduction`, decision 0001). Both terms are computed as means; `combine_terms` rescales them for the other readings.
"""

from __future__ import annotations

import torch
from jaxtyping import Float
from torch import Tensor

from cinemae.config import Reduction
from cinemae.errors import ConfigError


def nll_approx(
    pred: Float[Tensor, "*batch L P"],
    target: Float[Tensor, "*batch L P"],
    mask: Float[Tensor, "*batch L"],
    *,
    sigma: float,
) -> Float[Tensor, "*batch L"]:
    """Approximate negative log-likelihood of each masked patch, Eq. 2: ``||x_m - f(x_v)||^2 / (2 sigma^2)``.

    Args:
        pred: Redrawn patches, (N, L, P) or (N, K, L, P).
        target: Original patches, same shape.
        mask: 1 masked, 0 visible, (N, L) or (N, K, L).
        sigma: Standard deviation of the implicit Gaussian, in the units of the pixels; positive.

    Returns:
        Same shape as `mask`, nan where visible.

    Raises:
        ConfigError: If sigma is not positive.

    Example:
        >>> nll_approx(torch.zeros(1, 2, 3), torch.ones(1, 2, 3), torch.tensor([[1.0, 0.0]]), sigma=1.0)
        tensor([[1.5000,    nan]])
    """
    if sigma <= 0:
        raise ConfigError(f"sigma must be positive, got {sigma}.")
    return _hide_visible((pred - target).square().sum(-1) / (2 * sigma**2), mask)


def context_moments(
    target: Float[Tensor, "*batch L P"],
    mask: Float[Tensor, "*batch L"],
    *,
    unbiased: bool = False,
    sigma_floor: float = 1e-3,
) -> tuple[Float[Tensor, "*batch"], Float[Tensor, "*batch"]]:
    """Return context_mean and context_std, the scalars mu_v and sigma_v of Eq. 5.

    The mean and standard deviation inside each visible patch, averaged over all visible patches of the image.

    Args:
        target: Original patches, (N, L, P) or (N, K, L, P).
        mask: 1 masked, 0 visible, (N, L) or (N, K, L).
        unbiased: Divide by P - 1 instead of P inside a patch (not stated by the paper, decision 0001).
        sigma_floor: Smallest context_std, so that a flat image has a finite score.

    Returns:
        Two tensors of shape (N,) or (N, K), in the units of the pixels.

    Example:
        >>> mean, std = context_moments(torch.tensor([[[1.0, 3.0], [9.0, 9.0]]]), torch.tensor([[0.0, 1.0]]))
        >>> mean.item(), std.item()
        (2.0, 1.0)
    """
    visible = 1 - mask
    count = visible.sum(-1)
    std, mean = torch.std_mean(target, dim=-1, correction=int(unbiased))
    context_mean = (mean * visible).sum(-1) / count
    context_std = (std * visible).sum(-1) / count
    return context_mean, context_std.clamp_min(sigma_floor)


def statistical_deviation(
    pred: Float[Tensor, "*batch L P"],
    context_mean: Float[Tensor, "*batch"],
    context_std: Float[Tensor, "*batch"],
    mask: Float[Tensor, "*batch L"],
) -> Float[Tensor, "*batch L"]:
    """Deviation of each redrawn patch from its visible context, Eq. 5, averaged over the patch's values.

    ``D_stat = 1/2 * (mean(((pred - mu_v) / sigma_v)^2) + log(sigma_v^2))``

    Args:
        pred: Redrawn patches, (N, L, P) or (N, K, L, P).
        context_mean: mu_v, (N,) or (N, K).
        context_std: sigma_v, same shape, positive.
        mask: 1 masked, 0 visible, (N, L) or (N, K, L).

    Returns:
        Same shape as `mask`, nan where visible.

    Example:
        >>> one = torch.ones(1)
        >>> statistical_deviation(torch.full((1, 1, 4), 3.0), one, one, torch.ones(1, 1))
        tensor([[2.]])
    """
    z = (pred - context_mean[..., None, None]) / context_std[..., None, None]
    return _hide_visible(0.5 * (z.square().mean(-1) + 2 * context_std.log()[..., None]), mask)


def reconstruction_fidelity(
    pred: Float[Tensor, "*batch L P"], target: Float[Tensor, "*batch L P"], mask: Float[Tensor, "*batch L"]
) -> Float[Tensor, "*batch L"]:
    """Squared distance of each redrawn patch from the original, Eq. 4's second term, averaged over the patch's values.

    Args:
        pred: Redrawn patches, (N, L, P) or (N, K, L, P).
        target: Original patches, same shape.
        mask: 1 masked, 0 visible, (N, L) or (N, K, L).

    Returns:
        Same shape as `mask`, nan where visible.

    Example:
        >>> reconstruction_fidelity(torch.zeros(1, 1, 4), torch.full((1, 1, 4), 2.0), torch.ones(1, 1))
        tensor([[4.]])
    """
    return _hide_visible((pred - target).square().mean(-1), mask)


def combine_terms(
    deviation: Float[Tensor, "*batch L"],
    fidelity: Float[Tensor, "*batch L"],
    *,
    fidelity_weight: float,
    reduction: Reduction,
    patch_dim: int,
) -> Float[Tensor, "*batch L"]:
    """Add the two terms of Eq. 4: ``LCAS = D_stat + lambda * ||pred - target||^2``.

    Args:
        deviation: Eq. 5 averaged over the patch's values, nan where visible.
        fidelity: Squared error averaged over the patch's values, nan where visible.
        fidelity_weight: lambda, 0.1 in the paper.
        reduction: "mean" averages both terms over a patch, "sum" sums both, "literal" averages Eq. 5 and sums Eq. 4's
            squared norm, as they are printed (decision 0001).
        patch_dim: P, the number of values of a patch (768 for 16x16 RGB).

    Returns:
        LCAS, same shape, nan where visible.

    Raises:
        ConfigError: If `reduction` is none of the three.

    Example:
        >>> one = torch.ones(1, 1)
        >>> for reduction in ("mean", "sum", "literal"):
        ...     combine_terms(one, one, fidelity_weight=0.5, reduction=reduction, patch_dim=4).item()
        1.5
        6.0
        3.0
    """
    if reduction == "mean":
        return deviation + fidelity_weight * fidelity
    if reduction == "sum":
        return patch_dim * (deviation + fidelity_weight * fidelity)
    if reduction == "literal":
        return deviation + fidelity_weight * patch_dim * fidelity
    raise ConfigError(f'reduction must be "mean", "sum" or "literal", got {reduction!r}.')


def local_contextual_anomaly_score(
    pred: Float[Tensor, "*batch L P"],
    target: Float[Tensor, "*batch L P"],
    mask: Float[Tensor, "*batch L"],
    *,
    fidelity_weight: float = 0.1,
    reduction: Reduction = "mean",
    unbiased: bool = False,
    sigma_floor: float = 1e-3,
) -> Float[Tensor, "*batch L"]:
    """Local Contextual Anomaly Score of every masked patch, Eqs. 4 and 5.

    Args:
        pred: Redrawn patches, (N, L, P) or (N, K, L, P).
        target: Original patches, same shape.
        mask: 1 masked, 0 visible, (N, L) or (N, K, L).
        fidelity_weight: lambda, 0.1 in the paper.
        reduction: See `combine_terms`.
        unbiased: See `context_moments`.
        sigma_floor: See `context_moments`.

    Returns:
        LCAS, (N, L) or (N, K, L), nan where visible. High means hard to predict from context, which photographs are.

    Example:
        >>> pred, target = torch.zeros(1, 2, 2), torch.tensor([[[-1.0, 1.0], [2.0, 2.0]]])
        >>> local_contextual_anomaly_score(pred, target, torch.tensor([[0.0, 1.0]]))
        tensor([[   nan, 0.4000]])
    """
    context_mean, context_std = context_moments(target, mask, unbiased=unbiased, sigma_floor=sigma_floor)
    return combine_terms(
        statistical_deviation(pred, context_mean, context_std, mask),
        reconstruction_fidelity(pred, target, mask),
        fidelity_weight=fidelity_weight,
        reduction=reduction,
        patch_dim=pred.shape[-1],
    )


def _hide_visible(values: Tensor, mask: Tensor) -> Tensor:
    return torch.where(mask > 0, values, torch.full_like(values, torch.nan))
