"""Small worlds whose truth is known: queries are their documents seen through a linear map."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, replace

import numpy as np
import pytest
from scipy.sparse import csr_matrix
from unit_length import unit

from embedtune.judging.labelled import Labelled
from embedtune.transforms import Identity
from embedtune.tuners import TuningData
from embedtune.types import Transform, Vectors


@dataclass(frozen=True)
class World:
    """Training queries, and as many held-out ones on other documents."""

    train: Labelled
    held_out: Labelled
    map: Vectors
    """Takes documents to queries, (d, d)."""

    @property
    def data(self) -> TuningData:
        return self.train.training(self.train.relevance)

    def gain(self, transform: Transform) -> float:
        """Gain in nDCG@10 on the held-out queries."""
        scores = [self.held_out.scores(t, ("ndcg@10",))["ndcg@10"] for t in (Identity(), transform)]
        return float((scores[1] - scores[0]).mean())


@pytest.fixture
def make_world() -> Callable[..., World]:
    """Give what makes a world: ``n`` training queries, each on a document of its own."""

    def make(
        n: int = 200,
        documents: int = 600,
        d: int = 12,
        *,
        turn: float = 1.0,
        noise: float = 0.1,
        similarity: str = "cosine",
        seed: int = 0,
    ) -> World:
        rng = np.random.default_rng(seed)
        z = unit(rng.standard_normal((documents, d)))
        if similarity == "dot":
            z *= rng.uniform(0.5, 2, (documents, 1)).astype(np.float32)
        # the rotation of a random size-`turn` generator: far from the identity, but a rotation
        generator = rng.standard_normal((d, d)) * turn / np.sqrt(d)
        values, axes = np.linalg.eigh(1j * (generator - generator.T))
        rotation = (axes * np.exp(-1j * values)) @ axes.conj().T
        seen_through = np.real(rotation).astype(np.float32)
        asked = rng.permutation(documents)[: 2 * n]
        q = z[asked] @ seen_through.T + noise * rng.standard_normal((len(asked), d)) / np.sqrt(d)
        q = (unit(q) if similarity == "cosine" else q).astype(np.float32)
        ids = [f"d{i}" for i in range(documents)]

        def part(rows: slice) -> Labelled:
            count = len(asked[rows])
            ones = np.ones(count, np.float32)
            pairs = csr_matrix((ones, (np.arange(count), asked[rows])), shape=(count, documents))
            return Labelled(q[rows], z, pairs, ids, np.arange(count), similarity)

        return World(part(slice(0, n)), part(slice(n, 2 * n)), seen_through)

    return make


@pytest.fixture
def graded() -> TuningData:
    """Give four queries over six documents: several positives, grades, known pairs, judged negatives."""
    rng = np.random.default_rng(3)
    positives = np.zeros((4, 6), np.float32)
    positives[0, [0, 1]] = [1, 3]
    positives[1, 2] = 1
    positives[2, [2, 5]] = [2, 2]
    positives[3, 4] = 5
    known = (positives > 0).astype(np.float32)
    known[1, 3] = known[3, 0] = 1  # known to be relevant, but held out
    return TuningData(
        unit(rng.standard_normal((4, 3))),
        unit(rng.standard_normal((6, 3))),
        csr_matrix(positives),
        csr_matrix(known),
        [f"d{i}" for i in range(6)],
    )


@pytest.fixture
def as_dot() -> Callable[[TuningData], TuningData]:
    """Give what makes training data of other lengths, compared by inner product."""

    def convert(data: TuningData) -> TuningData:
        lengths = np.linspace(0.5, 2, len(data.documents), dtype=np.float32)[:, None]
        return replace(data, queries=data.queries * 1.5, documents=data.documents * lengths, similarity="dot")

    return convert


@pytest.fixture
def make_repeated(make_world: Callable[..., World]) -> Callable[..., World]:
    """Give what makes a world in which a fifth as many documents have five queries each."""

    def make(n: int = 50, documents: int = 120) -> World:
        world = make_world(n, documents, turn=1.0)
        rng = np.random.default_rng(0)
        z = world.train.documents

        def part() -> Labelled:
            asked = np.repeat(np.arange(n // 5), 5)
            q = unit(z[asked] @ world.map.T + 0.1 * rng.standard_normal((n, z.shape[1])))
            pairs = csr_matrix((np.ones(n, np.float32), (np.arange(n), asked)), shape=(n, documents))
            return replace(world.train, queries=q, relevance=pairs)

        return World(part(), part(), world.map)

    return make
