"""A provider of embeddings in a process of its own, for the tests of API models."""

from __future__ import annotations

import json
import subprocess
import sys
import urllib.request
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

SCRIPT = Path(__file__).with_name("provider.py")


class Served:
    """A running provider: its address, its accounts, and what is to go wrong."""

    def __init__(self, *options: str) -> None:
        self.process = subprocess.Popen(
            [sys.executable, str(SCRIPT), *options], stdout=subprocess.PIPE, text=True
        )
        self.host = f"http://127.0.0.1:{int(self.process.stdout.readline())}"
        self.base = f"{self.host}/v1"

    def accounts(self) -> dict[str, Any]:
        with urllib.request.urlopen(f"{self.host}/texts") as answer:
            return json.load(answer)

    def faults(self, **faults: float) -> None:
        self._post("/faults", {name.lstrip("_"): share for name, share in faults.items()})

    def forget(self) -> None:
        self._post("/forget", {})

    def stop(self) -> None:
        self.process.kill()
        self.process.wait()
        self.process.stdout.close()

    def _post(self, path: str, body: dict[str, Any]) -> None:
        urllib.request.urlopen(f"{self.host}{path}", json.dumps(body).encode()).close()


@pytest.fixture
def serve() -> Iterator[Callable[..., Served]]:
    """Give what starts providers; they end with the test."""
    pytest.importorskip("httpx")
    started: list[Served] = []

    def start(*options: str) -> Served:
        started.append(Served(*options))
        return started[-1]

    yield start
    for one in started:
        one.stop()


@pytest.fixture(scope="session")
def one_for_all() -> Iterator[Served]:
    pytest.importorskip("httpx")
    served = Served()
    yield served
    served.stop()


@pytest.fixture
def provider(one_for_all: Served) -> Served:
    """Give a provider of 64 dimensions that answers at once, and has been asked nothing yet."""
    one_for_all.faults()
    one_for_all.forget()
    return one_for_all


@pytest.fixture(autouse=True)
def no_keys(monkeypatch: pytest.MonkeyPatch) -> None:
    """Take away keys that the machine may have."""
    for name in ("OPENAI", "AZURE_OPENAI", "VOYAGE", "CO", "GEMINI", "MISTRAL"):
        monkeypatch.delenv(f"{name}_API_KEY", raising=False)
    for name in ("VERTEX_ACCESS_TOKEN", "GOOGLE_CLOUD_PROJECT", "GOOGLE_CLOUD_LOCATION"):
        monkeypatch.delenv(name, raising=False)
