"""Labels that are likely wrong, and near-duplicates that disagree."""

from __future__ import annotations

import numpy as np
import pytest

from embedtune.data import check, read
from embedtune.data.checks import label_errors as checked
from embedtune.data.checks.finding import Finding
from embedtune.data.checks.label_errors import likely_label_errors, near_duplicates_with_other_labels

WORDS = {"pay": ["card", "bank", "money", "transfer"], "sky": ["rain", "cloud", "wind", "storm"]}


class Bags:
    """An encoder of word counts, unit length."""

    name, similarity, fingerprint, max_tokens, content = "bags", "cosine", "bags", None, "text"
    vocabulary = (*WORDS["pay"], *WORDS["sky"], "other")
    dimension = len(vocabulary)

    def encode(self, items, *, kind="document"):
        x = np.array([[text.split().count(word) for word in self.vocabulary] for text in items], np.float32)
        x[:, -1] = 0.5
        return x / np.linalg.norm(x, axis=1, keepdims=True)

    def count_tokens(self, texts):
        return None


def rows(n: int = 60) -> list[dict]:
    rng = np.random.default_rng(0)
    made = []
    for i in range(n):
        label = ["pay", "sky"][i % 2]
        made.append({"text": " ".join([*rng.choice(WORDS[label], 3), f"n{i}", f"m{i}"]), "label": label})
    return made


def found(data: list[dict]) -> list[Finding]:
    return list(likely_label_errors(read(data), Bags()))


def test_labels_that_were_turned_round_are_found() -> None:
    pytest.importorskip("cleanlab")
    data = rows()
    for row in (4, 17):
        data[row]["label"] = {"pay": "sky", "sky": "pay"}[data[row]["label"]]
    (finding,) = found(data)
    assert (finding.code, finding.severity, finding.count) == ("label-errors", "warning", 2)
    assert {example.line for example in finding.examples} == {5, 18}
    assert "labelled 'sky'; likelier 'pay'" in "".join(example.text for example in finding.examples)
    assert "2 labels of 60 (3.3%) likely wrong" in finding.message


def test_good_labels_are_left_alone() -> None:
    pytest.importorskip("cleanlab")
    assert found(rows()) == []


def test_several_labels_a_text() -> None:
    pytest.importorskip("cleanlab")
    data = rows()
    for row in data:
        row["label"] = [row["label"], "any"]
    data[4]["label"] = ["sky", "any"]
    (finding,) = found(data)
    assert finding.examples[0].line == 5


@pytest.mark.parametrize("label", ["pay", "rare"])
def test_one_class_and_rare_classes_are_not_doubted(label) -> None:
    pytest.importorskip("cleanlab")
    data = [{"text": f"card {i}", "label": "pay"} for i in range(20)]
    data += [{"text": f"rain {i}", "label": label} for i in range(4)]
    assert found(data) == []


def test_without_cleanlab_it_says_how_to_get_it(monkeypatch) -> None:
    monkeypatch.setattr(checked, "find_spec", lambda name: None)
    (finding,) = found(rows())
    assert (finding.code, finding.severity) == ("label-errors-not-looked-for", "info")
    assert finding.remedy == "pip install 'embedtune[labels]'"


def test_retrieval_has_no_labels_to_doubt() -> None:
    data = read([{"query": "flu", "positive": "Flu"}, {"query": "cold", "positive": "Rhinitis"}])
    assert list(likely_label_errors(data, Bags())) == []
    assert list(near_duplicates_with_other_labels(data)) == []


def test_near_duplicates_that_disagree() -> None:
    text = "where can I see how much money is left on my card today"
    data = [
        {"text": text, "label": "pay"},
        {"text": text + " please", "label": "sky"},
        {"text": "will there be rain and wind and a storm", "label": "sky"},
        {
            "text": "will there be rain and wind and a storm?",
            "label": "pay",
        },  # the same words: another check's
    ]
    (finding,) = near_duplicates_with_other_labels(read(data))
    assert finding.count == 2
    assert [example.line for example in finding.examples] == [1, 2]
    assert "labelled 'pay'" in finding.examples[0].text


def test_check_runs_both() -> None:
    pytest.importorskip("cleanlab")
    data = rows()
    data[4]["label"] = "sky"
    data.append({"text": data[6]["text"] + " card", "label": "sky"})
    codes = {finding.code for finding in check(data, encoder=Bags())}
    assert {"label-errors", "near-duplicates-with-other-labels"} <= codes
