"""Scores by content: what was said of an image once is said again without looking at it. SQLite, one file.

A row is the SHA-256 of an encoded image, the *context* it was scored in (model, weights, precision, versions) and what
depends on these alone, as JSON. No image, no name and no path is kept. Several processes and threads may share a file
(write-ahead log), on one machine: not on a network drive. A cache that is damaged or locked is told of once and then
does nothing: it never ends a run.
"""

from __future__ import annotations

import functools
import json
import os
import sqlite3
import sys
import threading
import time
from collections.abc import Callable, Mapping
from contextlib import closing, suppress
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from cinemae.errors import CacheError

APPLICATION_ID = 0x43494E45
SCHEMA_VERSION = 1
DEFAULT_MAX_BYTES = 2**30
MEMORY = ":memory:"
"""In place of a path: a cache of this process, gone with it."""
BUSY_SECONDS = 5.0
"""How long another process's writing is waited for."""

_SCHEMA = """
CREATE TABLE contexts (id INTEGER PRIMARY KEY, name TEXT NOT NULL UNIQUE);
CREATE TABLE scores (
    context INTEGER NOT NULL, hash BLOB NOT NULL, day INTEGER NOT NULL, value TEXT NOT NULL,
    PRIMARY KEY (context, hash)
);
CREATE INDEX scores_by_day ON scores (day);
"""
_SIDE_FILES = ("", "-wal", "-shm")
_EVICTED_SHARE = 0.1
_DAY = 86_400


@dataclass(frozen=True)
class CacheInfo:
    """What a cache file holds.

    Attributes:
        num_scores: Images times contexts.
        num_bytes: Of the file and its log.
        contexts: Scores of each context, by its name.
        oldest_days: Days since the score longest unused was used; None if there is none.
    """

    num_scores: int
    num_bytes: int
    contexts: Mapping[str, int]
    oldest_days: int | None


class ScoreCache:
    """Scores of images by content and context.

    Threads may share it, and processes the file. It can be pickled, and is opened again where it arrives.

    Args:
        path: The file, made if need be; `MEMORY` for none.
        max_bytes: Size beyond which the scores longest unused are dropped.
        warn: Is told, once, why the cache does nothing any more.

    Example:
        >>> cache = ScoreCache(MEMORY)
        >>> cache.put("model", "ab" * 32, {"logit": 1.5})
        >>> cache.get("model", "ab" * 32), cache.get("other model", "ab" * 32)
        ({'logit': 1.5}, None)
    """

    def __init__(
        self,
        path: str | os.PathLike[str],
        *,
        max_bytes: int = DEFAULT_MAX_BYTES,
        warn: Callable[[str], None] | None = None,
    ) -> None:
        self.path, self.max_bytes, self._warn = os.fspath(path), max_bytes, warn
        self.hits = self.misses = 0
        self._lock = threading.Lock()
        self._contexts: dict[str, int] = {}
        self._connection: sqlite3.Connection | None = None
        try:
            self._connection = _connect(self.path)
        except (sqlite3.Error, OSError, CacheError) as error:
            self._give_up(error)

    def __reduce__(self) -> tuple[Any, ...]:
        return functools.partial(ScoreCache, max_bytes=self.max_bytes, warn=self._warn), (self.path,)

    @property
    def works(self) -> bool:
        """Whether it has not failed."""
        return self._connection is not None

    def get(self, context: str, content_hash: str) -> dict[str, Any] | None:
        """Return what is kept of an image; None if nothing is.

        Args:
            context: What the score depends on besides the image.
            content_hash: SHA-256 of its bytes, in hexadecimal.
        """
        with self._lock:
            row = self._try(lambda db: self._select(db, context, content_hash))
            self.hits, self.misses = self.hits + (row is not None), self.misses + (row is None)
        return row

    def put(self, context: str, content_hash: str, value: Mapping[str, Any]) -> None:
        """Keep what is said of an image, in place of what was kept before.

        Args:
            context: What the score depends on besides the image.
            content_hash: SHA-256 of its bytes, in hexadecimal.
            value: Plain JSON types; floating point comes back to the last bit.
        """
        with self._lock:
            self._try(lambda db: self._insert(db, context, content_hash, value))

    def close(self) -> None:
        """Close the file; it may be closed twice."""
        with self._lock:
            connection, self._connection = self._connection, None
            if connection is not None:
                with suppress(sqlite3.Error):
                    connection.close()

    def _try(self, action: Callable[[sqlite3.Connection], dict[str, Any] | None]) -> dict[str, Any] | None:
        if self._connection is None:
            return None
        try:
            return action(self._connection)
        except (sqlite3.Error, ValueError, OverflowError) as error:  # ValueError: a row that is no JSON
            self._give_up(error)
            return None

    def _give_up(self, error: Exception) -> None:
        connection, self._connection = self._connection, None
        if connection is not None:
            with suppress(sqlite3.Error):
                connection.close()
        if self._warn:
            advice = "" if isinstance(error, CacheError) else "; if that stays so, delete it: cinemae cache clear"
            self._warn(f"the score cache {self.path} is not used ({error}); images are scored{advice}")

    def _select(self, db: sqlite3.Connection, context: str, content_hash: str) -> dict[str, Any] | None:
        number = self._context_number(db, context)
        row = db.execute(
            "SELECT rowid, day, value FROM scores WHERE context = ? AND hash = ?", (number, bytes.fromhex(content_hash))
        ).fetchone()
        if row is None:
            return None
        value: dict[str, Any] = json.loads(row[2])
        if row[1] < (today := _today()):  # at most once a day, so that a hit is no write
            db.execute("UPDATE scores SET day = ? WHERE rowid = ?", (today, row[0]))
        return value

    def _insert(self, db: sqlite3.Connection, context: str, content_hash: str, value: Mapping[str, Any]) -> None:
        number = self._context_number(db, context)
        db.execute(
            "INSERT OR REPLACE INTO scores VALUES (?, ?, ?, ?)",
            (number, bytes.fromhex(content_hash), _today(), json.dumps(value, separators=(",", ":"))),
        )
        _evict(db, self.max_bytes)

    def _context_number(self, db: sqlite3.Connection, context: str) -> int:
        if context not in self._contexts:
            row = db.execute("SELECT id FROM contexts WHERE name = ?", (context,)).fetchone()
            if row is None:
                db.execute("INSERT OR IGNORE INTO contexts (name) VALUES (?)", (context,))
                row = db.execute("SELECT id FROM contexts WHERE name = ?", (context,)).fetchone()
            self._contexts[context] = int(row[0])
        return self._contexts[context]


def default_cache_path() -> Path:
    """Return where the cache lies if no path is given: below the user's folder for caches."""
    if sys.platform == "win32":
        root = os.environ.get("LOCALAPPDATA") or str(Path.home() / "AppData" / "Local")
    elif sys.platform == "darwin":
        root = str(Path.home() / "Library" / "Caches")
    else:
        root = os.environ.get("XDG_CACHE_HOME") or str(Path.home() / ".cache")
    return Path(root) / "cinemae" / "scores.sqlite"


def read_cache_info(path: str | os.PathLike[str]) -> CacheInfo:
    """Say what a cache file holds.

    Raises:
        CacheError: If there is none, or it cannot be read.
    """
    with closing(_open_existing(path)) as db:
        try:
            counts = dict(
                db.execute(
                    "SELECT name, COUNT(hash) FROM contexts LEFT JOIN scores ON scores.context = contexts.id "
                    "GROUP BY name ORDER BY COUNT(hash) DESC, name"
                ).fetchall()
            )
            oldest = db.execute("SELECT MIN(day) FROM scores").fetchone()[0]
        except sqlite3.Error as error:
            raise _unreadable(path, error) from error
    num_bytes = sum(file.stat().st_size for suffix in _SIDE_FILES if (file := Path(f"{path}{suffix}")).exists())
    return CacheInfo(sum(counts.values()), num_bytes, counts, None if oldest is None else _today() - oldest)


def prune_cache(path: str | os.PathLike[str], *, unused_days: int | None = None, keep: str | None = None) -> int:
    """Drop scores that were not used for so many days, and those of contexts other than `keep`; shrink the file.

    Args:
        path: The file.
        unused_days: None for no limit.
        keep: What the names of the contexts to keep contain, such as a model's id; None for all.

    Returns:
        How many were dropped.

    Raises:
        CacheError: If there is no such file, or it cannot be written.
    """
    with closing(_open_existing(path)) as db:
        try:
            before = db.execute("SELECT COUNT(*) FROM scores").fetchone()[0]
            if unused_days is not None:
                db.execute("DELETE FROM scores WHERE day < ?", (_today() - unused_days,))
            if keep is not None:
                db.execute(
                    "DELETE FROM scores WHERE context NOT IN (SELECT id FROM contexts WHERE instr(name, ?) > 0)",
                    (keep,),
                )
            after: int = db.execute("SELECT COUNT(*) FROM scores").fetchone()[0]
            db.execute("VACUUM")  # contexts stay: another process may know one by its number
        except sqlite3.Error as error:
            raise _unreadable(path, error) from error
    return int(before) - after


def clear_cache(path: str | os.PathLike[str]) -> bool:
    """Delete a cache file, damaged or not; tell whether there was one.

    Raises:
        CacheError: If the file is something else, or cannot be deleted.
    """
    file = Path(path)
    if not file.exists():
        return False
    _require_ours(file)
    try:
        for suffix in _SIDE_FILES:
            Path(f"{path}{suffix}").unlink(missing_ok=True)
    except OSError as error:
        raise _unreadable(path, error) from error
    return True


def _today() -> int:
    return int(time.time()) // _DAY


def _connect(path: str) -> sqlite3.Connection:
    if path != MEMORY:
        Path(path).parent.mkdir(parents=True, exist_ok=True)
        if Path(path).exists():
            _require_ours(Path(path))
    db = sqlite3.connect(path, timeout=BUSY_SECONDS, isolation_level=None, check_same_thread=False)
    try:
        _set_up(db)
    except BaseException:
        db.close()
        raise
    return db


def _set_up(db: sqlite3.Connection) -> None:
    """Make the tables in a new file; refuse a newer format, replace an older one."""
    if db.execute("PRAGMA user_version").fetchone()[0] != SCHEMA_VERSION:
        db.execute("BEGIN IMMEDIATE")  # whoever comes second finds the tables made
        found = db.execute("PRAGMA user_version").fetchone()[0]
        if found > SCHEMA_VERSION:
            db.execute("ROLLBACK")
            raise CacheError(
                f"it has format {found}, this cinemae knows {SCHEMA_VERSION}: upgrade, or name another file"
            )
        if found < SCHEMA_VERSION:
            for table in ("scores", "contexts"):
                db.execute(f"DROP TABLE IF EXISTS {table}")
            for statement in _SCHEMA.split(";"):
                db.execute(statement)
            db.execute(f"PRAGMA application_id = {APPLICATION_ID}")
            db.execute(f"PRAGMA user_version = {SCHEMA_VERSION}")
        db.execute("COMMIT")
    db.execute("PRAGMA journal_mode = WAL")
    db.execute("PRAGMA synchronous = NORMAL")  # a power cut costs the newest scores, never the file


def _evict(db: sqlite3.Connection, max_bytes: int) -> None:
    pages, free, size = (
        db.execute(f"PRAGMA {name}").fetchone()[0] for name in ("page_count", "freelist_count", "page_size")
    )
    if (pages - free) * size <= max_bytes:
        return
    count = db.execute("SELECT COUNT(*) FROM scores").fetchone()[0]
    db.execute(
        "DELETE FROM scores WHERE rowid IN (SELECT rowid FROM scores ORDER BY day, rowid LIMIT ?)",
        (max(1, int(count * _EVICTED_SHARE)),),
    )


def _require_ours(file: Path) -> None:
    """Refuse a file of another kind, which must be neither written to nor deleted; a new file is empty."""
    try:
        with file.open("rb") as raw:
            head = raw.read(72)
    except OSError as error:
        raise _unreadable(file, error) from error
    if head and not (head.startswith(b"SQLite format 3\0") and head[68:72] == APPLICATION_ID.to_bytes(4, "big")):
        raise CacheError(f"{file} is not a score cache: name another file.")


def _open_existing(path: str | os.PathLike[str]) -> sqlite3.Connection:
    if not Path(path).is_file():
        raise CacheError(f"there is no score cache {os.fspath(path)}: cinemae detect --cache makes one.")
    try:
        return _connect(os.fspath(path))
    except (sqlite3.Error, OSError) as error:
        raise _unreadable(path, error) from error


def _unreadable(path: str | os.PathLike[str], error: Exception) -> CacheError:
    return CacheError(
        f"the score cache {os.fspath(path)} cannot be used ({error}): delete it with cinemae cache clear."
    )
