"""A step of ``layers`` beside one of ``full``: the same batches in turn, the median of the ratios."""

from __future__ import annotations

import json
import tempfile
import time
from pathlib import Path
from typing import Any

import numpy as np
import torch
from results import OUT, markdown, write_json
from sets import BASE

from embedtune.collect import collect
from embedtune.data import read
from embedtune.encoders import load_encoder
from embedtune.training.budget import Budget
from embedtune.tuners.ladders import LADDERS
from embedtune.weights.asked import Asked
from embedtune.weights.methods import Full, Layers, Method
from embedtune.weights.step import Memory, gradients
from embedtune.weights.work import material_of, tower_of

BAR = 0.4
FILE = OUT / "weights_steps.json"


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
                began = time.process_time()
                gradients(tower, batches[turn], Memory(4096, 1.5e9))
                optimiser.step()
                optimiser.zero_grad(set_to_none=True)
                if turn:  # the first warms up
                    times.setdefault(name, []).append(time.process_time() - began)
    ratio = float(np.median(np.array(times["layers"]) / np.array(times["full"])))
    write_json(FILE, {"set": options.set, "ratio": ratio, **times})
    print(steps_table())


def steps_table() -> str:
    """Give the figures that were kept last."""
    if not FILE.exists():
        return ""
    found = json.loads(FILE.read_text("utf-8"))
    rows = [[name, f"{np.median(found[name]):.3f}"] for name in ("layers", "full")]
    rows.append([f"layers / full (bar {BAR})", f"{found['ratio']:.2f}"])
    return markdown([f"step of the same batch ({found['set']})", "CPU seconds, median"], rows)


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
