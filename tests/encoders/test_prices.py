"""The table of prices, and the user's before it."""

from __future__ import annotations

import tomllib
from datetime import date
from importlib.resources import files
from pathlib import Path

import pytest

from embedtune.encoders.api.prices import price_of
from embedtune.encoders.api.providers.base import model_facts
from embedtune.errors import DataError


def test_every_price_has_its_date_and_source() -> None:
    text = (files("embedtune.encoders.api.providers") / "prices.toml").read_text("utf-8")
    models = tomllib.loads(text)["models"]
    known = {name for of in model_facts().values() for name in of}
    assert models.keys() <= known
    for entry in models.values():
        assert 0 < entry["price"] < 1
        assert isinstance(entry["date"], date)
        assert entry["source"].startswith("https://")


def test_the_users_table_stands_before_it(tmp_path: Path) -> None:
    table = tmp_path / "prices.toml"
    table.write_text('currency = "EUR"\n[models."text-embedding-3-small"]\nprice = 0.05\ndate = 2026-01-31\n')
    mine = price_of("text-embedding-3-small", table)
    assert (mine.price, mine.currency, str(mine)) == (
        0.05,
        "EUR",
        "0.05 EUR a million tokens as of 2026-01-31",
    )
    assert price_of("text-embedding-3-large", table).price == 0.13
    assert price_of("text-embedding-3-large").of(2_000_000) == pytest.approx(0.26)
    assert price_of("unknown") is None
    with pytest.raises(DataError) as caught:
        price_of("unknown", table)
    line = f"{table}: there is no price of 'unknown' in it, nor in the table that comes along; "
    assert str(caught.value) == line + 'add [models."unknown"] and price = …, 0 where nothing is charged'
    with pytest.raises(DataError, match=r"^prices: there is no price of 'unknown' in it"):
        price_of("unknown", {"other": 2})
    assert price_of("unknown", {"unknown": 2}).of(500_000) == 1.0


@pytest.mark.parametrize(
    ("content", "line"),
    [
        (None, "cannot be read"),
        ("price: 3", "not TOML"),
        ("[prices]\nx = 1\n", "no table of prices"),
        ('[models.x]\nprice = "free"\n', "the price of 'x' is 'free', no number"),
        ("[models.x]\nprice = -1\n", "no number from 0 on"),
        ("[models.x]\ncost = 1\n", "the entry of 'x' is no price"),
        ('[models.x]\nprice = 1\ndate = "soon"\n', "the date of 'x' is no date"),
    ],
)
def test_a_table_that_is_none_is_told(tmp_path: Path, content: str | None, line: str) -> None:
    table = tmp_path / "prices.toml"
    if content is not None:
        table.write_text(content)
    with pytest.raises(DataError, match=line):
        price_of("x", table)
