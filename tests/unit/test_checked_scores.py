from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import pytest

from cinemae.errors import ModelDirError
from cinemae.models.checked_scores import CheckedScores, read_checked_scores


def test_a_score_is_placed_among_those_of_its_class():
    logits, labels = np.arange(200.0), np.repeat([0, 1], 100)
    checked = CheckedScores.of(logits, labels, uncertain=0.5)
    assert (checked.n_real, checked.n_fake) == (100, 100)
    assert checked.photographs_below(-1.0) == 0
    assert checked.photographs_below(74.25) == pytest.approx((logits[:100] < 74.25).mean(), abs=0.01)
    assert checked.generated_above(119.8) == pytest.approx((logits[100:] > 119.8).mean(), abs=0.01)


def test_models_of_before_have_none_and_damage_is_told(tmp_path: Path):
    assert read_checked_scores(tmp_path) is None
    file = tmp_path / "calibration.json"
    file.write_text(json.dumps({"n_real": 3}))
    assert read_checked_scores(tmp_path) is None
    for damaged in ({"n_real": "many"}, {"n_real": 2, "n_fake": 2, "real": [1.0, 0.0], "fake": [0.0, 1.0]}):
        file.write_text(json.dumps({"checked_scores": damaged}))
        with pytest.raises(ModelDirError, match="restore it, or delete it"):
            read_checked_scores(tmp_path)
