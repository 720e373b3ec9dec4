import dataclasses
import io

import numpy as np
import pytest
from PIL import Image

from cinemae.config import AugmentConfig
from cinemae.pictures.augment import augment_picture

UNTOUCHED = AugmentConfig(min_crop=1.0, mirror=0.0, blur=0.0, recompress=0.0)
HASHES = [f"{index:064x}" for index in range(60)]


@pytest.fixture
def photo(picture):
    return picture(4, 90, 60)


def _array(image):
    return np.asarray(image, np.float64)


def test_with_nothing_to_do_it_is_a_square_of_the_picture(photo):
    copy = augment_picture(photo, UNTOUCHED, HASHES[0])
    assert copy.size == (60, 60)
    assert any(np.array_equal(_array(copy), _array(photo.crop((left, 0, left + 60, 60)))) for left in range(31))


def test_the_draw_follows_from_seed_and_picture_alone(photo):
    copies = [augment_picture(photo, AugmentConfig(seed=seed), digest) for seed, digest in ((1, "a"), (1, "a"))]
    assert np.array_equal(*map(np.asarray, copies))
    for seed, digest in ((2, "a"), (1, "b")):
        other = augment_picture(photo, AugmentConfig(seed=seed), digest)
        assert other.size != copies[0].size or not np.array_equal(np.asarray(other), np.asarray(copies[0]))


def test_crops_are_squares_of_all_sizes_and_places_allowed(photo):
    config = dataclasses.replace(UNTOUCHED, min_crop=0.5)
    copies = [augment_picture(photo, config, digest) for digest in HASHES]
    assert {copy.width - copy.height for copy in copies} == {0}
    sides = sorted(copy.width for copy in copies)
    assert 30 <= sides[0] < 36 < 54 < sides[-1] <= 60


@pytest.mark.parametrize("often", [0.0, 0.5, 1.0])
def test_mirroring_happens_as_often_as_asked(often):
    ramp = Image.fromarray(np.tile(np.arange(0, 240, 4, dtype=np.uint8)[None, :, None], (60, 1, 3)))
    copies = [augment_picture(ramp, dataclasses.replace(UNTOUCHED, mirror=often), digest) for digest in HASHES]
    assert np.mean([copy.getpixel((0, 0))[0] > 100 for copy in copies]) == pytest.approx(
        often, abs=0.25 * (often == 0.5)
    )


def test_blur_takes_fine_detail_away(photo):
    blurred = augment_picture(photo.crop((0, 0, 60, 60)), dataclasses.replace(UNTOUCHED, blur=1.0), HASHES[1])
    assert np.abs(np.diff(_array(blurred), axis=1)).mean() < np.abs(np.diff(_array(photo.crop((0, 0, 60, 60))))).mean()


def test_recompression_is_jpeg_at_the_quality_asked(photo):
    square = photo.crop((0, 0, 60, 60))
    config = dataclasses.replace(UNTOUCHED, recompress=1.0, min_quality=35, max_quality=35)
    buffer = io.BytesIO()
    square.save(buffer, "JPEG", quality=35)
    np.testing.assert_array_equal(augment_picture(square, config, HASHES[0]), Image.open(buffer))


def test_a_single_pixel_survives():
    assert augment_picture(Image.new("RGB", (1, 7)), AugmentConfig(blur=1.0), HASHES[0]).size == (1, 1)
