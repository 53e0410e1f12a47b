"""A map applied to every kind of store: to the bit, resumed, rolled back, caught up, refused."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest

from embedtune import stores
from embedtune.artifact.tuned import Tuned
from embedtune.errors import StoreError, UserError
from embedtune.stores import applying
from embedtune.transforms import Chain, Identity, Linear


def exactly(found, wanted):
    """Compare to the bit, with a message that is short."""
    assert set(found) == set(wanted)
    wrong = [name for name in wanted if found[name].tobytes() != wanted[name].astype(np.float32).tobytes()]
    assert not wrong


def nearly(found, wanted):
    assert set(found) == set(wanted)
    for name in wanted:
        np.testing.assert_allclose(found[name], wanted[name], atol=2e-6)


def alike(case):
    """Give how vectors of a store are compared: Qdrant normalises what it is given."""
    return nearly if opened(case.url)[0] else exactly


def opened(url):
    """Give whether a store changes vectors, and which versions it holds."""
    store = stores.open_store(url)
    found = store.tolerance, store.layout()
    store.close()
    return found


def test_a_store_is_read_as_it_is(case, vectors):
    store = stores.open_store(case.url)
    found = {}
    for batch in store.scan(100):
        found |= dict(zip(map(str, batch.ids), batch.vectors, strict=True))
    (nearly if store.tolerance else exactly)(found, {str(i): row for i, row in enumerate(vectors)})
    assert (store.count(), store.dimension, store.nulls().count) == (600, 16, 0)
    some = store.fetch([3, 599] if isinstance(batch.ids[0], int) else ["3", "599"])
    assert sorted(map(str, some.ids)) == ["3", "599"]
    store.close()


def test_applied_rolled_back_applied_again_and_pruned(case, tuned, mapped):
    old = case.read()
    new = mapped(old)
    compare = alike(case)
    first = stores.apply(tuned, case.url, batch=128)
    assert (first.status, first.rows, first.written) == ("switched", 600, 600)
    assert first.verified.recall >= 0.98
    assert first.verified.sample == 600
    compare(case.read(), new)
    assert stores.apply(tuned, case.url).written == 0  # it is there already
    assert stores.rollback(case.url) == first.version
    compare(case.read(), old)
    with pytest.raises(StoreError, match="begun or rolled back before; go on with --resume"):
        stores.apply(tuned, case.url)
    again = stores.apply(tuned, case.url, resume=True)
    assert again.written == 0  # what was made before is right still
    compare(case.read(), new)
    assert stores.prune(case.url) == ["base"]
    compare(case.read(), new)
    with pytest.raises(StoreError, match="no version to go back to"):
        stores.rollback(case.url)
    other = Tuned(tuned.encoder, Linear.shared(2 * tuned.transform.query))
    with pytest.raises(StoreError, match=r"serves version \w+ already"):
        stores.apply(other, case.url)


def test_a_run_that_stops_is_resumed_to_the_same_bytes(case, tuned, mapped):
    wanted = mapped(case.read())
    compare = alike(case)

    def stop(stage, done, total):
        if stage == "apply" and done >= 300:
            raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        stores.apply(tuned, case.url, batch=60, progress=stop)
    assert set(case.read()) == set(wanted)
    with pytest.raises(StoreError, match="go on with --resume"):
        stores.apply(tuned, case.url)
    result = stores.apply(tuned, case.url, batch=60, resume=True)
    assert 0 < result.written < 600
    compare(case.read(), wanted)


def test_rows_written_during_the_run_are_caught_up(case, tuned, mapped, vectors):
    compare, done_once = alike(case), []

    def meddle(stage, done, total):
        if stage == "apply" and done >= 300 and not done_once:
            done_once.append(True)
            case.put([0, 599, 1000], -vectors[:3])
            case.drop([1, 598])

    old = case.read()
    stores.apply(tuned, case.url, batch=60, progress=meddle)
    assert done_once
    old |= {"0": -vectors[0], "599": -vectors[1], "1000": -vectors[2]}
    del old["1"], old["598"]
    compare(case.read(), mapped(old))


def test_what_does_not_pass_is_not_switched_to(case, tuned, monkeypatch):
    old = case.read()
    own = applying.verify

    def broken(store, version, mapped, **options):
        rows = next(store.scan(10, version))
        store.write(version, rows.ids, np.ascontiguousarray(-rows.vectors))
        return own(store, version, mapped, **{**options, "catch_up": lambda: 0})

    monkeypatch.setattr(applying, "verify", broken)
    with pytest.raises(StoreError, match="are not what the map gives"):
        stores.apply(tuned, case.url)
    alike(case)(case.read(), old)
    assert opened(case.url)[1] == stores.Layout()


def test_a_dry_run_writes_nothing(case, tuned):
    old = case.read()
    plan = stores.apply(tuned, case.url, dry_run=True)
    assert (plan.status, plan.rows, plan.bytes, plan.dimension) == ("dry run", 600, 600 * 16 * 4, 16)
    assert plan.minutes > 0
    assert plan.probes == pytest.approx(1, abs=1e-4)
    assert opened(case.url)[1] == stores.Layout()
    alike(case)(case.read(), old)


@pytest.mark.parametrize("transform", [Identity(), Linear(query=np.eye(16, dtype=np.float32)), Chain()])
def test_a_map_of_queries_needs_no_writes(tuned, transform):
    result = stores.apply(Tuned(tuned.encoder, transform), "postgresql://nobody:hidden@nowhere/none?table=x")
    assert result.status == "nothing to write"
    assert "maps queries alone" in result.text()
    assert "hidden" not in str(result)


def test_another_apply_in_progress_is_refused(case, tuned):
    first = stores.open_store(case.url)
    with first.lock(), pytest.raises(StoreError, match="another apply is in progress"):
        stores.apply(tuned, case.url)
    first.close()
    assert stores.apply(tuned, case.url).status == "switched"


def test_a_base_of_other_dimensions_is_refused(case, tuned, vectors):
    from embedtune.encoders.vectors import VectorsEncoder

    encoder = VectorsEncoder.from_arrays({"documents": (["0", "1"], np.eye(2, 8, dtype=np.float32))})
    other = Tuned(encoder, Linear.shared(2 * np.eye(8, dtype=np.float32)))
    with pytest.raises(StoreError, match=r"has vectors of 16 dimensions, and the base 'vectors' .* gives 8"):
        stores.apply(other, case.url)


class OtherBase:
    """The same vectors from a model of another name."""

    def __init__(self, inner):
        self.inner, self.name, self.fingerprint = inner, "other", "other"

    def __getattr__(self, name):
        return getattr(self.inner, name)


def test_without_a_probe_the_base_that_was_proved_before_is_remembered(case, tuned):
    other = Tuned(OtherBase(tuned.encoder), Linear.shared(2 * tuned.transform.query))
    assert stores.apply(tuned, case.url).probes > 0.99
    stores.rollback(case.url)
    stores.prune(case.url)
    before = case.read()
    with pytest.raises(StoreError, match="another fingerprint; leave --no-probe out"):
        stores.apply(other, case.url, probe=False)
    assert not opened(case.url)[1].others
    assert case.read().keys() == before.keys()
    assert stores.apply(other, case.url).status == "switched"  # its texts tell that it is right all the same


def test_what_told_that_the_vectors_are_the_bases_is_said(parquet, tuned):
    def said(url, *, probe=True):
        plan = stores.apply(tuned, url, dry_run=True, probe=probe)
        assert "median cosine" not in plan.text() or plan.probes is not None
        return plan.compared, plan.text()

    unknown = replace(tuned, encoder=WithoutIds(tuned.encoder))
    first = stores.apply(unknown, parquet.url.partition("?")[0], dry_run=True)
    assert (first.compared, first.probes) == ("dimensions", None)
    assert "not looked at, only their dimensions: give --data" in first.text()
    compared, text = said(parquet.url, probe=False)
    assert compared == "dimensions"
    assert "not looked at, only their dimensions: leave --no-probe out" in text
    done = stores.apply(tuned, parquet.url)
    assert done.compared == "texts"
    assert "are the base's: median cosine 1.0000 on texts encoded again" in done.text()
    assert stores.apply(tuned, parquet.url).compared == ""  # switched before: nothing is looked at
    stores.rollback(parquet.url)
    compared, text = said(parquet.url, probe=False)
    assert compared == "fingerprint"
    assert "not looked at, only" not in text
    assert "the base is the one that an earlier run has proved" in text


class WithoutIds(OtherBase):
    """A base of ids that knows none of the store's."""

    def __init__(self, inner):
        super().__init__(inner)
        self.ids = lambda kind: []


def test_a_url_without_a_scheme_or_of_an_unknown_one_is_told():
    with pytest.raises(StoreError, match="is no URL of a store"):
        stores.open_store("docs")
    with pytest.raises(UserError, match="there is no store called 'mysql'"):
        stores.open_store("mysql://me:hidden@host/db")


def test_rows_that_change_after_a_rollback_are_made_anew_when_it_is_resumed(case, tuned, mapped, vectors):
    compare = alike(case)
    stores.apply(tuned, case.url)
    stores.rollback(case.url)
    case.put([4, 2000], -vectors[4:6])
    case.drop([9])
    old = case.read()
    result = stores.apply(tuned, case.url, resume=True)
    assert result.written <= 600
    compare(case.read(), mapped(old))


def test_a_store_that_fails_midway_is_as_it_was_and_can_be_gone_on_with(case, tuned, mapped, monkeypatch):
    old = case.read()
    store = stores.open_store(case.url)
    kind = type(store)
    store.close()
    write, calls = kind.write, []

    def fails(self, version, ids, made, marks=None):
        calls.append(len(ids))
        if len(calls) == 3:
            raise StoreError("the connection is lost", where=self.url)
        return write(self, version, ids, made, marks)

    monkeypatch.setattr(kind, "write", fails)
    with pytest.raises(StoreError, match="the connection is lost"):
        stores.apply(tuned, case.url, batch=60)
    alike(case)(case.read(), old)
    result = stores.apply(tuned, case.url, batch=60, resume=True)
    assert 0 < result.written < 600
    alike(case)(case.read(), mapped(old))
