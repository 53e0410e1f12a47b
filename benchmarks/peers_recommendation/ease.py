"""EASE in closed form (Steck 2019, Embarrassingly Shallow Autoencoders for Sparse Data, WWW, eq. 8).

The inverse of the items' Gram matrix is taken through that of the users' (Woodbury's identity):
``P = (I - Xᵀ K X) / λ`` with ``K = (X Xᵀ + λI)⁻¹``. So ``B_ij = -P_ij / P_jj`` is
``(Xᵀ K X)_ij / (1 - h_j)`` off the diagonal, with ``h`` the diagonal of ``Xᵀ K X``. On the diagonal B
is zero, which only concerns items of the history, and these are left out of every ranking. It is the
same ranking as by the inverse of 9,066 x 9,066, in a hundredth of the time.
"""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray
from scipy.sparse import csr_matrix


def fit(train: csr_matrix, items: NDArray[np.float32], *, penalty: float) -> NDArray[np.float32]:
    """Score items by ``X B``, right for all but the user's own."""
    x = train.toarray().astype(np.float64)
    gram = x @ x.T
    kx = np.linalg.solve(gram + penalty * np.eye(len(x)), x)  # K X
    return np.asarray(gram @ kx / (1 - np.einsum("ij,ij->j", x, kx)), np.float32)
