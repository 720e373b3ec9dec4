"""Runs on a Ray cluster of several nodes, while its processes, nodes and driver are killed."""

from __future__ import annotations

import os
import pickle
import signal
import socket
import subprocess
import sys
import threading
import time
from collections import Counter
from collections.abc import Callable
from http.client import HTTPConnection
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path

import psutil
import pytest
from ray_jobs import parts_written, read_log

from cinemae.errors import ConfigError, FailureLimitError, MissingDependencyError, ModelDirError, StoreError
from cinemae.stores.bulk import run_bulk

pytestmark = [
    pytest.mark.slow,
    pytest.mark.filterwarnings("ignore::DeprecationWarning:ray.data.context"),  # its own settings, at their defaults
]


@pytest.fixture(scope="module")
def on_ray(ray_cluster) -> Callable:
    """The engine on the cluster: two workers, a core each."""
    return make_engine(ray_cluster, 2)


def make_engine(cluster, num_workers: int):
    from cinemae.detect.ray_engine import RayConfig, ray_engine

    return ray_engine(RayConfig(address=cluster.address, num_workers=num_workers))


@pytest.fixture(autouse=True)
def _ray_is_left_last(ray_cluster, monkeypatch):
    """No thread of Ray Data outlives `ray.shutdown`: when it next asks Ray for anything, the process ends, with 1."""
    import ray

    left, shutdown = [], ray.shutdown

    def watched_shutdown() -> None:
        left.extend(thread.name for thread in threading.enumerate())
        shutdown()

    monkeypatch.setattr(ray, "shutdown", watched_shutdown)
    yield
    assert not [name for name in left if name.startswith(("StreamingExecutor-", "iter_threaded", "ray-data-"))]


def rows_of(job):
    return [verdict.to_dict() for verdict in job.verdicts()]


def wait_for(condition: Callable[[], bool], seconds: float = 60.0) -> None:
    deadline = time.monotonic() + seconds
    while not condition():
        assert time.monotonic() < deadline, "it did not come to this in time"
        time.sleep(0.01)


def interfere(log: Path, action: Callable[[], None]) -> threading.Thread:
    """Do something once both workers have scored and a part is written."""

    def wait_and_act() -> None:
        wait_for(lambda: len(read_log(log, "load")) >= 2 and bool(read_log(log, "written")))
        action()

    thread = threading.Thread(target=wait_and_act)
    thread.start()
    return thread


def test_results_equal_those_of_a_local_run(on_ray, make_job, records, expected, tmp_path):
    job, seen = make_job(records), []
    report = run_bulk(job, records, on_ray, progress=lambda done, total: seen.append((done, total)))
    assert rows_of(job) == expected
    assert (report.num_rows, report.num_failed, report.num_scored, report.num_parts) == (23, 1, 23, 6)
    assert seen[0] == (0, 23)
    assert seen[-1] == (23, 23)
    loads = read_log(tmp_path / "log", "load")
    assert 1 <= len(loads) <= 2  # a model a worker, however many parts; one may have done all before the other began
    assert {entry["threads"] for entry in loads} == {1}
    assert parts_written(tmp_path / "log") == dict.fromkeys(range(6), 1)


def test_a_store_equals_that_of_a_local_run(ray_cluster, tiny_model, records, tmp_path, one_thread):
    from cinemae.detect.extract_job import ExtractorSource, extract_job
    from cinemae.features.extract import extract, make_header

    source = ExtractorSource(model=str(tiny_model), device="cpu")
    extractor = source.build()
    extract(records, tmp_path / "here", extractor, shard_size=8, batch_size=4)
    header = make_header(records, extractor, 8)
    job = extract_job(source, tmp_path / "there", header, batch_size=4)
    run_bulk(job, records, make_engine(ray_cluster, 1))
    names = sorted(path.name for path in (tmp_path / "here").iterdir())
    assert names == ["shard-00000.parquet", "shard-00001.parquet", "shard-00002.parquet", "store.json"]
    for name in names:
        assert (tmp_path / "there" / name).read_bytes() == (tmp_path / "here" / name).read_bytes()


def test_killed_workers_actors_and_a_poisoned_image(on_ray, make_job, with_picture, expected, tmp_path):
    """At once: a scoring process and an actor are killed from outside, and one image kills whatever opens it."""
    records, log = with_picture("kills.png"), tmp_path / "log"

    def kill() -> None:
        loads = read_log(log, "load")
        living = next(entry for entry in loads if psutil.pid_exists(entry["child"]))  # the image may have killed one
        other = next((entry for entry in loads if entry["parent"] != living["parent"]), living)
        os.kill(living["child"], signal.SIGKILL)
        os.kill(other["parent"], signal.SIGKILL)

    job = make_job(records, seconds=0.05, gather=2)
    thread = interfere(log, kill)
    report = run_bulk(job, records, on_ray)
    thread.join()
    rows = rows_of(job)
    assert [*rows[:9], *rows[10:]] == expected
    assert report.quarantined == (records[9].path,)
    assert rows[9]["error_message"].startswith("set aside: ")
    assert parts_written(log) == dict.fromkeys(range(6), 1)


def test_a_lost_node_costs_time_alone(ray_cluster, make_job, records, expected, tmp_path):
    log = tmp_path / "log"
    node = ray_cluster.add_node(
        num_cpus=1, object_store_memory=80 * 2**20, node_ip_address="127.0.0.1", include_dashboard=False
    )
    job = make_job(records, part_size=2, seconds=0.1, gather=2)
    thread = interfere(log, lambda: ray_cluster.remove_node(node, allow_graceful=False))
    report = run_bulk(job, records, make_engine(ray_cluster, 3))
    thread.join()
    assert rows_of(job) == expected
    assert report.num_scored == 23
    assert set(parts_written(log)) == set(range(12))  # what was given up for lost may have been finished all the same


def test_a_killed_driver_is_gone_on_with(on_ray, ray_cluster, make_job, records, expected, tmp_path):
    job, log = make_job(records, seconds=0.05), tmp_path / "log"
    given = tmp_path / "given"
    given.write_bytes(pickle.dumps((job, records)))
    program = f"import ray_jobs; ray_jobs.drive({ray_cluster.address!r}, {str(given)!r})"
    with subprocess.Popen([sys.executable, "-c", program]) as driver:
        wait_for(lambda: bool(read_log(log, "written")))
        driver.kill()
    first = read_log(log, "load")
    wait_for(lambda: not any(is_running(entry["child"]) for entry in first))  # Ray ends what the driver began
    finished = {path: path.stat().st_mtime_ns for path in Path(job.out).glob("part-*")}
    assert 1 <= len(finished) < 6
    report = run_bulk(job, records, on_ray)
    assert report.num_skipped_parts == len(finished)
    assert rows_of(job) == expected
    assert {path: path.stat().st_mtime_ns for path in finished} == finished
    assert parts_written(log) == dict.fromkeys(range(6), 1)


def is_running(process: int) -> bool:
    try:
        return Path(f"/proc/{process}/stat").read_text().split()[2] != "Z"
    except OSError:
        return False


def test_too_many_failures_stop_the_run(on_ray, make_job, records):
    with pytest.raises(FailureLimitError, match=r"stopped: 1 images could not be read, 0 were allowed"):
        run_bulk(make_job(records), records, on_ray, max_failures=0)


def test_an_error_of_a_worker_comes_through_as_it_is(on_ray, make_job, records):
    with pytest.raises(ModelDirError, match=r"^there is no model on this machine\.$"):
        run_bulk(make_job(records, broken="raise"), records, on_ray)


def test_a_full_disk_is_said_and_the_run_goes_on_later(on_ray, make_job, records, expected):
    with pytest.raises(StoreError, match=r"could not be written \(.*\): free space .* finished parts are kept"):
        run_bulk(make_job(records, broken="disk full"), records, on_ray)
    finished = {path.name for path in Path(make_job(records).out).glob("part-*")}
    assert finished
    assert "part-000002.parquet" not in finished
    job = make_job(records)
    report = run_bulk(job, records, on_ray)
    assert report.num_skipped_parts >= len(finished)
    assert rows_of(job) == expected


@pytest.mark.parametrize(
    ("address", "sentence"),
    [
        ("127.0.0.1:1", r"no Ray cluster answers at 127.0.0.1:1 \(.*\): check --address"),
        ("somewhere", "the address of a Ray cluster is HOST:PORT or \"auto\", got 'somewhere'"),
    ],
)
def test_a_wrong_address_is_refused_at_once(ray_cluster, make_job, records, address, sentence):
    from cinemae.detect.ray_engine import RayConfig, ray_engine

    with pytest.raises(ConfigError, match=sentence):
        run_bulk(make_job(records), records, ray_engine(RayConfig(address=address)))


def test_without_ray_the_line_that_installs_it_is_named(monkeypatch):
    from cinemae.detect.ray_engine import RayConfig, ray_engine

    monkeypatch.setitem(sys.modules, "ray.data", None)
    with pytest.raises(MissingDependencyError, match=r"--engine ray needs Ray: pip install 'cinemae\[ray\]'"):
        ray_engine(RayConfig())


class FaultyProxy(ThreadingHTTPServer):
    """Stands before an S3 server; what a key is called says how often, and how, reading it fails."""

    daemon_threads = True

    def __init__(self, upstream: int) -> None:
        super().__init__(("127.0.0.1", 0), ProxyHandler)
        self.upstream, self.asked, self.lock = upstream, Counter(), threading.Lock()


class ProxyHandler(BaseHTTPRequestHandler):
    protocol_version = "HTTP/1.1"

    def log_message(self, *_):
        pass

    def do_GET(self):
        with self.server.lock:
            self.server.asked[self.path] += 1
        attempt = self.server.asked[self.path]
        if "down" in self.path or ("503" in self.path and attempt <= 2):
            return self.answer(503, b"<Error><Code>SlowDown</Code></Error>")
        if "silent" in self.path and attempt == 1:
            time.sleep(6)  # longer than the client waits
        response, body = self.ask_upstream("GET")
        if "truncated" in self.path and attempt == 1:
            self.close_connection = True
            return self.answer(response.status, body[: len(body) // 2], length=len(body))
        return self.answer(response.status, body)

    def do_HEAD(self):
        response, _ = self.ask_upstream("HEAD")
        self.answer(response.status, b"", length=response.headers["Content-Length"] or 0)

    def ask_upstream(self, method):
        upstream = HTTPConnection("127.0.0.1", self.server.upstream)
        upstream.request(method, self.path, headers=dict(self.headers))
        response = upstream.getresponse()
        body = response.read()
        upstream.close()
        return response, body

    def answer(self, status, body, *, length=None):
        self.send_response(status)
        self.send_header("Content-Length", str(len(body) if length is None else length))
        self.end_headers()
        try:
            self.wfile.write(body)
        except ConnectionError:  # the client has given up
            self.close_connection = True


@pytest.fixture
def s3():
    """An S3 server on loopback in a process of its own, and the port of a faulty proxy before it."""
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        port = free.getsockname()[1]
    command = [sys.executable, "-m", "moto.server", "-H", "127.0.0.1", "-p", str(port)]
    with (
        subprocess.Popen(command, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL) as server,
        FaultyProxy(port) as proxy,
    ):
        thread = threading.Thread(target=proxy.serve_forever, args=(0.01,))
        thread.start()
        wait_for(lambda: answers(port))
        yield proxy
        proxy.shutdown()
        thread.join()
        server.terminate()


def answers(port: int) -> bool:
    with socket.socket() as probe:
        return probe.connect_ex(("127.0.0.1", port)) == 0


def put(port: int, path: str, body: bytes = b"") -> None:
    connection = HTTPConnection("127.0.0.1", port)
    connection.request("PUT", path, body)
    assert connection.getresponse().status == 200
    connection.close()


def test_an_object_store_that_fails(on_ray, make_job, folder, s3, tmp_path, expected):
    """503, a body that ends early, silence: tried again. An object that never comes is a row."""
    from cinemae.sources.records import ImageRecord, RemotePlace

    names = ["00", "01-503", "02-truncated", "03-silent", "04-down"]
    put(s3.upstream, "/bucket")
    records = []
    for number, name in enumerate(names):
        data = (folder / f"{number:02d}.png").read_bytes()
        put(s3.upstream, f"/bucket/{name}.png", data)
        records.append(ImageRecord(f"s3://bucket/{name}.png", place=RemotePlace(len(data))))
    job = make_job(records, s3=f"http://127.0.0.1:{s3.server_port}")
    report = run_bulk(job, records, on_ray)
    rows = rows_of(job)
    assert [{**row, "path": ""} for row in rows[:4]] == [{**row, "path": ""} for row in expected[:4]]
    assert (report.num_failed, rows[4]["status"]) == (1, "error")
    assert "s3://bucket/04-down.png could not be read after 4 attempts" in rows[4]["error_message"]
    assert all(s3.asked[f"/bucket/{name}.png"] >= least for name, least in zip(names, (1, 3, 2, 2, 4), strict=True))
