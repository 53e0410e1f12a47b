"""New documents that are longer than the base reads, read on where the map does so of those that it knows."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

from embedtune.encoders.windows import mean_of_each
from embedtune.transforms.read_on import reading_on
from embedtune.types import Encoder, Transform, Vectors


def read_on(
    x: Vectors, texts: Sequence[str], ids: Sequence[str] | None, *, encoder: Encoder, transform: Transform
) -> Vectors:
    """Move the vectors of long documents that a map does not know as it moves those that it knows.

    Parameters
    ----------
    x : float32 array of shape (n, d)
        The documents as the base reads them.
    texts : sequence of str
        The documents, (n,).
    ids : sequence of str, optional
        Their ids; without ids none is known.
    encoder, transform : Encoder and Transform
        The base, and the map that will be applied.

    Returns
    -------
    float32 array of shape (n, d)
        What the map is to be applied to; ``x`` itself where it reads nothing on.
    """
    part, cut = reading_on(transform), getattr(encoder, "later_windows", None)
    if part is None or cut is None:
        return x
    new = np.arange(len(texts)) if ids is None else np.flatnonzero(part.places(ids) < 0)
    windows, of = cut([texts[row] for row in new.tolist()])
    if not windows:
        return x
    later, long = mean_of_each(encoder.encode(windows, kind="document"), of)
    rows, y = new[long], np.array(x, np.float32)
    y[rows] = part.moved(y[rows], later)
    return y
