"""Parts, the process that scores them, and the results folder: no Ray."""

from __future__ import annotations

import dataclasses
import json
import os
import resource
import signal
import subprocess
import sys
import threading
import time
from pathlib import Path

import pyarrow.parquet as pq
import pytest
from ray_jobs import parts_written, read_log

from cinemae.detect.guarded import GuardConfig, PartWorker
from cinemae.detect.local_engine import local_engine
from cinemae.errors import ConfigError, FailureLimitError, ModelDirError, StoreError, WorkerError
from cinemae.stores.bulk import run_bulk, write_report
from cinemae.stores.results import read_results


def rows_of(job):
    return [verdict.to_dict() for verdict in job.verdicts()]


def part_path(job, part):
    return Path(job.out) / job.parts.name_of(part)


def test_parts_hold_what_a_run_without_them_says(make_job, records, expected):
    job, seen = make_job(records), []
    report = run_bulk(job, records, local_engine(), progress=lambda done, total: seen.append((done, total)))
    assert rows_of(job) == expected
    assert (report.num_rows, report.num_failed, report.num_scored, report.num_parts) == (23, 1, 23, 6)
    assert report.quarantined == ()
    assert seen == [(done, 23) for done in (*range(0, 23, 2), 23)]  # after every batch


def test_a_part_is_plain_parquet(make_job, records, expected, verdict_keys):
    job = make_job(records)
    run_bulk(job, records, local_engine())
    table = pq.read_table(part_path(job, 0))
    assert table.column_names == [*verdict_keys, "error_message"]
    assert table["prob_fake"].to_pylist() == [row["prob_fake"] for row in expected[:4]]


def test_what_is_finished_is_not_scored_again(make_job, records, expected, tmp_path):
    job = make_job(records)
    run_bulk(job, records, local_engine())
    for part in (1, 4):
        part_path(job, part).unlink()
    (Path(job.out) / ".part-000001.parquet.0123.tmp").write_bytes(b"left by a killed run")
    before = part_path(job, 0).stat().st_mtime_ns
    report = run_bulk(job, records, local_engine())
    assert (report.num_scored, report.num_skipped_parts, report.num_failed) == (8, 4, 1)
    assert parts_written(tmp_path / "log") == {0: 1, 1: 2, 2: 1, 3: 1, 4: 2, 5: 1}
    assert part_path(job, 0).stat().st_mtime_ns == before
    assert rows_of(job) == expected
    assert not list(Path(job.out).glob(".*"))


def test_a_complete_run_starts_no_process(make_job, records, tmp_path):
    job = make_job(records)
    run_bulk(job, records, local_engine())
    loaded = len(read_log(tmp_path / "log", "load"))
    assert run_bulk(job, records, local_engine()).num_scored == 0
    assert len(read_log(tmp_path / "log", "load")) == loaded == 1


def test_the_folder_of_another_job_is_refused(make_job, records):
    run_bulk(make_job(records), records, local_engine())
    with pytest.raises(StoreError, match=r"was begun with num_rows 23, now it is 22: go on with what it was begun"):
        run_bulk(make_job(records[1:]), records[1:], local_engine())


def test_a_folder_with_other_files_is_refused(make_job, records):
    job = make_job(records)
    Path(job.out).mkdir()
    (Path(job.out) / "photo.jpg").touch()
    with pytest.raises(StoreError, match=r"new or empty folder, .* holds photo.jpg and no results.json"):
        run_bulk(job, records, local_engine())


def test_a_damaged_part_is_named(make_job, records):
    job = make_job(records)
    run_bulk(job, records, local_engine())
    part_path(job, 2).write_bytes(b"PAR1")
    with pytest.raises(StoreError, match=r"part-000002.parquet could not be read .*: delete it and run the same"):
        run_bulk(job, records, local_engine())


def test_a_process_that_is_killed_is_started_again(make_job, records, expected, tmp_path):
    job = make_job(records, part_size=23, seconds=0.02)
    killer = threading.Thread(target=kill_after_a_batch, args=(tmp_path / "log",))
    killer.start()
    report = run_bulk(job, records, local_engine())
    killer.join()
    assert rows_of(job) == expected
    assert len(read_log(tmp_path / "log", "load")) == 2
    assert report.quarantined == ()
    paths = [path for entry in read_log(tmp_path / "log", "scored") for path in entry["paths"]]
    assert len(paths) - len(set(paths)) <= 2  # at most the batch whose rows were on their way


def kill_after_a_batch(log: Path) -> None:
    while not read_log(log, "scored"):
        time.sleep(0.005)
    os.kill(read_log(log, "load")[0]["child"], signal.SIGKILL)


@pytest.mark.slow
@pytest.mark.parametrize(
    ("name", "patience_s", "how"), [("kills.png", 60.0, "exit code 9"), ("hangs.png", 0.5, "no result for 0.5 s")]
)
def test_an_image_that_kills_or_hangs_is_set_aside(make_job, with_picture, expected, name, patience_s, how):
    records = with_picture(name)
    job = make_job(records)
    report = run_bulk(job, records, local_engine(patience_s=patience_s))
    rows = rows_of(job)
    assert [*rows[:9], *rows[10:]] == expected
    assert report.quarantined == (records[9].path,)
    assert rows[9]["path"] == records[9].path
    assert rows[9]["error_message"] == (
        f"set aside: the process that worked on this image alone ended 3 times ({how}): look at the file before "
        "anything opens it again."
    )
    assert run_bulk(job, records, local_engine()).quarantined == (records[9].path,)  # known from the part's file
    write_report(Path(job.out), report)
    assert json.loads((Path(job.out) / "report.json").read_text())["quarantined"] == [records[9].path]


def test_a_process_that_cannot_start_is_no_reason_to_set_images_aside(make_job, records):
    job = make_job(records, broken="exit")
    with pytest.raises(WorkerError, match=r"ended 3 times while it loaded the model \(exit code 7\)"):
        run_bulk(job, records, local_engine())
    assert not list(Path(job.out).glob("part-*"))


def test_an_error_of_the_other_process_comes_through(make_job, records):
    with pytest.raises(ModelDirError, match="there is no model on this machine"):
        run_bulk(make_job(records, broken="raise"), records, local_engine())


def test_too_many_failures_stop_the_run(make_job, records):
    job = make_job(records)
    with pytest.raises(FailureLimitError, match=r"stopped: 1 images could not be read, 0 were allowed"):
        run_bulk(job, records, local_engine(), max_failures=0)
    assert len(list(Path(job.out).glob("part-*"))) == 3  # the third holds the file at fault
    with pytest.raises(FailureLimitError):  # an earlier run's count
        run_bulk(job, records, local_engine(), max_failures=0)
    assert run_bulk(job, records, local_engine(), max_failures=1).num_failed == 1


def test_a_full_disk_is_said_and_the_run_goes_on_later(make_job, records, expected):
    """RLIMIT_FSIZE makes the kernel refuse as a full disk does, in this process only while the test asks for it."""
    job = make_job(records)
    with PartWorker(job, GuardConfig()) as worker:
        job.parts.prepare()
        worker.run(0, records[:4])
        soft, hard = resource.getrlimit(resource.RLIMIT_FSIZE)
        resource.setrlimit(resource.RLIMIT_FSIZE, (1000, hard))
        try:
            with pytest.raises(StoreError, match=r"could not be written \(.*\): free space .* finished parts are kept"):
                worker.run(1, records[4:8])
        finally:
            resource.setrlimit(resource.RLIMIT_FSIZE, (soft, hard))
    assert [path.name for path in Path(job.out).iterdir() if path.name != "results.json"] == ["part-000000.parquet"]
    assert run_bulk(job, records, local_engine()).num_skipped_parts == 1
    assert rows_of(job) == expected


def test_a_worker_keeps_to_its_threads(make_job, records, tmp_path):
    job = make_job(records)
    with PartWorker(job, GuardConfig(num_threads=1)) as worker:
        job.parts.prepare()
        worker.run(0, records[:4])
        child = read_log(tmp_path / "log", "load")[0]
        environment = Path(f"/proc/{child['child']}/environ").read_bytes().split(b"\0")
    assert child["threads"] == 1
    assert {b"OMP_NUM_THREADS=1", b"OPENBLAS_NUM_THREADS=1", b"CINEMAE_CORES=1"} <= set(environment)


def test_the_scoring_process_ends_with_its_worker(make_job, records, tmp_path):
    job = make_job(records)
    program = (
        "import pickle, sys, time; from cinemae.detect.guarded import *; job, records = pickle.load(sys.stdin.buffer);"
        "job.parts.prepare(); worker = PartWorker(job, GuardConfig()); worker.run(0, records); time.sleep(100)"
    )
    import pickle

    with subprocess.Popen([sys.executable, "-c", program], stdin=subprocess.PIPE) as process:
        process.stdin.write(pickle.dumps((job, records[:4])))
        process.stdin.close()
        while not read_log(tmp_path / "log", "written"):
            time.sleep(0.02)
        process.kill()
    child = Path(f"/proc/{read_log(tmp_path / 'log', 'load')[0]['child']}")
    deadline = time.monotonic() + 20
    while child.exists() and child.joinpath("stat").read_text().split()[2] != "Z" and time.monotonic() < deadline:
        time.sleep(0.02)
    assert not child.exists() or child.joinpath("stat").read_text().split()[2] == "Z"


def test_settings_of_a_guard_are_checked():
    with pytest.raises(ConfigError, match="num_threads must be at least 1, got 0"):
        GuardConfig(num_threads=0)
    with pytest.raises(ConfigError, match="patience_s must be above 0, got 0"):
        GuardConfig(patience_s=0)


def test_reading_a_part_leaves_no_thread_of_arrow_behind(make_job, records):
    """One that lets go of Python's bytes only when Python ends aborts the process: one run in seven ended so."""
    job = make_job(records)
    run_bulk(job, records, local_engine())
    header = json.dumps(dataclasses.asdict(job.header))
    script = """
import json, sys
import psutil
import pyarrow.parquet as pq
from cinemae.stores.results import ResultsHeader, read_results, results_folder
out, header = sys.argv[1], ResultsHeader(**json.loads(sys.argv[2]))
folder = results_folder(out, header)
pq.read_table(f"{out}/{folder.name_of(0)}", use_threads=False)
before = psutil.Process().num_threads()
for part in range(header.num_parts):
    read_results(folder, part)
print(psutil.Process().num_threads() - before)
"""
    command = [sys.executable, "-c", script, str(job.out), header]
    assert subprocess.run(command, capture_output=True, text=True, check=True).stdout == "0\n"


def test_redeliveries_survive_the_file(tiny_model, tmp_path, records):
    from cinemae.detect.detect_job import DetectorSource, detect_job
    from cinemae.detect.detector import Detector

    job = detect_job(DetectorSource(str(tiny_model)), tmp_path / "stable", records[:2], stable=True)
    run_bulk(job, records[:2], local_engine())
    paths = [record.path for record in records[:2]]
    plain = Detector.from_pretrained(tiny_model).detect_batch(paths, stable=True)
    assert rows_of(job) == [verdict.to_dict() for verdict in plain]
    assert set(read_results(job.parts, 0)[0]["redeliveries"]) >= {"mirror"}
