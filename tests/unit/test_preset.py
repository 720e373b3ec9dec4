"""The paper and nothing else: what the preset sets, what it lets pass, and what the settings say of themselves."""

from __future__ import annotations

import dataclasses
import inspect
import re

import pytest

from cinemae.config import (
    DeviationConfig,
    ExtractorConfig,
    GlobalFeatureConfig,
    HeadConfig,
    ImageConfig,
    LcasConfig,
    MaskConfig,
    TrainConfig,
)
from cinemae.errors import ConfigError
from cinemae.preset import PAPER, refuse_other_than_paper

SETTINGS = (ImageConfig, MaskConfig, DeviationConfig, GlobalFeatureConfig, LcasConfig, HeadConfig, TrainConfig)
ORIGIN = re.compile(r"^    (\w+): .* = .*  # (?P<origin>.+)$", re.MULTILINE)
DEPARTURE = re.compile(r'ours; (?:paper|as printed): ("\w+"|False)')


def test_it_is_what_the_paper_states():
    image = PAPER.extractor().image
    assert (image.size, image.views, image.num_views, image.jpeg_quality) == (224, "center", 1, None)
    assert PAPER.extractor(64).image == ImageConfig.of_size(64)
    train = PAPER.train
    assert (train.optimizer, train.learning_rate, train.batch_size, train.epochs) == ("adam", 1e-4, 32, 25)
    assert (train.class_balance, train.weight_decay, PAPER.lcas.fidelity_weight) == ("none", 0, 0.1)
    assert (PAPER.head.fusion, PAPER.head.fusion_level, PAPER.head.clip_global) == ("add", "early", None)


def test_it_departs_from_the_defaults_in_what_it_says():
    assert PAPER.changed() == {
        "standardize_statistics": False,
        "standardize_global": False,
        "reduction": "literal",
        "class_balance": "none",
    }


@pytest.mark.parametrize("kind", SETTINGS)
def test_every_setting_says_whether_it_is_the_papers_or_ours(kind):
    said = dict(ORIGIN.findall(inspect.getsource(kind)))
    assert set(said) == {field.name for field in dataclasses.fields(kind)}
    assert all("paper" in origin or "ours" in origin for origin in said.values())


def test_where_a_default_departs_the_comment_names_what_the_preset_has():
    said = {}
    for kind in SETTINGS:
        for name, origin in ORIGIN.findall(inspect.getsource(kind)):
            if found := DEPARTURE.match(origin):
                said[name] = {"False": False}.get(found[1], found[1].strip('"'))
    assert said == PAPER.changed()


@pytest.mark.parametrize(
    "config",
    [
        ExtractorConfig(),
        ExtractorConfig(image=ImageConfig.of_size(64)),
        ExtractorConfig(
            image=ImageConfig(resize="stretch"), mask=MaskConfig(seed=3), deviation=DeviationConfig(pixel_space="unit")
        ),
    ],
)
def test_a_frozen_half_that_departs_nowhere_or_where_the_paper_is_silent_passes(config):
    refuse_other_than_paper(config, "a store")


@pytest.mark.parametrize(
    ("config", "words"),
    [
        (ExtractorConfig(image=ImageConfig(views="five")), r"a store has, .*, image\.views 'five' \('center'\):"),
        (ExtractorConfig(image=ImageConfig(jpeg_quality=92)), r"image\.jpeg_quality 92 \(None\)"),
        (ExtractorConfig(mask=MaskConfig(num_passes=4, mask_ratio=0.5)), r"mask_ratio 0.5 .*, mask.num_passes 4 \(2\)"),
        (ExtractorConfig(mask=MaskConfig(scheme="complementary")), r"mask\.scheme 'complementary' \('independent'\)"),
        (ExtractorConfig(global_feature=GlobalFeatureConfig(cls_layers=(6, 12))), r"cls_layers \(6, 12\) \(\(\)\)"),
        (ExtractorConfig(global_feature=GlobalFeatureConfig(block_spectrum=True)), r"block_spectrum True \(False\)"),
        (ExtractorConfig(global_feature=GlobalFeatureConfig(texture=True)), r"texture True \(False\)"),
    ],
)
def test_what_departs_is_refused_by_name(config, words):
    with pytest.raises(ConfigError, match=words):
        refuse_other_than_paper(config, "a store")
