"""Pictures made with a hand on classic tools: painting filters over photographs, drawings, charts. No model in any."""

from __future__ import annotations

import io

import numpy as np
from matplotlib.figure import Figure
from PIL import Image, ImageDraw, ImageFilter
from scipy.ndimage import uniform_filter
from skimage.restoration import denoise_tv_chambolle

from benchmarks.false_positives.pixels import blurred, luma, to_image, to_pixels


def oil(image: Image.Image, rng: np.random.Generator, *, radius: int) -> Image.Image:
    """Brush strokes by Kuwahara's filter: each pixel takes the mean of its calmest quarter (1976)."""
    pixels = to_pixels(image)
    size, grey = radius + 1, luma(pixels)
    best = np.full(grey.shape, np.inf, np.float32)
    result = np.zeros_like(pixels)
    reach = (-(size // 2), (size - 1) // 2)  # from there the filter's window lies on one side of the pixel
    for down in reach:
        for across in reach:
            mean = uniform_filter(grey, size, mode="nearest", origin=(down, across))
            spread = uniform_filter(grey**2, size, mode="nearest", origin=(down, across)) - mean**2
            colour = uniform_filter(pixels, (size, size, 1), mode="nearest", origin=(down, across, 0))
            calmer = spread < best
            best, result = np.where(calmer, spread, best), np.where(calmer[..., None], colour, result)
    return to_image(result)


def watercolour(image: Image.Image, rng: np.random.Generator) -> Image.Image:
    """Flat washes, darker at their edges, on rough paper."""
    pixels = np.asarray(
        denoise_tv_chambolle(to_pixels(image), weight=0.3, max_num_iter=40, channel_axis=-1), np.float32
    )
    grey = luma(pixels)
    edges = np.abs(grey - blurred(grey, 1.5))
    rough = blurred(rng.normal(0, 1, grey.shape).astype(np.float32), 1.2)
    wash = 0.25 + 0.75 * pixels - 1.5 * edges[..., None] + 0.05 * rough[..., None]
    return to_image(wash)


def pencil(image: Image.Image, rng: np.random.Generator) -> Image.Image:
    """A drawing: grey divided by its own blur, on paper with grain."""
    grey = luma(to_pixels(image))
    lines = np.clip(grey / (blurred(grey, 5.0) + 0.02), 0, 1) ** 2
    shade = 0.8 + 0.2 * blurred(grey, 1.0)
    rough = blurred(rng.normal(0, 1, grey.shape).astype(np.float32), 0.7)
    return to_image(np.repeat((lines * shade + 0.05 * rough)[..., None], 3, axis=-1))


def poster(image: Image.Image, rng: np.random.Generator, *, colours: int) -> Image.Image:
    """A screen print of few flat colours."""
    flat = image.convert("RGB").filter(ImageFilter.MedianFilter(5))
    return flat.quantize(colours, Image.Quantize.MEDIANCUT, dither=Image.Dither.NONE).convert("RGB")


def pixel_art(image: Image.Image, rng: np.random.Generator, *, side: int) -> Image.Image:
    """Sixteen colours in large squares, as on a home computer."""
    small = image.convert("RGB")
    small.thumbnail((side, side), Image.Resampling.BOX)
    few = small.quantize(16, Image.Quantize.MEDIANCUT, dither=Image.Dither.FLOYDSTEINBERG).convert("RGB")
    return few.resize((few.width * 5, few.height * 5), Image.Resampling.NEAREST)


def landscape(image: None, rng: np.random.Generator) -> Image.Image:
    """A flat drawing of hills, sun and trees, as of a vector program."""
    picture = Image.new("RGB", (1280, 960), tuple(int(v) for v in rng.integers(150, 230, 3)))
    draw = ImageDraw.Draw(picture)
    x, y, r = rng.uniform(200, 1080), rng.uniform(120, 320), rng.uniform(60, 120)
    draw.ellipse((x - r, y - r, x + r, y + r), fill=(250, 214, 90))
    for layer in range(4):
        base, phase = 420 + 140 * layer, rng.uniform(0, 6, 3)
        steps = np.linspace(0, 1280, 200)
        hills = sum(60 / (k + 1) * np.sin(steps / 1280 * 6 * (k + 1) + phase[k]) for k in range(3))
        colour = tuple(int(v) for v in np.array([60, 120, 80]) + rng.integers(-30, 40, 3) - 8 * layer)
        draw.polygon([(0, 960), *zip(steps, base + hills, strict=True), (1280, 960)], fill=colour)
    for _ in range(9):
        x, y, h = rng.uniform(40, 1240), rng.uniform(640, 930), rng.uniform(60, 150)
        draw.rectangle((x - h / 14, y - h / 3, x + h / 14, y), fill=(92, 64, 51))
        draw.polygon([(x - h / 3, y - h / 4), (x + h / 3, y - h / 4), (x, y - h)], fill=(30, 84, 54))
    return picture.resize((640, 480), Image.Resampling.LANCZOS)


def chart(image: None, rng: np.random.Generator) -> Image.Image:
    """Lines, bars and points, as in a report."""
    figure = Figure(figsize=(6.4, 4.8), layout="constrained")
    left, right = figure.subplots(1, 2)
    for index in range(4):
        left.plot(np.cumsum(rng.normal(0.2, 1, 60)), label=f"pier {index + 1}")
    left.set(title="Water level", xlabel="day", ylabel="cm")
    left.legend()
    right.bar(range(6), rng.uniform(2, 9, 6), color="tab:orange")
    right.set(title="Boats", xlabel="month")
    buffer = io.BytesIO()
    figure.savefig(buffer, format="png", dpi=100, metadata={"Software": None})
    return Image.open(buffer).convert("RGB")
