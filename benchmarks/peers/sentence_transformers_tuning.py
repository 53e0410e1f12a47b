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

import json
import tempfile
import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from scipy.sparse import csr_matrix

from embedtune.types import Vectors

EPOCHS, BATCH, RATE, WARM_UP = 3, 32, 2e-5, 0.1

SAVE_EVERY = 50
"""Steps between two checkpoints of a timed run."""

Encode = Callable[[Sequence[str]], Vectors]


@dataclass
class TimedRun:
    """A run whose CPU seconds are counted over interruptions, and that may be stopped early.

    Parameters
    ----------
    folder : pathlib.Path
        Keeps checkpoints and ``time.json``.
    stop_after : int, optional
        Steps after which training stops; the schedule is still that of the whole run.
    """

    folder: Path
    stop_after: int | None = None

    @property
    def begun(self) -> bool:
        """Whether there is a checkpoint to go on from."""
        return any(self.folder.glob("checkpoint-*"))

    @property
    def figures(self) -> dict[str, Any]:
        """Steps done, steps in all, CPU seconds of training."""
        path = self.folder / "time.json"
        return dict(json.loads(path.read_text("utf-8"))) if path.exists() else {}

    def callback(self) -> Any:
        """Give what the trainer calls."""
        from transformers import TrainerCallback

        run, before = self, float(self.figures.get("cpu", 0.0)) if self.begun else 0.0
        self.folder.mkdir(parents=True, exist_ok=True)
        began = time.process_time()

        class Clock(TrainerCallback):  # type: ignore[misc]
            def on_step_end(self, args: Any, state: Any, control: Any, **rest: Any) -> None:
                control.should_training_stop |= state.global_step == run.stop_after

            def write(self, state: Any, total: int) -> None:
                cpu = before + time.process_time() - began
                figures = {"step": state.global_step, "total": total, "cpu": cpu}
                (run.folder / "time.json").write_text(json.dumps(figures), "utf-8")

            def on_save(self, args: Any, state: Any, control: Any, **rest: Any) -> None:
                self.write(state, state.max_steps)

            def on_train_end(self, args: Any, state: Any, control: Any, **rest: Any) -> None:
                stopped = state.global_step == run.stop_after
                self.write(state, state.max_steps if stopped else state.global_step)

        return Clock()


def fit_retrieval(
    base: str,
    queries: Sequence[str],
    documents: Sequence[str],
    train: csr_matrix,
    seed: int,
    run: TimedRun | None = None,
) -> Encode:
    """Tune ``base`` (a folder or a name) on the positives of ``train`` (n, N) and give its encoder."""
    pairs = train.tocoo()
    anchors, positives = [queries[row] for row in pairs.row], [documents[column] for column in pairs.col]
    return _fit(base, {"anchor": anchors, "positive": positives}, "MultipleNegativesRankingLoss", seed, run)


def fit_similarity(
    base: str, left: Sequence[str], right: Sequence[str], scores: Sequence[float], seed: int
) -> Encode:
    """Tune ``base`` on scored pairs and give its encoder."""
    value = np.asarray(scores, np.float64)
    value = (value - value.min()) / max(float(np.ptp(value)), 1e-12)
    columns = {"sentence1": list(left), "sentence2": list(right), "score": value.tolist()}
    return _fit(base, columns, "CoSENTLoss", seed)


def _fit(
    base: str, columns: Mapping[str, list[Any]], loss: str, seed: int, run: TimedRun | None = None
) -> Encode:
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
            output_dir=str(run.folder) if run else folder,
            num_train_epochs=EPOCHS,
            per_device_train_batch_size=BATCH,
            learning_rate=RATE,
            warmup_steps=round(WARM_UP * steps),
            batch_sampler=BatchSamplers.NO_DUPLICATES if ranking else BatchSamplers.BATCH_SAMPLER,
            seed=seed,
            use_cpu=True,
            report_to="none",
            save_strategy="steps" if run else "no",
            save_steps=SAVE_EVERY,
            save_total_limit=1,
            disable_tqdm=True,
        )
        trainer = st.SentenceTransformerTrainer(
            model=model,
            args=arguments,
            train_dataset=rows,
            loss=getattr(losses, loss)(model),
            callbacks=[run.callback()] if run else None,
        )
        trainer.train(resume_from_checkpoint=run.begun if run else None)

    def encode(texts: Sequence[str]) -> Vectors:
        found = model.encode(
            list(texts), batch_size=BATCH, normalize_embeddings=True, show_progress_bar=False
        )
        return np.asarray(found, np.float32)

    return encode
