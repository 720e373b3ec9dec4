"""Methods on the four folds: trained on the others, and what the page says of how long."""

import json

import numpy as np
import onnx
import onnx.parser
import pytest
from benchmarks import starter_methods
from benchmarks.starter_methods import clip_features, judge_clip, judge_method, render
from benchmarks.starter_store import Pictures

pytestmark = pytest.mark.usefixtures("one_thread")


@pytest.fixture
def pictures():
    """Two folds of 24 pictures: generated ones of either fold, a family each, are the brighter ones."""
    fold, fake = np.repeat([0, 1], 24), np.tile(np.repeat([False, True], 12), 2)
    family = np.where(fake, np.where(fold == 0, "gan", "flux"), "")
    names = np.array([f"{number:064x}" for number in range(48)])
    return Pictures(sha256=names, fake=fake, group=np.where(fake, family, "camera"), family=family, fold=fold)


@pytest.fixture
def pixels(pictures):
    noise = np.random.default_rng(0).integers(0, 60, (48, 32, 32, 3))
    return (noise + 150 * pictures.fake[:, None, None, None]).astype(np.uint8)


SPEC = "cnnspot,epochs=6,patience=1,crop=32,depths=1,width=4,block=basic,learning_rate=0.02"


def test_each_fold_is_judged_by_a_network_that_stopped_by_what_it_held_out(pictures, pixels, capsys):
    row = judge_method(SPEC, pictures, pixels, most=12)
    assert row.families == {"flux": 1.0, "gan": 1.0}
    assert row.seen_auc == 1.0
    assert 2 <= row.epochs < 6
    assert (row.trained_on, row.generated, row.photographs) == (24, 24, 24)
    assert capsys.readouterr().out.count("epochs, held out 1.000") == 2


MEAN_COLOUR = """<ir_version: 8, opset_import: ["" : 17]>
encoder (float[1,3,H,W] pixel_values) => (float[1,C] image_embeds) {
    means = GlobalAveragePool(pixel_values)
    image_embeds = Flatten(means)
}"""


def test_a_probe_learns_from_the_features_of_an_onnx_file(pictures, pixels, tmp_path):
    """Mean colour in CLIP's place, whose file is not at hand: input and output are named as there."""
    encoder = tmp_path / "clip.onnx"
    encoder.write_bytes(onnx.parser.parse_model(MEAN_COLOUR).SerializeToString())
    found = clip_features(encoder, pixels[:3])
    mean, std = np.array([0.48145466, 0.4578275, 0.40821073]), np.array([0.26862954, 0.26130258, 0.27577711])  # CLIP's
    np.testing.assert_allclose(found, (pixels[:3].mean((1, 2)) / 255 - mean) / std, atol=1e-5)
    row = judge_clip(encoder, pictures, pixels)
    assert row.families == {"flux": 1.0, "gan": 1.0}
    assert (row.trained_on, row.generated, row.photographs) == (24, 24, 24)


def test_a_method_without_epochs_has_none_on_the_page(pictures, pixels, monkeypatch, tmp_path):
    row = judge_method("fredect,crop=32", pictures, pixels, most=12)
    assert (row.epochs, row.seen_auc) == (None, None)
    record = tmp_path / "rows.json"
    monkeypatch.setattr(starter_methods, "RECORD", record)
    starter_methods._add(row)
    assert json.loads(record.read_text(encoding="utf-8"))[0]["epochs"] is None
    line = next(line for line in render().splitlines() if "`fredect,crop=32`" in line)
    assert [cell.strip() for cell in line.split("|")][5:8] == ["", "24", ""]
