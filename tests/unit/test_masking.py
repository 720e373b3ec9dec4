import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from cinemae.config import MaskConfig
from cinemae.core.masking import (
    complementary_noise,
    mask_noise,
    noise_from_config,
    num_visible,
    patchify,
    unpatchify,
)
from cinemae.errors import ConfigError


def test_mask_noise_golden_values_do_not_move_between_versions_or_machines():
    noise = mask_noise(seed=0, num_passes=2, num_patches=8) * 8
    assert noise.astype(int).tolist() == GOLDEN


GOLDEN = [[4, 2, 1, 0, 6, 7, 3, 5], [3, 7, 5, 0, 6, 1, 4, 2]]


@given(st.integers(0, 2**63), st.integers(1, 6), st.integers(1, 400))
def test_noise_rows_are_permutations_so_no_sort_can_disagree(seed, passes, patches):
    noise = mask_noise(seed, passes, patches)
    assert noise.shape == (passes, patches)
    assert noise.dtype == np.float32
    for row in noise:
        assert len(np.unique(row)) == patches


def test_rows_and_seeds_differ():
    noise = mask_noise(0, 2, 196)
    assert not np.array_equal(noise[0], noise[1])
    assert not np.array_equal(noise, mask_noise(1, 2, 196))


@pytest.mark.parametrize("patches", [16, 100, 196, 256])
def test_complementary_masks_show_each_patch_once_and_score_it_three_times(patches):
    noise = complementary_noise(7, 4, patches)
    visible = noise.argsort(axis=1)[:, : num_visible(patches, 0.75)]
    assert sorted(visible.ravel().tolist()) == list(range(patches))


def test_scheme_is_taken_from_the_configuration():
    complementary = noise_from_config(MaskConfig(num_passes=4, scheme="complementary", seed=3), 196)
    assert np.array_equal(complementary, complementary_noise(3, 4, 196))
    assert np.array_equal(noise_from_config(MaskConfig(), 196), mask_noise(0, 2, 196))


def test_no_passes_is_refused():
    with pytest.raises(ConfigError, match="at least 1, got 0 and 196"):
        mask_noise(0, 0, 196)


def test_patchify_puts_the_pixels_of_a_patch_in_one_row_channel_fastest():
    images = torch.arange(2 * 3 * 4 * 4, dtype=torch.float32).reshape(2, 3, 4, 4)
    patches = patchify(images, 2)
    assert patches.shape == (2, 4, 12)
    expected = [images[0, c, y, x] for y in (0, 1) for x in (2, 3) for c in range(3)]
    assert patches[0, 1].tolist() == [value.item() for value in expected]
    assert torch.equal(unpatchify(patches, 2), images)


def test_patchify_refuses_a_ragged_image_and_unpatchify_a_ragged_grid():
    with pytest.raises(ConfigError, match="multiples of patch_size 4, got 6x8"):
        patchify(torch.zeros(1, 3, 6, 8), 4)
    with pytest.raises(ConfigError, match="must be a square, got 5"):
        unpatchify(torch.zeros(1, 5, 12), 2)
