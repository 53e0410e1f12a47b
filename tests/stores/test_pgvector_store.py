"""What is special about Postgres: one transaction for the switch, triggers, indexes, roles."""

from __future__ import annotations

import threading
from pathlib import Path

import numpy as np
import psycopg
import pytest

from embedtune import stores
from embedtune.artifact.tuned import Tuned
from embedtune.encoders.vectors import VectorsEncoder
from embedtune.errors import DiskFull, StoreError
from embedtune.stores.pgvector import PgVector
from embedtune.transforms import ItemDeltas, Linear

WIDTH = 16


@pytest.fixture
def connection(postgres, pgvector):
    with psycopg.connect(postgres, autocommit=True) as opened:
        yield opened


def columns(connection):
    rows = connection.execute(
        "select attname from pg_attribute"
        " where attrelid = 'docs'::regclass and attnum > 0 and not attisdropped"
    )
    return {name for (name,) in rows}


def test_a_reader_sees_one_version_or_the_other_and_never_fails(postgres, pgvector, tuned, mapped):
    old = pgvector.read()
    new = mapped(old)
    seen, wrong, over = set(), [], threading.Event()

    def read():
        with psycopg.connect(postgres, autocommit=True) as reader:
            while not over.is_set():
                try:
                    rows = reader.execute(
                        "select id, embedding::text from docs order by id limit 50"
                    ).fetchall()
                except psycopg.Error as error:
                    wrong.append(error)
                    return
                texts = {
                    str(i): np.array(text[1:-1].split(","), float).astype(np.float32) for i, text in rows
                }
                versions = {
                    name for name, rows_of in (("old", old), ("new", new))
                    if all(texts[i].tobytes() == rows_of[i].tobytes() for i in texts)
                }  # fmt: skip
                if len(versions) != 1:
                    wrong.append(versions)
                seen.update(versions)

    readers = [threading.Thread(target=read) for _ in range(2)]
    for reader in readers:
        reader.start()
    for _ in range(2):
        stores.apply(tuned, pgvector.url, batch=50, resume=True)
        stores.rollback(pgvector.url)
    stores.apply(tuned, pgvector.url, resume=True)
    over.set()
    for reader in readers:
        reader.join()
    assert not wrong
    assert seen == {"old", "new"}


def test_a_reader_in_a_long_transaction_does_not_make_others_queue(postgres, pgvector, tuned, mapped):
    wanted = mapped(pgvector.read())
    with psycopg.connect(postgres) as slow:
        slow.execute("select count(*) from docs")  # holds its lock until it commits
        threading.Timer(1.2, slow.commit).start()
        stores.apply(tuned, pgvector.url)
    assert {k: v.tobytes() for k, v in pgvector.read().items()} == {k: v.tobytes() for k, v in wanted.items()}


def test_a_row_that_changes_between_reading_and_writing_is_done_again(
    pgvector, tuned, mapped, monkeypatch, vectors
):
    write, once = PgVector.write, []

    def meddled(self, version, ids, made, marks=None):
        if not once:
            once.append(ids[3])
            pgvector.put([ids[3]], -vectors[:1])
        return write(self, version, ids, made, marks)

    monkeypatch.setattr(PgVector, "write", meddled)
    before = pgvector.read()
    result = stores.apply(tuned, pgvector.url)
    before[str(once[0])] = -vectors[0]
    wanted = mapped(before)
    assert result.written == len(before)  # the row was left out once, then written
    assert pgvector.read()[str(once[0])].tobytes() == wanted[str(once[0])].tobytes()


def test_rows_written_while_the_index_is_built_are_caught_up(pgvector, tuned, mapped, monkeypatch, vectors):
    index = PgVector.index

    def meddled(self, version, similarity):
        pgvector.put([5, 9001], -vectors[5:7])
        pgvector.drop([7])
        return index(self, version, similarity)

    monkeypatch.setattr(PgVector, "index", meddled)
    old = pgvector.read()
    stores.apply(tuned, pgvector.url)
    old["5"], old["9001"] = -vectors[5], -vectors[6]
    del old["7"]
    assert {k: v.tobytes() for k, v in pgvector.read().items()} == {
        k: v.tobytes() for k, v in mapped(old).items()
    }


def test_the_new_column_gets_the_indexes_of_the_old_one(connection, pgvector, tuned):
    connection.execute("create index on docs using hnsw (embedding vector_cosine_ops) with (m = 8)")
    connection.execute("create index halves on docs using hnsw ((embedding::halfvec(16)) halfvec_cosine_ops)")
    result = stores.apply(tuned, pgvector.url)
    assert result.index.count("hnsw like") == 2
    assert result.verified.recall >= 0.98
    found = connection.execute(
        "select pg_get_indexdef(indexrelid) from pg_index"
        " where indrelid = 'docs'::regclass and not indisprimary"
    ).fetchall()
    assert sorted("__et_base" in text for (text,) in found) == [False, False, True, True]
    assert sum("m='8'" in text for (text,) in found) == 2
    assert stores.prune(pgvector.url) == ["base"]
    assert columns(connection) == {"id", "body", "embedding"}


def test_an_index_whose_build_was_killed_is_built_again(connection, pgvector, tuned):
    connection.execute("create index on docs using hnsw (embedding vector_cosine_ops)")
    store = stores.open_store(pgvector.url)
    store.prepare("aaaa1111", WIDTH)
    store.index("aaaa1111", "cosine")
    connection.execute(
        "update pg_index set indisvalid = false where indexrelid ="
        " (select oid from pg_class where relname like 'embedtune_%_aaaa1111_0')"
    )
    store.index("aaaa1111", "cosine")
    assert connection.execute("select bool_and(indisvalid) from pg_index").fetchone() == (True,)
    store.close()


def test_null_vectors_are_listed_and_stay_null(connection, pgvector, tuned):
    connection.execute("insert into docs values (-1, 'no vector', null), (-2, 'none', null)")
    result = stores.apply(tuned, pgvector.url)
    assert result.nulls.count == 2
    assert set(result.nulls.first) == {-1, -2}
    assert "2 rows have no vector" in result.text()
    assert connection.execute("select embedding from docs where id = -1").fetchone() == (None,)


@pytest.mark.parametrize(("kind", "make"), [("text", "'row ' || n"), ("uuid", "gen_random_uuid()")])
def test_ids_may_be_texts_or_uuids(connection, postgres, tuned, vectors, kind, make):
    connection.execute("drop table if exists other")
    connection.execute(f"create table other (key {kind} primary key, embedding vector({WIDTH}))")
    connection.execute(
        f"insert into other select {make}, e.embedding from (select row_number() over () n, * from docs) e"
    )
    result = stores.apply(tuned, f"{postgres}&table=other&column=embedding", probe=False)
    assert (result.rows, result.written) == (600, 600)


def test_half_precision_is_kept_and_compared_as_such(connection, postgres, tuned):
    connection.execute("drop table if exists halves")
    connection.execute(f"create table halves (id int primary key, embedding halfvec({WIDTH}))")
    connection.execute("insert into halves select id, embedding::halfvec from docs")
    result = stores.apply(tuned, f"{postgres}&table=halves&column=embedding")
    assert result.status == "switched"
    assert result.verified.recall >= 0.98


def test_a_map_that_knows_items_gets_their_ids(pgvector, tuned, vectors):
    delta = np.ones((1, WIDTH), np.float32)
    stores.apply(Tuned(tuned.encoder, ItemDeltas(("17",), delta)), pgvector.url)
    found = pgvector.read()
    moved = vectors[17] + 1
    np.testing.assert_allclose(found["17"], moved / np.linalg.norm(moved), rtol=1e-6)
    assert found["18"].tobytes() == vectors[18].tobytes()


def test_a_map_to_fewer_dimensions_makes_a_narrower_column(pgvector, tuned):
    narrow = np.random.default_rng(0).standard_normal((8, WIDTH)).astype(np.float32)
    result = stores.apply(Tuned(tuned.encoder, Linear.shared(narrow)), pgvector.url)
    assert result.dimension == 8
    assert {len(row) for row in pgvector.read().values()} == {8}


def test_a_server_without_room_is_one_line_and_leaves_the_table_as_it_was(
    connection, pgvector, tuned, monkeypatch
):
    write = PgVector._write

    def full(self, version, ids, made, marks):
        if 300 in ids:
            raise psycopg.errors.DiskFull("could not extend file: No space left on device")
        return write(self, version, ids, made, marks)

    monkeypatch.setattr(PgVector, "_write", full)
    before = pgvector.read()
    with pytest.raises(DiskFull, match="no room left"):
        stores.apply(tuned, pgvector.url, batch=100)
    assert columns(connection) == {"id", "body", "embedding"}
    assert connection.execute(
        "select count(*) from pg_trigger where tgrelid = 'docs'::regclass"
    ).fetchone() == (0,)
    assert {k: v.tobytes() for k, v in pgvector.read().items()} == {k: v.tobytes() for k, v in before.items()}


@pytest.mark.parametrize(
    ("change", "message"),
    [
        (("table=docs", "table=dox"), "there is no table 'dox'"),
        (
            ("column=embedding", "column=embeding"),
            "has no column 'embeding'; choose from id, body, embedding",
        ),
        (("column=embedding", "column=body"), "is of type text, not vector"),
        (("table=docs&", ""), "the URL names no table"),
        (("postgres:@", "nobody:pa55word@"), 'role "nobody" does not exist'),
        (("host=", "port=1&host="), "cannot be reached"),
    ],
)
def test_what_is_not_there_is_told_in_one_line_without_passwords(pgvector, change, message):
    with pytest.raises(StoreError, match=message) as told:
        stores.open_store(pgvector.url.replace(*change))
    assert "pa55word" not in str(told.value)
    assert "\n" not in str(told.value)


def test_a_column_of_mixed_dimensions_is_refused(connection, postgres):
    connection.execute("drop table if exists mixed")
    connection.execute("create table mixed (id int primary key, embedding vector)")
    connection.execute("insert into mixed values (1, '[1,2]'), (2, '[1,2]'), (3, '[1,2,3]')")
    with pytest.raises(
        StoreError, match="1 rows have another dimension than the other 2 with 2; the first is '3'"
    ):
        stores.open_store(f"{postgres}&table=mixed&column=embedding")


def test_a_role_that_may_only_read_is_refused_and_changes_nothing(connection, pgvector, tuned):
    connection.execute("drop owned by reader cascade" if has_role(connection) else "create role reader login")
    connection.execute("grant select on docs to reader")
    with pytest.raises(StoreError, match=r"permission denied|must be owner"):
        stores.apply(tuned, pgvector.url.replace("postgres:@", "reader:@"), probe=False)
    assert columns(connection) == {"id", "body", "embedding"}


def has_role(connection):
    return connection.execute("select 1 from pg_roles where rolname = 'reader'").fetchone() is not None


def test_another_apply_in_progress_is_refused(pgvector, tuned):
    first = stores.open_store(pgvector.url)
    with first.lock(), pytest.raises(StoreError, match="another apply is in progress"):
        stores.apply(tuned, pgvector.url)
    first.close()


def test_vectors_of_another_base_are_refused(pgvector, tuned, vectors):
    other = np.roll(vectors, 1, axis=0)
    ids = [str(i) for i in range(len(vectors))]
    encoder = VectorsEncoder.from_arrays({"documents": (ids, np.ascontiguousarray(other))})
    with pytest.raises(StoreError, match="not those of the base"):
        stores.apply(Tuned(encoder, tuned.transform), pgvector.url)


def test_a_password_that_is_refused_is_told_in_one_line_without_it(connection, pgvector):
    """The server asks one role for a password; all others it trusts."""
    (place,) = connection.execute("show hba_file").fetchone()
    trusting = Path(place).read_text("utf-8")
    connection.execute("drop role if exists locked")
    connection.execute("create role locked login password 'right'")
    Path(place).write_text("local all locked scram-sha-256\n" + trusting, "utf-8")
    connection.execute("select pg_reload_conf()")
    try:
        with pytest.raises(StoreError, match='password authentication failed for user "locked"') as told:
            stores.open_store(pgvector.url.replace("postgres:@", "locked:wr0ng@"))
    finally:
        Path(place).write_text(trusting, "utf-8")
        connection.execute("select pg_reload_conf()")
        connection.execute("drop role locked")
    assert "wr0ng" not in str(told.value)
    assert "\n" not in str(told.value)


def test_a_batch_is_written_without_reading_the_whole_table(connection, pgvector):
    """Rows read one after another are counted by the server once a connection has ended."""
    connection.execute("insert into docs select n, '', embedding from docs, generate_series(1000, 6000) n"
                       " where id = 0")  # fmt: skip
    connection.execute("analyze docs")
    rows = connection.execute("select count(*) from docs").fetchone()[0]
    before = seen(connection)
    store = stores.open_store(pgvector.url)
    store.prepare("aaaa1111", WIDTH)
    batches = 0
    for batch in store.pending("aaaa1111", 200):
        assert store.write("aaaa1111", batch.ids, batch.vectors, batch.marks) == len(batch.ids)
        batches += 1
    assert store.count("aaaa1111") == rows
    store.discard("aaaa1111")
    store.close()
    assert batches >= 20
    assert seen(connection) - before < 8 * rows  # once to read, once to write, a few times to count


def seen(connection):
    """Give how many rows of the table were read in its order."""
    connection.execute("select pg_sleep(0.3)")
    query = "select seq_tup_read from pg_stat_user_tables where relid = 'docs'::regclass"
    return connection.execute(query).fetchone()[0]


def test_autovacuum_gives_way(connection, pgvector, tuned):
    """One that would take a minute, as it often comes right after a version was filled."""
    connection.execute("insert into docs select n, '', embedding from docs, generate_series(1000, 60000) n"
                       " where id = 0")  # fmt: skip
    connection.execute(
        "alter table docs set (autovacuum_vacuum_threshold = 0, autovacuum_vacuum_scale_factor = 0,"
        " autovacuum_vacuum_insert_threshold = 0, autovacuum_vacuum_insert_scale_factor = 0,"
        " autovacuum_vacuum_cost_delay = 100, autovacuum_vacuum_cost_limit = 1)"
    )
    connection.execute("alter system set autovacuum_naptime = 1")
    connection.execute("select pg_reload_conf()")
    try:
        connection.execute("delete from docs where id > 1000 and id % 2 = 0")
        working = "select count(*) from pg_stat_progress_vacuum where relid = 'docs'::regclass"
        for _ in range(300):
            if connection.execute(working).fetchone()[0]:
                break
            connection.execute("select pg_sleep(0.1)")
        assert connection.execute(working).fetchone() == (1,)
        store = stores.open_store(pgvector.url)
        store.prepare("aaaa1111", WIDTH)
        store.discard("aaaa1111")
        store.close()
    finally:
        connection.execute("alter system reset autovacuum_naptime")
        connection.execute("select pg_reload_conf()")
        connection.execute("drop table docs")
