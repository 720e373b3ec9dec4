"""Training batches for `backbones.pretrain`: each a pure function of (seed, step), so resumed runs meet the same."""

from __future__ import annotations

import io
import math
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from itertools import count

import numpy as np
import torch
from numpy.typing import NDArray
from PIL import Image
from torch import Tensor

from cinemae.config import IMAGENET_MEAN, IMAGENET_STD
from cinemae.errors import ImageError, SourceError
from cinemae.pictures.image import load_image
from cinemae.pretrain_config import PretrainConfig
from cinemae.sources.stream import read_ahead

CACHE_BYTES = 2 << 30
MAX_STORED_SIDE = 512
_FILTERS = (Image.Resampling.BILINEAR, Image.Resampling.BICUBIC, Image.Resampling.LANCZOS)


@dataclass
class PhotoCache:
    """Decoded photographs by path, kept in memory up to a limit; unreadable files are dropped at the first look.

    Attributes:
        limit: Bytes of decoded pixels to keep.
    """

    limit: int = CACHE_BYTES
    _kept: dict[str, NDArray[np.uint8]] = field(default_factory=dict, repr=False)
    _used: int = 0

    def get(self, path: str) -> NDArray[np.uint8]:
        """Return the picture's pixels, (H, W, 3) uint8, its shorter side at most `MAX_STORED_SIDE`.

        Raises:
            ImageError: If the file is not a readable picture.
        """
        pixels = self._kept.get(path)
        if pixels is None:
            image = load_image(path).image
            scale = MAX_STORED_SIDE / min(image.size)
            if scale < 1:
                size = (max(1, round(image.width * scale)), max(1, round(image.height * scale)))
                image = image.resize(size, Image.Resampling.LANCZOS, reducing_gap=3.0)
            pixels = np.asarray(image)
            if self._used + pixels.nbytes <= self.limit:
                self._kept[path] = pixels
                self._used += pixels.nbytes
        return pixels


def readable_photos(paths: Sequence[str], cache: PhotoCache) -> tuple[list[str], list[str]]:
    """Split paths into readable ones and one sentence for each unreadable one, warming the cache.

    Raises:
        SourceError: If none can be read.
    """
    failures: list[str] = []

    def look(path: str) -> bool:
        try:
            cache.get(path)
        except ImageError as error:
            failures.append(f"{path}: {error}")
            return False
        return True

    kept = [path for path, good in zip(paths, read_ahead(look, paths, num_workers=2), strict=True) if good]
    if not kept:
        raise SourceError(f"pretraining needs readable photographs; none of {len(paths)} files could be read.")
    return kept, sorted(failures)


def augment(pixels: NDArray[np.uint8], config: PretrainConfig, rng: np.random.Generator) -> NDArray[np.uint8]:
    """Random resized crop, flip, and with probability `recompress` a JPEG round trip at a random quality.

    Photographs that were all made by the same few resize-and-JPEG pipelines would otherwise teach those pipelines.

    Args:
        pixels: (H, W, 3) uint8.
        config: Crop scale, image size and recompression probability.
        rng: Source of every random choice.

    Returns:
        (image_size, image_size, 3) uint8.
    """
    height, width = pixels.shape[:2]
    area = rng.uniform(config.min_scale, config.max_scale) * height * width
    aspect = math.exp(rng.uniform(math.log(3 / 4), math.log(4 / 3)))
    crop_width = min(width, max(1, round(math.sqrt(area * aspect))))
    crop_height = min(height, max(1, round(math.sqrt(area / aspect))))
    left = int(rng.integers(0, width - crop_width + 1))
    top = int(rng.integers(0, height - crop_height + 1))
    image = Image.fromarray(pixels).resize(
        (config.image_size, config.image_size),
        _FILTERS[rng.integers(len(_FILTERS))],
        box=(left, top, left + crop_width, top + crop_height),
    )
    if rng.random() < 0.5:
        image = image.transpose(Image.Transpose.FLIP_LEFT_RIGHT)
    if rng.random() < config.recompress:
        buffer = io.BytesIO()
        image.save(buffer, "JPEG", quality=int(rng.integers(50, 99)), subsampling=int(rng.integers(0, 3)))
        image = Image.open(buffer)
    return np.asarray(image)


def to_pixel_values(pictures: NDArray[np.uint8]) -> Tensor:
    """Normalise (N, H, W, 3) uint8 to (N, 3, H, W) float32."""
    mean = torch.tensor(IMAGENET_MEAN).view(1, 3, 1, 1) * 255
    std = torch.tensor(IMAGENET_STD).view(1, 3, 1, 1) * 255
    return (torch.from_numpy(pictures).permute(0, 3, 1, 2).float() - mean) / std


def center_crops(paths: Sequence[str], cache: PhotoCache, config: PretrainConfig) -> Tensor:
    """Return validation pictures, (N, 3, image_size, image_size) float32.

    The centre square with a share `max_scale` of the largest square's area is scaled to `image_size`, so that
    validation has about the scale of the training crops.
    """
    size = config.image_size
    pictures = []
    for path in paths:
        pixels = cache.get(path)
        side = min(pixels.shape[:2]) * math.sqrt(config.max_scale)
        left, top = (pixels.shape[1] - side) / 2, (pixels.shape[0] - side) / 2
        if side > size and side * 0.875 <= size:  # 224 of 256: cut, as ImageNet's evaluation does, rather than blur
            left, top, side = (pixels.shape[1] - size) / 2, (pixels.shape[0] - size) / 2, size
        box = (left, top, left + side, top + side)
        pictures.append(np.asarray(Image.fromarray(pixels).resize((size, size), Image.Resampling.BICUBIC, box=box)))
    return to_pixel_values(np.stack(pictures))


class BatchStream:
    """Iterates over training batches from a given step on, decoding ahead in threads.

    Args:
        paths: Readable photographs.
        cache: Where their pixels are kept.
        config: Batch size, seed and augmentation.
        ahead: How many batches may wait; bounds the memory.
    """

    def __init__(self, paths: Sequence[str], cache: PhotoCache, config: PretrainConfig, ahead: int = 3) -> None:
        self.paths, self.cache, self.config, self.ahead = list(paths), cache, config, ahead

    def indices(self, step: int) -> list[int]:
        """Return which photographs make up a step: consecutive slices of one shuffle per epoch."""
        first = step * self.config.batch_size
        positions = range(first, first + self.config.batch_size)
        count = len(self.paths)
        shuffles = {
            epoch: np.random.default_rng([self.config.seed, 1, epoch]).permutation(count)
            for epoch in {position // count for position in positions}
        }
        return [int(shuffles[position // count][position % count]) for position in positions]

    def batch(self, step: int) -> Tensor:
        """Build the batch of one step, (batch_size, 3, H, W) float32."""
        rng = np.random.default_rng([self.config.seed, 2, step])
        chosen = [augment(self.cache.get(self.paths[index]), self.config, rng) for index in self.indices(step)]
        return to_pixel_values(np.stack(chosen))

    def iterate(self, start: int) -> Iterator[Tensor]:
        """Yield the batches of steps `start`, `start + 1`, and so on without end."""
        return read_ahead(self.batch, count(start), num_workers=2, ahead=self.ahead)
