"""Answers of APIs, taken apart; addresses; batches; waits."""

from __future__ import annotations

import base64
import time
from email.utils import formatdate
from typing import Any

import numpy as np
import pytest

from embedtune.encoders.api.address import Address, mask
from embedtune.encoders.api.answers import WrongDimension, read_vectors
from embedtune.encoders.api.batches import batches, byte_lengths, estimated_tokens, most_tokens
from embedtune.encoders.api.providers.base import Provider, Unusable
from embedtune.encoders.api.refusals import retry_after
from embedtune.errors import UserError

PROVIDER = Provider("model")


def answer(*rows: Any, first: int = 0) -> dict[str, Any]:
    return {"data": [{"index": first + row, "embedding": value} for row, value in enumerate(rows)]}


def test_rows_go_where_their_index_says() -> None:
    mixed = answer([1, 2], base64.b64encode(np.array([3, 4], "<f4").tobytes()).decode(), [0, 0], [5, 1e39])
    mixed["data"].reverse()
    vectors, usable = read_vectors(PROVIDER, mixed, 4, None)
    np.testing.assert_array_equal(vectors[:3], [[1, 2], [3, 4], [0, 0]])
    assert vectors.dtype == np.float32
    assert usable.tolist() == [True, True, False, False]  # the third is zero, the fourth infinite


@pytest.mark.parametrize(
    ("given", "line"),
    [
        ([], "no JSON object"),
        ({"error": "busy"}, "another form than documented"),
        ({"data": None}, "another form than documented"),
        (answer([1, 2]), "1 vectors for 2 texts"),
        (answer([1, 2], [1, 2], [1, 2]), "3 vectors for 2 texts"),
        (answer([1, 2], [1, 2], first=1), "number its vectors from 0 on"),
        (answer([1, 2], "x"), "neither a list of numbers nor float32"),
        (answer([1, 2], [1, "x"]), "neither a list of numbers nor float32"),
        (answer([1, 2], [1, [2]]), "neither a list of numbers nor float32"),
        (answer([1, 2], None), "neither a list of numbers nor float32"),
        (answer([], []), "0 dimensions"),
    ],
)
def test_answers_of_another_form_are_of_no_use(given: Any, line: str) -> None:
    with pytest.raises(Unusable, match=line):
        read_vectors(PROVIDER, given, 2, None)


@pytest.mark.parametrize(("dimension", "line"), [(None, "of 2, 3 dim"), (2, "of 2, 3 dim.*, not 2")])
def test_dimensions_agree(dimension: int | None, line: str) -> None:
    with pytest.raises(WrongDimension, match=line):
        read_vectors(PROVIDER, answer([1, 2], [1, 2, 3]), 2, dimension)
    with pytest.raises(WrongDimension, match="of 2 dimensions, not 3"):
        read_vectors(PROVIDER, answer([1, 2], [1, 2]), 2, 3)


def test_batches_keep_to_both_limits_and_lose_nothing() -> None:
    tokens = np.array([1, 1, 1, 5, 9, 1, 1])
    runs = [rows.tolist() for rows in batches(tokens, 3, 6)]
    assert runs == [[0, 1, 2], [3], [4], [5, 6]]  # the fifth is longer than the limit, and alone
    assert [rows.tolist() for rows in batches(tokens, 4, None)] == [[0, 1, 2, 3], [4, 5, 6]]


def test_tokens_are_estimated_from_bytes() -> None:
    lengths = byte_lengths(["", "abc", "abcd", "東京", "\ud800"])
    assert lengths.tolist() == [0, 3, 4, 6, 3]
    assert estimated_tokens(lengths).tolist() == [1, 2, 3, 3, 2]
    assert most_tokens(lengths) == 16 + 5 * 16


def test_addresses_lose_their_secrets_where_they_are_shown() -> None:
    address = Address.of("https://me:p%40ss@host:8443/openai/v1/?api-version=2024-10-21")
    assert address.login == ("me", "p@ss")
    assert address.base == "https://host:8443/openai/v1"
    assert str(address) == "https://me:***@host:8443/openai/v1?api-version=2024-10-21"
    assert "p@ss" not in repr(address)
    assert Address.of("http://[::1]:8000/v1/embeddings").base == "http://[::1]:8000/v1"
    with pytest.raises(UserError, match="was not saved with it; give the address again"):
        Address.of(str(address))
    assert mask("no address") == "no address"


@pytest.mark.parametrize("given", ["", "localhost:8000", "https://", "http://host:port/v1", "file:///etc"])
def test_what_is_no_address_is_told(given: str) -> None:
    with pytest.raises(UserError, match="is no address of an API; give one such as"):
        Address.of(given)


def test_waits_are_read_as_seconds_or_dates() -> None:
    in_a_minute = formatdate(time.time() + 60, usegmt=True)
    assert 50 < retry_after({"retry-after": in_a_minute}) <= 60
    assert retry_after({"retry-after": formatdate(0, usegmt=True)}) == 0.0
    assert retry_after({"retry-after-ms": "x", "retry-after": "1.5"}) == 1.5
    assert retry_after({"retry-after": "nan"}) is None
    assert retry_after({"retry-after": "soon"}) is None
