"""Labelled items as a problem: what candidates are fitted to, and judged on by what users do with vectors."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace

import numpy as np
from numpy.typing import NDArray
from scipy.sparse import csr_matrix, eye

from embedtune.data.stratified import stratified_parts, stratified_sample
from embedtune.errors import UserError
from embedtune.judging.logistic import fit_logistic
from embedtune.judging.many import JUDGED, LEARNT, MAPPED, TRAINED
from embedtune.judging.neighbours import among_items
from embedtune.judging.problem import Plain, Round
from embedtune.judging.voting import MEASURES, average_precision, chosen_classes, vote
from embedtune.mapped import gather
from embedtune.memory import at_most
from embedtune.training.items import LabelledItems
from embedtune.transforms.blocks import unit_length
from embedtune.types import Similarity, Transform, Vectors

Rows = NDArray[np.int64]
Values = NDArray[np.float64]

MANY = 4000
"""From so many items on, a tenth is held out at a time, and not every tenth has its turn."""

ENOUGH = 2500
"""Items judged out of fold, about, where there are many."""

UNSEEN = "unseen classes"
"""Stratum of items whose classes have no training item."""

SINGLE = ("accuracy", "macro_f1", "map", "logreg_accuracy", "logreg_macro_f1")
MULTI = ("f1", "subset_accuracy", "macro_f1", "map", "logreg_f1", "logreg_macro_f1")


@dataclass(frozen=True)
class Classified(Plain):
    """Labelled items that candidates are fitted to, and judged on.

    Parameters
    ----------
    items : LabelledItems
        The items that are judged; n of them.
    groups : int array of shape (n,)
        Near-duplicate items share a number and never straddle a fold.
    reference : LabelledItems, optional
        The items that train and vote, where they are others than those judged: for a test split, the
        training items, with the same classes. By default the items themselves, each never its own
        neighbour.
    unseen : bool
        Whether the classes that will be asked for are others than those that train, as in search by
        example. Whole classes are then held out, and the judged items are looked for among each other,
        never among items that trained; there is no regression, as nothing of their classes is known.
    fixed : tuple of Round
        Rounds that are given, where training is too long for more; drawn unless given.

    Notes
    -----
    A tuner is fitted to :data:`~embedtune.judging.many.LEARNT` items at most, a fold to
    :data:`~embedtune.judging.many.TRAINED`: a sample with every class in its share. All training items vote
    on those of a test split.

    Rows given as ``train`` are rows of the reference. Metrics, all higher for better and between 0 and 1:

    ``accuracy``
        The class that the 10 nearest training items vote for, each with the weight 1 / (1 - cosine),
        is the item's. With several classes an item, ``f1`` (of each item's set of classes; a class is
        predicted with at least half of the votes) and ``subset_accuracy`` (the sets are equal).
    ``macro_f1``
        Mean over the classes of the F1 of the same predictions. The values of the items are its
        linearisation (influence function): their mean is the metric, their spread its uncertainty.
    ``map``
        Mean average precision when the training items (of many, the sample that a tuner would be fitted
        to) are ranked for an item and those that share a class are to be found.
    ``logreg_accuracy``, ``logreg_f1``, ``logreg_macro_f1``
        The same of a logistic regression trained on top of the mapped vectors, C = 10.
    """

    items: LabelledItems
    groups: Rows
    reference: LabelledItems | None = None
    unseen: bool = False
    fixed: tuple[Round, ...] = ()

    def __post_init__(self) -> None:
        if self.reference is not None and list(self.reference.classes) != list(self.items.classes):
            raise UserError("the judged items have other classes than the training items")

    def __len__(self) -> int:
        return len(self.items)

    @property
    def size(self) -> int:
        """Bytes of the items' vectors."""
        return int(self.items.vectors.nbytes)

    @property
    def similarity(self) -> Similarity:
        """``"cosine"`` or ``"dot"``."""
        return self.items.similarity

    @property
    def single(self) -> bool:
        """Whether every item, judged or training, has exactly one class."""
        return self.items.single and (self.reference is None or self.reference.single)

    @property
    def metrics(self) -> tuple[str, ...]:
        """Names of the metrics; the first is the one that candidates are chosen by."""
        known = SINGLE if self.single else MULTI
        return tuple(name for name in known if not name.startswith("logreg_")) if self.unseen else known

    @property
    def everything(self) -> Rows:
        """All training rows."""
        return np.arange(len(self._reference))

    @property
    def _reference(self) -> LabelledItems:
        return self.items if self.reference is None else self.reference

    def take(self, rows: Rows) -> Classified:
        """Keep some of the judged items; where they are the training items too, only those train."""
        return replace(self, items=self.items.take(rows), groups=self.groups[rows])

    def training(self, train: Rows) -> LabelledItems:
        """Give the training items of some rows of the reference; of many, a sample."""
        return self._items(self._sample(train))

    def _sample(self, train: Rows) -> Rows:
        return stratified_sample(self._reference.labels, train, LEARNT, 0)

    def _items(self, train: Rows) -> LabelledItems:
        return self._reference if len(train) == len(self._reference) else self._reference.take(train)

    @property
    def trained(self) -> int:
        """How many items a fold may train on."""
        return TRAINED

    @property
    def sampled(self) -> int:
        """How many items a tuner is fitted to; 0 where that is all of them."""
        return LEARNT if len(self._reference) > LEARNT else 0

    def neighbours(self, transform: Transform, k: int, seed: int) -> Rows:
        """Give the ``k`` nearest of up to 300 items, (asked, k)."""
        return among_items(transform, self._reference.vectors, k, seed)

    def places(self, rows: Rows) -> Vectors:
        """Give the judged items' vectors, (len(rows), d)."""
        return gather(self.items.vectors, rows)

    def rounds(self, seed: int = 0) -> list[Round]:
        """Split into folds, every class spread evenly over them, near-duplicates together.

        With fewer than :data:`MANY` items each is held out once, a fifth at a time; with more, tenths
        are held out in turn until :data:`ENOUGH` items are judged, and with very many two smaller parts.
        """
        if self.reference is not None:
            raise UserError(
                "items judged by others have no folds", fix="take the folds of the training items"
            )
        if self.fixed:
            return list(self.fixed)
        if self.unseen:
            return self._rounds_by_class(seed)
        n = len(self)
        parts = max(10, n // JUDGED) if n >= MANY else 5
        part = stratified_parts(self.items.labels, self.groups, parts, seed)
        rounds = int(np.clip(-(-parts * ENOUGH // max(n, 1)), 2, parts)) if n >= MANY else parts
        made = [self._few(self._round(part == turn), seed) for turn in range(rounds)]
        return [one for one in made if len(one.held) and len(one.train)]

    def _few(self, one: Round, seed: int) -> Round:
        """Cut what a round trains on, where that is very much."""
        return replace(one, train=stratified_sample(self.items.labels, one.train, TRAINED, seed))

    def hold_out(self, share: float, most: int, seed: int) -> Round:
        """Give one round that holds out a share of the items, every class alike, ``most`` at most, about.

        Where other classes will be asked for, a share of the classes; nothing where these are too few.
        """
        if self.unseen:
            made = self._rounds_by_class(seed)
            return made[0] if made else self._round(np.zeros(len(self), np.bool_))
        parts = max(2, round(1 / share), -(-len(self) // max(most, 1)))
        return self._round(stratified_parts(self.items.labels, self.groups, parts, seed) == 0)

    def _round(self, out: NDArray[np.bool_]) -> Round:
        held, train, small = np.flatnonzero(out), np.flatnonzero(~out), self._small()
        strata = {} if small is None else {"small classes": small[held], "large classes": ~small[held]}
        return Round(train, held, strata, np.ones(len(held), np.bool_))

    def _rounds_by_class(self, seed: int) -> list[Round]:
        """Hold out a fifth of the classes at a time, at least two; an item goes with its first class."""
        starts = np.minimum(self.items.labels.indptr[:-1], max(self.items.labels.nnz - 1, 0))
        _, own = np.unique(self.items.labels.indices[starts], return_inverse=True)
        count = int(own.max()) + 1
        parts = min(5, count // 2)
        part = (np.random.default_rng(seed).permutation(count) % max(parts, 1))[own]
        made = []
        for turn in range(parts if parts > 1 else 0):
            held = stratified_sample(self.items.labels, np.flatnonzero(part == turn), TRAINED // 2, seed)
            everyone = np.ones(len(held), np.bool_)
            one = Round(np.flatnonzero(part != turn), held, {UNSEEN: everyone}, everyone)
            made.append(self._few(one, seed))
        return made

    def _small(self) -> NDArray[np.bool_] | None:
        """Whether each item is of the rarer half of the classes; None where they are of like sizes."""
        count = self.items.counts
        present = count[count > 0]
        if len(present) < 2 or present.max() < 2 * present.min():
            return None
        rarer = (count <= np.median(present)) & (count < count.max())
        return np.asarray(self.items.labels @ rarer.astype(np.float32)) > 0

    def evaluate(
        self, transform: Transform, rows: Rows, train: Rows, metrics: Sequence[str]
    ) -> dict[str, Values]:
        """Judge some items with the training items of some rows.

        Parameters
        ----------
        transform : Transform
            Its map of documents is applied to both.
        rows : int array of shape (r,)
            The judged items.
        train : int array
            Rows of the reference.
        metrics : sequence of str
            Some of :attr:`metrics`.

        Returns
        -------
        dict of str to float64 array of shape (r,)

        Raises
        ------
        UserError
            When there is no such metric for these labels.
        """
        unknown = next((name for name in metrics if name not in self.metrics), None)
        if unknown is not None:
            kind = "one class an item" if self.single else "several classes an item"
            raise UserError(
                f"there is no metric {unknown!r} for {kind}", fix=f"choose from {', '.join(self.metrics)}"
            )
        if not len(rows):
            return {name: np.empty(0) for name in metrics}
        judged = self._through(transform, self.items.take(rows))
        found: dict[str, Values] = {}
        for head in (False, True):
            asked = [name for name in metrics if name.startswith("logreg_") is head and name != "map"]
            if asked:
                share = (
                    self._regressed(transform, judged, train)
                    if head
                    else self._voted(transform, judged, rows, train)
                )
                predicted = chosen_classes(share, single=self.single)
                for name in asked:
                    found[name] = MEASURES[name.removeprefix("logreg_")](predicted, judged.labels)
        if "map" in metrics:
            some = self._sample(train)
            pool = judged if self.unseen else self._through(transform, self._items(some))
            found["map"] = average_precision(judged, pool, self._never(rows, some))
        return {name: found[name] for name in metrics}

    def _regressed(self, transform: Transform, judged: LabelledItems, train: Rows) -> Values:
        """Give probabilities by a regression on top of the mapped training items, (r, C)."""
        items = self._through(transform, self.training(train))
        return fit_logistic(items, single=self.single).probabilities(judged.vectors)

    def _voted(self, transform: Transform, judged: LabelledItems, rows: Rows, train: Rows) -> Values:
        """Give shares of the votes of all training items, (r, C)."""
        exclude = self._never(rows, train)
        if self.unseen:
            return vote(judged.vectors, judged, exclude=exclude)
        reference = self._reference
        if len(train) * reference.vectors.shape[1] * 4 <= at_most(MAPPED):
            return vote(judged.vectors, self._through(transform, self._items(train)), exclude=exclude)

        def mapped(part: slice) -> Vectors:
            vectors = transform.documents(gather(reference.vectors, train[part]))
            return unit_length(vectors) if self.similarity == "cosine" else vectors

        nothing = np.broadcast_to(np.float32(0), (len(train), reference.vectors.shape[1]))
        voters = replace(reference, vectors=nothing, labels=reference.labels[train])
        return vote(judged.vectors, voters, exclude=exclude, mapped=mapped)

    def _through(self, transform: Transform, items: LabelledItems) -> LabelledItems:
        return items.moved(_ready(transform.documents(items.vectors), self.similarity))

    def _never(self, rows: Rows, train: Rows) -> csr_matrix | None:
        """Pairs of a judged item and itself among the voters; where those are the judged items, of them."""
        return eye(len(rows), dtype=np.float32, format="csr") if self.unseen else self._own(rows, train)

    def _own(self, rows: Rows, train: Rows) -> csr_matrix | None:
        """Pairs of a judged item and itself among the voters."""
        if self.reference is not None:
            return None
        place = np.searchsorted(train, rows)
        place[place == len(train)] = 0
        own = train[place] == rows
        if not own.any():
            return None
        ones = np.ones(np.count_nonzero(own), np.float32)
        return csr_matrix((ones, (np.flatnonzero(own), place[own])), shape=(len(rows), len(train)))


def _ready(x: Vectors, similarity: Similarity) -> Vectors:
    """Bring mapped vectors to unit length, as a copy, where neighbours are found by cosine."""
    return unit_length(x.copy()) if similarity == "cosine" else x
