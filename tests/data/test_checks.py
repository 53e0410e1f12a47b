"""Each check on data made to have what it finds."""

from __future__ import annotations

import json
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from numpy.typing import NDArray

from embedtune.data import check, read
from embedtune.data.checks.finding import Finding, plural

WORDS = [f"{a}{b}{c}" for a in "bdfglm" for b in "aeio" for c in "nrst"]


def clean(count: int = 60, **more: Any) -> list[dict[str, Any]]:
    """Give pairs in which there is nothing to find."""
    return [
        {"query": f"{WORDS[n]} q{n}", "positive": f"{WORDS[n]} document d{n}", **more} for n in range(count)
    ]


def find(rows: Any, code: str, **options: Any) -> Finding:
    found = {finding.code: finding for finding in check(rows, **options)}
    assert code in found, f"found only {list(found)}"
    json.dumps(found[code].to_dict())
    assert len(found[code].examples) <= 3
    assert found[code].remedy
    return found[code]


def places(finding: Finding) -> list[tuple[str, int]]:
    return [(example.file, example.line) for example in finding.examples]


def test_clean_data_gives_no_finding() -> None:
    assert check(clean()) == []


def test_empty_documents(tmp_path: Path) -> None:
    (tmp_path / "qrels").mkdir()
    corpus = '{"_id": "c1", "text": "x"}\n{"_id": "c2", "title": "", "text": " "}\n'
    (tmp_path / "corpus.jsonl").write_text(corpus, "utf-8")
    (tmp_path / "queries.jsonl").write_text('{"_id": "a", "text": "sore throat"}\n', "utf-8")
    (tmp_path / "qrels" / "train.tsv").write_text("a\tc1\t1\n", "utf-8")
    finding = find(tmp_path, "empty-documents")
    assert (finding.severity, finding.count) == ("warning", 1)
    assert places(finding) == [(str(tmp_path / "corpus.jsonl"), 2)]


def test_duplicate_documents_and_queries() -> None:
    rows = [row | {"query_id": n, "document_id": n} for n, row in enumerate(clean())]
    rows[3]["positive"] = rows[1]["positive"] + " "
    rows[5]["query"] = rows[2]["query"]
    documents, queries = find(rows, "duplicate-documents"), find(rows, "duplicate-queries")
    assert (documents.count, places(documents)) == (1, [("data", 4)])
    assert (queries.count, places(queries)) == (1, [("data", 6)])
    assert queries.message == "1 query with the same text as an earlier one"


def test_duplicate_texts_of_classification() -> None:
    rows = [
        {"text": "refund", "label": "x"},
        {"text": "hello", "label": "y"},
        {"text": "refund", "label": "x"},
    ]
    assert places(find(rows, "duplicate-texts")) == [("data", 3)]


def test_same_query_in_two_splits() -> None:
    rows = clean(split="train")
    rows += [{"query": rows[0]["query"].upper(), "positive": "other", "split": "test"}]
    rows += [{"query": rows[1]["query"], "positive": "another", "split": "test"}]  # one query, two splits
    finding = find(rows, "same-text-in-splits")
    assert finding.severity == "error"
    assert finding.count == 3  # rows 1 and 61 are two queries of the same words; row 2 is one query in both
    assert places(finding) == [("data", 1), ("data", 2), ("data", 61)]


def test_near_duplicates_across_splits_only() -> None:
    rows = clean(split="train")
    rows[0]["query"] = "why does my left knee hurt at night"
    rows[1]["query"] = "Why does my left knee hurt at night then?"  # near, but in the same split
    assert "near-duplicates-in-splits" not in [finding.code for finding in check(rows)]
    rows.append({"query": "why does my left knee hurt at night, please", "positive": "x", "split": "test"})
    finding = find(rows, "near-duplicates-in-splits")
    assert (finding.severity, finding.count) == ("warning", 3)
    assert places(finding) == [("data", 1), ("data", 2), ("data", 61)]
    rows[-1]["query"] = "WHY does my left knee hurt at night"  # the same words are the other finding's
    assert find(rows, "near-duplicates-in-splits").count == 1
    assert find(rows, "same-text-in-splits").count == 2


def test_near_duplicates_across_splits_of_classification() -> None:
    texts = (
        "my card has not arrived in the post",
        "my card has not arrived in the post yet",
        "top up failed",
    )
    rows = [
        {"text": t, "label": "x", "split": s} for t, s in zip(texts, ("train", "test", "test"), strict=True)
    ]
    assert find(rows, "near-duplicates-in-splits").count == 2


def test_missing_ids_and_other_problems_of_reading(tmp_path: Path) -> None:
    (tmp_path / "qrels").mkdir()
    (tmp_path / "corpus.jsonl").write_text('{"_id": "c1", "text": "x"}\n', "utf-8")
    (tmp_path / "queries.jsonl").write_text('{"_id": "a", "text": "sore throat"}\n', "utf-8")
    lines = ["a\tc1\t1"] + [f"a\tmissing{n}\t1" for n in range(5)]
    (tmp_path / "qrels" / "train.tsv").write_text("\n".join(lines), "utf-8")
    (tmp_path / "qrels" / "test.tsv").write_text("query-id\tcorpus-id\tscore\n", "utf-8")
    finding = find(tmp_path, "missing-ids")
    assert (finding.severity, finding.count) == ("error", 5)
    assert finding.message == "5 judgements name ids that do not exist"
    assert [example.line for example in finding.examples] == [2, 3, 4]
    assert finding.examples[0].text == "document id 'missing0' does not exist"
    assert finding.remedy == "add it to corpus.jsonl, or remove the line"
    assert find(tmp_path, "empty-splits").examples[0].file.endswith("test.tsv")
    lenient = read(tmp_path, strict=False)
    assert [f.code for f in check(lenient)] == [f.code for f in check(tmp_path)]


def test_rows_without_positive_or_label() -> None:
    assert places(find([*clean(), {"query": "x", "positive": None}], "no-positive")) == [("data", 61)]
    rows = [{"text": "a", "label": "x"}, {"text": "b", "label": None}]
    assert find(rows, "no-label").message == "1 text has no label"


def test_split_in_which_nothing_is_relevant() -> None:
    rows = [row | {"score": 1, "split": "train"} for row in clean()]
    rows.append({"query": "x", "positive": "y", "score": 0, "split": "dev"})
    assert find(rows, "empty-splits").message == "1 split without a relevant document: dev"


def test_contradicting_judgements() -> None:
    rows = [row | {"negative": None} for row in clean()]
    rows[7]["negative"] = rows[7]["positive"]
    finding = find(rows, "contradicting-judgements")
    assert (finding.severity, finding.count, places(finding)) == ("error", 1, [("data", 8)])
    assert finding.examples[0].text == f"{rows[7]['query']} → {rows[7]['positive']}"


def test_contradicting_labels() -> None:
    rows = [
        {"text": "Refund ", "label": "a"},
        {"text": "hello", "label": "b"},
        {"text": "refund", "label": "c"},
    ]
    rows += [
        {"text": "bye", "label": ["a", "b"]},
        {"text": "bye", "label": ["b", "a"]},
    ]  # order does not count
    finding = find(rows, "contradicting-labels")
    assert (finding.count, places(finding)) == (2, [("data", 1), ("data", 3)])


class Reader:
    """An encoder that counts words and reads four of them."""

    name, max_tokens, content = "reader", 4, "text"

    def count_tokens(self, texts: Sequence[str]) -> NDArray[np.int64]:
        return np.array([len(text.split()) for text in texts], np.int64)


def test_documents_longer_than_the_model_reads() -> None:
    rows = clean()  # 60 documents of 3 words
    rows[2]["positive"] = "one two three four five six"  # 2 lost
    rows[4]["positive"] = " ".join("w" * n for n in range(1, 27))  # 22 lost
    finding = find(rows, "long-documents", encoder=Reader())
    # tokens: 58 * 3 + 6 + 26 = 206, of which 24 are lost = 11.7 %; 2 of 60 documents = 3.3 %
    assert finding.message == (
        "2 documents (3.3%) longer than the 4 tokens that reader reads: 24 of 206 tokens (11.7%) are lost"
    )
    assert finding.severity == "warning"
    assert [example.line for example in finding.examples] == [5, 3]  # the longest first
    assert check(clean(), encoder=Reader()) == []  # type: ignore[arg-type]


@pytest.mark.parametrize(("count", "severity"), [(9, "error"), (10, "warning"), (49, "warning")])
def test_too_few_labels(count: int, severity: str) -> None:
    finding = find(clean(count), "few-labels")
    assert (finding.severity, finding.count) == (severity, count)
    assert places(finding) == [("data", 1), ("data", 2), ("data", 3)]


def test_labels_of_the_test_split_are_not_for_learning() -> None:
    rows = clean(60)
    for n, row in enumerate(rows):
        row["split"] = "test" if n < 20 else "train"
    learn, test = find(rows, "few-labels"), find(rows, "few-test-labels")
    assert (learn.count, places(learn)[0]) == (40, ("data", 21))
    assert (test.count, places(test)[0]) == (20, ("data", 1))


def test_rare_and_single_labels() -> None:
    rows = [{"text": f"{WORDS[n]} {n}", "label": "common"} for n in range(60)]
    assert find(rows, "single-label").severity == "error"
    rows += [{"text": "odd one", "label": "rare"}]
    finding = find(rows, "rare-labels")
    assert finding.message == "1 label of 2 with fewer than 5 texts: rare"
    assert places(finding) == [("data", 61)]


def test_labels_on_few_documents() -> None:
    rows = clean()
    for n, row in enumerate(rows):
        row["positive"] = f"document {min(n % 12, 5)}"
    # documents 0 to 4 have 5 queries each, document 5 the other 35: 35 + 4 * 5 = 55 of 60 = 92 %
    finding = find(rows, "concentrated-labels")
    assert finding.count == 55
    assert finding.message == (
        "55 of 60 judgements (92%) lie on 5 documents; 6 of 6 documents are relevant to any query"
    )
    assert finding.examples[0].text == "document 5"


def test_few_judgements_are_not_called_concentrated() -> None:
    assert "concentrated-labels" not in [finding.code for finding in check(clean(6))]


def test_query_equal_to_its_document() -> None:
    rows = clean()
    rows[3]["query"] = rows[3]["positive"].upper() + "?"
    rows[4]["query"] = rows[5]["positive"]  # another query's document: not the same thing
    finding = find(rows, "query-equals-document")
    assert (finding.count, places(finding)) == (1, [("data", 4)])
    assert finding.message.startswith("1 query (1.7%) with the same words")  # 1 / 60


def test_queries_judged_only_negatively_or_not_at_all(tmp_path: Path) -> None:
    rows = [row | {"score": 1} for row in clean()]
    rows.append({"query": "x", "positive": "y", "score": 0})
    assert places(find(rows, "only-negatives")) == [("data", 61)]
    (tmp_path / "corpus.jsonl").write_text('{"_id": "c", "text": "x"}\n', "utf-8")
    (tmp_path / "queries.jsonl").write_text('{"_id": "a", "text": "q"}\n{"_id": "b", "text": "r"}\n', "utf-8")
    (tmp_path / "qrels.tsv").write_text("a\tc\t1\n", "utf-8")
    finding = find(tmp_path, "unjudged-queries")
    assert (finding.severity, finding.count) == ("info", 1)


def test_errors_come_first() -> None:
    severities = [finding.severity for finding in check([*clean(5), {"query": "x", "positive": "X"}])]
    assert severities == sorted(severities, key=["error", "warning", "info"].index)
    assert len(set(severities)) > 1


def test_counted_nouns() -> None:
    assert [plural(1, "query"), plural(2000, "query"), plural(2, "text")] == [
        "1 query",
        "2,000 queries",
        "2 texts",
    ]
