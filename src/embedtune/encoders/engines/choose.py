"""``engine="auto"``: each encodes some of the user's own texts; the fastest that is right is remembered."""

from __future__ import annotations

import contextlib
import hashlib
import json
import logging
import os
import platform
import time
from collections.abc import Callable, Sequence
from importlib import metadata
from pathlib import Path

import numpy as np

from embedtune.cache_place import cache_folder, cache_size
from embedtune.encoders.engines.table import ENGINES, INT8
from embedtune.encoders.transformer import TransformerEncoder
from embedtune.errors import EmbedtuneError, UserError
from embedtune.files import atomic_write
from embedtune.types import Vectors

logger = logging.getLogger(__name__)

SAMPLE = 16
"""Texts of the trial."""

ROUND = 0.5
"""Seconds that all engines together should take for the sample, else it is cut."""

TRIAL = 2.0
"""Seconds of the trial, after each engine was opened."""

LEAST = 0.99
"""Cosine to torch in float32 that every text must keep."""

ALONE = 0.9999
"""Cosine of a text's vector alone to its vector among others."""

GAIN = 1.25
"""Times faster than the best of the others that int8 must be, as it is less exact."""

PACKAGES = ("torch", "sentence-transformers", "transformers", "onnxruntime", "openvino")


def chosen_engine(
    content: str,
    texts: Sequence[str],
    engines: Sequence[str],
    open_engine: Callable[[str], TransformerEncoder],
    *,
    clock: Callable[[], float] = time.perf_counter,
) -> str:
    """Give the engine to use for a model on this machine.

    The first call tries the engines on ``texts``; the choice is kept in the cache, under the model, the
    processor and the versions of the libraries, so that later calls give the same one and need no texts.

    Parameters
    ----------
    content : str
        The model's ``content_hash``.
    texts : sequence of str
        Texts like those that will be encoded; a few spread evenly over them are tried.
    engines : sequence of str
        What may be chosen. The first is what the others are compared with.
    open_engine : callable
        Gives the encoder that runs the model with an engine; one that raises is left out.
    clock : callable
        Gives seconds.

    Raises
    ------
    UserError
        When there is no choice yet, and no text to make it with.
    """
    note = cache_folder() / "engines" / f"{_key(content)}.json"
    with contextlib.suppress(OSError, ValueError, TypeError, KeyError):
        known = str(json.loads(note.read_text("utf-8"))["engine"])
        if known in engines:
            return known
    if len(engines) == 1:
        return engines[0]
    sample = spread(texts, SAMPLE)
    if not sample:
        raise UserError(
            "engine 'auto' tries the engines on your texts, and there are none",
            fix=f"pass texts=[...], or choose from {', '.join(ENGINES)}",
        )
    seconds = _trial(sample, engines, open_engine, clock)
    best = min(seconds, key=lambda name: seconds[name] * (GAIN if name == INT8 else 1.0))
    _remember(note, best, seconds)
    return best


def spread(texts: Sequence[str], count: int) -> list[str]:
    """Give up to ``count`` different texts, evenly spaced.

    >>> spread(["a", "b", "b", "c", "d", "e"], 3)
    ['a', 'c', 'e']
    """
    different = list(dict.fromkeys(text for text in texts if text.strip()))
    if len(different) <= count:
        return different
    return [different[i] for i in np.linspace(0, len(different) - 1, count).astype(int)]


def _trial(
    sample: list[str],
    engines: Sequence[str],
    open_engine: Callable[[str], TransformerEncoder],
    clock: Callable[[], float],
) -> dict[str, float]:
    """Give the seconds of each engine that is right: the least of several interleaved rounds."""
    opened: dict[str, TransformerEncoder] = {}
    first: dict[str, float] = {}
    few = sample[::4]
    reference: Vectors | None = None
    for name in engines:
        try:
            encoder = open_engine(name)
            vectors = encoder.encode(sample)  # opens the model, too
        except EmbedtuneError as error:
            if name == engines[-1] and not opened:
                raise
            logger.info("engine %r is left out: %s", name, error)
            continue
        reference = vectors if reference is None else reference
        if fits(encoder, sample, vectors, reference):
            started = clock()
            encoder.encode(few)
            opened[name], first[name] = encoder, (clock() - started) * len(sample) / len(few)
        else:
            logger.info("engine %r is left out: its vectors differ", name)
    share = min(1.0, ROUND / max(sum(first.values()), 1e-9))
    some = sample[: max(4, int(len(sample) * share))]
    best = dict.fromkeys(opened, np.inf)
    end = clock() + TRIAL
    for _ in range(100):
        for name, encoder in opened.items():
            started = clock()
            encoder.encode(some)
            best[name] = min(best[name], clock() - started)
        if clock() >= end:
            break
    return best


def fits(encoder: TransformerEncoder, texts: Sequence[str], vectors: Vectors, reference: Vectors) -> bool:
    """Say whether every vector is close to the reference, and the same whether its text is alone or not."""
    if not (cosines(vectors, reference) >= LEAST).all():
        return False
    few = list(texts[:: max(1, len(texts) // 3)])[:3]
    alone = np.concatenate([encoder.encode([text]) for text in few])
    together = vectors[:: max(1, len(texts) // 3)][:3]
    return bool((cosines(alone, together) >= ALONE).all())


def cosines(x: Vectors, y: Vectors) -> Vectors:
    """Give the cosine of each row of ``x`` (n, d) to that of ``y``, float32 (n,); 1 where both are zero."""
    lengths = np.linalg.norm(x, axis=1) * np.linalg.norm(y, axis=1)
    products: Vectors = np.einsum("nd,nd->n", x, y)
    same: Vectors = np.all(x == y, axis=1).astype(np.float32)
    np.divide(products, lengths, out=same, where=lengths > 0)
    return same


def _key(content: str) -> str:
    """Give what a choice depends on: model, processor, cores, versions."""
    versions = {}
    for name in PACKAGES:
        with contextlib.suppress(metadata.PackageNotFoundError):
            versions[name] = metadata.version(name)
    said = [content, _processor(), str(os.cpu_count()), os.environ.get("OMP_NUM_THREADS", "")]
    return hashlib.sha256(json.dumps([said, versions], sort_keys=True).encode()).hexdigest()[:32]


def _processor() -> str:
    with contextlib.suppress(OSError):
        lines = Path("/proc/cpuinfo").read_text("utf-8").splitlines()
        told = [line for line in lines if line.startswith(("model name", "flags", "Features"))]
        if told:
            return "\n".join(dict.fromkeys(told))
    return f"{platform.machine()} {platform.processor()}"


def _remember(note: Path, engine: str, seconds: dict[str, float]) -> None:
    if cache_size() == 0:
        return
    try:
        with atomic_write(note) as file:
            file.write(json.dumps({"engine": engine, "seconds": seconds}, indent=1).encode())
    except OSError as error:
        logger.debug("the choice of an engine is not remembered: %s", error)
