"""``python -m embedtune``."""

from __future__ import annotations

from embedtune.cli import main

if __name__ == "__main__":
    main()
