"""A results folder that is gone on with after its list of images has grown, or its images have changed."""

from __future__ import annotations

import dataclasses
import os
from pathlib import Path

import pyarrow.parquet as pq
import pytest

from cinemae.errors import StoreError
from cinemae.sources.records import ImageRecord, hash_records
from cinemae.stores.grown_results import FIRST_PART_SIZE, continue_results, find_changed
from cinemae.stores.results import (
    RESULT_SCHEMA,
    ResultsHeader,
    read_results,
    results_folder,
    write_results,
    write_unlisted,
)


def records_of(*numbers: int) -> list[ImageRecord]:
    return [ImageRecord(f"{number}.jpg") for number in numbers]


def header_of(records: list[ImageRecord], **changes) -> ResultsHeader:
    header = ResultsHeader("m@1", "f", 0.5, 0.4, False, len(records), 256, hash_records(records))
    return dataclasses.replace(header, **changes)


def row_of(record: ImageRecord, content_hash: str | None = None) -> dict:
    empty = dict.fromkeys(RESULT_SCHEMA.names)
    return {**empty, "path": record.path, "status": "ok", "content_hash": content_hash}


class Run:
    """One run of a job: it writes the parts asked for, and remembers which images it looked at."""

    def __init__(self, out: Path, records: list[ImageRecord], parts: int | None = None, **changes) -> None:
        self.header, ordered = continue_results(out, header_of(records, **changes), records)
        self.folder, self.seen = results_folder(out, self.header), []
        for part in self.folder.prepare()[:parts]:
            mine = [ordered[row] for row in self.header.rows_of(part)]
            self.seen += [record.path for record in mine]
            write_results(self.folder, part, [row_of(record) for record in mine])

    def paths(self) -> list[str]:
        return [row["path"] for part in self.header.part_numbers for row in read_results(self.folder, part)]


def parquet_paths(folder: Path) -> list[str]:
    """What another reader finds in all files of rows."""
    return [path for file in sorted(folder.glob("part-*")) for path in pq.read_table(file).column("path").to_pylist()]


def names(records: list[ImageRecord]) -> list[str]:
    return [record.path for record in records]


def test_the_first_part_is_small_and_the_others_grow(tmp_path):
    header, _ = continue_results(tmp_path, header_of(records_of(*range(1000))), records_of(*range(1000)))
    sizes = [len(header.rows_of(part)) for part in header.part_numbers]
    assert sizes == [2, 4, 8, 16, 32, 64, 128, 256, 256, 234]
    assert [row for part in header.part_numbers for row in header.rows_of(part)] == list(range(1000))
    assert header.num_parts == 10


def test_an_interrupted_run_goes_on(tmp_path):
    records = records_of(*range(60))
    assert Run(tmp_path, records, parts=1).seen == names(records[:2])
    second = Run(tmp_path, records)
    assert second.seen == names(records[2:])
    assert second.paths() == names(records)
    assert Run(tmp_path, records).seen == []


@pytest.mark.parametrize("parts", [0, 1, 2, 3])
def test_a_list_that_grew_adds_what_no_finished_part_holds(tmp_path, parts):
    old, new = records_of(*range(0, 120, 2)), records_of(*range(120))
    first = Run(tmp_path, old, parts)
    second = Run(tmp_path, new)
    rest = [record for record in new if record.path not in first.seen]
    assert second.seen == names(rest)
    assert second.paths() == first.seen + names(rest)
    assert pq.read_table(tmp_path / "part-000000.parquet").num_rows == FIRST_PART_SIZE
    assert sorted(parquet_paths(tmp_path)) == sorted(names(new))
    assert Run(tmp_path, new).seen == []
    third = Run(tmp_path, [*new, ImageRecord("more.jpg")])
    assert third.seen == ["more.jpg"]
    assert third.paths() == [*second.paths(), "more.jpg"]


def test_a_folder_of_the_former_version_grows_and_keeps_its_parts(tmp_path):
    old = records_of(*range(5))
    former = results_folder(tmp_path, header_of(old, part_size=4))
    assert former.prepare() == [0, 1]
    write_results(former, 0, [row_of(record) for record in old[:4]])
    assert Run(tmp_path, old, parts=0).header == former.header
    grown = Run(tmp_path, records_of(7, 6, *range(5)))
    assert grown.seen == ["7.jpg", "6.jpg", "4.jpg"]
    assert grown.paths() == [*names(old[:4]), "7.jpg", "6.jpg", "4.jpg"]
    assert former.header.job_of(0) == grown.header.job_of(0) != grown.header.job


def test_a_part_that_was_deleted_is_made_anew(tmp_path):
    records = records_of(*range(60))
    Run(tmp_path, records)
    (tmp_path / "part-000001.parquet").unlink()
    assert Run(tmp_path, [*records, ImageRecord("more.jpg")]).seen == [*names(records[2:6]), "more.jpg"]


def test_an_image_named_twice_has_two_rows(tmp_path):
    Run(tmp_path, records_of(1, 1))
    assert Run(tmp_path, records_of(1, 2, 1, 1)).seen == ["2.jpg", "1.jpg"]


def test_fewer_images_another_model_or_version_are_refused(tmp_path):
    Run(tmp_path, records_of(*range(20)))
    with pytest.raises(
        StoreError, match="holds results of 19 images that are not named now, 1.jpg first: name them as"
    ):
        Run(tmp_path, records_of(0, 30))
    with pytest.raises(StoreError, match="was begun with model m@1, now it is n@2: go on with what it was begun with"):
        Run(tmp_path, records_of(*range(21)), model="n@2")
    file = tmp_path / "results.json"
    file.write_text(file.read_text().replace('"format_version": 2', '"format_version": 3'))
    with pytest.raises(StoreError, match="is not of format_version 1 to 2: name another folder, or upgrade"):
        Run(tmp_path, records_of(*range(20)))
    file.write_text('{"format_version": 2, "model": "m@1"}')
    with pytest.raises(StoreError, match="is damaged .*: restore it, or name another folder"):
        Run(tmp_path, records_of(*range(20)))
    assert len(Run(tmp_path / "other", records_of(0, 30)).seen) == 2


def test_what_cannot_be_listed_stands_beside_the_parts_as_it_is_now(tmp_path):
    run = Run(tmp_path, records_of(0))
    write_unlisted(run.folder, [])
    assert not (tmp_path / "part-unlisted.parquet").exists()
    for rows in ([row_of(ImageRecord("locked"))], []):
        write_unlisted(run.folder, rows)
        assert parquet_paths(tmp_path) == ["0.jpg", *(row["path"] for row in rows)]


def test_files_that_changed_are_named_with_their_part(tmp_path):
    (tmp_path / "in").mkdir()
    same, other, gone = (tmp_path / "in" / name for name in ("same.jpg", "other.jpg", "gone.jpg"))
    for path in (same, other, gone):
        path.write_bytes(b"abc")
    digest = "ba7816bf8f01cfea414140de5dae2223b00361a396177a9cb410ff61f20015ad"
    records = [ImageRecord(str(path)) for path in (same, other, gone)]
    header, _ = continue_results(tmp_path / "out", header_of(records), records)
    folder = results_folder(tmp_path / "out", header)
    parts = folder.prepare()
    assert parts == [0, 1]
    for part in parts:
        write_results(folder, part, [row_of(records[row], digest) for row in header.rows_of(part)])
        os.utime(tmp_path / "out" / folder.name_of(part), (1, 1))  # so that each file has been touched since
    assert list(find_changed(folder, parts)) == []
    other.write_bytes(b"abd")
    gone.unlink()
    assert [(one.path, one.part_file) for one in find_changed(folder, parts)] == [(str(other), "part-000000.parquet")]
