"""What makes the same API encoder in another process: all but its secrets, which its environment has."""

from __future__ import annotations

import json
import os
from dataclasses import asdict, replace
from datetime import date
from typing import TYPE_CHECKING, Any
from urllib.parse import quote

from embedtune.encoders.api.prices import Price

if TYPE_CHECKING:
    from embedtune.encoders.api.encoder import ApiEncoder

LOGIN = "EMBEDTUNE_COURIER_LOGIN"
"""The variable in a courier's environment that holds name and password of the address, if it has them."""


def recipe(encoder: ApiEncoder) -> dict[str, Any]:
    """Describe an encoder as JSON; its limit of cost is not part of it."""
    price = encoder.price
    options = {
        "name": encoder.name,
        "api_key_env": encoder.key_variable,
        "dimensions": encoder.dimensions,
        "dimension": encoder.dimension,
        "similarity": encoder.similarity,
        "batch": encoder._items,
        **asdict(encoder._asker.manner),
    }
    return {
        "fingerprint": encoder.fingerprint,
        "api_base": None if encoder.own_address else str(replace(encoder.address, login=None)),
        "price": price and [price.price, price.currency, price.date and str(price.date), price.source],
        "options": options,
    }


def secrets(encoder: ApiEncoder) -> dict[str, str]:
    """Give what the environment of the other process has to hold beside the key, which is there."""
    return {LOGIN: json.dumps(encoder.address.login)}


def opened(recipe: dict[str, Any]) -> ApiEncoder:
    """Make the encoder of a recipe, in a process with its secrets."""
    from embedtune.encoders.api.encoder import ApiEncoder

    base, login = recipe["api_base"], json.loads(os.environ.pop(LOGIN, "null"))
    if base is not None and login is not None:
        scheme, _, rest = base.partition("://")
        name, password = (quote(one, safe="") for one in login)
        base = f"{scheme}://{name}:{password}@{rest}"
    price = None
    if recipe["price"] is not None:
        amount, currency, when, source = recipe["price"]
        price = Price(amount, currency, None if when is None else date.fromisoformat(when), source)
    return ApiEncoder(**recipe["options"] | {"api_base": base, "prices": price})
