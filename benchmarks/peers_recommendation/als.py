"""Implicit-feedback ALS (Hu, Koren & Volinsky 2008) as the package ``implicit`` fits it."""

from __future__ import annotations

from typing import Any

import numpy as np
from numpy.typing import NDArray
from scipy.sparse import csr_matrix


def fit(train: csr_matrix, items: NDArray[np.float32], **setting: Any) -> NDArray[np.float32]:
    """Score items by the product of the user's and the item's factors, 15 iterations as is the default."""
    from implicit.als import AlternatingLeastSquares

    model = AlternatingLeastSquares(iterations=15, random_state=0, use_gpu=False, **setting)
    model.fit(train.astype(np.float32), show_progress=False)
    return np.asarray(model.user_factors @ model.item_factors.T, np.float32)
