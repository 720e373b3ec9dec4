import pytest
import torch

from cinemae.config import DeviationConfig, ExtractorConfig, ImageConfig, LcasConfig, MaskConfig
from cinemae.core.anomaly_stats import anomaly_stats
from cinemae.core.backbone import FrozenMAE
from cinemae.core.checkpoint import new_mae
from cinemae.core.features import FeatureExtractor, Features, features_to_lcas, features_to_stats
from cinemae.core.lcas import local_contextual_anomaly_score
from cinemae.core.masking import complementary_noise, mask_noise, patchify, unpatchify
from cinemae.errors import ConfigError
from cinemae.pretrain_config import PretrainConfig

SIZE, PATCH, NUM_PATCHES = 32, 8, 16
IMAGE = ImageConfig(size=SIZE, resize_to=40)


@pytest.fixture(scope="module")
def backbone():
    config = PretrainConfig(
        image_size=SIZE,
        patch_size=PATCH,
        hidden_size=16,
        num_hidden_layers=2,
        num_attention_heads=2,
        decoder_hidden_size=16,
        decoder_num_hidden_layers=1,
        decoder_num_attention_heads=2,
    )
    return FrozenMAE(new_mae(config))


@pytest.fixture(scope="module")
def pixel_values():
    return torch.randn(5, 3, SIZE, SIZE, generator=torch.Generator().manual_seed(0))


def _extract(backbone, pixel_values, **settings):
    with torch.inference_mode():
        return FeatureExtractor(backbone, ExtractorConfig(image=IMAGE, **settings))(pixel_values)


def _by_hand(backbone, pixel_values, noise, mask_ratio=0.75):
    with torch.inference_mode():
        pred, mask = backbone.reconstruct(pixel_values, noise, mask_ratio=mask_ratio)
        target = patchify(pixel_values, PATCH)[:, None].expand_as(pred)
        return backbone.global_feature(pixel_values), pred, target, mask


@pytest.mark.parametrize("unbiased", [False, True])
@pytest.mark.parametrize("scheme", ["independent", "complementary"])
def test_the_extractor_equals_the_public_functions_composed_by_hand(backbone, pixel_values, scheme, unbiased):
    mask_config = MaskConfig(num_passes=3, scheme=scheme, seed=5)
    features = _extract(backbone, pixel_values, mask=mask_config, deviation=DeviationConfig(unbiased=unbiased))
    noise = {"independent": mask_noise, "complementary": complementary_noise}[scheme](5, 3, NUM_PATCHES)
    global_feature, pred, target, mask = _by_hand(backbone, pixel_values, noise)
    torch.testing.assert_close(features.global_feature, global_feature, atol=1e-5, rtol=1e-5)
    for reduction in ("mean", "sum", "literal"):
        config = LcasConfig(fidelity_weight=0.3, reduction=reduction)
        expected = local_contextual_anomaly_score(
            pred, target, mask, fidelity_weight=0.3, reduction=reduction, unbiased=unbiased
        )
        found = features_to_lcas(features, config, backbone.patch_dim)
        torch.testing.assert_close(found, expected, atol=1e-3, rtol=1e-5, equal_nan=True)


def test_unit_pixel_space_equals_transforming_the_images_by_hand(backbone, pixel_values):
    features = _extract(backbone, pixel_values, deviation=DeviationConfig(pixel_space="unit"))
    _, pred, _, mask = _by_hand(backbone, pixel_values, mask_noise(0, 2, NUM_PATCHES))
    mean, std = (torch.tensor(values)[:, None, None] for values in (IMAGE.mean, IMAGE.std))
    redrawn = unpatchify(pred.flatten(0, 1), PATCH) * std + mean
    pred = patchify(redrawn, PATCH).unflatten(0, pred.shape[:2])
    target = patchify(pixel_values * std + mean, PATCH)[:, None].expand_as(pred)
    expected = local_contextual_anomaly_score(pred, target, mask)
    found = features_to_lcas(features, LcasConfig(), backbone.patch_dim)
    torch.testing.assert_close(found, expected, atol=1e-5, rtol=1e-5, equal_nan=True)


def test_pixel_spaces_give_different_scores_but_the_same_global_feature(backbone, pixel_values):
    unit = _extract(backbone, pixel_values, deviation=DeviationConfig(pixel_space="unit"))
    normalized = _extract(backbone, pixel_values)
    assert torch.equal(unit.global_feature, normalized.global_feature)
    assert not torch.allclose(unit.fidelity, normalized.fidelity, equal_nan=True)


@pytest.mark.parametrize(("mask_ratio", "visible"), [(0.25, 12), (0.5, 8), (0.75, 4)])
def test_the_mask_ratio_is_the_configurations_not_the_backbones(backbone, pixel_values, mask_ratio, visible):
    features = _extract(backbone, pixel_values, mask=MaskConfig(mask_ratio=mask_ratio))
    assert features.deviation.isnan().sum(-1).eq(visible).all()
    assert torch.equal(features.deviation.isnan(), features.fidelity.isnan())
    assert backbone.mask_ratio == 0.75


def test_sigma_floor_bounds_the_deviation_of_a_flat_image(backbone):
    flat = torch.zeros(1, 3, SIZE, SIZE)
    noise = mask_noise(0, 2, NUM_PATCHES)
    for floor in (1e-3, 0.5):
        features = _extract(backbone, flat, deviation=DeviationConfig(sigma_floor=floor))
        _, pred, _, mask = _by_hand(backbone, flat, noise)
        expected = 0.5 * (pred / floor).square().mean(-1) + torch.tensor(floor).log()
        expected = torch.where(mask > 0, expected, torch.nan)
        torch.testing.assert_close(features.deviation, expected, rtol=1e-4, atol=1e-4, equal_nan=True)


def test_noise_given_replaces_the_configured_noise(backbone, pixel_values):
    extractor = FeatureExtractor(backbone, ExtractorConfig(image=IMAGE, mask=MaskConfig(seed=1)))
    other = torch.from_numpy(mask_noise(2, 3, NUM_PATCHES))
    with torch.inference_mode():
        found = extractor(pixel_values, other)
    assert found.deviation.shape == (5, 3, NUM_PATCHES)
    expected = _extract(backbone, pixel_values, mask=MaskConfig(num_passes=3, seed=2))
    assert torch.equal(found.fidelity.nan_to_num(), expected.fidelity.nan_to_num())


def test_an_image_has_the_same_features_alone_and_in_any_batch(backbone, pixel_values):
    together = _extract(backbone, pixel_values)
    backwards = _extract(backbone, pixel_values.flip(0))
    for index in range(len(pixel_values)):
        alone = _extract(backbone, pixel_values[index : index + 1])
        for name in ("global_feature", "deviation", "fidelity"):
            expected = getattr(alone, name)[0]
            for batch, position in ((together, index), (backwards, len(pixel_values) - 1 - index)):
                found = getattr(batch, name)[position]
                torch.testing.assert_close(found, expected, atol=1e-6, rtol=1e-5, equal_nan=True)


def test_features_do_not_depend_on_global_randomness_and_leave_it_alone(backbone, pixel_values):
    torch.manual_seed(1)
    first = _extract(backbone, pixel_values)
    torch.manual_seed(2)
    expected_state = torch.get_rng_state()
    second = _extract(backbone, pixel_values)
    assert torch.equal(first.fidelity.nan_to_num(), second.fidelity.nan_to_num())
    assert torch.equal(torch.get_rng_state(), expected_state)


def test_another_image_size_than_the_backbones_is_refused(backbone):
    with pytest.raises(ConfigError, match=r"takes images of 32 pixels, the extractor is set to 224: set image.size to"):
        FeatureExtractor(backbone, ExtractorConfig())


def test_the_fingerprint_is_the_configurations_with_the_backbones_hash(backbone):
    config = ExtractorConfig(image=IMAGE)
    extractor = FeatureExtractor(backbone, config)
    assert extractor.fingerprint == config.fingerprint(backbone.content_hash)


def test_nothing_is_left_to_train_and_no_gradient_reaches_the_backbone(backbone, pixel_values):
    extractor = FeatureExtractor(backbone, ExtractorConfig(image=IMAGE))
    assert [name for name, weight in extractor.named_parameters() if weight.requires_grad] == []
    assert not extractor(pixel_values[:1]).global_feature.requires_grad


def test_features_to_stats_sums_the_terms_then_summarises():
    generator = torch.Generator().manual_seed(0)
    deviation, fidelity = torch.randn(2, 4, 3, 6, generator=generator)
    hidden = torch.rand(4, 3, 6, generator=generator).argsort(-1) < 2
    features = Features(
        torch.zeros(4, 5), deviation.masked_fill(hidden, torch.nan), fidelity.masked_fill(hidden, torch.nan)
    )
    lcas = (deviation + 0.5 * 12 * fidelity).masked_fill(hidden, torch.nan)
    found = features_to_stats(features, LcasConfig(fidelity_weight=0.5, reduction="literal"), patch_dim=12)
    torch.testing.assert_close(found, anomaly_stats(lcas))
