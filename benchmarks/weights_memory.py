"""Peak memory of tuning all weights with a batch far too large for it: gradients go through a cache.

A process of its own takes steps of method ``full`` on made-up texts as long as the model reads: queries, a
positive and a hard negative each, all of them in one loss. What a run holds besides is there too: the base's
weights, the best ones, the optimiser's moments. The peak is the kernel's own (``VmHWM``), libraries included.
"""

from __future__ import annotations

import argparse
import os
import tempfile
import time
from pathlib import Path
from typing import Any

import numpy as np
import torch
from memory import _status
from results import OUT, markdown, show, write_json, write_section
from sets import BASE

from embedtune.artifact.probes import uncached
from embedtune.encoders import load_encoder
from embedtune.weights.losses import info_nce
from embedtune.weights.material.base import Step
from embedtune.weights.methods import Full
from embedtune.weights.state import State
from embedtune.weights.step import Memory, gradients
from embedtune.weights.texts import Rows, Texts
from embedtune.weights.transformer import TransformerTower

BAR = 4e9
"""Bytes that the process may take at its peak."""


class Told(TransformerTower):
    """Says now and then how far it is."""

    calls = 0

    def __call__(self, rows: Rows) -> torch.Tensor:
        """Give the vectors of texts."""
        vectors = super().__call__(rows)
        self.calls += 1
        if self.calls % 8 == 0:
            print(f"{self.calls} parts, peak {_peak() / 1e9:.2f} GB", flush=True)
        return vectors


def main() -> None:
    """Take steps, report the peak."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--base", default=BASE)
    parser.add_argument("--batch", type=int, default=256, help="queries a step")
    parser.add_argument("--tokens", type=int, default=256, help="tokens of each text")
    parser.add_argument("--steps", type=int, default=2)
    options = parser.parse_args()
    method = Full(batch=options.batch)
    encoder: Any = uncached(load_encoder(options.base))
    tower = Told(encoder, method, device="cpu")
    tower.model.max_seq_length = options.tokens
    texts = _texts(method.batch * (2 + method.hard), options.tokens)
    with tempfile.TemporaryDirectory() as folder:
        tower.read(texts, Path(folder))
    lengths = tower.tokens.lengths
    state = State(tower, method, None)
    state.keep()
    loaded = _peak()
    gradients(tower, _step(np.arange(3), 1), Memory(1, 0.0))  # so that the optimiser has its moments
    state.advance(1e-9)
    losses, began = [], time.monotonic()
    for number in range(options.steps):
        losses.append(gradients(tower, _step(np.arange(len(texts)), method.batch), state.memory))
        state.advance(method.rate)
        print(f"step {number + 1}: loss {losses[-1]:.3f}, peak {_peak() / 1e9:.2f} GB", flush=True)
    seconds = (time.monotonic() - began) / max(options.steps, 1)
    whole = float(lengths.sum()) * tower.per_token
    header = ["what", "figure"]
    rows = [
        ["texts a step", f"{len(texts)} of {lengths.min()} to {lengths.max()} tokens"],
        ["steps", f"{options.steps}, of {seconds:,.0f} s"],
        ["before the first step", f"{loaded / 1e9:.2f} GB"],
        ["activations of a step in one go, about", f"{whole / 1e9:.0f} GB"],
        [f"peak (bar: {BAR / 1e9:g} GB)", f"{_peak() / 1e9:.2f} GB"],
    ]
    show("memory of method full", header, rows)
    write_json(OUT / "weights_memory.json", {"peak": _peak(), "losses": losses, "rows": rows})
    write_section("weights-memory", "Memory of tuning all weights", markdown(header, rows))


def _texts(count: int, tokens: int) -> Texts:
    rng = np.random.default_rng(0)
    words = np.array(["heart", "lung", "skin", "eye", "pain", "fever", "red", "cold", "high", "low"])
    texts = Texts()
    texts.add([" ".join(rng.choice(words, tokens)) for _ in range(count)])
    return texts


def _step(rows: Rows, queries: int) -> Step:
    asked, every = torch.arange(queries), torch.arange(len(rows) - queries)
    none = torch.empty(0, dtype=torch.int64)

    def loss(vectors: torch.Tensor) -> torch.Tensor:
        documents = vectors[queries:]
        weight = torch.ones(queries)
        return info_nce(vectors[:queries], documents, (asked, every[:queries]), weight, (none, none), 20.0)

    return Step(rows, loss)


def _peak() -> int:
    return _status(os.getpid()).get("VmHWM", 0)


if __name__ == "__main__":
    main()
