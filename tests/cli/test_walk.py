"""docs/architecture.md, "The straight reading": a picture takes these calls, in this order, and at most twelve."""

from __future__ import annotations

import re
import sys
import threading
from pathlib import Path
from types import FrameType

import pytest

import cinemae
from cinemae.app.cli import main

SOURCE = Path(cinemae.__file__).parent
PAGE = Path(__file__).parents[2] / "docs" / "architecture.md"


def test_the_walk_is_the_one_that_the_page_shows(capsys, monkeypatch, photos: Path):
    text = PAGE.read_text(encoding="utf-8")
    walk = re.findall(r"^ ?\d+  (\S+:\S+)  ", text, re.MULTILINE)
    assert 0 < len(walk) <= 12
    assert max(map(len, "".join(text.split("```")[1::2]).splitlines())) <= 120
    called: dict[str, None] = {}

    def note(frame: FrameType, event: str, argument: object) -> None:
        code = frame.f_code
        if event == "call" and code.co_filename.startswith(str(SOURCE)):
            module = Path(code.co_filename).relative_to(SOURCE).with_suffix("").as_posix()
            called.setdefault(f"{module}:{code.co_qualname}")

    monkeypatch.setattr(sys, "argv", ["cinemae", "detect", str(photos / "b.jpg")])
    before = sys.getprofile()
    threading.setprofile(note)
    sys.setprofile(note)
    try:
        with pytest.raises(SystemExit) as end:
            main()
    finally:
        sys.setprofile(before)
        threading.setprofile(None)
    assert not end.value.code
    assert [name for name in called if name in walk] == walk
    assert "b.jpg" in capsys.readouterr().out
