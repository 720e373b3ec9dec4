"""A copy of the golden files to work in, and the command line run there."""

from __future__ import annotations

import shutil
import sys
from collections.abc import Callable
from pathlib import Path

import pytest
from typer.testing import CliRunner, Result

from cinemae.app.cli import app

GOLDEN = Path(__file__).parent
sys.path.insert(0, str(GOLDEN))  # drawn, which make_golden.py uses as well


@pytest.fixture
def work(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A folder with copies of the golden files, and the current one: names in them are relative to it."""
    from drawn import draw_many

    for entry in GOLDEN.iterdir():
        if entry.suffix in (".jsonl", ".json", ".sqlite"):
            shutil.copy(entry, tmp_path)
        elif entry.is_dir() and entry.name != "__pycache__":
            shutil.copytree(entry, tmp_path / entry.name)
    draw_many(tmp_path / "many")
    monkeypatch.chdir(tmp_path)
    return tmp_path


@pytest.fixture(scope="session")
def cinemae() -> Callable[..., Result]:
    """`cinemae("detect", "pictures")` in the current folder; anything but the exit code `code` is a failure."""

    def run(*arguments: str, code: int = 0) -> Result:
        result = CliRunner().invoke(app, list(arguments))
        assert result.exit_code == code, result.output
        return result

    return run
