"""The page at / as the service sends it; what it does in a browser is in `tests/serve/page`."""

from __future__ import annotations

import html
import json
import re
from pathlib import Path

import pytest

from cinemae.app.serve.config import ServeConfig
from cinemae.app.serve.page import MAX_FILES, STATIC, render
from cinemae.detect.reasons import GROUPS
from cinemae.detect.words import WORDS
from cinemae.evidence.image_warnings import WARNINGS


@pytest.fixture(scope="module")
def server(in_thread):
    with in_thread(keys=["a-key-of-sixteen-characters"]) as server:
        yield server


def test_the_page_and_its_files_come_without_a_key_and_under_a_strict_policy(server):
    kinds = {"page.css": "text/css", "page.js": "text/javascript", "icon.svg": "image/svg+xml"}
    for path, kind in {"/": "text/html", **{f"/static/{name}": kind for name, kind in kinds.items()}}.items():
        answer = server.ask("GET", path)
        assert (answer.status, answer.headers["content-type"].partition(";")[0]) == (200, kind)
        policy = answer.headers["content-security-policy"].split("; ")
        assert policy[0] == "default-src 'none'"
        assert {"script-src 'self'", "connect-src 'self'", "frame-ancestors 'none'"} < set(policy)
        assert "unsafe" not in answer.headers["content-security-policy"]
        assert answer.headers["x-content-type-options"] == "nosniff"
        assert answer.headers["referrer-policy"] == "no-referrer"


def test_nothing_else_is_served_from_there(server):
    for name in ("index.html", "../page.py", "..%2fpage.py", "%2e%2e/page.py", "/etc/passwd", "", "page.js%00"):
        assert server.ask("GET", f"/static/{name}").status == 404


def test_the_interface_for_programs_does_not_know_the_page(server):
    paths = server.ask("GET", "/openapi.json").json["paths"]
    assert not [path for path in paths if path == "/" or path.startswith("/static")]


def test_the_interface_can_be_read_and_tried_at_docs(server):
    for path, kind in {
        "/docs": "text/html",
        "/static/docs.js": "text/javascript",
        "/static/docs.css": "text/css",
        "/docs/swagger-ui-bundle.js": "text/javascript",
        "/docs/swagger-ui.css": "text/css",
    }.items():
        answer = server.ask("GET", path)
        assert (answer.status, answer.headers["content-type"].partition(";")[0]) == (200, kind)
        assert "script-src 'self';" in answer.headers["content-security-policy"]
        if path != "/docs/swagger-ui-bundle.js":
            assert not re.search(rb"https?://(?!www\.w3\.org)", answer.body)
    assert server.ask("GET", "/docs/redoc.standalone.js").status == 404


def test_it_can_be_switched_off(in_thread):
    with in_thread(page=False) as server:
        assert server.ask("GET", "/").status == 404
        assert server.ask("GET", "/static/page.js").status == 404
        assert server.ask("GET", "/docs").status == 404
        assert server.ask("GET", "/healthz").status == 200


def test_every_warning_is_explained_in_the_librarys_words():
    page = render(ServeConfig())
    pairs = re.findall(r"<dt>(.*?)</dt><dd>(.*?)</dd>", page)
    assert {name: html.unescape(sentence) for name, sentence in pairs} == dict(WARNINGS)
    assert f'data-max-files="{MAX_FILES}"' in page
    given = {name: html.unescape(re.search(f'data-{name}="([^"]*)"', page)[1]) for name in ("words", "groups")}
    assert json.loads(given["words"]) == {**WORDS, "error": "could not be read"}
    assert json.loads(given["groups"]) == dict(GROUPS)
    assert f'data-max-bytes="{ServeConfig.max_bytes}"' in page


def test_the_files_are_small_and_name_no_other_host():
    files = [path for path in STATIC.iterdir() if path.is_file()]
    assert sum(path.stat().st_size for path in files) < 64 * 1024
    for path in files:
        addresses = set(re.findall(r"https?://[^\s\"'<)]+", path.read_text(encoding="utf-8")))
        assert addresses <= {"http://www.w3.org/2000/svg"}, path  # a name, not an address that is fetched
        assert "innerHTML" not in path.read_text(encoding="utf-8")
    assert Path(STATIC, "index.html").read_text(encoding="utf-8").count("<script") == 1
