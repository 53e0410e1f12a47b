"""Whole runs of the command with a time budget: the seconds they take, as a user waits for them."""

from __future__ import annotations

import json
import os
import subprocess
import sys
import tempfile
import time
from pathlib import Path
from typing import Any

from results import OUT, kept, markdown, slug
from sets import BASE

from embedtune.steps.asked import seconds

CASES = (
    ("hint3", "layers", "4m", True),
    ("abt-buy", "layers", "4m", False),
    ("hint3", "auto", "2m", True),
    ("hint3", "layers", "3m", True),
    ("hint3", "full", "4m", True),
    ("scifact", "auto", "2m", False),
)
"""Set, method, budget, and whether the base's vectors are in the cache."""


def budgets(options: Any) -> None:
    """Run what is not kept yet."""
    for case in CASES:
        words = " ".join([*case[:3], "" if case[3] else "empty"])
        found = kept(
            OUT / "weights-budget" / f"{slug(words)}.json",
            lambda case=case: _run(options.data, *case),  # type: ignore[misc]
            reuse=not options.again,
        )
        print(words, found, flush=True)


def _run(data: Path, name: str, method: str, budget: str, cached: bool) -> dict[str, Any]:
    with tempfile.TemporaryDirectory() as folder:
        own = {} if cached else {"EMBEDTUNE_CACHE_DIR": f"{folder}/cache"}
        words = [str(data / name), "--base", BASE, "--method", method, "--budget", budget, "--json", "-"]
        command = [sys.executable, "-m", "embedtune", "tune", *words, "--out", f"{folder}/out"]
        before, began = os.times(), time.monotonic()
        done = subprocess.run(command, env={**os.environ, **own}, capture_output=True, text=True)
        wall, after = time.monotonic() - began, os.times()
    if done.returncode and "budget: tuning weights would take" not in done.stderr:
        raise RuntimeError(done.stderr)
    said = json.loads(done.stdout) if done.returncode == 0 else {}
    result = {key: said.get(key) for key in ("decision", "method", "stopped", "seconds")}
    spent = after.children_user + after.children_system - before.children_user - before.children_system
    case = {"set": name, "asked": method, "budget": seconds(budget), "cached": cached}
    return {**case, "wall": wall, "cpu": spent, "error": done.stderr[-200:], **result}


def budgets_table() -> str:
    """Give the table of all runs that are kept."""
    files = [json.loads(one.read_text("utf-8")) for one in sorted((OUT / "weights-budget").glob("*.json"))]
    header = ["set, method", "base's vectors", "result", "CPU s", "wall s", "budget s", "wall / budget"]
    rows = [
        [
            f"{one['set']}, {one['asked']}",
            "cached" if one["cached"] else "from texts",
            one["method"] or "refused: too little time",
            *(f"{one[key]:.0f}" for key in ("cpu", "wall", "budget")),
            f"{one['wall'] / one['budget']:.2f}",
        ]
        for one in files
    ]
    return markdown(header, rows) if rows else ""
