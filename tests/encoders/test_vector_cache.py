"""The cache on disk: what goes in comes out, damage is noticed, the size is bounded."""

from __future__ import annotations

import errno
import os
import time
from pathlib import Path

import numpy as np
import pytest

from embedtune.cache_place import STALE, cache_size
from embedtune.encoders.cache import VectorCache, content_keys
from embedtune.encoders.shards import MANY_SMALL
from embedtune.errors import DiskFull, UserError

TEXTS = [f"text {number}" for number in range(50)]
VECTORS = np.random.default_rng(0).normal(size=(50, 8)).astype(np.float32)


def shards(folder: Path) -> list[Path]:
    return sorted(folder.glob("vectors/*/*"))


def read(cache: VectorCache, space: str, texts: list[str], prompt: str = "") -> tuple[np.ndarray, np.ndarray]:
    out = np.full((len(texts), 8), -1, np.float32)
    return cache.read(space, content_keys(prompt, texts), out), out


def test_what_was_written_is_read_in_any_order_by_a_new_cache(tmp_path: Path) -> None:
    VectorCache(tmp_path).write("model", content_keys("", TEXTS), VECTORS)
    order = np.random.default_rng(1).permutation(50)
    found, out = read(VectorCache(tmp_path), "model", [TEXTS[row] for row in order])
    assert found.all()
    np.testing.assert_array_equal(out, VECTORS[order])
    assert len(shards(tmp_path)) == 1  # never one file a text


def test_other_models_prompts_and_texts_are_not_found(tmp_path: Path) -> None:
    cache = VectorCache(tmp_path)
    cache.write("model", content_keys("", TEXTS), VECTORS)
    assert not read(cache, "other model", TEXTS)[0].any()
    assert not read(cache, "model", TEXTS, prompt="query: ")[0].any()
    found, out = read(cache, "model", ["new", TEXTS[3]])
    assert found.tolist() == [False, True]
    np.testing.assert_array_equal(out, [np.full(8, -1), VECTORS[3]])


def test_prompt_and_text_do_not_run_into_each_other() -> None:
    assert content_keys("ab", ["c"]).tobytes() != content_keys("a", ["bc"]).tobytes()


def test_texts_that_are_not_unicode_still_have_keys() -> None:
    assert content_keys("", ["lone \udc80 surrogate"]).shape == (1, 32)


@pytest.mark.parametrize("place", [20, -20])  # in the header or the keys, in the vectors
def test_a_damaged_shard_is_dropped_not_trusted(tmp_path: Path, place: int) -> None:
    VectorCache(tmp_path).write("model", content_keys("", TEXTS[:25]), VECTORS[:25])
    (first,) = shards(tmp_path)
    VectorCache(tmp_path).write("model", content_keys("", TEXTS[25:]), VECTORS[25:])
    blob = bytearray(first.read_bytes())
    blob[place] ^= 255
    first.write_bytes(blob)
    found, out = read(VectorCache(tmp_path), "model", TEXTS)
    assert found.tolist() == [False] * 25 + [True] * 25
    np.testing.assert_array_equal(out[25:], VECTORS[25:])
    assert first not in shards(tmp_path)


@pytest.mark.parametrize("length", [0, 4, 1000])
def test_a_shard_cut_short_is_dropped(tmp_path: Path, length: int) -> None:
    VectorCache(tmp_path).write("model", content_keys("", TEXTS), VECTORS)
    (shard,) = shards(tmp_path)
    shard.write_bytes(shard.read_bytes()[:length])
    assert not read(VectorCache(tmp_path), "model", TEXTS)[0].any()
    assert shards(tmp_path) == []


def test_the_least_recently_used_shards_make_room(tmp_path: Path) -> None:
    for start in (0, 10, 20):
        VectorCache(tmp_path).write(
            "model", content_keys("", TEXTS[start : start + 10]), VECTORS[start : start + 10]
        )
    length = shards(tmp_path)[0].stat().st_size
    for age, shard in enumerate(shards(tmp_path)):
        os.utime(shard, (time.time() - 100 - age,) * 2)
    read(VectorCache(tmp_path), "model", TEXTS[:10])  # used: its shard is the newest now
    cache = VectorCache(tmp_path, size=2 * length)
    cache._opened = time.time() + 1  # a later run
    cache.write("model", content_keys("", TEXTS[30:40]), VECTORS[30:40])
    found, _ = read(VectorCache(tmp_path), "model", TEXTS)
    assert found[:10].all()
    assert found[30:40].all()
    assert found.sum() == 20
    assert sum(shard.stat().st_size for shard in shards(tmp_path)) <= 2 * length


def test_a_run_larger_than_the_cache_keeps_its_beginning_and_the_bound(tmp_path: Path) -> None:
    length = 10_000
    cache = VectorCache(tmp_path, size=length)
    for start in range(0, 50, 5):  # 5 x (32 + 8 x 4) bytes and a header: about 450 bytes a shard
        for repeat in range(5):
            texts = [f"{text} {repeat}" for text in TEXTS[start : start + 5]]
            cache.write("model", content_keys("", texts), VECTORS[start : start + 5])
    assert 0.9 * length < sum(shard.stat().st_size for shard in shards(tmp_path)) <= length
    assert read(cache, "model", [f"{text} 0" for text in TEXTS[:5]])[0].all()


def test_small_shards_are_merged(tmp_path: Path) -> None:
    cache = VectorCache(tmp_path)
    for number in range(MANY_SMALL + 3):
        cache.write("model", content_keys("", [TEXTS[number]]), VECTORS[number : number + 1])
    assert len(shards(tmp_path)) < 10
    found, out = read(VectorCache(tmp_path), "model", TEXTS)
    assert found.sum() == MANY_SMALL + 3
    np.testing.assert_array_equal(out[found], VECTORS[: MANY_SMALL + 3])


def test_unfinished_files_are_not_read_and_go_when_stale(tmp_path: Path) -> None:
    cache = VectorCache(tmp_path)
    cache.write("model", content_keys("", TEXTS), VECTORS)
    left = shards(tmp_path)[0].with_name(".tmp-1-abc-x.safetensors")
    left.write_bytes(b"half")
    assert read(VectorCache(tmp_path), "model", TEXTS)[0].all()
    cache.write("model", content_keys("", ["a"]), VECTORS[:1])
    assert left.exists()  # perhaps another process is writing it
    os.utime(left, (time.time() - STALE - 1,) * 2)
    cache.write("model", content_keys("", ["b"]), VECTORS[:1])
    assert not left.exists()


def test_a_full_disk_is_said_and_leaves_no_temporary_file(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def no_room(self: Path, target: Path) -> Path:
        raise OSError(errno.ENOSPC, "No space left on device")

    monkeypatch.setattr(Path, "replace", no_room)
    with pytest.raises(DiskFull, match="no room left"):
        VectorCache(tmp_path).write("model", content_keys("", TEXTS), VECTORS)
    assert shards(tmp_path) == []


def test_a_folder_that_cannot_be_written_is_named_with_the_remedy(tmp_path: Path) -> None:
    (tmp_path / "vectors").write_text("a file where a folder must be")
    cache = VectorCache(tmp_path)
    assert not read(cache, "model", TEXTS)[0].any()
    with pytest.raises(UserError, match="EMBEDTUNE_CACHE_DIR"):
        cache.write("model", content_keys("", TEXTS), VECTORS)


@pytest.mark.parametrize(
    ("given", "size"), [("", 4 * 10**9), ("0", 0), ("1234", 1234), ("500M", 5 * 10**8), ("1.5gb", 15 * 10**8)]
)
def test_the_bound_is_read_from_the_environment(
    monkeypatch: pytest.MonkeyPatch, given: str, size: int
) -> None:
    monkeypatch.setenv("EMBEDTUNE_CACHE_SIZE", given)
    assert cache_size() == size


@pytest.mark.parametrize("given", ["much", "-1", "4X", "nan", "inf"])
def test_a_bound_that_is_no_size_is_refused(monkeypatch: pytest.MonkeyPatch, given: str) -> None:
    monkeypatch.setenv("EMBEDTUNE_CACHE_SIZE", given)
    with pytest.raises(UserError, match="EMBEDTUNE_CACHE_SIZE"):
        cache_size()
