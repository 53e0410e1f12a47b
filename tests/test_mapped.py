from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

from embedtune import mapped


def test_rows_are_gathered_in_parts(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(mapped, "ROWS", 3)
    x = np.arange(40, dtype=np.float32).reshape(10, 4)
    np.save(tmp_path / "x.npy", x)
    rows = np.array([0, 1, 3, 4, 7, 8, 9])
    np.testing.assert_array_equal(mapped.gather(np.load(tmp_path / "x.npy", mmap_mode="r"), rows), x[rows])


def test_a_released_array_is_read_again(tmp_path: Path) -> None:
    x = np.arange(12, dtype=np.float32).reshape(3, 4)
    np.save(tmp_path / "x.npy", x)
    found = np.load(tmp_path / "x.npy", mmap_mode="r")
    mapped.release(found[1:])
    mapped.release(x)  # in memory: nothing to let go
    np.testing.assert_array_equal(found, x)
