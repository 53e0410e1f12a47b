"""The artifact: a base and the map fitted to it, usable, saved as one folder, and checked when loaded."""

from __future__ import annotations

import importlib.metadata
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Literal, NamedTuple, overload

from embedtune import manifest as manifests
from embedtune.card import model_card
from embedtune.data.dataset import Dataset
from embedtune.deferred import deferred_base, describe_base
from embedtune.errors import ArtifactError
from embedtune.folders import new_folder, refuse_existing
from embedtune.probes import Probes
from embedtune.search import top_k
from embedtune.stock import write_stock
from embedtune.transforms import Chain, Identity, load_transform, save_transform, then
from embedtune.types import Encoder, Similarity, Transform, Vectors

Documents = Sequence[str] | Mapping[str, str] | Dataset


class Hit(NamedTuple):
    """One document found: its id (its position where it has none), its score (higher is better), its text."""

    id: str
    score: float
    text: str


class _Collection(NamedTuple):
    """The documents of the last search, and their vectors (n, d)."""

    ids: tuple[str, ...]
    texts: tuple[str, ...]
    named: bool
    transform: Transform
    vectors: Vectors


@dataclass(eq=False)
class Tuned:
    """A base model and the transform fitted to it.

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
        What else the result depends on: :func:`embedtune.settings.settings_of`.
    manifest : dict
        What was saved or loaded last; empty before.
    """

    encoder: Encoder
    transform: Transform = field(default_factory=Identity)
    verdict: Any = None
    metrics: Mapping[str, Any] = field(default_factory=dict)
    data: Mapping[str, Any] = field(default_factory=dict)
    seed: int | None = None
    settings: Mapping[str, Any] = field(default_factory=dict)
    manifest: dict[str, Any] = field(default_factory=dict, repr=False)
    _last: _Collection | None = field(default=None, init=False, repr=False)
    _folder: Path | None = field(default=None, init=False, repr=False)

    @property
    def similarity(self) -> Similarity:
        """How the vectors are compared: ``"cosine"`` (rows have unit length) or ``"dot"``."""
        return self.encoder.similarity

    def encode_queries(self, texts: Sequence[str]) -> Vectors:
        """Give the tuned vectors of queries, float32 (n, d); unit length if similarity is cosine."""
        return self.transform.queries(self.encoder.encode(texts, kind="query"))

    def encode_documents(self, texts: Sequence[str], ids: Sequence[str] | None = None) -> Vectors:
        """Give the tuned vectors of documents, float32 (n, d); unit length if similarity is cosine.

        Parameters
        ----------
        texts : sequence of str
            The documents; their ids where the base has precomputed vectors.
        ids : sequence of str, optional
            Their ids, for maps that know items; without ids they are treated as new documents.
        """
        return self.transform.documents(self.encoder.encode(texts, kind="document"), ids)

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
        found = self._collection(documents)
        indices, scores = top_k(self.encode_queries(asked), found.vectors, k)
        hits = [
            [Hit(found.ids[i], float(score), found.texts[i]) for i, score in zip(*row, strict=True)]
            for row in zip(indices, scores, strict=True)
        ]
        return hits[0] if isinstance(queries, str) else hits

    def _collection(self, documents: Documents) -> _Collection:
        named = True
        if isinstance(documents, Dataset):
            ids, texts = tuple(documents.document_ids), tuple(documents.items("document"))
        elif isinstance(documents, Mapping):
            ids, texts = tuple(documents), tuple(documents.values())
        else:
            texts, named = tuple(documents), False
            ids = texts if self.encoder.content == "id" else tuple(map(str, range(len(texts))))
        last = self._last
        if (
            last
            and (last.ids, last.texts, last.named) == (ids, texts, named)
            and last.transform is self.transform
        ):
            return last
        items = ids if self.encoder.content == "id" else texts
        by_id = named or self.encoder.content == "id"
        vectors = self.encode_documents(items, ids if by_id else None)
        self._last = _Collection(ids, texts, named, self.transform, vectors)
        return self._last

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
            written = self._write(out)
        self.manifest, self._folder = written, target
        return target

    def _write(self, out: Path) -> dict[str, Any]:
        stock = write_stock(self.encoder, self.transform, out)
        probes = Probes.make(self.encoder, self.transform)
        written: dict[str, Any] = {
            "format": manifests.FORMAT,
            "format_version": manifests.FORMAT_VERSION,
            "embedtune": importlib.metadata.version("embedtune"),
            "base": {**describe_base(self.encoder), "files": stock.base_files},
            "similarity": self.similarity,
            "dimension": probes.documents.shape[1],
            "transforms": _save_transforms(self.transform, out),
            "data": self.data,
            "seed": self.seed,
            "settings": self.settings,
            "metrics": self.metrics,
            "verdict": self.verdict,
            "probes": probes.save(out),
            "stock_loader": stock.loader,
            "stock_why": stock.why,
            "stock_routed": stock.routed,
        }
        written = manifests.plain(written)
        (out / "README.md").write_text(model_card(written), "utf-8")
        written["files"] = manifests.checksums(out)
        manifests.write_json(written, out / manifests.NAME)
        return written

    @classmethod
    def load(
        cls,
        folder: str | Path,
        *,
        verify: bool | Literal["full"] = True,
        base: str | Path | Encoder | None = None,
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

        Raises
        ------
        ArtifactError
            When the folder is missing, foreign, damaged or of a newer format.
        """
        place = Path(folder).expanduser()
        read = manifests.read_manifest(place)
        if verify:
            manifests.check_files(place, read)
        try:
            transform: Transform = Identity()
            for entry in read["transforms"]:
                transform = then(transform, load_transform(entry, place))
            tuned = cls(deferred_base(place, read, transform, base), transform, manifest=read)
        except (KeyError, TypeError, AttributeError) as error:
            raise ArtifactError(
                f"the manifest is incomplete ({error})",
                where=str(place / manifests.NAME),
                fix=manifests.AGAIN,
            ) from None
        tuned.verdict, tuned.metrics = read.get("verdict"), read.get("metrics") or {}
        tuned.data, tuned.settings = read.get("data") or {}, read.get("settings") or {}
        tuned.seed, tuned._folder = read.get("seed"), place
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
) -> Tuned:
    """Load an artifact: :meth:`Tuned.load`."""
    return Tuned.load(folder, verify=verify, base=base)


def _save_transforms(transform: Transform, out: Path) -> list[dict[str, Any]]:
    parts = transform.parts if isinstance(transform, Chain) else (transform,)
    kept = [part for part in parts if not isinstance(part, Identity)]
    if kept:
        (out / "transforms").mkdir()
    return [
        save_transform(part, out, f"transforms/{i}-{part.kind.replace('_', '-')}")
        for i, part in enumerate(kept)
    ]
