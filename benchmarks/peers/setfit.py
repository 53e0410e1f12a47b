"""SetFit by its authors' own package, with its documented defaults.

Package ``setfit``: the base model is tuned on pairs of texts of the same and of different classes
(``TrainingArguments()`` as it is: one epoch, batches of 16, oversampled pairs), then a logistic
regression is fitted on its vectors. On the CPU; it reads texts, not vectors, as it tunes the model.

References
----------
Tunstall et al. 2022, Efficient Few-Shot Learning Without Prompts, arXiv:2209.11055.
"""

from __future__ import annotations

import tempfile
from collections.abc import Sequence


def fit_predict(
    base: str, texts: Sequence[str], labels: Sequence[str], asked: Sequence[str], seed: int = 0
) -> list[str]:
    """Tune ``base`` (a folder or a name) on labelled ``texts`` and give the labels of ``asked``."""
    from datasets import Dataset
    from setfit import SetFitModel, Trainer, TrainingArguments

    names = sorted(set(labels))
    place = {name: number for number, name in enumerate(names)}
    rows = Dataset.from_dict({"text": list(texts), "label": [place[label] for label in labels]})
    model = SetFitModel.from_pretrained(base)
    with tempfile.TemporaryDirectory() as folder:
        arguments = TrainingArguments(
            output_dir=folder, seed=seed, report_to="none", save_strategy="no", show_progress_bar=False
        )
        Trainer(model=model, args=arguments, train_dataset=rows).train()
        found = model.predict(list(asked), show_progress_bar=False)
    return [names[int(number)] for number in found]
