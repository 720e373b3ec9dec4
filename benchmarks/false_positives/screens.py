"""What happens on and in front of screens: screenshots, shared pictures, captions, photographs of a display."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray
from PIL import Image, ImageDraw, ImageFilter, ImageFont
from skimage.transform import ProjectiveTransform, warp

from benchmarks.false_positives.pixels import distance_from, fitted, scaled, smoothstep, to_image, to_pixels
from cinemae.pictures.corruptions import parse_condition

_TEXT = (
    "the harbour opened again on Monday after two weeks of repairs and the first boats left before sunrise while a "
    "crowd watched from the pier many had come from the villages nearby to see it nobody expected so much fog at this "
    "time of year said the harbour master who has worked here since 1987 and knows every buoy by its sound"
)
_WORDS = _TEXT.split()


def shared(image: Image.Image, rng: np.random.Generator, *, condition: str) -> Image.Image:
    """On its way through networks and messengers, as `cinemae.pictures.corruptions` has it."""
    picture = image.convert("RGB")
    return parse_condition(condition).apply(picture, picture.tobytes()[:4096].hex(), int(rng.integers(1 << 31)))


def small(image: Image.Image, rng: np.random.Generator, *, side: int) -> Image.Image:
    """The small copy that a list of results shows."""
    copy = image.convert("RGB")
    copy.thumbnail((side, side), Image.Resampling.BICUBIC)
    return copy


def browser(image: Image.Image, rng: np.random.Generator, *, dark: bool = False) -> Image.Image:
    """A window with tabs, an address, a headline, the picture, and text around it."""
    page, ink, bar = ((24, 26, 30), (225, 225, 225), (44, 47, 54)) if dark else ((255,) * 3, (30,) * 3, (222, 225, 230))
    screen = Image.new("RGB", (1120, 760), page)
    draw = ImageDraw.Draw(screen)
    draw.rectangle((0, 0, 1120, 38), fill=bar)
    for index, colour in enumerate(((237, 106, 94), (245, 191, 79), (97, 197, 84))):
        draw.ellipse((14 + 22 * index, 12, 28 + 22 * index, 26), fill=colour)
    draw.rounded_rectangle((96, 8, 300, 46), 8, fill=page)
    draw.text((110, 14), "Local news", fill=ink, font=ImageFont.load_default(14))
    draw.rounded_rectangle((60, 50, 1060, 78), 14, fill=bar)
    draw.text((80, 56), "news.example/harbour/2031/photo-of-the-week", fill=ink, font=ImageFont.load_default(14))
    draw.text((60, 100), "Photo of the week", fill=ink, font=ImageFont.load_default(34))
    shown = scaled(image.convert("RGB"), 620)
    shown = shown.crop((0, 0, 620, min(shown.height, 480)))
    screen.paste(shown, (60, 156))
    _lines(draw, rng, (710, 160, 1060, 700), 16, ink)
    _lines(draw, rng, (60, 170 + shown.height, 680, 750), 16, ink)
    return screen


def post(image: Image.Image, rng: np.random.Generator) -> Image.Image:
    """A phone showing a post: status bar, name, picture, buttons, comments."""
    screen = Image.new("RGB", (540, 1080), (250, 250, 250))
    draw = ImageDraw.Draw(screen)
    draw.text((24, 10), "9:41", fill=(20, 20, 20), font=ImageFont.load_default(18))
    draw.rectangle((486, 14, 516, 28), outline=(20, 20, 20), width=2)
    draw.ellipse((18, 52, 66, 100), fill=tuple(int(value) for value in rng.integers(60, 220, 3)))
    draw.text((80, 64), "somebody", fill=(20, 20, 20), font=ImageFont.load_default(20))
    shown = fitted(image.convert("RGB"), 540, 540)
    screen.paste(shown, (0, 116))
    for index in range(3):
        left = 20 + 56 * index
        draw.rounded_rectangle((left, 672, left + 34, 704), 10, outline=(30, 30, 30), width=3)
    draw.text((20, 718), f"{int(rng.integers(10, 900))} likes", fill=(20, 20, 20), font=ImageFont.load_default(18))
    _lines(draw, rng, (20, 752, 520, 1000), 18, (40, 40, 40))
    draw.rectangle((0, 1010, 540, 1080), fill=(235, 235, 235))
    return screen


def editor(image: None, rng: np.random.Generator) -> Image.Image:
    """A window full of code-like text, no picture in it."""
    screen = Image.new("RGB", (960, 640), (30, 31, 41))
    draw = ImageDraw.Draw(screen)
    draw.rectangle((0, 0, 960, 30), fill=(50, 52, 66))
    draw.text((20, 6), "harbour.py", fill=(230, 230, 230), font=ImageFont.load_default(15))
    colours = ((139, 233, 253), (80, 250, 123), (255, 184, 108), (248, 248, 242), (255, 121, 198))
    font = ImageFont.load_default(15)
    for row in range(28):
        top = 42 + 21 * row
        draw.text((16, top), str(row + 1), fill=(98, 114, 164), font=font)
        left = 56 + 28 * int(rng.integers(0, 4))
        for _ in range(int(rng.integers(0, 7))):
            word = _WORDS[rng.integers(len(_WORDS))]
            draw.text((left, top), word, fill=colours[rng.integers(len(colours))], font=font)
            left += round(draw.textlength(word, font)) + 9
    return screen


def thumbnail(image: Image.Image, rng: np.random.Generator, *, text: str) -> Image.Image:
    """A video's cover: the subject cut out over a blurred background, white outline, large words, an arrow."""
    picture = image.convert("RGB")
    cover = fitted(picture, 640, 360).filter(ImageFilter.GaussianBlur(9))
    cover = to_image(to_pixels(cover) * 0.7)
    subject = fitted(picture, 330, 330)
    mask = Image.new("L", (330, 330))
    ImageDraw.Draw(mask).ellipse((8, 8, 322, 322), fill=255)
    rim = mask.filter(ImageFilter.MaxFilter(13)).filter(ImageFilter.GaussianBlur(1))
    cover.paste((255, 255, 255), (290, 16), rim)
    cover.paste(subject, (290, 16), mask.filter(ImageFilter.GaussianBlur(1)))
    draw = ImageDraw.Draw(cover)
    for index, word in enumerate(text.split()):
        spot, font = (22, 40 + 78 * index), ImageFont.load_default(66)
        draw.text(spot, word, fill=(255, 221, 0), font=font, stroke_width=5, stroke_fill=(0, 0, 0))
    draw.polygon([(60, 300), (200, 300), (200, 276), (262, 318), (200, 352), (200, 330), (60, 330)], fill=(228, 20, 20))
    return cover


def meme(image: Image.Image, rng: np.random.Generator, *, text: str) -> Image.Image:
    """Words above and below, white with a black edge."""
    picture = scaled(image.convert("RGB"), 560)
    draw = ImageDraw.Draw(picture)
    upper, _, lower = text.upper().partition("/")
    for words, y, anchor in ((upper, 12, "ma"), (lower, picture.height - 12, "md")):
        draw.text(
            (280, y), words, "white", ImageFont.load_default(44), anchor=anchor, stroke_width=4, stroke_fill="black"
        )
    return picture


def photo_of_screen(image: Image.Image, rng: np.random.Generator, *, width: int) -> Image.Image:
    """A display photographed by hand: its red, green and blue stripes, perspective, moiré, glare, noise."""
    shown = to_pixels(scaled(image.convert("RGB"), width))
    panel = np.repeat(np.repeat(shown, 3, axis=0), 3, axis=1)
    stripes = np.full(panel.shape, 0.25, np.float32)
    for channel in range(3):
        stripes[:, channel::3, channel] = 1.0
    stripes[2::3] *= 0.35  # the gap between rows
    panel = np.pad(panel * stripes, ((40, 40), (40, 40), (0, 0)), constant_values=0.02)
    height, across = panel.shape[:2]
    size = (round(height * 0.68), round(across * 0.68))
    lens = ProjectiveTransform(_centred(height, across) @ _tilt(rng) @ np.linalg.inv(_centred(*size)))
    seen = np.asarray(warp(panel, lens, output_shape=size, order=1, mode="constant", cval=0.03), np.float32)
    centre = tuple(rng.uniform(0.2, 0.8, 2))
    glare = 0.22 * (1 - smoothstep(distance_from(size, centre, (0.45, 0.35)), 0.0, 1.0))
    seen = seen * 2.0 + glare[..., None] * np.array([1.0, 0.97, 0.9], np.float32)
    return to_image(seen + rng.normal(0, 0.02, seen.shape).astype(np.float32))


def _centred(height: int, width: int) -> NDArray[np.float64]:
    """Return the matrix from places in [-0.5, 0.5], the middle at 0, to pixels."""
    return np.array([[width, 0, width / 2], [0, height, height / 2], [0, 0, 1]], np.float64)


def _tilt(rng: np.random.Generator) -> NDArray[np.float64]:
    """Return a small turn of a hand-held camera, and the perspective of not standing straight before the screen."""
    turn, across, down = rng.uniform(-1, 1, 3) * (0.03, 0.12, 0.12)
    return np.array([[1.04, -turn, 0], [turn, 1.04, 0], [across, down, 1]], np.float64)


def _lines(
    draw: ImageDraw.ImageDraw, rng: np.random.Generator, box: tuple[int, int, int, int], size: int, ink: tuple[int, ...]
) -> None:
    """Fill a box with words."""
    left, top, right, bottom = box
    font = ImageFont.load_default(size)
    at = int(rng.integers(len(_WORDS)))
    while top + size < bottom:
        line = ""
        while True:
            word = _WORDS[at % len(_WORDS)]
            if draw.textlength(f"{line} {word}", font) > right - left:
                break
            line, at = f"{line} {word}".strip(), at + 1
        draw.text((left, top), line, fill=ink, font=font)
        top += round(1.5 * size)
