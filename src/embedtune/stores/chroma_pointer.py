"""Chroma switched in one step: metadata of a collection name the one that is live, and readers follow them.

A collection's metadata are changed by one request, whole, so a reader finds the old version or the new one.
It takes readers that look::

    place = client.get_collection("docs")
    live = client.get_collection(place.metadata["embedtune_live"])

or that call :func:`follow`. Who opens ``docs`` itself is served by the version of before the first switch.
"""

from __future__ import annotations

from typing import Any

from chromadb.errors import NotFoundError

from embedtune.stores.base import BASE, LIVE, CatchUp, Layout
from embedtune.stores.chroma import POINTER, Chroma

BEFORE = "embedtune_before"
"""Key of the metadata that names the version before the switch, while that is kept."""

TRIES = 5


def follow(client: Any, name: str, embedding_function: Any = None) -> Any:
    """Open the collection that is live.

    Parameters
    ----------
    client : chromadb.ClientAPI
        An open client.
    name : str
        The collection that the URL ``chroma+pointer://host:8000/NAME`` names.
    embedding_function : chromadb.EmbeddingFunction, optional
        Passed on.

    Returns
    -------
    chromadb.Collection
        The live version; the collection itself before the first switch.

    Raises
    ------
    chromadb.errors.NotFoundError
        When there is none.
    """
    for left in reversed(range(TRIES)):
        place = client.get_collection(name, embedding_function=embedding_function)
        live = (place.metadata or {}).get(POINTER, name)
        if live == name:
            return place
        try:
            return client.get_collection(live, embedding_function=embedding_function)
        except NotFoundError:  # switched and pruned between the two requests
            if not left:
                raise
    raise AssertionError("unreachable")


class ChromaPointer(Chroma):
    """A collection whose metadata name the live version, ``chroma+pointer://host:8000/collection``.

    Parameters and errors are those of :class:`~embedtune.stores.chroma.Chroma`.
    """

    remark = "readers that follow the pointer are switched; embedtune.stores.chroma_pointer.follow does"

    def _pointer(self) -> dict[str, Any]:
        """Give the metadata of the collection that points."""
        return dict(self._client.get_collection(self._name, embedding_function=None).metadata or {})

    def _point(self, live: str, before: str | None) -> None:
        """Name the live version, and the one before it, in one request."""
        place = self._client.get_collection(self._name, embedding_function=None)
        own = (POINTER, BEFORE, "hnsw:")
        told = {k: v for k, v in (place.metadata or {}).items() if not k.startswith(own)}
        told[POINTER] = live  # also where it is the collection itself: readers find the key
        place.modify(metadata=told if before is None else {**told, BEFORE: before})

    def _mend(self) -> None:
        """There is nothing that could be left half done."""

    def _check_pointer(self) -> None:
        """Take it: a pointer is what is wanted."""

    def _of(self, version: str) -> str:
        if version == LIVE:
            return str(self._pointer().get(POINTER, self._name))
        if version == BASE:
            return str(self._pointer().get(BEFORE, f"{self._name}__et_{BASE}"))
        return f"{self._name}__et_{version}"

    def layout(self) -> Layout:
        """Say which versions have a collection."""
        with self._told():
            pointer = self._pointer()
            names = {one.name for one in self._client.list_collections()}
        head, shown = f"{self._name}__et_", {pointer.get(POINTER), pointer.get(BEFORE)}
        others = sorted(name.removeprefix(head) for name in names - shown if name.startswith(head))
        return Layout(BEFORE in pointer, tuple(others))

    def read_note(self) -> dict[str, Any]:
        """Give the note of this machine, with the live version as the store knows it."""
        head = f"{self._name}__et_"
        with self._told():
            live = self._of(LIVE)
        return {**super().read_note(), "live": live.removeprefix(head) if live.startswith(head) else None}

    def switch(self, version: str, catch_up: CatchUp) -> None:
        """Catch up until nothing is left, then point to the version."""
        while catch_up():
            pass
        with self._told():
            self._point(self._of(version), self._of(LIVE))

    def rollback(self, version: str) -> None:
        """Point back."""
        with self._told():
            self._point(self._of(BASE), None)

    def discard(self, version: str) -> None:
        """Delete the version's collection; the one that points is emptied."""
        with self._told():
            name, live = self._of(version), self._of(LIVE)
            if version == BASE:
                self._point(live, None)
            if name == live:
                return
            if name != self._name:
                super().discard(version) if version != BASE else self._client.delete_collection(name)
                return
            place = self._client.get_collection(name, embedding_function=None)
            while ids := place.get(limit=self._most, include=[])["ids"]:
                place.delete(ids=ids)
