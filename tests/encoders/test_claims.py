"""Claims on texts, between processes."""

from __future__ import annotations

import sys
from pathlib import Path

import numpy as np
import pytest

from embedtune.encoders.cache import content_keys
from embedtune.encoders.claims import claimed

pytestmark = pytest.mark.skipif(sys.platform == "win32", reason="no locks of this kind")

KEYS = content_keys("", ["a", "b", "c"])


def test_what_is_claimed_is_not_claimed_again_until_it_is_let_go(tmp_path: Path) -> None:
    with claimed(tmp_path, KEYS[:2]) as first:
        assert first.tolist() == [True, True]
        with claimed(tmp_path, KEYS) as second:
            assert second.tolist() == [False, False, True]
            with claimed(tmp_path, KEYS) as third:
                assert not third.any()
    with claimed(tmp_path, KEYS) as last:
        assert last.all()
    assert [path.name for path in tmp_path.iterdir()] == ["lock"]


def test_the_claim_of_a_dead_process_is_void(tmp_path: Path) -> None:
    (tmp_path / "1-dead.keys").write_bytes(KEYS.tobytes())
    with claimed(tmp_path, KEYS) as own:
        assert own.all()
    assert not (tmp_path / "1-dead.keys").exists()


def test_without_a_place_for_claims_nobody_waits(tmp_path: Path) -> None:
    (tmp_path / "file").write_text("no folder")
    with claimed(tmp_path / "file", KEYS) as own:
        np.testing.assert_array_equal(own, [True, True, True])
