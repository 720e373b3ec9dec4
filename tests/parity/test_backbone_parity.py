"""The packed pass against plain, separate Hugging Face calls, on the published sizes with random weights."""

import threading

import pytest
import torch
from transformers import ViTMAEConfig, ViTMAEForPreTraining

from cinemae.core.backbone import FrozenMAE
from cinemae.core.checkpoint import new_mae, sincos_position_embedding
from cinemae.core.masking import complementary_noise, mask_noise
from cinemae.pretrain_config import PretrainConfig

SIZES = {
    "tiny": {"hidden_size": 48, "num_hidden_layers": 2, "num_attention_heads": 4, "intermediate_size": 96},
    "base": {},
    "large": {"hidden_size": 1024, "num_hidden_layers": 24, "num_attention_heads": 16, "intermediate_size": 4096},
    "huge": {
        "hidden_size": 1280,
        "num_hidden_layers": 32,
        "num_attention_heads": 16,
        "intermediate_size": 5120,
        "patch_size": 14,
    },
}


def _random_model(size):
    torch.manual_seed(0)
    config = ViTMAEConfig(**SIZES[size], attn_implementation="eager")
    model = ViTMAEForPreTraining(config).eval()
    grid = config.image_size // config.patch_size
    embeddings = model.vit.embeddings
    embeddings.position_embeddings.data.copy_(sincos_position_embedding(grid, config.hidden_size))
    model.decoder.decoder_pos_embed.data.copy_(sincos_position_embedding(grid, config.decoder_hidden_size))
    return model


def _reference(model, pixel_values, noise):
    """One whole-image call and K masked calls; the mask ratio is flipped on the shared config, as plain users must."""
    with torch.inference_mode():
        results = [model(pixel_values, noise=row.expand(len(pixel_values), -1)) for row in noise]
        model.vit.config.mask_ratio = 0.0
        whole = model.vit(pixel_values, noise=torch.arange(noise.shape[1]).float().expand(len(pixel_values), -1))
        model.vit.config.mask_ratio = 0.75
    pred = torch.stack([result.logits for result in results], 1)
    mask = torch.stack([result.mask for result in results], 1)
    return whole.last_hidden_state[:, 0], pred, mask


@pytest.mark.parametrize(
    ("size", "batch"),
    [
        ("tiny", 3),
        pytest.param("base", 2, marks=pytest.mark.slow),
        pytest.param("large", 1, marks=pytest.mark.slow),
        pytest.param("huge", 1, marks=pytest.mark.slow),
    ],
)
def test_packed_pass_equals_separate_calls(size, batch):
    model = _random_model(size)
    num_patches = model.vit.embeddings.patch_embeddings.num_patches
    pixel_values = torch.randn(batch, 3, 224, 224, generator=torch.Generator().manual_seed(1))
    noise = torch.from_numpy(mask_noise(0, 2, num_patches))
    global_feature, pred, mask = _reference(model, pixel_values, noise)
    backbone = FrozenMAE(model)
    with torch.inference_mode():
        packed = backbone.encode_and_reconstruct(pixel_values, noise)
        torch.testing.assert_close(packed[0], global_feature, rtol=1e-4, atol=1e-4)
        torch.testing.assert_close(packed[1], pred, rtol=1e-4, atol=1e-4)
        assert torch.equal(packed[2], mask)
        torch.testing.assert_close(backbone.global_feature(pixel_values), global_feature, rtol=1e-4, atol=1e-4)
        torch.testing.assert_close(backbone.reconstruct(pixel_values, noise)[0], pred, rtol=1e-4, atol=1e-4)


@pytest.fixture
def small():
    return FrozenMAE(new_mae(PretrainConfig(**TINY)))


TINY = {
    "hidden_size": 32,
    "num_hidden_layers": 2,
    "num_attention_heads": 2,
    "decoder_hidden_size": 16,
    "decoder_num_hidden_layers": 1,
    "decoder_num_attention_heads": 2,
    "image_size": 32,
    "patch_size": 8,
}


@torch.inference_mode()
def test_threads_with_other_masks_and_ratios_do_not_disturb_each_other(small):
    pixel_values = torch.randn(2, 3, 32, 32)
    jobs = [
        (complementary_noise(0, 4, 16), None),
        (mask_noise(1, 1, 16), 0.5),
        (mask_noise(2, 3, 16), 0.25),
    ]
    expected = [small.encode_and_reconstruct(pixel_values, noise, mask_ratio=ratio) for noise, ratio in jobs]
    wrong = []

    def work(index):
        noise, ratio = jobs[index]
        with torch.inference_mode():
            for _ in range(30):
                found = small.encode_and_reconstruct(pixel_values, noise, mask_ratio=ratio)
                if not all(torch.equal(a, b) for a, b in zip(found, expected[index], strict=True)):
                    wrong.append(index)

    threads = [threading.Thread(target=work, args=(index % 3,)) for index in range(6)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert wrong == []


@torch.inference_mode()
def test_global_random_state_is_neither_read_nor_moved(small):
    pixel_values, noise = torch.randn(1, 3, 32, 32), mask_noise(0, 2, 16)
    torch.manual_seed(1)
    first = small.encode_and_reconstruct(pixel_values, noise)
    state = torch.get_rng_state()
    torch.manual_seed(2)
    second = small.encode_and_reconstruct(pixel_values, noise)
    assert all(torch.equal(a, b) for a, b in zip(first, second, strict=True))
    torch.manual_seed(1)
    assert torch.equal(state, torch.get_rng_state())


@torch.inference_mode()
def test_bfloat16_stays_near_float32(small):
    pixel_values, noise = torch.randn(2, 3, 32, 32), mask_noise(0, 2, 16)
    exact = small.encode_and_reconstruct(pixel_values, noise)
    rounded = FrozenMAE(new_mae(PretrainConfig(**TINY))).to(torch.bfloat16).encode_and_reconstruct(pixel_values, noise)
    assert rounded[1].dtype == torch.bfloat16
    torch.testing.assert_close(rounded[0].float(), exact[0], rtol=0.1, atol=0.1)
    torch.testing.assert_close(rounded[1].float(), exact[1], rtol=0.1, atol=0.1)


def test_no_parameter_can_be_trained(small):
    assert [name for name, weight in small.named_parameters() if weight.requires_grad] == []
    assert not small.model.training
