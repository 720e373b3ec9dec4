"""What cameras, phones and the programs in them do to a scene. Real image operations with plausible numbers of ours.

Each recipe takes a picture and a random generator and returns a picture; the options are in ``manifest.toml``.
"""

from __future__ import annotations

import numpy as np
from PIL import Image, ImageDraw, ImageFont
from scipy.ndimage import convolve
from skimage.restoration import denoise_tv_chambolle
from skimage.transform import warp

from benchmarks.false_positives.pixels import (
    Pixels,
    blurred,
    convolved,
    distance_from,
    fitted,
    luma,
    saturated,
    sharpened,
    smoothstep,
    to_image,
    to_linear,
    to_pixels,
    to_srgb,
)

_LAMP = np.array([1.0, 0.74, 0.45], np.float32)
_FULL_WELL = 3000  # electrons of a white pixel in daylight
_STAMP = (255, 140, 40)


def cut(image: Image.Image, rng: np.random.Generator, *, box: list[float], width: int = 0) -> Image.Image:
    """Cut a part out, given by left, top, right and bottom as shares; scaled only if a width is given."""
    left, top, right, bottom = (
        round(share * side) for share, side in zip(box, image.convert("RGB").size * 2, strict=True)
    )
    part = image.convert("RGB").crop((left, top, right, bottom))
    return (
        part if not width else part.resize((width, round(part.height * width / part.width)), Image.Resampling.BICUBIC)
    )


def passport(image: Image.Image, rng: np.random.Generator, *, box: list[float]) -> Image.Image:
    """A head at 413x531, 35x45 mm at 300 dpi, brightened as a booth does."""
    head = cut(image, rng, box=box).resize((413, 531), Image.Resampling.BICUBIC)
    return to_image(sharpened(to_pixels(head) ** 0.88, 1.0, 0.5))


def selfie(image: Image.Image, rng: np.random.Generator, *, box: list[float], width: int) -> Image.Image:
    """A front camera: mirrored, skin smoothed in the middle frequencies, sharpened."""
    pixels = to_pixels(cut(image, rng, box=box, width=width).transpose(Image.Transpose.FLIP_LEFT_RIGHT))
    pixels = pixels + rng.normal(0, 0.015, pixels.shape).astype(np.float32)
    return to_image(sharpened(_smooth_skin(pixels, 0.6), 1.2, 0.7))


def retouch(image: Image.Image, rng: np.random.Generator, *, skin: float = 0.5, denoise: float = 0.05) -> Image.Image:
    """A photo editor: denoised, skin smoothed, warm lights and teal shadows, vignette, sharpened for the web."""
    pixels = np.asarray(
        denoise_tv_chambolle(to_pixels(image), weight=denoise, max_num_iter=30, channel_axis=-1), np.float32
    )
    pixels = _smooth_skin(pixels, skin)
    tone = luma(pixels)[..., None]
    pixels = pixels + (tone - 0.5) * np.array([0.10, 0.02, -0.10], np.float32)
    vignette = 1 - 0.35 * smoothstep(distance_from(pixels.shape, (0.5, 0.5), (0.5, 0.5)), 0.7, 1.4)
    return to_image(sharpened(np.clip(pixels, 0, 1) * vignette[..., None], 0.8, 0.9))


def _smooth_skin(pixels: Pixels, share: float) -> Pixels:
    """Take middle frequencies away: what retouchers call frequency separation."""
    middle = blurred(pixels, 1.5) - blurred(pixels, 4.0)
    return np.clip(pixels - share * middle, 0, 1)


def night(image: Image.Image, rng: np.random.Generator, *, stops: float, frames: int = 1) -> Image.Image:
    """The scene `stops` darker under a lamp, with shot and read noise of the amplified signal.

    With more than one frame, what a phone's night mode makes of it: frames averaged, noise removed, shadows lifted.
    """
    light = to_linear(to_pixels(image)) * _LAMP
    lamp = tuple(rng.uniform(0.3, 0.7, 2))
    pool = 0.12 + 0.88 * np.exp(-((distance_from(light.shape, lamp, (0.45, 0.45))) ** 2))
    electrons = light * pool[..., None] * _FULL_WELL * 2.0**-stops
    counted = rng.poisson(electrons * frames) / frames + rng.normal(0, 2.5 / np.sqrt(frames), electrons.shape)
    pixels = to_srgb((counted / _FULL_WELL * 2.0 ** (stops - 1)).astype(np.float32))
    if frames == 1:
        return to_image(smoothstep(pixels, -0.05, 1.05))
    grey = np.asarray(denoise_tv_chambolle(luma(pixels), weight=0.05, max_num_iter=30), np.float32)[..., None]
    colour = np.asarray(denoise_tv_chambolle(pixels, weight=0.25, max_num_iter=30, channel_axis=-1), np.float32)
    pixels = np.clip(colour + grey - luma(colour)[..., None], 0, 1) ** 0.75
    return to_image(sharpened(saturated(pixels, 1.2), 1.2, 0.8))


def phone_hdr(image: Image.Image, rng: np.random.Generator, *, strength: float = 0.4) -> Image.Image:
    """A phone's default look: shadows lifted and lights held back locally, fine detail up, colours up, sharpened."""
    pixels = to_pixels(image)
    grey = luma(pixels)
    surround = blurred(grey, max(grey.shape) / 25)
    gain = ((0.5 + 0.05) / (surround + 0.05)) ** strength
    detail = grey - blurred(grey, 2.5)
    toned = pixels * gain[..., None] + 0.6 * detail[..., None]
    return to_image(sharpened(saturated(np.clip(toned, 0, 1), 1.25), 1.0, 1.0))


def old_camera(image: Image.Image, rng: np.random.Generator, *, width: int, height: int, stamp: str) -> Image.Image:
    """A compact camera of about 2002: soft lens, noisy colour sensor read bilinearly, hard contrast, halos, date."""
    pixels = blurred(to_pixels(fitted(image.convert("RGB"), width, height)), 0.7)
    light = to_linear(pixels) * np.array([1.05, 1.0, 0.9], np.float32)
    noisy = light + rng.normal(0, 1, light.shape) * (0.008 + 0.03 * np.sqrt(light))
    pixels = to_srgb(_demosaiced(noisy.astype(np.float32)))
    cast = blurred(rng.normal(0, 1, pixels.shape).astype(np.float32), 3.0)
    pixels = smoothstep(pixels + 0.25 * (cast - luma(cast)[..., None]), -0.02, 0.96)
    result = to_image(sharpened(pixels, 1.4, 1.2))
    if stamp:
        draw, size = ImageDraw.Draw(result), height // 22
        corner = (width - size, height - size)
        draw.text(corner, stamp, fill=_STAMP, font=ImageFont.load_default(size), anchor="rs")
    return result


def _demosaiced(light: Pixels) -> Pixels:
    """Keep one colour a pixel, as a Bayer sensor (RGGB) does, and fill in the others bilinearly."""
    height, width, _ = light.shape
    kept = np.zeros_like(light)
    for channel, row, column in ((0, 0, 0), (1, 0, 1), (1, 1, 0), (2, 1, 1)):
        kept[row:height:2, column:width:2, channel] = light[row:height:2, column:width:2, channel]
    cross = np.array([[0, 1, 0], [1, 4, 1], [0, 1, 0]], np.float32) / 4
    square = np.array([[1, 2, 1], [2, 4, 2], [1, 2, 1]], np.float32) / 4
    planes = [
        convolve(kept[..., channel], kernel, mode="mirror") for channel, kernel in enumerate((square, cross, square))
    ]
    return np.stack(planes, axis=-1)


def shallow_focus(
    image: Image.Image, rng: np.random.Generator, *, centre: list[float], radii: list[float], blur: int
) -> Image.Image:
    """A wide aperture or a phone's portrait mode: sharp within an ellipse, behind it a disc of confusion."""
    light = to_linear(to_pixels(image))
    y, x = np.mgrid[-blur : blur + 1, -blur : blur + 1]
    disc = (np.hypot(x, y) <= blur + 0.5).astype(np.float32)
    soft = convolved(light, disc / disc.sum())
    share = smoothstep(distance_from(light.shape, (centre[0], centre[1]), (radii[0], radii[1])), 0.8, 1.3)[..., None]
    return to_image(to_srgb(light * (1 - share) + soft * share))


def defocus(image: Image.Image, rng: np.random.Generator, *, blur: int) -> Image.Image:
    """Out of focus all over."""
    return shallow_focus(image, rng, centre=[9.0, 9.0], radii=[0.1, 0.1], blur=blur)


def motion(image: Image.Image, rng: np.random.Generator, *, length: int) -> Image.Image:
    """A hand that moved: blur along a line of random direction."""
    angle = rng.uniform(0, np.pi)
    side = length | 1
    line = Image.new("L", (side * 4, side * 4))
    reach = np.array([np.cos(angle), np.sin(angle)]) * length * 2
    ends = [tuple(side * 2 + sign * reach) for sign in (-1, 1)]
    ImageDraw.Draw(line).line(ends, fill=255, width=4)
    kernel = np.asarray(line.resize((side, side), Image.Resampling.BOX), np.float32)
    return to_image(to_srgb(convolved(to_linear(to_pixels(image)), kernel / kernel.sum())))


def black_and_white(image: Image.Image, rng: np.random.Generator, *, grain: float) -> Image.Image:
    """Film behind a yellow filter: hard contrast, and grain where it is neither black nor white."""
    grey = to_pixels(image) @ np.array([0.45, 0.45, 0.10], np.float32)
    grey = smoothstep(grey, -0.08, 1.05)
    speckle = blurred(rng.normal(0, 1, grey.shape).astype(np.float32), 0.8)
    grey = grey + grain * 2 * speckle * np.sqrt(np.clip(grey * (1 - grey), 0, 1))
    return to_image(np.repeat(grey[..., None], 3, axis=-1)).convert("L")


def fog(image: Image.Image, rng: np.random.Generator, *, density: float) -> Image.Image:
    """Light scattered on the way, the more the higher in the picture, as if that were farther away."""
    light = to_linear(to_pixels(image))
    depth = np.linspace(1.0, 0.35, light.shape[0], dtype=np.float32)[:, None, None]
    through = np.exp(-density * depth)
    air = np.array([0.68, 0.71, 0.75], np.float32)
    noisy = light * through + air * (1 - through) + rng.normal(0, 0.004, light.shape)
    return to_image(to_srgb(noisy.astype(np.float32)))


def panorama(image: Image.Image, rng: np.random.Generator, *, top: float, bottom: float) -> Image.Image:
    """A sweep: a strip bent onto a cylinder, of frames that were exposed a little differently."""
    pixels = to_pixels(cut(image, rng, box=[0.0, top, 1.0, bottom]))
    height, width, _ = pixels.shape

    def source_of(places: np.ndarray) -> np.ndarray:
        angle = (places[:, 0] - width / 2) / (0.62 * width)
        x = width / 2 + 0.62 * width * np.tan(angle) * 0.8
        y = height / 2 + (places[:, 1] - height / 2) / np.cos(angle) * 0.82
        return np.stack([x, y], axis=1)

    bent = np.asarray(warp(pixels, source_of, order=1, mode="edge"), np.float32)
    frames = 1 + rng.uniform(-0.06, 0.06, 4)
    gain = np.interp(np.arange(width), np.linspace(0, width, 8), np.repeat(frames, 2))
    return to_image(bent * gain[None, :, None].astype(np.float32))
