"""Objects on disk, and the log of their changes: one SQLite file, one transaction a write.

The log makes watches and consistent pages possible: the state at an older version is the present one with later entries
undone. A write is confirmed after its commit; WAL with synchronous NORMAL loses nothing when the process is killed.
"""

import sqlite3
from collections.abc import Iterator
from pathlib import Path

from msgspec import Struct

Key = tuple[str, str, str]
"""Resource (``plural.group``), namespace, name."""

_SCHEMA = """
CREATE TABLE IF NOT EXISTS objects (
  resource TEXT, namespace TEXT, name TEXT, version INTEGER NOT NULL, body BLOB NOT NULL,
  PRIMARY KEY (resource, namespace, name)) WITHOUT ROWID;
CREATE TABLE IF NOT EXISTS log (
  version INTEGER PRIMARY KEY, resource TEXT NOT NULL, namespace TEXT NOT NULL, name TEXT NOT NULL,
  type TEXT NOT NULL, body BLOB NOT NULL, previous BLOB);
CREATE TABLE IF NOT EXISTS marks (name TEXT PRIMARY KEY, version INTEGER NOT NULL) WITHOUT ROWID;
INSERT OR IGNORE INTO marks VALUES ('latest', 1), ('compacted', 0);
"""


class Change(Struct, frozen=True):
    """One entry of the log; ``previous`` is the object before, None where there was none."""

    version: int
    namespace: str
    name: str
    type: str
    body: bytes
    previous: bytes | None


class Storage:
    """The objects and their log. ``:memory:`` keeps them in this process."""

    def __init__(self, path: Path | str, *, keep: int = 20_000) -> None:
        self._database = sqlite3.connect(path, isolation_level=None)
        self._database.execute("PRAGMA journal_mode=WAL")
        self._database.execute("PRAGMA synchronous=NORMAL")
        self._database.executescript(_SCHEMA)
        self._keep = keep
        marks = dict(self._database.execute("SELECT name, version FROM marks"))
        self.latest: int = marks["latest"]
        self.compacted: int = marks["compacted"]

    def close(self) -> None:
        """Close the file."""
        self._database.close()

    def get(self, key: Key) -> bytes | None:
        """The object's body, or None."""
        row = self._database.execute(
            "SELECT body FROM objects WHERE resource=? AND namespace=? AND name=?", key
        ).fetchone()
        return row[0] if row else None

    def write(self, key: Key, body: bytes | None, *, gone: bytes = b"") -> int:
        """Set the object to ``body``, or remove it (``gone`` is what watchers are told); returns the new version.

        The body must carry ``latest + 1`` as its resourceVersion.
        """
        previous = self.get(key)
        version = self.latest + 1
        kind = "DELETED" if body is None else "MODIFIED" if previous is not None else "ADDED"
        run = self._database.execute
        run("BEGIN IMMEDIATE")
        if body is None:
            run("DELETE FROM objects WHERE resource=? AND namespace=? AND name=?", key)
        else:
            run("INSERT OR REPLACE INTO objects VALUES (?,?,?,?,?)", (*key, version, body))
        run("INSERT INTO log VALUES (?,?,?,?,?,?,?)", (version, *key, kind, gone if body is None else body, previous))
        run("UPDATE marks SET version=? WHERE name='latest'", (version,))
        run("COMMIT")
        self.latest = version
        if version % 1000 == 0:
            self.compact(version - self._keep)
        return version

    def compact(self, version: int) -> None:
        """Forget the log up to ``version``: watches from before it are answered 410."""
        if version <= self.compacted:
            return
        self._database.execute("BEGIN IMMEDIATE")
        self._database.execute("DELETE FROM log WHERE version<=?", (version,))
        self._database.execute("UPDATE marks SET version=? WHERE name='compacted'", (version,))
        self._database.execute("COMMIT")
        self.compacted = version

    def list(self, resource: str, namespace: str, *, version: int) -> list[tuple[str, str, bytes]]:
        """Namespace, name and body of all objects as of ``version``, in order; empty ``namespace``: of all."""
        rows = self._database.execute("SELECT namespace, name, body FROM objects WHERE resource=?", (resource,))
        state = {(row[0], row[1]): row[2] for row in rows}
        if version < self.latest:
            for change in reversed(list(self.changes(resource, version))):
                if change.previous is None:
                    state.pop((change.namespace, change.name), None)
                else:
                    state[change.namespace, change.name] = change.previous
        return [(*key, state[key]) for key in sorted(state) if not namespace or key[0] == namespace]

    def changes(self, resource: str, after: int) -> Iterator[Change]:
        """The log of a resource after a version, in order."""
        rows = self._database.execute(
            "SELECT version, namespace, name, type, body, previous FROM log WHERE resource=? AND version>? ORDER BY version",
            (resource, after),
        )
        return (Change(*row) for row in rows)
