"""The trained half: MLP_agg, LayerNorm, fusion, MLP_cls (Eqs. 7-9), the fusions of Tab. 7, and the views of an image.

Hidden widths, activation, dropout, scaling and how views are joined are not stated by the paper (decision 0003).
"""

from __future__ import annotations

import itertools

import torch
from jaxtyping import Float
from torch import Tensor, nn

from cinemae.config import STATISTICS, HeadConfig, ViewPooling


class CinemaeHead(nn.Module):
    """Turn a global feature and three statistics into one logit; positive means "generated".

    Early fusion joins the two feature vectors, then classifies (the paper: "add", Eq. 8). Late fusion classifies each
    and joins the two decisions. "gate" weighs the two by a learned sigmoid of both; "concat" lays them side by side.

    Args:
        config: Widths, fusion and which statistics enter.
    """

    stats_mean: Tensor
    stats_std: Tensor
    global_mean: Tensor
    global_std: Tensor

    def __init__(self, config: HeadConfig) -> None:
        super().__init__()
        self.config = config
        dim = config.global_dim
        self.chosen = [STATISTICS.index(name) for name in config.statistics]
        self.register_buffer("stats_mean", torch.zeros(3))
        self.register_buffer("stats_std", torch.ones(3))
        self.register_buffer("global_mean", torch.zeros(dim))
        self.register_buffer("global_std", torch.ones(dim))
        branches = int(config.use_global) + int(bool(self.chosen))
        if config.use_global:
            self.norm_global = nn.LayerNorm(dim)
        if self.chosen:
            self.mlp_agg = self._mlp([len(self.chosen), config.agg_hidden, config.agg_hidden, dim])
            self.norm_anomaly = nn.LayerNorm(dim)
        if branches == 2 and config.fusion == "gate":
            self.gate = nn.Linear(2 * dim, dim if config.fusion_level == "early" else 1)
        if branches == 2 and config.fusion_level == "late":
            self.mlp_cls_global = self._mlp([dim, *config.cls_hidden, 1])
            self.mlp_cls_anomaly = self._mlp([dim, *config.cls_hidden, 1])
            if config.fusion == "concat":
                self.join = nn.Linear(2, 1)
        else:
            width = 2 * dim if branches == 2 and config.fusion == "concat" else dim
            self.mlp_cls = self._mlp([width, *config.cls_hidden, 1])

    def set_standardization(self, global_feature: Float[Tensor, "N D"], stats: Float[Tensor, "N 3"]) -> None:
        """Take mean and deviation of both inputs from training images, where the configuration asks for it."""
        if self.config.standardize_statistics:
            self.stats_mean.copy_(stats.mean(0))
            self.stats_std.copy_(stats.std(0).clamp_min(1e-6))
        if self.config.standardize_global:
            self.global_mean.copy_(global_feature.mean(0))
            self.global_std.copy_(global_feature.std(0).clamp_min(1e-6))

    def forward(self, global_feature: Float[Tensor, "N D"], stats: Float[Tensor, "N 3"]) -> Float[Tensor, " N"]:
        """Return the logit z of Eq. 9.

        Args:
            global_feature: f_global of Eq. 3, (N, D).
            stats: s1, s2, s3, (N, 3).

        Returns:
            Logits, (N,); fake is the positive class.
        """
        branches = []
        if self.config.use_global:
            branches.append(self.norm_global(self._scale(global_feature)))
        if self.chosen:
            scaled = ((stats - self.stats_mean) / self.stats_std)[:, self.chosen]
            branches.append(self.norm_anomaly(self.mlp_agg(scaled)))  # Eq. 7
        if len(branches) == 1:
            return self.mlp_cls(branches[0]).squeeze(-1)  # type: ignore[no-any-return]
        fuse = self._early if self.config.fusion_level == "early" else self._late
        return fuse(branches[0], branches[1])

    def score_views(self, global_feature: Float[Tensor, "N V D"], stats: Float[Tensor, "N V 3"]) -> Float[Tensor, " N"]:
        """Return one logit for each image of V views, joined as `config.view_pooling` says.

        "logit" scores each view and averages the logits; the others join the features first (`pool_views`).
        """
        if self.config.view_pooling == "logit":
            return self(global_feature.flatten(0, 1), stats.flatten(0, 1)).unflatten(0, stats.shape[:2]).mean(1)  # type: ignore[no-any-return]
        return self(*pool_views(global_feature, stats, self.config.view_pooling))  # type: ignore[no-any-return]

    def _scale(self, global_feature: Tensor) -> Tensor:
        """Standardise, and cut what is far out."""
        scaled = (global_feature - self.global_mean) / self.global_std
        limit = self.config.clip_global
        return scaled if limit is None else scaled.clamp(-limit, limit)

    def _early(self, of_global: Tensor, anomaly: Tensor) -> Tensor:
        if self.config.fusion == "add":
            fused = of_global + anomaly  # Eq. 8
        elif self.config.fusion == "concat":
            fused = torch.cat([of_global, anomaly], dim=-1)
        else:
            weight = torch.sigmoid(self.gate(torch.cat([of_global, anomaly], dim=-1)))
            fused = weight * of_global + (1 - weight) * anomaly
        return self.mlp_cls(fused).squeeze(-1)  # type: ignore[no-any-return]  # Eq. 9

    def _late(self, of_global: Tensor, anomaly: Tensor) -> Tensor:
        first = self.mlp_cls_global(of_global)
        second = self.mlp_cls_anomaly(anomaly)
        if self.config.fusion == "add":
            fused = first + second
        elif self.config.fusion == "concat":
            fused = self.join(torch.cat([first, second], dim=-1))
        else:
            weight = torch.sigmoid(self.gate(torch.cat([of_global, anomaly], dim=-1)))
            fused = weight * first + (1 - weight) * second
        return fused.squeeze(-1)  # type: ignore[no-any-return]

    def _mlp(self, widths: list[int]) -> nn.Sequential:
        activation = nn.GELU if self.config.activation == "gelu" else nn.ReLU
        layers: list[nn.Module] = []
        for index, (before, after) in enumerate(itertools.pairwise(widths)):
            if index:
                layers += [activation(), nn.Dropout(self.config.dropout)]
            layers.append(nn.Linear(before, after))
        return nn.Sequential(*layers)


def pool_views(
    global_feature: Float[Tensor, "N V D"], stats: Float[Tensor, "N V 3"], how: ViewPooling
) -> tuple[Float[Tensor, "N D2"], Float[Tensor, "N 3"]]:
    """Join the views of each image into one feature.

    Args:
        global_feature: [CLS] of each view, (N, V, D).
        stats: s1, s2, s3 of each view, (N, V, 3).
        how: "mean"; "mean_std": beside the mean the sample deviation between views (0 where there is one view); or
            "concat": the views side by side, where each looks at a picture in a way of its own.

    Returns:
        (N, D), (N, 2 D) for "mean_std", or (N, V D) for "concat", and the mean statistics, (N, 3).

    Example:
        >>> pooled, _ = pool_views(torch.tensor([[[1.0], [3.0]]]), torch.zeros(1, 2, 3), "mean_std")
        >>> pooled.tolist()
        [[2.0, 1.4142135381698608]]
    """
    if how == "concat":
        return global_feature.flatten(1), stats.mean(1)
    pooled = global_feature.mean(1)
    if how == "mean_std":
        pooled = torch.cat([pooled, global_feature.std(1, correction=min(1, global_feature.shape[1] - 1))], dim=-1)
    return pooled, stats.mean(1)


def pooled_dim(hidden_size: int, how: ViewPooling, num_views: int) -> int:
    """Return the length of the global feature that reaches the head.

    Example:
        >>> [pooled_dim(8, how, 5) for how in ("logit", "mean", "mean_std", "concat")]
        [8, 8, 16, 40]
    """
    return hidden_size * {"mean_std": 2, "concat": num_views}.get(how, 1)
