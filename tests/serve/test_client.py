"""The Python client, and the examples in other languages, against the service and against one that is busy."""

from __future__ import annotations

import http.server
import json
import os
import shutil
import subprocess
import sys
import threading
import time
from contextlib import contextmanager
from pathlib import Path

import pytest

from cinemae.client import Client
from cinemae.detect.detector import Detector
from cinemae.errors import CinemaeError, ConfigError, ServiceError

EXAMPLES = Path(__file__).resolve().parents[2] / "examples"
KEY = "a-key-of-sixteen-characters"


@pytest.fixture(scope="module")
def server(in_thread):
    with in_thread(max_files=3, queue=8, max_bytes=100_000) as server:
        yield server


@pytest.fixture(scope="module")
def detector(tiny_model):
    return Detector.from_pretrained(tiny_model)


@pytest.fixture
def folder(tmp_path, picture):
    for seed in range(7):
        picture(seed).save(tmp_path / f"{seed}.png")
    (tmp_path / "broken.png").write_bytes(b"no picture")
    return tmp_path


def expected(detector, path):
    return json.loads(json.dumps({**detector.detect(path).to_dict(), "path": path.name}))


def test_one_image_from_a_path_or_bytes(server, detector, folder):
    client = Client(server.url)
    path = folder / "0.png"
    assert client.detect(path) == client.detect(str(path)) == expected(detector, path)
    assert client.detect(path.read_bytes()) == {**expected(detector, path), "path": "image"}
    assert client.detect(path, stable=True)["redeliveries"]
    assert client.model()["limits"]["max_files"] == 3
    assert client.heatmap(path).startswith(b"\x89PNG")


def test_many_images_go_in_as_few_requests_as_allowed(server, detector, folder):
    paths = [folder / f"{seed}.png" for seed in range(7)]
    count = server.service.metrics.requests.labels("POST", "/v1/detect", 200)._value.get
    before = count()
    assert Client(server.url + "/").detect(list(paths)) == [expected(detector, path) for path in paths]
    assert count() - before == 3  # three, three and one


def test_a_broken_image_is_an_error_alone_and_a_row_among_others(server, folder):
    client, broken = Client(server.url), folder / "broken.png"
    with pytest.raises(ServiceError, match=r"the service answered 422: an image must be one of JPEG, PNG") as refused:
        client.detect(broken)
    assert isinstance(refused.value, CinemaeError)
    assert (refused.value.status, refused.value.problem["title"]) == (422, "Unreadable image")
    rows = client.detect([folder / "0.png", broken])
    assert [row["status"] for row in rows] == ["ok", "error"]
    assert [row["status"] for row in client.detect([broken])] == ["error"]
    assert client.detect([]) == []


def test_an_image_too_large_for_the_service_is_refused_with_its_reason(server, folder):
    large = bytes(4 * 2**20)  # more than goes into the buffers between: the refusal comes while it is being sent
    with pytest.raises(ServiceError, match="the service answered 413: a request has at most 100,000 bytes"):
        Client(server.url).detect(large)
    with pytest.raises(ServiceError, match="413"):
        Client(server.url).detect([folder / "0.png", large])
    with pytest.raises(FileNotFoundError):
        Client(server.url).detect(folder / "not-there.png")


def test_names_that_need_quoting(server, folder, picture):
    for name in ('a "quoted" name.png', "back\\slash.png", "gr\u00fc\u00dfe.png", "new\nline.png"):
        picture(1).save(folder / name, "PNG")
        shown = name.replace("\n", "").rpartition("\\")[2]
        assert Client(server.url).detect(folder / name)["path"] == shown


def test_keys(in_thread, folder):
    with in_thread(keys=[KEY]) as server:
        assert Client(server.url, KEY).detect(folder / "0.png")["status"] == "ok"
        with pytest.raises(ServiceError, match="the service answered 401: the service needs an API key") as refused:
            Client(server.url).detect(folder / "0.png")
        assert refused.value.status == 401


@pytest.mark.parametrize("url", ["localhost:8000", "ftp://localhost", "http://", ""])
def test_a_url_of_no_web_server_is_refused(url):
    with pytest.raises(ConfigError, match="the URL of a service begins with http:// or https://, got"):
        Client(url)


@contextmanager
def scripted(answers):
    """A server that gives these answers, (status, headers, body) each, one after the other."""
    left, seen = list(answers), []

    class Handler(http.server.BaseHTTPRequestHandler):
        def do_POST(self):
            self.rfile.read(int(self.headers["Content-Length"]))
            seen.append((time.monotonic(), self.path))
            status, headers, body = left.pop(0)
            self.send_response(status)
            for name, value in headers.items():
                self.send_header(name, value)
            self.end_headers()
            self.wfile.write(body)

        def log_message(self, *_):
            pass

    with http.server.ThreadingHTTPServer(("127.0.0.1", 0), Handler) as httpd:
        thread = threading.Thread(target=httpd.serve_forever, kwargs={"poll_interval": 0.01})
        thread.start()
        try:
            yield f"http://127.0.0.1:{httpd.server_port}/behind/a/proxy", seen
        finally:
            httpd.shutdown()
            thread.join()


ROWS = (200, {}, b'{"results": [{"path": "image", "status": "ok"}]}')


def test_a_busy_service_is_asked_again_when_it_says(monkeypatch):
    slept = []
    monkeypatch.setattr(time, "sleep", slept.append)
    busy = [(503, {"Retry-After": "7"}, b""), (503, {}, b""), (503, {"Retry-After": "soon"}, b""), ROWS]
    busy.insert(0, (503, {"Retry-After": "3600"}, b"{}"))
    with scripted(busy) as (url, seen):
        assert Client(url).detect(b"x")["status"] == "ok"
    assert slept == [60.0, 7.0, 4.0, 8.0]
    assert {path for _, path in seen} == {"/behind/a/proxy/v1/detect"}
    assert len(seen) == 5


def test_a_refusal_of_another_kind_is_no_row():
    refused = pytest.raises(ServiceError, match=r"answered 422: query\.stable: no boolean")
    with scripted([(422, {}, b'{"detail": "query.stable: no boolean."}')]) as (url, _), refused:
        Client(url).detect([b"x"])


def test_it_is_not_asked_for_ever(monkeypatch):
    monkeypatch.setattr(time, "sleep", lambda _: None)
    refused = pytest.raises(ServiceError, match="the service answered 503: full.")
    with scripted([(503, {}, b'{"detail": "full."}')] * 3) as (url, seen), refused:
        Client(url, retries=2).detect(b"x")
    assert len(seen) == 3


def test_what_is_no_such_service_is_said_so():
    answers = [(502, {}, b"<html>Bad Gateway</html>"), (500, {}, b"[]"), (200, {}, b"<html>Welcome</html>")]
    with scripted(answers) as (url, _):
        for status in (502, 500, 200):
            with pytest.raises(
                ServiceError, match=f"answered {status}: it gave no reason: is it a cinemae service"
            ) as e:
                Client(url).detect(b"x")
            assert e.value.problem == {}


COMMANDS = {
    "client.py": [sys.executable, "client.py"],
    "client.mjs": ["node", "client.mjs"],
    "curl.sh": ["bash", "curl.sh"],
}


@pytest.mark.parametrize("name", COMMANDS)
def test_examples_run(in_thread, name):
    if shutil.which(COMMANDS[name][0]) is None:
        pytest.skip(f"{COMMANDS[name][0]} is not installed")
    with in_thread(keys=[KEY]) as server:
        result = subprocess.run(
            COMMANDS[name],
            cwd=EXAMPLES,
            capture_output=True,
            text=True,
            timeout=60,
            env={**os.environ, "CINEMAE_URL": server.url, "CINEMAE_API_KEY": KEY},
        )
    assert result.returncode == 0, result.stdout + result.stderr
    assert "chelsea.jpg" in result.stdout
    assert "Unreadable image" in result.stdout
    assert not [path for path in EXAMPLES.iterdir() if path.suffix == ".png"]
