"""Three classical statistics of a picture, against which Sec. 5.3 (Fig. 7) holds s1, s2 and s3.

They say how busy a picture is without any model. All are of the luminance, ITU-R 601 as Pillow's ``L`` has it, and of
the picture as given: a scaled or cropped copy has others, so compare with s1..s3 of the same pixels.
"""

from __future__ import annotations

from typing import Any

import numpy as np
from numpy.typing import NDArray
from PIL import Image

from cinemae.errors import ConfigError, ImageError

IMAGE_STATISTICS = ("entropy", "high_frequency_ratio", "gradient_tv")
HIGH_FREQUENCY_RADIUS = 0.5  # of the Nyquist frequency; the paper states none


def image_statistics(image: Image.Image, *, radius: float = HIGH_FREQUENCY_RADIUS) -> NDArray[np.float64]:
    """Return the statistics in the order of `IMAGE_STATISTICS`.

    Args:
        image: RGB, any size.
        radius: See `high_frequency_ratio`.

    Returns:
        Entropy in bits, share of high-frequency power, total variation a pixel, (3,).

    Raises:
        ImageError: If the picture is not RGB or has no pixels.
        ConfigError: If `radius` is out of its range.

    Example:
        >>> image_statistics(Image.new("RGB", (8, 8), "white")).tolist()
        [0.0, 0.0, 0.0]
    """
    pixels = luminance(image)
    return np.array(
        [shannon_entropy(pixels), high_frequency_ratio(pixels, radius=radius), gradient_total_variation(pixels)]
    )


def luminance(image: Image.Image) -> NDArray[np.uint8]:
    """Return the 8-bit luminance of an RGB picture, (H, W).

    Raises:
        ImageError: If the picture is not RGB or has no pixels.

    Example:
        >>> luminance(Image.new("RGB", (1, 1), (255, 0, 0))).tolist()  # 0.299 * 255
        [[76]]
    """
    if image.mode != "RGB" or min(image.size) < 1:
        raise ImageError(
            f"image statistics need an RGB picture of at least 1x1 pixels, got mode {image.mode}, "
            f"{image.width}x{image.height}: pass it through load_image first."
        )
    return np.asarray(image.convert("L"))


def shannon_entropy(pixels: NDArray[np.uint8]) -> float:
    """Return ``-sum_i p_i log2 p_i`` over the histogram of 8-bit luminance, in bits, from 0 (flat) to 8.

    Args:
        pixels: (H, W).

    Example:
        >>> shannon_entropy(np.array([[0, 255]], np.uint8))
        1.0
    """
    counts = np.bincount(pixels.ravel(), minlength=256)
    share = counts[counts > 0] / pixels.size
    return float(-(share * np.log2(share)).sum()) + 0.0  # a flat picture has 0, not -0


def high_frequency_ratio(pixels: NDArray[np.uint8], *, radius: float = HIGH_FREQUENCY_RADIUS) -> float:
    """Return the share of the spectral power, DC left out, that lies beyond `radius`.

    The power is the squared magnitude of the two-dimensional Fourier transform, without a window: where opposite edges
    differ, a little leaks into all frequencies. Frequencies count in cycles a pixel along each axis, so the circle is
    round in pictures of any shape. The corners of the spectrum, up to sqrt(2) of the Nyquist frequency, are beyond too.
    The paper names neither transform nor radius. Half the Nyquist frequency is where the finest octave of detail
    begins, the one that upsampling by two has to invent; state the radius with every figure.

    Args:
        pixels: Luminance, (H, W).
        radius: Share of the Nyquist frequency (half a cycle a pixel), from 0 to sqrt(2), both left out.

    Returns:
        From 0 to 1; 0 for a flat picture.

    Raises:
        ConfigError: If `radius` is out of its range.

    Example:
        >>> high_frequency_ratio(np.tile(np.array([0, 100], np.uint8), (4, 2)))  # stripes at the Nyquist frequency
        1.0
    """
    if not 0 < radius < 2**0.5:
        raise ConfigError(f"radius is a share of the Nyquist frequency between 0 and sqrt(2), got {radius}.")
    if pixels.min() == pixels.max():
        return 0.0
    height, width = pixels.shape
    power = _spectral_power(pixels)
    distance = np.hypot(np.fft.fftfreq(height)[:, None], np.fft.rfftfreq(width)[None, :]) / 0.5
    power[0, 0] = 0.0
    return float(power[distance > radius].sum() / power.sum())


def gradient_total_variation(pixels: NDArray[np.uint8]) -> float:
    """Return ``1/(HW) * sum(|y_(i+1,j) - y_(i,j)| + |y_(i,j+1) - y_(i,j)|)``, y being the luminance in [0, 1].

    Forward differences; past the last row and column they are 0. Both axes are added, not joined by a root.

    Args:
        pixels: Luminance, (H, W).

    Example:
        >>> gradient_total_variation(np.array([[0, 255], [0, 255]], np.uint8))  # two of four pixels differ by 1
        0.5
    """
    values = pixels.astype(np.float64) / 255
    return float((np.abs(np.diff(values, axis=0)).sum() + np.abs(np.diff(values, axis=1)).sum()) / values.size)


def _spectral_power(pixels: NDArray[np.uint8]) -> NDArray[Any]:
    """Return the power at (H, W // 2 + 1) frequencies; those that stand for their mirror image too count twice."""
    values = pixels.astype(np.float64)
    power = np.abs(np.fft.rfft2(values - values.mean())) ** 2
    power[:, 1 : (pixels.shape[1] + 1) // 2] *= 2
    result: NDArray[Any] = power
    return result
