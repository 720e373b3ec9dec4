import dataclasses
import json
import math
import sys
from pathlib import Path

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from cinemae.config import AugmentConfig, BackboneInfo, ExtractorConfig, ImageConfig, MaskConfig
from cinemae.errors import FingerprintMismatchError, StoreError
from cinemae.sources.whole_files import replacing
from cinemae.stores.features import FeatureStore, prepare_store, store_folder, write_shard
from cinemae.stores.store_format import COLUMNS, StoreHeader, StoreRow

VIEWS, PASSES, PATCHES, WIDTH = 5, 2, 4, 3


def make_header(num_rows=5, shard_size=2, seed=0, records_hash="0" * 64, dtype="float32", augment=None):
    extractor = ExtractorConfig(image=ImageConfig(size=16, views="five"), mask=MaskConfig(seed=seed))
    backbone = BackboneInfo(content_hash="ab" * 32, patch_size=8, num_patches=PATCHES, hidden_size=WIDTH)
    return StoreHeader(
        fingerprint=extractor.fingerprint(backbone.content_hash),
        extractor=extractor,
        backbone=backbone,
        dtype=dtype,
        shard_size=shard_size,
        num_rows=num_rows,
        records_hash=records_hash,
        augment=augment,
        source={"num_real": 2},
    )


def make_row(index):
    row = StoreRow(path=f"images/{index}.jpg", label=(0, 1, None)[index % 3], generator=(None, "sd")[index % 2])
    if index == 3:
        return dataclasses.replace(row, error_message="the file is empty")
    rng = np.random.default_rng(index)
    maps = rng.normal(size=(2, VIEWS, PASSES, PATCHES)).astype(np.float32)
    maps[..., 0] = np.nan
    return dataclasses.replace(
        row,
        content_hash=f"{index:064d}",
        source_format="JPEG",
        width=640,
        height=480,
        num_bytes=10_000 + index,
        warnings=("animated_first_frame",) if index == 4 else (),
        global_feature=rng.normal(size=(VIEWS, WIDTH)).astype(np.float32),
        deviation=maps[0],
        fidelity=maps[1],
    )


ROWS = [make_row(index) for index in range(5)]


def make_store(path, header=None, shards=None):
    header = header or make_header()
    prepare_store(path, header)
    for shard in range(header.num_shards) if shards is None else shards:
        write_shard(path, header, shard, [ROWS[index] for index in header.rows_of(shard)])
    return path


@pytest.fixture
def folder(tmp_path):
    return make_store(tmp_path / "store")


class TestRoundTrip:
    def test_files(self, folder):
        assert sorted(path.name for path in folder.iterdir()) == [
            "shard-00000.parquet",
            "shard-00001.parquet",
            "shard-00002.parquet",
            "store.json",
        ]

    def test_rows_come_back_in_order(self, folder):
        table = pa.Table.from_batches(FeatureStore.open(folder).iter_batches())
        assert table.column_names == list(COLUMNS)
        for row, expected in zip(table.to_pylist(), ROWS, strict=True):
            assert row["status"] == expected.status
            assert row["warnings"] == list(expected.warnings)
            for name in ("path", "label", "generator", "content_hash", "width", "num_bytes", "error_message"):
                assert row[name] == getattr(expected, name)
            for name in ("global_feature", "deviation", "fidelity"):
                value = getattr(expected, name)
                np.testing.assert_equal(row[name], None if value is None else value.ravel().tolist())

    def test_a_hidden_patch_is_nan_and_not_null(self, folder):
        column = pq.read_table(folder / "shard-00000.parquet")["deviation"]
        assert column.null_count == 0
        assert column.combine_chunks().flatten().null_count == 0
        assert math.isnan(column[0].as_py()[0])

    def test_load_gives_the_readable_rows_in_their_shapes(self, folder):
        good = [row for row in ROWS if row.status == "ok"]
        arrays = FeatureStore.open(folder).load()
        assert list(arrays) == list(COLUMNS)
        for name in ("global_feature", "deviation", "fidelity"):
            np.testing.assert_array_equal(arrays[name], np.stack([getattr(row, name) for row in good]))
            assert arrays[name].dtype == np.float32
        assert arrays["global_feature"].shape == (4, VIEWS, WIDTH)
        assert arrays["deviation"].shape == (4, VIEWS, PASSES, PATCHES)
        assert arrays["label"].tolist() == [0, 1, -1, 1]
        assert arrays["label"].dtype == np.int8
        assert arrays["generator"].tolist() == [None, "sd", None, None]
        assert arrays["path"].tolist() == [row.path for row in good]
        assert arrays["warnings"].tolist() == [[], [], [], ["animated_first_frame"]]

    def test_load_chooses_columns_and_status(self, folder):
        store = FeatureStore.open(folder)
        assert list(store.load(("label", "fidelity"))) == ["label", "fidelity"]
        failed = store.load(("path", "error_message", "fidelity", "width"), status="error")
        assert failed["path"].tolist() == ["images/3.jpg"]
        assert failed["error_message"].tolist() == ["the file is empty"]
        assert failed["width"].tolist() == [-1]
        assert np.isnan(failed["fidelity"]).all()
        everything = store.load(("deviation",), status=None)["deviation"]
        assert everything.shape == (5, VIEWS, PASSES, PATCHES)
        np.testing.assert_array_equal(everything[4], ROWS[4].deviation)

    def test_header(self, folder):
        store = FeatureStore.open(folder)
        header = make_header()
        assert store.header == header
        assert (store.fingerprint, store.config, store.num_rows) == (header.fingerprint, header.extractor, 5)
        assert store.backbone == header.backbone
        assert store.header.source == {"num_real": 2}
        written = json.loads((folder / "store.json").read_text())
        shapes = {column["name"]: column.get("shape") for column in written["columns"]}
        assert shapes["deviation"] == [VIEWS, PASSES, PATCHES]
        assert shapes["path"] is None

    def test_header_with_alterations_survives_json_and_is_another_job(self):
        plain, altered = make_header(), make_header(augment=AugmentConfig(seed=7, min_crop=0.5))
        assert StoreHeader.from_dict(json.loads(json.dumps(altered.to_dict()))) == altered
        assert len({plain.job, altered.job, make_header(augment=AugmentConfig(seed=8, min_crop=0.5)).job}) == 3

    def test_described_types_are_the_written_ones(self, folder):
        written = json.loads((folder / "store.json").read_text())["columns"]
        found = pq.read_schema(folder / "shard-00000.parquet")
        names = {"list<element: string>": "list<string>", "list<element: float>": "list<float>"}
        assert [(c["name"], c["type"]) for c in written] == [
            (field.name, names.get(str(field.type), str(field.type))) for field in found
        ]

    def test_same_rows_same_bytes(self, folder, tmp_path):
        again = make_store(tmp_path / "again", shards=(2, 0, 1))
        for path in folder.iterdir():
            assert path.read_bytes() == (again / path.name).read_bytes()

    def test_names_that_are_not_unicode(self, tmp_path):
        header = make_header(num_rows=1)
        prepare_store(tmp_path, header)
        write_shard(tmp_path, header, 0, [StoreRow(path="caf\udce9.jpg", error_message="bad \udce9")])
        arrays = FeatureStore.open(tmp_path).load(("path", "error_message"), status="error")
        assert arrays["path"].tolist() == ["caf\\xe9.jpg"]
        assert arrays["error_message"].tolist() == ["bad \\xe9"]

    def test_iteration_is_lazy(self, folder):
        batches = FeatureStore.open(folder).iter_batches(["path"], batch_size=1)
        assert next(batches).to_pydict() == {"path": ["images/0.jpg"]}
        (folder / "shard-00002.parquet").unlink()
        assert len([next(batches) for _ in range(3)]) == 3
        with pytest.raises(StoreError, match=r"shard-00002\.parquet could not be read"):
            next(batches)


class TestResume:
    def test_pending_shards(self, tmp_path):
        header = make_header()
        assert prepare_store(tmp_path / "a" / "store", header) == [0, 1, 2]
        make_store(tmp_path / "a" / "store", shards=[1])
        assert prepare_store(tmp_path / "a" / "store", header) == [0, 2]

    def test_leftovers_of_a_killed_run_are_removed_and_other_hidden_files_kept(self, tmp_path):
        (tmp_path / ".shard-00000.parquet.0123.tmp").write_bytes(b"half")
        (tmp_path / ".DS_Store").write_bytes(b"")
        prepare_store(tmp_path, make_header())
        assert sorted(path.name for path in tmp_path.iterdir()) == [".DS_Store", "store.json"]

    @pytest.mark.skipif(sys.platform == "win32", reason="Windows has no flock")
    def test_what_another_run_is_writing_is_not_removed(self, tmp_path):
        with replacing(tmp_path / "shard-00000.parquet") as temporary:
            temporary.write_bytes(b"whole")
            prepare_store(tmp_path, make_header())
        assert (tmp_path / "shard-00000.parquet").read_bytes() == b"whole"

    def test_source_summary_is_no_part_of_the_job(self, folder):
        assert prepare_store(folder, dataclasses.replace(make_header(), source={})) == []

    def test_another_fingerprint(self, folder):
        other = make_header(seed=1)
        with pytest.raises(FingerprintMismatchError) as caught:
            prepare_store(folder, other)
        assert other.fingerprint in str(caught.value)
        assert make_header().fingerprint in str(caught.value)

    @pytest.mark.parametrize(
        ("change", "words"),
        [
            ({"records_hash": "1" * 64}, ["another list of images", "0" * 12, "1" * 12]),
            ({"shard_size": 3}, ["shard_size 2", "it is 3"]),
            ({"dtype": "bfloat16"}, ["dtype float32", "it is bfloat16"]),
            ({"augment": AugmentConfig(seed=2)}, ["augment None", "AugmentConfig(seed=2"]),
        ],
    )
    def test_another_job(self, folder, change, words):
        with pytest.raises(StoreError) as caught:
            prepare_store(folder, make_header(**change))
        assert all(word in str(caught.value) for word in [*words, str(folder), "name another folder"]), caught.value

    def test_other_files(self, tmp_path):
        (tmp_path / "thesis.txt").write_text("")
        with pytest.raises(StoreError, match=r"new or empty folder.*thesis\.txt and no store\.json"):
            prepare_store(tmp_path, make_header())

    def test_a_shard_of_another_job(self, folder, tmp_path):
        other = make_store(tmp_path / "other", make_header(records_hash="1" * 64))
        (folder / "shard-00001.parquet").write_bytes((other / "shard-00001.parquet").read_bytes())
        for use in (FeatureStore.open, lambda path: store_folder(path, make_header()).report(1)):
            with pytest.raises(StoreError, match=r"shard-00001\.parquet is not of this job.*delete it"):
                use(folder)


class TestRefusals:
    def test_not_a_store(self, tmp_path):
        for path in (tmp_path, tmp_path / "nowhere"):
            with pytest.raises(StoreError, match=r"folder with a store\.json.*has none"):
                FeatureStore.open(path)

    def test_incomplete(self, tmp_path):
        make_store(tmp_path, shards=[1])
        with pytest.raises(
            StoreError, match=r"2 of 3 shards are missing, shard-00000\.parquet first: run cinemae extract again"
        ):
            FeatureStore.open(tmp_path)

    @pytest.mark.parametrize(
        ("change", "words"),
        [
            ({"format_version": 2}, "format_version 1, the store says 2"),
            ({"format_version": None}, "the store says None"),
            ({"shard_size": 3}, "states job .* was edited by hand"),
            ({"fingerprint": "f" * 16}, "states fingerprint ffffffffffffffff"),
            ({"extractor": {"colour": 1}}, "cannot read: ExtractorConfig has no setting colour"),
            ({"backbone": []}, "cannot read"),
            ({"num_rows": 0}, "at least 1"),
            ({"num_rows": "5"}, "cannot read"),
        ],
    )
    def test_header_edited(self, folder, change, words):
        path = folder / "store.json"
        path.write_text(json.dumps(json.loads(path.read_text()) | change))
        with pytest.raises(StoreError, match=words):
            FeatureStore.open(folder)

    def test_header_without_a_key(self, folder):
        path = folder / "store.json"
        values = json.loads(path.read_text())
        for name in ("extractor", "dtype"):
            path.write_text(json.dumps({key: value for key, value in values.items() if key != name}))
            with pytest.raises(StoreError, match=name):
                FeatureStore.open(folder)

    @pytest.mark.parametrize("text", ["", "{", "[]", "\xff"])
    def test_header_is_not_json(self, folder, text):
        (folder / "store.json").write_bytes(text.encode("latin-1"))
        with pytest.raises(StoreError, match=r"store\.json"):
            FeatureStore.open(folder)

    @pytest.mark.parametrize("damage", [lambda data: b"", lambda data: data[:-9], lambda data: b"PAR1 and so on"])
    def test_damaged_footer_is_found_on_opening(self, folder, damage):
        path = folder / "shard-00001.parquet"
        path.write_bytes(damage(path.read_bytes()))
        with pytest.raises(StoreError, match=r"shard-00001\.parquet could not be read .*: delete it and run"):
            FeatureStore.open(folder)

    def test_a_single_flipped_bit_in_the_data_is_found_on_reading(self, folder):
        path = folder / "shard-00001.parquet"
        data = bytearray(path.read_bytes())
        column = pq.read_metadata(path).row_group(0).column(len(COLUMNS) - 1)
        data[column.data_page_offset + column.total_compressed_size - 1] ^= 1
        path.write_bytes(data)
        store = FeatureStore.open(folder)
        assert len(store.load(("path",), status=None)["path"]) == 5
        with pytest.raises(StoreError, match=r"shard-00001\.parquet could not be read"):
            store.load()

    def test_unknown_column(self, folder):
        store = FeatureStore.open(folder)
        for use in (store.iter_batches, store.load):
            with pytest.raises(StoreError, match="there is no colour"):
                use(["path", "colour"])

    def test_rows_that_do_not_fit(self, tmp_path):
        header = make_header()
        prepare_store(tmp_path, header)
        flat = dataclasses.replace(ROWS[0], deviation=ROWS[0].deviation[0])
        empty = StoreRow(path="x.jpg")
        for rows, words in (
            (ROWS[:3], "shard 0 holds 2 rows, got 3"),
            ([flat, ROWS[1]], r"deviation of shape \(2, 4\)"),
            ([ROWS[1], empty], "status ok and global_feature of shape None"),
            ([dataclasses.replace(ROWS[0], error_message="no"), ROWS[1]], r"status error and global_feature of shape"),
        ):
            with pytest.raises(StoreError, match=words):
                write_shard(tmp_path, header, 0, rows)
        assert [path.name for path in tmp_path.iterdir()] == ["store.json"]

    def test_a_full_disk_leaves_no_shard(self, tmp_path, monkeypatch):
        write = Path.write_bytes

        def fail(path, data):
            write(path, b"half")
            raise OSError(28, "No space left on device")

        header = make_header()
        prepare_store(tmp_path, header)
        monkeypatch.setattr(Path, "write_bytes", fail)
        with pytest.raises(StoreError, match=r"No space left on device.*run cinemae extract again; finished shards"):
            write_shard(tmp_path, header, 0, ROWS[:2])
        assert [path.name for path in tmp_path.iterdir()] == ["store.json"]

    def test_folder_that_cannot_be_made(self, tmp_path):
        (tmp_path / "file").write_text("")
        with pytest.raises(StoreError, match="could not be written"):
            prepare_store(tmp_path / "file" / "store", make_header())
