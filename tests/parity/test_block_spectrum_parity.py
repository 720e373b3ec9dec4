"""The block spectrum against SciPy's DCT, in torch and in the exported arithmetic's float32."""

import numpy as np
import pytest
import torch
from scipy.fft import dctn

from cinemae.config import IMAGENET_MEAN, IMAGENET_STD, GlobalFeatureConfig
from cinemae.core.block_spectrum import FLOOR, block_spectrum


def _reference_block_spectrum(pixels):
    """Of 8-bit pixels, (H, W, 3)."""
    levels = pixels.astype(np.float64)
    luma = levels @ [0.299, 0.587, 0.114]
    parts = []
    for channel in (luma, levels[..., 2] - luma, levels[..., 0] - luma):
        height, width = (side // 8 * 8 for side in channel.shape)
        blocks = channel[:height, :width].reshape(height // 8, 8, width // 8, 8).swapaxes(1, 2).reshape(-1, 8, 8)
        magnitudes = np.log(np.abs(dctn(blocks, axes=(1, 2), norm="ortho")) + FLOOR).reshape(len(blocks), 64)[:, 1:]
        parts += [magnitudes.mean(0), magnitudes.std(0)]
    return np.concatenate(parts)


@pytest.mark.parametrize("shape", [(224, 224), (30, 52)])
def test_equals_scipy(shape):
    pixels = np.random.default_rng(0).integers(0, 256, (2, *shape, 3), dtype=np.uint8)
    scaled = (pixels / 255 - IMAGENET_MEAN) / IMAGENET_STD
    pixel_values = torch.from_numpy(scaled.astype(np.float32)).permute(0, 3, 1, 2)
    found = block_spectrum(pixel_values, IMAGENET_MEAN, IMAGENET_STD)
    expected = np.stack([_reference_block_spectrum(picture) for picture in pixels])
    np.testing.assert_allclose(found, expected, atol=2e-4)


def test_its_length_is_what_the_settings_say():
    extra = GlobalFeatureConfig(block_spectrum=True).dim(64) - GlobalFeatureConfig().dim(64)
    assert block_spectrum(torch.zeros(1, 3, 8, 8), (0, 0, 0), (1, 1, 1)).shape == (1, extra)
