"""What embedtune's recommendations are measured against; each gets the same interactions.

A peer is a function ``fit(train, items, **setting) -> scores``: ``train`` is the users x items matrix of
ones (float32), ``items`` the content vectors (N, d), and ``scores`` (users, N) rank the items of each
user; what a user has already is left out afterwards, for all methods alike. ``SETTINGS`` lists what is
tried on dev, fitted to train; the best is fitted again to train and dev for the test.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from numpy.typing import NDArray

from peers_recommendation import als, ease, simple

Fit = Callable[..., NDArray[Any]]

PEERS: dict[str, tuple[Fit, list[dict[str, Any]]]] = {
    "popularity": (simple.popularity, [{}]),
    "content centroid": (simple.centroid, [{}]),
    "EASE": (ease.fit, [{"penalty": penalty} for penalty in (50, 100, 200, 300, 500, 1000)]),
    "ALS (implicit)": (
        als.fit,
        [
            {"factors": factors, "regularization": hold, "alpha": 1.0}
            for factors in (32, 64)
            for hold in (1.0, 5.0)
        ],
    ),
}
"""Name in the tables -> its fit, and the settings tried on dev."""
