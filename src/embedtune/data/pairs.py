"""Pairs made from the structure of a collection, where nobody has labelled anything.

Each way takes a part of a document that says what it is about as the query, and what remains as the
document, so that the words of the query are not given away:

- ``title``: a title finds its text;
- ``heading``: a heading (Markdown or underlined) finds its section;
- ``first-sentence``: the first sentence finds the rest of the text;
- ``link``: a title, or a first sentence, finds the texts that its document cites.

References
----------
Lee et al. 2019, Latent Retrieval for Weakly Supervised Open Domain Question Answering, section 4 (a sentence
finds what it was taken from: the inverse cloze task); Cohan et al. 2020, SPECTER, section 3 (citations as
relevance).
"""

from __future__ import annotations

import hashlib
import re
from collections import Counter
from collections.abc import Callable, Iterator, Mapping, Sequence
from typing import Any

from embedtune.data.dataset import Dataset, items, judgements
from embedtune.data.pages import Page, pages
from embedtune.data.readers.items import made_up_id
from embedtune.errors import DataError

MADE = "made"
"""The split of all judgements that nobody gave: they may train, and never judge."""

FEWEST_WORDS = 5
"""A document of fewer words teaches nothing."""

MOST_WORDS = 40
"""A query of more words is none."""

MOST_DOCUMENTS = 3
"""What more documents than this have in common (\"Introduction\") does not say what one of them is about."""

_SENTENCE = re.compile(r"(?<=[.!?])[\"'”’)\]]*\s+|(?<=[\u3002\uff01\uff1f])")  # the last: CJK full stops
_HEADING = re.compile(
    r"^[ ]{0,3}#{1,6}[ \t]+(?P<hash>[^\n]+?)[ \t]*#*[ \t]*$|^(?P<line>[^\n]+)\n(?:={3,}|-{3,})[ \t]*$",
    re.MULTILINE,
)

Pair = tuple[str, str, Page]
"""Query, document, and the page that holds the document."""


def pairs_from_structure(
    source: Any, ways: Sequence[str] | None = None, *, most: int | None = None
) -> Dataset:
    """Make a retrieval dataset from a collection without labels.

    Parameters
    ----------
    source
        What :func:`embedtune.data.pages.pages` reads.
    ways : sequence of str, optional
        Some of :data:`WAYS`; all of them unless given, the first sentence only of pages that have no
        title.
    most : int, optional
        Pairs at most; which ones are kept is decided by the hash of their texts, so the same pairs are
        kept whatever the order of the collection.

    Returns
    -------
    Dataset
        All judgements have grade 1 and are in the split ``"made"``; ids of queries begin with ``made-``
        and the way. A query that finds more than :data:`MOST_DOCUMENTS` documents is dropped, and
        equal pairs are one.

    Raises
    ------
    DataError
        When a way is unknown, or the structure gives no pair.

    Examples
    --------
    >>> rows = [{"title": "Fever", "text": "The body is warmer than it should be."}]
    >>> made = pairs_from_structure(rows)
    >>> made.splits, made.query_texts, made.document_texts
    (('made',), ['Fever'], ['The body is warmer than it should be.'])
    """
    collection = pages(source)
    for way in ways or ():
        if way not in WAYS:
            raise DataError(f"there is no way called {way!r}", fix=f"choose from {', '.join(WAYS)}")
    by_id = {page.id: page for page in collection}
    found: dict[tuple[str, str], tuple[str, Page]] = {}
    for way in ways or WAYS:
        for page in collection:
            if ways is None and way == "first-sentence" and page.title:
                continue
            for query, document, place in WAYS[way](page, by_id):
                pair = (" ".join(query.split()), document.strip())
                if useful(*pair):
                    found.setdefault(pair, (way, place))
    count = Counter(query.casefold() for query, _ in found)
    kept = {pair: how for pair, how in found.items() if count[pair[0].casefold()] <= MOST_DOCUMENTS}
    if most is not None and len(kept) > most:
        kept = {pair: kept[pair] for pair in _chosen(kept, most)}
    if not kept:
        fix = "give documents with titles, headings or several sentences, or label some queries"
        raise DataError("the structure gives no pair", where=collection[0].file, fix=fix)
    return made_dataset([(way, *pair, page) for pair, (way, page) in kept.items()], collection[0].file)


def made_dataset(pairs: Sequence[tuple[str, str, str, Page]], source: str) -> Dataset:
    """Give (way, query, document, page) rows as a dataset whose judgements are all in the split ``made``."""
    queries: dict[str, tuple[int, str, Page]] = {}
    documents: dict[str, tuple[int, Page]] = {}
    judged: dict[tuple[int, int], Page] = {}
    for way, query, document, page in pairs:
        row, _, _ = queries.setdefault(query, (len(queries), way, page))
        column, _ = documents.setdefault(document, (len(documents), page))
        judged.setdefault((row, column), page)
    ways = Counter(way for way, *_ in pairs)
    return Dataset(
        "retrieval",
        items([(made_up_id("d", text), text, page.file, page.line) for text, (_, page) in documents.items()]),
        items(
            [
                (made_up_id(f"{MADE}-{way}", text), text, page.file, page.line)
                for text, (_, way, page) in queries.items()
            ]
        ),
        judgements([(*pair, 1.0, MADE, page.file, page.line) for pair, page in judged.items()]),
        roles={"made by": ", ".join(f"{way} ({number})" for way, number in ways.items())},
        source=source,
    )


def made_labels(dataset: Dataset) -> dict[str, Any] | None:
    """Say how many judgements nobody gave, of how many, and what made them; None where people gave all.

    Examples
    --------
    >>> made_labels(pairs_from_structure([{"title": "Fever", "text": "The body is warmer than usual."}]))
    {'labels': 1, 'of': 1, 'by': 'title (1)'}
    """
    split = dataset.qrels["split"].to_pylist()
    made = split.count(MADE)
    if not made:
        return None
    return {"labels": made, "of": len(split), "by": dataset.roles.get("made by", "not said")}


def first_sentence(text: str) -> tuple[str, str]:
    """Split a text after its first sentence; the rest is empty where there is but one.

    Examples
    --------
    >>> first_sentence("A stye is a lump. It hurts. It heals.")
    ('A stye is a lump.', 'It hurts. It heals.')
    """
    at = _SENTENCE.search(text)
    return (text[: at.end()].strip(), text[at.end() :].strip()) if at else (text.strip(), "")


def _titles(page: Page, by_id: Mapping[str, Page]) -> Iterator[Pair]:
    if page.title:
        yield page.title, page.text, page


def _headings(page: Page, by_id: Mapping[str, Page]) -> Iterator[Pair]:
    """Give each heading with the text up to the next one, and the page's title before it."""
    marks = list(_HEADING.finditer(page.text))
    for number, mark in enumerate(marks):
        end = marks[number + 1].start() if number + 1 < len(marks) else len(page.text)
        heading, text = (mark["hash"] or mark["line"]).strip(), page.text[mark.end() : end]
        yield (f"{page.title}: {heading}" if page.title else heading), text, page


def _first_sentences(page: Page, by_id: Mapping[str, Page]) -> Iterator[Pair]:
    if not _HEADING.match(page.text):
        yield (*first_sentence(page.text), page)


def _links(page: Page, by_id: Mapping[str, Page]) -> Iterator[Pair]:
    query = page.title or first_sentence(page.text)[0]
    for link in page.links:
        cited = by_id.get(link)
        if cited is not None and cited is not page:
            yield query, cited.text, cited


WAYS: dict[str, Callable[[Page, Mapping[str, Page]], Iterator[Pair]]] = {
    "title": _titles,
    "heading": _headings,
    "link": _links,
    "first-sentence": _first_sentences,
}
"""Name of a way to what gives its pairs of a page."""


def useful(query: str, document: str) -> bool:
    """Say whether a part of a document may serve as a query for the rest."""
    words = len(query.split())
    letters = any(character.isalpha() for character in query)
    long_enough = len(document.split()) >= FEWEST_WORDS or len(document) >= 10 * FEWEST_WORDS
    return 0 < words <= MOST_WORDS and letters and long_enough and query.casefold() != document.casefold()


def _chosen(pairs: Mapping[tuple[str, str], Any], most: int) -> list[tuple[str, str]]:
    """Choose by hash, and keep the order."""
    key = {pair: hashlib.sha256("\0".join(pair).encode("utf-8", "surrogatepass")).digest() for pair in pairs}
    few = set(sorted(pairs, key=key.__getitem__)[:most])
    return [pair for pair in pairs if pair in few]
