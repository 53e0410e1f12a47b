"""embedtune and its peers, side by side, on named sets.

``python benchmarks/compare.py scifact nl2bash``, or ``all``. See README.md for the protocol.
"""

from __future__ import annotations

import argparse
import json
import time
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray
from peers import BASE as BASE_NAME
from peers import PEERS
from results import OUT, markdown, number, show, write_json, write_section
from sets import BASE, DATA, STRATA, BenchmarkSet, chosen, load_set, without_test

from embedtune import fine_tune
from embedtune.judging.compare import randomisation_test

OURS = "embedtune"
Scores = NDArray[np.float64]


def main() -> None:
    """Run the comparison; the table is written anew after every set."""
    options = _options()
    done: list[dict[str, Any]] = []
    for name in chosen(options.sets):
        path = OUT / "compare" / f"{name}.json"
        if options.reuse and path.exists():
            result = json.loads(path.read_text("utf-8"))
        else:
            result = compare(load_set(name, options.data, options.base), options)
            write_json(path, result)
        done.append(result)
        show(name, *_set_table(result))
        write_section("compare", "embedtune and its peers", _report(done))
    write_json(OUT / "compare.json", done)
    show("mean over the sets", *_mean_table(done))


def _options() -> argparse.Namespace:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("sets", nargs="+", help="names of sets, or 'all'")
    parser.add_argument("--base", default=BASE, help="'{set}' stands for the name of the set")
    parser.add_argument("--data", type=Path, default=DATA, help="folder with the sets (default: %(default)s)")
    parser.add_argument("--peers", nargs="*", choices=[*PEERS], default=[*PEERS], metavar="PEER")
    parser.add_argument("--budget", default="10m", help="embedtune's time budget a set")
    parser.add_argument(
        "--with-test", action="store_true", help="let embedtune's verdict, not its choice, see the test split"
    )
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--reuse", action="store_true", help="take sets that are in out/compare from there")
    return parser.parse_args()


def compare(data: BenchmarkSet, options: argparse.Namespace) -> dict[str, Any]:
    """Fit and judge every method on one set; all are judged by :meth:`BenchmarkSet.scores`."""
    scores: dict[str, Scores] = {}
    seconds: dict[str, float] = {}
    for name in dict.fromkeys([BASE_NAME, *options.peers]):
        start = time.perf_counter()
        maps = PEERS[name](data.queries, data.documents, data.train, data.dev, options.seed)
        seconds[name] = time.perf_counter() - start
        scores[name] = data.scores(*maps)
        print(f"{data.name}: {name} {scores[name].mean():.4f}, {seconds[name]:.1f} s", flush=True)
    tuned = fine_tune(
        base_model=data.encoder,
        data=data.dataset if options.with_test else without_test(data.dataset),
        budget=options.budget,
        seed=options.seed,
        force=True,  # so that a map that was refused can be judged too; it is not what is scored below
    )
    ids = data.dataset.document_ids
    candidate = data.scores(tuned.transform.queries, lambda x: tuned.transform.documents(x, ids))
    verdict = tuned.verdict.to_dict()
    scores[OURS] = candidate if verdict["verdict"] == "tune" else scores[BASE_NAME]
    seconds[OURS] = sum(verdict["seconds"].get(stage, 0.0) for stage in ("tune", "judge"))
    return {
        "set": data.name,
        "base": options.base,
        "seed": options.seed,
        "n": {name: int(members.sum()) for name, members in data.strata.items()},
        "encode_seconds": data.encode_seconds,
        "methods": {name: data.means(found) | {"seconds": seconds[name]} for name, found in scores.items()},
        "against": _against(data, scores),
        "estimate": _estimate(verdict, candidate - scores[BASE_NAME]),
        "verdict": verdict,
        "scores": {name: found.round(6).tolist() for name, found in scores.items()},
    }


def _against(data: BenchmarkSet, scores: dict[str, Scores]) -> dict[str, Any]:
    """Paired tests of embedtune, in each stratum, against the base and the stratum's best peer."""
    out: dict[str, Any] = {}
    for stratum, members in data.strata.items():
        if not members.any():
            continue
        rivals = {name: found[members] for name, found in scores.items() if name not in (OURS, BASE_NAME)}
        best = max(rivals, key=lambda name: rivals[name].mean(), default=BASE_NAME)
        out[stratum] = {"best_peer": best}
        for label, rival in (("base", BASE_NAME), ("best_peer", best)):
            differences = scores[OURS][members] - scores[rival][members]
            out[stratum][f"gain_over_{label}"] = float(differences.mean())
            out[stratum][f"p_{label}"] = randomisation_test(differences)
    return out


def _estimate(verdict: dict[str, Any], gains: Scores) -> dict[str, Any] | None:
    """The corrected out-of-fold gain beside the gain on the test split, of the same map.

    Where the verdict is not to tune, both are of the map that was refused.
    """
    guess = verdict.get("out_of_fold") or verdict
    if guess.get("ci95") is None:
        return None
    gain = float(gains.mean())
    low, high = guess["ci95"]
    difference = float(guess["gain"] - gain)
    return {
        "gain": guess["gain"],
        "ci95": [low, high],
        "test_gain": gain,
        "difference": difference,
        "test_gain_inside": low <= gain <= high,
        "within_half_width": abs(difference) <= (high - low) / 2,
    }


# --- tables --------------------------------------------------------------------------


def _set_table(result: dict[str, Any]) -> tuple[list[str], list[list[str]]]:
    header = ["method", *(f"{stratum} ({result['n'][stratum]})" for stratum in STRATA), "seconds"]
    rows = [
        [name, *(number(found[stratum]) for stratum in STRATA), f"{found['seconds']:.1f}"]
        for name, found in result["methods"].items()
    ]
    return header, rows


def _mean_table(done: list[dict[str, Any]]) -> tuple[list[str], list[list[str]]]:
    """Means over sets; a stratum's mean is over the sets that have it. Only methods run on every set."""
    names = [name for name in done[0]["methods"] if all(name in result["methods"] for result in done)]
    rows = []
    for name in names:
        found = [[result["methods"][name][stratum] for result in done] for stratum in STRATA]
        means = [[value for value in values if value is not None] for values in found]
        rows.append([name, *(number(float(np.mean(values)) if values else None) for values in means)])
    return ["method", *STRATA], rows


def _verdict_table(done: list[dict[str, Any]]) -> tuple[list[str], list[list[str]]]:
    header = ["set", "verdict", "method", "n (seen) in its verdict"]
    header += [f"{stratum}: over base" for stratum in STRATA]
    header += [f"{stratum}: over best peer" for stratum in STRATA]
    rows = []
    for result in done:
        verdict = result["verdict"]
        shown = verdict["base"]
        row = [result["set"], verdict["verdict"], str(verdict["method"]), f"{shown['n']} ({shown['n_seen']})"]
        row += [_tested(result, stratum, "base") for stratum in STRATA]
        rows.append(row + [_tested(result, stratum, "best_peer") for stratum in STRATA])
    return header, rows


def _tested(result: dict[str, Any], stratum: str, rival: str) -> str:
    found = result["against"].get(stratum)
    if found is None:
        return "–"
    name = f" {found['best_peer']}" if rival == "best_peer" else ""
    return f"{found[f'gain_over_{rival}']:+.3f}{name}, p {found[f'p_{rival}']:.3g}"


def _estimate_table(done: list[dict[str, Any]]) -> tuple[list[str], list[list[str]]]:
    header = ["set", "corrected out-of-fold gain", "95 % interval", "gain on test", "difference"]
    header += ["test gain inside", "difference within half its width"]
    rows = []
    for result in done:
        found = result["estimate"]
        if found is None:
            rows.append([result["set"], *["–"] * 6])
            continue
        interval = f"{found['ci95'][0]:+.3f} to {found['ci95'][1]:+.3f}"
        row = [result["set"], f"{found['gain']:+.3f}", interval, f"{found['test_gain']:+.3f}"]
        yes = ["yes" if found[name] else "no" for name in ("test_gain_inside", "within_half_width")]
        rows.append([*row, f"{found['difference']:+.3f}", *yes])
    return header, rows


def _report(done: list[dict[str, Any]]) -> str:
    base = ", ".join(sorted({result["base"] for result in done}))
    lines = [
        f"Base: {base}. Test nDCG@10; in brackets the number of test queries. *seen*: a relevant document"
        " had a query in the train split. Seconds are of tuning, on cached vectors; encoding is apart.\n"
    ]
    for result in done:
        title = f"### {result['set']}\n\nEncoding (or reading the cache): {result['encode_seconds']:.1f} s.\n"
        lines += [title, markdown(*_set_table(result)), ""]
    lines += [f"### Mean over {len(done)} sets\n", markdown(*_mean_table(done)), ""]
    lines += ["### Verdicts, and paired randomisation tests\n", markdown(*_verdict_table(done)), ""]
    lines += ["### Is the estimate right?\n", markdown(*_estimate_table(done))]
    return "\n".join(lines)


if __name__ == "__main__":
    main()
