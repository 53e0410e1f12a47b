"""The way back: to the version before the switch, and rid of what is not live."""

from __future__ import annotations

from embedtune.errors import StoreError
from embedtune.stores.base import BASE, Store
from embedtune.stores.table import opened


def rollback(store: Store | str) -> str:
    """Make the version that was live before the switch live again, in one step; give the name of the other.

    Raises
    ------
    StoreError
        When there is none.
    """
    with opened(store) as place, place.lock():
        layout, note = place.layout(), place.read_note()
        if not layout.base:
            raise StoreError("there is no version to go back to", where=place.url, fix="nothing was done")
        version = str(note.get("live") or note.get("begun") or "unknown")
        place.write_note({**note, "live": None, "begun": version})  # serving still, should we be killed here
        place.rollback(version)
        place.write_note({**place.read_note(), "live": None, "begun": None})
        return version


def prune(store: Store | str) -> list[str]:
    """Remove every version that is not live: the one before the switch, unfinished and rolled back ones.

    Returns
    -------
    list of str
        The names of what was removed.
    """
    with opened(store) as place, place.lock():
        layout = place.layout()
        gone = [*([BASE] if layout.base else []), *layout.others]
        for version in gone:
            place.discard(version)
        place.write_note({**place.read_note(), "begun": None})
        return gone
