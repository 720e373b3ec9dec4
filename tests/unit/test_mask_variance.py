"""The benchmark of masks: what it draws, and its figures on values with a known answer."""

from __future__ import annotations

import sys
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
from benchmarks import mask_variance
from benchmarks.mask_variance import MAP, SCHEMES, Drawn, line
from PIL import Image

from cinemae.config import DecisionConfig, LcasReference
from cinemae.core.masking import plan_masks


@pytest.mark.parametrize("scheme", SCHEMES, ids=lambda scheme: scheme.name)
def test_pairs_that_complement_each_other_hide_every_patch(scheme) -> None:
    hidden = plan_masks(scheme.noise(3, 64), scheme.ratio).mask.sum(0)
    assert hidden.sum() == scheme.passes * scheme.ratio * 64
    if scheme.complementary or scheme.passes == 2:
        assert bool((hidden > 0).all()) == scheme.complementary


def test_the_figures_of_values_with_a_known_answer() -> None:
    reference, decision = LcasReference(levels=(0.0, 1.0), values=(0.0, 10.0)), DecisionConfig(0.8, 0.2)
    lcas_map = np.arange(4.0)[None, None].repeat(2, 0)  # two seeds, one picture
    lcas_map = np.concatenate([lcas_map, lcas_map + 1], 1)
    stats = np.array([[[0.0, 0.0, 0.0], [10.0, 10.0, 10.0]], [[2.0, 0.0, 0.0], [12.0, 10.0, 10.0]]])
    logit = np.array([[-9.0, 9.0], [9.0, 9.0]])
    moved = lcas_map.copy()
    moved[:, :, 0] = np.nan
    cells = line("a", Drawn(stats, logit, moved), lcas_map + 1, decision, reference).strip("| ").split(" | ")
    s1 = 100 * 2**0.5 / (10 / 2**0.5)  # a deviation of sqrt(2) over the seeds, of 10 / sqrt(2) over the pictures
    assert cells == ["a", f"{s1:.1f}", "0.0", "0.0", "49.99", "50 %", "75.0 %", "10.0", "1.000"]


def test_pictures_of_either_class_are_scored_with_every_scheme(
    tiny_model: Path,
    picture: Callable[..., Image.Image],
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    for label in ("real", "fake"):
        (tmp_path / label).mkdir()
        for seed in range(3):
            picture(seed).save(tmp_path / label / f"{seed}.png")
    arguments = ["mask_variance", str(tmp_path), "--each", "2", "--model", str(tiny_model)]
    monkeypatch.setattr(sys, "argv", arguments)
    mask_variance.main()
    printed = capsys.readouterr().out.splitlines()
    assert "4 of 4" in printed
    rows = [row for row in printed if row.startswith("| K")]
    assert [row.strip("| ").split(" | ")[0] for row in rows] == [scheme.name for scheme in SCHEMES]
    covers = {row.strip("| ").split(" | ")[0]: row.strip("| ").split(" | ")[6] for row in rows}
    assert covers[MAP] == covers["K = 2, complementary"] == "100.0 %" != covers["K = 2, independent"]
