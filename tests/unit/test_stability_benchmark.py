"""The count of verdicts that another delivery takes back: benchmarks/stability.py on a few drawn pictures."""

from __future__ import annotations

import importlib
from pathlib import Path

import numpy as np
import pytest

ROOT = Path(__file__).resolve().parents[2]


@pytest.fixture
def stability(monkeypatch):
    """`benchmarks.stability`, which is no part of the package."""
    monkeypatch.syspath_prepend(str(ROOT))
    return importlib.import_module("benchmarks.stability")


def test_flips_are_counted_among_pictures_of_which_something_was_said(stability):
    labels = np.array([0, 0, 0, 1, 1])
    words = {
        "raw": np.array(["ai", "real", "uncertain", "ai", "ai"]),
        "jpeg=60": np.array(["ai", "uncertain", "ai", "ai", "real"]),
        "resize=0.5": np.array(["real", "real", "real", "ai", "ai"]),
        "webp=80": np.array(["ai", "real", "ai", "ai", "ai"]),
    }
    found = stability._count(words, labels)
    photographs, fakes = found["photographs"], found["generated"]
    assert (photographs["called ai"]["value"], photographs["called ai"]["n"]) == (pytest.approx(1 / 3), 3)
    assert {name: row["value"] for name, row in photographs["flips"].items()} == {
        "jpeg=60": 0.5,
        "resize=0.5": 0.5,
        "webp=80": 0.0,
    }
    assert (photographs["flips in any"]["value"], photographs["contradicted in any"]["value"]) == (1.0, 0.5)
    assert photographs["flips in any"]["n"] == 2
    assert (fakes["flips in any"]["value"], fakes["contradicted in any"]["value"]) == (0.5, 0.5)


def test_every_readable_picture_is_counted_in_both_ways(stability, tiny_model, tmp_path, picture):
    for number, folder in enumerate(("real/phone", "fake/gan")):
        (tmp_path / folder).mkdir(parents=True)
        for index in range(3):
            picture(10 * number + index, 80, 60).save(tmp_path / folder / f"{index}.png")
    (tmp_path / "real/phone/broken.png").write_bytes(b"no picture")
    record = stability.measure(str(tmp_path), str(tiny_model))
    assert record["images"] == {"photographs": 3, "generated": 3}
    for kind in ("photographs", "generated"):
        plain, stable = record["without"][kind], record["with"][kind]
        assert plain["called ai"]["n"] == stable["called ai"]["n"] == 3
        for word in ("called ai", "called real"):  # doubt only takes words back
            assert stable[word]["value"] <= plain[word]["value"]
