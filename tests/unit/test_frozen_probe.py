"""The linear probe takes whichever encoder has a [CLS], and sees what that encoder gives itself."""

import json

import numpy as np
import pytest
import torch
from PIL import Image
from sklearn.metrics import roc_auc_score
from transformers import (
    CLIPVisionConfig,
    CLIPVisionModelWithProjection,
    Dinov2Config,
    Dinov2Model,
    ResNetConfig,
    ResNetModel,
    ViTConfig,
    ViTModel,
)

from cinemae.backbones.convert import convert_encoder
from cinemae.errors import CheckpointError, ConfigError
from cinemae.evaluation.baselines.frozen_probe import FrozenProbe, FrozenProbeConfig
from cinemae.evaluation.baselines.networks import load_encoder
from cinemae.evaluation.baselines.registry import baseline_from_text, load_baseline

pytestmark = pytest.mark.usefixtures("one_thread")

SIZES = dict(hidden_size=32, num_hidden_layers=2, num_attention_heads=2, image_size=32, patch_size=8)


@pytest.fixture(scope="module")
def folders(tmp_path_factory):
    """A tiny encoder of each kind in the Hub's layout, with random weights, and what was converted from one."""
    root = tmp_path_factory.mktemp("hub")
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(0)
        Dinov2Model(Dinov2Config(**SIZES, mlp_ratio=2)).save_pretrained(root / "dinov2")
        ViTModel(ViTConfig(**SIZES, intermediate_size=64)).save_pretrained(root / "vit")
        clip = CLIPVisionConfig(**SIZES, intermediate_size=64, projection_dim=24)
        CLIPVisionModelWithProjection(clip).save_pretrained(root / "clip")
        ResNetModel(ResNetConfig(embedding_size=8, hidden_sizes=[8, 16], depths=[1, 1])).save_pretrained(
            root / "resnet"
        )
    convert_encoder(str(root / "dinov2"), root / "converted", image_size=32)
    convert_encoder(str(root / "clip"), root / "converted-clip", image_size=32, int8=True)
    return root


def draw(seed, warm):
    rng = np.random.default_rng(seed)
    pixels = rng.integers(60, 196, (40, 44, 3)) * ([1.3, 1.0, 0.7] if warm else [1, 1, 1])
    return Image.fromarray(pixels.clip(0, 255).astype(np.uint8))


LABELS = (np.arange(48) % 2).astype(np.int64)


@pytest.mark.parametrize("kind", ["dinov2", "vit", "clip", "converted", "converted-clip"])
def test_every_encoder_with_a_cls_is_probed_and_comes_back_from_disk(folders, tmp_path, kind):
    probe = baseline_from_text(f"linear-probe,backbone={folders / kind},crop=32")
    probe.fit([draw(index, label) for index, label in enumerate(LABELS)], LABELS, seed=0)
    asked = [draw(1000 + index, label) for index, label in enumerate(LABELS)]
    found = probe.predict(asked)
    assert roc_auc_score(LABELS, found) > 0.9
    probe.save(tmp_path)
    again = load_baseline(tmp_path)
    assert isinstance(again, FrozenProbe)
    np.testing.assert_array_equal(again.predict(asked), found)
    assert again.description == f"logistic regression on the frozen [CLS] of {kind}"


def test_the_feature_is_the_models_own_cls_with_its_own_normalisation(folders, tmp_path):
    pixels = torch.rand(2, 3, 32, 32, generator=torch.Generator().manual_seed(0))
    model = Dinov2Model.from_pretrained(folders / "dinov2").eval()
    for path in (folders / "dinov2").iterdir():
        (tmp_path / path.name).write_bytes(path.read_bytes())
    for mean, std in (((0.485, 0.456, 0.406), (0.229, 0.224, 0.225)), ((0.5, 0.4, 0.3), (0.2, 0.3, 0.4))):
        if mean[0] == 0.5:
            text = json.dumps({"image_mean": mean, "image_std": std})
            (tmp_path / "preprocessor_config.json").write_text(text)
        normalised = (pixels - torch.tensor(mean).view(3, 1, 1)) / torch.tensor(std).view(3, 1, 1)
        with torch.inference_mode():
            expected = model(pixel_values=normalised).last_hidden_state[:, 0]
        torch.testing.assert_close(load_encoder(tmp_path, 32)(pixels), expected, atol=1e-5, rtol=1e-4)


def test_a_converted_encoder_gives_what_it_was_converted_from(folders):
    pixels = torch.rand(2, 3, 32, 32, generator=torch.Generator().manual_seed(0))
    found, expected = (load_encoder(folders / kind, 32)(pixels) for kind in ("converted", "dinov2"))
    torch.testing.assert_close(found, expected, atol=1e-4, rtol=1e-4)


def test_what_has_no_cls_or_takes_no_such_square_is_refused(folders):
    with pytest.raises(CheckpointError, match=r"holds a resnet, which has no \[CLS\]: use a DINOv2, ViT or CLIP"):
        load_encoder(folders / "resnet", 32)
    with pytest.raises(CheckpointError, match="could not be loaded as one: .*64"):
        load_encoder(folders / "vit", 64)
    assert load_encoder(folders / "dinov2", 64).image_size == 64  # it interpolates its position embedding
    with pytest.raises(
        ConfigError, match=r"linear-probe needs a frozen encoder .*; none was named. Download facebook/d"
    ):
        FrozenProbe(FrozenProbeConfig())
