import pickle
import sqlite3
import subprocess
import sys
import threading
from concurrent.futures import ThreadPoolExecutor

import pytest

from cinemae.errors import CacheError
from cinemae.stores import score_cache
from cinemae.stores.score_cache import MEMORY, ScoreCache, clear_cache, default_cache_path, prune_cache, read_cache_info


def digest(number: int) -> str:
    return f"{number:064x}"


@pytest.fixture
def told():
    return []


@pytest.fixture
def path(tmp_path):
    return tmp_path / "new folder" / "scores.sqlite"


class TestScoreCache:
    def test_floating_point_comes_back_to_the_last_bit(self, path):
        value = {"logit": 0.1 + 0.2, "prob": 5e-324, "none": None, "words": ["é", "b"]}
        with_file = ScoreCache(path)
        with_file.put("model", digest(1), value)
        with_file.close()
        again = ScoreCache(path)
        assert again.get("model", digest(1)) == value
        assert again.get("model", digest(2)) is None
        assert again.get("other", digest(1)) is None
        assert (again.hits, again.misses) == (1, 2)
        again.close()

    def test_the_newest_value_counts(self):
        cache = ScoreCache(MEMORY)
        cache.put("model", digest(1), {"logit": 1})
        cache.put("model", digest(1), {"logit": 2})
        assert cache.get("model", digest(1)) == {"logit": 2}

    def test_it_stays_below_its_limit_and_drops_what_was_longest_unused(self, monkeypatch):
        cache = ScoreCache(MEMORY, max_bytes=100_000)
        cache.put("model", digest(0), {"text": "x" * 500})
        for number in range(1, 1000):
            monkeypatch.setattr(score_cache, "_today", lambda: 20_000 + number // 100)  # noqa: B023
            cache.put("model", digest(number), {"text": "x" * 500})
            assert cache.get("model", digest(0)) is not None  # in use every day
        kept = [number for number in range(1000) if cache.get("model", digest(number))]
        assert 50 < len(kept) < 250
        assert kept == [0, *range(1001 - len(kept), 1000)]

    def test_threads_share_one(self):
        cache = ScoreCache(MEMORY)

        def work(start: int) -> None:
            for number in range(start, start + 200):
                cache.put("model", digest(number), {"logit": number})
                assert cache.get("model", digest(number)) == {"logit": number}

        with ThreadPoolExecutor(8) as pool:
            list(pool.map(work, range(0, 800, 100)))
        assert cache.hits == 1600

    def test_processes_share_a_file(self, path, told):
        code = (
            "import sys\n"
            "from cinemae.stores.score_cache import ScoreCache\n"
            "cache = ScoreCache(sys.argv[1], warn=sys.exit)\n"
            "for number in range(300):\n"
            "    cache.put('model', f'{int(sys.argv[2]) * 1000 + number:064x}', {'logit': number})\n"
        )
        running = [subprocess.Popen([sys.executable, "-c", code, str(path), str(index)]) for index in range(3)]
        assert [process.wait(60) for process in running] == [0, 0, 0]
        cache = ScoreCache(path, warn=told.append)
        found = [cache.get("model", digest(index * 1000 + number)) for index in range(3) for number in range(300)]
        assert found == [{"logit": number} for _ in range(3) for number in range(300)]
        assert told == []
        cache.close()

    def test_it_can_be_sent_to_another_process(self, path):
        cache = ScoreCache(path)
        cache.put("model", digest(1), {"logit": 1})
        arrived = pickle.loads(pickle.dumps(cache))
        assert arrived.get("model", digest(1)) == {"logit": 1}
        arrived.close()
        cache.close()

    def test_another_kind_of_file_is_left_alone(self, tmp_path, told):
        notes = tmp_path / "notes.txt"
        notes.write_text("my notes")
        cache = ScoreCache(notes, warn=told.append)
        cache.put("model", digest(1), {"logit": 1})
        assert cache.get("model", digest(1)) is None
        assert not cache.works
        [sentence] = told
        assert f"the score cache {notes} is not used" in sentence
        assert "is not a score cache: name another file" in sentence
        assert notes.read_text() == "my notes"

    def test_a_foreign_database_is_left_alone(self, tmp_path, told):
        other = tmp_path / "other.sqlite"
        with sqlite3.connect(other) as db:
            db.execute("CREATE TABLE scores (a)")
        db.close()
        assert not ScoreCache(other, warn=told.append).works
        with pytest.raises(CacheError, match="is not a score cache"):
            clear_cache(other)
        assert other.exists()

    def test_a_damaged_file_is_told_of_once_and_then_ignored(self, path, told):
        cache = ScoreCache(path)
        for number in range(500):
            cache.put("model", digest(number), {"text": "x" * 300})
        cache.close()
        data = bytearray(path.read_bytes())
        data[4096:-4096] = b"\xff" * (len(data) - 8192)
        path.write_bytes(data)
        damaged = ScoreCache(path, warn=told.append)
        for number in range(500):
            assert damaged.get("model", digest(number)) is None
            damaged.put("model", digest(number), {"logit": 1})
        [sentence] = told
        assert "images are scored; if that stays so, delete it: cinemae cache clear" in sentence
        assert clear_cache(path)
        assert not path.exists()

    def test_a_locked_file_is_told_of_once_and_then_ignored(self, path, told, monkeypatch):
        monkeypatch.setattr(score_cache, "BUSY_SECONDS", 0.01)
        ScoreCache(path).close()
        cache = ScoreCache(path, warn=told.append)
        other = sqlite3.connect(path, isolation_level=None)
        other.execute("BEGIN IMMEDIATE")
        cache.put("model", digest(1), {"logit": 1})
        cache.put("model", digest(2), {"logit": 1})
        other.execute("ROLLBACK")
        other.close()
        [sentence] = told
        assert "database is locked" in sentence

    def test_a_newer_format_is_not_touched(self, path, told):
        ScoreCache(path).close()
        with sqlite3.connect(path) as db:
            db.execute("PRAGMA user_version = 99")
        db.close()
        assert not ScoreCache(path, warn=told.append).works
        assert "it has format 99, this cinemae knows 1: upgrade, or name another file" in told[0]

    def test_an_unwritable_place_is_told_of(self, tmp_path, told):
        (tmp_path / "file").write_text("")
        assert not ScoreCache(tmp_path / "file" / "scores.sqlite", warn=told.append).works
        assert "is not used" in told[0]


class TestUpkeep:
    @pytest.fixture
    def filled(self, path, monkeypatch):
        cache = ScoreCache(path)
        for number in range(10):
            monkeypatch.setattr(score_cache, "_today", lambda: 20_000 + number)  # noqa: B023
            cache.put("old@1 a" if number < 4 else "new@2 b", digest(number), {"logit": number})
        cache.close()
        return path

    def test_info(self, filled):
        info = read_cache_info(filled)
        assert info.num_scores == 10
        assert dict(info.contexts) == {"new@2 b": 6, "old@1 a": 4}
        assert info.oldest_days == 9
        assert info.num_bytes >= filled.stat().st_size

    def test_prune_by_age_and_by_model(self, filled):
        assert prune_cache(filled, unused_days=7) == 2
        assert prune_cache(filled, keep="new@2") == 2
        assert dict(read_cache_info(filled).contexts) == {"new@2 b": 6, "old@1 a": 0}

    def test_a_cache_in_use_goes_on_after_a_prune(self, filled):
        cache = ScoreCache(filled)
        assert cache.get("old@1 a", digest(0)) == {"logit": 0}
        prune_cache(filled, keep="new")
        assert cache.get("old@1 a", digest(0)) is None
        cache.put("old@1 a", digest(0), {"logit": 5})
        assert cache.get("old@1 a", digest(0)) == {"logit": 5}
        cache.close()

    def test_what_is_missing(self, path):
        with pytest.raises(CacheError, match=r"there is no score cache .*: cinemae detect --cache makes one"):
            read_cache_info(path)
        assert not clear_cache(path)

    def test_where_it_lies(self, monkeypatch, tmp_path):
        monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path))
        monkeypatch.setattr(sys, "platform", "linux")
        assert default_cache_path() == tmp_path / "cinemae" / "scores.sqlite"


def test_two_processes_may_make_the_file_at_the_same_time(path):
    barrier = threading.Barrier(4)

    sentences = []

    def make_telling(_: int) -> None:
        barrier.wait()
        ScoreCache(path, warn=sentences.append).close()

    with ThreadPoolExecutor(4) as pool:
        list(pool.map(make_telling, range(4)))
    assert sentences == []
