"""What twice and five times the labels would bring: the forecast beside what they bring.

``python benchmarks/curve.py nl2bash medquad``. A map is chosen and judged on ``--labels`` queries of the
train split, out of fold; the learning curve says what more would bring. Then so many more are drawn, the map
is fitted again at the strength that was chosen, and measured on the test split. In ``--seeds`` draws.
"""

from __future__ import annotations

import argparse
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray
from results import OUT, kept, markdown, show, write_section
from sets import BASE, DATA, METRIC, BenchmarkSet, load_set

from embedtune.collect import collect
from embedtune.judging.labelled import Labelled
from embedtune.training.budget import Budget
from embedtune.tuners import auto
from embedtune.tuners.forecast import forecast
from embedtune.tuners.ladder_retrieval import ladder

TITLE = "What more labels bring"
TIMES = (2, 5)

Rows = NDArray[np.int64]


def main() -> None:
    """Run every set."""
    options = _options()
    done = []
    for name in options.sets:
        path = OUT / "curve" / f"{name}.json"
        done.append(kept(path, lambda name=name: run(name, options), reuse=options.reuse))  # type: ignore[misc]
        write_section("curve", TITLE, report(done, options))


def _options() -> argparse.Namespace:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("sets", nargs="+", help="retrieval sets of --data with five times the labels or more")
    parser.add_argument("--data", type=Path, default=DATA)
    parser.add_argument("--base", default=BASE)
    parser.add_argument("--labels", type=int, default=400)
    parser.add_argument("--seeds", type=int, default=3)
    parser.add_argument("--method", default="ridge", help="a tuner of retrieval (default: ridge)")
    parser.add_argument("--reuse", action="store_true", help="keep sets that are in out/curve already")
    return parser.parse_args()


def run(name: str, options: argparse.Namespace) -> dict[str, Any]:
    """Give forecasts and what was measured, a row a draw and multiple of the labels."""
    loaded = load_set(name, options.data, options.base)
    every = collect(loaded.dataset, loaded.encoder, test="test").train
    assert isinstance(every, Labelled)
    every = replace(every, outside=None)  # no split is set apart: the draws are
    if len(every) < max(TIMES) * options.labels:
        raise SystemExit(f"{name} has {len(every)} training queries; take fewer --labels")
    found = []
    for seed in range(options.seeds):
        rows = np.random.default_rng(seed).permutation(len(every))
        found += _draw(loaded, every, rows, seed, options)
        print(name, found[-len(TIMES) :], flush=True)
    return {"set": name, "rows": found}


def _draw(
    loaded: BenchmarkSet, every: Labelled, rows: Rows, seed: int, options: argparse.Namespace
) -> list[dict[str, Any]]:
    problem = every.take(np.sort(rows[: options.labels])).pooled(seed)
    choice = auto.choose(
        problem, ladder=ladder, method=options.method, metric=METRIC, seed=seed, budget=Budget()
    )
    curve = forecast(choice, labels=options.labels, seed=seed, budget=Budget())
    candidate, strength = choice.shown.candidate, choice.shown.strength
    if curve is None or candidate is None:
        return []
    base = loaded.scores(lambda x: x, lambda x: x).mean()

    def gain(count: int) -> float:
        some = every.take(np.sort(rows[:count]))
        fitted = candidate.final(some.training(some.everything), strength, seed, Budget())
        return float(loaded.scores(fitted.queries, fitted.documents).mean() - base)

    now = gain(options.labels)
    told = []
    for times, one in zip(TIMES, curve.forecasts, strict=True):
        then = gain(times * options.labels)
        told.append(
            {
                "draw": seed,
                "times": times,
                "now": now,
                "gain": one.gain,
                "ci95": list(one.ci95),
                "more": one.more,
                "more_ci95": list(one.more_ci95),
                "gain_test": then,
                "more_test": then - now,
            }
        )
    return told


def report(done: list[dict[str, Any]], options: argparse.Namespace) -> str:
    """A row a forecast, and how many held."""
    header = [
        "set, draw",
        "labels",
        "more, forecast",
        "more, on test",
        "inside",
        "gain, forecast",
        "on test",
        "inside",
    ]
    rows, held = [], {"more": 0, "gain": 0}
    for result in done:
        for one in result["rows"]:
            inside = {what: one[ci][0] <= one[f"{what}_test"] <= one[ci][1]
                      for what, ci in (("more", "more_ci95"), ("gain", "ci95"))}  # fmt: skip
            held = {what: held[what] + inside[what] for what in held}
            cells = [f"{result['set']}, {one['draw']}", f"{one['times']} × {options.labels}"]
            for what, ci in (("more", "more_ci95"), ("gain", "ci95")):
                low, high = one[ci]
                cells += [f"{one[what]:+.3f} ({low:+.3f} to {high:+.3f})", f"{one[f'{what}_test']:+.3f}"]
                cells.append("yes" if inside[what] else "no")
            rows.append(cells)
    show(TITLE, header, rows)
    return (
        f"nDCG@10 of `{options.method}` fitted to {options.labels} queries, its forecast out of fold,"
        " and what was measured on the test split with more queries at the same strength. *more* is what"
        " the verdict says: the gain beyond that of the labels there are.\n\n"
        + markdown(header, rows)
        + f"\n\nInside the 95 % interval: {held['more']} of {len(rows)} for *more*,"
        f" {held['gain']} of {len(rows)} for the gain over the base."
    )


if __name__ == "__main__":
    main()
