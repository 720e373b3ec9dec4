"""What every command shares: what it loads, its progress bar, version and information."""

from __future__ import annotations

import json
import os
import pty
import subprocess
import sys
from pathlib import Path

import pytest
from tests.cli.in_process import invoke

from cinemae.version import __version__

HEAVY = {"torch", "transformers", "pyarrow", "matplotlib", "sklearn", "onnx", "jaxtyping"}


@pytest.mark.parametrize(
    "command", ["--help", "detect --help", "train --help", "info", "detect", "detect --model tiny"]
)
def test_light_commands_load_nothing_heavy(tiny_model: Path, photos: Path, tmp_path: Path, command: str):
    arguments = [str(tiny_model) if word == "tiny" else word for word in command.split()]
    if arguments[0] == "detect" and "--help" not in command:
        arguments += [str(photos / "a.png"), "--heatmap", str(tmp_path / "maps")]
    code = (
        "import sys, json\nfrom cinemae.app.cli import main\nsys.argv[0] = 'cinemae'\n"
        "try: main()\nexcept SystemExit as end: code = end.code\n"
        "print(json.dumps([code, sorted({name.split('.')[0] for name in sys.modules})]), file=sys.stderr)"
    )
    result = subprocess.run([sys.executable, "-c", code, *arguments], capture_output=True, text=True, check=True)
    exit_code, loaded = json.loads(result.stderr.splitlines()[-1])
    assert exit_code == 0, result.stderr
    assert not HEAVY & set(loaded)
    if "--help" in command:
        assert not {"numpy", "PIL", "onnxruntime"} & set(loaded)


@pytest.mark.parametrize(("asked", "blocks"), [({}, 8), ({"PILLOW_BLOCKS_MAX": "0"}, 0)])
def test_pillow_keeps_memory_between_pictures(photos: Path, asked: dict[str, str], blocks: int):
    code = (
        "from cinemae.app.cli import main\nimport sys\n"
        "try: main()\nexcept SystemExit: pass\n"
        "from PIL import Image\nprint(Image.core.get_blocks_max(), file=sys.stderr)"
    )
    command = [sys.executable, "-c", code, "detect", str(photos / "a.png")]
    environment = {**{key: value for key, value in os.environ.items() if key != "PILLOW_BLOCKS_MAX"}, **asked}
    result = subprocess.run(command, capture_output=True, text=True, check=True, env=environment)
    assert result.stderr.splitlines()[-1] == str(blocks)


def test_the_bar_is_for_people(tmp_path: Path):
    """On a terminal the bar has count, rate and remaining time, and rows are not torn; elsewhere nothing is written."""
    code = (
        "from cinemae.app.progress import ProgressBar\n"
        "with ProgressBar('scoring', 3, delay=0) as bar:\n"
        "    bar.update(0)\n"
        "    for i in range(3):\n"
        "        bar.write(f'row [red]{i}')\n"
        "        bar.update(i + 1)\n"
    )
    plain = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert (plain.stdout, plain.stderr) == ("row [red]0\nrow [red]1\nrow [red]2\n", "")

    parent, child = pty.openpty()
    environment = {**os.environ, "TERM": "xterm", "COLUMNS": "100"}
    process = subprocess.Popen([sys.executable, "-c", code], stdout=child, stderr=child, env=environment)
    os.close(child)
    shown = b""
    while True:
        try:
            part = os.read(parent, 65536)
        except OSError:
            break
        if not part:
            break
        shown += part
    os.close(parent)
    assert process.wait(60) == 0
    text = shown.decode()
    assert all(f"row [red]{i}" in text for i in range(3))
    assert "scoring" in text
    assert "3/3" in text
    assert "images/s" in text


def test_info_says_what_a_model_is(tiny_model: Path):
    result = invoke("info", "--model", str(tiny_model))
    assert result.exit_code == 0
    for text in ("tiny@", "fingerprint", "16 patches of 8 pixels", "drawn from a hat", "runs without torch"):
        assert text in result.stdout


def test_version_and_module():
    assert invoke("--version").stdout == f"cinemae {__version__}\n"
    result = subprocess.run([sys.executable, "-m", "cinemae", "--version"], capture_output=True, text=True, check=True)
    assert result.stdout == f"cinemae {__version__}\n"
