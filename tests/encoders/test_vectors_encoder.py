"""Precomputed vectors: every format, no copies, and one clear line for every bad input."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from numpy.typing import NDArray

from embedtune.encoders import load_encoder, vector_files
from embedtune.encoders.vectors import VectorsEncoder, write_vectors
from embedtune.errors import DataError, DiskFull, EmbedtuneError, ModelNotFound, VectorError
from embedtune.types import Encoder

IDS = [f"d{number}" for number in range(7)]
ROWS = np.random.default_rng(0).normal(size=(7, 4))
UNIT = (ROWS / np.linalg.norm(ROWS, axis=1, keepdims=True)).astype(np.float32)

Writer = Callable[[Path, list[str], NDArray[Any]], Path]


def npy(stem: Path, ids: list[str], rows: NDArray[Any]) -> Path:
    stem.parent.mkdir(parents=True, exist_ok=True)
    stem.with_suffix(".ids.txt").write_text("\n".join(ids), "utf-8")
    np.save(stem.with_suffix(".npy"), rows)
    return stem.with_suffix(".npy")


def table(ids: list[str], rows: NDArray[Any], *, fixed: bool) -> pa.Table:
    values = pa.array(np.ascontiguousarray(rows).reshape(-1))
    if fixed:
        return pa.table({"id": ids, "vector": pa.FixedSizeListArray.from_arrays(values, rows.shape[1])})
    ends = np.arange(len(rows) + 1, dtype=np.int32) * rows.shape[1]
    return pa.table({"id": ids, "vector": pa.ListArray.from_arrays(pa.array(ends), values)})


def parquet(stem: Path, ids: list[str], rows: NDArray[Any]) -> Path:
    stem.parent.mkdir(parents=True, exist_ok=True)
    pq.write_table(table(ids, rows, fixed=False), stem.with_suffix(".parquet"), row_group_size=3)
    return stem.with_suffix(".parquet")


def arrow(
    stem: Path, ids: list[str], rows: NDArray[Any], *, fixed: bool = True, batch: int | None = None
) -> Path:
    stem.parent.mkdir(parents=True, exist_ok=True)
    content = table(ids, rows, fixed=fixed)
    with (
        pa.OSFile(str(stem.with_suffix(".arrow")), "wb") as sink,
        pa.ipc.new_file(sink, content.schema) as writer,
    ):
        writer.write_table(content, max_chunksize=batch)
    return stem.with_suffix(".arrow")


def arrow_lists(stem: Path, ids: list[str], rows: NDArray[Any]) -> Path:
    return arrow(stem, ids, rows, fixed=False)


def arrow_batches(stem: Path, ids: list[str], rows: NDArray[Any]) -> Path:
    return arrow(stem, ids, rows, batch=3)


WRITERS = [npy, parquet, arrow, arrow_lists, arrow_batches]


@pytest.mark.parametrize("write", WRITERS)
@pytest.mark.parametrize("kind", [np.float16, np.float32, np.float64])
def test_every_format_and_type_gives_the_same_vectors(tmp_path: Path, write: Writer, kind: Any) -> None:
    write(tmp_path / "documents", IDS, UNIT.astype(kind))
    write(tmp_path / "queries", ["q0"], UNIT[:1].astype(kind))
    encoder = load_encoder(f"vectors:{tmp_path}")
    assert isinstance(encoder, Encoder)
    assert (encoder.content, encoder.dimension, encoder.max_tokens) == ("id", 4, None)
    vectors = encoder.encode(IDS)
    assert (vectors.dtype, vectors.flags.c_contiguous) == (np.float32, True)
    np.testing.assert_allclose(vectors, UNIT, atol=1e-3 if kind is np.float16 else 1e-7)
    np.testing.assert_allclose(np.linalg.norm(vectors, axis=1), 1, atol=1e-6)
    np.testing.assert_array_equal(encoder.encode(["d3", "d0", "d3"]), vectors[[3, 0, 3]])
    np.testing.assert_allclose(encoder.encode(["q0"], kind="query"), vectors[:1], atol=1e-7)
    assert encoder.count_tokens(["d0"]) is None


@pytest.mark.parametrize("similarity", ["cosine", "dot"])
@pytest.mark.parametrize("write", WRITERS)
def test_lengths_are_made_one_for_cosine_only(tmp_path: Path, write: Writer, similarity: str) -> None:
    write(tmp_path / "documents", IDS, ROWS.astype(np.float32))
    encoder = load_encoder(f"vectors:{tmp_path}", similarity=similarity)
    np.testing.assert_allclose(encoder.encode(IDS), UNIT if similarity == "cosine" else ROWS, atol=1e-6)


def base_of(array: NDArray[Any]) -> Any:
    while isinstance(array.base, np.ndarray):
        array = array.base
    return array if array.base is None else array.base


def test_all_ids_in_order_give_the_mapped_file_itself(tmp_path: Path) -> None:
    npy(tmp_path / "documents", IDS, UNIT)
    encoder = VectorsEncoder(tmp_path)
    first, second = encoder.encode(IDS), encoder.encode(list(IDS))
    assert first is second
    assert isinstance(first, np.memmap)
    assert Path(first.filename) == tmp_path / "documents.npy"
    assert not np.shares_memory(encoder.encode(IDS[::-1]), first)


@pytest.mark.parametrize("write", [arrow, arrow_lists])
def test_arrow_files_are_mapped_not_copied(tmp_path: Path, write: Writer) -> None:
    many = np.tile(UNIT, (20_000, 1))  # 140,000 x 4 x 4 bytes = 2.24 MB
    write(tmp_path / "documents", [f"d{number}" for number in range(len(many))], many)
    before = pa.total_allocated_bytes()
    encoder = VectorsEncoder(tmp_path)
    vectors = encoder.encode(encoder.ids("document"))
    assert vectors is encoder.encode(encoder.ids("document"))
    assert not vectors.flags.owndata
    assert pa.total_allocated_bytes() - before < many.nbytes + 1_000_000  # the ids, not the vectors too
    assert list(Path(tmp_path).glob("*")) == [tmp_path / "documents.arrow"]


def test_conversion_is_done_once_and_mapped_from_the_cache(
    tmp_path: Path, cache_folder_of_its_own: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    parquet(tmp_path / "documents", IDS, ROWS)
    first = VectorsEncoder(tmp_path)
    vectors = first.encode(IDS)
    assert isinstance(vectors, np.memmap)
    assert Path(vectors.filename).is_relative_to(cache_folder_of_its_own)
    monkeypatch.setattr(vector_files, "write_npy", lambda *_: pytest.fail("written again"))
    assert VectorsEncoder(tmp_path).fingerprint == first.fingerprint


def test_a_damaged_conversion_is_made_again(tmp_path: Path, cache_folder_of_its_own: Path) -> None:
    parquet(tmp_path / "documents", IDS, UNIT)
    VectorsEncoder(tmp_path)
    for path in (cache_folder_of_its_own / "converted").iterdir():
        path.write_bytes(path.read_bytes()[:100])
    np.testing.assert_allclose(VectorsEncoder(tmp_path).encode(IDS), UNIT, atol=1e-6)


def test_conversion_on_a_full_disk_is_said(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    parquet(tmp_path / "documents", IDS, UNIT)

    def no_room(self: Path, target: Path) -> Path:
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(Path, "replace", no_room)
    with pytest.raises(DiskFull):
        VectorsEncoder(tmp_path)


def test_fingerprint_follows_content_and_similarity(tmp_path: Path) -> None:
    npy(tmp_path / "a" / "documents", IDS, UNIT)
    npy(tmp_path / "b" / "documents", IDS, UNIT)
    npy(tmp_path / "c" / "documents", IDS, UNIT[::-1].copy())
    npy(tmp_path / "d" / "documents", IDS[::-1], UNIT)
    prints = [VectorsEncoder(tmp_path / name).fingerprint for name in "abcd"]
    assert prints[0] == prints[1]
    assert len(set(prints)) == 3
    assert VectorsEncoder(tmp_path / "a", similarity="dot").fingerprint != prints[0]


def test_arrays_in_memory_are_used_as_they_are() -> None:
    encoder: Any = load_encoder({"documents": (IDS, UNIT), "queries": (["q"], ROWS[:1])})
    assert encoder.encode(IDS) is UNIT
    np.testing.assert_allclose(encoder.encode(["q"], kind="query"), UNIT[:1], atol=1e-6)
    changed = UNIT.copy()
    changed[0] = UNIT[1]
    assert VectorsEncoder.from_arrays({"documents": (IDS, changed)}).fingerprint != encoder.fingerprint


@pytest.mark.parametrize(
    "ids", [IDS, [f"line\n{number}" for number in range(7)], [" ", "", "é", "a b", "\t", "x", "y"]]
)
def test_what_is_written_is_read_back(tmp_path: Path, ids: list[str]) -> None:
    write_vectors(tmp_path / "out", "query", IDS, UNIT[::-1])
    write_vectors(tmp_path / "out", "query", ids, UNIT)
    write_vectors(tmp_path / "out", "document", ids, UNIT.astype(np.float64))
    encoder = VectorsEncoder(tmp_path / "out")
    assert encoder.ids("query") == encoder.ids("document") == ids
    np.testing.assert_array_equal(encoder.encode(ids, kind="query"), UNIT)
    np.testing.assert_array_equal(encoder.encode(ids), UNIT)
    assert len(list((tmp_path / "out").iterdir())) == 4  # two arrays, two lists of ids, nothing temporary


def with_row(row: int, value: float, kind: Any = np.float32) -> NDArray[Any]:
    rows = UNIT.astype(kind)
    rows[row] = value
    return rows


def broken_json(stem: Path) -> None:
    npy(stem, IDS, UNIT)
    stem.with_suffix(".ids.json").write_text("[1, 2")


def no_list(stem: Path) -> None:
    npy(stem, IDS, UNIT)
    stem.with_suffix(".ids.json").write_text('{"a": 1}')


def wrong_encoding(stem: Path) -> None:
    npy(stem, IDS, UNIT)
    stem.with_suffix(".ids.txt").write_bytes(b"\xff\xfe\n" * 7)


def no_ids(stem: Path) -> None:
    npy(stem, IDS, UNIT)
    stem.with_suffix(".ids.txt").unlink()


def twice(stem: Path) -> None:
    npy(stem, IDS, UNIT)
    parquet(stem, IDS, UNIT)


def ragged(stem: Path) -> None:
    pq.write_table(pa.table({"id": ["a", "b", "c"], "vector": [[1.0], [1.0], [1.0, 2.0]]}), f"{stem}.parquet")


def no_vector(stem: Path) -> None:
    pq.write_table(pa.table({"id": ["a", "b"], "vector": [[1.0], None]}), f"{stem}.parquet")


def empty_number(stem: Path) -> None:
    pq.write_table(pa.table({"id": ["a", "b"], "vector": [[1.0, 1.0], [1.0, None]]}), f"{stem}.parquet")


def no_column(stem: Path) -> None:
    pq.write_table(pa.table({"id": ["a"], "embedding": [[1.0]]}), f"{stem}.parquet")


def texts(stem: Path) -> None:
    pq.write_table(pa.table({"id": ["a"], "vector": ["[1.0, 2.0]"]}), f"{stem}.parquet")


def pickled(stem: Path) -> None:
    np.save(stem.with_suffix(".npy"), np.array([[{}]], object), allow_pickle=True)
    stem.with_suffix(".ids.txt").write_text("a")


BAD: list[tuple[Callable[[Path], Any], type[EmbedtuneError], str]] = [
    (lambda s: npy(s, IDS, with_row(4, np.nan)), VectorError, r"1 of 7 .*NaN or infinity.*row 4, id 'd4'"),
    (lambda s: npy(s, IDS, with_row(2, np.inf)), VectorError, r"NaN or infinity.*row 2, id 'd2'"),
    (lambda s: npy(s, IDS, with_row(2, 1e300, np.float64)), VectorError, r"row 2, id 'd2'"),
    (
        lambda s: parquet(s, IDS, with_row(4, np.nan)),
        VectorError,
        r"documents\.parquet: 1 of 7 .*row 4, id 'd4'",
    ),
    (lambda s: arrow(s, IDS, with_row(0, 0)), VectorError, r"1 of 7 vectors are zero.*row 0, id 'd0'"),
    (lambda s: npy(s, IDS[:6], UNIT), DataError, r"7 vectors, but 6 ids"),
    (lambda s: npy(s, ["d0", *IDS[:6]], UNIT), DataError, r"id 'd0' stands for 2 rows"),
    (lambda s: npy(s, IDS, UNIT[0]), VectorError, r"shape \(4,\)"),
    (lambda s: npy(s, IDS, np.ones((7, 4), int)), VectorError, r"type int64"),
    (lambda s: npy(s, [], np.ones((0, 4), np.float32)), VectorError, r"no vectors"),
    (lambda s: parquet(s, [], np.ones((0, 4), np.float32)), VectorError, r"no vectors"),
    (
        lambda s: s.with_suffix(".npy").write_bytes(b"not numpy"),
        VectorError,
        r"documents\.npy: not a \.npy file",
    ),
    (
        lambda s: s.with_suffix(".parquet").write_bytes(b"not parquet"),
        DataError,
        r"documents\.parquet: cannot be read",
    ),
    (
        lambda s: s.with_suffix(".arrow").write_bytes(b"not arrow"),
        DataError,
        r"documents\.arrow: cannot be read",
    ),
    (pickled, VectorError, r"not a \.npy file of numbers"),
    (broken_json, DataError, r"ids\.json: not JSON"),
    (no_list, DataError, r"not a list of ids"),
    (wrong_encoding, DataError, r"ids\.txt: not UTF-8"),
    (no_ids, DataError, r"ids of its rows are missing.*documents\.ids\.txt"),
    (twice, DataError, r"documents\.npy and documents\.parquet"),
    (ragged, VectorError, r"row 2 has 2 numbers, others have 1"),
    (no_vector, VectorError, r"row 1 has no vector"),
    (empty_number, VectorError, r"row 1 holds an empty number"),
    (no_column, DataError, r"column 'vector' is missing \(columns: id, embedding\)"),
    (texts, VectorError, r"column 'vector' holds string"),
]


@pytest.mark.parametrize(("write", "kind", "line"), BAD)
def test_bad_files_get_one_line(
    tmp_path: Path, write: Callable[[Path], Any], kind: type[EmbedtuneError], line: str
) -> None:
    write(tmp_path / "documents")
    with pytest.raises(kind, match=line) as caught:
        VectorsEncoder(tmp_path)
    assert "\n" not in str(caught.value)


def test_infinities_past_the_first_block_are_found(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(vector_files, "BLOCK", 2)
    rows = with_row(5, np.nan)
    rows[3, 1] = -np.inf
    npy(tmp_path / "documents", IDS, rows)
    with pytest.raises(VectorError, match=r"2 of 7 .* row 3, id 'd3'"):
        VectorsEncoder(tmp_path)


def test_dimensions_must_agree(tmp_path: Path) -> None:
    npy(tmp_path / "documents", IDS, UNIT)
    npy(tmp_path / "queries", ["q"], np.ones((1, 3), np.float32))
    with pytest.raises(VectorError, match="queries have 3, documents have 4"):
        VectorsEncoder(tmp_path)


def test_missing_ids_folders_and_sides_are_named(tmp_path: Path) -> None:
    npy(tmp_path / "v" / "documents", IDS, UNIT)
    encoder = VectorsEncoder(tmp_path / "v")
    with pytest.raises(DataError, match="2 of 3 documents have no vector, the first is 'x'"):
        encoder.encode(["d1", "x", "y"])
    with pytest.raises(DataError, match="no vectors of queries"):
        encoder.encode(["q"], kind="query")
    with pytest.raises(ModelNotFound, match="no such folder"):
        VectorsEncoder(tmp_path / "nowhere")
    (tmp_path / "empty").mkdir()
    with pytest.raises(ModelNotFound, match="no vectors here"):
        VectorsEncoder(tmp_path / "empty")
    with pytest.raises(DataError, match="'docs' is neither"):
        VectorsEncoder.from_arrays({"docs": (IDS, UNIT)})
    with pytest.raises(DataError, match="7 vectors, but 2 ids"):
        write_vectors(tmp_path / "out", "document", ["a", "b"], UNIT)
    assert not (tmp_path / "out").exists()


def test_ids_may_be_a_json_list(tmp_path: Path) -> None:
    path = npy(tmp_path / "documents", IDS, UNIT)
    path.with_suffix(".ids.txt").unlink()
    path.with_suffix(".ids.json").write_text(json.dumps([*IDS[:6], 6]))
    assert VectorsEncoder(tmp_path).ids("document") == [*IDS[:6], "6"]
