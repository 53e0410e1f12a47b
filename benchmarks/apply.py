"""A map applied to vectors in real stores: speed and memory in Postgres, kills, recall and metric inside.

Parts: ``speed`` (a million rows in pgvector against a plain copy into a new column, index left out of
both), ``kills`` (SIGKILL at random moments, with a reader that never stops), ``recall`` (a labelled set
behind an HNSW index). The servers are started here, in temporary folders.
"""

from __future__ import annotations

import argparse
import json
from collections.abc import Callable
from pathlib import Path

from apply_kills import kills
from apply_postgres import connected, postgres
from apply_speed import speed
from results import OUT, markdown, show, write_json, write_section
from sets import BASE, DATA

from embedtune import fine_tune, stores
from embedtune.artifact.tuned import Tuned
from embedtune.data import read
from embedtune.encoders import load_encoder
from embedtune.transforms import Linear

HEADER = ["what", "figure", "bar"]


def main() -> None:
    """Run the parts that were asked for."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("parts", nargs="*", help=f"any of {', '.join(PARTS)}")
    parser.add_argument("--rows", type=int, default=1_000_000, help="rows of the part speed")
    parser.add_argument("--dimension", type=int, default=384)
    parser.add_argument("--repeats", type=int, default=3, help="of the part speed, interleaved")
    parser.add_argument("--kills", type=int, default=20, help="kills of each store")
    parser.add_argument("--kill", nargs="+", default=["pgvector", "LanceDB", "Chroma"], help="the stores")
    parser.add_argument("--kill-rows", type=int, help="10,000 by default, 4,000 in LanceDB")
    parser.add_argument("--kill-seed", type=int, default=0)
    parser.add_argument("--set", default="scifact", help="the labelled set of the part recall")
    parser.add_argument("--data", type=Path, default=DATA)
    parser.add_argument("--base", default=BASE)
    options = parser.parse_args()
    done = OUT / "apply.json"
    rows = json.loads(done.read_text("utf-8")) if done.exists() else {}
    for name in options.parts or PARTS:
        rows[name] = PARTS[name](options)
        write_json(done, rows)
        show("apply", HEADER, [row for part in PARTS for row in rows.get(part, [])])
    table = [row for part in PARTS for row in rows.get(part, [])]
    write_section("apply", "A map applied inside stores", markdown(HEADER, table))


def recall(options: argparse.Namespace) -> list[list[str]]:
    """Tune a map of both sides on a labelled set, apply it behind an HNSW index, and judge inside."""
    data = read(options.data / options.set)
    encoder = load_encoder(options.base.replace("{set}", options.set))
    vectors = encoder.encode(data.items("document"), kind="document")  # first: the budget is for tuning
    encoder.encode(data.items("query"), kind="query")
    tuned = fine_tune(base_model=encoder, data=data, method="linear", budget="3m", force=True)
    if not stores.applying.moves_documents(tuned.transform):  # the same matrix on both sides: cosines change
        tuned = Tuned(encoder, Linear.shared(tuned.transform.query))
    with postgres() as uri, connected(uri) as connection:
        connection.execute(
            f"create table docs (id text primary key, body text, embedding vector({vectors.shape[1]}))"
        )
        with connection.cursor().copy("copy docs from stdin") as copy:
            for name, row in zip(data.document_ids, vectors, strict=True):
                copy.write_row((name, "", "[" + ",".join(map(repr, row.tolist())) + "]"))
        connection.execute("create index on docs using hnsw (embedding vector_cosine_ops)")
        connection.execute("analyze docs")
        result = stores.apply(tuned, f"{uri}&table=docs&column=embedding", data=data)
    found = result.verified
    assert found is not None
    effort = "its default" if found.effort is None else str(found.effort)
    metric = found.metric
    return [
        [f"{options.set}, {len(vectors):,} documents, HNSW, ef_search {effort}: recall@10",
         f"{found.recall:.3f}", "≥ 0.98"],
        [f"nDCG@10 of the {metric['queries']} test queries: gain inside",
         f"{metric['store'] - metric['base']:+.4f}", ""],
        ["the same gain, exact and offline", f"{metric['offline'] - metric['base']:+.4f}", ""],
        ["the former less the latter, and its 95 % interval (paired bootstrap over the queries)",
         f"{metric['difference']:+.4f} ({metric['difference_low']:+.4f} to {metric['difference_high']:+.4f})",
         "within noise"],
    ]  # fmt: skip


PARTS: dict[str, Callable[[argparse.Namespace], list[list[str]]]] = {
    "speed": speed,
    "kills": kills,
    "recall": recall,
}

if __name__ == "__main__":
    main()
