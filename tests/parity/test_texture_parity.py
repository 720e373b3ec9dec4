"""The texture of a view against NumPy and SciPy, written down another way."""

import itertools

import numpy as np
import pytest
import torch
from scipy.fft import dctn
from scipy.stats import skew

from cinemae.config import IMAGENET_MEAN, IMAGENET_STD, GlobalFeatureConfig
from cinemae.core.block_spectrum import FLOOR
from cinemae.core.texture import LEAST_DEVIATION, LEAST_SHARE, STEPS, texture


def _reference_dependence(pixels):
    """Of 8-bit pixels, (H, W, 3)."""
    levels = pixels.astype(np.float64)
    luma = levels @ [0.299, 0.587, 0.114]
    skewness, beside, scaled = [], [], []
    for channel in (luma, levels[..., 2] - luma, levels[..., 0] - luma):
        height, width = (side // 8 * 8 for side in channel.shape)
        blocks = channel[:height, :width].reshape(height // 8, 8, width // 8, 8).swapaxes(1, 2)
        magnitudes = np.log(np.abs(dctn(blocks, axes=(2, 3), norm="ortho")) + FLOOR)
        magnitudes = magnitudes.reshape(*magnitudes.shape[:2], 64)[..., 1:]
        shrunk = magnitudes.std((0, 1)) / (magnitudes.std((0, 1)) + LEAST_DEVIATION)
        skewness.append(skew(magnitudes.reshape(-1, 63)) * shrunk**3)
        scaled.append((magnitudes - magnitudes.mean((0, 1))) / (magnitudes.std((0, 1)) + LEAST_DEVIATION))
        across, down = (scaled[-1][:, 1:] * scaled[-1][:, :-1], scaled[-1][1:] * scaled[-1][:-1])
        beside.append((across.mean((0, 1)) + down.mean((0, 1))) / 2)
    among = [(scaled[first] * scaled[second]).mean((0, 1)) for first, second in itertools.combinations(range(3), 2)]
    return np.concatenate([*skewness, *beside, *among])


def _reference_cooccurrences(pixels):
    """Counted one triple after another."""
    red, green, blue = np.moveaxis(pixels.astype(np.float64), -1, 0)
    luma = (77 * red + 150 * green + 29 * blue) / 256
    found = []
    for step in STEPS:
        for channel, divisor in ((luma, step), (blue - luma, step / 2), (red - luma, step / 2)):
            counts = {}
            for lines in (channel, channel.T):
                for line in lines:
                    residuals = np.clip(np.rint(np.convolve(line, [1, -2, 1], "valid") / divisor), -2, 2).astype(int)
                    for one, two, three in zip(residuals, residuals[1:], residuals[2:], strict=False):
                        alike = (one, two, three), (three, two, one), (-one, -two, -three), (-three, -two, -one)
                        counts[min(alike)] = counts.get(min(alike), 0) + 1
            names = sorted(
                {
                    min((a, b, c), (c, b, a), (-a, -b, -c), (-c, -b, -a))
                    for a, b, c in itertools.product(range(-2, 3), repeat=3)
                }
            )
            shares = np.array([counts.get(name, 0) for name in names]) / sum(counts.values())
            found.append(np.log(shares + LEAST_SHARE))
    return np.concatenate(found)


@pytest.mark.parametrize("shape", [(64, 64), (30, 52)])
def test_equals_numpy_and_scipy(shape):
    rng = np.random.default_rng(0)
    noise = rng.integers(0, 256, (2, *shape, 3))
    smooth = np.cumsum(rng.integers(-3, 4, (2, *shape, 3)), 1) % 256
    pixels = np.concatenate([noise, smooth]).astype(np.uint8)
    scaled = (pixels / 255 - IMAGENET_MEAN) / IMAGENET_STD
    found = texture(torch.from_numpy(scaled.astype(np.float32)).permute(0, 3, 1, 2), IMAGENET_MEAN, IMAGENET_STD)
    expected = [np.concatenate([_reference_dependence(each), _reference_cooccurrences(each)]) for each in pixels]
    np.testing.assert_allclose(found, np.stack(expected), atol=5e-4)


def test_a_flat_picture_has_finite_texture():
    found = texture(torch.full((1, 3, 16, 16), 0.25), IMAGENET_MEAN, IMAGENET_STD)
    np.testing.assert_allclose(found[0, :567], 0, atol=1e-3)
    assert torch.isfinite(found).all()


def test_its_length_is_what_the_settings_say():
    extra = GlobalFeatureConfig(texture=True).dim(64) - GlobalFeatureConfig().dim(64)
    assert texture(torch.zeros(1, 3, 16, 16), (0, 0, 0), (1, 1, 1)).shape == (1, extra)
