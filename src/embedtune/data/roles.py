"""Which column plays which role: by name, never by position."""

from __future__ import annotations

import re
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass
from typing import Any

from embedtune.data.dataset import Task
from embedtune.errors import DataError

_SPLIT = (("split", "subset"), ())
_IMAGE = ("image", "image_path", "img", "file_name")
_NAMES: dict[Task, dict[str, tuple[tuple[str, ...], tuple[str, ...]]]] = {
    "retrieval": {
        "query": (
            ("query", "question", "anchor", "search", "search_query", "query_text", "user_query"),
            ("caption",),
        ),
        "positive": (
            (
                *(
                    "positive",
                    "positives",
                    "document",
                    "passage",
                    "answer",
                    "doc",
                    "response",
                    "context",
                    "pos",
                ),
                *("text_pos", "pos_text", "positive_text", "document_text", "doc_text", "passage_text"),
                *("pos_doc", "positive_doc", "positive_document", "positive_passage"),
            ),
            ("text", "content"),
        ),
        "negative": ((), ()),
        "score": (("score", "grade", "relevance", "rating"), ("label",)),
        "query_image": (("query_image", "anchor_image", "image_query", "image1", "image_1"), ()),
        "positive_image": (
            ("positive_image", "document_image", "image_positive", "image2", "image_2"),
            _IMAGE,
        ),
        "position": (("position", "rank"), ()),
        "clicks": (("clicks", "click", "clicked"), ()),
        "impressions": (("impressions", "impression", "shown", "views"), ()),
        "split": _SPLIT,
        "query_id": (("query_id", "qid", "queryid", "question_id", "anchor_id"), ()),
        "document_id": (
            ("document_id", "doc_id", "docid", "positive_id", "pos_id", "passage_id", "pid", "corpus_id"),
            (),
        ),
    },
    "classification": {
        "text": (("text", "sentence", "utterance", "content"), ("query", "question", "document", "title")),
        "image": (_IMAGE, ()),
        "label": (("label", "labels", "class", "category", "intent"), ("target",)),
        "split": _SPLIT,
        "id": (("id", "_id", "text_id"), ()),
    },
    "similarity": {
        "sentence1": (
            ("sentence1", "sentence_1", "sentence_a", "text1", "text_1", "text_a", "question1"),
            (),
        ),
        "sentence2": (
            ("sentence2", "sentence_2", "sentence_b", "text2", "text_2", "text_b", "question2"),
            (),
        ),
        "score": (
            (
                *("score", "similarity", "similarity_score", "relatedness", "relatedness_score"),
                *("relatedness_judgment", "is_duplicate"),
            ),
            ("label", "rating", "gold"),
        ),
        "split": _SPLIT,
    },
    "recommendation": {
        "user": (
            (
                "user",
                "user_id",
                "userid",
                "customer",
                "customer_id",
                "visitor_id",
                "visitorid",
                "reviewer_id",
            ),
            ("session", "session_id"),
        ),
        "item": (
            (
                *("item", "item_id", "itemid", "product", "product_id", "productid", "movie_id", "movieid"),
                *("article_id", "asin", "sku", "book_id"),
            ),
            ("document_id", "doc_id"),
        ),
        "rating": (("rating", "stars"), ("score",)),
        "timestamp": (
            ("timestamp", "time", "datetime", "date", "ts", "event_time", "created_at", "unixreviewtime"),
            (),
        ),
        "item_text": (("item_text", "title", "item_title"), ("text", "description")),
        "split": _SPLIT,
    },
}
"""Task, role: the names that say it, and weaker names that count only where none of the first is there."""

_REQUIRED: dict[Task, tuple[str, ...]] = {
    "retrieval": ("query", "positive"),
    "classification": ("text", "label"),
    "similarity": ("sentence1", "sentence2", "score"),
    "recommendation": ("user", "item"),
}
_IMAGES: dict[Task, dict[str, str]] = {
    "retrieval": {"query_image": "query", "positive_image": "positive"},
    "classification": {"image": "text"},
}
"""Task, role of an image: the role that its path takes the place of."""
_NEGATIVE = re.compile(
    r"(hard_)?(negatives?|neg|text_neg|neg_text|negative_text|neg_doc|negative_image)(_?\d+)?"
)
_EXPECTED = (
    "expected are (query, positive[, negative…][, score][, split]), (text, label[, split]), "
    "(sentence1, sentence2, score[, split]) or (user, item[, rating][, timestamp])"
)


@dataclass(frozen=True)
class Layout:
    """A task and, for each role, the columns that play it."""

    task: Task
    columns: dict[str, tuple[str, ...]]
    images: frozenset[str] = frozenset()
    """The roles whose cells are paths of images."""

    def one(self, role: str) -> str | None:
        """Give the column of a role, or None where no column plays it."""
        return self.columns[role][0] if role in self.columns else None

    def cells(self, row: Mapping[str, Any]) -> Callable[[str], tuple[Any, str]]:
        """Give what looks up a role in ``row``: its value, None where no column plays it, and the column."""

        def cell(role: str) -> tuple[Any, str]:
            column = self.one(role)
            return (row.get(column), column) if column else (None, role)

        return cell

    def names(self) -> dict[str, str]:
        """Give role to column name(s), for people."""
        return {role: ", ".join(columns) for role, columns in self.columns.items()}


def check_roles(roles: Mapping[str, str | None]) -> Mapping[str, str | None]:
    """Refuse names that are not roles.

    Raises
    ------
    DataError
        Naming the roles there are.
    """
    known = {role for table in _NAMES.values() for role in table}
    for role in roles:
        if role not in known:
            raise DataError(
                f"there is no role called {role!r}", fix=f"choose from {', '.join(sorted(known))}"
            )
    return roles


def understand(
    columns: Iterable[str],
    *,
    where: str,
    task: Task | None = None,
    roles: Mapping[str, str | None] | None = None,
) -> Layout:
    """Find the task and the roles that a table's columns are meant for.

    Parameters
    ----------
    columns : iterable of str
        Their names, compared without case, spaces and hyphens.
    where : str
        File and line, for messages.
    task : str, optional
        The task; otherwise retrieval where there are a query and a positive, classification where
        there are a text and a label, similarity where there are two sentences and a score.
    roles : dict, optional
        Columns named by the user; these come first.

    Raises
    ------
    DataError
        When a required role has no column, or two columns could play one role.
    """
    columns, roles = list(columns), roles or {}
    seen = f"columns seen: {', '.join(columns) or 'none'}"
    for role, column in roles.items():
        for name in _named(role, column):
            if name not in columns:
                raise DataError(
                    f"column {name!r} (role {role!r}) is missing", where=where, fix=f"{seen}; {_fix([role])}"
                )
    tasks = [task] if task else [t for t in _NAMES if set(roles) <= set(_NAMES[t])] or list(_NAMES)
    best: list[str] = []
    for candidate in tasks:
        hits = _candidates(columns, candidate, roles)
        images = _take_images(hits, candidate, roles)
        if "clicks" not in hits:  # what a position is of is not known
            hits = {role: found for role, found in hits.items() if role not in ("position", "impressions")}
        missing = [role for role in _REQUIRED[candidate] if not hits.get(role)]
        if not missing:
            return Layout(candidate, _settle(hits, where), images)
        if not best or len(missing) < len(best):
            best = missing
    what = " and ".join(repr(role) for role in best)
    fix = f"{_EXPECTED}: rename the columns, or {_fix(best)}"
    raise DataError(f"no column for {what}; {seen}", where=where, fix=fix)


def _fix(roles: Iterable[str]) -> str:
    flags = " ".join(f"--role {role}=COLUMN" for role in roles)
    return f"say which column it is with {flags} (in Python: roles={{…}})"


def _named(role: str, column: str | None) -> list[str]:
    """Give the columns that the user named; the role 'negative' may have several, separated by commas."""
    if not column:
        return []
    return [name.strip() for name in column.split(",")] if role == "negative" else [column]


def _candidates(columns: list[str], task: Task, roles: Mapping[str, str | None]) -> dict[str, list[str]]:
    """Columns that could play each role; the ones the user named are taken."""
    taken = {name for role, column in roles.items() for name in _named(role, column)}
    free = {column: _plain(column) for column in columns if column not in taken}
    hits: dict[str, list[str]] = {}
    for role, (strong, weak) in _NAMES[task].items():
        if role in roles:
            found = _named(role, roles[role])
        elif role == "negative":
            found = [column for column, name in free.items() if _NEGATIVE.fullmatch(name)]
        else:
            found = [c for c, name in free.items() if name in strong] or [
                c for c, n in free.items() if n in weak
            ]
            canonical = [c for c in found if free[c] == role]
            found = canonical if len(canonical) == 1 else found
        if found:
            hits[role] = found
    return hits


def _take_images(hits: dict[str, list[str]], task: Task, roles: Mapping[str, str | None]) -> frozenset[str]:
    """Put columns of images where texts would be, and say where; (text, image) is a query and its image.

    A column that is called a text outright comes before a column of images, unless the user named that.
    """
    if task == "retrieval" and "positive_image" in hits and not {"query", "query_image", "score"} & set(hits):
        hits |= {"query": hits.pop("positive")} if "positive" in hits else {}
    taken = set()
    for role, place in _IMAGES.get(task, {}).items():
        found, strong = hits.pop(role, []), {_plain(name) for name in hits.get(place, ())}
        named = bool(roles.get(place)) or bool(strong & set(_NAMES[task][place][0]))
        if found and (role in roles or not named):
            hits[place] = found
            taken.add(place)
    return frozenset(taken)


def _plain(column: str) -> str:
    """Give a column's name as it is compared: without case, spaces and hyphens."""
    return re.sub(r"[\s\-]+", "_", column.strip().lower())


def _settle(hits: dict[str, list[str]], where: str) -> dict[str, tuple[str, ...]]:
    for role, found in hits.items():
        if len(found) > 1 and role != "negative":
            both = " and ".join(repr(column) for column in found)
            raise DataError(
                f"columns {both} could each be the {role}",
                where=where,
                fix=f"say which with --role {role}=COLUMN",
            )
    return {role: tuple(found) for role, found in hits.items()}
