"""The demo for a Space. Gradio is no dependency of the project (83 MB, and it holds Pillow back): CINEMAE_SPACE_PYTHON
names the interpreter of an environment that has it; without that, and without it here, its test is skipped.
"""

from __future__ import annotations

import ast
import importlib.util
import json
import os
import re
import socket
import subprocess
import sys
import time
import urllib.error
import urllib.request
from pathlib import Path

import pytest
import yaml

from cinemae.detect.detector import Detector

ROOT = Path(__file__).resolve().parents[2]
SPACE = ROOT / "examples" / "space"
PYTHON = os.environ.get("CINEMAE_SPACE_PYTHON", sys.executable)
ASK = """
import json, sys
from gradio_client import Client, handle_file
print(json.dumps(Client(sys.argv[1], verbose=False).predict(handle_file(sys.argv[2]), api_name="/judge")))
"""


def test_the_front_matter_is_what_a_space_needs():
    card = yaml.safe_load((SPACE / "README.md").read_text(encoding="utf-8").split("---\n")[1])
    assert (card["sdk"], card["app_file"], card["license"]) == ("gradio", "app.py", "apache-2.0")
    assert len(card["short_description"]) <= 60
    assert {card["colorFrom"], card["colorTo"]} <= {
        "red",
        "yellow",
        "green",
        "blue",
        "indigo",
        "purple",
        "pink",
        "gray",
    }
    needed = dict(re.findall(r"^(\w+)\S*?[>=]=([\d.]+)", (SPACE / "requirements.txt").read_text(), re.MULTILINE))
    assert card["sdk_version"].startswith(needed["gradio"])


def test_the_app_uses_the_public_names_and_reports_on_nobody():
    text = (SPACE / "app.py").read_text(encoding="utf-8")
    imported = {
        name.name for node in ast.walk(ast.parse(text)) if isinstance(node, ast.ImportFrom) for name in node.names
    }
    assert {"CinemaeError", "Detector"} < imported
    assert text.index("GRADIO_ANALYTICS_ENABLED") < text.index("import gradio")
    assert "signal, not proof" in text


@pytest.mark.slow
@pytest.mark.skipif(
    "CINEMAE_SPACE_PYTHON" not in os.environ and importlib.util.find_spec("gradio") is None,
    reason="gradio is not installed",
)
def test_it_starts_and_judges():
    with socket.create_server(("127.0.0.1", 0)) as listener:
        port = listener.getsockname()[1]
    environment = {**os.environ, "GRADIO_SERVER_PORT": str(port), "GRADIO_SERVER_NAME": "127.0.0.1"}
    process = subprocess.Popen([PYTHON, SPACE / "app.py"], env=environment, stdout=subprocess.DEVNULL)
    try:
        url = f"http://127.0.0.1:{port}"
        for _ in range(240):
            try:
                urllib.request.urlopen(url, timeout=5).close()
                break
            except (urllib.error.URLError, ConnectionError):
                assert process.poll() is None
                time.sleep(0.25)
        photo = ROOT / "examples" / "coffee.jpg"
        asked = subprocess.run([PYTHON, "-c", ASK, url, photo], check=True, stdout=subprocess.PIPE, text=True)
    finally:
        process.terminate()
        process.wait(30)
    label, said, drawn = json.loads(asked.stdout)
    verdict = Detector.from_pretrained().detect(photo)
    shown = {entry["label"]: entry["confidence"] for entry in label["confidences"]}
    assert shown["AI-generated"] == pytest.approx(verdict.prob_fake, abs=1e-6)
    assert all(reason in said for reason in verdict.reasons)
    assert Path(drawn).is_file()
