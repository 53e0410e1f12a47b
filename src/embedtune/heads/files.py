"""A classifier head inside an artifact: one safetensors file, and an entry for the manifest."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np

from embedtune.errors import ArtifactError, UserError
from embedtune.heads.head import Head
from embedtune.heads.scorers import Both
from embedtune.judging.logistic import Logistic
from embedtune.judging.voting import Voters
from embedtune.manifest import AGAIN
from embedtune.transforms.files import load_tensors, save_tensors

NAME = "head.safetensors"

_DTYPES = (np.float32, np.float64, np.int64)


def save_head(head: Head, folder: Path, width: int) -> dict[str, Any]:
    """Write ``folder/head.safetensors`` and give the manifest's entry.

    Parameters
    ----------
    head : Head
    folder : pathlib.Path
    width : int
        Dimensions of the artifact's tuned vectors.

    Returns
    -------
    dict
        ``{"kind", "calibrated", "items", "settings", "file"}``; ``items`` counts the training items that
        are kept. ``kind`` is regression, vote or both.

    Raises
    ------
    UserError
        When the head takes vectors of another width.
    """
    if head.width != width:
        raise UserError(
            f"the classifier takes vectors of {head.width} dimensions, the model gives {width}",
            fix="fit it on this model's tuned vectors",
        )
    tensors, settings = head.state()
    save_tensors(tensors, folder / NAME)
    kinds: dict[type, str] = {Logistic: "regression", Voters: "vote", Both: "both"}
    return {
        "kind": kinds[type(head.scorer)],
        "calibrated": head.curve is not None,
        "items": len(tensors.get("vectors", ())),
        "settings": settings,
        "file": NAME,
    }


def load_head(entry: Mapping[str, Any], folder: Path, width: int) -> Head:
    """Rebuild the head that :func:`save_head` wrote into ``folder``.

    Raises
    ------
    ArtifactError
        When its file is missing or damaged, or does not fit the manifest or the vectors.
    """
    path = folder / entry["file"]
    tensors = load_tensors(path)
    wrong = sorted(name for name, tensor in tensors.items() if tensor.dtype not in _DTYPES)
    try:
        if wrong:
            raise ValueError(f"unexpected dtype of {', '.join(wrong)}")
        head = Head.from_state(tensors, entry["settings"])
        if head.width != width:
            raise ValueError(f"it takes {head.width} dimensions, the model gives {width}")
    except (KeyError, TypeError, ValueError, IndexError) as error:
        raise ArtifactError(
            f"the tensors do not make a classifier ({' '.join(str(error).split())})",
            where=str(path),
            fix=AGAIN,
        ) from None
    return head
