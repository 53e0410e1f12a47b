"""New long documents are read on as the known ones were, and nothing else is touched."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
from numpy.typing import NDArray

from embedtune import Tuned
from embedtune.artifact.reading import read_on
from embedtune.transforms import Identity, Linear, ReadOnDeltas, then
from embedtune.types import Vectors

SWAP = Linear.shared(np.array([[0, 1], [1, 0]], np.float32))
SHIFTS = ReadOnDeltas(("known",), np.array([[0, 3]], np.float32), weight=1.0)


class Reader:
    """Reads one letter of a text, ``a`` or ``b``; each later one is a window."""

    name, dimension, similarity, fingerprint, max_tokens, content = "letters", 2, "cosine", "l", 1, "text"

    def encode(self, items: Sequence[str], *, kind: str = "document") -> Vectors:
        return np.array([[text[0] == "a", text[0] == "b"] for text in items], np.float32)

    def count_tokens(self, texts: Sequence[str]) -> NDArray[np.int64]:
        return np.array([len(text) for text in texts])

    def later_windows(self, texts: Sequence[str]) -> tuple[list[str], NDArray[np.int64]]:
        cut = [(letter, row) for row, text in enumerate(texts) for letter in text[1:]]
        return [letter for letter, _ in cut], np.array([row for _, row in cut], np.int64)


def test_a_new_document_has_the_mean_of_its_windows_before_the_map() -> None:
    tuned = Tuned(Reader(), then(SHIFTS, SWAP))
    # "abb" is read as a, and on as the mean of b and b: (1, 1), of unit length, then swapped
    found = tuned.encode_documents(["abb", "a", "abaa"])
    np.testing.assert_allclose(found[0], [0.5**0.5, 0.5**0.5], atol=1e-6)
    np.testing.assert_allclose(found[1], [0, 1], atol=1e-6)
    mean = np.array([1 / 3, 1 + 2 / 3])
    np.testing.assert_allclose(found[2], mean / np.linalg.norm(mean), atol=1e-6)
    np.testing.assert_array_equal(tuned.encode_queries(["abb"]), [[0, 1]])  # queries are not read on


def test_known_documents_keep_to_their_shifts() -> None:
    found = Tuned(Reader(), SHIFTS).encode_documents(["abb", "abb"], ["known", "new"])
    np.testing.assert_allclose(found[0], np.array([1, 3]) / 10**0.5, atol=1e-6)
    np.testing.assert_allclose(found[1], [0.5**0.5, 0.5**0.5], atol=1e-6)


def test_nothing_is_copied_where_nothing_is_read_on() -> None:
    reader, texts = Reader(), ["abb", "b"]
    x = reader.encode(texts)
    assert read_on(x, texts, None, encoder=reader, transform=SWAP) is x
    assert read_on(x, texts, None, encoder=reader, transform=Identity()) is x
    assert read_on(x, ["a", "b"], None, encoder=reader, transform=SHIFTS) is x
    assert read_on(x, texts, ["known", "new"], encoder=reader, transform=SHIFTS) is x  # "b" is not long


def test_an_encoder_that_does_not_cut_texts_reads_as_before() -> None:
    class Plain(Reader):
        later_windows = None  # type: ignore[assignment]

    x = Plain().encode(["abb"])
    assert read_on(x, ["abb"], None, encoder=Plain(), transform=SHIFTS) is x
