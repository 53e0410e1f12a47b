"""The artifact: a base and the map fitted to it, usable, saved as one folder, and checked when loaded."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal, NamedTuple, overload

import numpy as np
from numpy.typing import NDArray

from embedtune import manifest as manifests
from embedtune.artifact.files import read_artifact, write_artifact
from embedtune.artifact.probes import Probes
from embedtune.artifact.reading import read_on
from embedtune.artifact.reference import Reference
from embedtune.artifact.searched import Documents, Hit, Searched
from embedtune.errors import ArtifactError, UserError
from embedtune.folders import new_folder, refuse_existing
from embedtune.search.coded import coded_top_k
from embedtune.transforms import Identity
from embedtune.transforms.codes import Codes, documents_codes, rounding_of
from embedtune.transforms.pooling import latest_choices, pooled_history
from embedtune.types import Encoder, Similarity, Transform, Vectors

if TYPE_CHECKING:
    from embedtune.heads.head import Head
    from embedtune.judging.threshold import Threshold

__all__ = ["Documents", "Hit", "Tuned", "load"]


class Same(NamedTuple):
    """Whether pairs are the same, and how similar they are."""

    same: NDArray[np.bool_]
    """Of each pair, (n,)."""
    similarity: NDArray[np.float64]
    """Cosine, or inner product where the base is compared by it; higher is more similar, (n,)."""


@dataclass(eq=False)
class Tuned:
    """A base model, the transform fitted to it and, for classes, the head on top.

    Parameters
    ----------
    encoder : Encoder
        The base.
    transform : Transform
        What is done to its vectors; :class:`~embedtune.transforms.Identity` for the base as it is.
    verdict : dict or Verdict, optional
        Whether tuning helped; goes into the manifest and the card.
    metrics : dict
        Figures for the manifest and the card: ``{"metric", "base": {"overall", …}, "tuned": {…}}``.
    data : dict
        ``{"fingerprint", "task", "counts": {name: number}}`` of the data it was tuned on.
    seed : int, optional
        The seed it was tuned with.
    settings : dict
        What else the result depends on: :func:`embedtune.artifact.settings.settings_of`.
    manifest : dict
        What was saved or loaded last; empty before.
    head : Head, optional
        A classifier of the tuned vectors, as :func:`embedtune.heads.fitting.fit_head` fits it.
    threshold : Threshold, optional
        The similarity from which two texts are the same: :func:`embedtune.steps.sameness.threshold_of`.
    reference : Reference, optional
        A sample of what it was tuned on, to see later whether queries have moved away.
    """

    encoder: Encoder
    transform: Transform = field(default_factory=Identity)
    verdict: Any = None
    metrics: Mapping[str, Any] = field(default_factory=dict)
    data: Mapping[str, Any] = field(default_factory=dict)
    seed: int | None = None
    settings: Mapping[str, Any] = field(default_factory=dict)
    manifest: dict[str, Any] = field(default_factory=dict, repr=False)
    head: Head | None = None
    threshold: Threshold | None = None
    reference: Reference | None = None
    _last: tuple[Searched, Transform, Vectors] | None = field(default=None, init=False, repr=False)
    _coded: tuple[Searched, Transform, Codes] | None = field(default=None, init=False, repr=False)
    _folder: Path | None = field(default=None, init=False, repr=False)

    @property
    def similarity(self) -> Similarity:
        """How the vectors are compared: ``"cosine"`` (rows have unit length) or ``"dot"``."""
        return self.encoder.similarity

    def encode_queries(self, texts: Sequence[str]) -> Vectors:
        """Give the tuned vectors of queries, float32 (n, d); unit length if similarity is cosine."""
        return self.transform.queries(self.encoder.encode(texts, kind="query"))

    @overload
    def encode_documents(
        self, texts: Sequence[str], ids: Sequence[str] | None = None, *, codes: Literal[False] = False
    ) -> Vectors: ...
    @overload
    def encode_documents(
        self, texts: Sequence[str], ids: Sequence[str] | None = None, *, codes: Literal[True]
    ) -> Codes: ...
    def encode_documents(
        self, texts: Sequence[str], ids: Sequence[str] | None = None, *, codes: bool = False
    ) -> Vectors | Codes:
        """Give the tuned vectors of documents, float32 (n, d); unit length if similarity is cosine.

        Where the map reads long documents on, new ones are read on too.

        Where documents are rounded to codes, the vectors are what the codes stand for: of unit length to
        within the rounding, and compared by inner product.

        Parameters
        ----------
        texts : sequence of str
            The documents; their ids where the base has precomputed vectors.
        ids : sequence of str, optional
            Their ids, for maps that know items; without ids they are treated as new documents.
        codes : bool
            Give the codes instead, (n, bytes): int8, or packed uint8 for int4 and binary.

        Raises
        ------
        VectorError
            When codes are asked for and none were fitted (``fine_tune(..., dims=...)``).
        """
        x = self.encoder.encode(texts, kind="document")
        x = read_on(x, texts, ids, encoder=self.encoder, transform=self.transform)
        return documents_codes(self.transform, x, ids) if codes else self.transform.documents(x, ids)

    @overload
    def search(self, queries: str, documents: Documents, k: int = 10) -> list[Hit]: ...
    @overload
    def search(
        self, queries: list[str] | tuple[str, ...], documents: Documents, k: int = 10
    ) -> list[list[Hit]]: ...
    def search(
        self, queries: str | Sequence[str], documents: Documents, k: int = 10
    ) -> list[Hit] | list[list[Hit]]:
        """Find the ``k`` best documents for each query, exactly; best first.

        The vectors of the last collection are kept, so that another query on it is fast.

        Parameters
        ----------
        queries : str or sequence of str
            One query gives one list of hits, several give a list of lists.
        documents : sequence of str, mapping of id to text, or Dataset
            Texts without ids are treated as new documents, and their positions serve as ids.
        k : int
            Hits wanted, at least 1; fewer where there are fewer documents.
        """
        asked = [queries] if isinstance(queries, str) else list(queries)
        found = Searched.of(documents, self.encoder.content)
        rounding = rounding_of(self.transform)
        if rounding is None:
            hits = found.best(self.encode_queries(asked), self._vectors(found), k)
        else:  # the codes are what is kept and searched
            hits = found.hits(
                *coded_top_k(self.encode_queries(asked), self._codes(found), k, rounding=rounding)
            )
        return hits[0] if isinstance(queries, str) else hits

    def recommend(
        self,
        history: Sequence[str],
        items: Documents,
        k: int = 10,
        ratings: Sequence[float] | None = None,
    ) -> list[Hit]:
        """Find the ``k`` items that continue a user's history best; best first, none of the history itself.

        The history is pooled as the transform was fitted to, by the plain mean where it was not. The
        vectors of the last items are kept, so that another user is fast.

        Parameters
        ----------
        history : sequence of str
            Ids of what the user chose, from the earliest to the latest; of repeats the latest counts.
        items : mapping of id to text, sequence of str, or Dataset
            All items, those of the history too. A sequence holds ids where the base has precomputed
            vectors; otherwise texts, whose positions serve as ids.
        k : int
            Hits wanted, at least 1; fewer where there are fewer items.
        ratings : sequence of float, optional
            What the user thought of each item of the history, on the scale that the transform was
            fitted with.

        Raises
        ------
        UserError
            When the history is empty or has an id that is not among the items, or ratings do not fit it.
        """
        chosen, liking = latest_choices([history] if isinstance(history, str) else list(history), ratings)
        found = Searched.of(items, self.encoder.content)
        rows = found.rows(chosen)
        unknown = next((name for name in chosen if name not in rows), None)
        if unknown is not None:
            raise UserError(
                f"the history has {unknown!r}, which is not the id of an item",
                fix="give items that hold every id of the history",
            )
        x = self.encoder.encode([found.items[rows[name]] for name in chosen], kind="document")
        ids = chosen if found.by_id else None
        query = pooled_history(self.transform, x, ids, liking, self.similarity)
        return found.best(query, self._vectors(found), k, exclude=list(rows.values()))[0]

    def predict(
        self, texts: Sequence[str], accuracy: float | None = None
    ) -> list[str | None] | list[list[str] | None]:
        """Give the class of each text or, where texts may have several, a list of its classes.

        Parameters
        ----------
        texts : sequence of str
            What is to be classified; ids where the base has precomputed vectors.
        accuracy : float, optional
            Abstain, with None in place of an answer, where the classifier was not, out of fold, at
            least so often right: above 0, at most 1.

        Raises
        ------
        UserError
            When there is no classifier, or no confidence gives the wished accuracy.
        """
        return self._classifier(texts).predict(self.encode_documents(texts), accuracy=accuracy)

    def predict_proba(self, texts: Sequence[str]) -> NDArray[np.float64]:
        """Give the calibrated probability of each class.

        Parameters
        ----------
        texts : sequence of str
            As for :meth:`predict`.

        Returns
        -------
        float64 array of shape (n, C)
            Columns in the order of ``head.classes``; rows add up to 1 where every text has one class.

        Raises
        ------
        UserError
            When there is no classifier.
        """
        return self._classifier(texts).predict_proba(self.encode_documents(texts))

    def same(self, a: Sequence[str], b: Sequence[str]) -> Same:
        """Say of each pair of texts whether they are the same, by the calibrated threshold.

        Parameters
        ----------
        a, b : sequence of str
            As many each; ids where the base has precomputed vectors. Which side a text is on plays no part.

        Raises
        ------
        UserError
            When there is no threshold, or the sides differ in length.
        """
        if self.threshold is None:
            raise UserError(
                "this model has no threshold of the same: it was not tuned on scored pairs of both kinds",
                fix="tune on pairs with scores, or pass Tuned(..., threshold=...) from "
                "embedtune.judging.threshold.calibrate",
            )
        if isinstance(a, str) or isinstance(b, str) or len(a) != len(b):
            raise UserError("same compares two lists of texts of one length", fix="give same([a], [b])")
        x = self.encode_documents([*a, *b])
        similarity = np.einsum("ij,ij->i", x[: len(a)], x[len(a) :], dtype=np.float64)
        return Same(self.threshold.same(similarity), similarity)

    def _classifier(self, texts: Sequence[str]) -> Head:
        if self.head is None:
            raise UserError(
                "this model has no classifier: it was not tuned on labelled texts",
                fix="tune on data with labels (task='classification'), or fit one with "
                "embedtune.heads.fitting.fit_head and pass it as Tuned(..., head=...)",
            )
        if isinstance(texts, str):
            raise UserError("texts is a single string", fix="give a list, [text]")
        return self.head

    def _vectors(self, documents: Searched) -> Vectors:
        if self._last and self._last[0] == documents and self._last[1] is self.transform:
            return self._last[2]
        vectors = self.encode_documents(documents.items, documents.own_ids)
        self._last = documents, self.transform, vectors
        return vectors

    def _codes(self, documents: Searched) -> Codes:
        if self._coded and self._coded[0] == documents and self._coded[1] is self.transform:
            return self._coded[2]
        codes = self.encode_documents(documents.items, documents.own_ids, codes=True)
        self._coded = documents, self.transform, codes
        return codes

    def save(self, folder: str | Path, *, overwrite: bool = False) -> Path:
        """Save as a folder; the same inputs give the same bytes.

        The folder appears whole or not at all. Where base and map allow it, stock
        ``sentence_transformers.SentenceTransformer(folder)`` loads it;
        ``manifest["stock_loader"]`` says whether.

        Parameters
        ----------
        folder : str or pathlib.Path
            Where to; must not exist.
        overwrite : bool
            Replace an embedtune artifact that is there; never anything else.

        Raises
        ------
        OutputExists
            When ``folder`` exists and may not be replaced.
        DiskFull
            When there is no room; nothing is left behind.
        """
        target = Path(folder).expanduser()
        replaces = manifests.is_artifact if overwrite else None
        refuse_existing(target, replaces, fix="choose another folder, or pass overwrite=True")
        with new_folder(target, replaces=replaces) as out:
            written = write_artifact(self, out)
        self.manifest, self._folder = written, target
        return target

    @classmethod
    def load(
        cls,
        folder: str | Path,
        *,
        verify: bool | Literal["full"] = True,
        base: str | Path | Encoder | None = None,
        options: Mapping[str, Any] | None = None,
    ) -> Tuned:
        """Load what ``save`` wrote. The base is opened, and its probes are compared, before the first vector.

        Parameters
        ----------
        folder : str or pathlib.Path
            The artifact.
        verify : bool or "full"
            Whether to compare the checksums of all files; ``"full"`` opens the base and compares the probes
            at once, which otherwise happens with the first vector asked for.
        base : str, pathlib.Path or Encoder, optional
            The base, where it is neither in the folder nor found by its name.
        options : mapping, optional
            For :func:`~embedtune.encoders.load_encoder`, which opens the base: ``engine``, ``max_cost``, ….

        Raises
        ------
        ArtifactError
            When the folder is missing, foreign, damaged or of a newer format.
        """
        place = Path(folder).expanduser()
        tuned = cls(**read_artifact(place, verify=bool(verify), base=base, options=options))
        tuned._folder = place
        if verify == "full":
            tuned.verify()
        return tuned

    def verify(self) -> None:
        """Check a saved artifact wholly: every checksum, then the probes through the base.

        Raises
        ------
        ArtifactError
            When a file is damaged, the base is another one, or nothing has been saved yet.
        """
        if self._folder is None:
            raise ArtifactError(
                "this has not been saved, so there is nothing to verify",
                fix="save it first",
            )
        manifests.check_files(self._folder, manifests.read_manifest(self._folder))
        Probes.load(self._folder).verify(self.encoder, self.transform, where=str(self._folder))


def load(
    folder: str | Path,
    *,
    verify: bool | Literal["full"] = True,
    base: str | Path | Encoder | None = None,
    options: Mapping[str, Any] | None = None,
) -> Tuned:
    """Load an artifact: :meth:`Tuned.load`."""
    return Tuned.load(folder, verify=verify, base=base, options=options)
