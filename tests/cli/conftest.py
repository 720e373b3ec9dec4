"""Runs the command line: as a user does, in a process of its own, or quicker, in this one."""

from __future__ import annotations

import os
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

Run = Callable[..., subprocess.CompletedProcess[str]]


@pytest.fixture(scope="session")
def run() -> Run:
    """`run("detect", path)`, with `stdin` text or bytes, in `cwd`."""

    def run_command(
        *arguments: str | Path, stdin: str | bytes = "", cwd: Path | None = None, **environment: str
    ) -> subprocess.CompletedProcess[Any]:
        data = stdin.encode() if isinstance(stdin, str) else stdin
        result = subprocess.run(
            [sys.executable, "-m", "cinemae", *map(os.fspath, arguments)],
            input=data,
            capture_output=True,
            cwd=cwd,
            env={**os.environ, **environment},
            timeout=300,
            check=False,
        )
        return subprocess.CompletedProcess(
            result.args, result.returncode, result.stdout.decode("utf-8"), result.stderr.decode("utf-8")
        )

    return run_command


@pytest.fixture(scope="module")
def splits(tmp_path_factory: pytest.TempPathFactory, picture) -> Path:
    """Folders train/ and val/, each with six photographs of one camera and six fakes of a generator of its own."""
    root = tmp_path_factory.mktemp("data")
    for split, start in (("train", 0), ("val", 100)):
        for folder, offset in (("real/camera", 0), (f"fake/gen-{split}", 50)):
            target = root / split / folder
            target.mkdir(parents=True)
            for index in range(6):
                picture(start + offset + index).save(target / f"{index}.png")
    return root
