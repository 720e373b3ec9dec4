from __future__ import annotations

import shutil
from pathlib import Path

import numpy as np
import pytest

from cinemae.config import AugmentConfig
from cinemae.errors import StoreError
from cinemae.features.extract import extract
from cinemae.fit import feature_pool
from cinemae.fit.data import Sample
from cinemae.fit.feature_pool import FeaturePool
from cinemae.models.directory import read_model_config
from cinemae.models.weights import load_extractor
from cinemae.pictures.file_facts import read_facts
from cinemae.pictures.image import load_image
from cinemae.sources.records import ImageRecord
from cinemae.stores.features import FeatureStore

pytestmark = pytest.mark.usefixtures("one_thread")
COLUMNS = ("path", "label", "generator", "content_hash", "width", "warnings", "global_feature", "deviation", "fidelity")


@pytest.fixture(scope="module")
def extractor(tiny_model):
    return load_extractor(tiny_model, read_model_config(tiny_model))


@pytest.fixture(scope="module")
def samples(tmp_path_factory, picture) -> list[Sample]:
    folder = tmp_path_factory.mktemp("pictures")
    found = []
    for index in range(7):
        path = folder / f"{index}.png"
        picture(index, 20 + index, 20).save(path)
        record = ImageRecord(str(path), index % 2, f"group{index % 3}")
        found.append(Sample(record, load_image(path).content_hash, read_facts(path)))
    return found


@pytest.fixture
def looked_at(monkeypatch) -> list[str]:
    """Names of the images that the frozen half was run on."""
    seen: list[str] = []

    def counting(records, *arguments, **options):
        seen.extend(Path(record.path).name for record in records)
        return extract(records, *arguments, **options)

    monkeypatch.setattr(feature_pool, "extract", counting)
    return seen


def assert_same(first: Path, second: Path) -> None:
    one, two = FeatureStore.open(first), FeatureStore.open(second)
    assert one.header == two.header
    for name, values in one.load(COLUMNS).items():
        np.testing.assert_array_equal(values, two.load((name,))[name], err_msg=name)


def test_a_store_of_a_pool_is_the_store_that_extract_makes(extractor, samples, tmp_path):
    pool = FeaturePool(tmp_path / "pool", extractor)
    assert pool.extract(samples) == []
    chosen = [samples[index] for index in (5, 0, 3)]
    pool.write_store(chosen, tmp_path / "from-pool")
    extract([sample.record for sample in chosen], tmp_path / "directly", extractor)
    assert_same(tmp_path / "from-pool", tmp_path / "directly")


def test_altered_copies_are_kept_apart_and_are_those_of_extract(extractor, samples, tmp_path):
    augment = AugmentConfig(seed=1)
    plain, copies = FeaturePool(tmp_path / "pool", extractor), FeaturePool(tmp_path / "pool", extractor, augment)
    plain.extract(samples)
    assert len(copies.missing(samples)) == 7
    copies.extract(samples)
    copies.write_store(samples, tmp_path / "from-pool")
    extract([sample.record for sample in samples], tmp_path / "directly", extractor, augment=augment)
    assert_same(tmp_path / "from-pool", tmp_path / "directly")
    assert FeaturePool(tmp_path / "pool", extractor, AugmentConfig(seed=1, mirror=0)).missing(samples) == samples


def test_only_new_images_are_looked_at(extractor, samples, tmp_path, looked_at):
    FeaturePool(tmp_path, extractor).extract(samples[:3])
    seen = []
    FeaturePool(tmp_path, extractor).extract(samples, lambda done, total: seen.append((done, total)))
    assert looked_at == [f"{index}.png" for index in range(7)]
    assert (seen[0], seen[-1]) == ((3, 7), (7, 7))


def test_an_image_is_known_by_its_content_under_any_name_and_label(extractor, samples, tmp_path, looked_at):
    pool = FeaturePool(tmp_path / "pool", extractor)
    pool.extract(samples[:1])
    moved = shutil.copyfile(samples[0].record.path, tmp_path / "moved.png")
    renamed = Sample(ImageRecord(str(moved), 1, "other"), samples[0].content_hash, samples[0].facts)
    pool.extract([renamed])
    columns = FeatureStore.open(pool.write_store([renamed], tmp_path / "store")).load(("path", "label", "generator"))
    assert [column.tolist() for column in columns.values()] == [[str(moved)], [1], ["other"]]
    assert looked_at == ["0.png"]


def test_a_file_replaced_under_its_name_is_looked_at_again(extractor, samples, tmp_path, looked_at):
    """As by a program that saves both classes anew where they lie."""
    pool, path = FeaturePool(tmp_path / "pool", extractor), tmp_path / "a.png"
    stores = []
    for index in (0, 1):
        shutil.copyfile(samples[index].record.path, path)
        now = Sample(ImageRecord(str(path), 0, "a"), samples[index].content_hash, samples[index].facts)
        assert pool.extract([now]) == []
        stores.append(FeatureStore.open(pool.write_store([now], tmp_path / f"store{index}")))
    assert looked_at == ["a.png", "a.png"]
    first, second = (store.load(("global_feature",))["global_feature"] for store in stores)
    assert not np.array_equal(first, second)


def test_a_store_is_replaced_by_that_of_other_images(extractor, samples, tmp_path):
    pool = FeaturePool(tmp_path / "pool", extractor)
    pool.extract(samples)
    pool.write_store(samples, tmp_path / "store")
    pool.write_store(samples[:2], tmp_path / "store")
    assert FeatureStore.open(tmp_path / "store").num_rows == 2
    (tmp_path / "other").mkdir()
    (tmp_path / "other" / "letter.txt").touch()
    with pytest.raises(StoreError, match=r"holds letter\.txt"):
        pool.write_store(samples, tmp_path / "other")


def test_what_cannot_be_decoded_is_named_each_time_and_leaves_nothing(extractor, samples, tmp_path, looked_at):
    whole = Path(samples[0].record.path).read_bytes()
    (tmp_path / "torn.png").write_bytes(whole[:-100])
    torn = Sample(ImageRecord(str(tmp_path / "torn.png"), 0), "0" * 64, samples[0].facts)
    pool = FeaturePool(tmp_path / "pool", extractor)
    for _ in range(2):
        failed = pool.extract([*samples[:2], torn])
        assert [path for path, _ in failed] == [str(tmp_path / "torn.png")]
        assert "damaged, incomplete" in failed[0][1]
    assert looked_at == ["0.png", "1.png", "torn.png", "torn.png"]
    assert len(list(pool.folder.iterdir())) == 1
    with pytest.raises(StoreError, match=r"the features of .*torn\.png are not in"):
        pool.write_store([torn], tmp_path / "store")


def test_a_file_that_changed_since_it_was_hashed_is_named(extractor, samples, tmp_path):
    changed = Sample(samples[0].record, "0" * 64, samples[0].facts)
    failed = FeaturePool(tmp_path, extractor).extract([changed])
    assert failed == [(samples[0].record.path, "the file changed while it was looked at: wait until it is written.")]


def test_a_killed_run_keeps_what_it_had_finished(extractor, samples, tmp_path, looked_at, monkeypatch):
    monkeypatch.setattr(feature_pool, "DEFAULT_SHARD_SIZE", 3)
    pool = FeaturePool(tmp_path / "pool", extractor)

    def interrupt(done: int, total: int) -> None:
        if done == 3 and len(looked_at) == 6:
            raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        pool.extract(samples, interrupt)
    more = [*samples[1:], samples[0]]
    assert [sample.record.path for sample in pool.missing(more)] == [sample.record.path for sample in samples[3:]]
    moved = shutil.copyfile(samples[3].record.path, tmp_path / "moved.png")
    more[2] = Sample(ImageRecord(str(moved), 1, "a"), samples[3].content_hash, samples[3].facts)
    assert pool.extract(more) == []
    pool.write_store(more, tmp_path / "store")
    assert FeatureStore.open(tmp_path / "store").num_rows == 7
