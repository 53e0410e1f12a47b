"""Move stored vectors to another model without encoding everything anew, and be told what that costs."""

from __future__ import annotations

from embedtune.migration.files import SavedBridge, is_bridge, load_bridge, save_bridge
from embedtune.migration.migrate import Migration, migrate

__all__ = ["Migration", "SavedBridge", "is_bridge", "load_bridge", "migrate", "save_bridge"]
