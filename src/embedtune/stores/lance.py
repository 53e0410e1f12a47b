"""LanceDB: a version is a column of the same table; the switch renames two columns in one commit.

Indexes go along with their column. Readers that opened the table before keep seeing what they opened.
"""

from __future__ import annotations

import contextlib
from collections.abc import Generator, Iterator, Sequence
from pathlib import Path
from typing import Any, NoReturn

import lancedb
import numpy as np
import pyarrow as pa

from embedtune.errors import DiskFull, StoreError
from embedtune.files import FULL
from embedtune.stores.base import BASE, LIVE, Batch, CatchUp, Id, Layout, Nulls
from embedtune.stores.notes import file_lock, read_json, write_json
from embedtune.stores.url import StoreURL
from embedtune.types import Similarity, Vectors

TRIES = 20
"""Times that the switch is tried while others keep committing."""


class Lance:
    """A vector column, ``lancedb:///path/to/database?column=vector#table``.

    Parameters
    ----------
    url : StoreURL
        The path of the database, the table after ``#``; ``column``, by default ``vector``; ``id``, by default
        ``id``; ``text``, the column of the texts.

    Raises
    ------
    StoreError
        When database, table or column are not there.
    """

    tolerance = 0.0
    readable = searchable = True
    tracks = False
    writers = 1
    rows_a_second = 5000.0

    def __init__(self, url: StoreURL) -> None:
        self._given, self.url = url, str(url)
        url.only("column", "id", "text")
        asked = {"column": "vector", "id": "id", **url.take("column", "id", "text")}
        self._column, self._key, self._text = asked["column"], asked["id"], asked.get("text")
        self._folder = Path(url.local_path).expanduser()
        if not self._folder.is_dir():
            self._refuse("there is no such folder", "check the path")
        if not url.fragment:
            self._refuse("the URL names no table", "write lancedb:///path/to/database#TABLE")
        with self._told():
            database = lancedb.connect(str(self._folder))
            tables = _tables(database)
            if url.fragment not in tables:
                self._refuse(
                    f"there is no table {url.fragment!r}", f"choose from {', '.join(tables) or 'none'}"
                )
            self._table = database.open_table(url.fragment)
        for name in filter(None, (self._column, self._key, self._text)):
            if name not in self._table.schema.names:
                own = [n for n in self._table.schema.names if "__et_" not in n]
                self._refuse(f"the table has no column {name!r}", f"choose from {', '.join(own)}")
        kind = self._table.schema.field(self._column).type
        if not pa.types.is_fixed_size_list(kind) or not pa.types.is_floating(kind.value_type):
            self._refuse(
                f"column {self._column!r} is {kind}, not a list of numbers of fixed size", "check ?column="
            )
        self.tolerance = 0.0 if kind.value_type in (pa.float32(), pa.float64()) else 1e-3
        self.dimension = int(kind.list_size)

    def _of(self, version: str) -> str:
        return self._column if version == LIVE else f"{self._column}__et_{version}"

    def layout(self) -> Layout:
        """Say which versions have a column."""
        self._latest()
        head = f"{self._column}__et_"
        names = [n.removeprefix(head) for n in self._table.schema.names if n.startswith(head)]
        return Layout(BASE in names, tuple(name for name in names if name != BASE))

    def count(self, version: str = LIVE) -> int:
        """Count the rows with a vector."""
        self._latest()
        with self._told():
            return int(self._table.count_rows(f"`{self._of(version)}` is not null"))

    def nulls(self) -> Nulls:
        """Find the rows without a vector."""
        with self._told():
            where = f"`{self._column}` is null"
            count = self._table.count_rows(where)
            rows = (
                self._table.search().where(where).select([self._key]).limit(10).to_arrow() if count else None
            )
        return Nulls(count, () if rows is None else tuple(rows[self._key].to_pylist()))

    def scan(self, batch: int, version: str = LIVE) -> Generator[Batch]:
        """Go through the rows of the newest commit."""
        self._latest()
        for rows in self._batches([self._of(version)], batch):
            yield Batch(rows[0], rows[1])

    def _batches(self, columns: list[str], batch: int) -> Iterator[Any]:
        where = f"`{columns[0]}` is not null"
        with self._told():
            found = self._table.search().where(where).select([self._key, *columns]).limit(None)
            for rows in found.to_batches(batch):
                if len(rows):
                    yield (rows[self._key].to_pylist(), *(_vectors(rows[name]) for name in columns))

    def fetch(self, ids: Sequence[Id], version: str = LIVE) -> Batch:
        """Give rows by id."""
        self._latest()
        name, parts = self._of(version), []
        for start in range(0, len(ids), 1000):
            where = f"`{self._key}` in ({', '.join(map(self._literal, ids[start : start + 1000]))})"
            with self._told():
                found = self._table.search().where(f"{where} and `{name}` is not null")
                parts.append(found.select([self._key, name]).limit(None).to_arrow())
        width = self._table.schema.field(name).type.list_size
        rows = [i for part in parts for i in part[self._key].to_pylist()]
        vectors = [_vectors(part[name].combine_chunks()) for part in parts if len(part)]
        return Batch(rows, np.concatenate(vectors) if vectors else np.zeros((0, width), np.float32))

    def texts(self, ids: Sequence[Id]) -> dict[Id, str]:
        """Give the texts of the column ``text``."""
        if self._text is None or not ids:
            return {}
        where = f"`{self._key}` in ({', '.join(map(self._literal, ids))})"
        with self._told():
            rows = self._table.search().where(where).select([self._key, self._text]).limit(None).to_arrow()
        pairs = zip(rows[self._key].to_pylist(), rows[self._text].to_pylist(), strict=True)
        return {name: str(text) for name, text in pairs if text is not None}

    def _literal(self, value: Id) -> str:
        if pa.types.is_integer(self._table.schema.field(self._key).type):
            return str(int(value)) if str(value).lstrip("-").isdigit() else "null"
        return "'" + str(value).replace("'", "''") + "'"

    # --- a new version ---------------------------------------------------------------

    @contextlib.contextmanager
    def lock(self) -> Iterator[None]:
        """Hold a file beside the table."""
        with file_lock(self._folder / f".embedtune-{self._given.fragment}.lock", self.url):
            yield

    def prepare(self, version: str, dimension: int) -> None:
        """Add a column of nulls."""
        self._latest()
        if self._of(version) not in self._table.schema.names:
            kind = pa.list_(self._table.schema.field(self._column).type.value_type, dimension)
            with self._told():
                self._table.add_columns(pa.field(self._of(version), kind))

    def pending(self, version: str, batch: int) -> Generator[Batch]:
        """Go through all rows, with what the version has for them."""
        self._latest()
        for ids, vectors, there in self._batches([self._column, self._of(version)], batch):
            yield Batch(ids, vectors, None, there)

    def write(self, version: str, ids: Sequence[Id], vectors: Vectors, marks: Any = None) -> int:
        """Write one batch in one commit; rows that are gone stay away."""
        kind = self._table.schema.field(self._of(version)).type
        flat = pa.array(np.ascontiguousarray(vectors).ravel()).cast(kind.value_type)
        rows = pa.table(
            {
                self._key: pa.array(ids, self._table.schema.field(self._key).type),
                self._of(version): pa.FixedSizeListArray.from_arrays(flat, kind.list_size),
            }
        )
        with self._told():
            self._table.merge_insert(self._key).when_matched_update_all().execute(rows)
        return len(ids)

    def forget(self, version: str, batch: int) -> int:
        """Nothing: a row that goes takes all its versions along."""
        return 0

    def index(self, version: str, similarity: Similarity) -> str:
        """Build each vector index of the live column for the version too."""
        self._latest()
        name, built = self._of(version), []
        with self._told():
            indexes = self._table.list_indices()
            there = {one.columns[0]: one for one in indexes if len(one.columns) == 1}
            for one in indexes:
                if one.columns != [self._column]:
                    continue
                stats = self._table.index_stats(there[name].name) if name in there else None
                if stats is None or stats.num_unindexed_rows:
                    distance = self._table.index_stats(one.name).distance_type or similarity
                    config = getattr(lancedb.index, _CONFIGS[one.index_type])(distance_type=distance)
                    self._table.create_index(name, config=config, name=f"{name}_idx", replace=True)
                built.append(f"{one.index_type} like {one.name}")
        return ", ".join(built)

    def search(
        self, queries: Vectors, k: int, similarity: Similarity, version: str = LIVE, effort: int | None = None
    ) -> list[list[Id]]:
        """Search as an application would; ``effort`` sets the probes, and refines compressed vectors."""
        self._latest()
        found = []
        for query in queries:
            with self._told():
                asked = self._table.search(query, vector_column_name=self._of(version))
                asked = asked.distance_type(similarity).limit(k).select([self._key, "_distance"])
                if effort is not None:
                    asked = asked.nprobes(max(20, effort)).refine_factor(max(1, effort // 8))
                found.append([row[self._key] for row in asked.to_list()])
        return found

    # --- switching -------------------------------------------------------------------

    def switch(self, version: str, catch_up: CatchUp) -> None:
        """Rename both columns in one commit, right after one in which nothing was left to do."""
        for attempt in range(TRIES):
            self._latest()
            before = self._table.version
            if catch_up() or self._newest() != before:
                if attempt < TRIES - 1:
                    continue
                self._refuse("others keep writing", "pause them for a moment, then go on with --resume")
            with self._told():
                self._swap(self._of(version), self._of(BASE))
            return

    def rollback(self, version: str) -> None:
        """Rename the columns back in one commit."""
        self._latest()
        with self._told():
            self._swap(self._of(BASE), self._of(version))

    def _swap(self, rises: str, falls: str) -> None:
        """Make the column ``rises`` live, and call the live one ``falls``."""
        self._table.alter_columns(
            {"path": self._column, "rename": falls}, {"path": rises, "rename": self._column}
        )

    def discard(self, version: str) -> None:
        """Drop the version's column, and its indexes."""
        self._latest()
        name = self._of(version)
        if name not in self._table.schema.names:
            return
        with self._told():
            for one in self._table.list_indices():
                if one.columns == [name]:
                    self._table.drop_index(one.name)
            self._table.drop_columns([name])

    # --- notes and errors ------------------------------------------------------------

    @property
    def _note_file(self) -> Path:
        return self._folder / f".embedtune-{self._given.fragment}.json"

    def read_note(self) -> dict[str, Any]:
        """Give the note that lies beside the table."""
        return read_json(self._note_file)

    def write_note(self, note: dict[str, Any]) -> None:
        """Keep the note beside the table."""
        write_json(self._note_file, note)

    def close(self) -> None:
        """Nothing is held open."""

    def _latest(self) -> None:
        with self._told():
            self._table.checkout_latest()

    def _newest(self) -> int:
        self._latest()
        return int(self._table.version)

    def _refuse(self, what: str, fix: str) -> NoReturn:
        raise StoreError(self._given.hide(what), where=self.url, fix=fix) from None

    @contextlib.contextmanager
    def _told(self) -> Iterator[None]:
        """Turn the library's errors into one line."""
        try:
            yield
        except (RuntimeError, OSError, ValueError) as error:
            if isinstance(error, StoreError | DiskFull):
                raise
            text = str(error)
            if getattr(error, "errno", None) in FULL or "No space left" in text:
                raise DiskFull(f"no room left on the disk for {self.url}: free some") from None
            self._refuse(
                f"LanceDB says: {text.strip().splitlines()[0][:300]}", "mend that, then go on with --resume"
            )


_CONFIGS = {
    "IvfPq": "IvfPq",
    "IVF_PQ": "IvfPq",
    "IvfFlat": "IvfFlat",
    "IVF_FLAT": "IvfFlat",
    "IvfHnswSq": "HnswSq",
    "IVF_HNSW_SQ": "HnswSq",
    "IvfHnswPq": "HnswPq",
    "IVF_HNSW_PQ": "HnswPq",
    "IvfHnswFlat": "HnswFlat",
    "IvfSq": "IvfSq",
    "IvfRq": "IvfRq",
}
"""What the kinds of index are called where they are made."""


def _tables(database: Any) -> list[str]:
    listed = database.list_tables()
    return list(getattr(listed, "tables", listed))


def _vectors(column: Any) -> Vectors:
    """Give a column as float32 (n, d); rows that are null become NaN."""
    width = column.type.list_size
    rows = np.full((len(column), width), np.nan, np.float32)
    valid = column.is_valid().to_numpy(zero_copy_only=False)
    rows[valid] = column.drop_null().flatten().to_numpy(zero_copy_only=False).reshape(-1, width)
    return rows
