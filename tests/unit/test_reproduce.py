"""Protocols run on a small set of drawn pictures with the tiny model: real files, real stores, real training."""

from __future__ import annotations

import json
from dataclasses import replace

import numpy as np
import pytest
from sklearn.metrics import roc_auc_score

from cinemae.detect.extract_job import ExtractorSource
from cinemae.errors import ConfigError, EvaluationError
from cinemae.evaluation.compare import compare, pick
from cinemae.evaluation.predictions import Predictions
from cinemae.evaluation.protocols import finetuning
from cinemae.evaluation.protocols.bench_data import Surveyor, find_data
from cinemae.evaluation.protocols.finetuning import FinetuneOptions
from cinemae.evaluation.protocols.heads import HeadRecipe, train_heads
from cinemae.evaluation.protocols.measure import Bench, Scored, cell
from cinemae.evaluation.protocols.protocol import ProtocolColumn, ProtocolRow, read_protocol
from cinemae.evaluation.protocols.reproduce import Reproduced, ReproduceOptions, Reproducer, save
from cinemae.evaluation.protocols.stand_in import STARTER_ROW, adapt
from cinemae.evaluation.protocols.store_cache import StoreCache
from cinemae.evaluation.tables import tabulate
from cinemae.features.training_set import hold_out
from cinemae.fit.start import Start
from cinemae.preset import PAPER
from cinemae.sources.layouts import read_dataset
from cinemae.stores.features import FeatureStore

pytestmark = pytest.mark.usefixtures("one_thread")

GENERATORS = {"train": ("gen-a", "sd1.4"), "val": ("gen-b", "gen-c")}


TINY = (
    "npr,crop=16,width=4",
    "cnnspot,crop=32,width=4,depths=1+1",
    "swin,crop=32,depths=1,heads=1,width=8,window=4",
    "spec,crop=16,depths=1+1,width=4",
    "f3net,crop=72,width=8,middle=1",
    "gramnet,crop=16,depths=1+1,width=4",
    "fusing,crop=48,depths=1+1,width=4",
    "lnp,crop=16,depths=1+1,width=4",
    "patchcraft,crop=16",
)


@pytest.fixture(scope="module")
def root(tmp_path_factory, picture):
    """Eight photographs and eight fakes of each of two generators, for training and for testing."""
    root = tmp_path_factory.mktemp("bench")
    seed = 0
    for split, generators in GENERATORS.items():
        for folder in ("real/camera", *(f"fake/{name}" for name in generators)):
            target = root / split / folder
            target.mkdir(parents=True)
            for index in range(8):
                seed += 1
                picture(seed).save(target / f"{index}.png")
    (root / "val" / "real" / "camera" / "broken.png").write_bytes(b"no picture")
    return root


@pytest.fixture(scope="module")
def work(tmp_path_factory):
    return tmp_path_factory.mktemp("work")


@pytest.fixture(scope="module")
def reproducer(root, work, tiny_model):
    baselines = {spec.partition(",")[0]: f"{spec},epochs=1" for spec in TINY}
    return Reproducer(ReproduceOptions(data=root, work=work, model=str(tiny_model), baselines=baselines, seeds=2))


@pytest.fixture(scope="module")
def bench(root, work, tiny_model):
    data = find_data(read_protocol("table1"), root)
    return Bench(data, StoreCache(work / "model", Start.of(ExtractorSource(str(tiny_model)))), 2, {})


class TestData:
    def test_a_folder_with_train_and_val_stands_in(self, bench):
        assert bench.data.stand_in
        assert bench.data.train_generators == ("SD v1.4", "gen-a")
        assert bench.data.test_generators == ("gen-b", "gen-c")
        assert bench.data.unread == 1
        assert bench.data.describe()["test"] == {"photographs": 8, "fakes": {"gen-b": 8, "gen-c": 8}}

    def test_the_papers_layout_is_told(self, tmp_path, picture):
        for seed, (generator, split) in enumerate([("SD v1.4", "train"), ("SD v1.4", "val"), ("BigGAN", "val")]):
            folder = {
                "SD v1.4": "stable_diffusion_v_1_4/imagenet_ai_0419_sdv4",
                "BigGAN": "BigGAN/imagenet_ai_0419_biggan",
            }
            for number, label in enumerate(("ai", "nature")):
                target = tmp_path / folder[generator] / split / label
                target.mkdir(parents=True)
                for index in range(3):
                    picture(100 * seed + 10 * number + index).save(target / f"{index}.png")
        data = find_data(read_protocol("table1"), tmp_path)
        assert not data.stand_in
        assert data.train_generators == ("SD v1.4",)
        assert data.test_generators == ("BigGAN", "SD v1.4")
        assert set(data.train_images.generator) == {"SD v1.4"}
        assert len(data.test_images) == 12

    def test_an_image_in_both_is_refused(self, root, tmp_path):
        import shutil

        shutil.copytree(root, tmp_path / "both")
        shutil.copy(root / "train/real/camera/0.png", tmp_path / "both/val/real/camera/again.png")
        with pytest.raises(EvaluationError, match="1 of the test images .* such as .*again"):
            find_data(read_protocol("table1"), tmp_path / "both")


class TestStandIn:
    def test_named_columns_become_those_of_the_generators_at_hand(self):
        adapted = adapt(read_protocol("table1"), ("a",), ("x", "y"))
        assert [column.name for column in adapted.columns] == ["x", "y", "mAcc"]
        ours = next(row for row in adapted.rows if row.detector == "cinemae")
        assert [str(figure) for figure in ours.paper] == ["96.63"]
        assert adapted.statements == ()

    def test_columns_of_several_conditions_keep_them_apart(self):
        adapted = adapt(read_protocol("figure6"), ("a",), ("x", "y"))
        names = [column.name for column in adapted.columns if column.test == "x"]
        assert names == ["x, grayscale"]
        assert {column.condition for column in adapted.columns if column.test == "x"} == {"grayscale"}

    def test_rows_of_generators_become_those_at_hand(self):
        transfer = adapt(read_protocol("figure4"), ("a", "b"), ("x", "y"))
        assert [row.train for row in transfer.rows] == [("a",), ("b",)]
        histogram = adapt(read_protocol("figure3"), ("a", "b"), ("x", "y"))
        assert [row.test for row in histogram.rows] == ["x", "y"]

    def test_rows_of_backbones_become_ways_of_freezing(self):
        assert [row.name for row in adapt(read_protocol("table5b"), ("a",), ("x",)).rows] == [STARTER_ROW]
        freezing = adapt(read_protocol("figure10"), ("a",), ("x",))
        assert [row.name.split()[0] for row in freezing.rows] == ["neither", "encoder", "decoder", "both"]

    def test_of_several_training_sets_the_largest_stays(self):
        rows = adapt(read_protocol("table4"), ("SD v1.4", "a"), ("x",)).rows
        assert all(row.name.endswith("All GenImage") for row in rows)
        assert {row.train for row in rows} == {()}


class TestHeads:
    def test_the_threshold_comes_from_training_images_held_out(self, bench):
        store = bench.cache.get("train", bench.data.train)
        base = bench.base_recipe()
        first = train_heads(store, base)
        assert [one.seed for one in first] == [0, 1]
        again = train_heads(store, base)
        assert [one.chosen_threshold for one in first] == [one.chosen_threshold for one in again]

    def test_hold_out_takes_a_quarter_of_each_group(self):
        labels = np.array([0] * 8 + [1] * 8 + [1] * 4)
        generators = np.array(["camera"] * 8 + ["a"] * 8 + ["b"] * 4)
        held_out = hold_out(labels, generators, seed=3)
        assert [int(held_out[generators == name].sum()) for name in ("camera", "a", "b")] == [2, 2, 1]
        assert (held_out == hold_out(labels, generators, seed=3)).all()
        assert (held_out != hold_out(labels, generators, seed=4)).any()

    def test_passes_of_a_store_are_those_of_a_store_with_fewer(self, bench):
        mask = bench.cache.frozen.extractor.config.mask
        more = bench.cache.get("train", bench.data.train, mask=replace(mask, num_passes=4))
        fewer = bench.cache.get("train", bench.data.train)
        recipe = HeadRecipe(bench.base_recipe().head, train=replace(bench.base_recipe().train, epochs=2))
        a = train_heads(more, replace(recipe, passes=(0, 1)))
        b = train_heads(fewer, recipe)
        assert [one.chosen_threshold for one in a] == pytest.approx([one.chosen_threshold for one in b], abs=1e-5)

    def test_generators_to_train_on(self, bench):
        row = ProtocolRow("one", detector="cinemae", train=("gen-a",))
        both = bench.of_head(ProtocolRow("both", detector="cinemae"), ["raw"])
        alone = bench.of_head(row, ["raw"])
        assert alone.scores["raw"].shape == both.scores["raw"].shape == (24, 2)
        assert not np.allclose(alone.scores["raw"], both.scores["raw"])


class TestCell:
    def scored(self, bench):
        rng = np.random.default_rng(0)
        return Scored((0.0, 0.0), (0.5, 0.6), {"raw": rng.normal(size=(24, 2)) + bench.data.test_images.label[:, None]})

    def test_means_over_generators_and_seeds(self, bench):
        scored, images = self.scored(bench), bench.data.test_images
        found = cell(bench.data, scored, ProtocolColumn("mAUC", metric="auc"))
        by_hand = [
            np.mean([
                roc_auc_score(images.label[part], scored.scores["raw"][part, seed])
                for name in ("gen-b", "gen-c")
                for part in [(images.label == 0) | (images.generator == name)]
            ])
            for seed in (0, 1)
        ]  # fmt: skip
        assert found.value == pytest.approx(100 * np.mean(by_hand))
        assert found.spread == pytest.approx(100 * np.std(by_hand, ddof=1))
        assert found.low <= found.value <= found.high
        assert found.n == 24

    def test_accuracy_is_that_of_both_classes_alike_on_other_images(self, bench):
        scored, images = self.scored(bench), bench.data.test_images
        own = cell(bench.data, scored, ProtocolColumn("x", test="gen-b"))
        chosen = cell(bench.data, scored, ProtocolColumn("x", test="gen-b", metric="accuracy_chosen"))
        real, fake = images.label == 0, images.generator == "gen-b"
        for found, thresholds in ((own, (0.0, 0.0)), (chosen, (0.5, 0.6))):
            by_hand = [
                ((scored.scores["raw"][real, seed] < t).mean() + (scored.scores["raw"][fake, seed] >= t).mean()) / 2
                for seed, t in enumerate(thresholds)
            ]
            assert found.value == pytest.approx(100 * np.mean(by_hand))
        plain = cell(replace(bench.data, stand_in=False), scored, ProtocolColumn("x", test="pooled"))
        right = [((scored.scores["raw"][:, seed] >= 0) == (images.label == 1)).mean() for seed in (0, 1)]
        assert plain.value == pytest.approx(100 * np.mean(right))

    def test_what_cannot_be_measured_is_none(self, bench):
        scored = self.scored(bench)
        assert cell(bench.data, scored, ProtocolColumn("x", condition="jpeg=50")) is None
        assert cell(bench.data, scored, ProtocolColumn("x", test="Midjourney")) is None
        assert cell(bench.data, scored, ProtocolColumn("x", metric="nll_real")) is None


@pytest.mark.parametrize(
    ("name", "rows"),
    [
        ("table1", ["CINEMAE (Ours)", "NLL alone", "LCAS alone", "NPR", "FreDect", "Format probe", "CNNSpot [40]"]),
        ("table3", ["CINEMAE", "NLL alone"]),
        pytest.param("table5b", [STARTER_ROW], marks=pytest.mark.slow),
        ("table6a", ["none, f_global alone", "s1", "s2, s3", "s1, s2, s3"]),
        pytest.param("table6b", ["lambda 0.1"], marks=pytest.mark.slow),
        pytest.param("table7", ["early, add"], marks=pytest.mark.slow),
        ("ablation_k", ["K = 1, independent", "K = 4, complementary"]),
        pytest.param("figure3", ["gen-b", "gen-c"], marks=pytest.mark.slow),
        pytest.param("figure4", ["trained on SD v1.4", "trained on gen-a"], marks=pytest.mark.slow),
        ("figure7", ["s1", "s2", "s3"]),
        ("figure8", ["photographs called real, Fig. 8"]),
    ],
)
def test_a_protocol_measures_its_rows(reproducer, tmp_path, name, rows):
    reproduced = reproducer.run(name)
    measured = {c.row for c in reproduced.tables[0] if c.measured is not None}
    assert set(rows) - measured <= {"lambda 0.1", "early, add"}  # named otherwise in the file
    assert measured
    for one in reproduced.tables[0]:
        if one.measured is not None and one.measured.low is not None:
            assert one.measured.low <= one.measured.value + 1e-9
            assert one.measured.value <= one.measured.high + 1e-9
    text = save(reproduced, tmp_path).read_text(encoding="utf-8")
    assert "Measured on other images than the paper's" in text
    assert "Format probe, test" in text
    assert "1 files could not be read" in text
    again = Reproduced.from_dict(json.loads((tmp_path / f"{name}.json").read_text(encoding="utf-8")))
    assert again.to_markdown() == reproduced.to_markdown()


def test_the_scores_of_a_protocol_can_be_reported_and_compared(reproducer, tmp_path):
    reproduced = reproducer.run("table1")
    save(reproduced, tmp_path)
    stored = Predictions.load(tmp_path / "table1.parquet")
    ours = next(one for one in tabulate(stored).detectors if one.detector == "CINEMAE (Ours)")
    runs = ours.conditions["raw"].spread["seeds"]
    area = next(table for table in reproduced.tables if table.metric == "auc" and table.condition is None)
    measured = next(one.measured for one in area if (one.row, one.column) == ("CINEMAE (Ours)", "mAcc"))
    assert 100 * runs.auc.mean == pytest.approx(measured.value)
    assert 100 * runs.auc.std == pytest.approx(measured.spread)
    found = compare(pick(stored, "CINEMAE (Ours)"), pick(stored, "NPR"))
    assert (found.num_real, found.num_fake) == (8, 16)


def test_by_the_paper_rows_change_the_papers_settings_in_a_folder_of_their_own(root, tmp_path, tiny_model):
    protocol = read_protocol("ablation_reduction")
    reproducer = Reproducer(ReproduceOptions(data=root, work=tmp_path, model=str(tiny_model), seeds=1, paper=True))
    bench = reproducer._bench(find_data(protocol, root), protocol)
    assert bench.cache.folder == tmp_path / "model-paper"
    assert bench.cache.frozen.extractor.config == PAPER.extractor(32)
    base = bench.base_recipe()
    assert (base.head, base.lcas, base.train) == (PAPER.head, PAPER.lcas, replace(PAPER.train, num_seeds=1))
    readings = {row.lcas_config(base.lcas).reduction for row in protocol.rows}
    assert readings == {"mean", "sum", "literal"}


def test_a_row_may_have_other_pixels(root, tmp_path, tiny_model):
    bench = Bench(
        find_data(read_protocol("table1"), root),
        StoreCache(tmp_path, Start.of(ExtractorSource(str(tiny_model)))),
        1,
        {},
    )
    rows = [ProtocolRow("ours"), ProtocolRow("in [0, 1]", deviation={"pixel_space": "unit"})]
    ours, unit = (bench.of_head(row, ["raw"], other_masks=0).scores["raw"] for row in rows)
    assert not np.allclose(ours, unit)
    made = {path.name: FeatureStore.open(path).config.deviation.pixel_space for path in tmp_path.glob("*.raw.*")}
    assert made == {
        f"{part}.raw.independent-2.seed-0{end}": space
        for part in ("train", "test")
        for end, space in (("", "normalized"), (".unit-False-0.001", "unit"))
    }  # and none for other seeds of the masks


def test_heads_are_kept_as_they_are_done(bench, tmp_path):
    """A run that was stopped trains no head again, and no head is taken for that of another recipe, seed or store."""
    store, told = bench.cache.get("train", bench.data.train), []
    recipe = replace(bench.base_recipe(), train=replace(PAPER.train, epochs=2, num_seeds=2))
    first = train_heads(store, recipe, keep=tmp_path, tell=told.append)
    again = train_heads(
        store, replace(recipe, train=replace(recipe.train, num_seeds=3)), keep=tmp_path, tell=told.append
    )
    assert [line.split(",")[1] for line in told] == [" seed 0", " seed 1", " seed 2"]
    for one, other in zip(first, again, strict=False):
        assert (one.seed, one.chosen_threshold) == (other.seed, other.chosen_threshold)
        assert not other.head.training
        for name, values in one.head.state_dict().items():
            assert values.equal(other.head.state_dict()[name])
    test = bench.cache.get("test", bench.data.test)
    others = [(store, replace(recipe, lcas=PAPER.lcas)), (test, recipe), (store, replace(recipe, passes=(0,)))]
    for other_store, other_recipe in others:
        before = len(told)
        train_heads(other_store, other_recipe, keep=tmp_path, tell=told.append)
        assert len(told) == before + 2


def test_one_detector_alone_can_be_asked_for(root, work, tiny_model):
    options = ReproduceOptions(data=root, work=work, model=str(tiny_model), seeds=1, detectors=("nll", "cinemae"))
    reproduced = Reproducer(options).run("table1")
    measured = {c.row for c in reproduced.tables[0] if c.measured is not None}
    assert measured == {"CINEMAE (Ours)", "NLL alone"}
    with pytest.raises(ConfigError, match="a protocol's rows are of the detectors cinemae, .*, got ours"):
        ReproduceOptions(detectors=("ours",))


@pytest.mark.parametrize(("protocol", "mask_seeds"), [("table5b", 1), ("figure8", None)])
def test_stores_of_other_masks_are_made_only_where_asked_for(root, tmp_path, tiny_model, protocol, mask_seeds):
    options = ReproduceOptions(
        data=root, work=tmp_path, model=str(tiny_model), seeds=1, mask_seeds=mask_seeds, detectors=("cinemae",)
    )
    reproduced = Reproducer(options).run(protocol)
    assert any(one.measured is not None for one in reproduced.tables[0])
    assert not list((tmp_path / "model").glob("*.seed-1"))
    assert not reproduced.about.get("mask_seeds")


def test_the_store_is_made_in_what_was_asked_for(root, tmp_path, tiny_model):
    told = []
    options = ReproduceOptions(
        data=root,
        work=tmp_path,
        model=str(tiny_model),
        seeds=1,
        detectors=("nll",),
        dtype="bfloat16",
        batch_size=5,
        progress=lambda *done: told.append(done),
    )
    Reproducer(options).run("table1")
    assert FeatureStore.open(tmp_path / "model" / "test.raw.independent-2.seed-0").header.dtype == "bfloat16"
    assert [done for name, done, _ in told if name.startswith("test.raw")] == [0, 5, 10, 15, 20, 24]


def test_images_are_opened_once_and_not_again_after_a_stop(tmp_path, picture, monkeypatch):
    monkeypatch.setattr("cinemae.evaluation.protocols.bench_data.SURVEYED_TOGETHER", 2)
    images = tmp_path / "images"
    for index in range(5):
        (images / "real").mkdir(parents=True, exist_ok=True)
        picture(index).save(images / "real" / f"{index}.png")
    (images / "real" / "0.png").write_bytes(b"no picture")  # a row with fewer columns, and the first
    records, told = read_dataset(images).records, []
    surveyor = Surveyor(tmp_path / "kept", told.append)
    first = surveyor.survey(records)
    assert first.readable.tolist() == [False, True, True, True, True]
    sorted((tmp_path / "kept").iterdir())[0].unlink()  # as after a kill
    opened = list(told)
    again = surveyor.survey(records)
    assert len(told) == len(opened) + 1 == 4
    for name in ("path", "content_hash", "label", "width", "jpeg_quality", "error_message"):
        np.testing.assert_array_equal(getattr(first, name), getattr(again, name))


def test_of_several_training_sets_each_row_has_its_own_with_its_photographs(tmp_path, picture, tiny_model):
    """Table 4 on layouts as released: half of its rows train on SD v1.4 alone, photographs included."""
    seed = 0
    for folder in ("stable_diffusion_v_1_4/imagenet_ai_0419_sdv4", "BigGAN/imagenet_ai_0419_biggan"):
        for label in ("ai", "nature"):
            target = tmp_path / "GenImage" / folder / "train" / label
            target.mkdir(parents=True)
            for index in range(8):
                seed += 1
                picture(seed).save(target / f"{index}.png")
    for label in ("0_real", "1_fake"):
        target = tmp_path / "Chameleon" / "test" / label
        target.mkdir(parents=True)
        for index in range(3):
            seed += 1
            picture(seed).save(target / f"{index}.png")
    told = []
    options = ReproduceOptions(
        data=tmp_path / "Chameleon",
        train_data=tmp_path / "GenImage",
        work=tmp_path / "work",
        model=str(tiny_model),
        seeds=1,
        detectors=("cinemae",),
        tell=told.append,
    )
    reproduced = Reproducer(options).run("table4")
    assert [line for line in told if line.startswith("training")] == [
        "training the head, seed 0, on 12 images",
        "training the head, seed 0, on 24 images",
    ]
    assert {c.row for c in reproduced.tables[0] if c.measured} == {"CINEMAE, SD v1.4", "CINEMAE, All GenImage"}


def test_fine_tuning_runs_where_the_backbone_lies(bench, monkeypatch):
    """No GPU here: what would train there is kept from beginning, and asked where it would."""
    asked = []

    class Begun(Exception):
        pass

    def begin(recipe, folder):
        asked.append(recipe.device)
        raise Begun

    monkeypatch.setattr(finetuning, "finetune", begin)
    monkeypatch.setattr(Start, "device", "cuda:1")
    with pytest.raises(Begun):
        finetuning.scored_finetuned(bench, ProtocolRow("x", freeze_encoder=False), ["raw"], FinetuneOptions())
    assert asked == ["cuda:1"]


@pytest.mark.slow
def test_freezing_is_measured_by_fine_tuning(root, work, tiny_model, tmp_path):
    lines = []
    options = ReproduceOptions(
        data=root,
        work=work,
        model=str(tiny_model),
        seeds=1,
        finetune=FinetuneOptions(max_steps=2),
        tell=lines.append,
    )
    reproduced = Reproducer(options).run("table5a")
    assert {one.row for one in reproduced.tables[0] if one.measured is not None} == {
        "neither frozen", "encoder frozen", "decoder frozen", "both frozen",
    }  # fmt: skip
    assert sum("fine-tuning" in line for line in lines) == 3
    lines.clear()
    assert Reproducer(options).run("table5a").to_markdown() == reproduced.to_markdown()
    assert not any("fine-tuning" in line for line in lines)  # taken from disk


def test_the_nll_is_followed_while_the_decoder_learns(root, work, tiny_model):
    options = ReproduceOptions(data=root, work=work, model=str(tiny_model), finetune=FinetuneOptions(max_steps=3))
    reproduced = Reproducer(options).run("figure2")
    assert all(one.measured is not None for one in reproduced.tables[0])
    assert list(reproduced.figures) == ["nll"]


def test_without_data_nothing_is_measured():
    reproduced = Reproducer(ReproduceOptions()).run("table1")
    assert {one.measured for one in reproduced.tables[0]} == {None}
    text = reproduced.to_markdown()
    assert "No data was given: nothing is measured." in text
    assert "| CINEMAE (Ours) | 95.90 | not measured |" in text


def test_a_result_of_another_version_is_refused():
    values = Reproducer(ReproduceOptions()).run("table7").to_dict()
    with pytest.raises(ConfigError, match="table7 is at version 1, the result is of version 2: run it again"):
        Reproduced.from_dict({**values, "version": 2})


def test_the_stores_are_those_of_the_data_set(bench):
    names = sorted(path.name for path in bench.cache.folder.iterdir() if path.is_dir())
    assert "train.raw.independent-2.seed-0" in names
    assert read_dataset(bench.data.source + "/train").records == bench.data.train
