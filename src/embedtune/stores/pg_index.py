"""Indexes of vectors in Postgres: the new column gets those of the live one, and is searched through them."""

from __future__ import annotations

import re

from psycopg import sql

from embedtune.stores.base import LIVE, Id
from embedtune.stores.pg_binary import literal
from embedtune.stores.pg_table import PgTable
from embedtune.types import Similarity, Vectors

OPERATORS = {"cosine": "<=>", "dot": "<#>"}


class PgIndexes(PgTable):
    """Builds a version's indexes, and searches."""

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
