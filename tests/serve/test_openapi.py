"""The service does what its OpenAPI document says: Schemathesis draws requests from it, and checks the answers."""

from __future__ import annotations

import subprocess
import sys

import pytest

KEY = "a-key-of-sixteen-characters"


REPORT_OF_ANYTHING = """\
[[operations]]
include-path = "/v1/report"
checks.negative_data_rejection.enabled = false
"""
"""A report tells of a file that it is no image, where other routes refuse the request."""


def run(server, *options, cwd):
    (cwd / "schemathesis.toml").write_text(REPORT_OF_ANYTHING)
    command = [sys.executable, "-c", "from schemathesis.cli import schemathesis; schemathesis()", "run"]
    result = subprocess.run(
        [*command, f"{server.url}/openapi.json", "--max-examples", "10", "--seed", "1", "--no-color", *options],
        cwd=cwd,  # where it keeps what it found
        capture_output=True,
        text=True,
        timeout=120,
    )
    assert result.returncode == 0, result.stdout + result.stderr
    return result.stdout


def test_answers_are_as_documented(in_thread, tmp_path):
    with in_thread() as server:
        document = server.ask("GET", "/openapi.json").json
        assert "securitySchemes" not in document["components"]
        # A document cannot say which bytes are an image, so bytes that it allows may be refused.
        shown = run(server, "--exclude-checks", "positive_data_acceptance", cwd=tmp_path)
    assert "Tested: 7" in shown


def test_nothing_is_answered_without_a_key(in_thread, tmp_path):
    with in_thread(keys=[KEY]) as server:
        operations = server.ask("GET", "/openapi.json").json["paths"]
        keyed = {path for path, methods in operations.items() if any("security" in one for one in methods.values())}
        assert keyed == {"/v1/detect", "/v1/heatmap", "/v1/report", "/v1/model", "/metrics"}
        checks = ["--phases", "coverage", "--checks", "ignored_auth,not_a_server_error"]
        run(server, *checks, "--header", f"X-API-Key: {KEY}", cwd=tmp_path)


@pytest.mark.parametrize("name", ["one image", "one of two cannot be read"])
def test_examples_have_every_key_of_a_verdict(in_thread, name):
    from cinemae.detect.verdict import Verdict

    with in_thread() as server:
        document = server.ask("GET", "/openapi.json").json
    examples = document["paths"]["/v1/detect"]["post"]["responses"]["200"]["content"]["application/json"]["examples"]
    rows = examples[name]["value"]["results"]
    assert all(set(row) >= set(Verdict(None, "ok").to_dict()) for row in rows)
    verdict = document["components"]["schemas"]["Verdict"]
    assert list(verdict["properties"]) == list(Verdict(None, "error").to_dict())
    assert all(one["description"] != key for key, one in verdict["properties"].items())
