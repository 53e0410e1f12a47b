"""What stores share that have aliases: a version is a collection, and the alias that readers use is moved."""

from __future__ import annotations

import contextlib
from collections.abc import Iterator
from typing import Any, NoReturn

import numpy as np

from embedtune.errors import StoreError
from embedtune.stores.base import BASE, LIVE, Batch, CatchUp, Id, Layout
from embedtune.stores.copies import Copies
from embedtune.stores.url import StoreURL

GO_ON = "check that it runs, and the URL, then go on with --resume"
"""How to mend it where a server of such a store gives no result."""


class Aliased(Copies):
    """A store whose URL names an alias. A subclass knows the client.

    The collection that was live before the switch is what the alias ``NAME__et_base`` points to.
    """

    _given: StoreURL
    _name: str

    # --- what a subclass does --------------------------------------------------------

    def _aliases(self) -> dict[str, str]:
        """Give each alias and the collection that it points to."""
        raise NotImplementedError

    def _collections(self) -> list[str]:
        raise NotImplementedError

    def _move(self, live: str, base: str | None) -> None:
        """Point the alias to ``live`` and the one of the base to ``base``, or to nothing, in one step."""
        raise NotImplementedError

    def _drop(self, collection: str) -> None:
        raise NotImplementedError

    def _rows(self, collection: str) -> int:
        raise NotImplementedError

    def _get(self, collection: str, ids: list[Id]) -> dict[Id, tuple[Any, dict[str, Any]]]:
        """Give vector and the rest of rows by id."""
        raise NotImplementedError

    def _put(self, collection: str, rows: dict[Id, tuple[Any, dict[str, Any]]]) -> None:
        raise NotImplementedError

    def _delete(self, collection: str, ids: list[Id]) -> None:
        raise NotImplementedError

    def _told(self) -> contextlib.AbstractContextManager[None]:
        """Turn the client's errors into one line."""
        raise NotImplementedError

    # --- versions --------------------------------------------------------------------

    def _check_alias(self) -> None:
        """Refuse what is no alias: readers of a collection could not be moved."""
        with self._told():
            aliases, collections = self._aliases(), self._collections()
        if self._name in aliases:
            return
        if self._name in collections:
            self._refuse(
                f"{self._name!r} is a collection, and readers are switched by an alias",
                "make an alias for it, have readers use that, and name it in the URL",
            )
        names = ", ".join(sorted(name for name in aliases if not name.endswith(f"__et_{BASE}"))) or "none"
        self._refuse(f"there is no alias {self._name!r}", f"choose from {names}")

    def _of(self, version: str) -> str:
        """Give the collection of a version."""
        if version in (LIVE, BASE):
            return self._aliases()[self._name if version == LIVE else f"{self._name}__et_{BASE}"]
        return f"{self._name}__et_{version}"

    def layout(self) -> Layout:
        """Say which versions have a collection."""
        with self._told():
            aliases, collections = self._aliases(), self._collections()
        head, live = f"{self._name}__et_", aliases[self._name]
        base = aliases.get(f"{head}{BASE}", live) != live
        others = (name for name in collections if name.startswith(head) and name != live)
        return Layout(base, tuple(sorted(name.removeprefix(head) for name in others)))

    def count(self, version: str = LIVE) -> int:
        """Count the rows."""
        with self._told():
            return self._rows(self._of(version))

    def fetch(self, ids: Any, version: str = LIVE) -> Batch:
        """Give rows by id."""
        names: list[Id] = []
        vectors = []
        with self._told():
            collection = self._of(version)
            for start in range(0, len(ids), 1000):
                for name, (vector, _) in self._get(collection, list(ids[start : start + 1000])).items():
                    names.append(name)
                    vectors.append(vector)
        if not names:
            return Batch([], np.zeros((0, self.dimension), np.float32))
        return Batch(names, np.asarray(vectors, np.float32))

    dimension: int

    def pending(self, version: str, batch: int) -> Iterator[Batch]:  # type: ignore[override]
        """Go through all live rows, with what the version has for them; not where the rest differs."""
        with self._told():
            live, new = self._of(LIVE), self._of(version)
        for rows in self.scan(batch, LIVE):
            with self._told():
                old, made = self._get(live, rows.ids), self._get(new, rows.ids)
            width = len(next(iter(made.values()))[0]) if made else 0
            there = np.full((len(rows.ids), width), np.nan, np.float32)
            for i, name in enumerate(rows.ids):
                if name in made and name in old and made[name][1] == old[name][1]:
                    there[i] = made[name][0]
            yield Batch(rows.ids, rows.vectors, None, there)

    def write(self, version: str, ids: Any, vectors: Any, marks: Any = None) -> int:
        """Write rows with all else that the live collection has for them now."""
        with self._told():
            live, new = self._of(LIVE), self._of(version)
            for start in range(0, len(ids), 1000):
                part = list(ids[start : start + 1000])
                rest = self._get(live, part)
                rows = dict(zip(part, vectors[start : start + 1000], strict=True))
                self._put(new, {name: (rows[name], rest[name][1]) for name in part if name in rest})
        return len(ids)

    def forget(self, version: str, batch: int) -> int:
        """Delete the rows that the live collection has no more."""
        if self.count(version) <= self.count(LIVE):
            return 0
        gone: list[Id] = []
        for rows in self.scan(batch, version):
            with self._told():
                known = self._get(self._of(LIVE), rows.ids)
            gone += [name for name in rows.ids if name not in known]
        with self._told():
            self._delete(self._of(version), gone)
        return len(gone)

    def index(self, version: str, similarity: str) -> str:
        """Nothing to do: the collection was made with the live one's index, and keeps it up."""
        return "as the live collection"

    def switch(self, version: str, catch_up: CatchUp) -> None:
        """Catch up until nothing is left, then move the alias."""
        while catch_up():
            pass
        with self._told():
            self._move(self._of(version), self._of(LIVE))

    def rollback(self, version: str) -> None:
        """Move the alias back."""
        with self._told():
            self._move(self._of(BASE), None)

    def discard(self, version: str) -> None:
        """Delete the version's collection."""
        with self._told():
            name = self._of(version)
            if version == BASE:
                self._move(self._of(LIVE), None)
            if name in self._collections():
                self._drop(name)

    def _refuse(self, what: str, fix: str) -> NoReturn:
        raise StoreError(self._given.hide(what), where=self.url, fix=fix) from None
