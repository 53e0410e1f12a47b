"""The base model itself, tuned by sentence-transformers with what its documentation recommends.

Package ``sentence-transformers``, ``SentenceTransformerTrainer``, on the CPU, from texts: every weight is
trained, and all texts are encoded anew afterwards.

- *retrieval*: ``MultipleNegativesRankingLoss`` (scale 20) on every (query, positive document) of train, no
  text twice in a batch (``BatchSamplers.NO_DUPLICATES``);
- *scored pairs*: ``CoSENTLoss`` on scores brought to 0 to 1, which its documentation prefers to
  ``CosineSimilarityLoss``.

3 epochs (the trainer's default), batches of 32, learning rate 2e-5, a tenth of the steps to warm up, as in
its training overview; the last epoch is kept. Dev plays no part. An hour or more on 2 cores for most sets.

References
----------
Henderson et al. 2017, Efficient Natural Language Response Suggestion for Smart Reply (arXiv:1705.00652).
"""

from __future__ import annotations

import tempfile
from collections.abc import Callable, Mapping, Sequence
from typing import Any

import numpy as np
from scipy.sparse import csr_matrix

from embedtune.types import Vectors

EPOCHS, BATCH, RATE, WARM_UP = 3, 32, 2e-5, 0.1

Encode = Callable[[Sequence[str]], Vectors]


def fit_retrieval(
    base: str, queries: Sequence[str], documents: Sequence[str], train: csr_matrix, seed: int
) -> Encode:
    """Tune ``base`` (a folder or a name) on the positives of ``train`` (n, N) and give its encoder."""
    pairs = train.tocoo()
    anchors, positives = [queries[row] for row in pairs.row], [documents[column] for column in pairs.col]
    return _fit(base, {"anchor": anchors, "positive": positives}, "MultipleNegativesRankingLoss", seed)


def fit_similarity(
    base: str, left: Sequence[str], right: Sequence[str], scores: Sequence[float], seed: int
) -> Encode:
    """Tune ``base`` on scored pairs and give its encoder."""
    value = np.asarray(scores, np.float64)
    value = (value - value.min()) / max(float(np.ptp(value)), 1e-12)
    columns = {"sentence1": list(left), "sentence2": list(right), "score": value.tolist()}
    return _fit(base, columns, "CoSENTLoss", seed)


def _fit(base: str, columns: Mapping[str, list[Any]], loss: str, seed: int) -> Encode:
    import sentence_transformers as st
    from datasets import Dataset
    from sentence_transformers import losses
    from sentence_transformers.training_args import BatchSamplers

    model = st.SentenceTransformer(base, device="cpu")
    ranking = loss == "MultipleNegativesRankingLoss"
    rows = Dataset.from_dict(dict(columns))
    steps = -(-len(rows) // BATCH) * EPOCHS
    with tempfile.TemporaryDirectory() as folder:
        arguments = st.SentenceTransformerTrainingArguments(
            output_dir=folder,
            num_train_epochs=EPOCHS,
            per_device_train_batch_size=BATCH,
            learning_rate=RATE,
            warmup_steps=round(WARM_UP * steps),
            batch_sampler=BatchSamplers.NO_DUPLICATES if ranking else BatchSamplers.BATCH_SAMPLER,
            seed=seed,
            use_cpu=True,
            report_to="none",
            save_strategy="no",
            disable_tqdm=True,
        )
        trainer = st.SentenceTransformerTrainer(
            model=model, args=arguments, train_dataset=rows, loss=getattr(losses, loss)(model)
        )
        trainer.train()

    def encode(texts: Sequence[str]) -> Vectors:
        found = model.encode(
            list(texts), batch_size=BATCH, normalize_embeddings=True, show_progress_bar=False
        )
        return np.asarray(found, np.float32)

    return encode
