"""Pairs from the structure of a collection, worked by hand."""

from __future__ import annotations

import json
import random
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from embedtune.data import read
from embedtune.data.pages import pages
from embedtune.data.pairs import first_sentence, pairs_from_structure
from embedtune.errors import DataError

BODY = "The heart beats faster than it should."


def made(source, *ways: str, **options):
    data = pairs_from_structure(source, ways or None, **options)
    rows, columns = data.relevance(["made"]).nonzero()
    return {(data.query_texts[q], data.document_texts[d]) for q, d in zip(rows, columns, strict=True)}


def test_titles_find_their_texts_without_the_title() -> None:
    assert made([{"title": "Fast heart", "text": BODY}, {"title": "No text", "text": ""}], "title") == {
        ("Fast heart", BODY)
    }


def test_headings_find_their_sections() -> None:
    care = "Rest in bed, and drink enough water."
    text = f"Before all of it.\n\n# Signs #\n{BODY}\n\nCare\n----\n{care}\n## Empty\n"
    assert made([text], "heading") == {("Signs", BODY), ("Care", care)}
    assert made([{"title": "Palpitations", "text": text}], "heading") == {
        ("Palpitations: Signs", BODY),
        ("Palpitations: Care", care),
    }


def test_first_sentences_find_the_rest() -> None:
    assert made([f"Palpitations are felt. {BODY}"]) == {("Palpitations are felt.", BODY)}
    assert first_sentence('He said "stop!" Then he left.') == ('He said "stop!"', "Then he left.")
    assert first_sentence("心悸。休息。") == ("心悸。", "休息。")
    assert first_sentence("3.5 mg is enough") == ("3.5 mg is enough", "")


def test_links_find_the_texts_they_cite() -> None:
    rows = [
        {"id": "a", "title": "Palpitations", "text": "Short.", "links": "b, z a"},
        {"id": "b", "title": "Heart", "text": BODY, "links": None},
    ]
    assert made(rows, "link") == {("Palpitations", BODY)}


def test_all_judgements_are_marked_and_none_can_judge() -> None:
    data = pairs_from_structure([{"title": "Fast heart", "text": BODY}])
    assert data.splits == ("made",)
    assert data.qrels["grade"].to_pylist() == [1]
    assert data.query_ids[0].startswith("made-title-")
    assert data.roles == {"made by": "title (1)"}


def test_a_title_that_stands_everywhere_says_nothing() -> None:
    rows = [{"title": "Introduction", "text": f"{BODY} Number {n}."} for n in range(4)]
    with pytest.raises(DataError, match="the structure gives no pair"):
        pairs_from_structure(rows, ["title"])
    assert len(made(rows[:3], "title")) == 3


def test_pairs_are_made_once_and_chosen_alike_in_any_order() -> None:
    rows = [{"title": f"Title {n}", "text": f"{BODY} Number {n}."} for n in range(50)]
    chosen = made(rows * 1 + [], "title", most=10)
    assert len(chosen) == 10
    random.Random(0).shuffle(rows)
    assert made(rows, "title", most=10) == chosen
    twice = [{"id": str(n), "title": "Fast heart", "text": BODY} for n in range(2)]
    assert len(pairs_from_structure(twice, ["title"]).qrels) == 1


def test_collections_come_from_files_folders_and_datasets(tmp_path: Path) -> None:
    path = tmp_path / "corpus.jsonl"
    path.write_text(json.dumps({"_id": "x", "title": "Fast heart", "text": BODY}) + "\n\n", "utf-8")
    for source in (path, str(path), tmp_path):
        (page,) = pages(source)
        assert (page.id, page.title, page.text, page.line) == ("x", "Fast heart", BODY, 1)
    labelled = read([{"query": "q", "positive": f"Palpitations are felt. {BODY}"}])
    assert made(labelled) == {("Palpitations are felt.", BODY)}


@pytest.mark.parametrize(
    ("source", "message"),
    [
        ([{"words": "a"}], "there is no column of texts"),
        ([{"id": "1", "text": "a"}, {"id": "1", "text": "b"}], "id '1' comes twice"),
        ([" "], "there are no texts"),
        ([3], "row 1 is a int"),
        (7, "cannot read a collection from int"),
        ("nowhere.csv", "there is no such file"),
    ],
)
def test_what_is_no_collection_is_named(source, message: str) -> None:
    with pytest.raises(DataError, match=message):
        pages(source)


def test_an_unknown_way_is_named() -> None:
    with pytest.raises(DataError, match="no way called 'magic'; choose from title"):
        pairs_from_structure(["a"], ["magic"])


@given(st.lists(st.text(st.characters(exclude_categories=("Cs",))), min_size=1))
def test_any_texts_give_pairs_of_the_texts_or_say_that_there_are_none(texts: list[str]) -> None:
    try:
        pairs = made(texts)
    except DataError as error:
        assert "no pair" in str(error) or "no texts" in str(error)  # noqa: PT017
        return
    for query, document in pairs:
        assert any(document in text and query in " ".join(text.split()) for text in texts)
