"""How a new column of Postgres is filled: what is to do is read on one connection and written on two more.

A batch goes by binary COPY into a temporary table, and from there into the rows it was made from, in one
statement a batch. The cost is that of a plain ``UPDATE`` of the same rows, plus one reading and one COPY.
"""

from __future__ import annotations

import contextlib
import threading
from collections.abc import Generator, Iterator, Sequence
from queue import Empty, Queue
from typing import Any

import psycopg
from psycopg import errors as pg
from psycopg import sql

from embedtune.stores.base import Batch, Id
from embedtune.stores.pg_binary import decoded, encoded, literal, place
from embedtune.stores.pg_table import PgTable
from embedtune.types import Vectors

STAGE = (
    "create temporary table if not exists embedtune_stage (place tid, seen xid, made vector)"
    " on commit delete rows"
)
"""Where a batch lies on its way into the table."""

STAGE_BUFFERS = "64MB"
"""Memory of the server that keeps it from its disk."""

PAGES_AHEAD = 4
"""Batches that are read while another one is written."""

WRITERS = 3
"""Connections that write at once: while one waits for the disk, two cores have work."""


class PgFilling(PgTable):
    """Prepares a version's column, finds what it lacks, and writes it."""

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
            places = marks[0]  # as they lie on disk; without the range the whole table would be read
            wrote = connection.execute(
                sql.SQL(
                    "update {t} as t set {v} = s.made{cast} from embedtune_stage s"
                    " where t.ctid = s.place and t.xmin = s.seen"
                    " and t.ctid >= {first}::tid and t.ctid <= {last}::tid"
                ).format(
                    **self._names(version),
                    cast=cast,
                    first=sql.Literal(place(places[0])),
                    last=sql.Literal(place(places[-1])),
                )
            )
            if self._in_switch:
                connection.execute("delete from embedtune_stage")
            return wrote.rowcount

    @property
    def writers(self) -> int:
        """Several, and one in the transaction that switches."""
        return 1 if self._in_switch else WRITERS

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
            connection.execute(f"set temp_buffers = '{STAGE_BUFFERS}'")
            connection.execute(STAGE)
        try:
            yield connection
        finally:
            self._free.put(connection)
