"""What other libraries keep their datasets in: Hugging Face, Vertex AI, LlamaIndex, MTEB."""

from __future__ import annotations

import json
from pathlib import Path
from types import SimpleNamespace

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from embedtune.data import read
from embedtune.errors import DataError

PAIRS = {"query": ["sore throat", "runny nose", "ache"], "positive": ["Pharyngitis", "Rhinitis", "Pain"]}


def labelled():
    datasets = pytest.importorskip("datasets")
    features = datasets.Features(
        {"text": datasets.Value("string"), "label": datasets.ClassLabel(names=["ill", "well"])}
    )
    return datasets.Dataset.from_dict({"text": ["a", "b", "c", "d"], "label": [0, 1, 1, 0]}, features)


def saved(dataset, folder: Path) -> Path:
    datasets = pytest.importorskip("datasets")
    datasets.disable_progress_bars()
    dataset.save_to_disk(str(folder))
    return folder


def test_a_dataset_keeps_the_order_of_its_index_and_the_names_of_its_labels() -> None:
    data = read(labelled().select([3, 1]))
    assert data.document_texts == ["d", "b"]
    assert data.labels == [["ill"], ["well"]]


def test_a_dict_gives_the_splits(tmp_path: Path) -> None:
    datasets = pytest.importorskip("datasets")
    rows = labelled()
    whole = datasets.DatasetDict({"test": rows.select([0]), "validation": rows.select([1]), "train": rows})
    for data in (read(whole), read(saved(whole, tmp_path / "saved"))):
        assert data.splits == ("train", "dev", "test")
        splits = dict(zip(data.document_texts, data.documents["split"].to_pylist(), strict=True))
        assert len(data.documents) == 6
        assert splits["d"] == "train"
        assert data.labels[:4] == [["ill"], ["well"], ["well"], ["ill"]]


def test_a_saved_dataset_is_read_as_the_one_in_memory(tmp_path: Path) -> None:
    datasets = pytest.importorskip("datasets")
    dataset = datasets.Dataset.from_dict(PAIRS)
    there, here = read(saved(dataset, tmp_path / "saved")), read(dataset)
    assert there.task == here.task == "retrieval"
    assert there.fingerprint == here.fingerprint


def test_lists_of_class_labels_and_missing_labels() -> None:
    datasets = pytest.importorskip("datasets")
    kinds = datasets.Features(
        {"text": datasets.Value("string"), "label": datasets.List(datasets.ClassLabel(names=["x", "y"]))}
    )
    several = datasets.Dataset.from_dict({"text": ["a", "b"], "label": [[0, 1], []]}, kinds)
    assert read(several).labels == [["x", "y"], []]
    none = datasets.Dataset.from_dict({"text": ["a", "b"], "label": [1, -1]}, labelled().features)
    assert read(none, strict=False).labels == [["well"]]
    with pytest.raises(DataError, match="the label"):
        read(none)


def test_a_damaged_saved_folder_is_named(tmp_path: Path) -> None:
    folder = saved(labelled(), tmp_path / "saved")
    next(folder.glob("*.arrow")).write_bytes(b"nothing")
    with pytest.raises(DataError, match="not a readable Arrow file"):
        read(folder)
    (folder / "state.json").write_text("{", "utf-8")
    with pytest.raises(DataError, match="missing or damaged"):
        read(folder)


def test_an_index_beside_saved_data_is_refused(tmp_path: Path) -> None:
    folder = saved(labelled(), tmp_path / "saved")
    state = json.loads((folder / "state.json").read_text("utf-8"))
    state["_indices_data_files"] = [{"filename": "indices.arrow"}]
    (folder / "state.json").write_text(json.dumps(state), "utf-8")
    with pytest.raises(DataError, match="flatten_indices"):
        read(folder)


CORPUS = [{"_id": "1", "title": "Flu", "text": "A virus."}, {"_id": "2", "text": "Cold"}]
QUERIES = [{"_id": "q", "text": "fever"}, {"_id": "r", "text": "sneeze"}]


def folder_of(folder: Path, **files: str) -> Path:
    folder.mkdir()
    for name, rows in (("corpus", CORPUS), ("queries", QUERIES)):
        (folder / f"{name}.jsonl").write_text("".join(json.dumps(row) + "\n" for row in rows), "utf-8")
    for name, text in files.items():
        (folder / f"{name}.tsv").write_text(text, "utf-8")
    return folder


def test_vertex_folders(tmp_path: Path) -> None:
    header = "query-id\tcorpus-id\tscore\n"
    data = read(
        folder_of(
            tmp_path / "v",
            train=header + "q\t1\t2\nq\t2\t-1\n",
            validation="query-id\tcorpus-id\nr\t2\n",  # the score may be left out
            test=header + "r\t2\t1\n",
        )
    )
    assert data.splits == ("train", "dev", "test")
    assert data.document_texts == ["Flu A virus.", "Cold"]
    np.testing.assert_array_equal(data.relevance(["train"]).toarray(), [[2, 0], [0, 0]])
    np.testing.assert_array_equal(data.negatives(["train"]).toarray(), [[0, 1], [0, 0]])
    np.testing.assert_array_equal(data.relevance(["dev"]).toarray(), [[0, 0], [0, 1]])
    assert data.roles["judgements"] == "train.tsv, dev.tsv, test.tsv".replace("dev", "validation")


def test_a_corpus_without_any_labels_still_says_what_is_missing(tmp_path: Path) -> None:
    with pytest.raises(DataError, match="there are no judgements"):
        read(folder_of(tmp_path / "v"))


def test_graded_qrels_of_mteb_as_parquet(tmp_path: Path) -> None:
    for name, rows in (
        (
            "corpus/corpus-00000-of-00001",
            [{"id": row["_id"], "title": row.get("title", ""), "text": row["text"]} for row in CORPUS],
        ),
        ("queries/queries-00000-of-00001", [{"id": row["_id"], "text": row["text"]} for row in QUERIES]),
        (
            "qrels/test-00000-of-00001",
            [
                {"query-id": "q", "corpus-id": "1", "score": 2},
                {"query-id": "q", "corpus-id": "2", "score": 0},
                {"query-id": "r", "corpus-id": "2", "score": 1},
            ],
        ),
    ):
        path = tmp_path / f"{name}.parquet"
        path.parent.mkdir(exist_ok=True)
        pq.write_table(pa.Table.from_pylist(rows), path)
    data = read(tmp_path)
    assert data.splits == ("test",)
    assert data.document_texts == ["Flu A virus.", "Cold"]
    np.testing.assert_array_equal(data.relevance().toarray(), [[2, 0], [0, 1]])
    np.testing.assert_array_equal(data.negatives().toarray(), [[0, 1], [0, 0]])


def test_qrels_as_jsonl_without_their_columns_are_named(tmp_path: Path) -> None:
    folder = folder_of(tmp_path / "m")
    (folder / "qrels").mkdir()
    (folder / "qrels" / "test.jsonl").write_text('{"query-id": "q", "doc": "1"}\n', "utf-8")
    with pytest.raises(DataError, match=r"test\.jsonl:1: a column is missing; columns seen: query-id, doc"):
        read(folder)


LLAMA = {
    "queries": {"q1": "fever", "q2": "sneeze"},
    "corpus": {"d1": "Influenza", "d2": "Common cold"},
    "relevant_docs": {"q1": ["d1"], "q2": ["d2", "d1"]},
    "mode": "text",
}


@pytest.mark.parametrize("indent", [None, 4])
def test_llama_index_in_a_file_in_a_mapping_and_as_the_object(tmp_path: Path, indent: int | None) -> None:
    path = tmp_path / "train.json"
    path.write_text(json.dumps(LLAMA, indent=indent), "utf-8")
    for source in (path, LLAMA, SimpleNamespace(**LLAMA)):
        data = read(source)
        assert data.query_ids == ["q1", "q2"]
        assert data.document_texts == ["Influenza", "Common cold"]
        np.testing.assert_array_equal(data.relevance().toarray(), [[1, 0], [1, 1]])


def test_a_json_list_of_rows_is_still_a_list_of_rows(tmp_path: Path) -> None:
    path = tmp_path / "rows.json"
    path.write_text(json.dumps([{"query": "queries", "positive": "corpus"}]), "utf-8")
    assert read(path).query_texts == ["queries"]


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"relevant_docs": {"q1": ["d9"]}}, "document id 'd9' does not exist"),
        ({"relevant_docs": {"q9": ["d1"]}}, "query id 'q9' does not exist"),
        ({"relevant_docs": {"q1": []}}, "query 'q1' has no positive"),
        ({"relevant_docs": {"q1": "d1"}}, "no list"),
        ({"queries": {"q1": " "}}, "query 'q1' is empty"),
        ({"corpus": {"d1": 3}}, "3 is of type int, not text"),
        ({"corpus": []}, "'corpus' is missing, or no mapping"),
    ],
)
def test_what_is_wrong_in_a_llama_index_dataset_is_named(tmp_path: Path, change, message: str) -> None:
    path = tmp_path / "train.json"
    path.write_text(json.dumps(LLAMA | change), "utf-8")
    with pytest.raises(DataError) as caught:
        read(path)
    assert message in str(caught.value)
    assert str(path) in str(caught.value)


def test_a_lenient_reading_of_llama_index_leaves_out_and_tells() -> None:
    data = read(LLAMA | {"relevant_docs": {"q1": ["d1", "d9"], "q9": ["d1"]}}, strict=False)
    assert [problem.code for problem in data.problems] == ["missing-ids", "missing-ids"]
    assert data.relevance().nnz == 1


texts = st.text(st.characters(exclude_categories=("Cs",)), min_size=1).filter(lambda text: bool(text.strip()))


@settings(suppress_health_check=[HealthCheck.function_scoped_fixture], max_examples=30, deadline=None)
@given(rows=st.lists(st.tuples(texts, texts), min_size=1, max_size=5))
def test_any_texts_survive_the_ways_through_json(tmp_path: Path, rows) -> None:
    corpus = {f"d{n}": positive for n, (_, positive) in enumerate(rows)}
    queries = {f"q{n}": query for n, (query, _) in enumerate(rows)}
    path = tmp_path / "any.json"
    content = {
        "queries": queries,
        "corpus": corpus,
        "relevant_docs": {f"q{n}": [f"d{n}"] for n in range(len(rows))},
    }
    path.write_text(json.dumps(content), "utf-8")
    data = read(path)
    assert data.query_texts == list(queries.values())
    assert data.document_texts == list(corpus.values())
