import dataclasses

import numpy as np
import pytest

from cinemae.config import AugmentConfig, BackboneInfo, ExtractorConfig, ImageConfig
from cinemae.data.store import FeatureStore, prepare_store, write_shard
from cinemae.data.store_format import StoreHeader, StoreRow
from cinemae.jobs.format_probe import format_probe


def store_of(path, files, augment=None):
    """A store whose rows are (label, container, width, height); their features say nothing."""
    extractor = ExtractorConfig(ImageConfig(size=16))
    backbone = BackboneInfo("ab" * 32, 8, 4, 2)
    fingerprint = extractor.fingerprint(backbone.content_hash)
    header = StoreHeader(fingerprint, extractor, backbone, "float32", 64, len(files), "0" * 64, augment)
    nothing = np.zeros((1, 2, 4), np.float32)
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
    prepare_store(path, header)
    for shard in range(header.num_shards):
        write_shard(path, header, shard, [rows[index] for index in header.rows_of(shard)])
    return FeatureStore.open(path)


def test_png_fakes_against_jpeg_photographs_are_told_apart(tmp_path):
    store = store_of(tmp_path / "s", [(i % 2, ("JPEG", "PNG")[i % 2], 256, 256) for i in range(60)])
    assert format_probe([store]).value == 1


def test_sizes_that_differ_are_told_apart_even_where_not_in_order(tmp_path):
    sizes = {0: (400, 800), 1: (512, 512)}
    store = store_of(tmp_path / "s", [(i % 2, "JPEG", sizes[i % 2][i // 2 % 2], 300) for i in range(80)])
    assert format_probe([store]).value == 1


def test_files_that_do_not_differ_are_at_chance(tmp_path):
    rng = np.random.default_rng(0)
    files = [(i % 2, ("JPEG", "PNG")[rng.integers(2)], int(rng.integers(2)) + 255, 256) for i in range(400)]
    found = format_probe([store_of(tmp_path / "s", files)])
    assert found.value == pytest.approx(0.5, abs=0.08)
    assert found.n == 400
    assert found.low < found.value < found.high


def test_several_stores_are_one_data_set_and_unlabelled_images_do_not_count(tmp_path):
    photographs = store_of(tmp_path / "a", [(0, "JPEG", 256, 256)] * 20)
    fakes = store_of(tmp_path / "b", [(1, "PNG", 256, 256)] * 20 + [(None, "JPEG", 256, 256)] * 20)
    found = format_probe([photographs, fakes])
    assert dataclasses.astuple(found)[0::3] == (1.0, 40)


def test_altered_copies_do_not_count(tmp_path):
    files = [(i % 2, ("JPEG", "PNG")[i % 2], 256, 256) for i in range(20)]
    pictures, copies = store_of(tmp_path / "a", files), store_of(tmp_path / "b", files, AugmentConfig())
    assert format_probe([pictures, copies]) == format_probe([pictures])
    assert format_probe([copies]) is None


def test_one_class_says_nothing(tmp_path):
    assert format_probe([store_of(tmp_path / "s", [(0, "JPEG", 256, 256)] * 5)]) is None
