"""Postgres with pgvector: a version is a column of the same table; the switch renames two columns at once.

While a version is filled, a trigger empties its column in rows whose live vector changes, so a null in it
always means "to do", and the state of an unfinished run lies in the table itself.
"""

from __future__ import annotations

import contextlib
import hashlib
import time
from collections.abc import Generator, Iterator, Sequence

import numpy as np
import psycopg
from psycopg import sql

from embedtune.stores.base import BASE, LIVE, Batch, CatchUp, Id, Nulls
from embedtune.stores.pg_binary import decoded
from embedtune.stores.pg_filling import PgFilling
from embedtune.stores.pg_index import PgIndexes


class PgVector(PgFilling, PgIndexes):
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

    def forget(self, version: str, batch: int) -> int:
        """Nothing: a row that goes takes all its versions along."""
        return 0

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
