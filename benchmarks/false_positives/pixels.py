"""Pictures as arrays: sRGB, (H, W, 3), float32 in [0, 1], and what every recipe needs of them."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray
from PIL import Image
from scipy.ndimage import gaussian_filter
from scipy.signal import fftconvolve

Pixels = NDArray[np.float32]
LUMA = np.array([0.299, 0.587, 0.114], np.float32)


def to_pixels(image: Image.Image) -> Pixels:
    """Return a picture as an array; what is transparent becomes white."""
    if image.mode in ("RGBA", "LA", "P"):
        image = image.convert("RGBA")
        image = Image.alpha_composite(Image.new("RGBA", image.size, "white"), image)
    return np.asarray(image.convert("RGB"), np.float32) / 255


def to_image(pixels: Pixels) -> Image.Image:
    """Return an array as a picture, clipped and rounded."""
    return Image.fromarray(np.rint(np.clip(pixels, 0, 1) * 255).astype(np.uint8))


def to_linear(pixels: Pixels) -> Pixels:
    """Undo the sRGB curve: proportional to light (IEC 61966-2-1)."""
    return np.where(pixels <= 0.04045, pixels / 12.92, ((pixels + 0.055) / 1.055) ** 2.4).astype(np.float32)


def to_srgb(light: Pixels) -> Pixels:
    """Apply the sRGB curve to light in [0, 1]; what is above is clipped, as by a sensor."""
    light = np.clip(light, 0, 1)
    return np.where(light <= 0.0031308, 12.92 * light, 1.055 * light ** (1 / 2.4) - 0.055).astype(np.float32)


def luma(pixels: Pixels) -> Pixels:
    """Return brightness, (H, W)."""
    return (pixels @ LUMA).astype(np.float32)


def saturated(pixels: Pixels, factor: float) -> Pixels:
    """Return the picture with its colours `factor` times as far from grey."""
    grey = luma(pixels)[..., None]
    return np.clip(grey + factor * (pixels - grey), 0, 1)


def blurred(pixels: Pixels, sigma: float) -> Pixels:
    """Return a Gaussian blur of each channel."""
    sigmas = (sigma, sigma, 0)[: pixels.ndim]
    return np.asarray(gaussian_filter(pixels, sigmas, mode="nearest"), np.float32)


def sharpened(pixels: Pixels, sigma: float, amount: float) -> Pixels:
    """Return an unsharp mask, halos and all."""
    return np.clip(pixels + amount * (pixels - blurred(pixels, sigma)), 0, 1)


def convolved(pixels: Pixels, kernel: NDArray[np.float32]) -> Pixels:
    """Return each channel convolved with a kernel of odd sides, edges repeated."""
    up, left = (side // 2 for side in kernel.shape)
    padded = np.pad(pixels, ((up, up), (left, left), (0, 0)), mode="edge")
    found = fftconvolve(padded, kernel[..., None], mode="valid", axes=(0, 1))
    return np.clip(found, 0, 1).astype(np.float32)


def fitted(image: Image.Image, width: int, height: int) -> Image.Image:
    """Return a picture at exactly this size, scaled and cut: the middle of a wide one, mostly the top of a tall one."""
    scale = max(width / image.width, height / image.height)
    across, down = width / scale, height / scale
    left, top = max(0.0, (image.width - across) / 2), max(0.0, (image.height - down) / 8)
    across, down = min(across, image.width - left), min(down, image.height - top)
    return image.resize((width, height), Image.Resampling.LANCZOS, (left, top, left + across, top + down))


def scaled(image: Image.Image, width: int) -> Image.Image:
    """Return a picture at this width, its shape kept."""
    return image.resize((width, round(image.height * width / image.width)), Image.Resampling.LANCZOS)


def distance_from(shape: tuple[int, ...], centre: tuple[float, float], radii: tuple[float, float]) -> Pixels:
    """Return how far each pixel lies from a point, in radii of an ellipse; all given as shares of width and height."""
    y, x = np.mgrid[0 : shape[0], 0 : shape[1]].astype(np.float32)
    across = (x / shape[1] - centre[0]) / radii[0]
    down = (y / shape[0] - centre[1]) / radii[1]
    return np.hypot(across, down)


def smoothstep(values: Pixels, low: float, high: float) -> Pixels:
    """Return 0 below `low`, 1 above `high`, and a smooth curve between."""
    t = np.clip((values - low) / (high - low), 0, 1)
    return t * t * (3 - 2 * t)
