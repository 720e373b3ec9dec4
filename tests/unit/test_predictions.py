"""Per-image predictions on disk: what is written comes back, and what is not such a file is refused."""

import csv
import io
import json
from dataclasses import replace
from pathlib import Path

import numpy as np
import pyarrow as pa
import pyarrow.csv
import pyarrow.parquet as pq
import pytest

from cinemae.errors import EvaluationError
from cinemae.evaluation.predictions import FORMAT_VERSION, Column, Images, Predictions

KEY = b"cinemae.predictions"
ROWS = [
    {
        "path": "real/é, \"quoted\"/a.jpg", "content_hash": "aa", "label": 0, "generator": "camera",
        "container": "JPEG", "width": 640, "height": 480, "num_bytes": 3_000_000_000, "jpeg_quality": 85,
    },
    {
        "path": "fake/sd|x/b.png", "content_hash": "bb", "label": 1, "generator": "sd|x", "container": "PNG",
        "width": 512, "height": 512, "num_bytes": 99, "jpeg_quality": None,
    },
    {"path": "fake/sd|x/broken.png", "label": 1, "generator": None, "error_message": "it is empty (0 bytes)"},
]  # fmt: skip
COLUMNS = (
    Column("cinemae", mask_seed=0, threshold=0.25, threshold_rule="the model's own", description="tiny@0"),
    Column("cinemae", mask_seed=1, threshold=0.25),
    Column("npr", seed=0, outputs="probability", threshold=0.5),
    Column("npr", seed=1, outputs="probability", threshold=0.75),
    Column("scores", outputs="score"),
)
NAN = np.nan
SCORES = {
    "raw": np.array([[0.1, 0.2, 0.3, 0.4, -7.5], [0.9, 0.8, 0.7, 1 / 3, 1e300], [NAN] * 5]),
    "resize=0.5+jpeg=70": np.array([[0.0, NAN, 1.0, 0.5, NAN], [1e-17, NAN, 0.25, 0.5, NAN], [NAN] * 5]),
}


@pytest.fixture
def predictions() -> Predictions:
    about = {"test_set": "somewhere", "versions": {"numpy": "2"}, "none": None, "list": [1, 2.5]}
    return Predictions(Images.from_rows(ROWS), COLUMNS, SCORES, about)


@pytest.fixture
def saved(predictions: Predictions, tmp_path: Path) -> Path:
    predictions.save(tmp_path / "p.parquet")
    return tmp_path / "p.parquet"


def _rewrite(path: Path, header: object = None, rows: slice = slice(None)) -> None:
    """Write the file again with another header, or with some of its rows."""
    table = pq.read_table(path)
    metadata = table.schema.metadata
    if header is not None:
        text = header if isinstance(header, bytes) else json.dumps(header).encode()
        metadata = {**metadata, KEY: text}
    pq.write_table(table[rows].replace_schema_metadata(metadata), path)


def _header(path: Path) -> dict:
    return json.loads(pq.read_schema(path).metadata[KEY])


class TestRoundTrip:
    def test_all_comes_back(self, predictions: Predictions, saved: Path):
        found = Predictions.load(saved)
        assert found.columns == COLUMNS
        assert found.about == predictions.about
        assert found.conditions == ("raw", "resize=0.5+jpeg=70")
        for name in Images.__dataclass_fields__:
            before, after = getattr(predictions.images, name), getattr(found.images, name)
            np.testing.assert_array_equal(after, before)
            assert after.dtype.kind == before.dtype.kind, name
        for condition, scores in SCORES.items():
            np.testing.assert_array_equal(found.scores[condition], scores)  # to the last digit

    def test_unknown_values_are_null_on_disk_or_plainly_unknown(self, saved: Path):
        first = pq.read_table(saved).slice(0, 3).to_pylist()
        assert [row["jpeg_quality"] for row in first] == [85, None, None]
        assert [row["score"] for row in first] == [0.1, 0.9, None]
        assert (first[2]["container"], first[2]["width"], first[2]["content_hash"]) == ("", 0, "")
        assert [row["seed"] for row in first] == [None] * 3

    def test_twice_saved_is_the_same_file(self, predictions: Predictions, saved: Path, tmp_path: Path):
        Predictions.load(saved).save(tmp_path / "again.parquet")
        assert (tmp_path / "again.parquet").read_bytes() == saved.read_bytes()

    def test_a_second_save_replaces_the_first_and_leaves_nothing_beside(self, predictions: Predictions, saved: Path):
        replace(predictions, about={}).save(saved)
        assert Predictions.load(saved).about == {}
        assert [path.name for path in saved.parent.iterdir()] == [saved.name]

    def test_a_file_name_that_is_no_valid_text_is_spelled_out(self, tmp_path: Path):
        images = Images.from_rows([{"path": "real/\udce9.png", "label": 0, "generator": "\udce9"}, ROWS[1]])
        assert images.path[0] == r"real/\xe9.png"
        Predictions(images, COLUMNS[:1], {"raw": np.zeros((2, 1))}).save(tmp_path / "p.parquet")
        assert Predictions.load(tmp_path / "p.parquet").images.generator.tolist() == [r"\xe9", "sd|x"]


class TestLongForm:
    def test_a_row_for_each_condition_column_and_image(self, saved: Path):
        rows = pq.read_table(saved).to_pylist()
        assert len(rows) == 2 * 5 * 3
        keys = [(row["condition"], row["detector"], row["seed"], row["mask_seed"], row["path"]) for row in rows]
        expected = [
            (condition, column.detector, column.seed, column.mask_seed, row["path"])
            for condition in SCORES
            for column in COLUMNS
            for row in ROWS
        ]
        assert keys == expected
        scores = [np.nan if row["score"] is None else row["score"] for row in rows]
        np.testing.assert_array_equal(scores, np.concatenate([of.T.ravel() for of in SCORES.values()]))

    def test_any_tool_reads_it(self, saved: Path):
        """Through CSV, as a spreadsheet would, and by a filter, as a data frame would."""
        table = pq.read_table(saved, filters=[("detector", "=", "npr"), ("seed", "=", 1), ("condition", "=", "raw")])
        buffer = io.BytesIO()
        pa.csv.write_csv(table, buffer)
        rows = list(csv.DictReader(io.StringIO(buffer.getvalue().decode())))
        assert [(row["path"], row["score"]) for row in rows][:2] == [
            (ROWS[0]["path"], "0.4"), (ROWS[1]["path"], "0.3333333333333333"),
        ]  # fmt: skip
        assert rows[2]["score"] == ""


class TestRefused:
    def test_two_columns_that_nothing_tells_apart(self):
        images = Images.from_rows(ROWS)
        with pytest.raises(
            EvaluationError, match="each detector, seed and mask seed may have one column, got a, a: re"
        ):
            Predictions(images, (Column("a"), Column("a", outputs="score")), {"raw": np.zeros((3, 2))})

    @pytest.mark.parametrize("shape", [(2, 3), (3,), (3, 1), (3, 2, 1)])
    def test_scores_of_another_shape(self, shape: tuple[int, ...]):
        images = Images.from_rows(ROWS)
        with pytest.raises(EvaluationError, match=r"one row an image and one column a detector, \(3, 2\), got \("):
            Predictions(images, (Column("a"), Column("b")), {"raw": np.zeros(shape)})

    def test_no_file(self, tmp_path: Path):
        with pytest.raises(EvaluationError, match="there is no file .*none.parquet: cinemae evaluate writes"):
            Predictions.load(tmp_path / "none.parquet")

    @pytest.mark.parametrize("damage", [lambda data: data[: len(data) // 2], lambda data: b"", lambda data: b"PAR1"])
    def test_a_damaged_file(self, saved: Path, damage):
        saved.write_bytes(damage(saved.read_bytes()))
        with pytest.raises(EvaluationError, match=r"predictions are a Parquet file, .* cannot be read as one"):
            Predictions.load(saved)

    def test_another_parquet_file(self, saved: Path, tmp_path: Path):
        other = tmp_path / "other.parquet"
        pq.write_table(pa.table({"path": ["a"], "score": [0.5]}), other)
        with pytest.raises(EvaluationError, match="is a Parquet file of another kind"):
            Predictions.load(other)
        pq.write_table(pq.read_table(saved).drop_columns(["score"]), other)
        with pytest.raises(EvaluationError, match="is a Parquet file of another kind"):
            Predictions.load(other)

    def test_a_newer_format(self, saved: Path):
        _rewrite(saved, {**_header(saved), "format_version": FORMAT_VERSION + 1})
        with pytest.raises(EvaluationError, match=f"reads predictions of format {FORMAT_VERSION}, .* has 2: upgrade"):
            Predictions.load(saved)

    @pytest.mark.parametrize("header", [b"{", b"\xff", b"[1]", b'"text"', b"7"])
    def test_a_damaged_header(self, saved: Path, header: bytes):
        _rewrite(saved, header)
        with pytest.raises(EvaluationError, match="has a damaged header"):
            Predictions.load(saved)

    def test_rows_that_do_not_fit_the_header(self, saved: Path):
        _rewrite(saved, rows=slice(0, 29))
        with pytest.raises(
            EvaluationError, match=r"has a header that does not fit its rows \(.*\): write it again"
        ) as e:
            Predictions.load(saved)
        assert str(e.value).count("write it again") == 1

    @pytest.mark.parametrize(
        "change",
        [
            {"num_images": 4},
            {"num_images": "many"},
            {"conditions": ["raw"]},
            {"columns": [{"detector": "a", "mood": "good"}]},
            {"columns": [{"detector": "a"}] * 5},
            {"columns": 5},
        ],
    )
    def test_a_header_that_does_not_fit_its_rows(self, saved: Path, change: dict):
        _rewrite(saved, {**_header(saved), **change})
        with pytest.raises(EvaluationError, match="does not fit its rows|may have one column"):
            Predictions.load(saved)

    def test_a_header_that_lacks_a_part(self, saved: Path):
        _rewrite(saved, {name: value for name, value in _header(saved).items() if name != "about"})
        with pytest.raises(EvaluationError, match=r"does not fit its rows \('about'\)"):
            Predictions.load(saved)

    def test_a_folder_that_is_not_there_is_the_systems_own_error(self, predictions: Predictions, tmp_path: Path):
        with pytest.raises(OSError, match="none"):
            predictions.save(tmp_path / "none" / "p.parquet")


class TestImages:
    def test_what_is_missing_is_unknown(self):
        images = Images.from_rows([{"path": "a"}, {"path": "b", "label": None, "width": None, "jpeg_quality": None}])
        assert images.label.tolist() == [-1, -1]
        assert images.width.tolist() == [0, 0]
        assert np.isnan(images.jpeg_quality).all()
        assert images.readable.tolist() == [True, True]

    def test_of_none_there_are_none(self):
        assert len(Images.from_rows([])) == 0

    def test_some_of_them(self):
        images = Images.from_rows(ROWS)
        assert images.readable.tolist() == [True, True, False]
        for which in (images.readable, [0, 1], np.array([0, 1]), slice(0, 2)):
            assert images.chosen(which).path.tolist() == [ROWS[0]["path"], ROWS[1]["path"]]
        assert images.chosen([2]).error_message.tolist() == ["it is empty (0 bytes)"]

    def test_one_columns_scores(self, predictions: Predictions):
        np.testing.assert_array_equal(predictions.of(COLUMNS[3]), [0.4, 1 / 3, NAN])
        np.testing.assert_array_equal(predictions.of(COLUMNS[2], "resize=0.5+jpeg=70"), [1.0, 0.25, NAN])
