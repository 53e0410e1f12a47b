"""Probes of a base: general sentences where it reads texts, else some of the user's own items."""

from __future__ import annotations

import numpy as np

from embedtune.collect.encode import Progress, encode, items_of
from embedtune.data.dataset import Dataset
from embedtune.judging.retention import NEIGHBOURS, ProbeSet, probe_texts
from embedtune.types import Encoder

OWN = 300
"""Items of the user's that serve as probes, at most."""

OWN_ITEMS = "items of your own"
"""What they are called."""


def probes_of(
    dataset: Dataset, encoder: Encoder, *, seed: int, needed: bool, progress: Progress | None = None
) -> ProbeSet | None:
    """Encode the probes; some 300 short sentences, once, as the cache keeps them.

    Parameters
    ----------
    dataset : Dataset
        Whose documents are taken where the base reads no texts.
    encoder : Encoder
        The base.
    seed : int
        Which of them.
    needed : bool
        Whether a share has to be kept. Otherwise a base that has a price, or whose documents
        lie in a store, is not asked.
    progress : callable, optional
        Called with ("encode probes", done, total).

    Returns
    -------
    ProbeSet or None
        None where the base has a price, or its documents lie in a store, and nothing has to be kept; or there
        are too few items.
    """
    told = None if progress is None else _renamed(progress)
    if encoder.content == "text":
        if getattr(encoder, "documents_by_id", False):  # of a store, which has no vectors of other texts
            if not needed:
                return None
            encoder = encoder.base  # type: ignore[attr-defined]
        texts = list(probe_texts())
        cost = getattr(encoder, "cost", None)
        if not needed and cost is not None and cost(texts) is not None:
            return None
        return ProbeSet(encode(encoder, texts, "document", told))
    count = len(dataset.documents)
    k = min(NEIGHBOURS, count // 3)
    if k < 1:
        return None
    rows = np.sort(np.random.default_rng(seed).choice(count, min(count, OWN), replace=False))
    names = items_of(dataset, encoder, "document", rows)
    by_name = encoder.content == "id" and dataset.task == "retrieval"  # as a map of documents knows them
    ids = names if by_name else [dataset.document_ids[row] for row in rows]
    return ProbeSet(encode(encoder, names, "document", told), ids, OWN_ITEMS, k)


def _renamed(progress: Progress) -> Progress:
    return lambda stage, done, total: progress("encode probes", done, total)
