"""Little datasets as files, and a way to run commands in this process and in one of their own."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import pytest
from typer.testing import CliRunner, Result

from embedtune.cli import app

PARTS = ["heart", "lung", "liver", "kidney", "skin", "eye", "ear", "nose", "head", "stomach", "bone"]
PAIRS = [(f"{part} ache", f"pain in the {part}") for part in PARTS] + [
    (f"weak {part}", f"{part} failure") for part in PARTS
]


@pytest.fixture
def pairs(tmp_path: Path) -> Path:
    """Give a file of 22 pairs; six of them are the test split."""
    path = tmp_path / "pairs.jsonl"
    rows = [
        {"query": query, "positive": positive, "split": "test" if number % 4 == 1 else "train"}
        for number, (query, positive) in enumerate(PAIRS)
    ]
    path.write_text("".join(json.dumps(row) + "\n" for row in rows), "utf-8")
    return path


@pytest.fixture
def run() -> Callable[..., Result]:
    """Give what runs a command in this process."""

    def invoke(*arguments: object) -> Result:
        return CliRunner().invoke(app, [str(argument) for argument in arguments])

    return invoke


@pytest.fixture
def start() -> Callable[..., subprocess.Popen[str]]:
    """Give what starts a command in a process of its own, with its output kept."""

    def spawn(*arguments: object, **environment: str) -> subprocess.Popen[str]:
        return subprocess.Popen(
            [sys.executable, "-m", "embedtune", *map(str, arguments)],
            stdin=subprocess.DEVNULL,
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            text=True,
            env={**os.environ, **environment},
        )

    return spawn
