"""Encoding without torch, beside ``SentenceTransformer.encode`` in float32 with its defaults (batches of 32).

Interleaved runs on one thread each, in CPU time of the process, so that other work on the machine counts
little; medians, and the ratio of each run. Tokenising counts on both sides. Texts are runs of words of public
licence texts (``--words``), or made-up words where there are none: ``short`` has 5 to 35 words (20 on
average, mixed), ``long`` 150 to 250. int8 is calibrated on other texts of the same kinds.

``python benchmarks/encoding.py`` takes a few minutes.
"""

# ruff: noqa: E402 - the number of threads is set before anything reads it

from __future__ import annotations

import argparse
import os

for _name in ("OMP_NUM_THREADS", "OPENBLAS_NUM_THREADS", "MKL_NUM_THREADS"):
    os.environ[_name] = "1"
os.environ.setdefault("TOKENIZERS_PARALLELISM", "false")

import tempfile
import time
from collections.abc import Callable
from pathlib import Path
from statistics import median
from typing import Any

import numpy as np
from results import OUT, markdown, show, write_json, write_section

from embedtune.encoders import load_encoder
from embedtune.encoders.engines.table import offered
from embedtune.errors import EmbedtuneError
from embedtune.exporting import export_model

BASE = "all-MiniLM-L6-v2"
KINDS = {"short": (5, 35), "long": (150, 250)}
BARS = {"short": 3.0, "long": 2.5}
HEADER = [
    "engine",
    "texts",
    "CPU ms a text",
    "torch",
    "times faster",
    "of each run",
    "cosine, least",
    "alone, least",
]
Run = Callable[[list[str]], Any]


def main() -> None:
    """Time every engine on both kinds of texts."""
    options = _options()
    words = _words(options.words)
    rng = np.random.default_rng(0)
    counts = {"short": options.short, "long": options.long}
    texts = {kind: _cut(rng, words, counts[kind], *KINDS[kind]) for kind in KINDS}
    others = [*_cut(rng, words, 90, *KINDS["short"]), *_cut(rng, words, 30, *KINDS["long"])]
    with tempfile.TemporaryDirectory() as folder:
        engines = _engines(Path(folder), others)
        rows, report = [], []
        for kind, those in texts.items():
            for found in _timed(kind, those, engines, options.repeats):
                report.append(found)
                rows.append(_row(found))
                show("encoding", HEADER, rows)
    write_json(OUT / "encoding.json", report)
    bars = ", ".join(f"{bar:g} on {kind}" for kind, bar in BARS.items())
    about = (
        "`SentenceTransformer.encode` in float32 with its defaults against each engine: interleaved runs of "
        "one process, one thread, CPU time (the machine had other work), medians. `cosine` is to torch's "
        "vectors, `alone` is of a text by itself to the same text in its batch; the least over all texts. "
        f"Bars: {bars} times faster, at a cosine of 0.99, independent of the batch.\n\n"
    )
    write_section("encoding", "Encoding without torch", about + markdown(HEADER, rows))


def _options() -> argparse.Namespace:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--repeats", type=int, default=3)
    parser.add_argument("--short", type=int, default=192, help="short texts")
    parser.add_argument("--long", type=int, default=32, help="long texts")
    parser.add_argument("--words", type=Path, default=Path("/usr/share/common-licenses"))
    return parser.parse_args()


def _words(folder: Path) -> list[str]:
    """Give the words of public licences; made-up ones where there are none."""
    if folder.is_dir():
        files = sorted(path for path in folder.iterdir() if path.is_file() and not path.is_symlink())
        return " ".join(path.read_text("utf-8", errors="ignore") for path in files).split()
    rng = np.random.default_rng(1)
    syllables = np.array(["ba", "de", "ki", "lo", "mu", "na", "pe", "ri", "so", "tu", "va", "we"])
    return ["".join(rng.choice(syllables, rng.integers(1, 4))) for _ in range(20_000)]


def _cut(rng: np.random.Generator, words: list[str], count: int, least: int, most: int) -> list[str]:
    sizes = rng.integers(least, most + 1, count)
    starts = rng.integers(0, len(words) - most, count)
    return [" ".join(words[start : start + size]) for start, size in zip(starts, sizes, strict=True)]


def _engines(folder: Path, others: list[str]) -> dict[str, Any]:
    """Open torch, every engine that there is, and an int8 export if it is not refused."""
    from sentence_transformers import SentenceTransformer

    base: Any = load_encoder(BASE, cache=False)
    model = SentenceTransformer(str(base.folder), device="cpu")
    opened: dict[str, Any] = {"torch": model}
    opened |= {name: load_encoder(BASE, engine=name, cache=False) for name in offered() if name != "torch"}
    try:
        export_model(BASE, folder / "int8", format="openvino", int8=others)
        opened["openvino, int8 export"] = load_encoder(folder / "int8", cache=False)
    except EmbedtuneError as error:
        print(error)
    return opened


def _timed(kind: str, texts: list[str], engines: dict[str, Any], repeats: int) -> list[dict[str, Any]]:
    expected = engines["torch"].encode(texts)
    vectors = {name: np.asarray(engine.encode(texts)) for name, engine in engines.items()}  # warm up, too
    alone = {
        name: np.concatenate([engine.encode([text]) for text in texts[:32]])
        for name, engine in engines.items()
    }
    seconds: dict[str, list[float]] = {name: [] for name in engines}
    for _ in range(repeats):
        for name, engine in engines.items():
            started = time.process_time()
            engine.encode(texts)
            seconds[name].append(time.process_time() - started)
    torch = seconds["torch"]
    return [
        {
            "engine": name,
            "kind": kind,
            "texts": len(texts),
            "ms": 1000 * median(spent) / len(texts),
            "torch_ms": 1000 * median(torch) / len(texts),
            "ratios": [one / other for one, other in zip(torch, spent, strict=True)],
            "cosine": float((vectors[name] * expected).sum(axis=1).min()),
            "alone": float((vectors[name][:32] * alone[name]).sum(axis=1).min()),
        }
        for name, spent in seconds.items()
        if name != "torch"
    ]


def _row(found: dict[str, Any]) -> list[str]:
    ratio = found["torch_ms"] / found["ms"]
    reached = ratio >= BARS[found["kind"]] and found["cosine"] >= 0.99 and found["alone"] >= 0.9999
    return [
        found["engine"],
        f"{found['texts']} {found['kind']}",
        f"{found['ms']:.2f}",
        f"{found['torch_ms']:.2f}",
        f"**{ratio:.2f}**" if reached else f"{ratio:.2f}",
        " ".join(f"{one:.2f}" for one in sorted(found["ratios"])),
        f"{found['cosine']:.5f}",
        f"{found['alone']:.5f}",
    ]


if __name__ == "__main__":
    main()
