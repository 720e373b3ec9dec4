"""Models saved, pushed, fetched, and loaded by transformers.

The Hub is stood in for by a small HTTP server on this machine that keeps repositories in memory: what
huggingface_hub sends it, and asks of it, is real. Not stood in for: uploads to separate storage (LFS, Xet), for the
server takes every file in the commit itself; tokens are looked at, not checked.
"""

from __future__ import annotations

import base64
import dataclasses
import hashlib
import json
import os
import re
import subprocess
import sys
import threading
import urllib.parse
from collections.abc import Iterator
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any

import pytest
import yaml

from cinemae.detect.detector import Detector
from cinemae.errors import ConfigError, ModelDirError
from cinemae.models.directory import CONFIG_FILE, STARTER, read_model_config
from cinemae.models.publish import CODE_FILE, PROCESSOR_FILE, save_model
from cinemae.models.scorers import TorchScorer


class _Hub(BaseHTTPRequestHandler):
    """The endpoints that pushing a folder and fetching a snapshot use."""

    protocol_version = "HTTP/1.1"
    server: _Server

    def log_message(self, *_: object) -> None:
        pass

    def do_HEAD(self) -> None:
        self.do_GET()

    def do_POST(self) -> None:
        body = self.rfile.read(int(self.headers.get("Content-Length") or 0))
        self.server.tokens.add(self.headers.get("Authorization"))
        path = urllib.parse.urlsplit(self.path).path
        if path == "/api/repos/create":
            asked = json.loads(body)
            name = f"{asked.get('organization') or 'me'}/{asked['name']}"
            self.server.private[name] = asked.get("private") or asked.get("visibility") == "private"
            self.server.branches.setdefault(name, {"main": {}})
            self.answer({"url": f"{self.server.url}/{name}", "id": name})
        elif path == "/api/validate-yaml":
            front_matter = json.loads(body)["content"].split("---\n")[1]
            assert yaml.safe_load(front_matter)["library_name"] == "cinemae"
            self.answer({"errors": [], "warnings": []})
        elif found := re.fullmatch(r"/api/models/(\w+/[\w-]+)/branch/(.+)", path):
            self.server.branches[found[1]][found[2]] = {}
            self.answer({})
        elif re.fullmatch(r"/api/models/\w+/[\w-]+/preupload/.+", path):
            files = json.loads(body)["files"]
            self.answer({"files": [{"path": f["path"], "uploadMode": "regular", "shouldIgnore": False} for f in files]})
        elif found := re.fullmatch(r"/api/models/(\w+/[\w-]+)/commit/(.+)", path):
            files = self.server.branches[found[1]][found[2]]
            for line in map(json.loads, body.splitlines()):
                if line["key"] == "file":
                    files[line["value"]["path"]] = base64.b64decode(line["value"]["content"])
                else:
                    self.server.messages.append(line["value"]["summary"])
            oid = commit_of(files)
            self.answer({"commitUrl": f"{self.server.url}/{found[1]}/commit/{oid}", "commitOid": oid, "success": True})
        else:
            self.answer({"error": f"not stood in for: {path}"}, 404)

    def do_GET(self) -> None:
        path = urllib.parse.unquote(urllib.parse.urlsplit(self.path).path)
        if found := re.fullmatch(r"/api/models/(\w+/[\w-]+)(?:/revision/(.+))?", path):
            files = self.files(found[1], found[2] or "main")
            if files is None:
                return self.missing("RepoNotFound" if found[1] not in self.server.branches else "RevisionNotFound")
            siblings = [{"rfilename": name} for name in files]
            return self.answer({"id": found[1], "modelId": found[1], "sha": commit_of(files), "siblings": siblings})
        if found := re.fullmatch(r"/api/models/(\w+/[\w-]+)/tree/([^/]+)(?:/.*)?", path):
            files = self.files(found[1], found[2]) or {}
            return self.answer(
                [{"type": "file", "path": n, "size": len(d), "oid": etag_of(d)} for n, d in files.items()]
            )
        if found := re.fullmatch(r"/(\w+/[\w-]+)/resolve/([^/]+)/(.+)", path):
            files = self.files(found[1], found[2])
            if files is None or found[3] not in files:
                return self.missing("RepoNotFound" if files is None else "EntryNotFound")
            data = files[found[3]]
            headers = {"ETag": f'"{etag_of(data)}"', "X-Repo-Commit": commit_of(files), "Accept-Ranges": "bytes"}
            return self.send(200, data, headers)
        return self.answer({"error": f"not stood in for: {path}"}, 404)

    def files(self, name: str, revision: str) -> dict[str, bytes] | None:
        branches = self.server.branches.get(name, {})
        return next((f for branch, f in branches.items() if revision in (branch, commit_of(f))), None)

    def missing(self, code: str) -> None:
        self.send(404, b"", {"X-Error-Code": code, "X-Error-Message": "there is none"})

    def answer(self, value: Any, status: int = 200) -> None:
        self.send(status, json.dumps(value).encode(), {"Content-Type": "application/json"})

    def send(self, status: int, data: bytes, headers: dict[str, str]) -> None:
        self.send_response(status)
        for name, value in {**headers, "Content-Length": str(len(data))}.items():
            self.send_header(name, value)
        self.end_headers()
        if self.command != "HEAD":
            self.wfile.write(data)


class _Server(ThreadingHTTPServer):
    def __init__(self) -> None:
        super().__init__(("127.0.0.1", 0), _Hub)
        self.url = f"http://127.0.0.1:{self.server_address[1]}"
        self.branches: dict[str, dict[str, dict[str, bytes]]] = {}
        self.private: dict[str, bool | None] = {}
        self.messages: list[str] = []
        self.tokens: set[str | None] = set()


def etag_of(data: bytes) -> str:
    return hashlib.sha1(data, usedforsecurity=False).hexdigest()


def commit_of(files: dict[str, bytes]) -> str:
    return etag_of(json.dumps({name: etag_of(data) for name, data in files.items()}, sort_keys=True).encode())


@pytest.fixture(scope="module")
def hub() -> Iterator[_Server]:
    server = _Server()
    thread = threading.Thread(target=server.serve_forever)
    thread.start()
    yield server
    server.shutdown()
    thread.join()
    server.server_close()


def run(code: str, hub: _Server, home: Path, *arguments: str) -> str:
    """Run Python in a process of its own: huggingface_hub reads where the Hub is when it is imported."""
    environment = {
        **{name: value for name, value in os.environ.items() if not name.startswith("HF_")},
        "HF_ENDPOINT": hub.url,
        "HF_HOME": str(home),
        "HF_HUB_DISABLE_TELEMETRY": "1",
        "HF_HUB_DISABLE_XET": "1",
        "OMP_NUM_THREADS": "1",
    }
    command = [sys.executable, "-c", code, *arguments]
    result = subprocess.run(command, capture_output=True, text=True, env=environment, timeout=120)
    assert result.returncode == 0, result.stderr
    return result.stdout


PUSH = """
import sys
from cinemae import Detector
model, name, branch = sys.argv[1:]
detector = Detector.from_pretrained(model)
print(detector.push_to_hub(name, private=True, token="hf_a_token", branch=branch or None, commit_message="the first"))
"""
FETCH = """
import sys
from cinemae import Detector
for name in sys.argv[2:]:
    print(repr(Detector.from_pretrained(name).detect(sys.argv[1]).prob_fake))
assert "torch" not in sys.modules
"""


@pytest.fixture(scope="module")
def photo(picture, tmp_path_factory) -> Path:
    path = tmp_path_factory.mktemp("photo") / "photo.jpg"
    picture(3, 96, 80).save(path, quality=90)
    return path


@pytest.fixture(scope="module")
def pushed(hub, tiny_model, tmp_path_factory) -> str:
    url = run(PUSH, hub, tmp_path_factory.mktemp("pushing"), str(tiny_model), "me/tiny", "")
    assert url.strip().startswith(f"{hub.url}/me/tiny/commit/")
    return "me/tiny"


def test_what_was_pushed_is_the_model_and_a_card_that_the_hub_can_sort(hub, pushed, tiny_model):
    files = hub.branches[pushed]["main"]
    assert hub.messages[0] == "the first"
    assert hub.private[pushed] is True
    assert "Bearer hf_a_token" in hub.tokens
    for path in tiny_model.rglob("*"):
        if path.is_file() and path.name != CONFIG_FILE:
            assert files[path.relative_to(tiny_model).as_posix()] == path.read_bytes()
    card = files["README.md"].decode()
    assert card.startswith("---\nlibrary_name: cinemae\npipeline_tag: image-classification\n")
    assert {CODE_FILE, PROCESSOR_FILE, "model.onnx", "head.safetensors"} < set(files)


def test_it_comes_back_by_its_id_and_scores_the_same(hub, pushed, tiny_model, photo, tmp_path):
    expected = Detector.from_pretrained(tiny_model).detect(photo).prob_fake
    commit = commit_of(hub.branches[pushed]["main"])
    printed = run(FETCH, hub, tmp_path, str(photo), pushed, f"{pushed}@main", f"{pushed}@{commit}")
    assert [float(line) for line in printed.split()] == [expected] * 3


def test_a_branch_is_pushed_to_and_fetched_from(hub, pushed, tiny_model, photo, tmp_path):
    other = save_model(
        tiny_model,
        tmp_path / "other",
        decision=dataclasses.replace(read_model_config(tiny_model).decision, platt_offset=1.0),
    )
    run(PUSH, hub, tmp_path / "pushing", str(other), pushed, "trial")
    printed = run(FETCH, hub, tmp_path / "fetching", str(photo), f"{pushed}@trial", pushed)
    trial, main = map(float, printed.split())
    assert trial == Detector.from_pretrained(other).detect(photo).prob_fake
    assert main == Detector.from_pretrained(tiny_model).detect(photo).prob_fake != trial


def test_an_id_that_is_not_there_is_one_sentence(hub, tmp_path):
    code = """
import sys
from cinemae import Detector, CinemaeError
for name in sys.argv[1:]:
    try:
        Detector.from_pretrained(name)
    except CinemaeError as error:
        print(error)
"""
    lines = run(code, hub, tmp_path, "me/none", "me/tiny@nowhere").splitlines()
    assert [line.partition(":")[0] for line in lines] == [
        "there is no directory me/none, and the Hub gave no such model",
        "there is no directory me/tiny@nowhere, and the Hub gave no such model",
    ]


PIPELINE = """
import json, sys
from transformers import pipeline
photo, *models = sys.argv[1:]
for model in models:
    classify = pipeline("image-classification", model=model, trust_remote_code=True)
    labels = str(classify.model.config.id2label)
    print(json.dumps([classify(photo), classify([photo] * 3, batch_size=2), labels]))
"""


@pytest.mark.slow
def test_transformers_own_pipeline_gives_the_librarys_probability(hub, pushed, tiny_model, tmp_path):
    photo = str(Path(__file__).resolve().parents[2] / "examples" / "coffee.jpg")
    tiny, starter = Detector.from_pretrained(tiny_model), Detector.from_pretrained()
    by_torch = Detector(TorchScorer(STARTER, device="cpu"))  # the pipeline computes in float32
    models = {  # the bundled one looks at a picture in two views
        str(tiny.save_pretrained(tmp_path / "tiny", transformers=True)): tiny,
        str(starter.save_pretrained(tmp_path / "starter", transformers=True)): by_torch,
        pushed: tiny,
    }
    printed = run(PIPELINE, hub, tmp_path / "home", photo, *models).splitlines()
    for detector, line in zip(models.values(), printed, strict=True):
        answer, several, labels = json.loads(line)
        scores = {entry["label"]: entry["score"] for entry in answer}
        assert scores["fake"] == pytest.approx(detector.detect(photo).prob_fake, abs=1e-6)
        assert scores["real"] + scores["fake"] == pytest.approx(1, abs=1e-12)
        assert several == [answer] * 3  # no score depends on its batch
        assert labels == "{0: 'real', 1: 'fake'}"


def test_the_classifier_computes_in_float32_or_bfloat16(tiny_model, tmp_path):
    import torch

    from cinemae.models.classifier import CinemaeForImageClassification

    saved = save_model(tiny_model, tmp_path / "saved", transformers=True)
    narrow = CinemaeForImageClassification.from_pretrained(saved, dtype=torch.bfloat16)
    assert torch.bfloat16 in {parameter.dtype for parameter in narrow.parameters()}
    with pytest.raises(ConfigError, match="computes in float32 or bfloat16, got float16: choose one"):
        CinemaeForImageClassification.from_pretrained(saved, dtype="float16")


def test_what_transformers_needs_changes_nothing_for_the_library(tiny_model, photo, tmp_path):
    saved = save_model(tiny_model, tmp_path / "saved", transformers=True)
    before, after = (Detector.from_pretrained(path) for path in (tiny_model, saved))
    assert after.detect(photo).to_dict() == before.detect(photo).to_dict()
    plain = save_model(saved, tmp_path / "plain")
    assert json.loads((plain / CONFIG_FILE).read_text()).keys() >= {"auto_map", "backbone"}


def test_a_threshold_set_by_hand_is_saved_and_not_pushed(tiny_model, tmp_path):
    detector = Detector.from_pretrained(tiny_model, threshold=0.77)
    saved = Detector.from_pretrained(detector.save_pretrained(tmp_path / "saved"))
    assert saved.decision == detector.decision
    assert saved.decision.threshold == 0.77
    with pytest.raises(ConfigError, match="a threshold set by hand is not pushed: write the model"):
        detector.push_to_hub("me/other")


def test_a_model_is_saved_into_nothing_else(tiny_model, tmp_path):
    (tmp_path / "full").mkdir()
    (tmp_path / "full" / "notes.txt").touch()
    (tmp_path / "file").touch()
    for name in ("full", "file"):
        with pytest.raises(ConfigError, match="saved into a new or an empty directory, .* is neither: name another"):
            save_model(tiny_model, tmp_path / name)
    with pytest.raises(ModelDirError, match=r"a model directory holds config\.json"):
        save_model(tmp_path / "full", tmp_path / "new")
    assert not (tmp_path / "new").exists()
    with pytest.raises(ConfigError, match="only a detector that from_pretrained made knows its model's files"):
        Detector(TorchScorer(tiny_model)).save_pretrained(tmp_path / "new")


def test_a_model_that_is_there_is_made_ready_in_place(tiny_model, tmp_path):
    model = save_model(tiny_model, tmp_path / "model")
    assert not (model / CODE_FILE).exists()
    save_model(model, model, transformers=True)
    assert (model / CODE_FILE).is_file()
    assert read_model_config(model) == read_model_config(tiny_model)


def test_the_command_that_makes_a_model_ready(tiny_model, tmp_path, monkeypatch):
    from typer.testing import CliRunner

    from cinemae.app.cli import app

    monkeypatch.setattr("cinemae.models.export.export_onnx", lambda _: None)  # the graph is there
    ready = tmp_path / "ready"
    result = CliRunner().invoke(app, ["export", str(tiny_model), "--transformers", str(ready)])
    assert result.exit_code == 0, result.output
    assert result.stdout.splitlines()[-1] == f"{ready}: with what transformers needs"
    assert (
        json.loads((ready / CONFIG_FILE).read_text())["auto_map"]["AutoConfig"] == "cinemae_transformers.CinemaeConfig"
    )
    assert (ready / CODE_FILE).is_file()
