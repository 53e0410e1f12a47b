"""Scores from files: by text or id, whatever the format; and what is wrong is told with its place."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from teacher_world import LABELLED, QUERIES, World, write

from embedtune import fine_tune
from embedtune.data import read
from embedtune.errors import DataError
from embedtune.teachers.scores_file import ScoresFile

ROWS = [("query 0", "document 1", 0.5), ("query 0", "document 2", 3), ("query 7", "document 0", -1.0)]


def scored(path: Path, world: World) -> list[tuple[int, int, float]]:
    dataset = read(str(world.folder))
    found = ScoresFile(path).score(dataset, np.arange(QUERIES), lambda rows, k: rows)
    return [*zip(found.query.tolist(), found.document.tolist(), found.score.tolist(), strict=True)]


@pytest.mark.parametrize("ending", ["jsonl", "csv", "tsv", "parquet"])
def test_every_format_gives_the_same_scores(ending: str, world: World, tmp_path: Path) -> None:
    path = tmp_path / f"scores.{ending}"
    names = ("query", "document", "score")
    if ending == "jsonl":
        write(path, [dict(zip(names, row, strict=True)) for row in ROWS])
    elif ending == "parquet":
        columns = [list(column) for column in zip(*ROWS, strict=True)]
        columns[2] = [float(score) for score in columns[2]]
        pq.write_table(pa.table(dict(zip(names, columns, strict=True))), path)
    else:
        between = {"csv": ",", "tsv": "\t"}[ending]
        path.write_text("".join(between.join(map(str, row)) + "\n" for row in [names, *ROWS]))
    assert scored(path, world) == [(0, 2, 3.0), (0, 1, 0.5), (7, 0, -1.0)]


def test_ids_serve_too_and_the_first_of_a_pair_counts(world: World, tmp_path: Path) -> None:
    path = tmp_path / "scores.csv"
    path.write_text("query-id,corpus-id,score\nq3,d4,1\nq3,d4,2\nq5,d0,9\n")
    assert scored(path, world) == [(3, 4, 1.0), (5, 0, 9.0)]
    path.write_text("query,docid,score\nq3,d4,1\n")  # a column 'query' may hold ids
    assert scored(path, world) == [(3, 4, 1.0)]


@pytest.mark.parametrize(
    ("text", "said"),
    [
        ("query,document\nquery 0,document 1\n", ":2: no column of the score; columns seen: query, do"),
        ("document,score\ndocument 1,2\n", ":2: no column of the query; columns seen: document,"),
        ("query,document,score\nquery 0,document 1,\n", ":2, column 'score': the score is missing"),
        ("query,document,score\nquery 0,document 1,1\nquery 0,document 2,high\n", ":3, column 'score': 'hi"),
        ("query,document,score\nquery 0,document 1,nan\n", ":2, column 'score': the score is nan; w"),
        ("query,document,score\n,document 1,1\n", ":2, column 'query': the query is empty"),
        ("query,document,score\nquery 0,document 999,1\n", ":2: the data has no document with the te"),
        ("qid,docid,score\nq999,d1,1\n", ":2: the data has no query with the id 'q999'; write it as"),
        ("query,document,score\n", ": there are no scores; add a row for each pair"),
    ],
)  # fmt: skip
def test_what_is_wrong_is_told_with_its_place(text: str, said: str, world: World, tmp_path: Path) -> None:
    path = tmp_path / "scores.csv"
    path.write_text(text)
    with pytest.raises(DataError) as caught:
        scored(path, world)
    assert str(caught.value).startswith(f"{path}{said}")
    assert "\n" not in str(caught.value)


def test_a_file_that_is_not_there_or_of_another_kind(tmp_path: Path) -> None:
    with pytest.raises(DataError, match="there is no such file"):
        ScoresFile(tmp_path / "scores.jsonl")
    with pytest.raises(DataError, match="xlsx' is not known"):
        ScoresFile(tmp_path / "scores.xlsx")


def test_a_file_improves_held_out_real_queries(world: World, tmp_path: Path) -> None:
    """Texts that only the file has are queries too; the true document has the highest score."""
    rng = np.random.default_rng(0)
    rows = []
    for query in range(LABELLED, QUERIES - 100):
        for document in {int(world.truth[query]), *rng.integers(0, 100, 3).tolist()}:
            score = 10.0 + rng.random() if document == world.truth[query] else 4 * rng.random()
            rows.append({"query_id": f"q{query}", "doc_id": f"d{document}", "score": score})
    for query in range(LABELLED):  # some of those with labels, so that it can be seen how good the file is
        rows += [{"query_id": f"q{query}", "doc_id": f"d{document}", "score": 5.0} for document in (0, 1)]
        rows.append({"query_id": f"q{query}", "doc_id": f"d{world.truth[query]}", "score": 9.0})
    path = write(tmp_path / "scores.jsonl", rows)
    plain = fine_tune(base_model=world.base, data=str(world.folder), method="linear")
    tuned = fine_tune(base_model=world.base, data=str(world.folder), teacher=path, method="linear")
    assert tuned.verdict.tuned.overall > plain.verdict.tuned.overall + 0.05
    assert list(tuned.verdict.seconds) == ["read", "teach", "encode", "tune", "judge"]
    assert tuned.verdict.made["by"].startswith("teacher scores.jsonl (file of scores; right first for 100%")
