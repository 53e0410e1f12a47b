"""The data room: read a dataset from where it lies, and look at what is wrong with it."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any, get_args

from embedtune.data.dataset import Dataset, Task
from embedtune.data.mixture import is_mixture, mix
from embedtune.data.problems import Problems
from embedtune.data.readers import READERS, Request
from embedtune.data.roles import check_roles
from embedtune.data.slices import SliceColumns
from embedtune.errors import DataError

if TYPE_CHECKING:
    from embedtune.data.checks.finding import Finding
    from embedtune.types import Encoder

__all__ = ["READERS", "Dataset", "check", "read"]


def read(
    source: Any,
    *,
    task: Task | None = None,
    roles: Mapping[str, str | None] | None = None,
    strict: bool = True,
    skip_bad: bool = False,
    slices: Sequence[str] = (),
) -> Dataset:
    """Read a dataset.

    Parameters
    ----------
    source : path, list of dicts, DataFrame, pyarrow.Table, Dataset or list of (source, weight)
        A BEIR folder; a JSONL, JSON, CSV, TSV, Parquet or Arrow file; a folder with such files named
        train, dev and test; rows in memory; or what else :data:`READERS` reads. A Dataset is returned
        as it is. Several sources are given with weights, ``[("a.csv", 1.0), ("b.jsonl", 0.5)]``: see
        :func:`embedtune.data.mixture.mix`.
    task : {"retrieval", "classification", "similarity", "recommendation"}, optional
        Inferred from the columns where not given.
    roles : dict, optional
        Role to column name, for columns whose names do not say it: ``{"query": "my_col"}``. A role that
        no column plays is switched off with None.
    strict : bool
        Raise at the first row that cannot be used. Otherwise leave such rows out and list them in
        ``Dataset.problems``; what leaves nothing to read (a missing file, broken JSON) is raised anyway.
    skip_bad : bool
        Leave out images that cannot be read, also where reading is strict, and list them in
        ``Dataset.problems``.
    slices : sequence of str
        Columns to keep, so that results can be given by their values. Of a BEIR folder, those of the
        queries, or of their ``metadata``.

    Raises
    ------
    DataError
        With file, line and the way to mend it.

    Examples
    --------
    >>> data = read([{"query": "sore throat", "positive": "Pharyngitis"}])
    >>> data.task, data.splits, data.document_texts
    ('retrieval', ('train',), ['Pharyngitis'])
    """
    if isinstance(source, Dataset):
        return source
    if task is not None and task not in get_args(Task):
        raise DataError(f"there is no task called {task!r}", fix=f"choose from {', '.join(get_args(Task))}")
    if is_mixture(source):
        return mix(
            [
                (read(one, task=task, roles=roles, strict=strict, skip_bad=skip_bad, slices=slices), weight)
                for one, weight in source
            ]
        )
    asked = Request(task, check_roles(roles or {}), Problems(strict), skip_bad, SliceColumns(slices))
    if isinstance(source, str):
        source = Path(source)
    for name in READERS:
        reader = READERS.load(name)()
        if reader.accepts(source):
            dataset: Dataset = reader.read(source, asked)
            asked.slices.demand(dataset.source)
            return dataset
    kinds = "; ".join(entry.summary for entry in READERS.values())
    raise DataError(f"cannot read a dataset from {type(source).__name__}", fix=f"give one of: {kinds}")


def check(
    source: Any,
    *,
    encoder: Encoder | None = None,
    task: Task | None = None,
    roles: Mapping[str, str | None] | None = None,
) -> list[Finding]:
    """Find what is wrong or suspicious in a dataset; see :func:`embedtune.data.checks.check`."""
    from embedtune.data.checks import check as run

    return run(source, encoder=encoder, task=task, roles=roles)
