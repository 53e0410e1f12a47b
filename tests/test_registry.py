"""Names to implementations: suggestions, third parties, missing extras."""

from __future__ import annotations

from importlib.metadata import EntryPoint

import pytest

from embedtune import registry
from embedtune.errors import MissingExtra, UserError
from embedtune.registry import Entry, Registry


@pytest.fixture
def entries() -> dict[str, Entry]:
    return {
        "ordered": Entry("collections:OrderedDict", "a dictionary"),
        "counter": Entry("collections:Counter", "a bag", extra="bags", module="no_such_module"),
    }


def third_party(monkeypatch: pytest.MonkeyPatch, *names: str) -> None:
    def points(*, group: str) -> list[EntryPoint]:
        return [
            EntryPoint(name, "other_package.things:Thing", group)
            for name in names
            if group == "embedtune.bags"
        ]

    monkeypatch.setattr(registry, "entry_points", points)


def test_loading_by_name(entries: dict[str, Entry]) -> None:
    from collections import OrderedDict

    table = Registry("bag", entries)
    assert table.load("ordered") is OrderedDict
    assert list(table) == ["ordered", "counter"]
    assert len(table) == 2
    assert "ordered" in table
    assert "other" not in table
    assert table["ordered"].summary == "a dictionary"


def test_an_unknown_name_gets_a_suggestion(entries: dict[str, Entry]) -> None:
    with pytest.raises(UserError) as caught:
        Registry("bag", entries)["orderd"]
    assert (
        str(caught.value)
        == "there is no bag called 'orderd'; did you mean 'ordered'? choose from ordered, counter"
    )


def test_a_name_like_no_other_gets_the_list(entries: dict[str, Entry]) -> None:
    with pytest.raises(UserError, match="called 'zzz'; choose from ordered, counter"):
        Registry("bag", entries).load("zzz")


def test_a_missing_extra_says_what_installs_it(entries: dict[str, Entry]) -> None:
    with pytest.raises(MissingExtra) as caught:
        Registry("bag", entries).load("counter")
    assert str(caught.value) == "bag 'counter' needs no_such_module: pip install 'embedtune[bags]'"


def test_other_packages_add_theirs(entries: dict[str, Entry], monkeypatch: pytest.MonkeyPatch) -> None:
    third_party(monkeypatch, "sack")
    table = Registry("bag", entries)
    assert list(table) == ["ordered", "counter", "sack"]
    assert table["sack"] == Entry("other_package.things:Thing", "from other_package")
    assert "sack" not in Registry("box", entries)


def test_two_of_one_name_are_refused(entries: dict[str, Entry], monkeypatch: pytest.MonkeyPatch) -> None:
    third_party(monkeypatch, "ordered")
    with pytest.raises(
        UserError, match="two bags are called 'ordered': collections:OrderedDict and other_package"
    ):
        list(Registry("bag", entries))


def test_two_packages_of_one_name_are_refused(
    entries: dict[str, Entry], monkeypatch: pytest.MonkeyPatch
) -> None:
    third_party(monkeypatch, "sack", "sack")
    with pytest.raises(UserError, match="two bags are called 'sack'"):
        len(Registry("bag", entries))
