"""The command line: one file a command; nothing heavy is imported before a command runs."""

from __future__ import annotations

from embedtune.cli.app import app, main

__all__ = ["app", "main"]
