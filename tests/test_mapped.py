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


def test_a_large_table_lies_on_disk_and_keeps_what_is_written(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(mapped, "APART", 1000)
    found = mapped.scratch((100, 7), np.float16)
    assert not found.any()
    assert not found.flags.owndata
    found[3:90] = wanted = np.arange(7)
    mapped.release(found[5:])
    np.testing.assert_array_equal(found[3:90], np.tile(wanted, (87, 1)))
    assert mapped.scratch((10, 7), np.float16).base is None  # a small one is in memory


def test_where_the_disk_has_no_room_a_table_is_in_memory(monkeypatch: pytest.MonkeyPatch) -> None:
    def full(*_: object) -> None:
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(mapped, "APART", 1000)
    monkeypatch.setattr(mapped.os, "posix_fallocate", full, raising=False)
    found = mapped.scratch((100, 7), np.float32)
    assert found.base is None
    assert not found.any()
