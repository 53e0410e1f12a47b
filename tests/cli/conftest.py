"""Little datasets as files, and a way to run commands in this process and in one of their own."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
from typer.testing import CliRunner, Result

from embedtune.cli import app
from embedtune.encoders.vectors import write_vectors

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
def shifted(tmp_path: Path) -> tuple[Path, Path]:
    """Give pairs and vectors that a linear map mends: each query is its document, rotated.

    400 queries for 200 documents in 16 dimensions; a quarter of the queries is the test split.
    """
    rng = np.random.default_rng(7)
    documents = rng.standard_normal((200, 16))
    turn = np.linalg.qr(rng.standard_normal((16, 16)))[0]
    queries = np.repeat(documents, 2, axis=0) @ turn + 0.1 * rng.standard_normal((400, 16))
    rows = [
        {
            "query_id": f"q{number}",
            "query": f"question {number}",
            "document_id": f"d{number // 2}",
            "positive": f"answer {number // 2}",
            "split": "test" if number // 2 % 4 == 0 else "train",
        }
        for number in range(400)
    ]
    data = tmp_path / "shifted.jsonl"
    data.write_text("".join(json.dumps(row) + "\n" for row in rows), "utf-8")
    folder = tmp_path / "vectors"
    write_vectors(folder, "document", [f"d{number}" for number in range(200)], documents)
    write_vectors(folder, "query", [f"q{number}" for number in range(400)], queries)
    return data, folder


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
