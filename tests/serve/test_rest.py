"""What the service answers, over real sockets: the verdicts of the library and the command line, and nothing else."""

from __future__ import annotations

import dataclasses
import io
import json
import subprocess
import sys
import urllib.request

import numpy as np
import pytest
from PIL import Image

from cinemae.config import LcasReference
from cinemae.detect.detector import Detector
from cinemae.detect.verdict import Verdict
from cinemae.models.directory import STARTER
from cinemae.models.scorers import OnnxScorer
from cinemae.version import __version__

KEYS = ("a-key-of-sixteen-characters", "another-key-of-enough-characters")


@pytest.fixture(scope="module")
def server(in_thread):
    with in_thread() as server:
        yield server


@pytest.fixture(scope="module")
def detector(tiny_model):
    return Detector.from_pretrained(tiny_model)


@pytest.fixture(scope="module")
def images(picture, tools):
    """By name, in several formats."""
    return {
        "a.jpg": tools.encode(picture(1), "JPEG", quality=90),
        "b.png": tools.encode(picture(2), "PNG"),
        "c.webp": tools.encode(picture(3), "WEBP", lossless=True),
        "d.gif": tools.encode(picture(4), "GIF", save_all=True, append_images=[picture(5)]),
    }


def test_library_command_line_and_service_say_the_same(server, images, tiny_model, detector, tmp_path, monkeypatch):
    for name, data in images.items():
        (tmp_path / name).write_bytes(data)
    command = [sys.executable, "-m", "cinemae", "detect", *images, "--model", str(tiny_model), "--format", "jsonl"]
    printed = subprocess.run(command, cwd=tmp_path, capture_output=True, text=True, check=True).stdout
    from_command_line = [json.loads(line) for line in printed.splitlines()]
    monkeypatch.chdir(tmp_path)
    from_library = [json.loads(json.dumps(detector.detect(name).to_dict())) for name in images]

    answer = server.form(list(images.items()))
    assert answer.status == 200
    assert list(answer.json) == ["results"]
    from_service = answer.json["results"]
    assert from_service == from_library == from_command_line
    assert [list(row) for row in from_service] == [list(row) for row in from_library]  # the same order of keys
    assert [row["path"] for row in from_service] == list(images)
    assert "animated_first_frame" in from_service[3]["warnings"]


def test_a_score_does_not_depend_on_how_many_threads_compute_it(images, tiny_model):
    """The service computes each image on its worker's share of the cores; library and command line on all of them."""
    for model in (tiny_model, STARTER):
        one, three = (Detector(OnnxScorer(model, num_threads=number)) for number in (1, 3))
        for data in images.values():
            assert one.detect(data).to_dict() == three.detect(data).to_dict()


def test_an_image_as_the_body_itself(server, images, detector):
    for data in images.values():
        rows = server.raw(data).json["results"]
        assert rows == [json.loads(json.dumps(detector.detect(data).to_dict()))]
        assert rows[0]["path"] is None
    assert server.raw(images["a.jpg"], **{"Content-Type": "application/octet-stream"}).status == 200
    assert server.form([(None, images["a.jpg"])]).json["results"][0]["path"] is None


def test_a_broken_image_is_a_row_among_others_and_422_alone(server, images):
    good, broken = images["a.jpg"], images["b.png"][:100]
    answer = server.form([("a.jpg", good), ("broken.png", broken), ("empty.jpg", b""), ("b.png", images["b.png"])])
    assert answer.status == 200
    assert [row["status"] for row in answer.json["results"]] == ["ok", "error", "error", "ok"]
    assert [row["path"] for row in answer.json["results"]] == ["a.jpg", "broken.png", "empty.jpg", "b.png"]
    assert "damaged, incomplete" in answer.json["results"][1]["error_message"]
    assert "is empty (0 bytes)" in answer.json["results"][2]["error_message"]

    for answer in (server.raw(broken), server.form([("broken.png", broken)])):
        assert answer.status == 422
        assert answer.headers["content-type"] == "application/problem+json"
        problem = answer.json
        assert problem["type"] == "urn:cinemae:problem:unreadable-image"
        assert (problem["title"], problem["status"]) == ("Unreadable image", 422)
        assert "damaged, incomplete" in problem["detail"]
        assert problem["results"][0]["error_message"] == problem["detail"]
        assert list(problem["results"][0]) == list(Verdict(None, "error").to_dict())


def test_a_heat_map_is_the_librarys(server, images, detector):
    answer = server.raw(images["a.jpg"], "/v1/heatmap")
    assert (answer.status, answer.headers["content-type"]) == (200, "image/png")
    expected = detector.detect(images["a.jpg"]).heatmap()
    assert np.array_equal(np.asarray(Image.open(io.BytesIO(answer.body))), np.asarray(expected))
    assert server.form([("a.jpg", images["a.jpg"])], "/v1/heatmap").body == answer.body
    bare = server.raw(images["a.jpg"], "/v1/heatmap?legend=false").body
    expected = detector.detect(images["a.jpg"]).heatmap(legend=False)
    assert np.array_equal(np.asarray(Image.open(io.BytesIO(bare))), np.asarray(expected))
    assert server.raw(b"hello", "/v1/heatmap").status == 422
    two = server.form([("a.jpg", images["a.jpg"])] * 2, "/v1/heatmap")
    assert (two.status, two.json["type"]) == (422, "urn:cinemae:problem:one-image")
    assert two.json["detail"] == "a heat map is made of one image, got 2: send one."


def test_a_model_without_a_reference_draws_no_heat_maps(in_thread, images, tiny_model):
    detector = Detector.from_pretrained(tiny_model)
    detector.config = dataclasses.replace(detector.config, reference=LcasReference())
    with in_thread(detector=detector) as server:
        answer = server.raw(images["a.jpg"], "/v1/heatmap")
        assert (answer.status, answer.json["type"]) == (404, "urn:cinemae:problem:no-heat-maps")
        assert "needs the reference quantiles of photographs" in answer.json["detail"]
        assert server.raw(images["a.jpg"]).status == 200


def test_model_health_and_metrics(server, images, detector, tools):
    model = server.ask("GET", "/v1/model").json
    assert (model["model"], model["version"]) == (detector.model_id, __version__)
    assert model["fingerprint"] == detector.config.fingerprint
    assert model["decision"] == detector.decision.to_dict()
    assert model["limits"] == {"max_bytes": 64 * 2**20, "max_pixels": 50_000_000, "max_files": 50, "timeout": 30.0}
    assert server.ask("GET", "/healthz").json == server.ask("GET", "/readyz").json == {"status": "ok"}

    def value(name):
        lines = server.ask("GET", "/metrics").body.decode().splitlines()
        return sum(float(line.rpartition(" ")[2]) for line in lines if line.startswith(name))

    before = value("cinemae_images_total"), value('cinemae_requests_total{method="POST",route="/v1/detect"')
    server.form([("a.jpg", images["a.jpg"]), ("x", b"x")])
    tools.wait_until(lambda: value("cinemae_images_total") == before[0] + 2)  # counted once the answers are out
    assert value('cinemae_requests_total{method="POST",route="/v1/detect"') == before[1] + 1
    assert value('cinemae_images_total{verdict="error"}') >= 1
    assert (value("cinemae_images_pending"), value("cinemae_bytes_in_flight")) == (0, 0)
    assert value("process_resident_memory_bytes") > 1e6


@pytest.mark.parametrize(
    ("method", "path", "status", "title"),
    [
        ("GET", "/nothing", 404, "Not Found"),
        ("GET", "/../../etc/passwd", 404, "Not Found"),
        ("GET", "/v1/detect", 405, "Method Not Allowed"),
        ("BREW", "/v1/detect", 405, "Method Not Allowed"),
        ("POST", "/v1/detect?stable=perhaps", 422, "Invalid parameter"),
        ("POST", "/v1/detect", 415, "Unsupported Media Type"),
    ],
)
def test_every_error_is_a_problem(server, method, path, status, title):
    answer = server.ask(method, path)
    assert (answer.status, answer.headers["content-type"]) == (status, "application/problem+json")
    problem = answer.json
    assert set(problem) == {"type", "title", "status", "detail"}
    assert (problem["title"], problem["status"]) == (title, status)
    assert problem["detail"].endswith(".")
    if status == 405:
        assert answer.headers["allow"] == "POST"


@pytest.mark.parametrize(
    ("given", "shown"),
    [
        ("../../../etc/passwd", "passwd"),
        (r"..\..\windows\system32\a.png", "a.png"),
        ("/etc/shadow", "shadow"),
        ("..", None),
        ("", None),
        ("a\tb.png", "ab.png"),
        ("gr\u00fc\u00dfe \U0001f600.jpg", "gr\u00fc\u00dfe \U0001f600.jpg"),
        ("abc\u202egpj.exe", "abcgpj.exe"),
        ("<script>alert(1)<", "<script>alert(1)<"),
        ("n" * 300 + ".jpg", "n" * 251 + ".jpg"),
    ],
)
def test_a_file_name_comes_back_as_a_name_only(server, images, given, shown):
    answer = server.form([(given, images["a.jpg"])])
    assert answer.status == 200
    assert answer.json["results"][0]["path"] == shown


def test_answers_carry_an_id_and_safe_headers(server):
    answer = server.ask("GET", "/healthz")
    assert len(answer.headers["x-request-id"]) == 32
    assert (answer.headers["x-content-type-options"], answer.headers["cache-control"]) == ("nosniff", "no-store")
    assert "server" not in answer.headers
    assert server.ask("GET", "/healthz", headers={"X-Request-ID": "from-a.proxy_1"}).headers["x-request-id"] == (
        "from-a.proxy_1"
    )
    assert server.ask("GET", "/healthz", headers={"X-Request-ID": "a b"}).headers["x-request-id"] != "a b"


def test_api_keys(in_thread, images):
    with in_thread(keys=KEYS) as server:
        for headers in (
            {},
            {"X-API-Key": "a-key-of-sixteen-characterS"},
            {"Authorization": "Bearer wrong"},
            {"Authorization": f"Basic {KEYS[0]}"},
            {"X-API-Key": ""},
            {"X-API-Key": "\xe9" * 20},
        ):
            answer = server.raw(images["a.jpg"], **headers)
            assert (answer.status, answer.headers["www-authenticate"]) == (401, "Bearer"), headers
            assert answer.json["title"] == "Unauthorized"
            assert "results" not in answer.json
        for path in ("/v1/model", "/metrics"):
            assert server.ask("GET", path).status == 401
        assert server.raw(b"", "/v1/heatmap").status == 401
        for path in ("/healthz", "/readyz"):
            assert server.ask("GET", path).status == 200
        for key in KEYS:
            assert server.raw(images["a.jpg"], **{"X-API-Key": key}).status == 200
            assert server.raw(images["a.jpg"], Authorization=f"Bearer {key}").status == 200


def test_other_origins_are_let_in_only_if_told_to(server, in_thread):
    asked = {"Origin": "https://example.org", "Access-Control-Request-Method": "POST"}
    answer = server.ask("OPTIONS", "/v1/detect", headers=asked)
    assert answer.status == 405
    assert not [name for name in answer.headers if name.startswith("access-control")]
    with in_thread(cors_origins=("https://example.org",)) as other:
        answer = other.ask("OPTIONS", "/v1/detect", headers=asked)
        assert (answer.status, answer.headers["access-control-allow-origin"]) == (200, "https://example.org")
        answer = other.ask("OPTIONS", "/v1/detect", headers={**asked, "Origin": "https://evil.example"})
        assert "access-control-allow-origin" not in answer.headers


def test_what_breaks_inside_is_a_500_that_quotes_nothing(in_thread, detector, caplog):
    class Broken:
        model_id, scorer = detector.model_id, detector.scorer

        def detect_batch(self, images, **options):
            raise RuntimeError(f"secret {bytes(images[0][:4])!r}")

    image = io.BytesIO()
    Image.new("RGB", (8, 8)).save(image, "PNG")
    with in_thread(detector=Broken()) as server:
        answer = server.raw(image.getvalue())
        assert (answer.status, answer.json["title"]) == (500, "Internal Server Error")
        assert "secret" not in answer.body.decode()
        assert server.ask("GET", "/readyz").status == 200
    number = answer.json["detail"].partition("(error ")[2][:8]
    [logged] = [record for record in caplog.records if number in record.message]
    assert logged.exc_info[0] is RuntimeError


@pytest.mark.parametrize("path", ["/healthz", "/readyz", "/v1/model", "/metrics", "/openapi.json", "/docs", "/"])
def test_head_is_get_without_the_body(server, path):
    with urllib.request.urlopen(urllib.request.Request(server.url + path, method="HEAD"), timeout=30) as answer:
        assert (answer.status, answer.read()) == (200, b"")
        assert int(answer.headers["Content-Length"]) > 0
