"""What is shown before anything is trained."""

from __future__ import annotations

import json

from embedtune.data import read
from embedtune.data.describe import describe


def test_retrieval() -> None:
    rows = [
        {"question": f"q {n}", "answer": f"answer {n}", "split": "train" if n < 5 else "test"}
        for n in range(7)
    ]
    rows.append({"question": "q 0", "answer": "x" * 200, "split": "train"})
    about = describe(read(rows))
    assert about.task == "retrieval"
    assert about.counts == {"queries": 7, "documents": 8, "judgements": 8}
    assert about.splits == {"train": {"queries": 5, "positives": 6}, "test": {"queries": 2, "positives": 2}}
    assert about.roles == {"query": "question", "positive": "answer", "split": "split"}
    # of the five train queries the first, the middle (5 // 2 = 2) and the last
    assert [row.text for row in about.examples] == ["q 0", "q 2", "q 4"]
    assert about.examples[0].targets == ["answer 0", "x" * 99 + "…"]
    assert "  query: question\n" in str(about)
    assert "  q 2\n    → answer 2\n" in str(about)
    assert json.loads(json.dumps(about.to_dict()))["examples"][2]["targets"] == ["answer 4"]


def test_classification_with_fewer_rows_than_are_shown() -> None:
    about = describe(read([{"text": "a\nb", "label": ["x", "y"]}, {"text": "c", "label": []}]))
    assert about.counts == {"texts": 2, "labels": 2}
    assert about.splits == {"train": {"texts": 2}}
    assert [(row.text, row.targets) for row in about.examples] == [("a b", ["x", "y"]), ("c", [])]
    assert str(about).endswith("  a b\n    → x\n    → y\n  c\n    → (none)")
