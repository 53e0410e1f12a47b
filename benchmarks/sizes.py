"""Smaller vectors: the tuned map of each set, then half, quarter and eighth of its dimensions, and codes.

The tuned map is kept in ``out/sizes``, with those of the folds, as choosing it takes most of the time;
``--fresh`` chooses it again. Settings and sizes are chosen out of fold; the test split is scored once.
"""

from __future__ import annotations

import argparse
import json
import time
from pathlib import Path

from results import OUT, markdown, number, show, write_json, write_section
from sets import BASE, DATA, METRIC, read_set

from embedtune.collect import Collected, collect
from embedtune.encoders import load_encoder
from embedtune.judging.folded import Folded
from embedtune.sizes import Size, choose_size
from embedtune.training.budget import Budget
from embedtune.transforms import Chain, Identity, load_transform, save_transform
from embedtune.tuners.auto import choose
from embedtune.tuners.ladders import LADDERS
from embedtune.types import Transform

SEED = 0
BAR = 0.98
"""Share of the full tuned score that a quarter of the dimensions in int8 must keep."""


def main() -> None:
    """Run the sets that are named."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("sets", nargs="*", default=["scifact", "demo"])
    parser.add_argument("--data", type=Path, default=DATA)
    parser.add_argument("--base", default=BASE)
    parser.add_argument("--fresh", action="store_true", help="choose the tuned maps again")
    asked = parser.parse_args()
    body = [section(name, asked.data, asked.base, fresh=asked.fresh) for name in asked.sets]
    write_section("sizes", "Smaller vectors", "\n\n".join([INTRODUCTION, *body]))


INTRODUCTION = (
    "One document's vector in bytes, and what it keeps of the full tuned vectors' nDCG@10: out of fold, "
    "where sizes are chosen, and on the test split, scored once. Queries stay float32. Fewer dimensions are "
    "a learned projection, one matrix a side, after the tuning. *within noise*: keeps 98 % out of fold, with "
    f"no significant loss overall or in a stratum. The bar: {BAR:.0%} on test for a quarter of the "
    "dimensions in int8, 16 times smaller."
)


def section(name: str, data: Path, base: str, *, fresh: bool) -> str:
    """Judge one set, print its table and give it as markdown."""
    dataset = read_set(name, data)
    found = collect(dataset, load_encoder(base), test="test", progress=None)
    folded = Folded(found.train.pooled(SEED), metric=METRIC, seed=SEED)
    maps, shipped, method = tuned_maps(name, found, fresh=fresh)
    start = time.perf_counter()
    _, sizes = choose_size(
        found, folded, maps, shipped, dims="auto", most_bytes=None, seed=SEED, budget=Budget()
    )
    seconds = time.perf_counter() - start
    write_json(OUT / "sizes" / f"{name}.json", [one.to_dict() for one in sizes])
    header = ["vectors", "bytes", "smaller by", "out of fold", "share", "test", "share", "within noise"]
    rows = [row(one, sizes[0].bytes) for one in sizes]
    show(name, header, rows)
    bar = next(one for one in sizes if one.kind == "int8" and one.dims == sizes[0].dims // 4)
    kept = bar.test_share or 0.0
    verdict = f"{bar.dims} × int8 keeps {kept:.1%} on test: bar {'met' if kept >= BAR else 'missed'}."
    return (
        f"### {name}\n\nTuned by {method}. {verdict} All sizes together took {seconds:.0f} s.\n\n"
        f"{markdown(header, rows)}"
    )


def row(one: Size, full: int) -> list[str]:
    """Give a row of the table."""
    within = "chosen" if one.chosen else "yes" if one.within_noise else "no"
    return [
        f"{one.dims} × {one.kind}",
        f"{one.bytes:,}",
        f"{full / one.bytes:g}",
        number(one.score),
        f"{one.share_of_full:.1%}",
        number(one.test),
        f"{one.test_share:.1%}" if one.test_share is not None else "–",
        within,
    ]


def tuned_maps(name: str, found: Collected, *, fresh: bool) -> tuple[list[Transform], Transform, str]:
    """Give what each fold has fitted of the chosen map, the map itself, and its name."""
    folder = OUT / "sizes" / name
    index = folder / "maps.json"
    if index.is_file() and not fresh:
        kept = json.loads(index.read_text("utf-8"))
        maps = [_loaded(entries, folder) for entries in kept["maps"]]
        return maps[:-1], maps[-1], kept["method"]
    choice = choose(
        found.train.pooled(SEED),
        ladder=LADDERS["retrieval"],
        method="auto",
        metric=METRIC,
        seed=SEED,
        budget=Budget(),
    )
    shown, rounds = choice.chosen, range(len(choice.folded.rounds))
    maps: list[Transform] = [Identity() for _ in rounds]
    if shown.candidate is not None:
        maps = [choice.folded.fitted(shown.candidate, shown.strength, i) for i in rounds]
    shipped = choice.fit(SEED, Budget()) if shown.candidate is not None else Identity()
    method = f"{shown.name} × {shown.strength:g}"
    keep_maps(folder, [*maps, shipped], method)
    return maps, shipped, method


def keep_maps(folder: Path, maps: list[Transform], method: str) -> None:
    """Write the folds' maps, and the shipped one last."""
    folder.mkdir(parents=True, exist_ok=True)
    entries = [
        [
            save_transform(part, folder, f"{i}-{j}")
            for j, part in enumerate(one.parts if isinstance(one, Chain) else (one,))
        ]
        for i, one in enumerate(maps)
    ]
    write_json(folder / "maps.json", {"method": method, "maps": entries})


def _loaded(entries: list[dict], folder: Path) -> Transform:
    parts = [load_transform(entry, folder) for entry in entries]
    return parts[0] if len(parts) == 1 else Chain(tuple(parts))


if __name__ == "__main__":
    main()
