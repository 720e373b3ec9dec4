"""Backbone weights in the two formats that exist: the Hub's folder layout, and the original ``.pth`` files.

Refused, with a sentence that names the right file: encoder-only checkpoints (nothing can be redrawn) and those trained
on per-patch normalised pixels (``norm_pix_loss``: their predictions are not in the space that LCAS is defined in).
"""

from __future__ import annotations

import argparse
import contextlib
import pickle
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn
from transformers import PreTrainedConfig, ViTMAEConfig, ViTMAEForPreTraining
from transformers.models.vit_mae.modeling_vit_mae import build_2d_sinusoidal_position_embedding
from transformers.utils import logging

from cinemae.core.rounded import WEIGHTS_FILE, read_rounded
from cinemae.core.vit_mae import NormedViTMAEConfig, vit_mae_type
from cinemae.errors import CheckpointError
from cinemae.pretrain_config import PretrainConfig

RIGHT_FILE = (
    "use the weights trained on plain pixels: facebook/vit-mae-base, -large or -huge on the Hub, or the original "
    "mae_visualize_vit_base.pth, mae_visualize_vit_large.pth or mae_visualize_vit_huge.pth"
)
_ENCODER_HEADS = {768: 12, 1024: 16, 1280: 16}
_LAYER_NAMES = (
    ("norm1", "layernorm_before"),
    ("norm2", "layernorm_after"),
    ("attn.proj", "attention.o_proj"),
    ("mlp.fc1", "mlp.fc1"),
    ("mlp.fc2", "mlp.fc2"),
)
_OTHER_NAMES = {
    "cls_token": "vit.embeddings.cls_token",
    "pos_embed": "vit.embeddings.position_embeddings",
    "patch_embed.proj.weight": "vit.embeddings.patch_embeddings.projection.weight",
    "patch_embed.proj.bias": "vit.embeddings.patch_embeddings.projection.bias",
    "norm.weight": "vit.layernorm.weight",
    "norm.bias": "vit.layernorm.bias",
    "decoder_embed.weight": "decoder.decoder_embed.weight",
    "decoder_embed.bias": "decoder.decoder_embed.bias",
    "mask_token": "decoder.mask_token",
    "decoder_pos_embed": "decoder.decoder_pos_embed",
    "decoder_norm.weight": "decoder.decoder_norm.weight",
    "decoder_norm.bias": "decoder.decoder_norm.bias",
    "decoder_pred.weight": "decoder.decoder_pred.weight",
    "decoder_pred.bias": "decoder.decoder_pred.bias",
}


def sincos_position_embedding(grid_size: int, dim: int) -> Tensor:
    """Return the fixed 2-D sine-cosine embedding of He et al. 2022 with a zero row for [CLS], (1, 1 + grid^2, dim).

    A freshly built ``ViTMAEForPreTraining`` has all-zero position embeddings in encoder and decoder (its weight
    initialisation overwrites them), and a decoder that cannot tell positions predicts the mean of the visible patches
    for ever: whoever trains one must set them (decision 0005).
    """
    embedding = build_2d_sinusoidal_position_embedding(grid_size, grid_size, embed_dim=dim, cls_token=True)
    half = dim // 2
    return torch.cat([embedding[:, half:], embedding[:, :half]], dim=1)[None]  # the published weights' order


def load_pretrained_folder(
    path_or_id: str, *, revision: str | None = None, local_files_only: bool = False, encoder_only: bool = False
) -> ViTMAEForPreTraining:
    """Load a Hub id or a local folder in the Hub's layout, in float32.

    Args:
        path_or_id: The Hub id or the folder.
        revision: Branch, tag or commit of a Hub id.
        local_files_only: Never ask the network.
        encoder_only: Accept one without decoder, or whose decoder predicts normalised pixels: it is not to be used.

    Raises:
        CheckpointError: If it cannot be found or read, has no decoder, or predicts normalised pixels.
    """
    where = {"revision": revision, "local_files_only": local_files_only}
    try:
        values, _ = PreTrainedConfig.get_config_dict(path_or_id, **where)
        normed = values.get("model_type") == NormedViTMAEConfig.model_type
        config = (NormedViTMAEConfig if normed else ViTMAEConfig).from_pretrained(path_or_id, **where)
        rounded = read_rounded(Path(path_or_id) / WEIGHTS_FILE)
        with quiet_loading():
            model, loading = vit_mae_type(config).from_pretrained(
                None if rounded else path_or_id,
                config=config,
                state_dict=rounded,
                output_loading_info=True,
                dtype=torch.float32,
                use_safetensors=True,
                **({} if rounded else where),
            )
    except (OSError, ValueError, RuntimeError) as error:
        reason = str(error).strip().splitlines()
        raise CheckpointError(
            f"a backbone is a Hub id, a folder with config.json and model.safetensors, or an original .pth file; "
            f"{path_or_id} could not be loaded as one: {reason[0] if reason else type(error).__name__}"
        ) from error
    missing = sorted(loading["missing_keys"])
    if encoder_only:
        missing = [name for name in missing if not name.startswith("decoder.")]
    elif config.norm_pix_loss:
        raise CheckpointError(_norm_pix_sentence(path_or_id))
    if any(name.startswith("decoder.") for name in missing):
        raise CheckpointError(_no_decoder_sentence(path_or_id))
    if missing:
        raise CheckpointError(
            f"{path_or_id} lacks {len(missing)} of the weights that its config.json promises, {missing[0]} first: "
            "the file is damaged or belongs to another architecture; download it again."
        )
    return model


def save_pretrained_folder(
    model: ViTMAEForPreTraining, folder: Path, *, weights: dict[str, Tensor] | None = None
) -> None:
    """Write a backbone in the Hub's folder layout: all of its weights, or those given."""
    with quiet_loading():
        model.save_pretrained(folder, state_dict=weights)
    (folder / WEIGHTS_FILE).chmod(0o644)  # safetensors leaves it readable by its owner only


@contextlib.contextmanager
def quiet_loading() -> Iterator[None]:
    """Keep the library's progress bars and its list of missing weights, which our errors name, off the terminal."""
    shown, verbosity = logging.is_progress_bar_enabled(), logging.get_verbosity()
    logging.disable_progress_bar()
    logging.set_verbosity_error()
    try:
        yield
    finally:
        logging.set_verbosity(verbosity)
        if shown:
            logging.enable_progress_bar()


def load_original_checkpoint(path: Path) -> ViTMAEForPreTraining:
    """Load an original ``.pth`` file of He et al. 2022, sizes and depths read from its tensors, in float32.

    Only tensors and plain containers are unpickled (``weights_only=True``).

    Raises:
        CheckpointError: If it cannot be read, has no decoder, or predicts normalised pixels.
    """
    try:
        with torch.serialization.safe_globals([argparse.Namespace]):
            content = torch.load(path, map_location="cpu", weights_only=True)
    except (OSError, RuntimeError, EOFError, pickle.UnpicklingError) as error:
        raise CheckpointError(
            f"an original checkpoint holds only tensors and plain containers; {path} could not be read as one "
            f"({type(error).__name__}); {RIGHT_FILE}."
        ) from error
    weights, trained_with = content, None
    if isinstance(content, dict) and isinstance(content.get("model"), dict):
        weights, trained_with = content["model"], content.get("args")
    if not (isinstance(weights, dict) and "patch_embed.proj.weight" in weights and "cls_token" in weights):
        raise CheckpointError(f"{path} is not a masked autoencoder's checkpoint: it has no patch_embed; {RIGHT_FILE}.")
    if "decoder_pred.weight" not in weights:
        raise CheckpointError(_no_decoder_sentence(path))
    if getattr(trained_with, "norm_pix_loss", False) or path.stem.endswith("_full"):
        raise CheckpointError(_norm_pix_sentence(path))
    model = ViTMAEForPreTraining(_config_from_shapes(weights, path))
    renamed = rename_original_weights(weights)
    try:
        model.load_state_dict(renamed)
    except RuntimeError as error:
        raise CheckpointError(f"{path} does not fit the architecture that its own shapes name: {error}") from error
    return model


def rename_original_weights(weights: dict[str, Tensor]) -> dict[str, Tensor]:
    """Map the original key names to Hugging Face's, each fused qkv split in three.

    Raises:
        CheckpointError: If a key is unknown.
    """
    renamed: dict[str, Tensor] = {}
    for name, weight in weights.items():
        if name in _OTHER_NAMES:
            renamed[_OTHER_NAMES[name]] = weight.float()
            continue
        part, _, rest = name.partition("blocks.")
        index, _, inner = rest.partition(".")
        prefix = {"": f"vit.layers.{index}", "decoder_": f"decoder.decoder_layers.{index}"}.get(part)
        module, _, kind = inner.rpartition(".")
        target = dict(_LAYER_NAMES).get(module)
        if prefix and module == "attn.qkv":
            for letter, third in zip("qkv", weight.float().chunk(3), strict=True):
                renamed[f"{prefix}.attention.{letter}_proj.{kind}"] = third.contiguous()
        elif prefix and target:
            renamed[f"{prefix}.{target}.{kind}"] = weight.float()
        else:
            raise CheckpointError(f"an original checkpoint has no weight named {name}; {RIGHT_FILE}.")
    return renamed


def _config_from_shapes(weights: dict[str, Tensor], path: Path) -> ViTMAEConfig:
    def depth(prefix: str) -> int:
        return len({name.split(".")[1] for name in weights if name.startswith(prefix)})

    def fc1(prefix: str) -> int:
        return int(weights[f"{prefix}.0.mlp.fc1.weight"].shape[0])

    try:
        hidden, channels, patch, _ = weights["patch_embed.proj.weight"].shape
        decoder_hidden = weights["mask_token"].shape[-1]
        grid = round((weights["pos_embed"].shape[1] - 1) ** 0.5)
        sizes: dict[str, Any] = {
            "intermediate_size": fc1("blocks"),
            "decoder_intermediate_size": fc1("decoder_blocks"),
            "num_hidden_layers": depth("blocks."),
            "decoder_num_hidden_layers": depth("decoder_blocks."),
        }
    except (KeyError, ValueError) as error:
        raise CheckpointError(f"{path} lacks {error}, which every original checkpoint has; {RIGHT_FILE}.") from error
    return ViTMAEConfig(
        hidden_size=hidden,
        num_channels=channels,
        patch_size=patch,
        image_size=grid * patch,
        num_attention_heads=_ENCODER_HEADS.get(hidden, max(1, hidden // 64)),
        decoder_hidden_size=decoder_hidden,
        decoder_num_attention_heads=16 if decoder_hidden >= 512 else max(1, decoder_hidden // 32),
        layer_norm_eps=1e-6,
        norm_pix_loss=False,
        **sizes,
    )


def _no_decoder_sentence(name: object) -> str:
    return (
        f"CINEMAE redraws patches, so a backbone needs its decoder; {name} holds the encoder only "
        f"(as mae_pretrain_vit_*.pth does): {RIGHT_FILE}; or train a decoder with cinemae pretrain --encoder."
    )


def _norm_pix_sentence(name: object) -> str:
    return (
        f"LCAS compares predicted with real pixels, but {name} was trained to predict per-patch normalised pixels "
        f"(norm_pix_loss, as mae_pretrain_vit_*_full.pth were): {RIGHT_FILE}."
    )


def new_mae(config: PretrainConfig) -> ViTMAEForPreTraining:
    """Build a masked autoencoder with fresh weights, ready for training.

    Xavier-uniform linear layers as in He et al. 2022, tokens from N(0, 0.02), and both position embeddings set
    (see `sincos_position_embedding`).

    Args:
        config: Sizes, mask ratio and the seed of the initial weights.
    """
    architecture = ViTMAEConfig(
        hidden_size=config.hidden_size,
        num_hidden_layers=config.num_hidden_layers,
        num_attention_heads=config.num_attention_heads,
        intermediate_size=4 * config.hidden_size,
        decoder_hidden_size=config.decoder_hidden_size,
        decoder_num_hidden_layers=config.decoder_num_hidden_layers,
        decoder_num_attention_heads=config.decoder_num_attention_heads,
        decoder_intermediate_size=4 * config.decoder_hidden_size,
        image_size=config.image_size,
        patch_size=config.patch_size,
        mask_ratio=config.mask_ratio,
        norm_pix_loss=False,
        layer_norm_eps=1e-6,
        attn_implementation="sdpa",
    )
    model = ViTMAEForPreTraining(architecture)
    generator = torch.Generator().manual_seed(config.seed)
    embeddings, decoder = model.vit.embeddings, model.decoder
    with torch.no_grad():
        _fill_linear(model, generator)
        nn.init.xavier_uniform_(embeddings.patch_embeddings.projection.weight.flatten(1), generator=generator)
        nn.init.zeros_(embeddings.patch_embeddings.projection.bias)
        nn.init.normal_(embeddings.cls_token, std=0.02, generator=generator)
        nn.init.normal_(decoder.mask_token, std=0.02, generator=generator)
        grid = config.image_size // config.patch_size
        embeddings.position_embeddings.copy_(sincos_position_embedding(grid, config.hidden_size))
        decoder.decoder_pos_embed.copy_(sincos_position_embedding(grid, config.decoder_hidden_size))
    return model


def mae_around(encoder: ViTMAEForPreTraining, config: PretrainConfig) -> ViTMAEForPreTraining:
    """Build a masked autoencoder with the encoder of another and a fresh decoder, ready for training.

    Args:
        encoder: Its encoder's sizes and weights are taken, position embedding included.
        config: Sizes of the decoder, mask ratio and the seed of the decoder's weights.
    """
    decoder = {
        "decoder_hidden_size": config.decoder_hidden_size,
        "decoder_num_hidden_layers": config.decoder_num_hidden_layers,
        "decoder_num_attention_heads": config.decoder_num_attention_heads,
        "decoder_intermediate_size": 4 * config.decoder_hidden_size,
        "mask_ratio": config.mask_ratio,
        "norm_pix_loss": False,
    }
    model = vit_mae_type(encoder.config)(type(encoder.config)(**{**encoder.config.to_dict(), **decoder}))
    model.vit.load_state_dict(encoder.vit.state_dict())
    renew_decoder(model, config.seed)
    grid = config.image_size // config.patch_size
    with torch.no_grad():
        model.decoder.decoder_pos_embed.copy_(sincos_position_embedding(grid, config.decoder_hidden_size))
    return model


def renew_decoder(model: ViTMAEForPreTraining, seed: int) -> None:
    """Give a masked autoencoder's decoder fresh weights, as `new_mae` draws them; the encoder stays as it is.

    Args:
        model: Changed in place. The decoder's fixed position embedding is kept.
        seed: Of the weights.
    """
    generator, decoder = torch.Generator().manual_seed(seed), model.decoder
    with torch.no_grad():
        for module in decoder.modules():
            if isinstance(module, nn.LayerNorm):
                module.reset_parameters()
        _fill_linear(decoder, generator)
        nn.init.normal_(decoder.mask_token, std=0.02, generator=generator)


def _fill_linear(model: nn.Module, generator: torch.Generator) -> None:
    for module in model.modules():
        if isinstance(module, nn.Linear):
            nn.init.xavier_uniform_(module.weight, generator=generator)
            nn.init.zeros_(module.bias)
