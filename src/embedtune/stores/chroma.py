"""Chroma: a version is a collection of its own, with the same documents and metadata.

Chroma has no aliases, and no two collections can have one name. So the switch renames two, one right after
the other: for some milliseconds there is none of the name. Who holds an open collection does not see that, as
the server knows it by its number; embedtune's own readers wait. ``chroma_pointer.py`` has a switch without.
"""

from __future__ import annotations

import contextlib
import os
import time
from collections.abc import Generator, Iterator, Sequence
from typing import Any, NoReturn

import chromadb
import httpx
import numpy as np
from chromadb.config import Settings
from chromadb.errors import AuthorizationError, ChromaAuthError, ChromaError, NotFoundError

from embedtune.errors import StoreError
from embedtune.stores.base import BASE, LIVE, Batch, CatchUp, Id, Layout
from embedtune.stores.copies import Copies, refuse_full
from embedtune.stores.url import StoreURL
from embedtune.types import Similarity, Vectors

ALONG = ["documents", "metadatas", "uris"]
"""What goes along with a vector."""

GAP = 2.0
"""Seconds after which two renames of which one is done count as broken off."""

ASKED = 3
"""How often neither a live collection nor one before it must be found until there is none."""

POINTER = "embedtune_live"
"""Key of the metadata that makes a collection a pointer to another one."""


class Chroma(Copies):
    """A collection, ``chroma://host:8000/collection``.

    Parameters
    ----------
    url : StoreURL
        ``?ssl=true`` for https; ``tenant`` and ``database`` where they are not the default ones. A token
        comes from the environment, ``CHROMA_TOKEN``.

    Raises
    ------
    StoreError
        When the server cannot be reached, or has no such collection.
    """

    remark = (
        "Chroma is switched by two renames: for some milliseconds there is no collection of the name, and "
        "who opens it by name just then has to try again (chroma+pointer:// switches in one step)"
    )

    def __init__(self, url: StoreURL) -> None:
        self._given, self.url = url, str(url)
        url.only("ssl", "tenant", "database")
        self._name = url.path.strip("/")
        if not self._name or url.host is None:
            self._refuse("the URL names no collection", "write chroma://host:8000/COLLECTION")
        token = os.environ.get("CHROMA_TOKEN")
        secure = url.parameters.get("ssl", "").lower() in ("1", "true", "yes")
        with self._told():
            self._client = chromadb.HttpClient(
                host=url.host,
                port=url.port or 8000,
                ssl=secure,
                headers={"Authorization": f"Bearer {token}"} if token else {},
                settings=Settings(anonymized_telemetry=False),
                **url.take("tenant", "database"),
            )
            self._most = int(self._client.get_max_batch_size())
        self._mend()
        if self._find(LIVE) is None:
            with self._told():
                names = [one.name for one in self._client.list_collections()]
            self._refuse(
                f"there is no collection {self._name!r}", f"choose from {', '.join(names) or 'none'}"
            )
        with self._told():
            self._check_pointer()
            live = self._at(LIVE)
            one = live.get(limit=1, include=["embeddings"])["embeddings"]
            if _space(live) == "cosine":
                self.tolerance = 1e-6  # it normalises what it is given
        if not len(one):
            self._refuse("there are no vectors in it", "fill it first")
        self.dimension = int(one.shape[1])

    def _of(self, version: str) -> str:
        return self._name if version == LIVE else f"{self._name}__et_{version}"

    def _mend(self) -> None:
        """Undo the first of two renames where a kill came before the second one."""
        if self._find(LIVE) is None and self._find(BASE) is not None:
            with self.lock(), self._told():
                self._at(BASE).modify(name=self._name)

    def _check_pointer(self) -> None:
        """Refuse a collection that only points to another one."""
        if POINTER in (self._at(LIVE).metadata or {}):
            url = self.url.replace("chroma://", "chroma+pointer://", 1)
            self._refuse(f"{self._name!r} points to the collection that is live", f"write {url}")

    def _find(self, version: str) -> Any:
        with self._told(), contextlib.suppress(NotFoundError):
            return self._at(version)
        return None

    def _at(self, version: str) -> Any:
        """Give a version's collection; asked for anew each time, as names move.

        Where there is no live one but one before it, a switch is between its two renames: it is waited for.
        Where there is neither, the second rename may have come between the two questions: ask both anew.
        """
        end, neither = time.monotonic() + GAP, 0
        while True:
            try:
                return self._client.get_collection(self._of(version), embedding_function=None)
            except NotFoundError:
                if version != LIVE or neither == ASKED or time.monotonic() > end:
                    raise
            neither = 0 if self._find(BASE) is not None else neither + 1
            time.sleep(0.002)

    def layout(self) -> Layout:
        """Say which versions have a collection."""
        head = f"{self._name}__et_"
        with self._told():
            names = [one.name for one in self._client.list_collections()]
        found = [name.removeprefix(head) for name in names if name.startswith(head)]
        return Layout(BASE in found, tuple(sorted(name for name in found if name != BASE)))

    def count(self, version: str = LIVE) -> int:
        """Count the rows."""
        with self._told():
            return int(self._at(version).count())

    def scan(self, batch: int, version: str = LIVE) -> Generator[Batch]:
        """Go through the rows by their order of arrival."""
        with self._told():
            place, start = self._at(version), 0
            while True:
                found = place.get(limit=min(batch, self._most), offset=start, include=["embeddings"])
                if not found["ids"]:
                    return
                yield Batch(found["ids"], np.ascontiguousarray(found["embeddings"], np.float32))
                start += len(found["ids"])

    def pending(self, version: str, batch: int) -> Generator[Batch]:
        """Go through all live rows, with what the version has for them; not where documents differ."""
        with self._told():
            new, start = self._at(version), 0
            size = min(batch, self._most)
            width = self._width(new)
            while True:
                found = self._at(LIVE).get(limit=size, offset=start, include=["embeddings", *ALONG])
                ids = found["ids"]
                if not ids:
                    return
                there = np.full((len(ids), width), np.nan, np.float32)
                if width:
                    had = new.get(ids=ids, include=["embeddings", *ALONG])
                    row = {name: i for i, name in enumerate(had["ids"])}
                    for i, name in enumerate(ids):
                        k = row.get(name)
                        if k is not None and all(found[key][i] == had[key][k] for key in ALONG):
                            there[i] = had["embeddings"][k]
                yield Batch(ids, np.ascontiguousarray(found["embeddings"], np.float32), None, there)
                start += len(ids)

    @staticmethod
    def _width(place: Any) -> int:
        one = place.get(limit=1, include=["embeddings"])["embeddings"]
        return int(one.shape[1]) if len(one) else 0

    def fetch(self, ids: Sequence[Id], version: str = LIVE) -> Batch:
        """Give rows by id."""
        names, parts = [], []
        with self._told():
            for start in range(0, len(ids), self._most):
                some = [str(name) for name in ids[start : start + self._most]]
                found = self._at(version).get(ids=some, include=["embeddings"])
                names += found["ids"]
                if found["ids"]:
                    parts.append(np.asarray(found["embeddings"], np.float32))
        return Batch(names, np.concatenate(parts) if parts else np.zeros((0, self.dimension), np.float32))

    def texts(self, ids: Sequence[Id]) -> dict[Id, str]:
        """Give the documents."""
        with self._told():
            found = self._at(LIVE).get(ids=[str(name) for name in ids], include=["documents"])
        return {name: text for name, text in zip(found["ids"], found["documents"], strict=True) if text}

    def prepare(self, version: str, dimension: int) -> None:
        """Make a collection with the settings of the live one, but no function that encodes texts by itself.

        Such a function would encode queries as the base does, without the map.
        """
        if self._find(version) is not None:
            return
        with self._told():
            live = self._at(LIVE)
            told = {k: v for k, v in live.configuration_json.items() if v and k in ("hnsw", "spann")}
            own = ("hnsw:", "embedtune_")
            metadata = {k: v for k, v in (live.metadata or {}).items() if not k.startswith(own)}
            self._client.create_collection(
                self._of(version),
                configuration=told or None,
                metadata=metadata or None,
                embedding_function=None,
            )

    def write(self, version: str, ids: Sequence[Id], vectors: Vectors, marks: Any = None) -> int:
        """Write rows with their documents and metadata, as the live collection has them now."""
        with self._told():
            live, new = self._at(LIVE), self._at(version)
            row = {str(name): i for i, name in enumerate(ids)}
            for start in range(0, len(ids), self._most):
                some = [str(name) for name in ids[start : start + self._most]]
                along = live.get(ids=some, include=ALONG)
                if not along["ids"]:
                    continue
                given = {key: along[key] for key in ALONG if any(one is not None for one in along[key])}
                made = vectors[[row[name] for name in along["ids"]]]
                new.upsert(ids=along["ids"], embeddings=made, **given)
        return len(ids)

    def forget(self, version: str, batch: int) -> int:
        """Delete the rows that the live collection has no more."""
        if self.count(version) <= self.count(LIVE):
            return 0
        gone: list[Id] = []
        for rows in self.scan(batch, version):
            known = set(self.fetch(rows.ids).ids)
            gone += [name for name in rows.ids if name not in known]
        with self._told():
            for start in range(0, len(gone), self._most):
                self._at(version).delete(ids=gone[start : start + self._most])
        return len(gone)

    def index(self, version: str, similarity: Similarity) -> str:
        """Nothing to do: Chroma indexes what it is given."""
        return "hnsw"

    def search(
        self, queries: Vectors, k: int, similarity: Similarity, version: str = LIVE, effort: int | None = None
    ) -> list[list[Id]]:
        """Search as an application would; ``effort`` sets the version's ``ef_search``, which stays so."""
        with self._told():
            place = self._at(version)
            if effort is not None:
                place.modify(configuration={"hnsw": {"ef_search": effort}})
            found: list[list[Id]] = []
            for start in range(0, len(queries), 100):
                some = queries[start : start + 100]
                found += place.query(query_embeddings=some, n_results=k, include=[])["ids"]
            return found

    def switch(self, version: str, catch_up: CatchUp) -> None:
        """Catch up until nothing is left, then rename."""
        while catch_up():
            pass
        with self._told():
            old, new = self._at(LIVE), self._at(version)
            old.modify(name=self._of(BASE))
            new.modify(name=self._name)

    def rollback(self, version: str) -> None:
        """Rename back."""
        with self._told():
            new, old = self._at(LIVE), self._at(BASE)
            new.modify(name=self._of(version))
            old.modify(name=self._name)

    def discard(self, version: str) -> None:
        """Delete the version's collection."""
        with self._told(), contextlib.suppress(NotFoundError):
            self._client.delete_collection(self._of(version))

    def _refuse(self, what: str, fix: str) -> NoReturn:
        raise StoreError(self._given.hide(what), where=self.url, fix=fix) from None

    @contextlib.contextmanager
    def _told(self) -> Iterator[None]:
        """Turn the client's errors into one line."""
        try:
            yield
        except NotFoundError:
            raise
        except httpx.HTTPError as error:
            self._refuse(f"Chroma cannot be reached ({error})", "check that the server runs, and the URL")
        except (ChromaError, ValueError) as error:
            if isinstance(error, StoreError):
                raise
            text = (str(error).strip().splitlines() or [type(error).__name__])[0][:300]
            refuse_full(text, self.url)
            if isinstance(error, ChromaAuthError | AuthorizationError) or text.startswith("Forbidden"):
                self._refuse(f"Chroma refuses the token ({text})", "set CHROMA_TOKEN to one that may write")
            self._refuse(f"Chroma says: {text}", "check the server and the URL")


def _space(place: Any) -> str:
    """Give how a collection compares vectors."""
    told = place.configuration_json
    return str((told.get("hnsw") or told.get("spann") or {}).get("space", "l2"))
