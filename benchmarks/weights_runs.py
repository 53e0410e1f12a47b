"""Weights tuned on a set by force, with adapters on top: choice on held-out rows, one look at test."""

from __future__ import annotations

import json
import shutil
import time
from dataclasses import asdict
from pathlib import Path
from typing import Any

from results import OUT, kept, markdown, number, slug
from sets import BASE, read_set, without_test
from verdicts import agrees, short

from embedtune import evaluate, fine_tune
from embedtune.data import read

HEADER = [
    "set",
    "base, method",
    "held-out: adapters",
    "weights + adapters",
    "chosen",
    "test: base",
    "tuned",
    "gain, p",
    "verdict",
    "agrees",
    "CPU s",
]


def run(part: str, name: str, method: str, options: Any, base: str = BASE) -> dict[str, Any]:
    """Tune weights on a set, and judge on its test split, once; what is kept of an earlier run is reused.

    The verdict is given without a test label; test says what the map gains, shipped or refused.
    """
    words = [name, method] if base == BASE else [name, base, method]
    path = OUT / part / f"{slug(' '.join(words))}.json"

    def make() -> dict[str, Any]:
        found = _tuned(name, options.data, base, method, options.budget, path.with_suffix(""))
        return {"set": name, "method": method, "model": base, **found}

    return kept(path, make, reuse=not options.again)


def _tuned(name: str, data: Path, base: str, method: str, budget: str | None, folder: Path) -> dict[str, Any]:
    """Tune once, and give what came of it; the model is kept in ``folder``."""
    method, _, count = method.partition(":")
    dataset = read_set(name, data)
    known = without_test(dataset) if dataset.task == "retrieval" else read(data / name / "train.jsonl")
    wall, cpu = time.monotonic(), time.process_time()
    tuned = fine_tune(
        base_model=base,
        data=known,
        method=method,
        layers=int(count) if count else None,
        budget=budget,
        force=True,
    )
    wall, cpu = time.monotonic() - wall, time.process_time() - cpu
    result = evaluate(dataset, model=tuned)
    shutil.rmtree(folder, ignore_errors=True)
    tuned.save(folder)
    verdict = tuned.verdict
    if verdict is None:
        raise ValueError("there is no verdict")
    return {
        "decision": verdict.decision,
        "chosen": verdict.method,
        "reasons": verdict.reasons,
        "base": asdict(result.base),
        "tuned": asdict(result.tuned),
        "gain": result.gain,
        "ci95": result.ci95,
        "p_value": result.p_value,
        "candidates": verdict.candidates,
        "seconds": verdict.seconds,
        "wall": wall,
        "cpu": cpu,
    }


def runs_table(part: str) -> str:
    """Give the table of all runs that are kept."""
    files = sorted((OUT / part).glob("*.json"))
    rows = [_row(json.loads(path.read_text("utf-8"))) for path in files]
    return markdown(HEADER, rows) if rows else ""


def climbs_table() -> str:
    """Give the table of the runs of ``auto`` that are kept: what each rung reached."""
    header = ["set", "adapters", "layers", "full", "chosen", "test: base", "tuned", "gain, p", "CPU s"]
    rows = []
    for path in sorted((OUT / "weights-climb").glob("*.json")):
        found = json.loads(path.read_text("utf-8"))
        best: dict[str, float] = {}
        for one in found["candidates"]:
            rung = one["method"].partition(" × ")[0]
            rung = rung if rung in ("layers", "full") else "adapters"
            best[rung] = max(one["score"], best.get(rung, 0.0))
        rows.append(
            [
                found["set"],
                *(number(best.get(rung)) for rung in ("adapters", "layers", "full")),
                found["chosen"],
                *(_strata(found[side]) for side in ("base", "tuned")),
                f"{found['gain']:+.3f}, {found['p_value']:.2g}",
                f"{found['cpu']:.0f}",
            ]
        )
    return markdown(header, rows) if rows else ""


def _row(found: dict[str, Any]) -> list[str]:
    own = f"{found['method'].partition(':')[0]} × "
    best = {
        weights: max(
            (one["score"] for one in found["candidates"] if one["method"].startswith(own) is weights),
            default=None,
        )
        for weights in (True, False)
    }
    base, tuned = (_strata(found[side]) for side in ("base", "tuned"))
    model = "" if found.get("model", BASE) == BASE else f"{found['model']}, "
    return [
        found["set"],
        f"{model}{found['method']}",
        number(best[False]),
        number(best[True]),
        found["chosen"],
        base,
        tuned,
        f"{found['gain']:+.3f}, {found['p_value']:.2g}",
        short(found["decision"]),
        agrees(found["decision"], found["gain"], found["p_value"]),
        f"{found['cpu']:.0f}",
    ]


def _strata(side: dict[str, Any]) -> str:
    """Overall and, where there are both, seen and unseen."""
    seen, unseen = side["seen"], side["unseen"]
    more = "" if seen is None or unseen is None else f" ({number(seen)}, {number(unseen)})"
    return f"{number(side['overall'])}{more}"
