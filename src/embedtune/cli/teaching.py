"""Options of ``tune`` for a teacher: what labels queries that nobody has labelled."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path
from typing import Annotated, Any

import typer

from embedtune.cli.api_options import ApiOptions
from embedtune.errors import UserError

Teacher = Annotated[
    str | None,
    typer.Option(
        metavar="MODEL|API|FILE",
        help="What labels queries without judgements: a better model, cross-encoder:NAME, a file of scores.",
    ),
]
TeacherApiBase = Annotated[
    str | None,
    typer.Option("--teacher-api-base", metavar="URL", help="Where the API of the teacher is, up to /v1."),
]
Unlabelled = Annotated[
    Path | None,
    typer.Option(
        "--queries", metavar="FILE", help="With --teacher: more queries without labels, one a line."
    ),
]
Distil = Annotated[
    float | None,
    typer.Option(metavar="SHARE", help="With --teacher: how much tuned weights follow its scores, 0 to 1."),
]


def behind_an_api(model: str, api_base: str | None) -> bool:
    """Say whether a model is reached through an API."""
    from embedtune.encoders.api.providers import provider_of

    return api_base is not None or (not Path(model).expanduser().exists() and provider_of(model) is not None)


def only_teacher_pays(
    base: str, api_base: str | None, teacher: str | None, teacher_api_base: str | None
) -> bool:
    """Say whether options of an API are those of the teacher alone, as the base needs none."""
    return (
        teacher is not None and behind_an_api(teacher, teacher_api_base) and not behind_an_api(base, api_base)
    )


def teaching(
    teacher: str | None,
    api_base: str | None,
    queries: Path | None,
    base_options: dict[str, Any],
    api: ApiOptions,
) -> dict[str, Any]:
    """Give what :func:`embedtune.fine_tune` takes of a teacher.

    A teacher behind an API shares key, prices and limit of cost with the base; whichever spends counts.

    Parameters
    ----------
    teacher, api_base, queries
        As given.
    base_options : dict
        Those that the base was opened with.
    api : ApiOptions
        Those of the command: the variable of the key, the limit of cost and the prices serve both.

    Raises
    ------
    UserError
        When queries or an address are given without a teacher.
    """
    from embedtune.data.pool import read_pool
    from embedtune.teachers import open_teacher

    if teacher is None:
        for name, given in (("--queries", queries), ("--teacher-api-base", api_base)):
            if given is not None:
                raise UserError(f"{name} is for a teacher", fix="add --teacher")
        return {}
    options: dict[str, Any] = {}
    if behind_an_api(teacher, api_base):
        options = replace(api, api_base=api_base, dimensions=None).given()
        if "max_cost" in base_options:
            options["max_cost"] = base_options["max_cost"]  # one limit of cost for both
    texts = [] if queries is None else read_pool(queries)
    return {"teacher": open_teacher(teacher, **options), "queries": texts}
