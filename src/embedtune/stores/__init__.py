"""Where vectors live: one file a store, and a tuned map applied to it without disturbing its readers."""

from __future__ import annotations

from embedtune.stores.applying import apply
from embedtune.stores.base import BASE, LIVE, Batch, Layout, Nulls, Store
from embedtune.stores.callables import CallableStore
from embedtune.stores.drifting import Drift, drift
from embedtune.stores.report import Applied
from embedtune.stores.returning import prune, rollback
from embedtune.stores.table import STORES, open_store
from embedtune.stores.url import StoreURL

__all__ = [
    "BASE",
    "LIVE",
    "STORES",
    "Applied",
    "Batch",
    "CallableStore",
    "Drift",
    "Layout",
    "Nulls",
    "Store",
    "StoreURL",
    "apply",
    "drift",
    "open_store",
    "prune",
    "rollback",
]
