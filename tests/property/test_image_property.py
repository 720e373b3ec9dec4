"""pictures/image: no input makes `load_image` raise anything but ImageError, and `preprocess` accepts every shape."""

from __future__ import annotations

import io

import numpy as np
import pytest
import skimage.data
from hypothesis import example, given, settings
from hypothesis import strategies as st
from hypothesis.extra import numpy as hnp
from PIL import Image

from cinemae.config import ImageConfig
from cinemae.core.preprocess import preprocess
from cinemae.errors import ImageError
from cinemae.pictures.image import LoadedImage, load_image

SMALL = Image.fromarray(skimage.data.astronaut()).resize((48, 40))
MAX_PIXELS = 1_000_000  # keeps what a flipped header can claim cheap


def _encode(format: str, image: Image.Image = SMALL, **options) -> bytes:
    file = io.BytesIO()
    image.save(file, format, **options)
    return file.getvalue()


EXIF = Image.Exif()
EXIF[0x0112] = 6
EXIF[0x010F] = "maker"
MORE = [Image.new("RGB", SMALL.size, "red")]
VALID = {
    "jpeg": _encode("JPEG", exif=EXIF),
    "progressive": _encode("JPEG", progressive=True),
    "png": _encode("PNG", exif=EXIF),
    "apng": _encode("PNG", save_all=True, append_images=MORE),
    "webp": _encode("WEBP", exif=EXIF),
    "webp-animated": _encode("WEBP", save_all=True, append_images=MORE),
    "gif": _encode("GIF", save_all=True, append_images=MORE),
    "tiff": _encode("TIFF"),
    "tiff-lzw": _encode("TIFF", compression="tiff_lzw"),
    "tiff-16": _encode("TIFF", Image.fromarray(np.arange(400, dtype=np.uint16).reshape(20, 20))),
    "bmp": _encode("BMP"),
    "ppm": _encode("PPM"),
}
PREFIXES = [data[:12] for data in VALID.values()] + [b"\0\0\0\x18ftypavif", b"\0\0\0\x18ftypheic"]


def _loaded_or_sentence(source) -> LoadedImage | str:
    try:
        return load_image(source, max_pixels=MAX_PIXELS)
    except ImageError as error:
        return str(error)


def check(data: bytes) -> None:
    loaded = _loaded_or_sentence(data)
    if isinstance(loaded, str):
        assert loaded.endswith(".")
        assert loaded.isprintable()
    else:
        assert loaded.image.mode == "RGB"
        assert loaded.image.size == (loaded.width, loaded.height)
        assert 0 < loaded.width * loaded.height <= MAX_PIXELS


@given(st.binary(max_size=300))
@settings(deadline=None, max_examples=200)
def test_arbitrary_bytes(data: bytes) -> None:
    check(data)


@given(st.sampled_from(PREFIXES), st.binary(max_size=300))
@settings(deadline=None, max_examples=200)
def test_arbitrary_bytes_behind_a_known_signature(prefix: bytes, rest: bytes) -> None:
    check(prefix + rest)


@pytest.mark.parametrize("name", VALID)
@given(data=st.data())
@settings(deadline=None, max_examples=40)
def test_flipped_and_truncated_files(name: str, data: st.DataObject) -> None:
    damaged = bytearray(VALID[name])
    near = st.integers(0, min(200, len(damaged) - 1))  # headers are where the harm is
    where = st.one_of(near, st.integers(0, len(damaged) - 1))
    for position, value in data.draw(st.lists(st.tuples(where, st.integers(0, 255)), max_size=8)):
        damaged[position] = value
    end = data.draw(st.one_of(st.just(len(damaged)), st.integers(0, len(damaged))))
    check(bytes(damaged[:end]))


@given(
    hnp.arrays(hnp.scalar_dtypes() | st.just(np.dtype(object)), hnp.array_shapes(min_dims=0, max_dims=4, max_side=5))
)
@settings(deadline=None, max_examples=200)
def test_arbitrary_arrays(array: np.ndarray) -> None:
    loaded = _loaded_or_sentence(array)
    if isinstance(loaded, str):
        assert loaded.endswith(".")
    else:
        assert (loaded.height, loaded.width) == array.shape[:2]


@given(
    width=st.integers(1, 4000),
    height=st.integers(1, 4000),
    resize=st.sampled_from(["shortest_edge", "stretch"]),
    views=st.sampled_from(["center", "five", "whole_native"]),
)
@example(width=4000, height=1, resize="shortest_edge", views="five")
@example(width=1, height=4000, resize="shortest_edge", views="whole_native")
@example(width=1, height=4000, resize="stretch", views="center")
@settings(deadline=None, max_examples=25)
def test_preprocess_of_any_shape_is_finite_and_within_range(width: int, height: int, resize: str, views: str) -> None:
    config = ImageConfig(
        size=32, resize_to=40, resize="shortest_edge" if views == "whole_native" else resize, views=views
    )
    image = Image.new("RGB", (width, height), (12, 200, 90))
    pixel_values = preprocess(image, config)
    assert pixel_values.shape == (config.num_views, 3, 32, 32)
    assert pixel_values.dtype == np.float32
    expected = (np.array([12, 200, 90]) / 255 - config.mean) / config.std
    np.testing.assert_allclose(pixel_values, np.broadcast_to(expected[:, None, None], pixel_values.shape), atol=1e-5)


@given(hnp.arrays(np.uint8, st.tuples(st.integers(16, 40), st.integers(16, 40), st.just(3))))
@settings(deadline=None, max_examples=50)
def test_preprocess_of_a_sized_picture_only_crops(array: np.ndarray) -> None:
    short = min(array.shape[:2])
    config = ImageConfig(size=16, resize_to=short, mean=(0, 0, 0), std=(1, 1, 1))
    top, left = ((side - short) // 2 + (short - 16) // 2 for side in array.shape[:2])
    seen = preprocess(load_image(array).image, config)[0].transpose(1, 2, 0) * 255
    np.testing.assert_allclose(seen, array[top : top + 16, left : left + 16], atol=1e-4)
