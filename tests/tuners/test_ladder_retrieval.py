"""The ladder of retrieval: what stands on what."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from typing import Any

import numpy as np
import pytest
from scipy.sparse import csr_matrix
from unit_length import unit

from embedtune.judging.labelled import Labelled
from embedtune.training.budget import Budget
from embedtune.training.of_documents import Unread
from embedtune.transforms import Linear
from embedtune.tuners.auto import Choice, Tried, choose
from embedtune.tuners.identity import IdentityTuner
from embedtune.tuners.ladder_retrieval import ladder
from embedtune.tuners.read_on import ReadOn
from embedtune.tuners.whitened import Whitened


def climbed(labelled: Labelled) -> Choice:
    return choose(labelled, ladder=ladder, method="auto", metric="ndcg@10", seed=0, budget=Budget())


@pytest.fixture
def asked_again(make_world: Callable[..., Any]) -> Labelled:
    """Give queries that ask for the same documents again and again."""
    world = make_world(n=150, documents=200, noise=0.5)
    asked = np.arange(150) % 50
    rng = np.random.default_rng(1)
    q = world.train.documents[asked] @ world.map.T + 0.3 * rng.standard_normal((150, 12)) / np.sqrt(12)
    pairs = csr_matrix((np.ones(150, np.float32), (np.arange(150), asked)), shape=(150, 200))
    q = (q / np.linalg.norm(q, axis=1, keepdims=True)).astype(np.float32)
    return Labelled(q, world.train.documents, pairs, world.train.document_ids, np.arange(150))


def test_the_best_adapter_is_tried_on_whitened_vectors_once(asked_again: Labelled) -> None:
    tried = climbed(asked_again).tried
    names = list(dict.fromkeys(one.name for one in tried))
    at = next(i for i, name in enumerate(names) if name.endswith(", whitened)"))
    before = [one for one in tried if one.name in names[:at] and one.name.startswith("linear")]
    best = max(before, key=lambda one: one.mean)
    again = next(one for one in tried if one.name == names[at])
    assert names[at] == f"{best.name[:-1]}, whitened)"
    assert best.candidate is not None
    assert again.candidate is not None
    assert again.candidate.tuner == Whitened(best.candidate.tuner)
    assert again.rung == 2  # the stored documents move
    assert sum(name.endswith(", whitened)") for name in names) == 1


def tuners(tried: list[Tried]) -> dict[str, Any]:
    return {one.name: one.candidate.tuner for one in tried if one.candidate is not None}


def test_where_reading_on_alone_gains_nothing_no_adapter_stands_on_it(asked_again: Labelled) -> None:
    assert not any("read on" in name for name in tuners(climbed(asked_again).tried))
    rest = np.random.default_rng(0).standard_normal((100, 12)).astype(np.float32)
    tried = climbed(replace(asked_again, unread=Unread(rest, np.arange(0, 200, 2)))).tried
    found = tuners(tried)
    assert found["read on"] == ReadOn(IdentityTuner())
    assert [name for name in found if "read on" in name] == ["read on"]
    assert any(name.endswith("whitened)") for name in found)


def takes_it(self: Whitened, *_: Any, **__: Any) -> Linear:
    return Linear.shared(np.diag([1] + [0.01] * 11).astype(np.float32))


def leaves_it(self: Whitened, *data: Any, **settings: Any) -> Any:
    return self.tuner.fit(*data, **settings)


@pytest.mark.parametrize("whitening", [takes_it, leaves_it])
def test_where_it_gains_the_best_adapter_is_tried_on_it_whitened_and_without_where_that_took_the_gain(
    asked_again: Labelled, whitening: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(Whitened, "fit", whitening)
    whole, rng = asked_again.documents, np.random.default_rng(5)
    noise = 0.3 * rng.standard_normal(whole.shape).astype(np.float32)
    queries = unit(whole[np.arange(150) % 50] + 0.1 * rng.standard_normal((150, 12)).astype(np.float32))
    rest = Unread(unit(whole - noise), np.arange(200))
    tried = climbed(replace(asked_again, queries=queries, documents=unit(whole + noise), unread=rest)).tried
    found = tuners(tried)
    before = list(found)[: list(found).index("read on")]
    best = max(
        (one for one in tried if one.name in before and "linear" in one.name), key=lambda one: one.mean
    )
    assert best.candidate is not None
    name, tuner = best.name[:-1], best.candidate.tuner
    assert found[f"{name}, whitened, read on)"] == ReadOn(Whitened(tuner))
    assert (f"{name}, read on)" in found) is (whitening is takes_it)
    assert found.get(f"{name}, read on)", ReadOn(tuner)) == ReadOn(tuner)
    assert all(one.candidate is None or one.candidate.rung == 2 for one in tried if "read on" in one.name)


def test_shifts_stand_on_adapters_that_are_not_exaggerated(asked_again: Labelled) -> None:
    tried = climbed(asked_again).tried
    stacked = [one.candidate for one in tried if "deltas" in one.name]
    assert {name.split("(")[-1] for name in (one.name for one in stacked if one)} == {"gentle)", "firm)"}
    assert all(one is not None and one.below_strength <= 1 for one in stacked)


def test_whitening_is_chosen_where_strong_directions_drown_the_others(make_world: Callable[..., Any]) -> None:
    """A single map of both sides: the labels are too few to find what the documents show at once."""
    world = make_world(n=40, documents=500, d=24, turn=0.0, noise=0.6)
    strong = np.eye(24, dtype=np.float32)
    strong[:4] *= 8.0
    below = Linear.shared(strong)
    drowned = replace(
        world.train,
        queries=below.queries(world.train.queries),
        documents=below.documents(world.train.documents),
    )
    found = climbed(drowned)
    assert found.chosen.name.endswith("whitened)")
    whitened = [one.mean for one in found.tried if one.name.endswith("whitened)")]
    assert max(whitened) > max(one.mean for one in found.tried if "whitened" not in one.name) + 0.02
