"""Backbones from the Hub's old and new layouts and from original .pth files; the wrong kinds are refused."""

import argparse
import re

import pytest
import torch
from safetensors.torch import load_file, save_file

from cinemae.core.backbone import FrozenMAE
from cinemae.core.checkpoint import new_mae
from cinemae.core.masking import mask_noise
from cinemae.errors import CheckpointError
from cinemae.pretrain_config import PretrainConfig

WIDE = PretrainConfig(
    hidden_size=128,
    num_hidden_layers=2,
    num_attention_heads=2,
    decoder_hidden_size=64,
    decoder_num_hidden_layers=1,
    decoder_num_attention_heads=2,
    image_size=32,
    patch_size=8,
    seed=4,
)
TO_ORIGINAL = [
    (r"^vit\.embeddings\.cls_token", "cls_token"),
    (r"^vit\.embeddings\.position_embeddings", "pos_embed"),
    (r"^vit\.embeddings\.patch_embeddings\.projection", "patch_embed.proj"),
    (r"^vit\.layers\.", "blocks."),
    (r"^vit\.layernorm\.", "norm."),
    (r"^decoder\.decoder_layers\.", "decoder_blocks."),
    (r"^decoder\.(decoder_\w+|mask_token)", r"\1"),
    (r"layernorm_before", "norm1"),
    (r"layernorm_after", "norm2"),
    (r"attention\.o_proj", "attn.proj"),
]
TO_OLD_HUB = [
    (r"^vit\.layers\.", "vit.encoder.layer."),
    (r"attention\.([qkv])_proj", lambda m: f"attention.attention.{dict(q='query', k='key', v='value')[m[1]]}"),
    (r"attention\.o_proj", "attention.output.dense"),
    (r"mlp\.fc1", "intermediate.dense"),
    (r"mlp\.fc2", "output.dense"),
]


def _rename(weights, rules):
    renamed = {}
    for name, weight in weights.items():
        for pattern, replacement in rules:
            name = re.sub(pattern, replacement, name)
        renamed[name] = weight
    return renamed


def _to_original(model):
    weights = _rename(model.state_dict(), TO_ORIGINAL)
    fused = {}
    for name in list(weights):
        if ".attention.q_proj." in name:
            parts = [weights.pop(name.replace("q_proj", f"{letter}_proj")) for letter in "qkv"]
            fused[name.replace("attention.q_proj", "attn.qkv")] = torch.cat(parts)
    return weights | fused


@pytest.fixture
def model():
    return new_mae(WIDE)


def _same(backbone, model):
    pixel_values, noise = torch.randn(2, 3, 32, 32), mask_noise(0, 2, 16)
    with torch.inference_mode():
        expected = FrozenMAE(model).encode_and_reconstruct(pixel_values, noise)
        found = backbone.encode_and_reconstruct(pixel_values, noise)
    return all(torch.allclose(a, b, atol=1e-6) for a, b in zip(found, expected, strict=True))


def test_folder_in_the_hub_layout(model, tmp_path):
    model.save_pretrained(tmp_path)
    backbone = FrozenMAE.from_pretrained(tmp_path)
    assert _same(backbone, model)
    assert (backbone.image_size, backbone.patch_size, backbone.num_patches, backbone.hidden_size) == (32, 8, 16, 128)


@pytest.mark.parametrize("rules", [TO_OLD_HUB, []], ids=["the Hub's", "transformers 5"])
def test_folder_with_either_generation_of_key_names(model, tmp_path, rules):
    model.save_pretrained(tmp_path)
    weights = _rename(model.state_dict(), rules)
    expected = (
        "vit.encoder.layer.0.attention.attention.query.weight" if rules else "vit.layers.0.attention.q_proj.weight"
    )
    assert expected in weights
    save_file(weights, tmp_path / "model.safetensors", {"format": "pt"})
    assert _same(FrozenMAE.from_pretrained(tmp_path), model)


def test_float16_on_disk_is_widened(model, tmp_path):
    model.half().save_pretrained(tmp_path)
    backbone = FrozenMAE.from_pretrained(tmp_path)
    assert {weight.dtype for weight in backbone.parameters()} == {torch.float32}
    assert _same(backbone, model.float())


@pytest.mark.parametrize("wrapped", [True, False])
def test_original_pth(model, tmp_path, wrapped):
    weights = _to_original(model)
    path = tmp_path / "mae_visualize_vit_small.pth"
    torch.save({"model": weights, "args": argparse.Namespace(norm_pix_loss=False)} if wrapped else weights, path)
    assert _same(FrozenMAE.from_pretrained(path), model)


def test_same_weights_have_the_same_hash_whatever_the_format(model, tmp_path):
    torch.save({"model": _to_original(model)}, tmp_path / "mae.pth")
    model.save_pretrained(tmp_path / "folder")
    hashes = {FrozenMAE.from_pretrained(tmp_path / name).content_hash for name in ("mae.pth", "folder")}
    assert len(hashes) == 1
    model.decoder.mask_token.data += 1e-3
    assert FrozenMAE(model).content_hash not in hashes


def test_encoder_only_pth_is_refused_and_the_right_file_named(model, tmp_path):
    weights = {name: value for name, value in _to_original(model).items() if not re.match("decoder|mask", name)}
    torch.save({"model": weights}, tmp_path / "mae_pretrain_vit_large.pth")
    with pytest.raises(CheckpointError, match=r"holds the encoder only .*mae_visualize_vit_large\.pth"):
        FrozenMAE.from_pretrained(tmp_path / "mae_pretrain_vit_large.pth")


def test_encoder_only_folder_is_refused(model, tmp_path):
    model.vit.save_pretrained(tmp_path)
    with pytest.raises(CheckpointError, match="holds the encoder only"):
        FrozenMAE.from_pretrained(tmp_path)


@pytest.mark.parametrize("by", ["arguments", "name"])
def test_norm_pix_pth_is_refused(model, tmp_path, by):
    name = "mae_pretrain_vit_large_full.pth" if by == "name" else "mine.pth"
    content = {"model": _to_original(model)}
    if by == "arguments":
        content["args"] = argparse.Namespace(norm_pix_loss=True)
    torch.save(content, tmp_path / name)
    with pytest.raises(CheckpointError, match=r"per-patch normalised pixels .*mae_visualize_vit_large\.pth"):
        FrozenMAE.from_pretrained(tmp_path / name)


def test_norm_pix_folder_is_refused(model, tmp_path):
    model.config.norm_pix_loss = True
    model.save_pretrained(tmp_path)
    with pytest.raises(CheckpointError, match="per-patch normalised pixels"):
        FrozenMAE.from_pretrained(tmp_path)


def test_a_pickle_with_code_in_it_is_not_run(tmp_path):
    class Payload:
        def __reduce__(self):
            return (open, (str(tmp_path / "was-run"), "w"))

    torch.save({"model": Payload()}, tmp_path / "hostile.pth")
    with pytest.raises(CheckpointError, match="only tensors and plain containers"):
        FrozenMAE.from_pretrained(tmp_path / "hostile.pth")
    assert not (tmp_path / "was-run").exists()


def test_missing_folder_missing_weights_and_foreign_files(model, tmp_path):
    with pytest.raises(CheckpointError, match="could not be loaded as one"):
        FrozenMAE.from_pretrained(tmp_path / "nowhere")
    with pytest.raises(CheckpointError, match="could not be read as one"):
        FrozenMAE.from_pretrained(tmp_path / "nowhere.pth")
    (tmp_path / "text.pth").write_text("not a checkpoint")
    with pytest.raises(CheckpointError, match="could not be read as one"):
        FrozenMAE.from_pretrained(tmp_path / "text.pth")
    torch.save({"model": {"fc.weight": torch.zeros(2, 2)}}, tmp_path / "resnet.pth")
    with pytest.raises(CheckpointError, match="has no patch_embed"):
        FrozenMAE.from_pretrained(tmp_path / "resnet.pth")
    model.save_pretrained(tmp_path / "holed")
    weights = load_file(tmp_path / "holed" / "model.safetensors")
    del weights["vit.encoder.layer.1.intermediate.dense.weight"]
    save_file(weights, tmp_path / "holed" / "model.safetensors", {"format": "pt"})
    with pytest.raises(CheckpointError, match=r"lacks 1 of the weights .*vit\.layers\.1\.mlp\.fc1\.weight first"):
        FrozenMAE.from_pretrained(tmp_path / "holed")
