import dataclasses

import numpy as np
import pytest
from sklearn.ensemble import RandomForestClassifier
from sklearn.metrics import balanced_accuracy_score, roc_auc_score
from sklearn.model_selection import StratifiedKFold, cross_val_predict
from tests.unit.stores import write_store

from cinemae.config import AugmentConfig, BackboneInfo, ExtractorConfig, ImageConfig
from cinemae.errors import TrainingError
from cinemae.pictures.file_facts import FileFacts
from cinemae.statistics.format_probe import FactColumns, FormatProbe, format_probe, format_probe_of
from cinemae.stores.store_format import StoreRow


@pytest.fixture
def store_of():
    """`store_of(path, files)`: a store whose rows are (label, container, width, height); its features say nothing."""
    backbone, nothing = BackboneInfo("ab" * 32, 8, 4, 2), np.zeros((1, 2, 4), np.float32)

    def write(path, files, augment=None):
        rows = [
            StoreRow(
                path=f"{index}.img",
                label=label,
                content_hash=f"{index:064x}",
                source_format=container,
                width=width,
                height=height,
                global_feature=np.zeros((1, 2), np.float32),
                deviation=nothing,
                fidelity=nothing,
            )
            for index, (label, container, width, height) in enumerate(files)
        ]
        return write_store(path, rows, ExtractorConfig(ImageConfig(size=16)), backbone, augment=augment)

    return write


def test_png_fakes_against_jpeg_photographs_are_told_apart(tmp_path, store_of):
    store = store_of(tmp_path / "s", [(i % 2, ("JPEG", "PNG")[i % 2], 256, 256) for i in range(60)])
    assert format_probe([store]).value == 1


def test_sizes_that_differ_are_told_apart_even_where_not_in_order(tmp_path, store_of):
    sizes = {0: (400, 800), 1: (512, 512)}
    store = store_of(tmp_path / "s", [(i % 2, "JPEG", sizes[i % 2][i // 2 % 2], 300) for i in range(80)])
    assert format_probe([store]).value == 1


def test_files_that_do_not_differ_are_at_chance(tmp_path, store_of):
    rng = np.random.default_rng(0)
    files = [(i % 2, ("JPEG", "PNG")[rng.integers(2)], int(rng.integers(2)) + 255, 256) for i in range(400)]
    found = format_probe([store_of(tmp_path / "s", files)])
    assert found.value == pytest.approx(0.5, abs=0.08)
    assert found.n == 400
    assert found.low < found.value < found.high


def test_several_stores_are_one_data_set_and_unlabelled_images_do_not_count(tmp_path, store_of):
    photographs = store_of(tmp_path / "a", [(0, "JPEG", 256, 256)] * 20)
    fakes = store_of(tmp_path / "b", [(1, "PNG", 256, 256)] * 20 + [(None, "JPEG", 256, 256)] * 20)
    found = format_probe([photographs, fakes])
    assert dataclasses.astuple(found)[0::3] == (1.0, 40)


def test_altered_copies_do_not_count(tmp_path, store_of):
    files = [(i % 2, ("JPEG", "PNG")[i % 2], 256, 256) for i in range(20)]
    pictures, copies = store_of(tmp_path / "a", files), store_of(tmp_path / "b", files, AugmentConfig())
    assert format_probe([pictures, copies]) == format_probe([pictures])
    assert format_probe([copies]) is None


def test_one_class_says_nothing(tmp_path, store_of):
    assert format_probe([store_of(tmp_path / "s", [(0, "JPEG", 256, 256)] * 5)]) is None


def columns(*files):
    """Facts of files given as (container, width, height, quality or None)."""
    return FactColumns.of(
        [FileFacts(container, width, height, 99, quality) for container, width, height, quality in files]
    )


def test_stores_and_facts_of_the_same_files_give_the_same_figure(tmp_path, store_of):
    rng = np.random.default_rng(1)
    sizes = rng.integers(250, 260, (200, 2)) + np.arange(200)[:, None] % 2
    files = [(i % 2, ("JPEG", "PNG", "WEBP")[rng.integers(3)], *map(int, sizes[i])) for i in range(200)]
    store = store_of(tmp_path / "s", [*files, (None, "GIF", 1, 1)])
    facts = columns(*[(*file[1:], None) for file in files], ("GIF", 1, 1, None))
    labels = np.array([file[0] for file in files] + [-1])
    assert format_probe_of(facts, labels, seed=3) == format_probe([store], seed=3)


def test_the_figure_is_scikit_learn_s_own():
    rng = np.random.default_rng(2)
    labels = rng.integers(0, 2, 120)
    width, height = rng.integers(250, 256, 120) + labels, rng.integers(250, 256, 120)
    quality = np.where(rng.random(120) < 0.5, np.nan, rng.integers(70, 100, 120))
    jpeg = np.isfinite(quality)
    facts = FactColumns(np.where(jpeg, "JPEG", "PNG"), width, height, quality)
    table = np.column_stack([jpeg, ~jpeg, width, height, np.where(jpeg, quality, -1)])
    forest = RandomForestClassifier(100, class_weight="balanced", min_samples_leaf=2, random_state=7)
    called = cross_val_predict(forest, table, labels, cv=StratifiedKFold(5, shuffle=True, random_state=7))
    assert format_probe_of(facts, labels, seed=7).value == pytest.approx(balanced_accuracy_score(labels, called))


def test_qualities_that_differ_are_told_apart():
    files = [("JPEG", 256, 256, 75 + 20 * (i % 2) + i // 2 % 3) for i in range(60)]
    labels = np.arange(60) % 2
    assert format_probe_of(columns(*files), labels).value == 1
    assert format_probe_of(columns(*[(*file[:3], None) for file in files]), labels).value < 0.7


def test_a_class_of_fewer_than_two_files_says_nothing():
    facts = columns(*[("JPEG", 256, 256, 90)] * 5)
    assert format_probe_of(facts, np.array([0, 0, 0, 0, 1])) is None
    assert format_probe_of(facts, np.full(5, -1)) is None


class TestTheProbeAsADetector:
    JPEGS_AND_PNGS = columns(*[("JPEG", 500, 400, 80), ("PNG", 256, 256, None)] * 20)
    LABELS = np.array([0, 1] * 20)

    def fitted(self, facts=JPEGS_AND_PNGS, labels=LABELS, seed=0):
        probe = FormatProbe()
        probe.fit(facts, labels, seed=seed)
        return probe

    def test_it_carries_what_it_learnt_to_another_set(self):
        others = columns(("PNG", 256, 256, None), ("JPEG", 640, 480, 85), ("PNG", 256, 256, None))
        probabilities = self.fitted().predict(others)
        assert probabilities.shape == (3,)
        assert ((probabilities > 0.5) == [True, False, True]).all()
        assert ((probabilities >= 0) & (probabilities <= 1)).all()

    def test_it_fails_where_the_formats_are_the_other_way_round(self):
        swapped = 1 - self.LABELS
        scores = self.fitted().predict(self.JPEGS_AND_PNGS)
        assert roc_auc_score(swapped, scores) == 0

    def test_a_container_or_quality_never_seen_is_no_error(self):
        unseen = columns(("WEBP", 256, 256, None), ("a name longer than any fitted", 1, 1, 3))
        assert np.isfinite(self.fitted().predict(unseen)).all()
        without = columns(*[("JPEG", 500, 400, None), ("PNG", 256, 256, None)] * 20)
        probe = self.fitted(without)
        with_quality, none = columns(("JPEG", 500, 400, 30)), columns(("JPEG", 500, 400, None))
        assert probe.predict(with_quality) == probe.predict(none)

    def test_the_seed_alone_decides(self):
        rng = np.random.default_rng(0)
        facts = columns(*[("JPEG", int(width), 256, 90) for width in rng.integers(200, 300, 200)])
        labels = rng.integers(0, 2, 200)
        first, again, other = (self.fitted(facts, labels, seed).predict(facts) for seed in (0, 0, 1))
        assert (first == again).all()
        assert (first != other).any()

    def test_files_without_a_label_are_left_out_of_fitting(self):
        facts = columns(*[("JPEG", 500, 400, 80), ("PNG", 256, 256, None), ("PNG", 256, 256, None)] * 20)
        with_unknown = self.fitted(facts, np.array([0, 1, -1] * 20))
        assert (with_unknown.predict(facts) == self.fitted().predict(facts)).all()

    def test_no_files_have_no_probabilities(self):
        assert self.fitted().predict(FactColumns.of([])).shape == (0,)

    def test_mistakes_are_told_in_one_sentence(self):
        with pytest.raises(TrainingError, match=r"^a format probe predicts after it was fitted: call fit first\.$"):
            FormatProbe().predict(self.JPEGS_AND_PNGS)
        with pytest.raises(TrainingError) as refused:
            self.fitted(labels=np.zeros(40, int))
        assert str(refused.value) == (
            "the format probe learns from both classes, got 40 real and 0 fake files: add files of the missing class."
        )
        with pytest.raises(
            TrainingError, match=r"^there must be one label a file, got \(3,\) for 40 files: pass \(N,\)"
        ):
            self.fitted(labels=np.zeros(3, int))
        with pytest.raises(TrainingError, match=r"four arrays of shape \(N,\), got \[\(2,\), \(1,\), \(2,\), \(2,\)\]"):
            FactColumns(np.array(["PNG", "PNG"]), np.zeros(1, int), np.zeros(2, int), np.zeros(2))
