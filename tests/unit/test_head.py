import itertools

import numpy as np
import pytest
import torch

from cinemae.config import HeadConfig
from cinemae.core.head import CinemaeHead, pool_views, pooled_dim
from cinemae.errors import ConfigError

SMALL = {"global_dim": 6, "agg_hidden": 5, "cls_hidden": (4,)}


def _inputs(n=7):
    generator = torch.Generator().manual_seed(0)
    return torch.randn(n, 6, generator=generator), torch.randn(n, 3, generator=generator)


@pytest.mark.parametrize(("fusion", "level"), list(itertools.product(["add", "concat", "gate"], ["early", "late"])))
def test_every_fusion_gives_one_logit_and_trains_both_branches(fusion, level):
    head = CinemaeHead(HeadConfig(fusion=fusion, fusion_level=level, **SMALL))
    logit = head(*_inputs())
    assert logit.shape == (7,)
    logit.square().sum().backward()
    silent = [name for name, weight in head.named_parameters() if weight.grad is None]
    assert silent == []


def test_additive_fusion_is_equation_8_and_9():
    head = CinemaeHead(HeadConfig(**SMALL)).eval()
    of_global, stats = _inputs()
    layer_norm = torch.nn.functional.layer_norm
    corrected = layer_norm(of_global, (6,)) + layer_norm(head.mlp_agg(stats), (6,))
    torch.testing.assert_close(head(of_global, stats), head.mlp_cls(corrected).squeeze(-1))


def test_mlp_agg_has_three_layers_and_widens_three_numbers_to_d():
    head = CinemaeHead(HeadConfig(**SMALL))
    linear = [layer for layer in head.mlp_agg if isinstance(layer, torch.nn.Linear)]
    assert [(layer.in_features, layer.out_features) for layer in linear] == [(3, 5), (5, 5), (5, 6)]


def test_statistics_left_out_do_not_move_the_logit():
    head = CinemaeHead(HeadConfig(statistics=("overall",), **SMALL)).eval()
    of_global, stats = _inputs()
    changed = stats + torch.tensor([3.0, 0.0, -2.0])
    assert torch.equal(head(of_global, stats), head(of_global, changed))
    assert not torch.equal(head(of_global, stats), head(of_global, stats + 1))


def test_one_branch_alone():
    of_global, stats = _inputs()
    only_global = CinemaeHead(HeadConfig(statistics=(), **SMALL)).eval()
    assert torch.equal(only_global(of_global, stats), only_global(of_global, stats * 0))
    only_stats = CinemaeHead(HeadConfig(use_global=False, **SMALL)).eval()
    assert torch.equal(only_stats(of_global, stats), only_stats(of_global * 0, stats))


def test_standardization_is_taken_from_training_and_kept_in_the_weights():
    stats = torch.tensor([[0.0, 10.0, 5.0], [2.0, 30.0, 5.0]])
    of_global = torch.tensor([[1.0] * 6, [5.0] * 6])
    head = CinemaeHead(HeadConfig(**SMALL))
    head.set_standardization(of_global, stats)
    assert head.state_dict()["stats_mean"].tolist() == [1.0, 20.0, 5.0]
    assert head.stats_std[2].item() == pytest.approx(1e-6)
    assert head.state_dict()["global_mean"].tolist() == [3.0] * 6
    raw = CinemaeHead(HeadConfig(standardize_statistics=False, standardize_global=False, **SMALL))
    raw.set_standardization(of_global, stats)
    assert raw.stats_mean.tolist() == [0.0, 0.0, 0.0]
    assert raw.global_std.tolist() == [1.0] * 6


class TestViews:
    @staticmethod
    def _views():
        generator = torch.Generator().manual_seed(1)
        return torch.randn(7, 5, 6, generator=generator), torch.randn(7, 5, 3, generator=generator)

    def test_logits_of_views_are_averaged(self):
        head = CinemaeHead(HeadConfig(**SMALL)).eval()
        of_global, stats = self._views()
        one_by_one = torch.stack([head(of_global[:, view], stats[:, view]) for view in range(5)])
        torch.testing.assert_close(head.score_views(of_global, stats), one_by_one.mean(0))

    @pytest.mark.parametrize("how", ["mean", "mean_std", "concat"])
    def test_features_of_views_are_joined_before_the_head(self, how):
        dim = pooled_dim(6, how, 5)
        head = CinemaeHead(HeadConfig(**{**SMALL, "global_dim": dim}, view_pooling=how)).eval()
        of_global, stats = self._views()
        values = of_global.numpy()
        parts = {
            "mean": [values.mean(1)],
            "mean_std": [values.mean(1), values.std(1, ddof=1)],
            "concat": [values[:, view] for view in range(5)],
        }[how]
        joined = torch.from_numpy(np.concatenate(parts, 1))
        assert joined.shape == (7, dim)
        torch.testing.assert_close(pool_views(of_global, stats, how)[0], joined)
        torch.testing.assert_close(head.score_views(of_global, stats), head(joined, stats.mean(1)))

    @pytest.mark.parametrize("how", ["mean", "mean_std"])
    def test_their_order_does_not_matter_once_joined(self, how):
        of_global, stats = self._views()
        forward, backward = pool_views(of_global, stats, how), pool_views(of_global.flip(1), stats.flip(1), how)
        torch.testing.assert_close(forward, backward)

    def test_a_clipped_feature_counts_no_more_than_its_limit(self):
        head = CinemaeHead(HeadConfig(**{**SMALL, "cls_hidden": ()}, clip_global=2.0)).eval()
        of_global, stats = (views[:, 0] for views in self._views())
        head.set_standardization(of_global, stats)
        mean, std = of_global.mean(0), of_global.std(0)
        far, farther, limit = (mean + scale * std for scale in (3, 300, 2))
        far[1:], farther[1:], limit[1:] = mean[1:], mean[1:], mean[1:]
        logits = [head(row[None], stats[:1]) for row in (far, farther, limit, mean)]
        torch.testing.assert_close(logits[0], logits[2])
        torch.testing.assert_close(logits[1], logits[2])
        assert (logits[3] - logits[2]).abs() > 1e-4

    def test_one_view_has_no_deviation(self):
        of_global, stats = self._views()
        joined, mean_stats = pool_views(of_global[:, :1], stats[:, :1], "mean_std")
        assert torch.equal(joined, torch.cat([of_global[:, 0], torch.zeros(7, 6)], 1))
        assert torch.equal(mean_stats, stats[:, 0])


@pytest.mark.parametrize(
    ("settings", "sentence"),
    [
        ({"fusion": "sum"}, 'fusion must be "add", "concat" or "gate", got \'sum\''),
        ({"fusion_level": "middle"}, 'fusion_level must be "early" or "late"'),
        ({"statistics": ("mean",)}, "statistics must be among variability, overall, sensitivity, got mean"),
        ({"statistics": (), "use_global": False}, "neither was chosen"),
        ({"dropout": 1.0}, r"dropout must lie in \[0, 1\)"),
    ],
)
def test_bad_settings_are_refused(settings, sentence):
    with pytest.raises(ConfigError, match=sentence):
        HeadConfig(**settings)
