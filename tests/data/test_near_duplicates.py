"""Near-duplicate texts, against a plain comparison of all pairs."""

from __future__ import annotations

from itertools import pairwise

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from embedtune.data.duplicates import near_duplicates, normalise


def all_pairs(texts: list[str], threshold: float) -> list[int]:
    """Group by comparing every pair."""
    sets = []
    for text in texts:
        words = normalise(text).split(" ")
        sets.append(set(words) | set(map(" ".join, pairwise(words))))
    group = list(range(len(texts)))
    for i in range(len(texts)):
        for j in range(i):
            if len(sets[i] & sets[j]) / len(sets[i] | sets[j]) >= threshold - 1e-12:
                group = [group[j] if g == group[i] else g for g in group]
    seen: dict[int, int] = {}
    return [seen.setdefault(g, len(seen)) for g in group]


SENTENCE = st.lists(st.sampled_from("abcdef"), max_size=8).map(" ".join)


@given(texts=st.lists(SENTENCE, max_size=25), threshold=st.sampled_from([0.3, 0.5, 0.8, 1.0]))
@settings(max_examples=150, deadline=None)
def test_same_groups_as_comparing_all_pairs(texts: list[str], threshold: float) -> None:
    assert near_duplicates(texts, threshold).tolist() == all_pairs(texts, threshold)


def test_worked_by_hand() -> None:
    # a b c d e: 5 words + 4 pairs = 9 shingles; with f: 6 + 5 = 11; all 9 are shared: 9 / 11 = .818
    # a b c d: 4 + 3 = 7, shared with the first 7 / 9 = .778
    texts = ["a b c d e", "a b c d e f", "a b c d"]
    assert near_duplicates(texts, 0.8).tolist() == [0, 0, 1]
    assert near_duplicates(texts, 0.77).tolist() == [0, 0, 0]


def test_case_punctuation_and_width_do_not_count() -> None:
    assert near_duplicates(["What's up?", "what s UP", "ＷＨＡＴ'Ｓ ｕｐ"]).tolist() == [0, 0, 0]


def test_scripts_without_spaces_are_compared_by_character() -> None:
    # nine characters and eight pairs against ten and nine: 17 / 19 = .89
    assert near_duplicates(["我的银行卡还没有到", "我的银行卡还没有到吗", "天气"]).tolist() == [0, 0, 1]


def test_texts_without_words_are_compared_as_they_are() -> None:
    assert near_duplicates(["", "?!", " ", "?!", "..."]).tolist() == [0, 1, 0, 1, 2]


def test_frequent_words_do_not_link_and_many_texts_are_no_trouble() -> None:
    texts = [f"what is the best way to treat w{n % 3000} of kind v{n % 3000}" for n in range(9000)]
    np.testing.assert_array_equal(near_duplicates(texts), np.arange(9000) % 3000)


def test_nothing_gives_nothing_and_a_threshold_must_make_sense() -> None:
    assert near_duplicates([]).tolist() == []
    with pytest.raises(ValueError, match="threshold must be above 0"):
        near_duplicates(["a"], 0.0)
