"""What is special about files: names exchanged in one step, killed exchanges, nulls, kinds of index."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from embedtune import stores
from embedtune.errors import StoreError
from embedtune.stores import files


@pytest.mark.parametrize("kind", ["parquet", "numpy_file"])
@pytest.mark.parametrize("done", [False, True])
def test_an_exchange_that_was_killed_is_ended_when_it_is_opened(
    request, kind, done, tuned, mapped, monkeypatch
):
    case = request.getfixturevalue(kind)
    old = case.read()
    own = files.exchange

    def killed(a, b):
        if done:
            own(a, b)
        raise KeyboardInterrupt

    monkeypatch.setattr(files, "exchange", killed)
    with pytest.raises(KeyboardInterrupt):
        stores.apply(tuned, case.url)
    monkeypatch.setattr(files, "exchange", own)
    store = stores.open_store(case.url)
    assert store.layout().base == done
    result = stores.apply(tuned, case.url, resume=True)
    assert (result.status, result.written) == ("switched", 0)
    assert {k: v.tobytes() for k, v in case.read().items()} == {
        k: v.tobytes() for k, v in mapped(old).items()
    }


@pytest.mark.parametrize("folder", [False, True])
def test_names_are_exchanged_where_the_system_cannot_do_it_in_one_step(tmp_path, monkeypatch, folder):
    monkeypatch.setattr(files, "_exchanged", lambda a, b: False)
    for name in ("a", "b"):
        if folder:
            (tmp_path / name).mkdir()
            (tmp_path / name / "which").write_text(name)
        else:
            (tmp_path / name).write_text(name)
    files.exchange(tmp_path / "a", tmp_path / "b")
    inside = "which" if folder else ""
    assert [(tmp_path / name / inside).read_text() for name in ("a", "b")] == ["b", "a"]
    assert sorted(one.name for one in tmp_path.iterdir()) == ["a", "b"]


def test_rows_of_parquet_without_a_vector_stay_so(tmp_path, tuned, vectors):
    path = tmp_path / "docs.parquet"
    lists = [None, *vectors[1:50].tolist(), None]
    table = pa.table(
        {"id": [str(i) for i in range(51)], "vector": pa.array(lists, pa.list_(pa.float32(), 16))}
    )
    pq.write_table(table, path)
    result = stores.apply(tuned, f"parquet://{path}")
    assert (result.rows, result.nulls.first) == (49, ("0", "50"))
    found = pq.read_table(path)
    assert found.schema.field("vector").type == table.schema.field("vector").type
    assert [i for i, row in enumerate(found["vector"].to_pylist()) if row is None] == [0, 50]
    assert stores.apply(tuned, f"parquet://{path}").written == 0


def test_other_files_of_a_folder_go_along(parquet, tuned, tmp_path):
    (tmp_path / "parquet" / "README.txt").write_text("mine")
    stores.apply(tuned, parquet.url)
    assert (tmp_path / "parquet" / "README.txt").read_text() == "mine"
    stores.prune(parquet.url)
    left = sorted(one.name for one in tmp_path.iterdir() if not one.name.startswith(".parquet__et_."))
    assert left == ["parquet"]


@pytest.mark.parametrize("factory", ["Flat", "HNSW8,Flat", "IVF4,Flat", "IDMap,Flat"])
def test_every_exact_kind_of_index_is_built_again(tmp_path, tuned, mapped, vectors, factory):
    library = pytest.importorskip("faiss")
    index = library.index_factory(16, factory, library.METRIC_INNER_PRODUCT)
    index.train(vectors)
    if factory.startswith("IDMap"):
        index.add_with_ids(vectors, np.arange(600))
    else:
        index.add(vectors)
    path = tmp_path / "one.index"
    library.write_index(index, str(path))
    before = library.read_index(str(path))
    result = stores.apply(tuned, f"faiss://{path}")
    assert result.verified.recall >= 0.98
    found = library.read_index(str(path))
    assert type(library.downcast_index(found)) is type(library.downcast_index(before))
    store = stores.open_store(f"faiss://{path}")
    wanted = mapped({str(i): row for i, row in enumerate(vectors)})
    rows = next(store.scan(600))
    assert rows.vectors.tobytes() == np.stack([wanted[str(i)] for i in rows.ids]).tobytes()


def test_a_compressed_index_is_refused(tmp_path, vectors):
    library = pytest.importorskip("faiss")
    index = library.index_factory(16, "SQ8", library.METRIC_INNER_PRODUCT)
    index.train(vectors)
    index.add(vectors)
    library.write_index(index, str(tmp_path / "small.index"))
    with pytest.raises(StoreError, match="does not hold vectors exactly"):
        stores.open_store(f"faiss://{tmp_path}/small.index")


@pytest.mark.parametrize(
    ("url", "message"),
    [
        ("parquet://{}/nothing", "there is no such folder"),
        ("parquet://{}", "there are no vectors here"),
        ("parquet://{}/one.parquet?column=v", "has no column 'v'; choose from id, vector"),
        ("parquet://{}/one.parquet?column=id", "not lists of numbers"),
        ("parquet://{}/one.parquet?colum=v", "there is no parameter 'colum'"),
        ("parquet://{}/odd.parquet", "another dimension than the other"),
        ("parquet://{}/not.parquet", "cannot be read"),
        ("numpy://{}/not.npy", "cannot be read|not a .npy"),
        ("faiss://{}/not.npy", "FAISS cannot read it"),
    ],
)
def test_what_is_no_store_of_files_is_told(tmp_path, url, message):
    place = tmp_path / "empty"
    place.mkdir()
    if "nothing" not in url and url != "parquet://{}":
        pq.write_table(pa.table({"id": ["a"], "vector": [[1.0, 2.0]]}), place / "one.parquet")
        pq.write_table(pa.table({"id": ["a", "b"], "vector": [[1.0, 2.0], [1.0]]}), place / "odd.parquet")
        (place / "not.parquet").write_text("no")
        (place / "not.npy").write_text("no")
    with pytest.raises(StoreError, match=rf"{message}"):
        stores.open_store(url.format(place))


@pytest.mark.skipif(not Path("/proc/self/smaps").exists(), reason="only Linux tells what is resident")
def test_a_numpy_file_is_not_resident_once_it_has_been_read(tmp_path):
    path = tmp_path / "documents.npy"
    np.save(path, np.ones((20_000, 100), np.float32))
    path.with_suffix(".ids.txt").write_text("\n".join(map(str, range(20_000))), "utf-8")
    store = stores.open_store(f"numpy://{path}")
    read = 0
    for batch in store.scan(1000):
        read += len(batch.ids)
        most = resident(path)
    assert read == 20_000
    assert most < 2_000_000  # of 8 MB
    store.close()


def resident(path):
    """Give the bytes of a mapped file that are in memory."""
    found, ours = 0, False
    for line in Path("/proc/self/smaps").read_text("utf-8").splitlines():
        if not line.split()[0].endswith(":"):
            ours = line.endswith(str(path))
        elif ours and line.startswith("Rss:"):
            found += int(line.split()[1]) * 1024
    return found
