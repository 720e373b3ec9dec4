import dataclasses
import hashlib
import json

import pytest

from cinemae.config import (
    AugmentConfig,
    BackboneInfo,
    DecisionConfig,
    DeviationConfig,
    ExtractorConfig,
    GlobalFeatureConfig,
    HeadConfig,
    ImageConfig,
    LcasConfig,
    LcasReference,
    MaskConfig,
    ModelConfig,
    OodReference,
    TrainConfig,
)
from cinemae.errors import ConfigError
from cinemae.pretrain_config import PretrainConfig

BACKBONE_HASH = "0" * 64
CHANGED = {
    ImageConfig: {
        "size": 112,
        "resize": "stretch",
        "resize_to": 448,
        "views": "five",
        "jpeg_quality": 90,
        "mean": (0.5, 0.5, 0.5),
        "std": (0.25, 0.25, 0.25),
    },
    MaskConfig: {"mask_ratio": 0.5, "num_passes": 4, "scheme": "complementary", "seed": 7},
    DeviationConfig: {"pixel_space": "unit", "unbiased": True, "sigma_floor": 0.5},
    ExtractorConfig: {
        "image": ImageConfig(size=112),
        "mask": MaskConfig(seed=3),
        "deviation": DeviationConfig(unbiased=True),
        "global_feature": GlobalFeatureConfig(cls_layers=(3,)),
    },
    GlobalFeatureConfig: {
        "cls_layers": (1, 3),
        "token_statistics": ("cls", "std"),
        "block_spectrum": True,
        "texture": True,
    },
    AugmentConfig: {
        "seed": 3,
        "min_crop": 0.5,
        "mirror": 0.0,
        "blur": 1.0,
        "max_blur_radius": 2.0,
        "recompress": 0.25,
        "min_quality": 30,
        "max_quality": 70,
    },
    LcasConfig: {"fidelity_weight": 0.3, "reduction": "literal"},
    HeadConfig: {
        "global_dim": 6,
        "view_pooling": "mean_std",
        "statistics": ("overall",),
        "use_global": False,
        "fusion": "gate",
        "fusion_level": "late",
        "agg_hidden": 5,
        "cls_hidden": (4, 3),
        "activation": "relu",
        "dropout": 0.25,
        "standardize_statistics": False,
        "standardize_global": True,
        "clip_global": 5.0,
    },
    TrainConfig: {
        "learning_rate": 0.5,
        "batch_size": 3,
        "epochs": 2,
        "weight_decay": 0.01,
        "class_balance": "generator",
        "seed": 9,
        "num_seeds": 1,
        "views_drawn": 3,
        "target_fpr": 0.05,
        "target_fnr": 0.2,
        "optimizer": "lbfgs",
    },
    DecisionConfig: {
        "threshold": 0.75,
        "real_below": 0.25,
        "platt_scale": 2.0,
        "platt_offset": -1.0,
        "rule": "by hand",
        "calibration": "isotonic",
        "knot_logits": (-1.0, 2.0),
        "knot_log_odds": (-0.5, 0.5),
        "target_fpr": 0.01,
        "target_fnr": 0.2,
        "measured_fpr": 0.0125,
        "measured_fnr": 0.0,
    },
    PretrainConfig: {
        "hidden_size": 16,
        "num_hidden_layers": 1,
        "num_attention_heads": 2,
        "decoder_hidden_size": 8,
        "decoder_num_hidden_layers": 1,
        "decoder_num_attention_heads": 1,
        "image_size": 32,
        "patch_size": 8,
        "mask_ratio": 0.5,
        "batch_size": 4,
        "learning_rate": 0.5,
        "min_learning_rate": 0.1,
        "weight_decay": 0.1,
        "beta2": 0.99,
        "warmup_steps": 3,
        "schedule": "constant",
        "gradient_clip": 2.0,
        "ema_decay": 0.5,
        "min_scale": 0.1,
        "max_scale": 0.9,
        "recompress": 0.0,
        "seed": 5,
    },
    BackboneInfo: {"content_hash": "ab" * 32, "patch_size": 8, "num_patches": 16, "hidden_size": 6},
    LcasReference: {"levels": (0.0, 1.0), "values": (-2.0, 3.0)},
    OodReference: {"levels": (0.0, 1.0), "values": (5.0, 9.0), "limit": 0.9},
}
FIELDS = [(kind, name, value) for kind, changes in CHANGED.items() for name, value in changes.items()]


def _base(kind):
    """What one setting is changed of: some kinds need several settings that fit each other."""
    return kind(**CHANGED[kind]) if kind in (BackboneInfo, DecisionConfig) else kind()


def _model(**changes):
    values = {
        "name": "tiny",
        "backbone": BackboneInfo(**CHANGED[BackboneInfo]),
        "extractor": ExtractorConfig(),
        "lcas": LcasConfig(),
        "head": HeadConfig(),
        "decision": DecisionConfig(threshold=0.75, real_below=0.25),
        "reference": LcasReference(levels=(0.0, 1.0), values=(-2.0, 3.0)),
        "provenance": {"data": [{"set": "a", "images": 3}]},
    }
    return ModelConfig(**{**values, **changes})


@pytest.mark.parametrize("kind", CHANGED)
def test_these_tests_know_every_setting(kind):
    assert set(CHANGED[kind]) == {field.name for field in dataclasses.fields(kind)}


@pytest.mark.parametrize(("kind", "name", "value"), FIELDS)
def test_every_setting_survives_json(kind, name, value):
    config = dataclasses.replace(_base(kind), **{name: value})
    assert kind.from_dict(json.loads(json.dumps(config.to_dict()))) == config


@pytest.mark.parametrize("kind", CHANGED)
def test_all_settings_changed_at_once_survive_json(kind):
    config = kind(**CHANGED[kind])
    assert kind.from_dict(json.loads(json.dumps(config.to_dict()))) == config


@pytest.mark.parametrize("kind", CHANGED)
def test_settings_cannot_be_changed_in_place(kind):
    config = kind(**CHANGED[kind])
    with pytest.raises(dataclasses.FrozenInstanceError):
        setattr(config, dataclasses.fields(config)[0].name, None)


@pytest.mark.parametrize("kind", CHANGED)
def test_an_unknown_key_is_refused_by_name(kind):
    values = {**kind(**CHANGED[kind]).to_dict(), "colour": 1}
    with pytest.raises(ConfigError, match=f"{kind.__name__} has no setting colour. It was written by another version"):
        kind.from_dict(values)


def test_an_unknown_key_deep_inside_is_refused():
    values = ExtractorConfig().to_dict()
    values["mask"]["colour"] = 1
    with pytest.raises(ConfigError, match="MaskConfig has no setting colour"):
        ExtractorConfig.from_dict(values)


@pytest.mark.parametrize(
    ("kind", "settings", "sentence"),
    [
        (ImageConfig, {"size": 0}, "size must be positive, got 0"),
        (ImageConfig, {"resize_to": 200}, r"resize_to must be at least size \(224\), got 200"),
        (ImageConfig, {"views": "tiles"}, r"a multiple of size \(224\), got 256"),
        (ImageConfig, {"views": "nine"}, '"five", "tiles", "checkered" or "whole_native", got \'nine\''),
        (ImageConfig, {"resize": "crop"}, 'resize must be "shortest_edge" or "stretch", got \'crop\''),
        (ImageConfig, {"views": "whole_native", "resize": "stretch"}, "leave resize .* got 'stretch' and None"),
        (ImageConfig, {"views": "whole_native", "jpeg_quality": 90}, "own pixels: .* got 'shortest_edge' and 90"),
        (GlobalFeatureConfig, {"token_statistics": ()}, "some of cls, mean, std, each named once, got none"),
        (GlobalFeatureConfig, {"token_statistics": ("mean", "mean")}, "each named once, got mean, mean"),
        (GlobalFeatureConfig, {"token_statistics": ("max",)}, "some of cls, mean, std, each named once, got max"),
        (HeadConfig, {"clip_global": 0.0}, "clip_global is a positive number of deviations .* got 0.0"),
        (HeadConfig, {"clip_global": 5.0, "standardize_global": False}, "got 5.0 with standardize_global False"),
        (TrainConfig, {"optimizer": "sgd"}, 'optimizer must be "adam" or "lbfgs", got \'sgd\''),
        (ImageConfig, {"jpeg_quality": 0}, "jpeg_quality must be from 1 to 100, or None"),
        (MaskConfig, {"mask_ratio": 1.0}, "mask_ratio must lie between 0 and 1, got 1.0"),
        (MaskConfig, {"num_passes": 0}, "num_passes must be at least 1, got 0"),
        (MaskConfig, {"scheme": "random"}, 'scheme must be "independent" or "complementary", got \'random\''),
        (DeviationConfig, {"sigma_floor": 0.0}, "sigma_floor must be positive, got 0.0"),
        (DeviationConfig, {"pixel_space": "raw"}, 'pixel_space must be "normalized" or "unit", got \'raw\''),
        (AugmentConfig, {"seed": -1}, "seed must not be negative, got -1"),
        (AugmentConfig, {"min_crop": 0.0}, r"min_crop must lie in \(0, 1\], got 0.0"),
        (AugmentConfig, {"mirror": 1.5}, r"mirror must lie in \[0, 1\], got 1.5"),
        (AugmentConfig, {"blur": -0.5}, r"blur must lie in \[0, 1\], got -0.5"),
        (AugmentConfig, {"recompress": 2}, r"recompress must lie in \[0, 1\], got 2"),
        (AugmentConfig, {"max_blur_radius": -1.0}, "max_blur_radius must not be negative, got -1.0"),
        (AugmentConfig, {"min_quality": 96}, "min_quality <= max_quality <= 100, got 96 and 95"),
        (LcasConfig, {"fidelity_weight": -1.0}, r"fidelity_weight \(lambda\) must not be negative"),
        (LcasConfig, {"reduction": "max"}, 'reduction must be "mean", "sum" or "literal", got \'max\''),
        (HeadConfig, {"global_dim": 0}, "global_dim must be positive, got 0"),
        (HeadConfig, {"activation": "tanh"}, 'activation must be "gelu" or "relu", got \'tanh\''),
        (
            TrainConfig,
            {"class_balance": "all"},
            'class_balance must be "none", "class" or "generator", got \'all\'',
        ),
        (TrainConfig, {"learning_rate": 0.0}, "learning_rate must be positive"),
        (TrainConfig, {"batch_size": 0}, "batch_size must be at least 1"),
        (TrainConfig, {"epochs": 0}, "epochs must be at least 1"),
        (
            HeadConfig,
            {"view_pooling": "max"},
            'view_pooling must be "logit", "mean", "mean_std" or "concat", got \'max\'',
        ),
        (TrainConfig, {"views_drawn": 1}, "views_drawn must be at least 2, or None for all views, got 1"),
        (TrainConfig, {"num_seeds": 0}, "num_seeds must be at least 1"),
        (TrainConfig, {"target_fpr": 0.0}, "target_fpr must lie between 0 and 1"),
        (TrainConfig, {"target_fnr": 1.0}, "target_fnr must lie between 0 and 1"),
        (DecisionConfig, {"threshold": 1.5}, r"threshold must lie in \[0, 1\], got 1.5"),
        (DecisionConfig, {"real_below": 0.6}, r"real_below must lie between 0 and threshold \(0.5\), got 0.6"),
        (DecisionConfig, {"platt_scale": -1.0}, "platt_scale must not be negative, got -1.0"),
        (DecisionConfig, {"calibration": "beta"}, 'calibration must be "platt" or "isotonic", got \'beta\''),
        (DecisionConfig, {"calibration": "isotonic"}, r"two knots or more, and both .* ascend, got \(\) and \(\)"),
        (
            DecisionConfig,
            {"calibration": "isotonic", "knot_logits": (0.0, 1.0), "knot_log_odds": (1.0, 1.0)},
            r"both logits and log-odds ascend, got \(0.0, 1.0\) and \(1.0, 1.0\)",
        ),
        (
            DecisionConfig,
            {"calibration": "isotonic", "knot_logits": (0.0, 1.0, 2.0), "knot_log_odds": (1.0, 2.0)},
            "an isotonic curve has two knots or more",
        ),
        (PretrainConfig, {"patch_size": 15}, "image_size must be a multiple of patch_size, got 224 and 15"),
        (PretrainConfig, {"min_scale": 0.9, "max_scale": 0.5}, "0 < min_scale <= max_scale <= 1, got 0.9 and 0.5"),
        (PretrainConfig, {"recompress": 1.5}, r"recompress must lie in \[0, 1\], got 1.5"),
        (PretrainConfig, {"ema_decay": 1.0}, r"ema_decay must lie in \[0, 1\), got 1.0"),
        (PretrainConfig, {"schedule": "linear"}, 'schedule must be "cosine" or "constant", got \'linear\''),
    ],
)
def test_values_outside_the_rules_are_refused_with_a_sentence(kind, settings, sentence):
    with pytest.raises(ConfigError, match=sentence):
        kind(**settings)


def test_a_size_that_plays_no_part_makes_no_difference():
    one, other = (ImageConfig(size=64, resize_to=side, views="whole_native") for side in (64, 256))
    assert one == other
    assert (one.resize_to, one.num_views, one.square_side, one.tile_places) == (73, 2, 64, ((0, 0),))


@pytest.mark.parametrize(
    ("config", "names"),
    [
        (HeadConfig(agg_hidden=8), {"clip_global"}),
        (TrainConfig(epochs=2), {"optimizer"}),
        (GlobalFeatureConfig(cls_layers=(1, 3)), {"token_statistics", "block_spectrum", "texture"}),
        (ExtractorConfig(mask=MaskConfig(seed=1)), {"global_feature"}),
    ],
)
def test_settings_that_came_later_are_written_where_they_are_changed_alone(config, names):
    fields = {field.name for field in dataclasses.fields(config)}
    assert fields - set(config.to_dict()) == names
    changed = dataclasses.replace(config, **{name: CHANGED[type(config)][name] for name in names})
    assert set(changed.to_dict()) == fields


def test_the_papers_values_are_the_defaults():
    mask, lcas, head, train = MaskConfig(), LcasConfig(), HeadConfig(), TrainConfig()
    assert (ImageConfig().size, mask.mask_ratio, mask.num_passes) == (224, 0.75, 2)
    assert (lcas.fidelity_weight, head.global_dim, head.fusion, head.fusion_level) == (0.1, 1024, "add", "early")
    assert head.statistics == ("variability", "overall", "sensitivity")
    assert (train.learning_rate, train.batch_size, train.epochs) == (1e-4, 32, 25)


PARTS = {
    "image": ImageConfig,
    "mask": MaskConfig,
    "deviation": DeviationConfig,
    "global_feature": GlobalFeatureConfig,
}


class TestFingerprint:
    def test_of_the_defaults_is_fixed_for_ever(self):
        text = json.dumps(
            {"backbone": BACKBONE_HASH, "extractor": {"deviation": {}, "image": {}, "mask": {}}}, sort_keys=True
        )
        expected = hashlib.sha256(text.encode()).hexdigest()[:16]
        assert ExtractorConfig().fingerprint(BACKBONE_HASH) == expected == "541a5e534cf6f6fd"

    def test_of_changed_settings_is_fixed_for_ever(self):
        parts = (ImageConfig, MaskConfig, DeviationConfig)
        extractor = ExtractorConfig(*(kind(**CHANGED[kind]) for kind in parts))
        assert extractor.fingerprint(BACKBONE_HASH) == "c7fa98508390fb86"

    def test_of_joined_layers_is_fixed_for_ever(self):
        changed = {"deviation": {}, "global_feature": {"cls_layers": [6, 9, 12]}, "image": {}, "mask": {}}
        text = json.dumps({"backbone": BACKBONE_HASH, "extractor": changed}, sort_keys=True)
        extractor = ExtractorConfig(global_feature=GlobalFeatureConfig(cls_layers=(6, 9, 12)))
        assert extractor.fingerprint(BACKBONE_HASH) == hashlib.sha256(text.encode()).hexdigest()[:16]

    def test_rests_on_defaults_that_may_never_change(self):
        assert ExtractorConfig().to_dict() == {
            "image": {
                "size": 224,
                "resize": "shortest_edge",
                "resize_to": 256,
                "views": "center",
                "jpeg_quality": None,
                "mean": [0.485, 0.456, 0.406],
                "std": [0.229, 0.224, 0.225],
            },
            "mask": {"mask_ratio": 0.75, "num_passes": 2, "scheme": "independent", "seed": 0},
            "deviation": {"pixel_space": "normalized", "unbiased": False, "sigma_floor": 0.001},
        }

    @pytest.mark.parametrize(
        ("part", "kind", "name", "value"),
        [(part, kind, name, value) for part, kind in PARTS.items() for name, value in CHANGED[kind].items()],
    )
    def test_changes_with_every_setting(self, part, kind, name, value):
        changed = ExtractorConfig(**{part: dataclasses.replace(kind(), **{name: value})})
        assert changed.fingerprint(BACKBONE_HASH) != ExtractorConfig().fingerprint(BACKBONE_HASH)

    def test_of_all_single_changes_differ_from_each_other(self):
        prints = [
            ExtractorConfig(**{part: dataclasses.replace(kind(), **{name: value})}).fingerprint(BACKBONE_HASH)
            for part, kind in PARTS.items()
            for name, value in CHANGED[kind].items()
        ]
        assert len(set(prints)) == len(prints)

    def test_changes_with_the_backbone(self):
        extractor = ExtractorConfig()
        assert extractor.fingerprint(BACKBONE_HASH) != extractor.fingerprint("1" * 64)

    def test_survives_json(self):
        extractor = ExtractorConfig(
            mask=MaskConfig(mask_ratio=0.5), global_feature=GlobalFeatureConfig(cls_layers=(2, 5))
        )
        read = ExtractorConfig.from_dict(json.loads(json.dumps(extractor.to_dict())))
        assert read.fingerprint(BACKBONE_HASH) == extractor.fingerprint(BACKBONE_HASH)


@pytest.mark.parametrize(
    ("settings", "dim"),
    [
        ({}, 8),
        ({"cls_layers": (1, 2)}, 16),
        ({"cls_layers": (5, 7, 9), "token_statistics": ("cls", "mean", "std")}, 72),
        ({"cls_layers": (5, 7, 9), "block_spectrum": True}, 24 + 378),
        ({"cls_layers": (5, 7, 9), "block_spectrum": True, "texture": True}, 24 + 378 + 918),
    ],
)
def test_the_length_of_a_global_feature(settings, dim):
    assert GlobalFeatureConfig(**settings).dim(8) == dim


@pytest.mark.parametrize("layers", [(0, 3), (3, 1), (2, 2), (-1,)])
def test_layers_that_do_not_ascend_from_one_are_refused(layers):
    with pytest.raises(ConfigError, match="cls_layers must ascend from 1 or more, each named once"):
        GlobalFeatureConfig(cls_layers=layers)


class TestModelConfig:
    def test_survives_json(self):
        model = _model()
        assert ModelConfig.from_dict(json.loads(json.dumps(model.to_dict()))) == model

    def test_states_its_fingerprint(self):
        model = _model()
        assert model.to_dict()["fingerprint"] == model.fingerprint
        assert model.fingerprint == model.extractor.fingerprint(model.backbone.content_hash)

    @pytest.mark.parametrize("version", [2, "1", None])
    def test_of_another_version_is_refused(self, version):
        values = {**_model().to_dict(), "format_version": version}
        with pytest.raises(ConfigError, match=f"reads model format_version 1, the model says {version!r}: upgrade"):
            ModelConfig.from_dict(values)

    @pytest.mark.parametrize(
        "key", ["name", "backbone", "extractor", "lcas", "head", "decision", "reference", "provenance"]
    )
    def test_lacking_a_key_is_refused_by_name(self, key):
        values = _model().to_dict()
        del values[key]
        with pytest.raises(ConfigError, match=f"needs the keys {key}, which are missing"):
            ModelConfig.from_dict(values)

    def test_edited_by_hand_is_refused_naming_both_fingerprints(self):
        values = _model().to_dict()
        values["extractor"]["mask"]["seed"] = 1
        edited = ExtractorConfig(mask=MaskConfig(seed=1)).fingerprint(_model().backbone.content_hash)
        with pytest.raises(
            ConfigError, match=f"states fingerprint {_model().fingerprint} but .* give {edited}: it was"
        ):
            ModelConfig.from_dict(values)

    def test_a_model_of_before_there_was_doubt_still_loads(self):
        values = _model().to_dict()
        del values["ood"], values["precision"]
        for name in ("calibration", "knot_logits", "knot_log_odds", "target_fpr", "target_fnr"):
            del values["decision"][name]
        model = ModelConfig.from_dict(values)
        assert model.ood == OodReference()
        assert (model.decision.calibration, model.decision.target_fpr) == ("platt", None)

    def test_settings_that_came_later_leave_the_id_of_older_models(self):
        values = _model().to_dict()
        older = {name: values["decision"][name] for name in ("threshold", "real_below", "platt_scale", "platt_offset")}
        del values["ood"], values["precision"]
        values["decision"] = {**older, "rule": "none: not calibrated"}
        digest = hashlib.sha256(json.dumps(values, sort_keys=True).encode()).hexdigest()
        assert _model().model_id == f"tiny@{digest[:12]}"

    def test_a_precision_that_is_none_is_refused(self):
        with pytest.raises(ConfigError, match="precision is fp32 or int8, config.json says 'bf16'"):
            ModelConfig.from_dict({**_model().to_dict(), "precision": "bf16"})

    def test_thresholds_may_be_edited_by_hand(self):
        values = _model().to_dict()
        values["decision"]["threshold"] = 0.9
        assert ModelConfig.from_dict(values).decision.threshold == 0.9

    def test_id_is_the_name_and_twelve_digits(self):
        name, _, digits = _model().model_id.partition("@")
        assert (name, len(digits)) == ("tiny", 12)
        assert set(digits) <= set("0123456789abcdef")

    @pytest.mark.parametrize(
        "change",
        [
            {"name": "other"},
            {"decision": DecisionConfig()},
            {"lcas": LcasConfig(fidelity_weight=0.2)},
            {"head": HeadConfig(agg_hidden=8)},
            {"extractor": ExtractorConfig(mask=MaskConfig(seed=1))},
            {"provenance": {}},
            {"ood": OodReference(levels=(0.0, 1.0), values=(1.0, 2.0))},
            {"precision": "int8"},
        ],
    )
    def test_id_changes_with_every_setting_and_survives_json(self, change):
        model = _model(**change)
        assert model.model_id.partition("@")[2] != _model().model_id.partition("@")[2]
        assert ModelConfig.from_dict(json.loads(json.dumps(model.to_dict()))).model_id == model.model_id
