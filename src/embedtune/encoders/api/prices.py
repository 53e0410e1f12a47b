"""What a million tokens cost: a dated table that comes along, and one of the user's before it."""

from __future__ import annotations

import tomllib
from collections.abc import Mapping
from dataclasses import dataclass
from datetime import date
from importlib.resources import files
from pathlib import Path
from typing import Any

from embedtune.errors import DataError

Prices = str | Path | Mapping[str, float]
"""A file like ``encoders/api/providers/prices.toml``, or ``{model: price of a million tokens}``."""


@dataclass(frozen=True)
class Price:
    """What a model costs, and who says so."""

    price: float
    """Of a million tokens."""
    currency: str = "USD"
    date: date | None = None
    """When it was looked up; None where the user's table does not say."""
    source: str | None = None

    def of(self, tokens: int) -> float:
        """Give the cost of so many tokens."""
        return tokens * self.price / 1e6

    def __str__(self) -> str:
        """Say the price, with its date."""
        when = f" as of {self.date}" if self.date else ""
        return f"{self.price:g} {self.currency} a million tokens{when}"


def price_of(model: str, prices: Prices | Price | None = None) -> Price | None:
    """Give the price of a model: the user's, else that of the table; None where there is none to be had.

    Parameters
    ----------
    model : str
        The provider's own name of it, without prefix.
    prices : str, pathlib.Path or mapping, optional
        The user's table; or a price, which is then the model's.

    Raises
    ------
    DataError
        When the user's table cannot be read, or has something that is no price; or it was given, and neither
        table has the model: whoever gives prices relies on what they say.

    Examples
    --------
    >>> price_of("text-embedding-3-small").of(1_000_000)
    0.02
    >>> price_of("my-model", {"my-model": 0.5}).price
    0.5
    """
    if isinstance(prices, Price):
        return prices
    if isinstance(prices, Mapping):
        given = {name: Price(_number(price, name, "prices")) for name, price in prices.items()}
    elif prices is not None:
        given = _read(Path(prices).expanduser())
    else:
        given = {}
    if model in given:
        return given[model]
    own = _table((files("embedtune.encoders.api.providers") / "prices.toml").read_text("utf-8"), "prices")
    if model not in own and prices is not None:
        raise DataError(
            f"there is no price of {model!r} in it, nor in the table that comes along",
            where="prices" if isinstance(prices, Mapping) else str(prices),
            fix=f'add [models."{model}"] and price = …, 0 where nothing is charged',
        )
    return own.get(model)


def _read(path: Path) -> dict[str, Price]:
    try:
        return _table(path.read_text("utf-8"), str(path))
    except OSError as error:
        raise DataError(
            f"the table of prices cannot be read ({error.strerror or error})",
            where=str(path),
            fix="check the path",
        ) from None
    except (tomllib.TOMLDecodeError, UnicodeDecodeError) as error:
        raise DataError(f"not TOML: {error}", where=str(path), fix=_FORM) from None


_FORM = 'write [models."NAME"] and price = 0.1 for each model'


def _table(text: str, where: str) -> dict[str, Price]:
    read = tomllib.loads(text)
    models, currency = read.get("models"), read.get("currency", "USD")
    if not isinstance(models, Mapping) or set(read) - {"models", "currency"}:
        raise DataError("this is no table of prices", where=where, fix=_FORM)
    return {name: _entry(entry, str(currency), name, where) for name, entry in models.items()}


def _entry(entry: Any, currency: str, name: str, where: str) -> Price:
    if not isinstance(entry, Mapping) or set(entry) - {"price", "date", "source", "currency"}:
        raise DataError(f"the entry of {name!r} is no price", where=where, fix=_FORM)
    looked_up = entry.get("date")
    if looked_up is not None and not isinstance(looked_up, date):
        raise DataError(
            f"the date of {name!r} is no date", where=where, fix="write it as 2026-01-31, unquoted"
        )
    source = entry.get("source")
    return Price(
        _number(entry.get("price"), name, where),
        str(entry.get("currency", currency)),
        looked_up,
        None if source is None else str(source),
    )


def _number(price: Any, name: str, where: str) -> float:
    if isinstance(price, bool) or not isinstance(price, int | float) or not 0 <= price < float("inf"):
        raise DataError(f"the price of {name!r} is {price!r}, no number from 0 on", where=where, fix=_FORM)
    return float(price)
