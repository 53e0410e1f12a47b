"""Numbers of dimensions and bytes that a user may ask for."""

from __future__ import annotations

from typing import Any

import pytest

from embedtune.errors import UserError
from embedtune.sizes import checked_dims, parse_dims, widths


def test_widths() -> None:
    assert widths("auto", 3) == [3, 1]
    assert widths(96, 384) == [96]
    with pytest.raises(UserError, match="385 dimensions are more than the 384"):
        widths(385, 384)


@pytest.mark.parametrize(
    ("dims", "most", "task", "match"),
    [
        ("half", None, None, "dims is 'half'"),
        (0, None, None, "dims is 0"),
        (True, None, None, "dims is True"),
        (None, 0, None, "0 bytes"),
        ("auto", None, "classification", "for retrieval in this version"),
    ],
)
def test_what_cannot_be_asked_for(dims: Any, most: Any, task: Any, match: str) -> None:
    with pytest.raises(UserError, match=match):
        checked_dims(dims, most, task)


def test_bytes_alone_mean_auto() -> None:
    assert checked_dims(None, 96) == "auto"
    assert checked_dims(None, None, "classification") is None


def test_the_command_line_gives_a_number_or_auto() -> None:
    assert [parse_dims(one) for one in (None, "auto", "96")] == [None, "auto", 96]
    with pytest.raises(UserError, match="--dims is '-1'"):
        parse_dims("-1")
