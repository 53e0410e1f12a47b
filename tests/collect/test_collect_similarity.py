"""Scored pairs of a dataset, with vectors."""

from __future__ import annotations

import numpy as np
import pytest

from embedtune.collect import collect
from embedtune.data import read
from embedtune.errors import DataError
from embedtune.judging.folded import Folded
from embedtune.judging.scored import Scored
from embedtune.tuners.ladder_similarity import ladder


class Encoder:
    name, dimension, similarity, fingerprint, max_tokens, content = "counted", 3, "cosine", "c", None, "text"
    asked = 0

    def encode(self, items, *, kind="document"):
        assert kind == "document"
        self.asked += len(items)
        x = np.array([[len(text), text.count("a"), 1] for text in items], np.float32)
        return x / np.linalg.norm(x, axis=1, keepdims=True)


ROWS = [
    {"sentence1": "a cat", "sentence2": "the cat", "score": 4, "split": "train"},
    {"sentence1": "a dog", "sentence2": "a big cat", "score": 1, "split": "dev"},
    {"sentence1": "a cat", "sentence2": "rain", "score": 0, "split": "test"},
    {"sentence1": "snow", "sentence2": "ice", "score": 3, "split": "test"},
]


def test_each_sentence_is_encoded_once_and_pairs_are_divided():
    encoder = Encoder()
    found = collect(read(ROWS), encoder, test="test")
    assert encoder.asked == 7
    assert found.train.score.tolist() == [4, 1]
    assert found.test is not None
    assert found.test.score.tolist() == [0, 3]
    assert found.test_strata["seen"].tolist() == [True, False]
    assert found.train_texts == ["a cat ↔ the cat", "a dog ↔ a big cat"]
    assert found.test_texts[1] == "snow ↔ ice"
    assert collect(read(ROWS), Encoder(), test="none").test is None


def test_nothing_to_train_on_and_no_such_split():
    with pytest.raises(DataError, match="none are left to train on"):
        collect(read(ROWS[2:]), Encoder(), test="test")
    with pytest.raises(DataError, match="no split called 'x'"):
        collect(read(ROWS), Encoder(), test="x")


def test_the_ladder_is_shorter_for_few_pairs():
    def candidates(n: int):
        x = np.random.default_rng(0).standard_normal((2 * n, 3)).astype(np.float32)
        pairs = Scored(x, np.arange(n), np.arange(n) + n, np.arange(n) % 3.0)
        return list(ladder(Folded(pairs, metric="spearman", seed=0), []))

    assert [c.name for c in candidates(50)] == ["pair-metric", "pair-linear (gentle)"]
    assert len(candidates(1000)) == 3
    assert all(c.strengths[0] > 0 and c.rung == 2 for c in candidates(1000))
