"""The command line in this process: quicker than a process of its own, for what needs none."""

from __future__ import annotations

import os
from pathlib import Path
from typing import Any

from typer.testing import CliRunner, Result

from cinemae.app.cli import app


def invoke(*arguments: str | Path, **more: Any) -> Result:
    """Run ``cinemae`` with some arguments; `more` is for the runner, such as `input`."""
    return CliRunner().invoke(app, [os.fspath(argument) for argument in arguments], **more)
