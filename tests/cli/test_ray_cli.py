"""``--engine ray`` and ``--results`` as a user meets them, on a cluster that the command starts."""

from __future__ import annotations

import json
import os
import subprocess
import sys
import time
from importlib.util import find_spec
from pathlib import Path

import psutil
import pytest
from PIL import Image

pytestmark = pytest.mark.slow
POISON = (1313, 7)  # the size by which the broken decoder knows its picture
PLUGIN = """
import os
from PIL import Image, PngImagePlugin
plain = PngImagePlugin.PngImageFile._open
def explode(self):
    if self.fp.read(24)[16:] == bytes((0, 0, 5, 33, 0, 0, 0, 7)):
        os._exit(11)
    self.fp.seek(0)
    plain(self)
PngImagePlugin.PngImageFile._open = explode
"""


@pytest.fixture
def poisoned(photos: Path, tmp_path: Path) -> tuple[Path, dict[str, str]]:
    """A folder with a file that ends whatever process decodes it, since a decoder there is broken; the environment."""
    Image.new("L", POISON).save(photos / "poison.png")
    (tmp_path / "plugin").mkdir()
    (tmp_path / "plugin" / "sitecustomize.py").write_text(PLUGIN)
    return photos, {**os.environ, "PYTHONPATH": str(tmp_path / "plugin")}


def arguments(folder: Path, model: Path, *more: str) -> list[str]:
    command = [sys.executable, "-m", "cinemae", "detect", str(folder), "--model", str(model), "--format", "jsonl"]
    return [*command, *more]


def listening(process: int) -> set[str]:
    """Where the process and all below it accept connections."""
    found: set[str] = set()
    for each in [psutil.Process(process), *psutil.Process(process).children(recursive=True)]:
        try:
            found |= {c.laddr.ip for c in each.net_connections("inet") if c.status == psutil.CONN_LISTEN}
        except psutil.Error:
            continue
    return found


def test_poison_is_named_and_nothing_listens_to_the_world(run, poisoned, tiny_model, tmp_path):
    # Not importorskip: Ray reads its variables when it is imported, and tests/ray sets them later in this process.
    if not os.environ.get("CINEMAE_REQUIRE_RAY") and find_spec("ray") is None:
        pytest.skip("Ray is not installed: pip install 'cinemae[ray]'")
    folder, environment = poisoned
    results, seen = tmp_path / "results", set()
    command = arguments(folder, tiny_model, "--engine", "ray", "--workers", "1", "--results", str(results))
    with subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.PIPE, env=environment) as process:
        while process.poll() is None:
            seen |= listening(process.pid)
            time.sleep(0.2)
        out, err = process.communicate()
    assert process.returncode == 1
    assert seen
    assert seen <= {"127.0.0.1", "::ffff:127.0.0.1", "::1"}
    rows = [json.loads(line) for line in out.splitlines()]
    [poison] = [row for row in rows if row["path"].endswith("poison.png")]
    assert poison["error_message"].startswith("set aside: the process that worked on this image alone ended 3 times")
    said = [line for line in err.decode().splitlines() if not line.startswith("scoring: ")]  # once a minute
    assert said == [
        f"set aside, it ends the process that opens it: {folder / 'poison.png'}",
        "4 of 7 images could not be read: see error_message.",
    ]
    assert json.loads((results / "report.json").read_text())["quarantined"] == [str(folder / "poison.png")]
    (folder / "poison.png").unlink()
    plain = run("detect", folder, "--model", tiny_model, "--format", "jsonl")
    assert [row for row in rows if row is not poison] == [json.loads(line) for line in plain.stdout.splitlines()]


def test_results_here_without_a_cluster(run, photos, tiny_model, tmp_path):
    results = tmp_path / "results"
    first = run(*arguments(photos, tiny_model, "--results", str(results))[3:])
    plain = run(*arguments(photos, tiny_model)[3:])
    assert (first.returncode, first.stdout, first.stderr) == (1, plain.stdout, plain.stderr)
    part = results / "part-000000.parquet"
    before = part.stat().st_mtime_ns
    again = run(*arguments(photos, tiny_model, "--results", str(results))[3:])
    assert (again.returncode, again.stdout) == (1, plain.stdout), again.stderr
    assert part.stat().st_mtime_ns == before


@pytest.mark.parametrize(
    ("options", "sentence"),
    [
        (["--engine", "ray"], "a run in parts keeps verdicts in a folder, and no pixels: give --results DIR with"),
        (["--results", "r", "--heatmap", "maps"], "leave --heatmap, --report and --copy-to to a run without either"),
        (["--workers", "2"], "--address and --workers are for a cluster: add --engine ray"),
    ],
)
def test_options_that_do_not_go_together(run, photos, tiny_model, tmp_path, options, sentence):
    result = run(*arguments(photos, tiny_model, *options)[3:], cwd=tmp_path)
    assert result.returncode == 2
    assert result.stderr.startswith("error: ")
    assert sentence in result.stderr
    assert len(result.stderr.splitlines()) == 1


def test_max_failures(run, photos, tiny_model, tmp_path):
    folder = ["--results", str(tmp_path / "results")]
    result = run(*arguments(photos, tiny_model, "--max-failures", "2", *folder)[3:])
    assert result.returncode == 1
    assert result.stderr.startswith("stopped: 3 images could not be read, 2 were allowed. What is finished is kept")
    assert run(*arguments(photos, tiny_model, "--max-failures", "3", *folder)[3:]).stdout.count("\n") == 6


def test_max_failures_without_a_folder(run, photos, tiny_model):
    result = run(*arguments(photos, tiny_model, "--max-failures", "1")[3:])
    rows = [json.loads(line) for line in result.stdout.splitlines()]
    assert result.returncode == 1
    assert [row["status"] for row in rows].count("error") == 2
    assert rows[-1]["status"] == "error"


def test_max_failures_of_extract(run, photos, tiny_model, tmp_path):
    result = run("extract", photos, "--out", tmp_path / "s", "--model", tiny_model, "--max-failures", "2")
    assert result.returncode == 1
    assert result.stderr.startswith("stopped: 3 images could not be read, 2 were allowed. What is finished is kept")


def test_a_run_without_an_image_is_refused(run, tiny_model, tmp_path):
    result = run("detect", "-", "--model", tiny_model, "--results", tmp_path / "r", stdin="")
    assert result.returncode == 2
    assert result.stderr == "error: the list on standard input names no image: give one path a line.\n"
