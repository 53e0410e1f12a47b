"""Whether a store still holds what a model expects, and whether queries are still what it was tuned on."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from contextlib import closing
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np

from embedtune.artifact.tuned import Tuned
from embedtune.data.checks.finding import SHOWN, Example, Finding, Severity, plural
from embedtune.errors import ArtifactError, MixedDimensions
from embedtune.judging.two_samples import Moved, moved
from embedtune.stores.base import Batch, Id, Store
from embedtune.stores.counting import Counted, Rows, count_rows
from embedtune.stores.mapping import DocumentMap, moves_documents, version_of
from embedtune.stores.opening import open_map
from embedtune.stores.probing import ALIKE, PROBES, cosines, probes
from embedtune.stores.queries import Given, read_given
from embedtune.stores.table import open_store
from embedtune.types import Vectors

BATCH = 8192

P_VALUE = 0.01
"""Below which new queries count as moved, where the effect is not tiny either."""

FAR = 0.10
"""Share of new queries beyond the reference from which the effect is not tiny; 0.05 is what chance gives."""

COEFFICIENT = 0.01
"""The same of the energy distance: two halves of one set of questions gave at most 0.004, another set as a
whole 0.06 to 0.1, and a fifth of another set mixed in 0.005 to 0.009."""

FEWEST = 20
"""New queries below which nothing is told."""

_ORDER = {"error": 0, "warning": 1, "info": 2}


@dataclass(frozen=True)
class Drift:
    """What was found in a store."""

    store: str
    """The URL, without secrets."""
    rows: int
    """Rows with a vector."""
    findings: list[Finding]
    """Errors first."""
    notes: list[str] = field(default_factory=list)
    """What was looked at and is well, and what could not be told."""


def drift(
    model: Tuned | str | Path,
    store: Store | str,
    data: Any = None,
    *,
    batch: int = BATCH,
    seed: int = 0,
) -> Drift:
    """Find out whether stored vectors are a model's, whether rows are sound, and whether queries have moved.

    Nothing is written.

    Parameters
    ----------
    model : Tuned, str or pathlib.Path
        What the store should serve: a tuned model, a base model, or a bridge that ``migrate`` made.
    store : Store or str
        Where the vectors lie; a URL is opened with :func:`embedtune.stores.open_store`.
    data : path, Dataset or what else :func:`embedtune.data.read` reads, optional
        New queries, and texts of documents by id. A file with a column ``query`` alone will do.
    batch : int
        Rows read at a time: what memory is bounded by, beside eight bytes a row.
    seed : int
        Of the rows that are encoded again, and of the test.

    Raises
    ------
    UserError
        When the store, the model or the data cannot be opened.
    """
    tuned = open_map(model).model
    given = data if data is None or isinstance(data, Given) else read_given(data)
    try:
        if isinstance(store, str):
            with closing(open_store(store)) as place:
                return _Check(tuned, place, given, batch, seed).run()
        return _Check(tuned, store, given, batch, seed).run()
    except MixedDimensions as error:
        shown = [Example(f"ids {error.first}", str(error.where), 0)]
        found = Finding("mixed-dimensions", "error", error.odd, error.what, shown, str(error.fix))
        notes = ["nothing else was looked at: rows of several dimensions cannot be compared"]
        return Drift(str(error.where), error.rows, [found], notes)


class _Check:
    """One run."""

    def __init__(self, model: Tuned, store: Store, given: Given | None, batch: int, seed: int) -> None:
        self.model, self.store, self.given, self.batch, self.seed = model, store, given, batch, seed
        self.notes: list[str] = []

    def run(self) -> Drift:
        counted = count_rows(self.store, batch=self.batch, seed=self.seed)
        findings = [*self._origin(counted), *self._rows(counted), *self._queries()]
        findings.sort(key=lambda one: _ORDER[one.severity])
        return Drift(self.store.url, counted.vectors, findings, self.notes)

    # --- whose vectors they are ------------------------------------------------------

    def _origin(self, counted: Counted) -> Iterator[Finding]:
        """Compare stored vectors with the same texts encoded again, and what is live with the note."""
        model, encoder = self.model, self.model.encoder
        moves = moves_documents(model.transform)
        version = version_of(model.transform, model.similarity) if moves else ""
        noted = self.store.read_note().get("live")
        if noted and noted != version:
            yield self._finding(
                "another-version",
                "error",
                Rows(counted.vectors),
                f"the store notes that it serves version {noted}, and this model makes "
                + (f"version {version}" if moves else "no version: it leaves documents as they are"),
                "give the model that was applied, or go back with embedtune apply --rollback",
            )
        mapped = DocumentMap(model.transform, model.similarity) if moves else None
        nothing = np.zeros((0, encoder.dimension), np.float32)
        widths = {encoder.dimension, *([mapped([], nothing).shape[1]] if mapped else [])}
        if self.store.dimension not in widths:
            expected = " or ".join(map(str, sorted(widths)))
            yield self._finding(
                "other-dimension",
                "error",
                Rows(counted.vectors),
                f"the stored vectors have {self.store.dimension} dimensions, and this model gives {expected}",
                "give the model that filled the store, or fill it with this one",
            )
            return
        try:
            ids, stored, again = self._encoded(counted.sample)
        except ArtifactError as error:
            self.notes.append(f"whose vectors they are was not looked at: {error.what}")
            return
        if not ids:
            self.notes.append(
                "whose vectors they are was not looked at: give DATA with texts by id, or name the store's "
                "texts with text= in the URL"
            )
            return
        yield from self._told(ids, _likeness(stored, again, mapped, ids), noted == version, version)

    def _encoded(self, sample: Batch) -> tuple[list[Id], Vectors, Vectors]:
        """Encode the texts of some rows, at most :data:`~embedtune.stores.probing.PROBES`, evenly drawn."""
        dataset = None if self.given is None else self.given.dataset
        ids, stored, items = probes(self.store, self.model.encoder, dataset, sample)
        chosen = np.unique(np.linspace(0, max(len(ids) - 1, 0), min(PROBES, len(ids))).astype(int)).tolist()
        if not chosen:
            return [], stored, stored
        again = self.model.encoder.encode([items[i] for i in chosen], kind="document")
        return [ids[i] for i in chosen], stored[chosen], again

    def _told(
        self, ids: list[Id], likeness: dict[str, Vectors], noted: bool, version: str
    ) -> Iterator[Finding]:
        """Say what the stored vectors are like: the base's, those of base + map, or neither."""
        name, medians = self.model.encoder.name, {k: float(np.median(v)) for k, v in likeness.items()}
        best = max(medians, key=lambda k: medians[k])
        figures = ", ".join(f"{value:.3f} with {key}" for key, value in medians.items())
        basis = f"median cosine of {plural(len(ids), 'row')} with their texts encoded again: {figures}"
        if medians[best] < ALIKE:
            yield self._finding(
                "other-vectors",
                "error",
                Rows(len(ids), list(ids)),
                f"the stored vectors come neither from {' nor from '.join(medians)} ({name}); {basis}",
                "give the model that filled the store, or encode the texts anew",
            )
            return
        self.notes.append(f"the stored vectors are those of {best}; {basis}")
        odd = np.flatnonzero(likeness[best] < ALIKE)
        if len(odd):
            yield self._finding(
                "stale-vectors",
                "warning",
                Rows(len(odd), [ids[i] for i in odd.tolist()]),
                f"{len(odd)} of {plural(len(ids), 'row')} that were encoded again have another vector: "
                "their text has changed since, or another model wrote them",
                "encode them again",
            )
        if best == BASE_ALONE and version:
            severity: Severity = "error" if noted else "warning"
            yield self._finding(
                "not-mapped",
                severity,
                Rows(len(ids)),
                "the stored vectors are the base's, without this model's map"
                + (f", although the store notes that it serves version {version}" if noted else ""),
                "apply the map with embedtune apply, and encode queries with the base until then",
            )

    # --- the rows --------------------------------------------------------------------

    def _rows(self, counted: Counted) -> Iterator[Finding]:
        """Tell of rows that cannot be found, or that are there twice."""
        null, zero, repeated, off = counted.null, counted.zero, counted.repeated, counted.not_unit
        if not counted.vectors:
            yield self._finding("empty-store", "error", Rows(), "there are no vectors in it", "fill it first")
        if null.count:
            message = f"{plural(null.count, 'row')} without a vector, or with one that is not finite"
            yield self._finding("null-vectors", "warning", null, message, "encode their texts")
        if zero.count:
            message = f"{plural(zero.count, 'row')} of zeros alone, which are like nothing"
            yield self._finding("zero-vectors", "error", zero, message, "encode their texts again")
        if repeated.count:
            message = f"{plural(repeated.count, 'row')} with the very bytes of an earlier row's vector"
            fix = "where their texts differ, encode them again; where they do not, keep one"
            yield self._finding("repeated-vectors", "warning", repeated, message, fix)
        if off.count and self.model.similarity == "cosine":
            message = (
                f"{plural(off.count, 'row')} not of unit length, although vectors are compared by cosine"
            )
            fix = "bring them to unit length, or search by cosine and never by inner product"
            yield self._finding("not-unit-length", "warning", off, message, fix)

    # --- the queries -----------------------------------------------------------------

    def _queries(self) -> Iterator[Finding]:
        """Compare new queries with the sample of what the model was tuned on."""
        if self.given is None:
            return
        reference = self.model.reference
        if reference is None:
            self.notes.append(
                "whether queries have moved cannot be told: this model was saved without a reference of what "
                "it was tuned on"
            )
            return
        items = self.given.items(reference.kind, self.model.encoder.content)
        if len(items) < FEWEST or len(reference.vectors) < FEWEST:
            self.notes.append(
                f"whether queries have moved cannot be told from {plural(len(items), 'new one')} and "
                f"{len(reference.vectors)} that were tuned on: it takes {FEWEST} of each"
            )
            return
        try:
            new = self.model.encoder.encode(items, kind=reference.kind)
        except ArtifactError as error:
            self.notes.append(f"whether queries have moved was not looked at: {error.what}")
            return
        found = moved(reference.vectors, new.astype(np.float16), seed=self.seed)
        said = (
            f"p = {found.p_value:.3f} (energy distance, {found.reference} tuned on and {found.new} new), "
            f"coefficient {found.coefficient:.3f}, {found.far:.0%} farther from all that was tuned on than "
            "95 % of that lies apart"
        )
        if found.p_value >= P_VALUE or (found.far < FAR and found.coefficient < COEFFICIENT):
            self.notes.append(f"new queries are like those tuned on: {said}")
            return
        yield self._moved(found, items, said)

    def _moved(self, found: Moved, items: Sequence[str], said: str) -> Finding:
        first = [Example(items[row], "new queries", row + 1) for row in found.places[:SHOWN].tolist()]
        return Finding(
            "moved-queries",
            "warning",
            found.new,
            f"new queries have moved away from what was tuned on: {said}",
            first,
            "judge the model on labels of new queries (embedtune evaluate), and tune again with them",
        )

    def _finding(self, code: str, severity: Severity, rows: Rows, message: str, fix: str) -> Finding:
        named = ", ".join(map(str, rows.first))
        shown = [Example(f"ids {named}", self.store.url, 0)] if named else []
        return Finding(code, severity, rows.count, message, shown, fix)


BASE_ALONE, WITH_MAP = "the base", "base + map"


def _likeness(
    stored: Vectors, base: Vectors, mapped: DocumentMap | None, ids: Sequence[Id]
) -> dict[str, Vectors]:
    """Give the cosines of stored rows with what the base gives, and with what the map makes of it."""
    found = {BASE_ALONE: base}
    if mapped is not None:
        found[WITH_MAP] = mapped(ids, base)
    return {name: cosines(stored, x) for name, x in found.items() if x.shape == stored.shape}
