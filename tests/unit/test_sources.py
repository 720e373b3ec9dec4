import dataclasses
import io
import json
import os
import pickle
import socket
import subprocess
import sys
import tarfile
import threading
import time
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer

import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from cinemae.detect.detector import Detector
from cinemae.errors import ImageError, MissingDependencyError, RemoteError, SourceError, StoreError
from cinemae.sources import http_store, remote
from cinemae.sources.archives import read_encoded
from cinemae.sources.datasets import read_records
from cinemae.sources.records import EncodedImage, ImageRecord, RemotePlace, TarPlace, hash_records
from cinemae.sources.remote import fetch, fetch_part, find_objects, put
from cinemae.sources.remote_object import shown
from cinemae.sources.sources import encoded_images, find_records, spell_out
from cinemae.stores.results import ResultsHeader, read_results, results_folder, write_results


def png(picture, seed):
    data = io.BytesIO()
    picture(seed, 48, 40).save(data, "PNG")
    return data.getvalue()


@pytest.fixture
def images(picture):
    return [png(picture, seed) for seed in range(3)]


@pytest.fixture
def quick(monkeypatch):
    monkeypatch.setattr(remote, "FIRST_WAIT", 0.001)


def tar_of(members):
    data = io.BytesIO()
    with tarfile.open(fileobj=data, mode="w") as tar:
        for name, content in members:
            info = tarfile.TarInfo(name)
            info.size = len(content)
            tar.addfile(info, io.BytesIO(content))
    return data.getvalue()


def parquet_of(images, **columns):
    kind = pa.struct([("bytes", pa.binary()), ("path", pa.string())])
    column = pa.array([{"bytes": data, "path": "x.png"} for data in images], kind)
    data = io.BytesIO()
    pq.write_table(pa.table({"image": column, **columns}), data)
    return data.getvalue()


class Web(ThreadingHTTPServer):
    """A server whose answers to a path are played one after the other, the last again and again."""

    daemon_threads = True

    def __init__(self):
        super().__init__(("127.0.0.1", 0), Handler)
        self.plays, self.asked = {}, []
        self.url = f"http://127.0.0.1:{self.server_port}"

    def handle_error(self, request, client_address):
        if not isinstance(sys.exc_info()[1], ConnectionError):  # the client has given up
            super().handle_error(request, client_address)

    def play(self, path, *answers):
        self.plays[path] = list(answers)
        return f"{self.url}{path}"


class Handler(BaseHTTPRequestHandler):
    protocol_version = "HTTP/1.1"

    def log_message(self, *_):
        pass

    def do_GET(self):
        path = self.path.partition("?")[0]
        self.server.asked.append(path)
        plays = self.server.plays.get(path, [(404, b"")])
        answer = plays.pop(0) if len(plays) > 1 else plays[0]
        if callable(answer):
            answer(self)
            return
        status, body = answer
        if (part := self.headers.get("Range")) and status == 200:
            first, last = (int(number) for number in part.removeprefix("bytes=").split("-"))
            self.answer(206, body[first : last + 1], {"Content-Range": f"bytes {first}-{last}/{len(body)}"})
        else:
            self.answer(status, body)

    def answer(self, status, body, headers=None, length=None):
        self.send_response(status)
        for name, value in {"Content-Length": len(body) if length is None else length, **(headers or {})}.items():
            self.send_header(name, str(value))
        self.end_headers()
        self.wfile.write(body)


def truncated(body):
    def play(handler):
        handler.answer(200, body[: len(body) // 2], length=len(body))
        handler.close_connection = True

    return play


def whole_in_spite_of_range(body):
    return lambda handler: handler.answer(200, body)


def dripping(seconds):
    def play(handler):
        handler.answer(200, b"", length=1000)
        for _ in range(1000):
            handler.wfile.write(b"x")
            handler.wfile.flush()
            time.sleep(seconds)

    return play


def moved(to):
    return lambda handler: handler.answer(302, b"", {"Location": to})


@pytest.fixture
def web():
    with Web() as server:
        thread = threading.Thread(target=server.serve_forever, args=(0.01,), daemon=True)
        thread.start()
        yield server
        server.shutdown()
        thread.join()


@pytest.mark.usefixtures("quick")
class TestHttp:
    def test_an_image(self, web, images):
        url = web.play("/a.png", (200, images[0]))
        [record] = find_records([url])
        assert record == ImageRecord(url, place=RemotePlace())
        assert pickle.loads(pickle.dumps(record)) == record
        assert read_encoded(record) == images[0]

    @pytest.mark.parametrize("failure", [(500, b""), (503, b""), (429, b""), "truncated"])
    def test_what_passes_is_tried_again(self, web, images, failure):
        failure = truncated(images[0]) if failure == "truncated" else failure
        url = web.play("/a.png", failure, failure, (200, images[0]))
        assert fetch(url) == images[0]
        assert web.asked == ["/a.png"] * 3

    def test_attempts_are_bounded_and_ever_later(self, web, monkeypatch):
        waits = []
        monkeypatch.setattr(remote.time, "sleep", waits.append)
        monkeypatch.setattr(remote, "FIRST_WAIT", 0.5)
        url = web.play("/a.png", (502, b""))
        with pytest.raises(RemoteError, match=r"after 4 attempts \(the server answered 502\): try again later\.$"):
            fetch(url)
        assert web.asked == ["/a.png"] * 4
        assert waits == [0.5, 1.0, 2.0]

    @pytest.mark.parametrize("status", [401, 403, 404, 410])
    def test_what_does_not_pass_is_said_at_once(self, web, status):
        url = web.play("/a.png", (status, b""))
        with pytest.raises(
            RemoteError, match=rf"could not be read \(the server answered {status}\): check the address"
        ):
            fetch(url)
        assert len(web.asked) == 1

    def test_a_body_that_always_ends_early(self, web, images):
        with pytest.raises(RemoteError, match="ended after|ended early"):
            fetch(web.play("/a.png", truncated(images[0])))

    def test_too_long_by_its_header(self, web):
        url = web.play("/a.png", lambda handler: handler.answer(200, b"x", length=10**12))
        with pytest.raises(RemoteError, match=r"it has 1,000,000,000,000 bytes, more than the 100 allowed"):
            fetch(url, limit=100)
        assert len(web.asked) == 1

    def test_too_long_without_a_header(self, web):
        def chunked(handler):
            handler.send_response(200)
            handler.send_header("Transfer-Encoding", "chunked")
            handler.end_headers()
            for _ in range(10):
                handler.wfile.write(b"64\r\n" + b"x" * 100 + b"\r\n")
            handler.wfile.write(b"0\r\n\r\n")

        assert fetch(web.play("/a", chunked)) == b"x" * 1000
        with pytest.raises(RemoteError, match="it has more than the 150 bytes allowed"):
            fetch(web.play("/a.png", chunked), limit=150)

    def test_no_byte_for_long(self, web, monkeypatch):
        monkeypatch.setattr(http_store, "READ_TIMEOUT", 0.05)
        url = web.play("/a.png", lambda handler: time.sleep(0.5))
        with pytest.raises(RemoteError, match="no byte for 0.05 seconds"):
            fetch(url)

    def test_bytes_that_drip_in_for_ever(self, web, monkeypatch):
        monkeypatch.setattr(http_store, "OBJECT_DEADLINE", 0.05)
        monkeypatch.setattr(remote, "ATTEMPTS", 2)
        with pytest.raises(RemoteError, match="it was not complete after 0.05 seconds"):
            fetch(web.play("/a.png", dripping(0.01)))

    def test_redirections(self, web, images):
        web.play("/b.png", (200, images[0]))
        assert fetch(web.play("/a.png", moved("/b.png"))) == images[0]
        with pytest.raises(RemoteError, match="more than 5 redirections"):
            fetch(web.play("/round.png", moved("/round.png")))
        with pytest.raises(RemoteError, match="could not be read"):
            fetch(web.play("/file.png", moved("file:///etc/passwd")))

    def test_nobody_answers(self):
        with socket.socket() as free:
            free.bind(("127.0.0.1", 0))
            port = free.getsockname()[1]
        with pytest.raises(RemoteError, match="the host refuses connections or cannot be reached"):
            fetch(f"http://127.0.0.1:{port}/a.png")

    def test_secrets_stay_out_of_messages(self, web):
        url = web.play("/a.png", (403, b"")).replace("http://", "http://me:word@") + "?signature=secret"
        with pytest.raises(RemoteError) as failure:
            fetch(url)
        assert "secret" not in str(failure.value)
        assert "word" not in str(failure.value)
        assert shown("photos/a?b#c.png") == "photos/a?b#c.png"

    def test_a_tar(self, web, images):
        url = web.play("/s.tar", (200, tar_of([("fake/sdxl/a.png", images[0]), ("real/b.png", images[1])])))
        records = read_records(url)
        assert [(record.path, record.label, record.generator) for record in records] == [
            (f"{url}/fake/sdxl/a.png", 1, "sdxl"),
            (f"{url}/real/b.png", 0, None),
        ]
        assert isinstance(records[0].place, TarPlace)
        assert [read_encoded(record) for record in records] == images[:2]

    def test_a_damaged_tar(self, web, images):
        data = tar_of([("a.png", images[0])])
        with pytest.raises(SourceError, match="damaged or cut short"):
            read_records(web.play("/s.tar", (200, data[:1000])))

    def test_parquet_with_labels_that_detect_does_not_look_at(self, web, images):
        url = web.play("/t.parquet", (200, parquet_of(images, label=["cat", "dog", "cat"])))
        assert [read_encoded(record) for record in find_records([url])] == images
        with pytest.raises(SourceError):
            read_records(url)

    def test_reading_parquet_leaves_no_thread_of_arrow_behind(self, web, images):
        """One that lets go of a Python object only when Python ends aborts the process."""
        url = web.play("/t.parquet", (200, parquet_of(images, label=["real", "fake", "real"])))
        script = """
import sys
from pathlib import Path
import psutil
import pyarrow.parquet as pq
from cinemae.sources.parquet_images import read_parquet, read_row
from cinemae.sources.remote import open_binary
with open_binary(sys.argv[1]) as file:
    pq.ParquetFile(file, pre_buffer=False).read(use_threads=False)
before = psutil.Process().num_threads()
for record in read_parquet(sys.argv[1], Path()):
    read_row(record.path, record.place)
print(psutil.Process().num_threads() - before)
"""
        command = [sys.executable, "-c", script, url]
        assert subprocess.run(command, capture_output=True, text=True, check=True).stdout == "0\n"

    def test_a_server_without_ranges(self, web, images):
        url = web.play("/s.tar", whole_in_spite_of_range(tar_of([("a.png", images[0])])))
        with pytest.raises(
            SourceError, match="does not serve parts of a file, which archives are read by; copy it here"
        ):
            read_records(url)

    def test_shards_by_number(self, web, images):
        for number in range(3):
            url = web.play(f"/s-{number:02d}.tar", (200, tar_of([("a.png", images[number])])))
        found = list(find_records([url.replace("s-02", "s-{00..02}")]))
        assert [read_encoded(record) for record in found] == images

    def test_an_object_that_fails_is_a_row_and_the_rest_goes_on(self, web, images):
        urls = [
            web.play("/a.png", (200, images[0])),
            web.play("/b.png", (500, b"")),
            web.play("/c.png", (200, b"junk")),
        ]
        detector = Detector.from_pretrained()
        verdicts = list(detector.detect_batch(encoded_images(find_records([*urls, urls[0]]))))
        assert [verdict.path for verdict in verdicts] == [*urls, urls[0]]
        assert [verdict.status for verdict in verdicts] == ["ok", "error", "error", "ok"]
        assert "after 4 attempts (the server answered 500)" in verdicts[1].error_message
        assert "must be one of JPEG" in verdicts[2].error_message
        alone = detector.detect(images[0])
        assert dataclasses.replace(verdicts[0], path=None).to_dict() == alone.to_dict()

    def test_nothing_is_written_over_http(self, web):
        with pytest.raises(RemoteError, match="nothing is written over HTTP"):
            put(f"{web.url}/x", b"")


class TestLists:
    def test_paths_uris_and_patterns(self, web, images, picture, tmp_path):
        picture(0).save(tmp_path / "a.png")
        url = web.play("/b.png", (200, images[1]))
        listing = tmp_path / "list.txt"
        listing.write_text(f"# mine\n{tmp_path}/a.png\r\n\n{url}\n{tmp_path}/*.png\n{tmp_path}/missing.png\n")
        records = list(find_records([listing]))
        assert [record.path for record in records] == [
            f"{tmp_path}/a.png",
            url,
            f"{tmp_path}/a.png",
            f"{tmp_path}/missing.png",
        ]
        assert read_records(listing) == records

    def test_a_list_from_afar_names_no_local_file(self, web, images, tmp_path):
        good = web.play("/b.png", (200, images[1]))
        assert [record.path for record in find_records([web.play("/good.txt", (200, good.encode()))])] == [good]
        with pytest.raises(SourceError, match="a list from afar names URIs alone, .* names '/etc/passwd'"):
            list(find_records([web.play("/bad.txt", (200, f"{good}\n/etc/passwd\n".encode()))]))

    @pytest.mark.parametrize(
        ("text", "sentence"), [("\n# none\n", "names no image"), ("other.txt\n", "a list names no further lists")]
    )
    def test_what_is_refused(self, tmp_path, text, sentence):
        (tmp_path / "list.txt").write_text(text)
        with pytest.raises(SourceError, match=sentence):
            list(find_records([tmp_path / "list.txt"]))

    def test_a_manifest_with_uris(self, web, images, tmp_path):
        url = web.play("/b.png", (200, images[1]))
        (tmp_path / "m.csv").write_text(f"path,label,generator\n{url},fake,sdxl\nhere.png,real,\n")
        assert read_records(tmp_path / "m.csv") == [
            ImageRecord(url, 1, "sdxl", RemotePlace()),
            ImageRecord(str(tmp_path / "here.png"), 0),
        ]


class TestLocal:
    def test_archives_named_and_by_pattern(self, images, tmp_path):
        for number in range(3):
            (tmp_path / f"s{number}.tar").write_bytes(tar_of([("a.png", images[number])]))
        (tmp_path / "t.parquet").write_bytes(parquet_of(images))
        for source in (f"{tmp_path}/s*.tar", f"{tmp_path}/s{{0..2}}.tar", f"{tmp_path}/s{{0,1,2}}.tar"):
            assert [read_encoded(record) for record in find_records([source])] == images
        assert [read_encoded(record) for record in find_records([tmp_path / "t.parquet"])] == images

    def test_names_with_braces_of_their_own(self, picture, tmp_path):
        picture(0).save(tmp_path / "{1,2}.png")
        [record] = find_records([tmp_path / "{1,2}.png"])
        assert record.path == f"{tmp_path}/{{1,2}}.png"

    def test_what_is_missing_is_said_at_once(self, tmp_path):
        for source in ("missing.png", "{a,b}.png", "ftp://x/y.png"):
            with pytest.raises(SourceError, match="check the path"):
                find_records([source])

    def test_more_names_than_allowed(self):
        with pytest.raises(SourceError, match="stands for 1,000,001 names, allowed are 1 to 1,000,000: split it"):
            spell_out("{0..1000000}.tar")

    def test_paths_from_a_pipe_pass_at_once(self):
        def endless():
            yield ImageRecord("a.png")
            raise AssertionError("read ahead of need")

        assert next(encoded_images(endless())) == "a.png"

    def test_a_read_that_fails_is_told_with_its_name(self):
        record = ImageRecord("gone.tar/a.png", place=TarPlace("gone.tar", 0, 5))
        [found] = encoded_images([record])
        assert isinstance(found, EncodedImage)
        assert found.path == "gone.tar/a.png"
        assert "could not be read from its tar" in found.error_message


class TestMissingPackages:
    @pytest.mark.parametrize(
        ("uri", "package", "extra"),
        [
            ("s3://b/a.png", "fsspec", "remote"),
            ("gs://b/a.png", "fsspec", "gcs"),
            ("https://h/a.png", "urllib3", "remote"),
        ],
    )
    def test_the_line_that_installs_them(self, monkeypatch, uri, package, extra):
        remote._make_store.cache_clear()
        for name in ("http_store", "object_store"):
            monkeypatch.delitem(sys.modules, f"cinemae.sources.{name}", raising=False)
        monkeypatch.setitem(sys.modules, package, None)
        with pytest.raises(MissingDependencyError, match=rf"needs {package}, .*: pip install 'cinemae\[{extra}\]'"):
            fetch(uri)
        remote._make_store.cache_clear()


@pytest.fixture(scope="module")
def s3():
    """A real S3 server on loopback, in a process of its own."""
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        port = free.getsockname()[1]
    command = [sys.executable, "-m", "moto.server", "-H", "127.0.0.1", "-p", str(port)]
    with subprocess.Popen(command, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL) as server:
        try:
            for _ in range(600):
                with socket.socket() as probe:
                    if probe.connect_ex(("127.0.0.1", port)) == 0:
                        break
                time.sleep(0.05)
            yield f"http://127.0.0.1:{port}"
        finally:
            server.terminate()


@pytest.fixture
def bucket(s3, monkeypatch):
    names = {"AWS_ENDPOINT_URL": s3, "AWS_ACCESS_KEY_ID": "a", "AWS_SECRET_ACCESS_KEY": "b", "AWS_REGION": "us-east-1"}
    for name, value in names.items():
        monkeypatch.setenv(name, value)
    import fsspec

    fsspec.filesystem("s3").mkdirs("bucket", exist_ok=True)
    return "s3://bucket"


def _verdicts(records):
    return Detector.from_pretrained().detect_batch(encoded_images(records))


@pytest.mark.usefixtures("quick")
class TestS3:
    def test_a_tree_with_labels(self, bucket, images):
        put(f"{bucket}/set/fake/sdxl/b.png", images[1])
        put(f"{bucket}/set/real/a.png", images[0])
        put(f"{bucket}/set/notes.md", b"no image")
        records = read_records(f"{bucket}/set")
        assert records == [
            ImageRecord("s3://bucket/set/fake/sdxl/b.png", 1, "sdxl", RemotePlace(len(images[1]))),
            ImageRecord("s3://bucket/set/real/a.png", 0, None, RemotePlace(len(images[0]))),
        ]
        assert [read_encoded(record) for record in records] == [images[1], images[0]]
        assert [record.path for record in find_records([f"{bucket}/set/real/*.png"])] == ["s3://bucket/set/real/a.png"]

    def test_archives(self, bucket, images):
        put(f"{bucket}/tars/s-0.tar", tar_of([("a.png", images[0]), ("b.png", images[1])]))
        put(f"{bucket}/tars/s-1.tar", tar_of([("c.png", images[2])]))
        put(f"{bucket}/rows/t.parquet", parquet_of(images))
        for source in (f"{bucket}/tars", f"{bucket}/tars/*.tar", f"{bucket}/tars/s-{{0..1}}.tar", f"{bucket}/rows"):
            assert [read_encoded(record) for record in find_records([source])] == images

    def test_what_is_missing(self, bucket):
        with pytest.raises(RemoteError, match=r"could not be read \(there is no such object\): check the address"):
            fetch(f"{bucket}/missing.png")
        with pytest.raises(SourceError, match="holds no image, .tar or .parquet file|could not be listed"):
            list(find_records([f"{bucket}/nowhere/"]))

    def test_an_object_that_became_another_since_it_was_listed(self, bucket, images):
        put(f"{bucket}/c/a.png", images[0])
        [record] = find_records([f"{bucket}/c"])
        put(f"{bucket}/c/a.png", images[0] + b"more")
        with pytest.raises(ImageError, match=f"bytes came in place of {len(images[0]):,}"):
            read_encoded(record)

    def test_too_large_is_told_before_its_bytes_come(self, bucket):
        put(f"{bucket}/large.png", b"x" * 1000)
        with pytest.raises(RemoteError, match="it has 1,000 bytes, more than the 999 allowed"):
            fetch(f"{bucket}/large.png", limit=999)

    def test_parts(self, bucket):
        put(f"{bucket}/letters", b"abcdefgh")
        assert fetch_part(f"{bucket}/letters", 2, 3) == b"cde"
        assert [(one.uri, one.size) for one in find_objects(f"{bucket}/letters")] == [("s3://bucket/letters", 8)]

    def test_a_server_that_fails_for_a_while(self, bucket, images, monkeypatch):
        put(f"{bucket}/a.png", images[0])
        store = remote.store_for(f"{bucket}/a.png")
        plain, failures = store._files.cat_file, [OSError(5, "InternalError"), TimeoutError("slow")]

        def failing(*arguments, **options):
            if failures:
                raise failures.pop(0)
            return plain(*arguments, **options)

        monkeypatch.setattr(store._files, "cat_file", failing)
        assert fetch(f"{bucket}/a.png") == images[0]
        assert failures == []

    def test_results_that_are_gone_on_with(self, bucket, images, tmp_path):
        for number, data in enumerate(images):
            put(f"{bucket}/e/{number}.png", data)
        records = read_records(f"{bucket}/e")
        header = ResultsHeader("m@1", "f", 0.5, 0.4, False, 3, 2, hash_records(records))
        out = f"{bucket}/out/run-1"
        rows = [{**verdict.to_dict(), "error_message": None} for verdict in _verdicts(records)]
        folder = results_folder(out, header)
        assert folder.prepare() == [0, 1]
        write_results(folder, 1, rows[2:])
        assert folder.prepare() == [0]
        assert (folder.has(0), folder.has(1)) == (False, True)
        [row] = read_results(folder, 1)
        assert {name: row[name] for name in ("path", "prob_fake", "content_hash")} == {
            name: rows[2][name] for name in ("path", "prob_fake", "content_hash")
        }
        with pytest.raises(StoreError, match=f"{out} was begun with model m@1, now it is n@2: go on with what"):
            results_folder(out, dataclasses.replace(header, model="n@2")).prepare()
        with pytest.raises(StoreError, match="results are written to a new or empty folder, .* holds 0.png and no"):
            results_folder(f"{bucket}/e", header).prepare()
        with pytest.raises(StoreError, match="could not be read"):
            read_results(folder, 0)

    def test_detect_in_another_process(self, bucket, images, tmp_path):
        for number, data in enumerate(images):
            put(f"{bucket}/d/{number}.png", data)
        command = [sys.executable, "-m", "cinemae", "detect", f"{bucket}/d", "--format", "jsonl"]
        done = subprocess.run(command, check=True, capture_output=True, text=True, env={**os.environ})
        found = [json.loads(line) for line in done.stdout.splitlines()]
        assert [row["path"] for row in found] == [f"s3://bucket/d/{number}.png" for number in range(3)]
        for number, data in enumerate(images):
            (tmp_path / f"{number}.png").write_bytes(data)
        local = Detector.from_pretrained().detect_batch(sorted(map(str, tmp_path.iterdir())))
        assert [{**row, "path": ""} for row in found] == [{**verdict.to_dict(), "path": ""} for verdict in local]
