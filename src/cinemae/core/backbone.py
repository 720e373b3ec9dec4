"""The frozen masked autoencoder: [CLS] of the whole image (Eq. 3) and the redrawn patches of K masks (Sec. 4.3).

Architecture and weights are Hugging Face's ViTMAE. Its own ``forward`` is not used: it draws masks from global random
state, and reads the mask ratio from a config object shared by all threads. Here noise and ratio are arguments.

Whole image and K masked passes run through the encoder as one packed sequence, ``[CLS|L patches] [CLS|V] ... [CLS|V]``:
linear layers see all tokens at once, attention stays inside each segment. The result equals separate passes.
"""

from __future__ import annotations

import hashlib
from pathlib import Path
from typing import Any, Self

import torch
from jaxtyping import Float
from numpy.typing import NDArray
from torch import Tensor, nn
from transformers import AttentionInterface, ViTMAEConfig, ViTMAEForPreTraining

from cinemae.core.checkpoint import load_original_checkpoint, load_pretrained_folder
from cinemae.core.linear import use_onednn
from cinemae.core.masking import num_visible

Noise = Float[Tensor, "K L"] | NDArray[Any]


def _packed_attention(
    module: nn.Module,
    query: Tensor,
    key: Tensor,
    value: Tensor,
    attention_mask: Tensor | None,
    scaling: float | None = None,
    dropout: float = 0.0,
    *,
    segments: tuple[tuple[int, int], ...] | None = None,
    **kwargs: Any,  # noqa: ANN401
) -> tuple[Tensor, None]:
    """Attend inside each segment only; `segments` holds (how many, how long) runs of equal segments.

    Args:
        module: The attention module (unused; part of the registry's signature).
        query: (N, heads, T, d); T is the sum over segments.
        key: Same shape.
        value: Same shape.
        attention_mask: Always None here.
        scaling: Factor on the scores; None for 1 / sqrt(d).
        dropout: Always 0 here.
        segments: None for one segment of all tokens.
        kwargs: What the registry passes besides; unused.

    Returns:
        Attention output (N, T, heads, d), and None for the weights.
    """
    n, heads, tokens, dim = query.shape
    outputs, start = [], 0
    for count, length in segments or ((1, tokens),):
        stop = start + count * length
        q, k, v = (
            part[:, :, start:stop].reshape(n, heads, count, length, dim).transpose(1, 2).flatten(0, 1)
            for part in (query, key, value)
        )
        attended = nn.functional.scaled_dot_product_attention(q, k, v, dropout_p=dropout, scale=scaling)
        outputs.append(attended.transpose(1, 2).reshape(n, count * length, heads, dim))
        start = stop
    return (torch.cat(outputs, dim=1) if len(outputs) > 1 else outputs[0]), None


AttentionInterface.register("cinemae_packed", _packed_attention)


class FrozenMAE(nn.Module):
    """A masked autoencoder whose weights never change.

    Args:
        model: Hugging Face's model; put into evaluation mode, its parameters frozen.

    Attributes:
        content_hash: SHA-256 over names and values of all weights, the same on every machine.
        image_size: Height and width of `pixel_values`.
        patch_size: Height and width of a patch.
        num_patches: L.
        hidden_size: D, the length of the global feature.
        patch_dim: P, the number of values of a patch.
    """

    def __init__(self, model: ViTMAEForPreTraining) -> None:
        super().__init__()
        config: ViTMAEConfig = model.config
        self.content_hash = hash_weights(model)
        self.image_size: int = config.image_size
        self.patch_size: int = config.patch_size
        self.num_patches = (config.image_size // config.patch_size) ** 2
        self.hidden_size: int = config.hidden_size
        self.patch_dim: int = config.patch_size**2 * config.num_channels
        self.mask_ratio: float = config.mask_ratio
        model.set_attn_implementation("cinemae_packed")
        self.model = model.eval().requires_grad_(False)
        use_onednn(self.model)

    @classmethod
    def from_pretrained(
        cls,
        path_or_id: str | Path,
        *,
        revision: str | None = None,
        local_files_only: bool = False,
        device: str | torch.device = "cpu",
        dtype: torch.dtype = torch.float32,
    ) -> Self:
        """Load a backbone.

        Args:
            path_or_id: A Hub id such as ``facebook/vit-mae-large``, a local folder in the Hub's layout, or an original
                ``.pth`` file such as ``mae_visualize_vit_large.pth``.
            revision: Branch, tag or commit of a Hub id.
            local_files_only: Never ask the network; the Hub's cache must hold the files.
            device: Where to run: "cpu", "cuda", "mps".
            dtype: float32 or bfloat16.

        Raises:
            CheckpointError: If the weights are missing, have no decoder, predict normalised pixels, or do not fit.
        """
        path = Path(path_or_id)
        if path.suffix in (".pth", ".pt"):
            model = load_original_checkpoint(path)
        else:
            model = load_pretrained_folder(str(path_or_id), revision=revision, local_files_only=local_files_only)
        return cls(model).to(device=device, dtype=dtype)

    def global_feature(self, pixel_values: Float[Tensor, "N 3 H W"]) -> Float[Tensor, "N D"]:
        """Return the [CLS] of the whole, unmasked image after the last encoder layer and its norm, Eq. 3."""
        tokens = self._with_cls(self._embed(pixel_values))
        return self._encode(tokens, ((1, self.num_patches + 1),))[:, 0]

    def reconstruct(
        self, pixel_values: Float[Tensor, "N 3 H W"], noise: Noise, *, mask_ratio: float | None = None
    ) -> tuple[Float[Tensor, "N K L P"], Float[Tensor, "N K L"]]:
        """Redraw the patches that each row of noise hides.

        Args:
            pixel_values: ImageNet-normalised images, (N, 3, H, W).
            noise: (K, L), the same for every image; in each row the lowest ``1 - mask_ratio`` stay visible.
            mask_ratio: Share of hidden patches; None for the backbone's own.

        Returns:
            pred, the decoder's prediction for every patch, (N, K, L, P), and mask, 1 masked and 0 visible, (N, K, L).
        """
        embedded = self._embed(pixel_values)
        visible, restore, mask = self._plan(noise, mask_ratio)
        passes, length = visible.shape[0], visible.shape[1] + 1
        encoded = self._encode(self._visible_tokens(embedded, visible), ((passes, length),))
        return self._decode(encoded, restore, length), mask.expand(pixel_values.shape[0], -1, -1)

    def encode_and_reconstruct(
        self, pixel_values: Float[Tensor, "N 3 H W"], noise: Noise, *, mask_ratio: float | None = None
    ) -> tuple[Float[Tensor, "N D"], Float[Tensor, "N K L P"], Float[Tensor, "N K L"]]:
        """`global_feature` and `reconstruct` in one packed pass.

        Args:
            pixel_values: ImageNet-normalised images, (N, 3, H, W).
            noise: (K, L), see `reconstruct`.
            mask_ratio: Share of hidden patches; None for the backbone's own.

        Returns:
            global_feature (N, D), pred (N, K, L, P), mask (N, K, L).
        """
        embedded = self._embed(pixel_values)
        visible, restore, mask = self._plan(noise, mask_ratio)
        passes, length = visible.shape[0], visible.shape[1] + 1
        whole = self.num_patches + 1
        tokens = torch.cat([self._with_cls(embedded), self._visible_tokens(embedded, visible)], dim=1)
        encoded = self._encode(tokens, ((1, whole), (passes, length)))
        pred = self._decode(encoded[:, whole:], restore, length)
        return encoded[:, 0], pred, mask.expand(pixel_values.shape[0], -1, -1)

    def _plan(self, noise: Noise, mask_ratio: float | None) -> tuple[Tensor, Tensor, Tensor]:
        """Return visible (K, V) patch indices, restore (K, L) positions, mask (1, K, L)."""
        weight = self.model.decoder.mask_token
        noise = torch.as_tensor(noise, device=weight.device)
        shuffle = noise.argsort(dim=1)
        restore = shuffle.argsort(dim=1)
        keep = num_visible(self.num_patches, self.mask_ratio if mask_ratio is None else mask_ratio)
        mask = (restore >= keep).to(torch.float32)[None]
        return shuffle[:, :keep], restore, mask

    def _embed(self, pixel_values: Tensor) -> Tensor:
        embeddings = self.model.vit.embeddings
        pixel_values = pixel_values.to(embeddings.cls_token.dtype)
        return embeddings.patch_embeddings(pixel_values) + embeddings.position_embeddings[:, 1:]  # type: ignore[no-any-return]

    def _with_cls(self, tokens: Tensor) -> Tensor:
        """Prepend [CLS] to each sequence: (..., T, D) to (..., 1 + T, D)."""
        embeddings = self.model.vit.embeddings
        cls_token = embeddings.cls_token + embeddings.position_embeddings[:, :1]
        return torch.cat([cls_token.expand(*tokens.shape[:-2], 1, -1), tokens], dim=-2)

    def _visible_tokens(self, embedded: Tensor, visible: Tensor) -> Tensor:
        """Gather each pass's visible patches, [CLS] first: (N, L, D) to (N, K * (1 + V), D)."""
        return self._with_cls(embedded[:, visible]).flatten(1, 2)

    def _encode(self, tokens: Tensor, segments: tuple[tuple[int, int], ...]) -> Tensor:
        for layer in self.model.vit.layers:
            tokens = layer(tokens, None, segments=segments)
        return self.model.vit.layernorm(tokens)  # type: ignore[no-any-return]

    def _decode(self, encoded: Tensor, restore: Tensor, length: int) -> Tensor:
        """Decode every pass: encoded (N, K * length, D), restore (K, L) to pred (N, K, L, P)."""
        decoder = self.model.decoder
        passes = restore.shape[0]
        n = encoded.shape[0]
        tokens = decoder.decoder_embed(encoded).unflatten(1, (passes, length))
        hidden = decoder.mask_token.expand(n, passes, self.num_patches - (length - 1), -1)
        patches = torch.cat([tokens[:, :, 1:], hidden], dim=2)
        index = restore[None, :, :, None].expand(n, -1, -1, patches.shape[-1])
        patches = patches.gather(2, index)
        sequence = torch.cat([tokens[:, :, :1], patches], dim=2) + decoder.decoder_pos_embed
        sequence = sequence.flatten(0, 1)
        for layer in decoder.decoder_layers:
            sequence = layer(sequence, None)
        pred = decoder.decoder_pred(decoder.decoder_norm(sequence))
        return pred[:, 1:].unflatten(0, (n, passes))  # type: ignore[no-any-return]


def hash_weights(model: nn.Module) -> str:
    """Return SHA-256 over the sorted names, shapes and float32 values of all weights."""
    digest = hashlib.sha256()
    for name, weight in sorted(model.state_dict().items()):
        digest.update(f"{name}{tuple(weight.shape)}".encode())
        digest.update(weight.detach().to("cpu", torch.float32).contiguous().numpy().data)
    return digest.hexdigest()
