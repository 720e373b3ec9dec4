import dataclasses

import numpy as np
import pytest
import torch
from PIL import Image

from cinemae.backbones import pretrain_data
from cinemae.backbones.pretrain_baseline import SIGMAS, gaussian_neighbour_mse
from cinemae.backbones.pretrain_data import (
    MAX_STORED_SIDE,
    BatchStream,
    PhotoCache,
    augment,
    center_crops,
    readable_photos,
    to_pixel_values,
)
from cinemae.config import ImageConfig
from cinemae.core.masking import mask_noise
from cinemae.core.preprocess import preprocess
from cinemae.errors import ImageError, SourceError
from cinemae.pretrain_config import PretrainConfig

CONFIG = PretrainConfig(image_size=32, patch_size=8, batch_size=3)
COUNT = 7


@pytest.fixture(scope="module")
def paths(tmp_path_factory, picture):
    folder = tmp_path_factory.mktemp("photographs")
    for index in range(COUNT):
        picture(index).save(folder / f"{index}.png")
    return sorted(map(str, folder.iterdir()))


class TestBatches:
    def test_are_a_pure_function_of_seed_and_step(self, paths):
        for step in (0, 1, 5, 40):
            first = BatchStream(paths, PhotoCache(), CONFIG).batch(step)
            warm = BatchStream(paths, PhotoCache(limit=0), CONFIG)
            warm.batch(step + 1)
            assert torch.equal(warm.batch(step), first)

    def test_of_a_stream_begun_in_the_middle_are_those_of_one_begun_at_the_start(self, paths):
        stream = BatchStream(paths, PhotoCache(), CONFIG)
        whole = [batch for batch, _ in zip(stream.iterate(0), range(9), strict=False)]
        rest = [batch for batch, _ in zip(stream.iterate(4), range(5), strict=False)]
        assert all(torch.equal(found, expected) for found, expected in zip(rest, whole[4:], strict=True))
        assert torch.equal(whole[8], stream.batch(8))

    def test_differ_from_step_to_step_and_from_seed_to_seed(self, paths):
        stream = BatchStream(paths, PhotoCache(), CONFIG)
        other = BatchStream(paths, PhotoCache(), dataclasses.replace(CONFIG, seed=1))
        assert not torch.equal(stream.batch(0), stream.batch(1))
        assert not torch.equal(stream.batch(0), other.batch(0))

    def test_meet_every_photograph_once_an_epoch_in_a_new_order(self, paths):
        stream = BatchStream(paths, PhotoCache(), CONFIG)
        met = [index for step in range(2 * COUNT) for index in stream.indices(step)]
        epochs = [met[start : start + COUNT] for start in range(0, len(met) - COUNT + 1, COUNT)]
        assert all(sorted(epoch) == list(range(COUNT)) for epoch in epochs)
        assert len({tuple(epoch) for epoch in epochs}) > 1

    def test_may_be_larger_than_the_number_of_photographs(self, paths):
        stream = BatchStream(paths[:2], PhotoCache(), CONFIG)
        assert stream.batch(0).shape == (3, 3, 32, 32)

    def test_leave_global_randomness_alone(self, paths):
        torch.manual_seed(0)
        np.random.seed(0)  # noqa: NPY002 - the global state is what this looks at
        before = torch.get_rng_state(), np.random.get_state()[1].copy()  # noqa: NPY002
        BatchStream(paths, PhotoCache(), CONFIG).batch(0)
        assert torch.equal(torch.get_rng_state(), before[0])
        assert (np.random.get_state()[1] == before[1]).all()  # noqa: NPY002

    def test_a_file_that_vanishes_ends_the_stream_with_a_sentence(self, paths, tmp_path):
        gone = tmp_path / "gone.png"
        stream = BatchStream([str(gone)], PhotoCache(), CONFIG)
        with pytest.raises(ImageError, match="could not be read"):
            next(stream.iterate(0))


class TestAugment:
    PIXELS = np.random.default_rng(0).integers(0, 256, (50, 70, 3), np.uint8)

    def _crops(self, count=40, **settings):
        config = dataclasses.replace(CONFIG, **settings)
        return [augment(self.PIXELS, config, np.random.default_rng(seed)) for seed in range(count)]

    def test_gives_pictures_of_the_size_asked_for(self):
        for pixels in (self.PIXELS, self.PIXELS[:1], self.PIXELS[:, :1], self.PIXELS[:1, :1]):
            found = augment(pixels, CONFIG, np.random.default_rng(0))
            assert (found.shape, found.dtype) == ((32, 32, 3), np.uint8)

    def test_recompression_happens_as_often_as_asked(self, monkeypatch):
        opened = []
        real_open = Image.open
        monkeypatch.setattr(pretrain_data.Image, "open", lambda file: opened.append(1) or real_open(file))
        for share, low, high in ((0.0, 0, 0), (0.5, 10, 30), (1.0, 40, 40)):
            opened.clear()
            self._crops(recompress=share)
            assert low <= len(opened) <= high

    def test_scales_bound_the_share_of_the_area(self, monkeypatch):
        boxes = []
        real_resize = Image.Image.resize

        def resize(image, size, resample, box):
            boxes.append(box)
            return real_resize(image, size, resample, box=box)

        monkeypatch.setattr(Image.Image, "resize", resize)
        self._crops(min_scale=0.2, max_scale=0.4)
        shares = [(right - left) * (bottom - top) / (50 * 70) for left, top, right, bottom in boxes]
        assert 0.17 < min(shares) < max(shares) < 0.43
        assert all(0 <= left < right <= 70 and 0 <= top < bottom <= 50 for left, top, right, bottom in boxes)

    def test_some_crops_are_flipped(self):
        ramp = np.broadcast_to(np.arange(64, dtype=np.uint8)[None, :, None] * 4, (64, 64, 3)).copy()
        crops = [augment(ramp, dataclasses.replace(CONFIG, recompress=0), np.random.default_rng(s)) for s in range(40)]
        falling = sum(int(crop[0, 0, 0]) > int(crop[0, -1, 0]) for crop in crops)
        assert 10 <= falling <= 30


class TestPixels:
    def test_are_normalised_as_the_detector_normalises_them(self, picture):
        image = picture(1, 32, 32)
        expected = preprocess(image, ImageConfig(size=32, resize_to=32))
        found = to_pixel_values(np.array(image)[None])
        torch.testing.assert_close(found, torch.from_numpy(expected), atol=1e-6, rtol=1e-6)

    def test_center_crops_cut_what_is_little_too_large(self, tmp_path, picture):
        image = picture(2, 36, 34)
        image.save(tmp_path / "a.png")
        expected = to_pixel_values(np.array(image.crop((2, 1, 34, 33)))[None])
        assert torch.equal(center_crops([str(tmp_path / "a.png")], PhotoCache(), CONFIG), expected)

    def test_center_crops_scale_what_is_much_larger_or_smaller(self, tmp_path, picture):
        for size, box in (((90, 60), (15, 0, 75, 60)), ((16, 20), (0, 2, 16, 18))):
            image = picture(3, *size)
            image.save(tmp_path / "a.png")
            scaled = image.resize((32, 32), Image.Resampling.BICUBIC, box=box)
            expected = to_pixel_values(np.array(scaled)[None])
            assert torch.equal(center_crops([str(tmp_path / "a.png")], PhotoCache(), CONFIG), expected)

    def test_center_crops_have_the_scale_of_the_training_crops(self, tmp_path, picture):
        image = picture(3, 100, 100)
        image.save(tmp_path / "a.png")
        quarter = dataclasses.replace(CONFIG, min_scale=0.1, max_scale=0.25)
        scaled = image.resize((32, 32), Image.Resampling.BICUBIC, box=(25, 25, 75, 75))
        expected = to_pixel_values(np.array(scaled)[None])
        assert torch.equal(center_crops([str(tmp_path / "a.png")], PhotoCache(), quarter), expected)


class TestBaseline:
    def test_is_exact_where_neighbours_tell_everything(self):
        flat = torch.ones(2, 3, 32, 32) * torch.tensor([0.5, -1.0, 2.0]).view(1, 3, 1, 1)
        assert gaussian_neighbour_mse(flat, 8, 0.75) == pytest.approx(0, abs=1e-10)

    def test_equals_a_loop_over_hidden_patches(self):
        pixel_values = torch.randn(2, 3, 32, 32, generator=torch.Generator().manual_seed(0))
        order = mask_noise(0, 1, 16)[0].argsort()
        cells = [pixel_values[:, :, 8 * (i // 4) : 8 * (i // 4) + 8, 8 * (i % 4) : 8 * (i % 4) + 8] for i in range(16)]
        best = []
        for sigma in SIGMAS:
            errors = []
            for i in order[4:]:
                near = [np.exp(-((i // 4 - j // 4) ** 2 + (i % 4 - j % 4) ** 2) / (2 * sigma**2)) for j in order[:4]]
                colour = sum(w * cells[j].mean((2, 3)) for w, j in zip(near, order[:4], strict=True)) / sum(near)
                errors.append((cells[i] - colour[:, :, None, None]).square().mean().item())
            best.append(np.mean(errors))
        assert gaussian_neighbour_mse(pixel_values, 8, 0.75) == pytest.approx(min(best), rel=1e-5)


class TestCache:
    def test_keeps_pixels_up_to_its_limit(self, paths):
        size = PhotoCache().get(paths[0]).nbytes
        cache = PhotoCache(limit=2 * size)
        first = [cache.get(path) for path in paths[:3]]
        again = [cache.get(path) for path in paths[:3]]
        assert [before is after for before, after in zip(first, again, strict=True)] == [True, True, False]

    def test_shrinks_large_photographs(self, tmp_path, picture):
        picture(1, 1400, 1100).save(tmp_path / "large.jpg")
        assert PhotoCache().get(str(tmp_path / "large.jpg")).shape == (MAX_STORED_SIDE, 652, 3)

    def test_unreadable_files_are_told_apart_with_a_sentence_each(self, photos):
        files = [str(photos / name) for name in ("text.jpg", "a.png", "truncated.jpg", "b.jpg", "empty.jpg")]
        readable, failures = readable_photos(files, PhotoCache())
        assert readable == [files[1], files[3]]
        assert [failure.partition(": ")[0] for failure in failures] == sorted([files[0], files[2], files[4]])

    def test_nothing_readable_is_an_error(self, photos):
        with pytest.raises(SourceError, match="none of 2 files could be read"):
            readable_photos([str(photos / "empty.jpg"), str(photos / "text.jpg")], PhotoCache())
