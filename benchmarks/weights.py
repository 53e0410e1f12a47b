"""Tuned weights: what a step of ``layers`` costs beside a full one, and what weights bring on a set.

The step's bar is .4 of a full step of the same batch, with two of six layers trained. Times of both are
taken in turn, so that what else the machine does falls on both; the median of the ratios counts.
"""

from __future__ import annotations

import argparse
import tempfile
import time
from pathlib import Path
from typing import Any

import numpy as np
import torch
from results import OUT, markdown, write_json, write_section
from sets import BASE, DATA

from embedtune import fine_tune
from embedtune.collect import collect
from embedtune.data import read
from embedtune.encoders import load_encoder
from embedtune.tuners.base import Budget
from embedtune.tuners.ladders import LADDERS
from embedtune.weights.methods import Full, Layers, Method
from embedtune.weights.reach import Asked
from embedtune.weights.step import Memory, gradients
from embedtune.weights.work import material_of, tower_of

BAR = 0.4


def main() -> None:
    """Measure steps, and sets where any are named."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--data", type=Path, default=DATA, help="where the sets are")
    parser.add_argument("--set", default="abt-buy", help="the set whose batches are timed")
    parser.add_argument("--rows", type=int, default=16, help="queries a step")
    parser.add_argument("--repeats", type=int, default=5)
    parser.add_argument("--quality", nargs="*", default=[], help="sets that weights are tuned on")
    parser.add_argument("--method", default="layers")
    parser.add_argument("--no-steps", action="store_true", help="time no steps")
    options = parser.parse_args()
    if not options.no_steps:
        steps(options)
    header = ["set", "base", "adapters alone (held-out)", "weights + adapters (held-out)", "test", "seconds"]
    rows = [quality(options.data / name, options.method) for name in options.quality]
    if rows:
        table = markdown(header, rows)
        print(table)
        write_section("weights", "Tuned weights", table)
        write_json(OUT / "weights.json", [dict(zip(header, row, strict=True)) for row in rows])


def steps(options: Any) -> None:
    """Time steps of both kinds on the same batches, in turn."""
    torch.set_num_threads(1)
    dataset, encoder = read(options.data / options.set), load_encoder(BASE)
    found = collect(dataset, encoder, test="test")
    ladder = LADDERS[dataset.task]
    asked = Asked(
        dataset, encoder, found, found.train.pooled(0), ladder, found.metrics[0], "test", 0, Budget()
    )
    round_ = asked.pool.hold_out(0.2, 800, 0)
    times: dict[str, list[float]] = {}
    with tempfile.TemporaryDirectory() as folder:
        towers: dict[str, tuple[Any, Any, list[Any]]] = {}
        for method in (Layers(layers=2, batch=options.rows), Full(batch=options.rows)):
            towers[method.name] = _ready(method, asked, round_, Path(folder), options.repeats + 1)
        for turn in range(options.repeats + 1):
            for name, (tower, optimiser, batches) in towers.items():
                began = time.perf_counter()
                gradients(tower, batches[turn], Memory(4096, 1.5e9))
                optimiser.step()
                optimiser.zero_grad(set_to_none=True)
                if turn:  # the first warms up
                    times.setdefault(name, []).append(time.perf_counter() - began)
    ratio = float(np.median(np.array(times["layers"]) / np.array(times["full"])))
    rows = [[name, f"{np.median(values):.3f} s"] for name, values in times.items()]
    rows.append([f"layers / full (bar {BAR})", f"{ratio:.2f}"])
    table = markdown(["step of the same batch", "median"], rows)
    print(table)
    write_json(OUT / "weights_steps.json", {"ratio": ratio, **times})


def _ready(method: Method, asked: Asked, round_: Any, folder: Path, count: int) -> tuple[Any, Any, list[Any]]:
    material, tower = material_of(method, asked, round_), tower_of(method, asked.encoder)
    made = [make() for make in material.steps(0)[:count]]
    used = np.unique(np.concatenate([step.rows for step in made]))
    _only(material.texts, used)
    tower.read(material.texts, folder)
    optimiser = torch.optim.AdamW(tower.trained().values(), lr=1e-9)
    return tower, optimiser, made


def _only(texts: Any, used: Any) -> None:
    """Empty the texts that no timed step has, so that nothing is computed for them."""
    kept = set(used.tolist())
    texts.items = [(p, text if row in kept else "") for row, (p, text) in enumerate(texts.items)]


def quality(folder: Path, method: str) -> list[str]:
    """Tune weights on a set, and judge on its test split, once."""
    began = time.monotonic()
    verdict = fine_tune(base_model=BASE, data=read(folder), method=method).verdict
    label = f"{method} ×"
    best = {
        weights: max(
            (c["score"] for c in verdict.candidates if c["method"].startswith(label) is weights), default=0
        )
        for weights in (True, False)
    }
    return [
        folder.name,
        f"{verdict.base.overall:.3f}",
        f"{best[False]:.3f}",
        f"{best[True]:.3f} ({verdict.method})",
        f"{verdict.tuned.overall:.3f} ({verdict.decision})",
        f"{time.monotonic() - began:.0f}",
    ]


if __name__ == "__main__":
    main()
