"""Classification: embedtune's maps and head beside frozen vectors and SetFit.

``python benchmarks/classification.py trec6 hint3``, or ``all``. Everything is chosen on the train split
alone, out of fold; the test split is looked at once, with all training items as neighbours. Dev splits
stay unused. ``--few`` adds few-shot learning: as many items of each class, chosen by the seed.
"""

from __future__ import annotations

import argparse
import json
import time
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray
from results import OUT, markdown, number, show, write_json, write_section
from sets import BASE, DATA

from embedtune.data import read
from embedtune.data.dataset import cells
from embedtune.data.duplicates import near_duplicates
from embedtune.encoders import load_encoder
from embedtune.head import fit_head
from embedtune.judging.classified import Classified
from embedtune.judging.compare import randomisation_test
from embedtune.transforms import Identity
from embedtune.tuners import auto
from embedtune.tuners.base import Budget
from embedtune.tuners.items import LabelledItems, few_of_each
from embedtune.tuners.ladder_classification import ladder
from embedtune.types import Transform, Vectors

SETS = ("banking77", "hwu64", "trec6", "hint3", "medical-abstracts", "sst2", "unfair-tos")
SHOTS = (8, 16, 64)
Rows = NDArray[np.int64]


def main() -> None:
    """Run the sets; the table is written anew after every one."""
    options = _options()
    names = list(dict.fromkeys(one for name in options.sets for one in (SETS if name == "all" else [name])))
    done: list[dict[str, Any]] = []
    for name in names:
        path = OUT / "classification" / f"{name}.json"
        known = json.loads(path.read_text("utf-8")) if options.reuse and path.exists() else {}
        result = run(name, options, known, path)
        done.append(result)
        show(name, *_full_table([result]))
        write_section("classification", "Classification", _report(done))


def _options() -> argparse.Namespace:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("sets", nargs="+", help="names of sets, or 'all'")
    parser.add_argument("--base", default=BASE)
    parser.add_argument("--data", type=Path, default=DATA, help="folder with the sets (default: %(default)s)")
    parser.add_argument("--vectors", type=Path, help="folder with SET.npz: vectors by split, made before")
    parser.add_argument("--few", nargs="*", type=int, default=[], metavar="N", help="items of each class")
    parser.add_argument("--setfit", type=int, default=0, metavar="N", help="SetFit on N items of each class")
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--reuse", action="store_true", help="keep what is in out/classification already")
    return parser.parse_args()


def run(name: str, options: argparse.Namespace, known: dict[str, Any], path: Path) -> dict[str, Any]:
    """Measure on one set what is not known yet; each part is written to ``path`` when it is done."""
    asked = ["full", *(f"few {shots}" for shots in options.few), *(["setfit"] if options.setfit else [])]
    if all(part in known for part in asked):
        return known
    train, test, texts = load(name, options)
    result = {"set": name, "n": len(train), "tested": len(test), "base": options.base, **known}
    for part in asked:
        if part in known:
            continue
        if part == "setfit":
            result[part] = _setfit(train, test, texts, options)
            write_json(path, result)
            continue
        some, judged = train, test
        if part != "full":
            rows = few_of_each(train.items, int(part.split()[1]), options.seed)
            some = train.take(rows)
            judged = Classified(test.items, test.groups, some.items)
        result[part] = measure(some, judged, options.seed)
        write_json(path, result)
    return result


def load(name: str, options: argparse.Namespace) -> tuple[Classified, Classified, dict[str, list[str]]]:
    """Give the train and the test split as problems, and their texts."""
    dataset = read(options.data / name)
    split = np.array(cells(dataset.documents, "split"))
    texts, vectors, labels = {}, {}, {}
    made = np.load(options.vectors / f"{name}.npz") if options.vectors else None
    encoder = None if made is not None else load_encoder(options.base)
    for part in ("train", "test"):
        rows = np.flatnonzero(split == part)
        texts[part] = [dataset.document_texts[row] for row in rows]
        labels[part] = [dataset.labels[row] for row in rows]
        vectors[part] = encoder.encode(texts[part]) if encoder else np.asarray(made[part], np.float32)  # type: ignore[index]
    classes = sorted({name for rows in labels.values() for row in rows for name in row})
    items = {part: LabelledItems.of(vectors[part], labels[part], classes=classes) for part in vectors}
    train = Classified(items["train"], near_duplicates(texts["train"]))
    return train, Classified(items["test"], np.arange(len(items["test"])), items["train"]), texts


def measure(train: Classified, test: Classified, seed: int) -> dict[str, Any]:
    """Choose and fit on ``train``, then judge base and choice on ``test``."""
    start = time.process_time()
    name, transform, fitted = choose(train, seed)
    chosen = time.process_time()
    head = fit_head(train, transform, fitted=fitted, seed=seed)
    headed = time.process_time()
    names = [name for name in test.metrics if name != "map"] if len(train) > 5000 else list(test.metrics)
    rows = np.arange(len(test))
    base, tuned = (test.evaluate(t, rows, test.everything, names) for t in (Identity(), transform))
    first = test.metrics[0]
    p = head.predict_proba(_map(transform, test.items.vectors))
    right = test.items.labels[rows, p.argmax(axis=1)].A1 > 0
    gain = tuned[first] - base[first]
    best = np.maximum(base[first].mean(), base[f"logreg_{first}"].mean())
    rival = base[first] if best == base[first].mean() else base[f"logreg_{first}"]
    return {
        "chosen": name,
        "choose_seconds": chosen - start,
        "head_seconds": headed - chosen,
        "base": {metric: float(values.mean()) for metric, values in base.items()},
        "tuned": {metric: float(values.mean()) for metric, values in tuned.items()},
        "head": float(right.mean()),
        "head_temperature": head.temperature,
        "head_error": _calibration_error(p.max(axis=1), right),
        "gain_p": randomisation_test(gain, samples=2000, seed=seed) if gain.any() else 1.0,
        "behind_best_p": _p(tuned[first] - rival, seed),
        "n": len(train),
    }


def choose(problem: Classified, seed: int) -> tuple[str, Transform, list[Transform]]:
    """Let embedtune choose out of fold; give the name, its map of all items, and those of the folds."""
    metric = problem.metrics[0]
    found = auto.choose(problem, ladder=ladder, method="auto", metric=metric, seed=seed, budget=Budget())
    candidate, strength = found.chosen.candidate, found.chosen.strength
    rounds = range(len(found.folded.rounds))
    if candidate is None:
        return "base", Identity(), [Identity() for _ in rounds]
    maps = [found.folded.fitted(candidate, strength, i) for i in rounds]
    return f"{candidate.name} × {strength:g}", found.fit(seed, Budget()), maps


def _map(transform: Transform, x: Vectors) -> Vectors:
    return transform.documents(x)


def _p(difference: NDArray[np.float64], seed: int) -> float | None:
    """P-value of being behind; None where it is not behind."""
    return randomisation_test(difference, samples=2000, seed=seed) if difference.mean() < 0 else None


def _calibration_error(sure: NDArray[np.float64], right: NDArray[np.bool_]) -> float:
    """Expected calibration error over ten equally full bins."""
    bins = np.array_split(np.argsort(sure), 10)
    return float(sum(len(b) * abs(sure[b].mean() - right[b].mean()) for b in bins if len(b)) / len(sure))


def _setfit(
    train: Classified, test: Classified, texts: dict[str, list[str]], options: argparse.Namespace
) -> dict[str, Any]:
    from peers.setfit import fit_predict

    rows = few_of_each(train.items, options.setfit, options.seed)
    start = time.process_time()
    found = fit_predict(
        _model_folder(options.base),
        [texts["train"][row] for row in rows],
        [train.items.names(row)[0] for row in rows],
        texts["test"],
        options.seed,
    )
    right = [label in test.items.names(row) for row, label in enumerate(found)]
    return {
        "shots": options.setfit,
        "accuracy": float(np.mean(right)),
        "seconds": time.process_time() - start,
    }


def _model_folder(base: str) -> str:
    folder = getattr(load_encoder(base), "folder", None)
    return base if folder is None else str(folder)


def _full_table(done: list[dict[str, Any]]) -> tuple[list[str], list[list[str]]]:
    header = [
        "set (train, test)", "kNN frozen", "logreg frozen", "kNN tuned", "logreg tuned", "head", "its ECE",
        "MAP frozen", "MAP tuned", "chosen", "choose s", "head s",
    ]  # fmt: skip
    rows = [_row(f"{r['set']} ({r['n']}, {r['tested']})", r["full"]) for r in done]
    return header, rows


def _row(name: str, m: dict[str, Any]) -> list[str]:
    base, tuned = m["base"], m["tuned"]
    figures = [
        base["accuracy"], base["logreg_accuracy"], tuned["accuracy"], tuned["logreg_accuracy"], m["head"],
        m["head_error"], base.get("map"), tuned.get("map"),
    ]  # fmt: skip
    seconds = [f"{m['choose_seconds']:.1f}", f"{m['head_seconds']:.1f}"]
    return [name, *map(number, figures), m["chosen"], *seconds]


def _report(done: list[dict[str, Any]]) -> str:
    parts = [
        "Accuracy on test. kNN: cosine, 10 neighbours, weighted by distance; logreg: C = 10. ECE: expected "
        "calibration error. Seconds are of one core's time, on vectors that were there.",
        markdown(*_full_table(done)),
    ]
    header = ["set, items of each class", *_full_table(done)[0][1:]]
    few = [
        _row(f"{r['set']}, {key.split()[1]}", m)
        for r in done
        for key, m in r.items()
        if key.startswith("few ")
    ]
    if few:
        parts += ["### Few items of each class", markdown(header, few)]
    peers = [
        [f"{r['set']}, {s['shots']}", number(s["accuracy"]), number(own["head"]),
         number(own["tuned"]["accuracy"]), f"{s['seconds']:.0f}",
         f"{own['choose_seconds'] + own['head_seconds']:.0f}"]
        for r in done
        if (s := r.get("setfit")) and (own := r.get(f"few {s['shots']}"))
    ]  # fmt: skip
    if peers:
        header = ["set, items of each class", "SetFit", "head", "kNN tuned", "SetFit s", "embedtune s"]
        parts += ["### SetFit", markdown(header, peers)]
    return "\n\n".join(parts)


if __name__ == "__main__":
    main()
