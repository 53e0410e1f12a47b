"""Encoding ends with its time, at a batch's end; what was encoded is kept, and its rate is known."""

from __future__ import annotations

import logging
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from slow_encoder import FakeClock, SlowEncoder

from embedtune.encoders import CachedEncoder, VectorCache, cached
from embedtune.encoders.pace import Pace, Unfinished, current_pace, paced

TEXTS = [f"text {number:02}" for number in range(40)]
"""All of one length."""


class InParts(SlowEncoder):
    """Gives three texts at a time, the last ones first."""

    def encode_parts(
        self, items: Sequence[str], *, kind: str = "document"
    ) -> Iterator[tuple[np.ndarray, np.ndarray]]:
        order = np.arange(len(items))[::-1]
        for start in range(0, len(items), 3):
            rows = order[start : start + 3]
            yield rows, super().encode([items[row] for row in rows])


def test_encoding_stops_at_the_end_of_a_chunk_and_goes_on_there(clock: FakeClock, tmp_path: Path) -> None:
    first, pace = SlowEncoder(clock), Pace(clock.now + 15, "nothing comes of it")
    with pytest.raises(Unfinished) as caught, paced(pace):
        CachedEncoder(first, VectorCache(tmp_path)).encode(TEXTS)
    assert caught.value.pace is pace
    assert first.asked == TEXTS[:20]  # at 10 s there was time left, at 20 s there was none
    assert (pace.done, pace.total, pace.encoded, pace.kept) == (20, 40, 20, True)
    assert pace.rest() == 20.0  # twenty texts, a second each
    second = SlowEncoder(clock)
    vectors = CachedEncoder(second, VectorCache(tmp_path)).encode(TEXTS)
    assert second.asked == TEXTS[20:]
    np.testing.assert_array_equal(vectors, SlowEncoder(clock).encode(TEXTS))


def test_an_encoder_of_parts_stops_in_the_midst_of_a_chunk(clock: FakeClock, tmp_path: Path) -> None:
    first, pace = InParts(clock), Pace(clock.now + 15, "nothing comes of it")
    with pytest.raises(Unfinished), paced(pace):
        CachedEncoder(first, VectorCache(tmp_path)).encode(TEXTS)
    assert len(first.asked) == pace.done == 16  # 3, 6, 9, 10 of the first chunk; 13, 16 with the second
    second = InParts(clock)
    vectors = CachedEncoder(second, VectorCache(tmp_path)).encode(TEXTS)
    assert sorted(first.asked + second.asked) == TEXTS
    np.testing.assert_array_equal(vectors, SlowEncoder(clock).encode(TEXTS))


def test_an_encode_of_ones_own_is_not_gone_round(clock: FakeClock) -> None:
    class Mine(InParts):
        def encode(self, items: Sequence[str], *, kind: str = "document") -> np.ndarray:
            return -SlowEncoder.encode(self, items)

    class Around:
        def __init__(self, inner: Any) -> None:
            self.inner = inner

        def __getattr__(self, name: str) -> Any:
            return getattr(self.inner, name)

        def encode(self, items: Sequence[str], *, kind: str = "document") -> np.ndarray:
            return -self.inner.encode(items)

    expected = -SlowEncoder(clock).encode(TEXTS)
    for one in (Mine(clock), Around(SlowEncoder(clock)), Around(InParts(clock))):
        np.testing.assert_array_equal(CachedEncoder(one).encode(TEXTS), expected)


def test_what_is_in_the_cache_needs_no_time(clock: FakeClock, tmp_path: Path) -> None:
    CachedEncoder(SlowEncoder(clock), VectorCache(tmp_path)).encode(TEXTS)
    with paced(Pace(clock.now - 1, "nothing comes of it")):
        assert len(CachedEncoder(SlowEncoder(clock), VectorCache(tmp_path)).encode(TEXTS)) == 40


def test_a_time_that_is_over_begins_nothing_and_knows_no_rate(clock: FakeClock) -> None:
    inner, pace = SlowEncoder(clock), Pace(clock.now, "nothing comes of it")
    with pytest.raises(Unfinished), paced(pace):
        CachedEncoder(inner).encode(TEXTS)
    assert inner.asked == []
    assert (pace.done, pace.total, pace.encoded, pace.kept, pace.rest()) == (0, 40, 0, False, None)


def test_a_time_that_suffices_changes_nothing_and_ends_with_its_block(clock: FakeClock) -> None:
    with paced(Pace(clock.now + 41, "nothing comes of it")):
        with paced(None):
            assert current_pace() is None
        vectors = CachedEncoder(InParts(clock)).encode(TEXTS)
    assert current_pace() is None
    assert vectors.tobytes() == CachedEncoder(InParts(clock)).encode(TEXTS).tobytes()


def test_the_first_batch_opens_the_model_and_says_nothing_of_the_rate(clock: FakeClock) -> None:
    pace = Pace(clock.now + 1000, "nothing comes of it")
    pace.begin(np.array([10.0, 10.0, 30.0, 50.0]), np.array([1, 2, 3]), kept=True)
    clock.now += 100  # 100 s for a weight of 10, the model among them
    pace.took(np.array([1]))
    assert pace.rest() == 100 / 10 * 80  # nothing else is known
    clock.now += 15  # 15 s for 30
    pace.took(np.array([2]))
    assert pace.rest() == 15 / 30 * 50
    assert pace.rest(weight=200.0) == 15 / 30 * 200


@pytest.mark.parametrize(("given", "told"), [(60.0, 0), (58.0, 1)])
def test_a_time_that_is_far_too_short_is_told_once_and_at_once(
    clock: FakeClock, monkeypatch: pytest.MonkeyPatch, caplog: Any, tmp_path: Path, given: float, told: int
) -> None:
    # after four chunks of five 60 more texts are to come; with 40 s left nothing is said yet (60 / 1.5)
    monkeypatch.setattr(cached, "CHUNK_TEXTS", 5)
    texts = [f"text {number:02}" for number in range(80)]
    with (
        caplog.at_level(logging.WARNING),
        pytest.raises(Unfinished),
        paced(Pace(clock.now + given, "no map")),
    ):
        CachedEncoder(SlowEncoder(clock), VectorCache(tmp_path)).encode(texts)
    lines = [record.getMessage() for record in caplog.records]
    assert lines == told * [
        "encoding takes about 1 min 0 s more, and there are 38 s for it: no map; "
        "what is encoded is kept, and another run goes on"
    ]
