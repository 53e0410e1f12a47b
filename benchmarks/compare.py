"""embedtune and its peers, side by side, on named sets.

``python benchmarks/compare.py scifact nl2bash``, or ``all``. See README.md for the protocol.
"""

from __future__ import annotations

import argparse
import time
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray
from peers import BASE as BASE_NAME
from peers import PEERS, TEXT_PEERS
from results import OUT, kept, markdown, number, show, slug, write_section
from sets import BASE, DATA, STRATA, BenchmarkSet, chosen, load_set, without_test
from verdicts import MEANING, agrees

from embedtune import fine_tune
from embedtune.judging.compare import randomisation_test

OURS = "embedtune"
TITLE = "embedtune and its peers"
Scores = NDArray[np.float64]


def main() -> None:
    """Run the comparison; the table is written anew after every set."""
    options = _options()
    done: list[dict[str, Any]] = []
    for name in chosen(options.sets):
        done.append(compare(name, options))
        show(name, *_set_table(done[-1]))
        write_section("compare", TITLE, report(done))
    show("mean over the sets", *_mean_table(done))


def _options() -> argparse.Namespace:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("sets", nargs="+", help="names of sets, or 'all'")
    parser.add_argument("--base", default=BASE, help="'{set}' stands for the name of the set")
    parser.add_argument("--data", type=Path, default=DATA, help="folder with the sets (default: %(default)s)")
    every = [*PEERS, *TEXT_PEERS]
    parser.add_argument("--peers", nargs="*", choices=every, default=[*PEERS], metavar="PEER")
    parser.add_argument("--budget", help="embedtune's time a set; with one, it may tune the weights too")
    parser.add_argument(
        "--with-test", action="store_true", help="let embedtune's verdict, not its choice, see the test split"
    )
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--reuse", action="store_true", help="keep rows that are in out/compare already")
    return parser.parse_args()


def compare(name: str, options: argparse.Namespace) -> dict[str, Any]:
    """Fit and judge every method on one set; all are judged by :meth:`BenchmarkSet.scores`.

    Each (set, method) is written to ``out/compare/`` when it is done, and taken from there if ``reuse``.
    """
    data, folder = load_set(name, options.data, options.base), OUT / "compare" / name
    rows = {
        peer: kept(
            folder / f"{slug(peer)}.json",
            lambda peer=peer: _peer(data, peer, options),  # type: ignore[misc]
            reuse=options.reuse,
        )
        for peer in dict.fromkeys([BASE_NAME, *options.peers])
    }
    ours = kept(folder / f"{OURS}.json", lambda: _ours(data, options), reuse=options.reuse)
    scores = {peer: np.array(row["scores"]) for peer, row in rows.items()}
    seconds = {peer: row["seconds"] for peer, row in rows.items()} | {OURS: ours["seconds"]}
    verdict, candidate = ours["verdict"], np.array(ours["scores"])
    scores[OURS] = candidate if verdict["verdict"] == "tune" else scores[BASE_NAME]
    gains = candidate - scores[BASE_NAME]
    p_value = randomisation_test(gains) if gains.any() else 1.0
    return {
        "set": data.name,
        "base": options.base,
        "seed": options.seed,
        "n": {name: int(members.sum()) for name, members in data.strata.items()},
        "encode_seconds": data.encode_seconds,
        "methods": {name: data.means(found) | {"seconds": seconds[name]} for name, found in scores.items()},
        "against": _against(data, scores),
        "estimate": _estimate(verdict, gains),
        "verdict": verdict,
        "agrees": agrees(verdict["verdict"], float(gains.mean()), p_value),
    }


def _peer(data: BenchmarkSet, name: str, options: argparse.Namespace) -> dict[str, Any]:
    start = time.perf_counter()
    if name in TEXT_PEERS:
        model = str(getattr(data.encoder, "folder", None) or options.base)
        queries, documents = data.dataset.query_texts, data.dataset.document_texts
        encode = TEXT_PEERS[name](model, queries, documents, data.train, options.seed)
        found = data.scores(
            lambda _: encode([queries[r] for r in data.test_rows]), lambda _: encode(documents)
        )
        seconds = time.perf_counter() - start  # its documents have to be encoded anew
    else:
        maps = PEERS[name](data.queries, data.documents, data.train, data.dev, options.seed)
        seconds = time.perf_counter() - start
        found = data.scores(*maps)
    print(f"{data.name}: {name} {found.mean():.4f}, {seconds:.1f} s", flush=True)
    return {"seconds": seconds, "scores": found.round(6).tolist()}


def _ours(data: BenchmarkSet, options: argparse.Namespace) -> dict[str, Any]:
    tuned = fine_tune(
        base_model=data.encoder,
        data=data.dataset if options.with_test else without_test(data.dataset),
        budget=options.budget,
        seed=options.seed,
        force=True,  # so that a map that was refused can be judged too; it is not what is scored
    )
    ids = data.dataset.document_ids
    found = data.scores(tuned.transform.queries, lambda x: tuned.transform.documents(x, ids))
    verdict = tuned.verdict.to_dict()
    seconds = sum(verdict["seconds"].get(stage, 0.0) for stage in ("tune", "judge"))
    return {"seconds": seconds, "scores": found.round(6).tolist(), "verdict": verdict}


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
    header = ["set", "verdict", "agrees", "method", "n (seen) in its verdict"]
    header += [f"{stratum}: over base" for stratum in STRATA]
    header += [f"{stratum}: over best peer" for stratum in STRATA]
    rows = []
    for result in done:
        verdict = result["verdict"]
        shown = verdict["base"]
        row = [result["set"], verdict["verdict"], result["agrees"], str(verdict["method"])]
        row.append(f"{shown['n']} ({shown['n_seen']})")
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


def report(done: list[dict[str, Any]]) -> str:
    base = ", ".join(sorted({result["base"] for result in done}))
    lines = [
        f"Base: {base}. Test nDCG@10; in brackets the number of test queries. *seen*: a relevant document"
        " had a query in the train split. Seconds are of tuning, on cached vectors; encoding is apart.\n"
    ]
    for result in done:
        title = f"### {result['set']}\n\nEncoding (or reading the cache): {result['encode_seconds']:.1f} s.\n"
        lines += [title, markdown(*_set_table(result)), ""]
    lines += [f"### Mean over {len(done)} sets\n", markdown(*_mean_table(done)), ""]
    lines += [
        "### Verdicts, and paired randomisation tests\n",
        f"{MEANING}\n",
        markdown(*_verdict_table(done)),
        "",
    ]
    lines += ["### Is the estimate right?\n", markdown(*_estimate_table(done))]
    return "\n".join(lines)


if __name__ == "__main__":
    main()
