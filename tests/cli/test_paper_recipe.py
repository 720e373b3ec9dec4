"""``recipes/paper/run.sh`` on GenImage's layout with drawn pictures and random weights: killed, and gone on with."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[2]
FOLDERS = {
    "SD v1.4": "stable_diffusion_v_1_4/imagenet_ai_0419_sdv4",
    "BigGAN": "BigGAN/imagenet_ai_0419_biggan",
    "GLIDE": "glide/imagenet_glide",
}

pytestmark = [pytest.mark.slow, pytest.mark.skipif(sys.platform == "win32", reason="a shell script")]


@pytest.fixture
def genimage(tmp_path, picture):
    """Photographs and fakes of three generators as GenImage lays them out; one of them is trained on."""
    seed = 0
    for name, folder in FOLDERS.items():
        for split in ("train", "val") if name == "SD v1.4" else ("val",):
            for label, suffix in (("ai", "png"), ("nature", "JPEG")):
                target = tmp_path / "GenImage" / folder / split / label
                target.mkdir(parents=True)
                for index in range(8):
                    seed += 1
                    picture(seed).save(target / f"{index}.{suffix}")
    return tmp_path / "GenImage"


def start(table, genimage, work, backbone):
    path = f"{Path(sys.executable).parent}{os.pathsep}{os.environ['PATH']}"
    settings = {"PATH": path, "BACKBONE": str(backbone), "DEVICE": "cpu", "BATCH_SIZE": "4", "OMP_NUM_THREADS": "1"}
    return subprocess.Popen(
        ["bash", ROOT / "recipes/paper/run.sh", table, genimage, work, "--seeds", "1"],
        env=os.environ | settings,
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
        start_new_session=True,
    )


def test_a_table_from_pictures_to_report_with_a_kill_between(genimage, tmp_path, tiny_model):
    work, backbone = tmp_path / "work", tiny_model / "backbone"
    killed = start("table6b", genimage, work, backbone)
    deadline = time.monotonic() + 300
    while not (parts := sorted(work.glob("genimage/*/train.*/*.parquet"))):
        assert killed.poll() is None, killed.communicate()
        assert time.monotonic() < deadline
        time.sleep(0.01)
    os.killpg(killed.pid, signal.SIGKILL)
    killed.communicate()
    assert not (work / "tables").exists()
    made = {part: part.stat().st_mtime_ns for part in parts}

    again = start("table6b", genimage, work, backbone)
    out, err = again.communicate()
    assert again.returncode == 0, err
    assert {part: part.stat().st_mtime_ns for part in parts} == made
    assert "opening images" not in err  # nor is any surveyed again
    assert json.loads((parts[0].parent / "store.json").read_text())["dtype"] == "bfloat16"
    table = json.loads((work / "tables" / "table6b.json").read_text())
    assert not table["measured_on"]["stand_in"]
    cells = [cell for cell in table["tables"][0]["cells"] if cell["column"]]  # the others are what the text says
    assert len(cells) == 15
    assert all(cell["measured"] for cell in cells)
    assert "by the preset paper" in table["frozen_half"]
    assert (work / "reports" / "table6b" / "report.html").is_file()
    assert out.rstrip().endswith("report.html")


def test_without_arguments_it_says_how_it_is_called():
    result = subprocess.run(["bash", ROOT / "recipes/paper/run.sh"], capture_output=True, text=True, check=False)
    assert result.returncode == 2
    assert result.stderr.startswith("One table of the paper")
    assert "recipes/paper/run.sh TABLE DATA WORK [OPTION ...]" in result.stderr
