"""One table of Postgres: its connection, columns, ids, locks and notes; what pgvector's versions stand on."""

from __future__ import annotations

import contextlib
import hashlib
import json
import re
import time
from collections.abc import Callable, Iterator, Sequence
from queue import Queue
from typing import Any, NoReturn
from uuid import UUID

import psycopg
from psycopg import errors as pg
from psycopg import sql

from embedtune.errors import DiskFull, MixedDimensions, StoreError
from embedtune.stores.base import BASE, LIVE, Id, Layout
from embedtune.stores.url import StoreURL

OWN = ("table", "column", "id", "text")
"""Parameters of the URL that are ours; the rest is libpq's."""

WAITS = 40
"""Tries to get a lock on the table, half a second each, before giving up: readers never queue for longer."""

VACUUM_GIVES_WAY = "3s"
"""More than ``deadlock_timeout``, a second unless it was set."""

NOTES = "embedtune_versions"
"""The table that says which artifact is live in which column."""


class PgTable:
    """A table with a column of vectors; its parameters are those of ``PgVector``."""

    tolerance = 0.0

    def __init__(self, url: StoreURL) -> None:
        self._given, self.url = url, str(url)
        given = {"column": "embedding", **url.take(*OWN)}
        if "table" not in given:
            self._refuse("the URL names no table", "add ?table=NAME&column=NAME")
        self._conninfo = url.without(*OWN)
        self._connection = self._connect()
        self._free: Queue[psycopg.Connection[Any]] = Queue()
        self._in_switch = False
        self._null: int | None = None
        self._table = given["table"]
        self._column = given["column"]
        self._text = given.get("text")
        try:
            with self._told():
                self._inspect(given.get("id"))
        except BaseException:
            self.close()
            raise

    # --- what is there ---------------------------------------------------------------

    def _inspect(self, key: str | None) -> None:
        found = self._row("select to_regclass(%s)::oid, to_regclass(%s)::text", self._table, self._table)
        self._oid = found[0]
        if self._oid is None:
            self._refuse(f"there is no table {self._table!r}", "check ?table= and the database")
        self._name = sql.SQL(found[1])  # quoted by the server
        if self._row("select relkind from pg_class where oid = %s", self._oid)[0] not in ("r", b"r"):
            self._refuse(
                f"{self._table!r} is not a plain table",
                "give the table, or each partition, that has the rows",
            )
        columns = self._columns()
        for name in filter(None, (self._column, self._text, key)):
            if name not in columns:
                self._refuse(
                    f"table {self._table!r} has no column {name!r}",
                    f"choose from {', '.join(c for c in columns if '__et_' not in c)}",
                )
        kind, declared = columns[self._column]
        if kind not in ("vector", "halfvec"):
            self._refuse(
                f"column {self._column!r} is of type {kind}, not vector or halfvec", "check ?column="
            )
        self._kind, self.tolerance = kind, 1e-3 if kind == "halfvec" else 0.0
        self._key = key or self._primary_key()
        self.dimension = declared if declared > 0 else self._seen_dimension()

    def _columns(self) -> dict[str, tuple[str, int]]:
        rows = self._rows(
            "select a.attname, t.typname, a.atttypmod"
            " from pg_attribute a join pg_type t on t.oid = a.atttypid"
            " where a.attrelid = %s and a.attnum > 0 and not a.attisdropped order by a.attnum",
            self._oid,
        )
        return {name: (kind, declared) for name, kind, declared in rows}

    def _primary_key(self) -> str:
        names = self._rows(
            "select a.attname from pg_index i join pg_attribute a"
            " on a.attrelid = i.indrelid and a.attnum = any(i.indkey)"
            " where i.indrelid = %s and i.indisprimary",
            self._oid,
        )
        if len(names) != 1:
            self._refuse(
                f"table {self._table!r} has no primary key of one column", "name a unique one with ?id=COLUMN"
            )
        return str(names[0][0])

    def _seen_dimension(self) -> int:
        widths = self._rows(
            sql.SQL(
                "select vector_dims({c}), count(*), min({k}::text) from {t} where {c} is not null"
                " group by 1 order by 2 desc"
            ).format(**self._names())
        )
        if not widths:
            self._refuse(f"column {self._column!r} has no vectors", "fill it first")
        if len(widths) > 1:
            wrong = sum(row[1] for row in widths[1:])
            total = wrong + widths[0][1]
            raise MixedDimensions(
                total, wrong, widths[0][0], widths[1][2], widths[1][0], where=self.url
            ) from None
        return int(widths[0][0])

    def _names(self, version: str = LIVE) -> dict[str, sql.Composable]:
        """Give what statements call table, key and columns: ``c`` the live one, ``v`` the version's."""
        return {
            "t": self._name,
            "k": sql.Identifier(self._key),
            "c": sql.Identifier(self._column),
            "v": sql.Identifier(self._of(version)),
        }

    def _of(self, version: str) -> str:
        """Give the name of a version's column: at most 63 bytes, or Postgres would cut it."""
        return self._column if version == LIVE else f"{self._column[:40]}__et_{version}"

    def layout(self) -> Layout:
        """Say which versions have a column."""
        with self._told():
            head = f"{self._column[:40]}__et_"
            names = [name.removeprefix(head) for name in self._columns() if name.startswith(head)]
        return Layout(BASE in names, tuple(name for name in names if name != BASE))

    def _keys(self, ids: Sequence[Id]) -> list[Any]:
        """Give ids as the key's column has them; what is no number is in no column of numbers."""
        kind = self._columns()[self._key][0]
        if kind in ("int2", "int4", "int8"):
            return [int(name) for name in ids if re.fullmatch(r"-?\d{1,18}", str(name))]
        if kind == "uuid":
            return [UUID(str(name)) for name in ids]
        return [str(name) for name in ids]

    @staticmethod
    def _id(value: Any) -> Id:
        return value if isinstance(value, int) else str(value)

    def _alone(self, mode: str, work: Callable[[], None]) -> None:
        """Do ``work`` in a transaction that holds the table; others never queue behind it for long.

        Where a lock is not had within half a second, everything is undone and tried again. The first lock
        stops neither readers nor writers and may take longer: autovacuum, which often comes after so many
        changes, is made to give way by whoever has waited for ``deadlock_timeout``.
        """
        for attempt in range(WAITS):
            try:
                with self._connection.transaction():
                    self._run(f"set local lock_timeout = '{VACUUM_GIVES_WAY}'")
                    self._run(self._sql("lock table {t} in share update exclusive mode"))
                    self._run("set local lock_timeout = '500ms'")
                    self._run(sql.SQL("lock table {} in {} mode").format(self._name, sql.SQL(mode)))
                    work()
                    return
            except (pg.LockNotAvailable, pg.DeadlockDetected):
                if attempt == WAITS - 1:
                    raise
                time.sleep(0.05)

    # --- notes and the connection ----------------------------------------------------

    def read_note(self) -> dict[str, Any]:
        """Give the note of this column, from the table :data:`NOTES`."""
        with self._told():
            return self._noted()

    def _noted(self) -> dict[str, Any]:
        if self._row("select to_regclass(%s)", NOTES)[0] is None:
            return {}
        row = self._row(f"select note from {NOTES} where place = %s", self._place)
        return dict(json.loads(row[0])) if row else {}

    def write_note(self, note: dict[str, Any]) -> None:
        """Keep the note of this column in the table :data:`NOTES`, which is made for it."""
        with self._told(), self._connection.transaction():
            self._note(note)

    def _note(self, note: dict[str, Any]) -> None:
        self._run(f"create table if not exists {NOTES} (place text primary key, note text not null)")
        self._run(
            f"insert into {NOTES} values (%s, %s) on conflict (place) do update set note = excluded.note",
            self._place,
            json.dumps(note, sort_keys=True),
        )

    @property
    def _trigger(self) -> str:
        return f"embedtune_{hashlib.sha256(f'{self._oid} {self._column}'.encode()).hexdigest()[:12]}"

    @property
    def _place(self) -> str:
        return f"{self._oid} {self._column}"

    def close(self) -> None:
        """Close every connection."""
        while not self._free.empty():
            self._free.get_nowait().close()
        self._connection.close()

    def _connect(self) -> psycopg.Connection[Any]:
        try:
            return psycopg.connect(
                self._conninfo, autocommit=True, connect_timeout=10, application_name="embedtune"
            )
        except psycopg.Error as error:
            self._refuse(f"Postgres cannot be reached ({_first_line(error)})", "check URL and credentials")

    def _refuse(self, what: str, fix: str) -> NoReturn:
        raise StoreError(self._given.hide(what), where=self.url, fix=fix) from None

    @contextlib.contextmanager
    def _told(self) -> Iterator[None]:
        """Turn the server's errors into one line."""
        try:
            yield
        except (pg.DiskFull, pg.OutOfMemory) as error:
            raise DiskFull(f"{self.url}: the server has no room left ({_first_line(error)})") from None
        except pg.LockNotAvailable:
            self._refuse("the table stays locked by somebody else", "try again when it is free")
        except pg.InsufficientPrivilege as error:
            self._refuse(f"permission denied ({_first_line(error)})", "connect as the table's owner")
        except psycopg.Error as error:
            self._refuse(f"Postgres says: {_first_line(error)}", "mend that, then run it again with --resume")

    def _sql(self, text: str, version: str = LIVE) -> sql.Composed:
        return sql.SQL(text).format(**self._names(version))

    def _run(self, statement: Any, *values: Any) -> None:
        self._connection.execute(statement, values or None)

    def _rows(self, statement: Any, *values: Any) -> list[Any]:
        return self._connection.execute(statement, values or None).fetchall()

    def _row(self, statement: Any, *values: Any, connection: psycopg.Connection[Any] | None = None) -> Any:
        return (connection or self._connection).execute(statement, values or None).fetchone()


def _first_line(error: psycopg.Error) -> str:
    return (str(error).strip().splitlines() or [type(error).__name__])[0]
