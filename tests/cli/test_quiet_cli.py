"""What goes to standard error is ours: no library's words without the name of the file."""

from __future__ import annotations

import io
import json
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

CASES = Path(__file__).parents[1] / "cases"
FILES = ("noise_trunc.tif", "noise_exif.jpg", "png_no_plte_extra.png", "two_grays_crash.png", "zero.jpg")


def damaged_tiff(folder: Path) -> Path:
    """Return a file over which libtiff would complain."""
    file, path = io.BytesIO(), folder / "damaged.tif"
    noise = np.random.default_rng(0).integers(0, 256, (64, 64), np.uint8)
    Image.fromarray(noise).save(file, "TIFF", compression="tiff_deflate")
    path.write_bytes(file.getvalue()[:60] + b"\xff" * 340 + file.getvalue()[400:])
    return path


@pytest.mark.parametrize("results", [False, True])
def test_no_library_speaks_on_standard_error(results: bool, tmp_path: Path):
    paths = [str(CASES / name) for name in FILES] + [str(damaged_tiff(tmp_path))]
    command = [sys.executable, "-m", "cinemae", "detect", "--format", "jsonl", *paths]
    command += ["--results", str(tmp_path / "results")] if results else []
    done = subprocess.run(command, capture_output=True, text=True, timeout=600)
    rows = [json.loads(line) for line in done.stdout.splitlines()]
    assert [row["status"] for row in rows] == ["error", "ok", "ok", "ok", "error", "error"], done.stderr
    assert done.returncode == 1
    lines = [line for line in done.stderr.splitlines() if line.strip() and "scoring" not in line]
    assert lines == ["3 of 6 images could not be read: see error_message."]
