"""Squares, the training loop and networks that begin from a folder: what the baselines are made of."""

import math
import weakref
from collections.abc import Sequence

import numpy as np
import pytest
import torch
from PIL import Image
from safetensors.numpy import load_file, save_file
from transformers import ResNetConfig, ResNetForImageClassification

from cinemae.errors import CheckpointError, ImageError, TrainingError
from cinemae.evaluation.baselines.cnnspot import CnnSpot, CnnSpotConfig
from cinemae.evaluation.baselines.crops import center_square, training_square
from cinemae.evaluation.baselines.network_training import NetworkConfig, predict_logits, to_pixels, train_network
from cinemae.evaluation.baselines.networks import LogitResNet, bottleneck_shape, load_resnet

pytestmark = pytest.mark.usefixtures("one_thread")


def numbered(width, height):
    """Every pixel another: red is its column, green its row."""
    pixels = np.zeros((height, width, 3), np.uint8)
    pixels[..., 0], pixels[..., 1] = np.arange(width), np.arange(height)[:, None]
    return Image.fromarray(pixels)


class TestCrops:
    def test_the_centre_is_cut_without_scaling(self):
        square = center_square(numbered(11, 8), 4)
        assert square[0, :, 0].tolist() == [3, 4, 5, 6]
        assert square[:, 0, 1].tolist() == [2, 3, 4, 5]

    def test_a_smaller_picture_is_mirrored_at_its_edges(self):
        square = center_square(numbered(3, 10), 8)
        assert square[0, :, 0].tolist() == [2, 1, 0, 0, 1, 2, 2, 1]  # three columns to the left, and three back again
        assert square[:, 0, 1].tolist() == list(range(1, 9))

    def test_training_squares_lie_everywhere_and_are_mirrored_half_of_the_time(self):
        squares = [training_square(numbered(40, 30), 24, np.random.default_rng(seed)) for seed in range(400)]
        mirrored = [bool(square[0, 0, 0] > square[0, -1, 0]) for square in squares]
        assert 150 < sum(mirrored) < 250
        assert {int(square[..., 0].min()) for square in squares} == set(range(17))
        assert {int(square[..., 1].min()) for square in squares} == set(range(7))
        for square in squares:
            columns = np.sort(square[0, :, 0])
            assert (np.diff(columns) == 1).all()

    def test_nothing_is_altered_unless_asked(self, picture):
        source = picture(4, 100, 90)
        square = training_square(source, 100, np.random.default_rng(0))
        whole = center_square(source, 100)
        assert (square == whole).all() or (square == whole[:, ::-1]).all()

    def test_blur_smooths_and_jpeg_leaves_its_grid_anywhere(self, picture):
        source = picture(4, 200, 200)

        def roughness(**how):
            squares = [
                training_square(source, 64, np.random.default_rng(seed), **how).astype(float) for seed in range(20)
            ]
            return np.mean([np.abs(np.diff(square, axis=1)).mean() for square in squares])

        assert roughness(blur=1.0) < 0.6 * roughness()
        assert roughness(recompress=1.0) < 0.98 * roughness()

    def test_the_grid_of_jpeg_blocks_lies_anywhere(self):
        """Rows between blocks, where neighbours jump, fall on every phase of the square."""
        rng = np.random.default_rng(0)
        noise = Image.fromarray(rng.integers(0, 256, (300, 300, 3), np.uint8))
        source = noise.resize((900, 900), Image.Resampling.BICUBIC)
        phases = []
        for seed in range(200):
            square = training_square(source, 96, np.random.default_rng(seed), recompress=1.0).astype(float)
            jumps = np.abs(np.diff(square.mean(2), axis=0)).mean(1)
            of_phase = np.array([jumps[phase::8].mean() for phase in range(8)])
            if of_phase.max() > 1.15 * np.median(of_phase):  # at high qualities the grid does not show
                phases.append(int(of_phase.argmax()))
        assert len(phases) > 20
        assert set(phases) == set(range(8))

    def test_what_is_no_rgb_picture_is_refused(self):
        for cut in (center_square, lambda image, size: training_square(image, size, np.random.default_rng(0))):
            with pytest.raises(
                ImageError, match="RGB pictures of at least 1x1 pixels, got mode L, 5x4: pass it through"
            ):
                cut(Image.new("L", (5, 4)), 4)


class Mean(torch.nn.Module):
    """The smallest network: the mean brightness, scaled and shifted. Records what it is shown."""

    def __init__(self):
        super().__init__()
        self.scale, self.shift = torch.nn.Parameter(torch.tensor(0.5)), torch.nn.Parameter(torch.tensor(0.1))
        self.shown = []

    def forward(self, pixels):
        self.shown.append(pixels.clone())
        return pixels.mean((1, 2, 3)) * self.scale + self.shift


def flat(value, size=32):
    return Image.new("RGB", (size, size), (value, value, value))


LABELS = np.array([0, 0, 0, 1, 0, 1, 0])
PICTURES = [flat(value) for value in (10, 30, 20, 200, 40, 250, 60)]


class TestTraining:
    def test_one_step_is_adams_on_the_balanced_loss(self):
        network, told = Mean(), []
        config = NetworkConfig(crop=16, epochs=1, batch_size=16, learning_rate=0.01)
        train_network(network, PICTURES, LABELS, config, seed=0, progress=told.append)
        bright = np.array([10, 30, 20, 200, 40, 250, 60]) / 255
        logits = 0.5 * bright + 0.1
        weights = np.where(LABELS == 1, 7 / 4, 7 / 10)
        probability = 1 / (1 + np.exp(-logits))
        loss = -weights * np.where(LABELS == 1, np.log(probability), np.log(1 - probability))
        assert [(line.epoch, line.epochs) for line in told] == [(1, 1)]
        assert told[0].loss == pytest.approx(loss.mean(), rel=1e-5)
        slopes = [(weights * (probability - LABELS) * slope).mean() for slope in (bright, 1.0)]
        moved = [network.scale.item() - 0.5, network.shift.item() - 0.1]
        np.testing.assert_allclose(moved, -0.01 * np.sign(slopes), rtol=1e-3)  # Adam's first step is the rate itself
        assert not network.training

    def test_every_picture_is_shown_once_an_epoch_in_batches_of_two_and_more(self):
        network = Mean()
        train_network(network, PICTURES, LABELS, NetworkConfig(crop=16, epochs=2, batch_size=3), seed=0)
        assert sorted(len(batch) for batch in network.shown) == [2, 2, 2, 2, 3, 3]
        for epoch in (network.shown[:3], network.shown[3:]):
            values = torch.cat(epoch)[:, 0, 0, 0] * 255
            assert sorted(values.round().int().tolist()) == [10, 20, 30, 40, 60, 200, 250]
        assert not torch.equal(torch.cat(network.shown[:3]), torch.cat(network.shown[3:]))

    def test_three_pictures_in_batches_of_two_make_one_batch(self):
        network = Mean()
        config = NetworkConfig(crop=16, epochs=1, batch_size=2)
        train_network(network, PICTURES[2:5], LABELS[2:5], config, seed=0)
        assert [len(batch) for batch in network.shown] == [3]

    def test_the_learning_rate_decays(self):
        """Steps of Adam on one and the same gradient are as long as the learning rate."""
        moved = []
        for epochs in (1, 2, 3, 4):
            network = Mean()
            config = NetworkConfig(crop=16, epochs=epochs, batch_size=2, learning_rate=1e-3, decay=0.1, decay_every=2)
            train_network(network, [flat(0), flat(255)], np.array([0, 1]), config, seed=0)
            moved.append(network.scale.item() - 0.5)
        steps = np.diff([0, *moved])
        np.testing.assert_allclose(steps, [1e-3, 1e-3, 1e-4, 1e-4], rtol=0.05)

    def test_patience_holds_a_tenth_out_and_keeps_the_best_epoch(self):
        """The sign of the scale alone decides: the AUC is 1, and 0 once it is turned by hand after the second epoch."""
        pictures = [flat(value) for value in range(0, 200, 5)]
        labels, told, shown = np.repeat([1, 0], 20), [], []
        network = Mean()
        network.scale.data.fill_(-0.05)

        def note(line):
            told.append(line)
            shown.append(network.scale.item())
            if line.epoch > 1:
                network.scale.data.fill_(1.0)  # from now on every picture is on the wrong side

        config = NetworkConfig(crop=16, epochs=9, batch_size=64, learning_rate=1e-4, patience=3)
        train_network(network, pictures, labels, config, seed=0, progress=note)
        assert [line.held_out_auc for line in told] == [1, 1, 0, 0]
        assert network.scale.item() == shown[0]
        learnt, judged = ([batch for batch in network.shown if len(batch) == size] for size in (36, 4))
        assert len(learnt) == len(judged) == 4
        brightness = [set((batch[:, 0, 0, 0] * 255).round().int().tolist()) for batch in (*learnt, *judged)]
        assert brightness[0] == brightness[3]
        assert brightness[4] == brightness[7]
        assert brightness[0] | brightness[4] == set(range(0, 200, 5))
        assert sum(value < 100 for value in brightness[4]) == 2

    def test_of_what_is_held_out_a_batch_is_in_memory_at_a_time(self):
        alive, most = set(), []

        class Decoding(Sequence):
            def __len__(self):
                return 800

            def __getitem__(self, index):
                picture = flat(index % 250)
                alive.add(id(picture))
                weakref.finalize(picture, alive.discard, id(picture))
                most.append(len(alive))
                return picture

        config = NetworkConfig(crop=16, epochs=1, patience=1)
        train_network(Mean(), Decoding(), np.arange(800) % 2, config, seed=0)
        assert len(most) == 800
        assert 20 < max(most) <= 33

    def test_without_patience_nothing_is_held_out(self):
        told = []
        train_network(Mean(), PICTURES, LABELS, NetworkConfig(crop=16, epochs=1), seed=0, progress=told.append)
        assert told[0].held_out_auc is None

    def test_too_few_pictures_to_hold_some_out_are_told(self):
        with pytest.raises(TrainingError, match="at least 6 pictures of each, got 2: add pictures, or leave patience"):
            train_network(Mean(), PICTURES, LABELS, NetworkConfig(crop=16, patience=1), seed=0)

    def test_divergence_is_told(self):
        network = Mean()
        network.scale.data.fill_(math.nan)
        with pytest.raises(TrainingError, match=r"training diverged in epoch 1: lower learning_rate \(0.0001\)"):
            train_network(network, PICTURES, LABELS, NetworkConfig(crop=16), seed=0)

    def test_centre_crops_are_asked(self):
        network = Mean()
        logits = predict_logits(network, [numbered(40, 40)] * 40, 16)
        assert [len(batch) for batch in network.shown] == [32, 8]
        assert torch.equal(network.shown[0][0], to_pixels([center_square(numbered(40, 40), 16)])[0])
        assert logits.dtype == np.float64
        assert logits.tolist() == [logits[0]] * 40


@pytest.fixture(scope="module")
def resnet(tmp_path_factory):
    """A tiny classifier of five kinds in the Hub's layout, in place of one trained on ImageNet."""
    config = ResNetConfig(embedding_size=8, hidden_sizes=[16, 32], depths=[1, 1], layer_type="basic", num_labels=5)
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(5)
        model = ResNetForImageClassification(config)
    folder = tmp_path_factory.mktemp("hub") / "resnet-tiny"
    model.save_pretrained(folder)
    return folder


class TestNetworks:
    def test_a_resnet_is_the_librarys_with_normalised_pixels(self):
        network = LogitResNet(bottleneck_shape((1, 1), 4), seed=0).eval()
        pixels = torch.rand(2, 3, 32, 32, generator=torch.Generator().manual_seed(0))
        mean, std = (torch.tensor(v).view(3, 1, 1) for v in ([0.485, 0.456, 0.406], [0.229, 0.224, 0.225]))
        with torch.inference_mode():
            expected = network.resnet(pixel_values=(pixels - mean) / std).logits[:, 0]
            torch.testing.assert_close(network(pixels), expected)

    def test_the_default_of_cnnspot_is_resnet_50(self):
        with torch.device("meta"):  # the weights have no values: they are only counted
            network = CnnSpot().new_network(0)
        counted = sum(weight.numel() for weight in network.parameters())
        assert counted == 25_557_032 - 2048 * 1000 - 1000 + 2048 + 1  # the published count, its 1000 classes made one

    def test_a_folders_weights_are_taken_but_for_the_classifier(self, resnet):
        given = load_file(resnet / "model.safetensors")
        networks = [load_resnet(resnet, LogitResNet, seed=seed) for seed in (0, 0, 1)]
        for name, weight in networks[0].resnet.state_dict().items():
            if name.startswith("classifier."):
                assert weight.shape[0] == 1
            else:
                np.testing.assert_array_equal(weight.numpy(), given[name])
        classifiers = [network.resnet.classifier[1].weight for network in networks]
        assert torch.equal(classifiers[0], classifiers[1])
        assert not torch.equal(classifiers[0], classifiers[2])

    def test_cnnspot_says_where_its_weights_begin_and_needs_the_folder_once(self, resnet, tmp_path, picture):
        copy = tmp_path / "resnet-tiny"
        copy.mkdir()
        for path in resnet.iterdir():
            (copy / path.name).write_bytes(path.read_bytes())
        detector = CnnSpot(CnnSpotConfig(crop=32, epochs=1, backbone=str(copy)))
        assert detector.description == (
            "ResNet on 32x32 crops, blur 0.5 and JPEG 0.5 in training, from the weights in resnet-tiny"
        )
        pictures = [picture(seed) for seed in range(4)]
        detector.fit(pictures, np.array([0, 1, 0, 1]), seed=0)
        detector.save(tmp_path / "saved")
        for path in copy.iterdir():
            path.unlink()
        again = CnnSpot.load(tmp_path / "saved")
        assert again.description == detector.description
        np.testing.assert_array_equal(again.predict(pictures), detector.predict(pictures))

    def test_a_missing_folder_is_told_when_training_begins(self, tmp_path, picture):
        detector = CnnSpot(CnnSpotConfig(crop=32, backbone=str(tmp_path / "none")))
        with pytest.raises(
            CheckpointError,
            match=r"an ImageNet ResNet is a local folder with .*model.safetensors.*none is not a folder",
        ):
            detector.fit([picture(0), picture(1)], np.array([0, 1]), seed=0)

    def test_another_model_or_one_without_weights_is_refused(self, tiny_backbone, resnet, tmp_path):
        with pytest.raises(CheckpointError, match="holds a vit_mae, not a resnet: use microsoft/resnet-50"):
            load_resnet(tiny_backbone, LogitResNet, seed=0)
        (tmp_path / "config.json").write_bytes((resnet / "config.json").read_bytes())
        with pytest.raises(CheckpointError, match="could not be loaded as one: "):
            load_resnet(tmp_path, LogitResNet, seed=0)
        weights = load_file(resnet / "model.safetensors")
        name = "resnet.embedder.embedder.convolution.weight"
        save_file({key: value for key, value in weights.items() if key != name}, tmp_path / "model.safetensors")
        with pytest.raises(
            CheckpointError, match=f"lacks 1 of the weights that its config.json promises, {name} first"
        ):
            load_resnet(tmp_path, LogitResNet, seed=0)
        save_file({**weights, name: np.zeros((9, 3, 7, 7), np.float32)}, tmp_path / "model.safetensors")
        with pytest.raises(CheckpointError, match="could not be loaded as one: "):
            load_resnet(tmp_path, LogitResNet, seed=0)

    def test_the_librarys_messages_stay_away_and_its_level_comes_back(self, resnet, capfd):
        from transformers.utils import logging

        before = logging.get_verbosity(), logging.is_progress_bar_enabled()
        load_resnet(resnet, LogitResNet, seed=0)
        assert (logging.get_verbosity(), logging.is_progress_bar_enabled()) == before
        out, err = capfd.readouterr()
        assert out + err == ""
