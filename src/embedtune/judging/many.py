"""How many labels are learnt from and judged, where there are very many: what bounds memory and time."""

from __future__ import annotations

LEARNT = 50_000
"""Items that a map, or a classifier, is fitted to, at most: a few hundred numbers a class need no more."""

TRAINED = 20_000
"""Items, or pairs, that a fold trains on, and that vote in it, at most: a choice among maps needs no more."""

JUDGED = 2_500
"""Items, or pairs, that a fold holds out where there are many more than that, about."""

MAPPED = 64 * 2**20
"""Bytes of vectors that are mapped at once; more are mapped block by block as they are compared."""

HEAD = 0.3
"""Share of a budget's time that is kept for the classifier, whose kind and calibration take several fits."""
