"""What a teacher said of the training queries' candidates, a few of them a step."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray
from scipy.sparse import csr_matrix

from embedtune.weights.texts import Rows


class Lessons:
    """A teacher's scores, and the numbers of the documents' texts.

    Parameters
    ----------
    taught : csr_matrix of shape (n, N)
        Logits of some documents for each training query, those of 0 stored too.
    numbers : int64 array of shape (N,)
        The number of each document's text; any where nothing was said of it.
    most : int
        Documents that a query learns from in a step: the one with the highest score, and others.
    """

    def __init__(self, taught: csr_matrix, numbers: Rows, most: int) -> None:
        self._lists: list[tuple[Rows, NDArray[np.float32]]] = []
        self._sure = np.zeros(taught.shape[0], np.float32)
        for row, (start, end) in enumerate(zip(taught.indptr[:-1], taught.indptr[1:], strict=True)):
            columns, logits = taught.indices[start:end], taught.data[start:end]
            order = np.lexsort((columns, -logits))
            self._lists.append((numbers[columns[order]].astype(np.int64), logits[order].astype(np.float32)))
            if len(logits):
                self._sure[row] = 1 / np.exp(logits - logits.max()).sum()
        self.most = max(most, 2)

    def of(
        self, queries: Rows, rng: np.random.Generator
    ) -> tuple[Rows, Rows, NDArray[np.float32], NDArray[np.float32]]:
        """Give the queries that have a lesson, their candidates, and the teacher's logits.

        Parameters
        ----------
        queries : int64 array of shape (b,)
            Rows of the training queries.
        rng : numpy.random.Generator
            Which candidates are taken where there are more than :attr:`most`.

        Returns
        -------
        place : int64 array of shape (c,)
            Positions in ``queries`` of those with two candidates at least.
        texts : int64 array of shape (c, k)
            Numbers of the candidates' texts; where there are fewer than k, the first one again.
        logits : float32 array of shape (c, k)
            Minus infinity where there are fewer.
        sure : float32 array of shape (c,)
            How probable the teacher's first is among all that it scored.
        """
        place = np.array([i for i, row in enumerate(queries) if len(self._lists[row][0]) > 1], np.int64)
        texts = np.empty((len(place), self.most), np.int64)
        logits = np.full((len(place), self.most), -np.inf, np.float32)
        for at, i in enumerate(place):
            own, scores = self._lists[queries[i]]
            taken = np.arange(len(own))
            if len(own) > self.most:
                taken = np.r_[0, 1 + rng.permutation(len(own) - 1)[: self.most - 1]]
            texts[at] = own[0]
            texts[at, : len(taken)], logits[at, : len(taken)] = own[taken], scores[taken]
        return place, texts, logits, self._sure[queries[place]]
