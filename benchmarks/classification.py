"""Classes of texts and images: embedtune's maps and head beside frozen vectors and SetFit.

``python benchmarks/classification.py trec6 clothing-small``, or ``texts``, ``images``, ``all``. Everything is
chosen on the train split alone, out of fold, and the verdict is given without a test label; the test split is
looked at once, with all training items as neighbours. Dev splits stay unused. ``--few`` adds few-shot
learning: as many items of each class, in ``--subsets`` subsets drawn by the seed.
"""

from __future__ import annotations

import argparse
import json
import time
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from class_tables import report, set_table
from numpy.typing import NDArray
from results import OUT, show, write_json, write_section
from sets import BASE, CLASS_SETS, DATA, IMAGE_BASE, IMAGE_SETS
from verdicts import agrees, verdict_of

from embedtune.collect import Collected, collect
from embedtune.data import Dataset, read
from embedtune.data.dataset import cells
from embedtune.encoders import load_encoder
from embedtune.judging.classified import Classified
from embedtune.judging.compare import randomisation_test
from embedtune.judging.verdict import FEWEST
from embedtune.steps.decision import classifier
from embedtune.training.budget import Budget
from embedtune.training.items import few_of_each
from embedtune.transforms import Identity
from embedtune.tuners import auto
from embedtune.tuners.ladder_classification import ladder
from embedtune.types import Transform

TITLE = "Classification, texts and images"
GROUPS = {"texts": CLASS_SETS, "images": IMAGE_SETS, "all": (*CLASS_SETS, *IMAGE_SETS)}
MANY = 5000
"""Training items beyond which mean average precision, which sorts them all for each item, is left out."""


@dataclass(frozen=True)
class ClassSet:
    """A set of labelled texts or images with the base's vectors."""

    name: str
    base: str
    dataset: Dataset
    train: Classified
    """The items of the train split alone."""
    test: Classified
    train_texts: list[str]
    test_texts: list[str]

    def few(self, per_class: int, seed: int) -> ClassSet:
        """Keep so many training items of each class."""
        rows = few_of_each(self.train.items, per_class, seed)
        some = self.train.take(rows)
        reference = None if self.test.unseen else some.items
        test = Classified(self.test.items, self.test.groups, reference, self.test.unseen)
        texts = [self.train_texts[row] for row in rows]
        return ClassSet(self.name, self.base, self.dataset, some, test, texts, self.test_texts)


def main() -> None:
    """Run the sets; the tables are written anew after every one."""
    options = _options()
    names = list(dict.fromkeys(one for name in options.sets for one in GROUPS.get(name, [name])))
    done: list[dict[str, Any]] = []
    for name in names:
        done.append(run(name, options))
        show(name, *set_table(done[-1:]))
        write_section("classification", TITLE, report(done))


def _options() -> argparse.Namespace:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("sets", nargs="+", help="names of sets, 'texts', 'images' or 'all'")
    parser.add_argument("--base", default=BASE)
    parser.add_argument("--image-base", default=IMAGE_BASE)
    parser.add_argument("--data", type=Path, default=DATA, help="folder with the sets (default: %(default)s)")
    parser.add_argument("--few", nargs="*", type=int, default=[], metavar="N", help="items of each class")
    parser.add_argument("--only-few", action="store_true", help="leave out the whole train split")
    parser.add_argument("--subsets", type=int, default=3, help="subsets for each N (default: %(default)s)")
    parser.add_argument(
        "--setfit", nargs="*", default=[], metavar="N", help="SetFit on N of each class, or 'full'"
    )
    parser.add_argument(
        "--setfit-pairs",
        type=int,
        default=20,
        help="pairs of either kind a text, where all are too many (default: 20, as in the paper)",
    )
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--reuse", action="store_true", help="keep what is in out/classification already")
    return parser.parse_args()


def run(name: str, options: argparse.Namespace) -> dict[str, Any]:
    """Measure on one set what is not known yet; each part is written to ``out/`` when it is done."""
    path = OUT / "classification" / f"{name.replace('/', '-')}.json"
    known = json.loads(path.read_text("utf-8")) if options.reuse and path.exists() else {}
    few = [
        f"few {n} {seed}" for n in options.few for seed in range(options.seed, options.seed + options.subsets)
    ]
    setfit = [] if name in IMAGE_SETS else [f"setfit {n}" for n in options.setfit]
    full = [] if options.only_few else ["full"]
    missing = [part for part in (*full, *few, *setfit) if part not in known]
    if not missing:
        return dict(known)
    data = load(name, options)
    result = known | {"set": name, "n": len(data.train), "tested": len(data.test), "base": data.base}
    for part in missing:
        kind, *rest = part.split()
        if kind == "setfit":
            few_asked = data if rest[0] == "full" else data.few(int(rest[0]), options.seed)
            result[part] = setfit_on(few_asked, options.seed, options.setfit_pairs)
        else:
            some = data if kind == "full" else data.few(*map(int, rest))
            result[part] = measure(some, options.seed)
        write_json(path, result)
        print(f"{name}: {part} done", flush=True)
    return result


def load(name: str, options: argparse.Namespace) -> ClassSet:
    """Read and encode a set; vectors that are in embedtune's cache are taken from there."""
    dataset = read(options.data / name)
    base = options.image_base if name in IMAGE_SETS else options.base
    found = collect(dataset, load_encoder(base), test="test")
    split = np.array([one for one in cells(dataset.documents, "split") if one != "test"])
    rows = np.flatnonzero(split == "train")
    train, test = found.train.take(rows), found.test
    assert isinstance(train, Classified)
    assert isinstance(test, Classified)
    test = Classified(test.items, test.groups, None if test.unseen else train.items, test.unseen)
    texts = [found.train_texts[row] for row in rows]
    return ClassSet(name, base, dataset, train, test, texts, found.test_texts)


def measure(data: ClassSet, seed: int) -> dict[str, Any]:
    """Choose, judge and fit on the training items, then look at the test items once."""
    train, test, metric = data.train, data.test, data.train.metrics[0]
    start, wall = time.process_time(), time.perf_counter()
    method = "auto" if len(train) >= FEWEST else "identity"  # as fine_tune does
    found = auto.choose(train, ladder=ladder, method=method, metric=metric, seed=seed, budget=Budget())
    shown = found.fit(seed, Budget())
    verdict = verdict_of(data.dataset, train, found, shown, metric, seed)
    kept = verdict.decision == "tune"
    collected = Collected(train, data.train_texts, len(train), train.metrics)
    shipped = shown if kept else Identity()
    head = classifier(collected, found if kept else None, shipped, seed)
    seconds, wall = time.process_time() - start, time.perf_counter() - wall
    chosen: Transform = Identity() if found.chosen.candidate is None else shown
    rows = np.arange(len(test))
    names = [name for name in test.metrics if name != "map" or len(train) <= MANY]
    base = test.evaluate(Identity(), rows, test.everything, names)
    about = test.evaluate(shown, rows, test.everything, names)
    tuned = base if isinstance(chosen, Identity) else about
    gain = about[metric] - base[metric]
    p_value = p_of(gain, seed)
    result: dict[str, Any] = {
        "method": verdict.method,
        "strength": verdict.strength,
        "base_chosen": found.chosen.candidate is None,
        "decision": verdict.decision,
        "estimate": verdict.out_of_fold,
        "seconds": seconds,
        "wall": wall,
        "n": len(train),
        "base": {name: float(values.mean()) for name, values in base.items()},
        "tuned": {name: float(values.mean()) for name, values in tuned.items()},
        "gain": float(gain.mean()),
        "gain_p": p_value,
        "agrees": agrees(verdict.decision, float(gain.mean()), p_value),
        "knn": {"frozen": _kept(base[metric]), "tuned": _kept(tuned[metric])},
    }
    if head is not None:
        p = head.predict_proba(shipped.documents(test.items.vectors))
        right = test.items.labels[rows, p.argmax(axis=1)].A1 > 0
        result |= {
            "head": float(right.mean()),
            "head_kind": type(head.scorer).__name__.lower(),
            "head_error": _calibration_error(p.max(axis=1), right),
        }
        result["knn"] |= {"head": _kept(right), "logreg": _kept(base[f"logreg_{metric}"])}
    return result


def setfit_on(data: ClassSet, seed: int, pairs: int) -> dict[str, Any]:
    """Tune the base by SetFit on the training texts and predict the test texts."""
    from peers.setfit import fit_predict, takes_all_pairs

    train, test = data.train.items, data.test.items
    folder = getattr(load_encoder(data.base), "folder", None)
    start = time.process_time()
    labels = [train.names(row)[0] for row in range(len(train))]
    found = fit_predict(str(folder or data.base), data.train_texts, labels, data.test_texts, seed, pairs)
    seconds = time.process_time() - start
    right = [label in test.names(row) for row, label in enumerate(found)]
    return {
        "n": len(train),
        "pairs": None if takes_all_pairs(labels) else pairs,
        "accuracy": float(np.mean(right)),
        "seconds": seconds,
        "right": _kept(right),
    }


def p_of(difference: NDArray[np.float64], seed: int) -> float:
    """Two-sided p-value of a paired difference; 1 where there is none."""
    return randomisation_test(difference, samples=2000, seed=seed) if difference.any() else 1.0


def _kept(values: NDArray[Any]) -> list[float]:
    return np.round(np.asarray(values, np.float64), 3).tolist()


def _calibration_error(sure: NDArray[np.float64], right: NDArray[np.bool_]) -> float:
    """Expected calibration error over ten equally full bins."""
    bins = np.array_split(np.argsort(sure), 10)
    return float(sum(len(b) * abs(sure[b].mean() - right[b].mean()) for b in bins if len(b)) / len(sure))


if __name__ == "__main__":
    main()
