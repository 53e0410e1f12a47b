"""Postgres with pgvector: a version is a column of the same table; the switch renames two columns at once.

While a version is filled, a trigger empties its column in rows whose live vector changes, so a null in it
always means "to do", and the state of an unfinished run lies in the table itself.
"""

from __future__ import annotations

import contextlib
import hashlib
import re
import threading
import time
from collections.abc import Generator, Iterator, Sequence
from queue import Empty, Queue
from typing import Any

import numpy as np
import psycopg
from psycopg import errors as pg
from psycopg import sql

from embedtune.stores.base import BASE, LIVE, Batch, CatchUp, Id, Nulls
from embedtune.stores.pg_binary import decoded, encoded, literal
from embedtune.stores.pg_table import PgTable
from embedtune.types import Similarity, Vectors

OPERATORS = {"cosine": "<=>", "dot": "<#>"}

STAGE = (
    "create temporary table if not exists embedtune_stage (place tid, seen xid, made vector)"
    " on commit delete rows"
)
"""Where a batch lies on its way into the table."""

PAGES_AHEAD = 2
"""Batches that are read while another one is written."""


class PgVector(PgTable):
    """A column of vectors, ``postgresql://user@host/db?table=docs&column=embedding``.

    Parameters
    ----------
    url : StoreURL
        ``table`` (perhaps ``schema.table``) and ``column`` name the vectors; ``id`` the column that tells
        rows apart, by default the primary key; ``text`` the column of the texts. A password may come from
        the environment, as ``PGPASSWORD``.

    Raises
    ------
    StoreError
        When the server cannot be reached, or table, column or id are not there.
    """

    readable = searchable = True
    tracks = True
    rows_a_second = 10_000.0

    # --- reading ---------------------------------------------------------------------

    def count(self, version: str = LIVE) -> int:
        """Count the rows with a vector."""
        with self._told():
            count, rows = self._row(self._sql("select count({v}), count(*) from {t}", version))
        if version == LIVE:
            self._null = int(rows - count)
        return int(count)

    def nulls(self) -> Nulls:
        """Find the rows whose live vector is null; as many as there were when they were counted last."""
        if self._null is None:
            self.count()
        if not self._null:
            return Nulls()
        with self._told():
            first = self._rows(self._sql("select {k} from {t} where {c} is null order by {k} limit 10"))
        return Nulls(self._null, tuple(self._id(row[0]) for row in first))

    def scan(self, batch: int, version: str = LIVE) -> Generator[Batch]:
        """Go through the rows of one snapshot, on a connection of its own."""
        statement = self._sql("select {k}, {v}::vector from {t} where {v} is not null", version)
        with (
            self._told(),
            self._connect() as connection,
            connection.transaction(),
            connection.cursor(name="embedtune_scan", binary=True) as cursor,
        ):
            cursor.execute(statement, binary=True)
            while rows := cursor.fetchmany(batch):
                yield Batch([self._id(row[0]) for row in rows], decoded([row[1] for row in rows]))

    def fetch(self, ids: Sequence[Id], version: str = LIVE) -> Batch:
        """Give rows by id."""
        statement = self._sql(
            "select {k}, {v}::vector from {t} where {k} = any(%s) and {v} is not null", version
        )
        with self._told():
            rows = self._connection.execute(statement, [self._keys(ids)], binary=True).fetchall()
        if not rows:
            return Batch([], np.zeros((0, self.dimension), np.float32))
        return Batch([self._id(row[0]) for row in rows], decoded([row[1] for row in rows]))

    def texts(self, ids: Sequence[Id]) -> dict[Id, str]:
        """Give the texts of the column ``text``."""
        if self._text is None:
            return {}
        statement = sql.SQL("select {k}, {x} from {t} where {k} = any(%s) and {x} is not null").format(
            **self._names(), x=sql.Identifier(self._text)
        )
        with self._told():
            rows = self._connection.execute(statement, [self._keys(ids)]).fetchall()
        return {self._id(name): str(text) for name, text in rows}

    # --- a new version ---------------------------------------------------------------

    @contextlib.contextmanager
    def lock(self) -> Iterator[None]:
        """Hold an advisory lock of the session: it ends with the connection."""
        key = int.from_bytes(hashlib.sha256(f"{self._oid} {self._column}".encode()).digest()[:8], signed=True)
        with self._told():
            self._run("set client_connection_check_interval = 1000")  # a killed client frees its lock soon
            for wait in range(6):  # a killed run's last statement may not have ended yet
                if self._row("select pg_try_advisory_lock(%s)", key)[0]:
                    break
                time.sleep(0.2 * wait)
            else:
                self._refuse("another apply is in progress on this column", "wait until it has ended")
        try:
            yield
        finally:
            with contextlib.suppress(psycopg.Error):
                self._run("select pg_advisory_unlock(%s)", key)

    def prepare(self, version: str, dimension: int) -> None:
        """Add the version's column and the trigger that keeps it from going stale."""
        names = {
            **self._names(version),
            "kind": sql.SQL(f"{self._kind}({dimension:d})"),
        }

        def work() -> None:
            self._run(sql.SQL("alter table {t} add column if not exists {v} {kind}").format(**names))
            self._watch(version)

        with self._told():
            self._alone("access exclusive", work)

    @property
    def _trigger(self) -> str:
        return f"embedtune_{hashlib.sha256(f'{self._oid} {self._column}'.encode()).hexdigest()[:12]}"

    def _watch(self, version: str) -> None:
        """Have a trigger empty the version's column in rows whose live vector changes."""
        names = {**self._names(version), "g": sql.Identifier(self._trigger)}
        self._drop_trigger()
        self._run(
            sql.SQL(
                "create function {g}() returns trigger language plpgsql as"
                " $$ begin new.{v} := null; return new; end $$"
            ).format(**names)
        )
        self._run(
            sql.SQL(
                "create trigger {g} before update of {c} on {t} for each row"
                " when (old.{c} is distinct from new.{c}) execute function {g}()"
            ).format(**names)
        )

    def _drop_trigger(self) -> None:
        names = {"t": self._name, "g": sql.Identifier(self._trigger)}
        self._run(sql.SQL("drop trigger if exists {g} on {t}").format(**names))
        self._run(sql.SQL("drop function if exists {g}()").format(**names))

    def pending(self, version: str, batch: int) -> Generator[Batch]:
        """Go through the rows with a live vector and none in the version, in the order they lie on disk."""
        if self._connection.info.transaction_status != psycopg.pq.TransactionStatus.IDLE:
            yield from self._pending(self._connection, version, batch)  # inside the switch
            return
        ahead: Queue[Any] = Queue(PAGES_AHEAD)
        stop = threading.Event()

        def read() -> None:
            try:
                with self._connect() as connection:
                    for found in self._pending(connection, version, batch):
                        ahead.put(found)
                        if stop.is_set():
                            return
                ahead.put(None)
            except BaseException as error:  # noqa: BLE001 - raised again where it is read
                ahead.put(error)

        reader = threading.Thread(target=read, daemon=True)
        reader.start()
        try:
            with self._told():
                while (found := ahead.get()) is not None:
                    if isinstance(found, BaseException):
                        raise found
                    yield found
        finally:
            stop.set()
            while reader.is_alive():
                with contextlib.suppress(Exception):
                    ahead.get_nowait()
                reader.join(0.01)

    def _pending(self, connection: psycopg.Connection[Any], version: str, batch: int) -> Generator[Batch]:
        statement = self._sql(
            "select {k}, {c}::vector, ctid, xmin from {t}"
            " where ctid >= %s::tid and ctid < %s::tid and {c} is not null and {v} is null",
            version,
        )
        pages, rows = self._row(
            "select pg_relation_size(%s::oid::regclass) / current_setting('block_size')::int,"
            " greatest(reltuples, 0) from pg_class where oid = %s",
            self._oid,
            self._oid,
            connection=connection,
        )
        a_page = rows / pages if pages and rows else 8
        step = max(1, min(int(batch / max(a_page, 1)), 4096))
        for start in range(0, int(pages), step):
            span = [f"({start},0)", f"({start + step},0)"]
            found = connection.execute(statement, span, binary=True).fetchall()
            for first in range(0, len(found), batch):
                part = found[first : first + batch]
                yield Batch(
                    [self._id(row[0]) for row in part],
                    decoded([row[1] for row in part]),
                    ([row[2] for row in part], [row[3] for row in part]),
                )

    def write(self, version: str, ids: Sequence[Id], vectors: Vectors, marks: Any = None) -> int:
        """Write one batch in one transaction; rows that changed since they were read stay as they are.

        They are pending still. Without marks the rows are found by id, one by one.
        """
        with self._told():
            for _ in range(4):
                with contextlib.suppress(pg.DeadlockDetected, pg.SerializationFailure):
                    return self._write(version, ids, vectors, marks)
            return self._write(version, ids, vectors, marks)

    def _write(self, version: str, ids: Sequence[Id], vectors: Vectors, marks: Any) -> int:
        cast = sql.SQL(f"::{self._kind}")
        with self._writer() as connection, connection.transaction():
            if marks is None:
                statement = sql.SQL("update {t} set {v} = %s::vector{cast} where {k} = %s").format(
                    **self._names(version), cast=cast
                )
                texts = [literal(row) for row in vectors]
                keys = self._keys(ids)
                cursor = connection.cursor()
                cursor.executemany(statement, list(zip(texts, keys, strict=True)))
                return cursor.rowcount
            with connection.cursor().copy("copy embedtune_stage from stdin (format binary)") as copy:
                copy.write(encoded(vectors, *marks))
            wrote = connection.execute(
                sql.SQL(
                    "update {t} as t set {v} = s.made{cast} from embedtune_stage s"
                    " where t.ctid = s.place and t.xmin = s.seen"
                ).format(**self._names(version), cast=cast)
            )
            if self._in_switch:
                connection.execute("delete from embedtune_stage")
            return wrote.rowcount

    @property
    def writers(self) -> int:
        """Two, which keep two cores of the server busy; one in the transaction that switches."""
        return 1 if self._in_switch else 2

    @contextlib.contextmanager
    def _writer(self) -> Iterator[psycopg.Connection[Any]]:
        """Give a connection that no other thread uses; it is kept for the next batch."""
        if self._in_switch:
            self._run(STAGE)
            yield self._connection
            return
        try:
            connection = self._free.get_nowait()
        except Empty:
            connection = self._connect()
            connection.execute("set synchronous_commit = off")  # lost rows are null, and written again
            connection.execute(STAGE)
        try:
            yield connection
        finally:
            self._free.put(connection)

    def forget(self, version: str, batch: int) -> int:
        """Nothing: a row that goes takes all its versions along."""
        return 0

    def index(self, version: str, similarity: Similarity) -> str:
        """Build each HNSW or IVFFlat index of the live column for the version too, readers undisturbed."""
        built = []
        with self._told():
            for number, (name, definition) in enumerate(self._indexes()):
                new = f"{self._trigger}_{version}_{number}"
                body = definition.split(" USING ", 1)[1]
                quoted = sql.Identifier(self._column).as_string(self._connection)
                plain = re.escape(quoted.strip('"'))
                body = re.sub(
                    rf'(?<![\w"])(?:{re.escape(quoted)}|{plain})(?![\w"])',
                    sql.Identifier(self._of(version)).as_string(self._connection),
                    body,
                )
                valid = self._row(
                    "select i.indisvalid from pg_index i join pg_class c on c.oid = i.indexrelid"
                    " where c.relname = %s and i.indrelid = %s",
                    new,
                    self._oid,
                )
                if valid and not valid[0]:  # a build that was killed
                    self._run(sql.SQL("drop index concurrently {}").format(self._beside(new)))
                if not valid or not valid[0]:
                    self._run(
                        sql.SQL("create index concurrently {i} on {t} using {b}").format(
                            i=sql.Identifier(new), t=self._name, b=sql.SQL(body)
                        )
                    )
                built.append(f"{body.split(' ', 1)[0]} like {name}")
        return ", ".join(built)

    def _beside(self, name: str) -> sql.Identifier:
        """Name an index in the schema of the table."""
        schema = self._row("select relnamespace::regnamespace::text from pg_class where oid = %s", self._oid)[
            0
        ]
        return sql.Identifier(schema.strip('"'), name)

    def _indexes(self) -> list[tuple[str, str]]:
        """Give names and definitions of the valid indexes of vectors of the live column."""
        rows: list[tuple[str, str]] = self._rows(
            "select c.relname, pg_get_indexdef(i.indexrelid) from pg_index i"
            " join pg_class c on c.oid = i.indexrelid join pg_am m on m.oid = c.relam"
            " join pg_attribute a on a.attrelid = i.indrelid and a.attname = %s"
            " where i.indrelid = %s and m.amname in ('hnsw', 'ivfflat') and i.indisvalid"
            " and (a.attnum = any(i.indkey) or exists (select from pg_depend d where d.objid = i.indexrelid"
            " and d.refobjid = i.indrelid and d.refobjsubid = a.attnum)) order by 1",
            self._column,
            self._oid,
        )
        return rows

    def search(
        self, queries: Vectors, k: int, similarity: Similarity, version: str = LIVE, effort: int | None = None
    ) -> list[list[Id]]:
        """Search as an application would; ``effort`` sets ``hnsw.ef_search`` and ``ivfflat.probes``."""
        operator = OPERATORS[similarity]
        for _, definition in self._indexes():
            if "_l2_ops" in definition:
                operator = "<->"
        found = []
        statement = sql.SQL(
            "select {k} from {t} where {v} is not null order by {v} {op} %s::{kind} limit %s"
        ).format(**self._names(version), op=sql.SQL(operator), kind=sql.SQL(self._kind))
        with self._told(), self._connection.transaction():
            if effort is not None:
                self._run(f"set local hnsw.ef_search = {min(effort, 1000):d}")
                self._run(f"set local ivfflat.probes = {max(1, effort // 4):d}")
            for query in queries:
                rows = self._connection.execute(statement, [literal(query), k]).fetchall()
                found.append([self._id(row[0]) for row in rows])
        return found

    # --- switching -------------------------------------------------------------------

    def switch(self, version: str, catch_up: CatchUp) -> None:
        """Rename both columns in one transaction, in which the last changes are caught up.

        Writers wait for it; readers see the old version until it is over, and the new one from then on.
        """

        def work() -> None:
            self._in_switch = True
            try:
                while catch_up():
                    pass
            finally:
                self._in_switch = False
            self._drop_trigger()
            self._rename(LIVE, BASE)
            self._rename(version, LIVE)
            self._note({**self._noted(), "live": version, "begun": None})

        with self._told():
            self._alone("share row exclusive", work)

    def rollback(self, version: str) -> None:
        """Rename the columns back in one transaction, and go on watching for changes: it may be resumed."""

        def work() -> None:
            self._rename(LIVE, version)
            self._rename(BASE, LIVE)
            self._watch(version)
            self._note({**self._noted(), "live": None})

        with self._told():
            self._alone("share row exclusive", work)

    def _rename(self, old: str, new: str) -> None:
        self._run(
            sql.SQL("alter table {} rename column {} to {}").format(
                self._name, sql.Identifier(self._of(old)), sql.Identifier(self._of(new))
            )
        )

    def discard(self, version: str) -> None:
        """Drop the version's column, and with it its indexes."""

        def work() -> None:
            if version != BASE:
                self._drop_trigger()
            self._run(self._sql("alter table {t} drop column if exists {v}", version))

        with self._told():
            self._alone("access exclusive", work)
