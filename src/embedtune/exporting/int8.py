"""Products in 8-bit integers: calibrated on the user's texts, judged on others of them, refused if they lose.

The scales are fixed at export (static quantisation), so a text's vector does not depend on its batch, as it
would with scales that are measured anew for each batch. Faster than engine ``openvino-int8``, and less exact.
"""

from __future__ import annotations

import contextlib
import dataclasses
import io
import logging
import os
import shutil
import tempfile
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from scipy.sparse import csr_matrix, identity

from embedtune.encoders.engines.choose import cosines, spread
from embedtune.encoders.engines.encoder import EngineEncoder, feeds
from embedtune.encoders.engines.exported import Exported
from embedtune.encoders.engines.from_torch import KINDS, finish
from embedtune.encoders.transformer import TransformerEncoder
from embedtune.errors import UserError
from embedtune.exporting.readme import told
from embedtune.extras import need
from embedtune.judging.compare import bootstrap_interval
from embedtune.judging.metrics import evaluate_ranks
from embedtune.search import positive_ranks

FEWEST = 40
"""Texts needed: half calibrate, half judge."""

MOST = 240
"""Texts used."""

LEAST = 0.99
"""Cosine to float32 that each held-out text, and the first half of each, must keep."""

LOSS = 0.01
"""nDCG@10 that may be lost."""

WRITERS = (r".*/output/dense/MatMul.*", r".*/(lin2|out_lin)/MatMul.*", r".*/attn/o/MatMul.*")
"""Products that write into the residual stream of BERT and its kin: int8 harms most there."""

EARLY = (r".*/layer\.[01]/output/dense/MatMul.*", r".*/layer\.[01]/ffn/lin2/MatMul.*")
"""Those of the first two layers, whose errors go through all others; not attention's, which harm little."""

ATTEMPTS: tuple[tuple[str, tuple[str, ...]], ...] = (
    ("every product in int8", ()),
    ("the last products of the first two layers in float32", EARLY),
    ("products that write into the residual stream in float32", WRITERS),
)
"""What is tried in turn, and the names of the operations that stay in float32."""

METRIC = "ndcg@10"


@dataclass(frozen=True)
class Quality:
    """What int8 costs on texts that did not calibrate it."""

    texts: int
    cosine_mean: float
    cosine_min: float
    float32: float
    """nDCG@10 of finding each held-out text, among all, from the first half of its words."""
    int8: float
    ci95: tuple[float, float]
    """Interval of int8 - float32."""

    @property
    def accepted(self) -> bool:
        """Whether it stays close enough."""
        return self.cosine_min >= LEAST and self.ci95[1] >= 0 and self.float32 - self.int8 <= LOSS


def write_int8(exported: Exported, texts: Sequence[str], *, seed: int = 0) -> Exported:
    """Replace the models of an OpenVINO export by int8 ones that stay close to it on held-out texts.

    They must keep a cosine to float32 of 0.99 for each held-out text and for its first half: short texts lose
    most. Where that fails, the products that lose most stay in float32 at the next attempt. And a search
    must be as good: each held-out text is looked for, among all texts, by the first half of its words;
    nDCG@10 may not fall significantly (95 % paired bootstrap), nor by more than 0.01.

    Parameters
    ----------
    exported : Exported
        In float32; its folder is changed.
    texts : sequence of str
        The user's; 40 or more different ones, of which at most 240 are used.
    seed : int
        Of the interval.

    Raises
    ------
    UserError
        When there are too few texts, or every attempt loses too much.
    MissingExtra
        When nncf is not installed.
    """
    used = spread(texts, MOST)
    if len(used) < FEWEST:
        raise UserError(
            f"{len(used)} different texts are too few to calibrate int8 and to judge it",
            fix=f"give {FEWEST} or more",
        )
    calibrating, held_out = used[::2], used[1::2]
    original = EngineEncoder(exported.path)
    tried = []
    for label, kept in ATTEMPTS:
        with tempfile.TemporaryDirectory(prefix="embedtune-") as temporary:
            candidate = _quantised(exported, calibrating, kept, Path(temporary))
            quality = judged(EngineEncoder(candidate.path), original, held_out, used, seed=seed)
            if quality.accepted:
                candidate.notes["int8"] = {**dataclasses.asdict(quality), "how": label}
                return _moved(candidate, exported)
            tried.append(quality)
    best = max(tried, key=lambda one: one.cosine_min)
    raise UserError(
        f"int8 is refused, as it loses too much on your texts: {told(dataclasses.asdict(best))} "
        f"(each text must keep {LEAST}, and no more than {LOSS} may be lost)",
        fix="export without int8, and take engine openvino-int8 or openvino-bf16, which calibrate nothing",
    )


def judged(
    encoder: TransformerEncoder,
    original: TransformerEncoder,
    held_out: Sequence[str],
    every: Sequence[str],
    *,
    seed: int,
) -> Quality:
    """Compare two encoders on texts: their vectors, and a search by the first half of each text."""
    halves = [_first_half(text) for text in held_out]
    place = {text: row for row, text in enumerate(every)}
    rows = np.array([place[text] for text in held_out])
    relevance = csr_matrix(identity(len(every), np.float32, format="csr")[rows])
    scores, vectors = [], []
    for one in (original, encoder):
        documents = one.encode(every, kind="document")
        queries = one.encode(halves, kind="query")
        ranks = positive_ranks(queries, documents, relevance)
        scores.append(evaluate_ranks(ranks, relevance, (METRIC,))[METRIC])
        vectors.append(np.concatenate([documents[rows], queries]))
    cosine = cosines(vectors[1], vectors[0])
    interval = bootstrap_interval(scores[1] - scores[0], seed=seed, samples=2000)
    return Quality(
        texts=len(held_out),
        cosine_mean=float(cosine.mean()),
        cosine_min=float(cosine.min()),
        float32=float(scores[0].mean()),
        int8=float(scores[1].mean()),
        ci95=(interval.low, interval.high),
    )


def _first_half(text: str) -> str:
    words = text.split()
    return " ".join(words[: max(1, len(words) // 2)])


def _quantised(exported: Exported, texts: Sequence[str], kept: Sequence[str], out: Path) -> Exported:
    """Write an int8 export of the same model into ``out``."""
    openvino: Any = need("openvino", extra="fast", who="exporting to int8")
    tokenized = feeds(exported, exported.max_tokens)
    core = openvino.Core()
    with _silent():
        nncf: Any = need("nncf", extra="int8", who="exporting to int8")
        nncf.set_log_level(logging.ERROR)
        for file, kinds in _kinds_by_file(exported).items():
            batches = [tokenized([exported.prompts[kind] + text]) for kind in kinds for text in texts]
            model = nncf.quantize(
                core.read_model(str(exported.path / file)),
                nncf.Dataset(batches),
                model_type=nncf.ModelType.TRANSFORMER,
                subset_size=len(batches),
                ignored_scope=nncf.IgnoredScope(patterns=list(kept), validate=False) if kept else None,
            )
            openvino.save_model(model, str(out / file), compress_to_fp16=False)
    shutil.copyfile(exported.tokenizer_file, out / exported.tokenizer_file.name)
    notes = {key: value for key, value in exported.notes.items() if key != "largest_difference"}
    made = dataclasses.replace(exported, path=out, precision="int8", notes=notes, files={})
    finish(made)
    return made


def _kinds_by_file(exported: Exported) -> dict[str, list[str]]:
    found: dict[str, list[str]] = {}
    for kind in KINDS:
        found.setdefault(exported.models[kind], []).append(kind)
    # with one model and one prompt both kinds read the same
    same = exported.prompts["query"] == exported.prompts["document"]
    return {file: kinds[:1] if same else kinds for file, kinds in found.items()}


def _moved(candidate: Exported, exported: Exported) -> Exported:
    """Put the files of ``candidate`` in the place of those of ``exported``."""
    for name in exported.files:
        (exported.path / name).unlink()
    for name in candidate.files:
        shutil.copyfile(candidate.path / name, exported.path / name)
    moved = dataclasses.replace(candidate, path=exported.path)
    finish(moved)
    return moved


@contextlib.contextmanager
def _silent() -> Iterator[None]:
    """Keep nncf's bars from standard output, and its reports on its users from being sent."""
    before = {name: os.environ.get(name) for name in ("NNCF_CI", "CI")}
    os.environ.update({"NNCF_CI": "1", "CI": "true"})
    try:
        with contextlib.redirect_stdout(io.StringIO()):
            yield
    finally:
        for name, value in before.items():
            if value is None:
                os.environ.pop(name, None)
            else:
                os.environ[name] = value
