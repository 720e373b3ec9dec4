"""The service as a process: how it starts, what it logs, that it writes nothing, and how it ends."""

from __future__ import annotations

import json
import re
import signal
import subprocess
import sys
import threading
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parents[2]

WATCHED = """\
import os, sys
written = []
def watch(event, arguments):
    if event == "open" and arguments[2] is not None and arguments[2] & (os.O_WRONLY | os.O_RDWR | os.O_CREAT):
        written.append(str(arguments[0]))
    if event in ("os.mkdir", "os.rename", "os.link", "os.symlink", "tempfile.mkstemp", "tempfile.mkdtemp"):
        written.append(f"{event} {arguments}")
from cinemae.app.cli import main
sys.addaudithook(watch)
sys.argv[1:] = ["serve", *sys.argv[1:]]
try:
    main()
finally:
    print("written:", [name for name in written if "__pycache__" not in name and name != "/dev/null"], file=sys.stderr)
"""


@pytest.fixture(scope="module")
def good(picture, tools):
    return tools.encode(picture(1, 800, 600)) + bytes(2**20)  # above the 1 MB where Starlette would spool to disk


def test_nothing_is_written_and_the_log_tells_no_secret(in_process, good, tools, tmp_path):
    server = in_process(command=[sys.executable, "-c", WATCHED], TMPDIR=str(tmp_path), CINEMAE_API_KEYS="k" * 20)
    key = {"X-API-Key": "k" * 20}
    assert server.form([("secret-name.jpg", good)] * 3, **key).status == 200
    assert server.raw(good, "/v1/heatmap", **key).status == 200
    assert server.raw(b"SECRETBYTES", **key).status == 422
    assert server.form([("secret-name.jpg", b"SECRETBYTES")], "/v1/detect?stable=secret", **key).status == 422
    assert server.ask("GET", "/secret-path").status == 404
    assert server.ask("SECRET", "/v1/model").status == 405
    assert server.talk(b"SECRET LINE\r\n\r\n").startswith(b"HTTP/1.1 400")
    code, log = tools.finish(server)
    assert code == 0
    assert log[-1] == "written: []\n"
    assert list(tmp_path.iterdir()) == []

    entries = [json.loads(line) for line in log[:-1]]
    asked = [entry for entry in entries if entry["message"] == "request"]
    assert [(entry["route"], entry["status"]) for entry in asked] == [
        ("/v1/detect", 200),
        ("/v1/heatmap", 200),
        ("/v1/detect", 422),
        ("/v1/detect", 422),
        ("other", 404),
        ("/v1/model", 405),
    ]
    assert (asked[0]["images"], asked[0]["bytes"]) == (3, 3 * len(good))
    assert all(len(entry["request_id"]) == 32 for entry in asked)
    text = "".join(log).lower()
    assert "secret" not in text
    assert "k" * 20 not in text
    assert "127.0.0.1" not in text


def test_term_in_mid_load_answers_all_that_was_accepted(in_process, good, tools):
    server = in_process("--workers", "1", "--max-batch", "1")
    number, answers = 12, []
    askers = [
        threading.Thread(target=lambda: answers.append(server.form([("a.jpg", good)] * 4))) for _ in range(number)
    ]
    for asker in askers:
        asker.start()

    def pending():
        text = server.ask("GET", "/metrics").body.decode()
        return float(re.search(r"^cinemae_images_pending (\S+)", text, re.MULTILINE)[1])

    tools.wait_until(lambda: len(answers) + pending() / 4 >= number, 60)
    code, _ = tools.finish(server)
    for asker in askers:
        asker.join(60)
    assert code == 0
    assert [answer.status for answer in answers] == [200] * number
    assert len({json.dumps(answer.json) for answer in answers}) == 1
    with pytest.raises(ConnectionRefusedError):
        server.connect()


def test_interrupted_it_ends_as_well(in_process, tools):
    code, _ = tools.finish(in_process(), signal.SIGINT)
    assert code == 130


def test_open_to_the_network_without_a_key_is_warned_of(in_process, tools):
    _, log = tools.finish(in_process("--host", "0.0.0.0"))
    entries = [json.loads(line) for line in log]
    assert [entry["level"] for entry in entries] == ["warning"]
    assert "no API key is set" in entries[0]["message"]


@pytest.mark.slow
def test_two_hundred_clients_at_once(tiny_model):
    """A short run of the benchmark: good, broken, huge, slow and leaving clients, all answers checked, then SIGTERM.

    Whether memory stays flat cannot be told in so short a time: that is for the long run.
    """
    command = [sys.executable, "-m", "benchmarks.serve_load", "--seconds", "2", "--clients", "200"]
    result = subprocess.run([*command, "--model", str(tiny_model)], cwd=ROOT, capture_output=True, text=True)
    assert result.returncode == 0, result.stdout + result.stderr
    targets = [line.strip() for line in result.stdout.splitlines() if ", target " in line]
    assert [line for line in targets if "memory" not in line] == [
        "5xx other than 503: 0, target at most 0: met",
        "answers lost or swapped: 0, target at most 0: met",
        "accepted requests left unanswered by SIGTERM: 0, target at most 0: met",
        "exit code after SIGTERM: 0, target at most 0: met",
    ]
