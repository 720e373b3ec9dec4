import json
import shutil

import pytest
from tests.cli.in_process import invoke


@pytest.fixture
def call(monkeypatch):
    monkeypatch.delenv("CINEMAE_CACHE", raising=False)
    return invoke


@pytest.fixture
def photos(tmp_path, picture):
    folder = tmp_path / "photos"
    folder.mkdir()
    picture(0).save(folder / "a.png")
    picture(1).save(folder / "b.png")
    shutil.copy(folder / "a.png", folder / "copy.png")
    return folder


def test_a_second_run_gives_the_same_rows_from_the_cache(call, photos, tmp_path):
    cache = tmp_path / "scores.sqlite"
    plain = call("detect", photos, "--format", "jsonl")
    first, second = (call("detect", photos, "--format", "jsonl", "--cache", cache) for _ in range(2))
    assert plain.exit_code == first.exit_code == second.exit_code == 0
    assert plain.stdout == first.stdout == second.stdout
    shown = call("cache", "info", cache)
    assert f"{cache}: 2 scores, the one longest unused for 0 days" in shown.stdout
    assert "cinemae-starter@" in shown.stdout


def test_a_cache_that_is_none_is_a_warning(call, photos, tmp_path):
    notes = tmp_path / "notes.txt"
    notes.write_text("mine")
    done = call("detect", photos, "--format", "jsonl", "--cache", notes)
    assert done.exit_code == 0
    assert f"warning: the score cache {notes} is not used" in done.stderr
    assert len(done.stdout.splitlines()) == 3
    assert notes.read_text() == "mine"


def test_prune_and_clear(call, photos, tmp_path):
    cache = tmp_path / "scores.sqlite"
    call("detect", photos, "--cache", cache)
    assert call("cache", "prune", cache, "--keep", "other-model").stdout == f"{cache}: 2 scores dropped\n"
    assert call("cache", "clear", cache).stdout == f"{cache}: deleted\n"
    assert call("cache", "clear", cache).stdout == f"{cache}: there was none\n"
    missing = call("cache", "info", cache)
    assert missing.exit_code == 2
    assert "there is no score cache" in missing.stderr
    assert "give --unused-days or --keep" in call("cache", "prune", cache).stderr


def test_auto_and_the_variable(call, photos, tmp_path, monkeypatch):
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "caches"))
    monkeypatch.setattr("sys.platform", "linux")
    call("detect", photos, "--cache", "auto")
    assert "2 scores" in call("cache", "info").stdout
    monkeypatch.setenv("CINEMAE_CACHE", str(tmp_path / "other.sqlite"))
    call("detect", photos)
    assert f"{tmp_path}/other.sqlite: 2 scores" in call("cache", "info").stdout


def test_lists_archives_and_patterns_are_sources(call, photos, tmp_path):
    import tarfile

    with tarfile.open(tmp_path / "s-0.tar", "w") as tar:
        tar.add(photos / "b.png", "b.png")
    listing = tmp_path / "list.txt"
    listing.write_text(f"{photos}/a.png\n{tmp_path}/s-{{0..0}}.tar\n{tmp_path}/missing.png\n")
    done = call("detect", listing, "--format", "jsonl")
    rows = [json.loads(line) for line in done.stdout.splitlines()]
    assert done.exit_code == 1
    assert [row["path"] for row in rows] == [f"{photos}/a.png", f"{tmp_path}/s-0.tar/b.png", f"{tmp_path}/missing.png"]
    assert [row["status"] for row in rows] == ["ok", "ok", "error"]
