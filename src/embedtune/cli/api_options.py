"""Options for models behind an API: written once, and added to every command that takes such a model."""

from __future__ import annotations

import functools
import inspect
from collections.abc import Callable
from dataclasses import dataclass, fields
from pathlib import Path
from typing import Annotated, Any, get_type_hints

import typer


@dataclass(frozen=True)
class ApiOptions:
    """What was given: a command's parameter ``api``, which :func:`with_api_options` fills."""

    api_base: Annotated[
        str | None,
        typer.Option(
            "--api-base",
            metavar="URL",
            help="Where the API of the model is: any server that speaks OpenAI's protocol, up to /v1.",
        ),
    ] = None
    api_key_env: Annotated[
        str | None,
        typer.Option(
            "--api-key-env", metavar="NAME", help="The environment variable that holds the API's key."
        ),
    ] = None
    dimensions: Annotated[
        int | None,
        typer.Option("--dimensions", metavar="N", min=1, help="Dimensions to ask the API for."),
    ] = None
    max_cost: Annotated[
        float | None,
        typer.Option("--max-cost", metavar="AMOUNT", min=0, help="Stop before the API costs more than this."),
    ] = None
    prices: Annotated[
        Path | None,
        typer.Option("--prices", metavar="FILE", help="Prices of API models, before those that come along."),
    ] = None

    def given(self) -> dict[str, Any]:
        """Give what :func:`embedtune.encoders.load_encoder` takes.

        What encoding costs is estimated on standard error before anything is sent; one limit of cost holds
        for all models of a command.
        """
        from embedtune.spending import Spending

        told = {
            "api_base": self.api_base,
            "api_key_env": self.api_key_env,
            "max_cost": None if self.max_cost is None else Spending(self.max_cost),
            "prices": self.prices,
            "dimensions": self.dimensions,
            "notice": functools.partial(typer.echo, err=True),
        }
        return {name: value for name, value in told.items() if value is not None}


NO_API = ApiOptions()
"""Nothing was given; the default of the parameter."""


def with_api_options(command: Callable[..., None]) -> Callable[..., None]:
    """Give ``command`` with the options of :class:`ApiOptions` in place of its parameter ``api``.

    >>> @with_api_options
    ... def greet(name: str, *, api: ApiOptions, loud: bool = False) -> None:
    ...     print(name, api.dimensions)
    >>> greet("you", dimensions=3)
    you 3
    """
    hints = get_type_hints(ApiOptions, include_extras=True)
    signature = inspect.signature(command, eval_str=True)
    parameters: list[inspect.Parameter] = []
    for one in signature.parameters.values():
        if one.name != "api":
            parameters.append(one)
            continue
        parameters += [
            inspect.Parameter(option.name, one.kind, default=option.default, annotation=hints[option.name])
            for option in fields(ApiOptions)
        ]

    @functools.wraps(command)
    def run(*args: Any, **kwargs: Any) -> None:
        told = {
            option.name: kwargs.pop(option.name) for option in fields(ApiOptions) if option.name in kwargs
        }
        command(*args, api=ApiOptions(**told), **kwargs)

    run.__signature__ = signature.replace(parameters=parameters)  # type: ignore[attr-defined]
    run.__annotations__ = {one.name: one.annotation for one in parameters} | {"return": None}
    return run
