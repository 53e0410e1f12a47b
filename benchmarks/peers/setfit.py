"""SetFit by its authors' own package, with its documented defaults.

Package ``setfit``: the base model is tuned on pairs of texts of the same and of different classes
(``TrainingArguments()`` as it is: one epoch, batches of 16, oversampled pairs), then a logistic
regression is fitted on its vectors. On the CPU; it reads texts, not vectors, as it tunes the model.

By default every pair takes part, and their number grows with the square of the texts: a million for 700
texts, a hundred million for all of banking77, months on a CPU. With more than :data:`MOST_PAIRS` the
sampling of the paper (section 4) takes its place, 20 pairs of either kind a text: ``num_iterations=20``.

References
----------
Tunstall et al. 2022, Efficient Few-Shot Learning Without Prompts, arXiv:2209.11055.
"""

from __future__ import annotations

import tempfile
from collections import Counter
from collections.abc import Sequence

MOST_PAIRS = 100_000
"""Pairs up to which the package's own sampling is left as it is."""

PAPER = 20
"""Pairs of the same and of different classes for each text in the paper."""


def fit_predict(
    base: str,
    texts: Sequence[str],
    labels: Sequence[str],
    asked: Sequence[str],
    seed: int = 0,
    pairs: int = PAPER,
) -> list[str]:
    """Tune ``base`` (a folder or a name) on labelled ``texts`` and give the labels of ``asked``.

    ``pairs`` of either kind are drawn for each text where all of them would be too many.
    """
    from datasets import Dataset
    from setfit import SetFitModel, Trainer, TrainingArguments

    names = sorted(set(labels))
    place = {name: number for number, name in enumerate(names)}
    rows = Dataset.from_dict({"text": list(texts), "label": [place[label] for label in labels]})
    sampling = {} if takes_all_pairs(labels) else {"num_iterations": pairs}
    model = SetFitModel.from_pretrained(base)
    with tempfile.TemporaryDirectory() as folder:
        quiet = {"report_to": "none", "save_strategy": "no", "show_progress_bar": False}
        arguments = TrainingArguments(output_dir=folder, seed=seed, **quiet, **sampling)
        Trainer(model=model, args=arguments, train_dataset=rows).train()
        found = model.predict(list(asked), show_progress_bar=False)
    return [names[int(number)] for number in found]


def takes_all_pairs(labels: Sequence[str]) -> bool:
    """Tell whether the package's own sampling is used: the rarer kind of pair is repeated to be as many."""
    same = sum(n * (n + 1) // 2 for n in Counter(labels).values())
    every = len(labels) * (len(labels) + 1) // 2
    return 2 * max(same, every - same) <= MOST_PAIRS
