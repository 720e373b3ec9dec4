"""The compared methods' parts against what their papers and published code state."""

import itertools
import math
from itertools import pairwise

import numpy as np
import pytest
import scipy.signal
import torch
from PIL import Image
from scipy.fft import dctn
from sklearn.metrics import roc_auc_score
from torch.nn.functional import interpolate
from transformers import SwinConfig as HubSwinConfig
from transformers import SwinForImageClassification

from cinemae.errors import CheckpointError, ConfigError
from cinemae.evaluation.baselines.aide_low import AideLow, AideLowConfig
from cinemae.evaluation.baselines.dct_bands import band_means, dct_matrix, even_bands
from cinemae.evaluation.baselines.f3net import DecomposedPicture, F3Net, F3NetConfig, LocalFrequencies
from cinemae.evaluation.baselines.ferretnet import FerretNet, FerretNetConfig, local_pixel_dependency
from cinemae.evaluation.baselines.fusing import Fusing, FusingConfig, corners_of, strongest_windows
from cinemae.evaluation.baselines.gramnet import GramNet, gram_matrix
from cinemae.evaluation.baselines.lnp import Lnp, noise_channels, wiener_residual
from cinemae.evaluation.baselines.patchcraft import (
    PatchCraft,
    PatchCraftConfig,
    smash_and_reconstruct,
    texture_diversity,
)
from cinemae.evaluation.baselines.registry import baseline_from_text, load_baseline
from cinemae.evaluation.baselines.spec import Spec, log_spectrum
from cinemae.evaluation.baselines.srm import SrmResidual, srm_filters
from cinemae.evaluation.baselines.swin import SwinT, SwinTConfig
from cinemae.evaluation.baselines.xception import Xception

pytestmark = pytest.mark.usefixtures("one_thread")


def drawn(*shape, seed=0):
    return torch.rand(*shape, generator=torch.Generator().manual_seed(seed))


def without_values(detector):
    """A detector's network, its tens of millions of weights without values: they are only counted."""
    with torch.device("meta"):
        return detector.new_network(0)


def parameters(network):
    return sum(weight.numel() for weight in network.parameters())


class TestSrm:
    def test_there_are_thirty_that_ignore_flat_pictures(self):
        filters = srm_filters()
        assert filters.shape == (30, 5, 5)
        np.testing.assert_allclose(filters.sum((1, 2)), 0, atol=1e-6)
        np.testing.assert_allclose(filters[:, 2, 2], -1)
        assert len({filter.tobytes() for filter in filters}) == 30

    def test_values_as_published(self):
        """One of each class, from the rich model's list, before it is divided by 1, 2, 3, 4 or 12."""
        published = {
            1: [[0, 0, 0, 0, 0], [0, 0, 0, 0, 0], [0, 0, -1, 1, 0], [0, 0, 0, 0, 0], [0, 0, 0, 0, 0]],
            2: [[0, 0, 0, 0, 0], [0, 0, 1, 0, 0], [0, 0, -2, 0, 0], [0, 0, 1, 0, 0], [0, 0, 0, 0, 0]],
            3: [[0, 0, -1, 0, 0], [0, 0, 3, 0, 0], [0, 0, -3, 0, 0], [0, 0, 1, 0, 0], [0, 0, 0, 0, 0]],
            4: [[0, 0, 0, 0, 0], [0, -1, 2, -1, 0], [0, 2, -4, 2, 0], [0, 0, 0, 0, 0], [0, 0, 0, 0, 0]],
            12: [[-1, 2, -2, 0, 0], [2, -6, 8, 0, 0], [-2, 8, -12, 0, 0], [2, -6, 8, 0, 0], [-1, 2, -2, 0, 0]],
        }
        found = [filter.tolist() for filter in srm_filters()]
        for divisor, values in published.items():
            assert (np.array(values, np.float32) / np.float32(divisor)).tolist() in found
        square = [[-1, 2, -2, 2, -1], [2, -6, 8, -6, 2], [-2, 8, -12, 8, -2], [2, -6, 8, -6, 2], [-1, 2, -2, 2, -1]]
        assert (np.array(square, np.float32) / 12).tolist() in found

    @pytest.mark.parametrize("joint", [True, False])
    def test_a_residual_is_the_correlation_with_each(self, joint):
        pixels = drawn(1, 3, 9, 8)
        found = SrmResidual(joint=joint)(pixels)[0].numpy()
        colours = [pixels[0].sum(0)] if joint else list(pixels[0])
        expected = [
            scipy.signal.correlate2d(colour, one, "same") for colour, one in itertools.product(colours, srm_filters())
        ]
        np.testing.assert_allclose(found, expected, atol=1e-5)
        assert parameters(SrmResidual(joint=joint)) == 0


class TestDct:
    def test_the_matrix_gives_scipys_transform(self):
        square = drawn(6, 6).double().numpy()
        matrix = dct_matrix(6).double().numpy()
        np.testing.assert_allclose(matrix @ square @ matrix.T, dctn(square, norm="ortho"), atol=1e-6)

    def test_bands_cover_everything_and_sum_to_one(self):
        bands = even_bands(10, 6)
        assert bands.shape == (6, 10, 10)
        torch.testing.assert_close(band_means(10, 6).sum((1, 2)), torch.ones(6))
        assert (bands.sum(0) > 0).all()
        assert bands[0, 0, 3] > 0 == bands[0, 0, 4]  # up to 20 / 6 = 3.33


class TestSpec:
    def test_the_spectrum_by_numpy_as_the_authors_take_it(self):
        pixels = drawn(1, 3, 16, 16)
        for channel, found in zip(pixels[0].numpy(), log_spectrum(pixels)[0].numpy(), strict=True):
            spectrum = np.log(np.abs(np.fft.fft2(255 * channel)) + 1e-3)
            low, high = np.percentile(spectrum, (5, 95))
            np.testing.assert_allclose(found, np.clip(2 * (spectrum - low) / (high - low) - 1, -1, 1), atol=1e-4)

    def test_a_flat_picture_has_a_finite_one(self):
        assert torch.isfinite(log_spectrum(torch.full((1, 3, 16, 16), 0.5))).all()

    def test_it_does_not_see_where_a_picture_begins(self):
        network, pixels = (
            baseline_from_text("spec,crop=32,width=4,depths=1+1").new_network(0).eval(),
            drawn(1, 3, 32, 32),
        )
        with torch.inference_mode():
            torch.testing.assert_close(network(pixels), network(pixels.roll((5, 3), (2, 3))), atol=1e-3, rtol=1e-3)

    def test_the_default_is_resnet_34(self):
        assert parameters(without_values(Spec())) == 21_797_672 - 512 * 1000 - 1000 + 512 + 1  # published, 1000 classes


class TestLnp:
    def test_the_residual_is_what_scipys_wiener_filter_takes_away(self):
        pixels = drawn(2, 3, 20, 17)
        found = wiener_residual(pixels, 5).numpy()
        for picture, residual in zip(pixels.double().numpy(), found, strict=True):
            expected = [channel - scipy.signal.wiener(channel, 5) for channel in picture]
            np.testing.assert_allclose(residual, expected, atol=1e-5)

    def test_amplitude_and_phase_are_the_fourth_and_fifth_channel(self):
        noise = drawn(1, 3, 8, 8) - 0.5
        found = noise_channels(noise)
        assert found.shape == (1, 5, 8, 8)
        assert torch.equal(found[:, :3], noise)
        spectrum = np.fft.fftshift(np.fft.fft2(noise[0].double().numpy(), norm="ortho"), axes=(1, 2))
        weights = np.array([0.3, 0.59, 0.11])[:, None, None]
        np.testing.assert_allclose(found[0, 3], (np.abs(spectrum) ** 0.8 * weights).sum(0), atol=1e-4)
        np.testing.assert_allclose(found[0, 4, 1], (np.angle(spectrum) * weights).sum(0)[1], atol=1e-3)

    def test_the_default_is_resnet_50_with_five_channels(self):
        network = without_values(Lnp())
        assert parameters(network) == 25_557_032 - 2048 * 1000 - 1000 + 2048 + 1 + 2 * 64 * 7 * 7
        assert network.resnet.resnet.embedder.embedder.convolution.in_channels == 5


class TestGramNet:
    def test_a_gram_matrix_by_hand(self):
        activations = drawn(2, 3, 4, 5)
        found = gram_matrix(activations)
        assert found.shape == (2, 1, 3, 3)
        for picture, i, j in itertools.product(range(2), range(3), range(3)):
            product = (activations[picture, i] * activations[picture, j]).sum() / (3 * 4 * 5)
            assert found[picture, 0, i, j].item() == pytest.approx(product.item(), rel=1e-5)

    def test_the_default_has_six_gram_blocks_at_the_published_depths(self):
        network = without_values(GramNet())
        assert [block.before[0].in_channels for block in network.blocks] == [3, 64, 64, 64, 128, 256]
        before = sum(9 * channels * 32 + 64 for channels in (3, 64, 64, 64, 128, 256))
        after = 6 * (9 * 16 + 32 + 9 * 16 * 32 + 64)
        classifier = 704 * 512 + 512 + 512 + 1
        assert parameters(network) == 11_689_512 - 512 * 1000 - 1000 + before + after + classifier == 11_734_209

    def test_the_resnet_is_the_librarys(self):
        network, pixels = GramNet().new_network(0).eval(), drawn(1, 3, 64, 64)
        seen = []
        network.classifier.register_forward_hook(lambda module, given, found: seen.append(given[0]))
        with torch.inference_mode():
            network(pixels)
            expected = network.resnet.resnet(network.normalise(pixels)).pooler_output.flatten(1)
        torch.testing.assert_close(seen[0][:, -512:], expected)


class TestFusing:
    def test_the_strongest_windows_by_hand(self):
        """Beside the best are its neighbours, which are out; then comes the far corner, then what is left."""
        activations = torch.zeros(1, 2, 5, 5)
        activations[0, 0, 1, 1] = 9.0
        activations[0, 1, 4, 4] = 5.0
        activations[0, 0, 0, 4] = 2.0
        places = strongest_windows(activations, window=2, count=3)[0].tolist()
        assert places[0] == [0, 0]  # the first of the four windows that hold the 9
        assert places[1] == [3, 3]
        assert places[2] == [0, 3]

    def test_corners_are_around_the_window_and_inside(self):
        """A 7x7 grid of a 448 picture: 64 pixels an activation; the middle window's centre is the picture's."""
        middle = corners_of(torch.tensor([2, 2]), window=3, grid=7, side=448, patch=224).tolist()
        assert middle == [112, 112]
        assert corners_of(torch.tensor([0, 4]), window=3, grid=7, side=448, patch=224).tolist() == [0, 224]

    def test_patches_are_cut_from_the_picture_at_full_resolution(self):
        network = Fusing(FusingConfig(crop=192, width=4)).new_network(0).eval()
        pixels, activations = drawn(1, 3, 192, 192), torch.zeros(1, 8, 3, 3)
        activations[0, 0, 2, 2] = 1.0
        patches = network.patches(pixels, activations)
        assert patches.shape == (6, 3, 96, 96)
        torch.testing.assert_close(patches[0], pixels[0, :, 48:144, 48:144])  # the one window of three, as it is
        corner = pixels[:, :, 104:152, 104:152]  # around (1 + 2 / 2) / 3 of the side, a quarter of it long
        torch.testing.assert_close(patches[3:4], interpolate(corner, size=(96, 96), mode="bilinear"))

    def test_the_default_is_resnet_50_and_three_layers_of_attention(self):
        layer = 4 * 128 * 128 + 4 * 128 + 2 * 2 * 128 + 2 * (128 * 128 + 128)
        added = 2048 * 128 + 128 + 3 * layer + 129
        assert parameters(without_values(Fusing())) == 25_557_032 - 2048 * 1000 - 1000 + added

    def test_a_crop_without_three_activations_a_side_is_refused(self):
        with pytest.raises(ConfigError, match="multiple of 4 and at least 192, for three activations a side, got 160"):
            FusingConfig(crop=160)


class TestF3Net:
    def test_xception_has_the_published_number_of_parameters(self):
        assert parameters(Xception(3)) == 22_855_952 - 2048 * 1000 - 1000

    def test_xception_halves_five_times(self):
        network = Xception(3, width=8, middle=1).eval()
        shapes = []
        network.layers.register_forward_hook(lambda module, given, found: shapes.append(found.shape))
        assert network(drawn(1, 3, 299, 299)).shape == (1, 256)
        assert shapes == [(1, 256, 10, 10)]

    def test_bands_of_nothing_learned_are_masks_and_the_last_is_the_picture(self):
        module, pixels = DecomposedPicture(16), drawn(1, 3, 16, 16)
        module.learned.data.zero_()
        found = module(pixels)
        assert found.shape == (1, 12, 16, 16)
        torch.testing.assert_close(found[:, 9:], pixels, atol=1e-5, rtol=1e-5)
        low = dctn(found[0, 0].detach().numpy(), norm="ortho")
        diagonal = np.add.outer(np.arange(16), np.arange(16))
        np.testing.assert_allclose(low[diagonal > 16 // 2.82], 0, atol=1e-5)
        expected = dctn(pixels[0, 0].numpy(), norm="ortho")
        np.testing.assert_allclose(low[diagonal <= 16 // 2.82], expected[diagonal <= 16 // 2.82], atol=1e-5)

    def test_local_statistics_of_one_window_by_scipy(self):
        pixels = 2 * drawn(1, 3, 299, 299) - 1
        module = LocalFrequencies()
        module.learned.data.zero_()
        found = module(pixels).detach()
        assert found.shape == (1, 6, 149, 149)
        grey = (pixels[0] * torch.tensor([0.299, 0.587, 0.114])[:, None, None]).sum(0)
        window = ((grey + 1) * 122.5)[6:16, 16:26].double().numpy()  # row 5, column 10: two pixels apart, four outside
        logarithm = np.log10(np.abs(dctn(window, norm="ortho")))
        diagonal = np.add.outer(np.arange(10), np.arange(10))
        expected = [logarithm[(diagonal >= 20 / 6 * i) & (diagonal <= 20 / 6 * (i + 1))].mean() for i in range(6)]
        np.testing.assert_allclose(found[0, :, 5, 10], expected, atol=1e-3)

    def test_the_default_is_two_xceptions(self):
        network = without_values(F3Net(F3NetConfig(crop=96)))
        stems = 32 * 9 * (12 + 6 - 3 - 3)
        assert parameters(network) == 2 * 20_806_952 + stems + 4 * 96 * 96 + 6 * 10 * 10 + 4096 + 1


class TestPatchCraft:
    def test_rich_and_poor_patches_of_a_tiny_picture_by_hand(self):
        """Two patches a side: nine places half a patch apart, of which a checkerboard covers one quarter."""
        pixels = torch.zeros(1, 1, 8, 8)
        pixels[0, 0, 4:, 4:] = torch.tensor([[0.0, 1.0] * 2, [1.0, 0.0] * 2]).repeat(2, 1)
        poor, rich = smash_and_reconstruct(pixels, patch=4, grid=2)
        assert rich.shape == pixels.shape
        torch.testing.assert_close(rich[0, 0, :4, :4], pixels[0, 0, 4:, 4:])  # the roughest patch comes first
        assert poor[0, 0].abs().max() == 0  # four of the nine hold none of it
        found = texture_diversity(torch.stack([poor[0, :, :4, :4], rich[0, :, :4, :4]]))
        assert found.tolist() == [0, 24]  # a neighbour across or down differs, 12 pairs each; along diagonals none does

    def test_patches_come_in_the_order_of_their_diversity(self):
        pixels = drawn(2, 3, 32, 32) * torch.linspace(0.1, 1, 32)
        poor, rich = smash_and_reconstruct(pixels, patch=8, grid=4)
        for picture, sign in ((poor, 1), (rich, -1)):
            tiles = picture.unfold(2, 8, 8).unfold(3, 8, 8).permute(0, 2, 3, 1, 4, 5).flatten(1, 2)
            measured = (sign * texture_diversity(tiles)).tolist()
            assert all(first <= second + 1e-4 for row in measured for first, second in pairwise(row))
        assert texture_diversity(rich).min() > texture_diversity(poor).max()

    def test_a_smaller_grid_keeps_the_most_and_the_least_diverse(self):
        pixels = drawn(1, 3, 32, 32) * torch.linspace(0.1, 1, 32)
        for whole, part in zip(
            smash_and_reconstruct(pixels, patch=8, grid=4), smash_and_reconstruct(pixels, patch=8, grid=2), strict=True
        ):
            assert part.shape == (1, 3, 16, 16)
            torch.testing.assert_close(part[..., :8, :], whole[..., :8, :16])  # the first two of a row of four
            torch.testing.assert_close(part[..., 8:, :], whole[..., :8, 16:])  # the next two

    @pytest.mark.parametrize("grid", [0, 9])
    def test_a_grid_that_does_not_fit_is_refused(self, grid):
        with pytest.raises(ConfigError, match=rf"grid must lie in \[1, 8\], got {grid}"):
            PatchCraftConfig(grid=grid)

    def test_the_network_has_the_published_layers(self):
        network = without_values(PatchCraft())
        ten = 10 * (32 * 32 * 9 + 32 + 64)
        assert parameters(network) == 90 * 32 * 9 + 32 + 64 + ten + 33 == 119_169

    def test_what_is_in_both_pictures_alike_is_not_seen(self):
        network = PatchCraft(PatchCraftConfig(crop=64)).new_network(0).eval()
        flat, other = torch.full((1, 3, 64, 64), 0.2), torch.full((1, 3, 64, 64), 0.8)
        with torch.inference_mode():
            torch.testing.assert_close(network(flat), network(other))


class TestAideLow:
    def test_the_grade_by_scipy(self):
        patch = drawn(3, 32, 32)
        network = AideLow(AideLowConfig(depths=(1, 1), width=4)).new_network(0)
        diagonal = np.add.outer(np.arange(32), np.arange(32))
        expected = 0.0
        for channel in patch.double().numpy():
            logarithm = np.log1p(np.abs(dctn(channel, norm="ortho")))
            for index in range(6):
                band = (diagonal >= 64 / 6 * index) & (diagonal <= 64 / 6 * (index + 1))
                expected += 2**index * logarithm[band].mean()
        assert network.grade(patch).item() == pytest.approx(expected, rel=1e-4)

    def test_smooth_patches_are_lowest_and_noisy_ones_highest(self):
        pixels = torch.full((1, 3, 96, 96), 0.5)
        pixels[:, :, 32:64, 48:80] = drawn(1, 3, 32, 32)
        network = AideLow(AideLowConfig(depths=(1, 1), width=4)).new_network(0)
        lowest, highest = network.extremes(pixels)
        assert lowest.shape == highest.shape == (1, 2, 3, 32, 32)
        torch.testing.assert_close(highest[0, 0], pixels[0, :, 32:64, 48:80])
        assert lowest.std() == 0

    def test_the_default_is_two_resnet_50_with_thirty_channels(self):
        trunk = 25_557_032 - 2048 * 1000 - 1000 + 27 * 64 * 7 * 7
        assert parameters(without_values(AideLow())) == 2 * trunk + 2048 * 1024 + 1024 + 1024 + 1


class TestFerretNet:
    def test_the_residual_by_hand(self):
        pixels = drawn(1, 2, 5, 6) - 0.5
        found = local_pixel_dependency(pixels)
        padded = np.pad(pixels[0].numpy(), ((0, 0), (1, 1), (1, 1)))
        for channel, y, x in itertools.product(range(2), range(5), range(6)):
            square = padded[channel, y : y + 3, x : x + 3].copy()
            square[1, 1] = 0
            expected = pixels[0, channel, y, x].item() - float(np.median(square))
            assert found[0, channel, y, x].item() == pytest.approx(expected, abs=1e-6)

    @pytest.mark.parametrize(("width", "published", "counted"), [(96, 1.1e6, 1_057_777), (32, 1.3e5, 126_289)])
    def test_the_number_of_parameters_is_the_published_one(self, width, published, counted):
        found = parameters(FerretNet(FerretNetConfig(width=width)).new_network(0))
        assert found == counted
        assert abs(found / published - 1) < 0.04


class TestSwin:
    def test_the_default_is_swin_t(self):
        assert (
            parameters(without_values(SwinT())) == 28_288_354 - 768 * 1000 - 1000 + 768 + 1
        )  # published, 1000 classes

    def test_weights_of_a_folder_are_taken_but_for_the_classifier(self, tmp_path):
        given = HubSwinConfig(image_size=32, embed_dim=8, depths=[1, 1], num_heads=[1, 2], window_size=4, num_labels=5)
        with torch.random.fork_rng(devices=[]):
            torch.manual_seed(3)
            published = SwinForImageClassification(given)
        published.save_pretrained(tmp_path)
        config = SwinTConfig(crop=32, depths=(1, 1), heads=(1, 2), width=8, window=4, backbone=str(tmp_path))
        network = SwinT(config).new_network(0)
        for name, weight in published.state_dict().items():
            if not name.startswith("classifier."):
                assert torch.equal(network.swin.state_dict()[name], weight), name
        assert network.swin.classifier.out_features == 1
        with pytest.raises(CheckpointError, match="name its depths, heads and width"):
            SwinT(SwinTConfig(crop=224, backbone=str(tmp_path))).new_network(0)

    def test_a_crop_without_a_window_in_the_last_stage_is_refused(self):
        with pytest.raises(ConfigError, match="at least 224, or the last stage holds no window of 7, got 112"):
            SwinTConfig(crop=112)


TINY = {
    "swin": "swin,crop=32,depths=1+1,heads=1+2,width=32,window=4,batch_size=8,learning_rate=0.001",
    "spec": "spec,crop=32,depths=1+1,width=8,learning_rate=0.003",
    "f3net": "f3net,crop=72,width=8,middle=1,learning_rate=0.003",
    "gramnet": "gramnet,crop=32,depths=1+1,width=8,learning_rate=0.003",
    "fusing": "fusing,crop=64,depths=1+1,width=8,learning_rate=0.003",
    "lnp": "lnp,crop=32,depths=1+1,width=8,learning_rate=0.003,batch_size=16",
    "patchcraft": "patchcraft,crop=32,learning_rate=0.003",
    "aide-low": "aide-low,crop=64,resized=32,depths=1+1,width=8,learning_rate=0.003",
    "ferretnet": "ferretnet,crop=32,width=8,depths=1+1,learning_rate=0.003",
}

LONGER = {"lnp": 8, "swin": 16}


def draw_photo(seed):
    rng = np.random.default_rng(seed)
    small = Image.fromarray(rng.integers(60, 196, (4, 4, 3), np.uint8))
    smooth = np.asarray(small.resize((72, 66), Image.Resampling.BICUBIC), np.float64)
    return Image.fromarray((smooth + rng.normal(0, 12, smooth.shape)).clip(0, 255).astype(np.uint8))


def draw_fake(seed):
    """The same with its finest detail lost."""
    photo = draw_photo(seed)
    return photo.resize((24, 22), Image.Resampling.BILINEAR).resize((72, 66), Image.Resampling.BILINEAR)


def draw_warm(seed):
    """A photograph with a warm cast, for Swin: a plain classifier, which fine detail would take far longer."""
    return Image.fromarray((np.asarray(draw_photo(seed)) * [1.3, 1.0, 0.7]).clip(0, 255).astype(np.uint8))


def draw_set(start, count, name=""):
    labels = (np.arange(count) % 2).astype(np.int64)
    fake = draw_warm if name == "swin" else draw_fake
    return [(fake if label else draw_photo)(start + index) for index, label in enumerate(labels)], labels


@pytest.fixture(scope="module")
def trained():
    """Every detector after a short training, by name."""
    found = {}
    for name, spec in TINY.items():
        found[name] = baseline_from_text(f"{spec},epochs={LONGER.get(name, 6)}")
        found[name].fit(*draw_set(0, 48, name), seed=0)
    return found


@pytest.mark.parametrize("name", TINY)
class TestEvery:
    def test_it_learns_what_can_be_learnt(self, trained, name):
        pictures, labels = draw_set(1000, 40, name)
        probability = trained[name].predict(pictures)
        assert roc_auc_score(labels, probability) > 0.9

    def test_it_comes_back_from_disk_and_takes_any_size(self, trained, name, tmp_path):
        odd = [Image.new("RGB", size, "red") for size in ((1, 1), (200, 3), (31, 33))]
        trained[name].save(tmp_path)
        again = load_baseline(tmp_path)
        assert (type(again), again.config) == (type(trained[name]), trained[name].config)
        assert again.description == trained[name].description
        found = again.predict(odd)
        np.testing.assert_array_equal(found, trained[name].predict(odd))
        assert np.isfinite(found).all()

    def test_a_score_does_not_depend_on_the_batch(self, trained, name):
        pictures, _ = draw_set(1000, 4)
        together = trained[name].predict(pictures)
        alone = [trained[name].predict([picture])[0] for picture in pictures]
        np.testing.assert_allclose(alone, together, rtol=1e-3, atol=1e-5)

    def test_same_seed_same_weights_whatever_the_global_state(self, name):
        pictures, labels = draw_set(0, 4)
        found = []
        for seed, of_torch in ((3, 0), (3, 1), (4, 1)):
            torch.manual_seed(of_torch)
            before = torch.get_rng_state()
            detector = baseline_from_text(f"{TINY[name]},epochs=1")
            detector.fit(pictures, labels, seed=seed)
            assert torch.equal(torch.get_rng_state(), before)
            found.append(detector.predict(pictures[:2]))
        np.testing.assert_array_equal(found[0], found[1])
        assert not math.isclose(found[0][0], found[2][0], rel_tol=1e-6)
