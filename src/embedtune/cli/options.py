"""Arguments and options that several commands share."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from embedtune.errors import UserError

if TYPE_CHECKING:
    from embedtune.data import Dataset

Data = Annotated[
    str, typer.Argument(metavar="DATA", help="A BEIR folder, a file of rows, or a folder of such files.")
]
Sources = Annotated[
    list[str],
    typer.Argument(
        metavar="DATA...",
        help="Like DATA; several, each perhaps with a weight (a.csv b.jsonl@0.5), are read as one.",
    ),
]
SkipBad = Annotated[
    bool, typer.Option("--skip-bad", help="Leave out images that cannot be read, instead of stopping.")
]
Base = Annotated[
    str,
    typer.Option(
        metavar="MODEL",
        help="The base model: a folder, a name, openai:MODEL or the like, static:NAME or vectors:FOLDER.",
        show_default=False,
    ),
]
Engine = Annotated[
    str | None,
    typer.Option(
        metavar="NAME",
        help="What runs a text model: torch, onnx, openvino, openvino-bf16, openvino-int8, or auto, the "
        "fastest here; torch if none.",
    ),
]
Model = Annotated[
    str,
    typer.Option(metavar="DIR_OR_MODEL", help="A tuned model's folder, or a base model.", show_default=False),
]
Json = Annotated[
    str | None,
    typer.Option("--json", metavar="FILE", help="Write the result as JSON; '-' is standard output."),
]
Out = Annotated[Path, typer.Option(metavar="DIR", help="The folder to make.", show_default=False)]
Seed = Annotated[int, typer.Option(metavar="N", min=0, help="The same seed gives the same result.")]
Metric = Annotated[
    str | None,
    typer.Option(
        metavar="NAME",
        help="What is judged: ndcg@10, accuracy, spearman, recall@20, …; the task's own if none.",
    ),
]
Budget = Annotated[
    str | None,
    typer.Option(metavar="TIME", help="The longest that tuning may take: 90s, 10m, 1h."),
]
Task = Annotated[
    str | None,
    typer.Option(
        metavar="TASK",
        help="retrieval, classification, similarity or recommendation; inferred where not given.",
    ),
]
Roles = Annotated[
    list[str] | None,
    typer.Option(
        "--role", metavar="ROLE=COLUMN", help="Which column plays a role, as in query=asked; may be repeated."
    ),
]


Slices = Annotated[
    list[str] | None,
    typer.Option(
        "--slice",
        metavar="COLUMN",
        help="Judge each value of this column too: none of them may lose; may be repeated.",
    ),
]


def engine_options(engine: str | None, dataset: Dataset) -> dict[str, Any]:
    """Give what ``load_encoder`` is told of ``--engine``: its name, and texts that auto tries it on.

    Raises
    ------
    UserError, MissingExtra
        When there is no such engine, or it cannot run here.
    """
    if engine is None:
        return {}
    from embedtune.encoders.engines.choose import spread
    from embedtune.encoders.engines.table import check_engine

    check_engine(engine)
    texts = [
        text
        for kind, held in (("document", dataset.document_texts), ("query", dataset.query_texts))
        if kind not in dataset.images
        for text in spread(held, 16)
    ]
    return {"engine": engine, "texts": texts}


def parse_sources(given: Sequence[str]) -> str | list[tuple[str, float]]:
    """Turn ``DATA...`` into what :func:`embedtune.data.read` takes; ``PATH@WEIGHT`` gives a weight.

    A path that exists is a path, whatever is in its name.

    Raises
    ------
    UserError
        When what follows the last ``@`` is no number, and there is no such path.
    """
    sources = []
    for one in given:
        path, at, weight = one.rpartition("@")
        if not at or "/" in weight or Path(one).exists():
            sources.append((one, 1.0))
            continue
        try:
            sources.append((path, float(weight)))
        except ValueError:
            fix = "give a path, or PATH@WEIGHT as in a.csv@0.5"
            raise UserError(
                f"there is no such path, and {weight!r} is no weight", where=one, fix=fix
            ) from None
    return sources[0][0] if len(sources) == 1 and sources[0][0] == given[0] else sources


def parse_roles(given: Sequence[str] | None) -> dict[str, str | None]:
    """Turn ``ROLE=COLUMN`` options into a dict; an empty column switches a role off.

    Raises
    ------
    UserError
        When one has no equals sign, or a role is given twice.
    """
    roles: dict[str, str | None] = {}
    for one in given or ():
        role, equals, column = one.partition("=")
        if not equals or not role:
            raise UserError(f"{one!r} names no column", where="--role", fix="write --role ROLE=COLUMN")
        if role in roles:
            raise UserError(f"the role {role!r} is given twice", where="--role", fix="give it once")
        roles[role] = column or None
    return roles
