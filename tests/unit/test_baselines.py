"""The baselines learn what can be learnt, follow their seed, come back from disk unchanged, and say what is wrong."""

import json
import math

import numpy as np
import pytest
import torch
from PIL import Image
from safetensors.numpy import load_file, save_file
from scipy.special import expit
from sklearn.linear_model import LogisticRegression
from sklearn.metrics import roc_auc_score
from transformers import CLIPConfig, CLIPModel, CLIPVisionConfig, CLIPVisionModelWithProjection

from cinemae.errors import CheckpointError, ConfigError, FingerprintMismatchError, ModelDirError, TrainingError
from cinemae.evaluation.baselines.cnnspot import CnnSpot, CnnSpotConfig
from cinemae.evaluation.baselines.frequency import FreDect, FreDectConfig, log_dct
from cinemae.evaluation.baselines.linear_probe import LinearProbe
from cinemae.evaluation.baselines.network_training import to_pixels
from cinemae.evaluation.baselines.networks import CLIP_MEAN, CLIP_STD, load_clip_encoder
from cinemae.evaluation.baselines.npr import Npr, NprConfig, NprNetwork, npr_residual
from cinemae.evaluation.baselines.registry import BASELINES, baseline_from_text, load_baseline
from cinemae.evaluation.baselines.univfd import UnivFd, UnivFdConfig

pytestmark = pytest.mark.usefixtures("one_thread")

TINY_NPR = NprConfig(crop=32, epochs=6, batch_size=16, learning_rate=1e-2, depths=(1, 1), width=4)
TINY_CNN = CnnSpotConfig(
    crop=32, epochs=16, batch_size=16, learning_rate=3e-3, depths=(1, 1), width=16, blur=0.1, recompress=0.1
)
TINY_CLIP = dict(
    hidden_size=32,
    intermediate_size=64,
    num_hidden_layers=2,
    num_attention_heads=2,
    image_size=32,
    patch_size=8,
    projection_dim=24,
)


def draw_photo(seed):
    """Smooth colour with fine noise, of a side that changes from picture to picture."""
    rng = np.random.default_rng(seed)
    width, height = (int(side) for side in rng.integers(36, 49, 2))
    small = Image.fromarray(rng.integers(60, 196, (4, 4, 3), np.uint8))
    smooth = np.asarray(small.resize((width, height), Image.Resampling.BICUBIC), np.float64)
    return Image.fromarray((smooth + rng.normal(0, 12, smooth.shape)).clip(0, 255).astype(np.uint8))


def draw_fake(seed):
    """The same, its finest detail lost: every pixel of a 4x4 block is alike."""
    photo = draw_photo(seed)
    small = photo.resize((photo.width // 4, photo.height // 4), Image.Resampling.NEAREST)
    return small.resize((4 * small.width, 4 * small.height), Image.Resampling.NEAREST)


def draw_warm(seed):
    """A photo with a warm cast: what an encoder with random weights can see."""
    warm = np.asarray(draw_photo(seed)) * [1.3, 1.0, 0.7]
    return Image.fromarray(warm.clip(0, 255).astype(np.uint8))


def draw_set(start, count, fake=draw_fake):
    labels = (np.arange(count) % 2).astype(np.int64)
    return [(fake if label else draw_photo)(start + index) for index, label in enumerate(labels)], labels


@pytest.fixture(scope="module")
def training():
    return draw_set(0, 96)


@pytest.fixture(scope="module")
def held_out():
    return draw_set(10_000, 40)


@pytest.fixture(scope="module")
def warm_training():
    return draw_set(0, 64, draw_warm)


@pytest.fixture(scope="module")
def warm_held_out():
    return draw_set(10_000, 40, draw_warm)


@pytest.fixture(scope="module")
def clip(tmp_path_factory):
    """A tiny CLIP image encoder with random weights, in the Hub's layout."""
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(0)
        model = CLIPVisionModelWithProjection(CLIPVisionConfig(**TINY_CLIP))
    folder = tmp_path_factory.mktemp("hub") / "clip"
    model.save_pretrained(folder)
    return folder


@pytest.fixture(scope="module")
def detectors(training, warm_training, clip):
    """One trained detector of each kind, by a name for it."""
    untrained = {
        "fredect": FreDect(FreDectConfig(crop=32)),
        "fredect-rgb": FreDect(FreDectConfig(crop=32, color="rgb")),
        "npr": Npr(TINY_NPR),
        "cnnspot": CnnSpot(TINY_CNN),
        "univfd-linear": UnivFd(UnivFdConfig(backbone=str(clip), blur=0.0, recompress=0.0)),
        "univfd-nearest": UnivFd(UnivFdConfig(backbone=str(clip), mode="nearest")),
    }
    for kind, detector in untrained.items():
        detector.fit(*(warm_training if kind.startswith("univfd") else training), seed=0)
    return untrained


KINDS = ["fredect", "fredect-rgb", "npr", "cnnspot", "univfd-linear", "univfd-nearest"]


class TestEveryDetector:
    @pytest.mark.parametrize("kind", KINDS)
    def test_it_tells_pictures_it_never_saw(self, detectors, held_out, warm_held_out, kind):
        pictures, labels = warm_held_out if kind.startswith("univfd") else held_out
        scores = detectors[kind].predict(pictures)
        assert scores.shape == (40,)
        assert scores.dtype == np.float64
        assert np.isfinite(scores).all()
        assert roc_auc_score(labels, scores) > 0.9

    @pytest.mark.parametrize("kind", KINDS)
    def test_the_threshold_is_where_they_turn(self, detectors, held_out, warm_held_out, kind):
        detector = detectors[kind]
        pictures, labels = warm_held_out if kind.startswith("univfd") else held_out
        assert (detector.outputs, detector.threshold) == (("score", 0.0) if "nearest" in kind else ("probability", 0.5))
        scores = detector.predict(pictures)
        if detector.outputs == "probability":
            assert scores.min() >= 0
            assert scores.max() <= 1
        assert ((scores >= detector.threshold) == labels).mean() > 0.8

    @pytest.mark.parametrize("kind", KINDS)
    def test_it_comes_back_from_disk_with_equal_predictions(self, detectors, held_out, tmp_path, kind):
        detector = detectors[kind]
        detector.save(tmp_path)
        assert sorted(path.name for path in tmp_path.iterdir()) == ["detector.json", "weights.safetensors"]
        again = load_baseline(tmp_path)
        assert type(again) is type(detector)
        assert again.config == detector.config
        assert again.description == detector.description
        np.testing.assert_array_equal(again.predict(held_out[0]), detector.predict(held_out[0]))

    @pytest.mark.parametrize("kind", KINDS)
    def test_pictures_of_any_size_and_none_at_all_can_be_asked(self, detectors, kind):
        odd = [Image.new("RGB", size, "red") for size in ((1, 1), (200, 3), (31, 33))]
        assert np.isfinite(detectors[kind].predict(odd)).all()
        assert detectors[kind].predict([]).shape == (0,)

    @pytest.mark.parametrize("kind", KINDS)
    def test_a_score_does_not_depend_on_the_batch(self, detectors, held_out, kind):
        together = detectors[kind].predict(held_out[0])
        alone = [detectors[kind].predict([picture])[0] for picture in held_out[0][:3]]
        np.testing.assert_allclose(alone, together[:3], rtol=1e-4, atol=1e-5)

    def test_asked_or_saved_before_training_it_says_so(self, clip, tmp_path):
        for name in BASELINES:
            detector = baseline_from_text(f"{name},backbone={clip}" if name in ("univfd", "linear-probe") else name)
            sentence = f"{name} has not been trained: call fit first, or load a saved one."
            with pytest.raises(TrainingError, match=sentence):
                detector.predict([draw_photo(0)])
            with pytest.raises(TrainingError, match=sentence):
                detector.save(tmp_path)

    def test_what_cannot_be_trained_on_is_refused(self, clip):
        pictures = [draw_photo(seed) for seed in range(3)]
        for detector in (FreDect(), Npr(TINY_NPR), CnnSpot(TINY_CNN), UnivFd(UnivFdConfig(backbone=str(clip)))):
            with pytest.raises(TrainingError, match="needs both classes, got 3 real and 0 fake: add the other"):
                detector.fit(pictures, np.zeros(3, np.int64), seed=0)
            with pytest.raises(TrainingError, match=r"one label a picture, got 3 pictures, labels \(2,\)"):
                detector.fit(pictures, np.array([0, 1]), seed=0)
            with pytest.raises(TrainingError, match=r"a label is 0 \(real\) or 1 \(fake\), got 2"):
                detector.fit(pictures, np.array([0, 1, 2]), seed=0)


class TestSeeds:
    @pytest.mark.parametrize("detector", [Npr, CnnSpot], ids=lambda kind: kind.name)
    def test_same_seed_same_weights_whatever_the_global_state(self, training, held_out, detector):
        config = {"npr": TINY_NPR, "cnnspot": TINY_CNN}[detector.name]
        predictions = []
        for seed, of_torch in ((3, 0), (3, 1), (4, 1)):
            torch.manual_seed(of_torch)
            before, before_numpy = torch.get_rng_state(), np.random.get_state()[1].copy()  # noqa: NPY002
            one = detector(type(config)(**{**config.to_dict(), "depths": (1, 1), "epochs": 1}))
            one.fit(training[0][:32], training[1][:32], seed=seed)
            assert torch.equal(torch.get_rng_state(), before)
            assert (np.random.get_state()[1] == before_numpy).all()  # noqa: NPY002
            predictions.append(one.predict(held_out[0][:8]))
        np.testing.assert_array_equal(predictions[0], predictions[1])
        assert not np.allclose(predictions[0], predictions[2])

    def test_crops_and_alterations_for_the_linear_probe_follow_the_seed(self, warm_training, held_out, clip):
        def learn(seed, mode):
            detector = UnivFd(UnivFdConfig(backbone=str(clip), mode=mode))
            detector.fit(*warm_training, seed=seed)
            return detector.predict(held_out[0][:8])

        np.testing.assert_array_equal(learn(3, "linear"), learn(3, "linear"))
        assert not np.allclose(learn(3, "linear"), learn(4, "linear"))
        np.testing.assert_array_equal(learn(3, "nearest"), learn(4, "nearest"))

    def test_the_frequency_detector_draws_nothing(self, training, held_out, detectors):
        other = FreDect(FreDectConfig(crop=32))
        other.fit(*training, seed=99)
        np.testing.assert_array_equal(other.predict(held_out[0]), detectors["fredect"].predict(held_out[0]))


class TestFreDect:
    def test_the_dct_is_a_sum_of_cosines(self):
        size = 5
        pixels = np.random.default_rng(0).integers(0, 256, (size, size, 3), np.uint8)
        grey = [[0.299 * r + 0.587 * g + 0.114 * b for r, g, b in row] for row in pixels.tolist()]

        def wave(k, n):
            return math.cos(math.pi * k * (2 * n + 1) / (2 * size)) * math.sqrt((1 if k == 0 else 2) / size)

        by_hand = [
            math.log(abs(sum(grey[y][x] * wave(v, y) * wave(u, x) for y in range(size) for x in range(size))) + 0.001)
            for v in range(size)
            for u in range(size)
        ]
        np.testing.assert_allclose(log_dct(pixels), by_hand, rtol=1e-5, atol=1e-5)

    def test_in_colour_each_channel_has_its_own(self):
        pixels = np.random.default_rng(1).integers(0, 256, (4, 4, 3), np.uint8)
        grey_of = [log_dct(np.repeat(pixels[:, :, [channel]], 3, axis=2)) for channel in range(3)]
        np.testing.assert_allclose(log_dct(pixels, "rgb"), np.concatenate(grey_of), rtol=1e-4, atol=1e-4)

    def test_the_probe_is_scikit_learns_balanced_regression_on_standardised_features(self):
        rng = np.random.default_rng(0)
        labels = (np.arange(90) % 3 == 0).astype(np.int64)
        features = (rng.normal(3, 5, (90, 12)) + 2 * labels[:, None]).astype(np.float32)
        features[:, 4] = np.float32(-7)
        features[0, 4] = np.nextafter(np.float32(-7), np.float32(0))  # varies by rounding alone
        kept = features.astype(np.float64)
        probe = LinearProbe.fit(features, labels, c=24.0)
        std = kept.std(0)
        std[4] = 1.0
        standardised = (kept - kept.mean(0)) / std
        reference = LogisticRegression(C=2.0, class_weight="balanced", tol=1e-8, max_iter=1000)
        expected = reference.fit(standardised, labels).predict_proba(standardised)[:, 1]
        np.testing.assert_allclose(probe.score(kept.astype(np.float32)), expected, atol=2e-3)
        assert probe.scale[4] == 1.0

    def test_pictures_are_indexed_once_and_not_kept(self, training):
        class Lazy(list):
            asked = 0

            def __getitem__(self, index):
                Lazy.asked += 1
                return super().__getitem__(index)

        FreDect(FreDectConfig(crop=16)).fit(Lazy(training[0]), training[1], seed=0)
        assert Lazy.asked == len(training[0])


class TestNpr:
    def test_the_residual_is_each_pixel_less_its_blocks_first(self):
        pixels = torch.rand(2, 3, 6, 4, generator=torch.Generator().manual_seed(0))
        by_hand = pixels.clone()
        for y in range(6):
            for x in range(4):
                by_hand[:, :, y, x] -= pixels[:, :, y - y % 2, x - x % 2]
        assert torch.equal(npr_residual(pixels), by_hand)

    def test_it_is_what_torchs_own_nearest_scaling_gives(self):
        pixels = torch.rand(1, 3, 8, 10, generator=torch.Generator().manual_seed(1))
        half = torch.nn.functional.interpolate(pixels, scale_factor=0.5, mode="nearest")
        assert torch.equal(
            npr_residual(pixels), pixels - torch.nn.functional.interpolate(half, scale_factor=2, mode="nearest")
        )

    def test_an_upsampled_picture_leaves_no_residual_but_a_photo_does(self):
        fake, photo = (to_pixels([np.asarray(draw(5))[:32, :32]]) for draw in (draw_fake, draw_photo))
        assert npr_residual(fake).abs().max() == 0
        assert npr_residual(photo).abs().mean() > 0.01

    def test_the_network_sees_the_residual_alone(self):
        network = Npr(TINY_NPR).new_network(0).eval()
        pixels = torch.rand(2, 3, 32, 32, generator=torch.Generator().manual_seed(0)) / 2
        with torch.inference_mode():
            torch.testing.assert_close(network(pixels), network(pixels + 0.25))
            assert not torch.allclose(network(pixels), network(pixels * 2))

    def test_the_default_has_the_papers_1_44_million_parameters(self):
        network = Npr().new_network(0)
        assert isinstance(network, NprNetwork)
        # stem 3x3, then three and four bottlenecks (1x1, 3x3, 1x1) with a projection each, then one logit
        stem = 27 * 64 + 2 * 64
        first = 64 * 64 + 9 * 64 * 64 + 64 * 256 + 2 * (64 + 64 + 256) + 64 * 256 + 2 * 256
        others = 256 * 64 + 9 * 64 * 64 + 64 * 256 + 2 * (64 + 64 + 256)
        second = 256 * 128 + 9 * 128 * 128 + 128 * 512 + 2 * (128 + 128 + 512) + 256 * 512 + 2 * 512
        its_others = 512 * 128 + 9 * 128 * 128 + 128 * 512 + 2 * (128 + 128 + 512)
        by_hand = stem + first + 2 * others + second + 3 * its_others + 512 + 1
        assert sum(weight.numel() for weight in network.parameters()) == by_hand == 1_437_761

    def test_an_odd_crop_is_refused(self):
        with pytest.raises(ConfigError, match="crop must be even, as NPR halves it, got 97"):
            NprConfig(crop=97)


class TestUnivFd:
    def test_a_whole_clip_gives_the_features_that_it_gives_itself(self, tmp_path):
        text = dict(hidden_size=16, intermediate_size=16, num_hidden_layers=1, num_attention_heads=2, vocab_size=50)
        vision = {name: value for name, value in TINY_CLIP.items() if name != "projection_dim"}
        with torch.random.fork_rng(devices=[]):
            torch.manual_seed(1)
            whole = CLIPModel(CLIPConfig(text_config=text, vision_config=vision, projection_dim=20)).eval()
        whole.save_pretrained(tmp_path)
        pixels = torch.rand(2, 3, 32, 32, generator=torch.Generator().manual_seed(0))
        mean, std = (torch.tensor(values).view(1, 3, 1, 1) for values in (CLIP_MEAN, CLIP_STD))
        with torch.inference_mode():
            given = whole.get_image_features(pixel_values=(pixels - mean) / std)
        expected = given if isinstance(given, torch.Tensor) else given.pooler_output
        encoder = load_clip_encoder(tmp_path)
        assert (encoder.dim, encoder.image_size) == (20, 32)
        torch.testing.assert_close(encoder(pixels), expected, rtol=1e-4, atol=1e-6)

    def test_the_score_of_the_nearest_by_hand(self, detectors, warm_training, held_out, clip):
        encoder = load_clip_encoder(clip)

        def features(pictures):
            squares = []
            for picture in pictures:
                left, top = (picture.width - 32) // 2, (picture.height - 32) // 2
                squares.append(np.asarray(picture.crop((left, top, left + 32, top + 32))))
            return encoder(torch.from_numpy(np.stack(squares)).permute(0, 3, 1, 2) / 255).double().numpy()

        def cosine(a, b):
            return a @ b / math.sqrt((a @ a) * (b @ b))

        bank, asked = features(warm_training[0]), features(held_out[0][:4])
        expected = [
            max(cosine(one, row) for row, label in zip(bank, warm_training[1], strict=True) if label == 1)
            - max(cosine(one, row) for row, label in zip(bank, warm_training[1], strict=True) if label == 0)
            for one in asked
        ]
        np.testing.assert_allclose(detectors["univfd-nearest"].predict(held_out[0][:4]), expected, atol=1e-5)

    def test_a_picture_of_the_bank_is_nearest_to_itself(self, detectors, warm_training):
        scores = detectors["univfd-nearest"].predict(warm_training[0])
        assert ((scores > 0) == warm_training[1]).all()

    def test_without_an_encoder_it_says_which_to_download(self, tmp_path):
        sentence = (
            r"univfd needs CLIP's image encoder as a local folder with config.json and model.safetensors; {}. Download "
            r"openai/clip-vit-large-patch14 from the Hub \(hf download .* --local-dir clip-vit-large-patch14\) and "
            r"name the folder: univfd,backbone=clip-vit-large-patch14"
        )
        with pytest.raises(ConfigError, match=sentence.format("none was named")):
            UnivFd(UnivFdConfig())
        with pytest.raises(ConfigError, match=sentence.format("nowhere has no config.json")):
            baseline_from_text("univfd,backbone=nowhere")
        (tmp_path / "config.json").write_text("{}")
        with pytest.raises(ConfigError, match=sentence.format(f"{tmp_path} has no model.safetensors")):
            UnivFd(UnivFdConfig(backbone=str(tmp_path)))

    def test_another_models_folder_is_refused(self, tiny_backbone, training):
        detector = UnivFd(UnivFdConfig(backbone=str(tiny_backbone)))
        with pytest.raises(CheckpointError, match="holds a vit_mae, not a clip: use openai/clip-vit-large-patch14"):
            detector.fit(*training, seed=0)

    def test_missing_weights_are_told(self, clip, tmp_path, training):
        weights = load_file(clip / "model.safetensors")
        save_file({k: v for k, v in weights.items() if k != "visual_projection.weight"}, tmp_path / "model.safetensors")
        (tmp_path / "config.json").write_bytes((clip / "config.json").read_bytes())
        with pytest.raises(CheckpointError, match="lacks 1 of the weights .* promises, visual_projection.weight first"):
            UnivFd(UnivFdConfig(backbone=str(tmp_path))).fit(*training, seed=0)

    def test_damaged_weights_are_told(self, clip, tmp_path, training):
        (tmp_path / "model.safetensors").write_bytes(b"not weights")
        (tmp_path / "config.json").write_bytes((clip / "config.json").read_bytes())
        with pytest.raises(CheckpointError, match="CLIP is a local folder .* could not be loaded as one: "):
            UnivFd(UnivFdConfig(backbone=str(tmp_path))).fit(*training, seed=0)

    def test_a_moved_encoder_is_named_and_another_refused(self, detectors, held_out, clip, tmp_path):
        detector, saved, moved = detectors["univfd-linear"], tmp_path / "saved", tmp_path / "moved"
        detector.save(saved)
        assert "visual_projection.weight" not in load_file(saved / "weights.safetensors")
        moved.mkdir()
        for path in clip.iterdir():
            (moved / path.name).write_bytes(path.read_bytes())
        again = UnivFd.load(saved, backbone=str(moved))
        np.testing.assert_array_equal(again.predict(held_out[0]), detector.predict(held_out[0]))
        weights = load_file(moved / "model.safetensors")
        save_file({name: weight + 1 for name, weight in weights.items()}, moved / "model.safetensors")
        with pytest.raises(FingerprintMismatchError, match="name the encoder it was trained on, or train again"):
            UnivFd.load(saved, backbone=str(moved))


class TestSaved:
    def test_weights_are_float_arrays_that_give_the_prediction(self, detectors, held_out, tmp_path):
        """FreDect's file, read without FreDect."""
        detectors["fredect"].save(tmp_path)
        arrays = load_file(tmp_path / "weights.safetensors")
        picture = held_out[0][0]
        left, top = (picture.width - 32) // 2, (picture.height - 32) // 2
        features = log_dct(np.asarray(picture.crop((left, top, left + 32, top + 32))))
        logit = ((features - arrays["mean"]) / arrays["scale"]) @ arrays["weight"] + arrays["bias"][0]
        assert detectors["fredect"].predict([picture])[0] == pytest.approx(expit(logit), rel=1e-9)

    def test_a_folder_without_one_and_a_folder_with_another_are_refused(self, detectors, tmp_path):
        with pytest.raises(ModelDirError, match="a saved detector is a folder with detector.json; .* has none"):
            load_baseline(tmp_path)
        detectors["npr"].save(tmp_path)
        with pytest.raises(ModelDirError, match="holds a saved npr, not a saved cnnspot: name another folder"):
            CnnSpot.load(tmp_path)
        (tmp_path / "weights.safetensors").unlink()
        with pytest.raises(ModelDirError, match="a saved detector has its weights in weights.safetensors"):
            load_baseline(tmp_path)

    @pytest.mark.parametrize(
        ("text", "sentence"),
        [
            ("{", "detector.json cannot be read"),
            ("[]", 'must hold one JSON object with a name under "detector"'),
            ('{"detector": "resnest"}', "holds a saved resnest, which this version does not know: fredect, npr"),
            ('{"detector": "npr"}', "detector.json lacks 'config'"),
            ('{"detector": "npr", "config": {"crops": 3}}', 'no settings under "config" to go by .*no setting crops'),
            ('{"detector": "npr", "config": {"crop": "a"}}', 'no settings under "config" to go by'),
            ('{"detector": "npr", "config": {}}', "do not fit its detector.json"),
            ('{"detector": "cnnspot", "config": {}}', "detector.json lacks 'network'"),
        ],
    )
    def test_a_damaged_description_is_told(self, detectors, tmp_path, text, sentence):
        detectors["npr"].save(tmp_path)
        (tmp_path / "detector.json").write_text(text)
        with pytest.raises(ModelDirError, match=sentence):
            load_baseline(tmp_path)

    @pytest.mark.parametrize("kind", ["fredect", "npr", "univfd-linear", "univfd-nearest"])
    def test_damaged_or_foreign_weights_are_told(self, detectors, tmp_path, kind):
        detectors[kind].save(tmp_path)
        path = tmp_path / "weights.safetensors"
        weights = load_file(path)
        first = sorted(weights)[0]
        save_file({name: weight for name, weight in weights.items() if name != first}, path)
        with pytest.raises(ModelDirError, match=f"do not fit its detector.json .*{first}.*restore it or train again"):
            load_baseline(tmp_path)
        save_file({**weights, first: np.zeros((3, 1), np.float32)}, path)
        with pytest.raises(ModelDirError, match="do not fit its detector.json"):
            load_baseline(tmp_path)
        path.write_bytes(b"no weights")
        with pytest.raises(ModelDirError, match=r"weights.safetensors cannot be read \("):
            load_baseline(tmp_path)

    def test_another_crop_than_the_weights_were_made_for_is_told(self, detectors, tmp_path):
        detectors["fredect"].save(tmp_path)
        values = json.loads((tmp_path / "detector.json").read_text())
        values["config"]["crop"] = 16
        (tmp_path / "detector.json").write_text(json.dumps(values))
        with pytest.raises(ModelDirError, match=r"an array has shape \(1024,\) where \(256,\) is due"):
            FreDect.load(tmp_path)


class TestOptions:
    def test_a_baseline_from_text(self):
        npr = baseline_from_text(" npr, epochs=3,crop=96 ,learning_rate=1e-3,depths=1+2")
        assert npr.config == NprConfig(epochs=3, crop=96, learning_rate=1e-3, depths=(1, 2))
        assert baseline_from_text("fredect,color=rgb").config == FreDectConfig(color="rgb")
        assert baseline_from_text("cnnspot").config == baseline_from_text("cnnspot,").config == CnnSpotConfig()

    @pytest.mark.parametrize(
        ("text", "sentence"),
        [
            ("gan", 'there is no baseline "gan"; there are fredect, npr, cnnspot, univfd'),
            ("npr,epoch=3", "npr has no option epoch; its options: crop, epochs, batch_size"),
            ("npr,epochs", 'options are written name=value, with commas between: "epochs" is none'),
            ("npr,epochs=", '"epochs=" is none'),
            ("npr,epochs=3,epochs=4", "the option epochs is given twice: 3 and 4; give it once"),
            ("npr,epochs=3.5", 'epochs must be a whole number, got "3.5"'),
            ("npr,decay=fast", 'decay must be a number, got "fast"'),
            ("npr,depths=3x4", 'depths must be whole numbers joined by plus signs, such as 3\\+4, got "3x4"'),
            ("npr,depths=0+1", "a ResNet needs a depth and a width of at least 1 a stage"),
            ("npr,crop=8", "crop must be at least 16 pixels, got 8"),
            ("npr,batch_size=1", "batch_size must be at least 2, got 1"),
            ("npr,epochs=0", "epochs must be at least 1, got 0"),
            ("npr,learning_rate=0", "learning_rate must be positive, got 0.0"),
            ("npr,decay=1.5", r"decay must lie in \(0, 1\], got 1.5"),
            ("cnnspot,blur=2", r"blur must lie in \[0, 1\], got 2.0"),
            ("fredect,color=blue", 'color must be "grey" or "rgb", got \'blue\''),
            ("fredect,crop=1", "crop must be at least 2 pixels, got 1"),
            ("fredect,c=0", "c must be positive, got 0.0"),
            ("univfd,mode=far", 'mode must be "linear" or "nearest", got \'far\''),
            ("univfd,recompress=2", r"recompress must lie in \[0, 1\], got 2.0"),
            ("univfd,batch_size=0", "batch_size must be at least 1, got 0"),
        ],
    )
    def test_what_is_wrong_is_told(self, text, sentence):
        with pytest.raises(ConfigError, match=sentence):
            baseline_from_text(text)
