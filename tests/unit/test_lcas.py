"""Eqs. 1-6 against a plain NumPy transcription that loops over patches."""

import math

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from cinemae.config import LcasConfig
from cinemae.core.anomaly_stats import anomaly_stats
from cinemae.core.lcas import (
    context_moments,
    local_contextual_anomaly_score,
    nll_approx,
    statistical_deviation,
)
from cinemae.errors import ConfigError


def _draw(seed, n=3, k=2, length=12, dim=8):
    generator = torch.Generator().manual_seed(seed)
    pred, target = torch.randn(2, n, k, length, dim, generator=generator).unbind(0)
    hidden = torch.rand(k, length, generator=generator).argsort(1) >= length // 4
    return pred, target, hidden.float().expand(n, -1, -1)


def _reference_lcas(pred, target, mask, fidelity_weight, reduction, ddof, floor):
    result = np.full(mask.shape, np.nan)
    for n, k in np.ndindex(*mask.shape[:2]):
        visible = [patch for patch, hidden in zip(target[n, k], mask[n, k], strict=True) if not hidden]
        mu = np.mean([patch.mean() for patch in visible])
        sigma = max(np.mean([patch.std(ddof=ddof) for patch in visible]), floor)
        for i in np.flatnonzero(mask[n, k]):
            deviations = [0.5 * (((value - mu) / sigma) ** 2 + math.log(sigma**2)) for value in pred[n, k, i]]
            errors = [(a - b) ** 2 for a, b in zip(pred[n, k, i], target[n, k, i], strict=True)]
            d_stat = sum(deviations) if reduction == "sum" else np.mean(deviations)
            fidelity = np.mean(errors) if reduction == "mean" else sum(errors)
            result[n, k, i] = d_stat + fidelity_weight * fidelity
    return result


@pytest.mark.parametrize("reduction", ["mean", "sum", "literal"])
@pytest.mark.parametrize("unbiased", [False, True])
@pytest.mark.parametrize("fidelity_weight", [0.0, 0.1, 1.0])
def test_lcas_equals_the_transcription(reduction, unbiased, fidelity_weight):
    pred, target, mask = _draw(1)
    scores = local_contextual_anomaly_score(
        pred, target, mask, fidelity_weight=fidelity_weight, reduction=reduction, unbiased=unbiased
    )
    expected = _reference_lcas(
        pred.numpy(), target.numpy(), mask.numpy(), fidelity_weight, reduction, int(unbiased), 1e-3
    )
    np.testing.assert_allclose(scores.numpy(), expected, rtol=2e-5)


def test_visible_patches_are_nan_and_masked_ones_are_not():
    pred, target, mask = _draw(2)
    scores = local_contextual_anomaly_score(pred, target, mask)
    assert torch.equal(scores.isnan(), mask == 0)


def test_one_mask_without_a_pass_axis():
    pred, target, mask = _draw(3, k=1)
    with_axis = local_contextual_anomaly_score(pred, target, mask)
    without = local_contextual_anomaly_score(pred[:, 0], target[:, 0], mask[:, 0])
    assert torch.equal(with_axis[:, 0].nan_to_num(), without.nan_to_num())


def test_a_flat_image_is_finite_and_the_floor_is_the_reason():
    pred, target, mask = torch.zeros(1, 4, 3), torch.zeros(1, 4, 3), torch.tensor([[0.0, 1.0, 1.0, 1.0]])
    scores = local_contextual_anomaly_score(pred, target, mask, sigma_floor=1e-2)
    assert scores[0, 1].item() == pytest.approx(math.log(1e-2))
    assert context_moments(target, mask, sigma_floor=1e-2)[1].item() == pytest.approx(1e-2)


def test_lambda_zero_ignores_the_original_of_the_hidden_patches():
    pred, target, mask = _draw(4)
    changed = target + 5 * mask[..., None]
    first, second = (
        local_contextual_anomaly_score(pred, t, mask, fidelity_weight=0.0).nan_to_num() for t in (target, changed)
    )
    assert torch.equal(first, second)


def test_deviation_reads_the_redrawn_patch_not_the_original():
    one = torch.ones(1)
    pred = torch.tensor([[[4.0, 4.0]]])
    assert statistical_deviation(pred, one, 2 * one, torch.ones(1, 1)).item() == pytest.approx(
        0.5 * (1.5**2 + math.log(4))
    )


def test_nll_is_half_the_squared_norm_over_the_variance():
    pred, target, mask = _draw(5)
    values = nll_approx(pred, target, mask, sigma=0.5)
    expected = ((pred - target) ** 2).sum(-1) / (2 * 0.25)
    torch.testing.assert_close(values[mask > 0], expected[mask > 0])
    assert values[mask == 0].isnan().all()


def test_bad_settings_are_refused_by_name():
    pred, target, mask = _draw(6)
    with pytest.raises(ConfigError, match="sigma must be positive, got 0"):
        nll_approx(pred, target, mask, sigma=0)
    with pytest.raises(ConfigError, match='reduction must be "mean", "sum" or "literal", got \'max\''):
        LcasConfig(reduction="max")


def _reference_stats(lcas):
    rows = []
    for image in lcas:
        masked = [row[~np.isnan(row)] for row in image]
        s1 = np.mean([row.max() - row.min() for row in masked])
        s2 = np.concatenate(masked).mean()
        s3 = np.mean([abs(row.mean() - s2) for row in masked])
        rows.append([s1, s2, s3])
    return np.array(rows)


@given(st.integers(0, 10_000), st.integers(1, 4), st.integers(4, 30))
def test_stats_equal_the_transcription(seed, passes, length):
    rng = np.random.default_rng(seed)
    lcas = rng.normal(size=(2, passes, length)).astype(np.float32)
    lcas[:, :, : length // 4] = np.nan
    np.testing.assert_allclose(
        anomaly_stats(torch.from_numpy(lcas)).numpy(), _reference_stats(lcas), rtol=1e-4, atol=1e-5
    )


@given(st.integers(0, 10_000), st.floats(-10, 10), st.floats(0.1, 10))
def test_stats_under_shift_and_scale(seed, shift, scale):
    lcas = torch.from_numpy(np.random.default_rng(seed).normal(size=(1, 2, 12)).astype(np.float32))
    before, after = anomaly_stats(lcas)[0], anomaly_stats(scale * lcas + shift)[0]
    torch.testing.assert_close(after[0], scale * before[0], rtol=1e-3, atol=1e-3)
    torch.testing.assert_close(after[1], scale * before[1] + shift, rtol=1e-3, atol=1e-3)
    torch.testing.assert_close(after[2], scale * before[2], rtol=1e-3, atol=1e-3)


def test_order_of_patches_and_passes_does_not_matter():
    lcas = torch.randn(2, 3, 10, generator=torch.Generator().manual_seed(0))
    turned = lcas[:, [2, 0, 1]][:, :, torch.randperm(10, generator=torch.Generator().manual_seed(1))]
    torch.testing.assert_close(anomaly_stats(lcas), anomaly_stats(turned))


def test_one_pass_has_no_sensitivity():
    assert anomaly_stats(torch.randn(1, 1, 9))[0, 2].item() == pytest.approx(0, abs=1e-6)
