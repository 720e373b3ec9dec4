"""The frozen masked autoencoder: [CLS] of the whole image (Eq. 3) and the redrawn patches of K masks (Sec. 4.3).

Architecture and weights are Hugging Face's ViTMAE. Its own ``forward`` is not used: it draws masks from global random
state, and reads the mask ratio from a config object shared by all threads. Here noise and ratio are arguments.

Whole images and K masked passes run through the encoder together: the tokens of all sequences, ``[CLS|L patches]`` of
each image, then ``[CLS|V]`` of each image and pass, are the rows of one matrix. Linear layers see all rows at once,
attention stays inside each sequence. The result equals separate passes. Only what the answer needs is computed: patches
are embedded once, and the last layers of encoder and decoder compute the tokens that somebody reads.
"""

from __future__ import annotations

import hashlib
from collections.abc import Sequence
from copy import deepcopy
from pathlib import Path
from typing import Any, NamedTuple, Self

import torch
from jaxtyping import Float
from numpy.typing import NDArray
from torch import Tensor, nn
from transformers import ViTMAEConfig, ViTMAEForPreTraining
from transformers.activations import QuickGELUActivation

from cinemae.core.checkpoint import load_original_checkpoint, load_pretrained_folder
from cinemae.core.linear import use_onednn
from cinemae.core.masking import MaskPlan, plan_masks
from cinemae.errors import CheckpointError

Noise = Float[Tensor, "K L"] | NDArray[Any]


class _Run(NamedTuple):
    """Sequences of one length that lie one after the other among the rows.

    Attributes:
        sequences: How many.
        length: Tokens in each.
        asked: The tokens of each that are read after the last layer.
    """

    sequences: int
    length: int
    asked: slice

    @property
    def rows(self) -> int:
        """Rows of all tokens."""
        return self.sequences * self.length

    @property
    def rows_asked(self) -> int:
        """Rows of the tokens asked for."""
        return self.sequences * len(range(self.length)[self.asked])


class _Asked(NamedTuple):
    """What the global feature is made of: `cinemae.config.GlobalFeatureConfig`, its last layer by number."""

    layers: tuple[int, ...]
    statistics: tuple[str, ...]

    @property
    def tokens(self) -> slice:
        """The tokens of a whole image that are read."""
        return slice(0, 1) if self.statistics == ("cls",) else slice(None)


class MaskedAutoencoder(nn.Module):
    """A masked autoencoder in evaluation mode, which has no dropout to switch on; its weights may be trained.

    Args:
        model: Hugging Face's model.
        copy: Leave `model` as it is. False takes it over, layers and weights, where nobody else needs it.

    Raises:
        CheckpointError: If its layers are not those of a masked autoencoder.

    Attributes:
        image_size: Height and width of `pixel_values`.
        patch_size: Height and width of a patch.
        num_patches: L.
        hidden_size: D, the encoder's width and the length of a [CLS].
        num_layers: Layers of the encoder.
        patch_dim: P, the number of values of a patch.
    """

    def __init__(self, model: ViTMAEForPreTraining, *, copy: bool = True) -> None:
        super().__init__()
        config: ViTMAEConfig = model.config
        if config.hidden_act not in ("gelu", "quick_gelu"):
            raise CheckpointError(
                f'a masked autoencoder has hidden_act "gelu", or CLIP\'s "quick_gelu", this one {config.hidden_act!r}.'
            )
        self.image_size: int = config.image_size
        self.patch_size: int = config.patch_size
        self.num_patches = (config.image_size // config.patch_size) ** 2
        self.hidden_size: int = config.hidden_size
        self.num_layers: int = config.num_hidden_layers
        self.patch_dim: int = config.patch_size**2 * config.num_channels
        self.mask_ratio: float = config.mask_ratio
        self.model = (deepcopy(model) if copy else model).eval()
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
        return cls(model, copy=False).to(device=device, dtype=dtype)

    @property
    def content_hash(self) -> str:
        """SHA-256 over names and values of all weights as they are now, the same on every machine."""
        return hash_weights(self.model)

    def global_feature(
        self,
        pixel_values: Float[Tensor, "N 3 H W"],
        *,
        cls_layers: Sequence[int] = (),
        token_statistics: Sequence[str] = ("cls",),
    ) -> Float[Tensor, "N D"]:
        """Return the [CLS] of the whole, unmasked image after the last encoder layer and its norm, Eq. 3.

        Args:
            pixel_values: ImageNet-normalised images, (N, 3, H, W).
            cls_layers: Layers, ascending from 1, to take the [CLS] after in place of the last, each through the
                encoder's last norm, joined to one feature of ``len(cls_layers) * hidden_size``.
            token_statistics: What to take of each of these layers: "cls", and "mean" and "std" over the patch tokens.
                With more than ("cls",) all are taken without the norm, and joined layer by layer.
        """
        tokens = self._with_cls(self._embed(pixel_values))
        asked = self._asked(cls_layers, token_statistics)
        return self._encode(tokens.flatten(0, 1), [self._whole_run(pixel_values.shape[0], asked)], asked)[0]

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
        plan = self._plan(noise, mask_ratio)
        visible = self._visible_tokens(self._embed(pixel_values), plan)
        rows = _run_layers(self.model.vit.layers, visible.flatten(0, 2), [_masked_run(visible)])
        pred = self._redraw(self.model.vit.layernorm(rows).view(visible.shape), plan, slice(1, None))
        return _in_order(pred, plan.restore), plan.mask.expand(len(pred), -1, -1)

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
        plan = self._plan(noise, mask_ratio)
        global_feature, pred = self._encode_and_redraw(pixel_values, plan, slice(1, None), self._asked((), ("cls",)))
        return global_feature, _in_order(pred, plan.restore), plan.mask.expand(len(pred), -1, -1)

    def encode_and_redraw(
        self,
        pixel_values: Float[Tensor, "N 3 H W"],
        plan: MaskPlan,
        *,
        cls_layers: Sequence[int] = (),
        token_statistics: Sequence[str] = ("cls",),
    ) -> tuple[Float[Tensor, "N D"], Float[Tensor, "N K M P"]]:
        """Return the global feature (N, D), and of each pass the masked patches alone, redrawn, (N, K, M, P).

        Args:
            pixel_values: ImageNet-normalised images, (N, 3, H, W).
            plan: The masks; pred's patches stand in the order of ``plan.hidden``.
            cls_layers: See `global_feature`.
            token_statistics: See `global_feature`.
        """
        asked = self._asked(cls_layers, token_statistics)
        return self._encode_and_redraw(pixel_values, plan, slice(1 + plan.visible.shape[1], None), asked)

    def _encode_and_redraw(
        self, pixel_values: Tensor, plan: MaskPlan, redrawn: slice, asked: _Asked
    ) -> tuple[Tensor, Tensor]:
        embedded = self._embed(pixel_values)
        visible = self._visible_tokens(embedded, plan)
        rows = torch.cat([self._with_cls(embedded).flatten(0, 1), visible.flatten(0, 2)])
        runs = [self._whole_run(pixel_values.shape[0], asked), _masked_run(visible)]
        global_feature, encoded = self._encode(rows, runs, asked)
        return global_feature, self._redraw(encoded.view(visible.shape), plan, redrawn)

    def _asked(self, cls_layers: Sequence[int], token_statistics: Sequence[str]) -> _Asked:
        return _Asked(tuple(cls_layers) or (self.num_layers,), tuple(token_statistics))

    def _whole_run(self, sequences: int, asked: _Asked) -> _Run:
        return _Run(sequences, self.num_patches + 1, asked.tokens)

    def _plan(self, noise: Noise, mask_ratio: float | None) -> MaskPlan:
        noise = torch.as_tensor(noise, device=self.model.decoder.mask_token.device)
        return plan_masks(noise, self.mask_ratio if mask_ratio is None else mask_ratio)

    def _embed(self, pixel_values: Tensor) -> Tensor:
        embeddings = self.model.vit.embeddings
        pixel_values = pixel_values.to(embeddings.cls_token.dtype)
        return self._normed(embeddings.patch_embeddings(pixel_values) + embeddings.position_embeddings[:, 1:])

    def _normed(self, tokens: Tensor) -> Tensor:
        """Apply the norm after the embeddings, which MAE has not and CLIP has."""
        norm = getattr(self.model.vit.embeddings, "norm", None)
        return tokens if norm is None else norm(tokens)

    def _with_cls(self, tokens: Tensor) -> Tensor:
        """Prepend [CLS] to each sequence: (..., T, D) to (..., 1 + T, D)."""
        embeddings = self.model.vit.embeddings
        cls_token = self._normed(embeddings.cls_token + embeddings.position_embeddings[:, :1])
        return torch.cat([cls_token.expand(*tokens.shape[:-2], 1, -1), tokens], dim=-2)

    def _visible_tokens(self, embedded: Tensor, plan: MaskPlan) -> Tensor:
        """Gather each pass's visible patches, [CLS] first: (N, L, D) to (N, K, 1 + V, D)."""
        return self._with_cls(embedded[:, plan.visible])

    def _encode(self, rows: Tensor, runs: Sequence[_Run], asked: _Asked) -> tuple[Tensor, Tensor]:
        """Return the global feature of the whole images, the first run, and the tokens of the others, one a row.

        The whole images leave after the last layer that is read of them; only the others go on from there.
        """
        encoder, (whole, *others) = self.model.vit, runs
        found = []
        for number, layer in enumerate(encoder.layers, 1):
            if number < asked.layers[-1]:
                rows = _run_layer(layer, rows, _everything(runs))
                if number in asked.layers:
                    found.append(rows[: whole.rows].view(whole.sequences, whole.length, -1)[:, whole.asked])
            elif number == asked.layers[-1]:
                rows = _run_layer(layer, rows, runs)
                found.append(rows[: whole.rows_asked].view(whole.sequences, -1, rows.shape[-1]))
                rows = rows[whole.rows_asked :]
            elif others:
                rows = _run_layer(layer, rows, others)
        if asked.statistics == ("cls",):
            parts = [encoder.layernorm(tokens[:, 0]) for tokens in found]
        else:
            parts = [part for tokens in found for part in _token_statistics(tokens.float(), asked.statistics)]
        return torch.cat(parts, dim=-1), encoder.layernorm(rows)

    def _redraw(self, encoded: Tensor, plan: MaskPlan, asked: slice) -> Tensor:
        """Decode every pass: encoded (N, K, 1 + V, D) to patches (N, K, A, P), of ``visible | hidden`` those asked for.

        Attention does not care for the order of tokens, so they stay in the plan's, each with its own position.
        """
        decoder = self.model.decoder
        n, passes = encoded.shape[:2]
        position = decoder.decoder_pos_embed[0]
        seen = decoder.decoder_embed(encoded)
        seen = seen + torch.cat([position[:1].expand(passes, 1, -1), position[1:][plan.visible]], dim=1)
        hidden = decoder.mask_token + position[1:][plan.hidden]
        sequences = torch.cat([seen, hidden.expand(n, -1, -1, -1)], dim=2)
        run = _Run(n * passes, sequences.shape[2], asked)
        rows = _run_layers(decoder.decoder_layers, sequences.flatten(0, 2), [run])
        return decoder.decoder_pred(decoder.decoder_norm(rows)).unflatten(0, (n, passes, -1))  # type: ignore[no-any-return]


class FrozenMAE(MaskedAutoencoder):
    """A masked autoencoder whose weights never change.

    Args:
        model: Hugging Face's model.
        copy: Leave `model` as it is. False takes it over and freezes it, where nobody else needs it.

    Raises:
        CheckpointError: If its layers are not those of a masked autoencoder.
    """

    def __init__(self, model: ViTMAEForPreTraining, *, copy: bool = True) -> None:
        super().__init__(model, copy=copy)
        self._content_hash = hash_weights(self.model)  # before a move to bfloat16 rounds them
        self.requires_grad_(False)

    @property
    def content_hash(self) -> str:
        """SHA-256 over names and values of all weights as they were loaded, the same on every machine."""
        return self._content_hash


def _token_statistics(tokens: Tensor, names: Sequence[str]) -> list[Tensor]:
    """Return what is named of each sequence's tokens (N, 1 + L, D), [CLS] first: (N, D) each.

    Sums over the patches are products with a row of ones: where ONNX Runtime sums over an axis in the middle, the last
    digit depends on the number of threads.
    """
    patches = tokens[:, 1:]
    ones, count = patches.new_ones(1, patches.shape[1]), patches.shape[1]
    mean = ones @ patches / count
    std = (ones @ (patches - mean).square() / (count - 1)).sqrt()
    return [{"cls": tokens[:, 0], "mean": mean[:, 0], "std": std[:, 0]}[name] for name in names]


def _masked_run(visible: Tensor) -> _Run:
    n, passes, length, _ = visible.shape
    return _Run(n * passes, length, slice(None))


def _in_order(patches: Tensor, restore: Tensor) -> Tensor:
    """Put patches (N, K, L, P) from the order ``visible | hidden`` into that of the image."""
    return patches.gather(2, restore[None, :, :, None].expand_as(patches))


def _run_layers(layers: Sequence[Any], rows: Tensor, runs: Sequence[_Run]) -> Tensor:
    """Run transformer layers; of the last one only the tokens asked for are computed, and returned one a row."""
    *before, last = layers
    for layer in before:
        rows = _run_layer(layer, rows, _everything(runs))
    return _run_layer(last, rows, runs)


def _everything(runs: Sequence[_Run]) -> list[_Run]:
    """Ask for every token."""
    return [run._replace(asked=slice(None)) for run in runs]


def _run_layer(layer: Any, rows: Tensor, runs: Sequence[_Run]) -> Tensor:  # noqa: ANN401 - Hugging Face's ViTMAELayer
    attention, mlp = layer.attention, layer.mlp
    normed = layer.layernorm_before(rows)
    query = attention.q_proj(_take(normed, runs))
    attended = _attend(query, attention.k_proj(normed), attention.v_proj(normed), runs, attention.head_dim)
    rows = attention.o_proj.plus(attended, _take(rows, runs))
    normed = layer.layernorm_after(rows)
    quick = isinstance(mlp.activation_fn, QuickGELUActivation)
    inner = mlp.activation_fn(mlp.fc1(normed)) if quick else mlp.fc1.gelu(normed)
    return mlp.fc2.plus(inner, rows)  # type: ignore[no-any-return]


def _take(rows: Tensor, runs: Sequence[_Run]) -> Tensor:
    """Return the rows of the tokens asked for."""
    if all(run.asked == slice(None) for run in runs):
        return rows
    parts = zip(rows.split([run.rows for run in runs]), runs, strict=True)
    return _join([part.unflatten(0, (-1, run.length))[:, run.asked].flatten(0, 1) for part, run in parts])


def _attend(query: Tensor, key: Tensor, value: Tensor, runs: Sequence[_Run], head_dim: int) -> Tensor:
    """Attend inside each sequence; `query` holds the rows asked for, `key` and `value` all rows."""
    rows = [run.rows for run in runs]
    queries = query.split([run.rows_asked for run in runs])
    outputs = []
    for q, k, v, run in zip(queries, key.split(rows), value.split(rows), runs, strict=True):
        heads = (
            part.view(run.sequences, -1, part.shape[-1] // head_dim, head_dim).transpose(1, 2) for part in (q, k, v)
        )
        attended = nn.functional.scaled_dot_product_attention(*heads)
        outputs.append(attended.transpose(1, 2).reshape(q.shape))
    return _join(outputs)


def _join(parts: Sequence[Tensor]) -> Tensor:
    return torch.cat(list(parts)) if len(parts) > 1 else parts[0]


def hash_weights(model: nn.Module) -> str:
    """Return SHA-256 over the sorted names, shapes and float32 values of all weights."""
    digest = hashlib.sha256()
    for name, weight in sorted(model.state_dict().items()):
        digest.update(f"{name}{tuple(weight.shape)}".encode())
        digest.update(weight.detach().to("cpu", torch.float32).contiguous().numpy().data)
    return digest.hexdigest()
