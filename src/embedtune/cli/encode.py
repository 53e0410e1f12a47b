"""``embedtune encode``: the vectors of a dataset, as files that ``vectors:FOLDER`` reads."""

from __future__ import annotations

import time
from typing import TYPE_CHECKING, Annotated

import typer

from embedtune.cli.api_options import NO_API, ApiOptions, with_api_options
from embedtune.cli.options import (
    Data,
    Engine,
    Json,
    Out,
    Roles,
    Task,
    engine_options,
    parse_roles,
)
from embedtune.cli.output import Output
from embedtune.cli.progress import StageProgress, watch
from embedtune.duration import duration

if TYPE_CHECKING:
    from embedtune.artifact.tuned import Tuned
    from embedtune.data import Dataset
    from embedtune.types import Vectors


@with_api_options
def encode(
    data: Data,
    base: Annotated[
        str,
        typer.Option(
            metavar="MODEL_OR_DIR",
            help="A base model, or a tuned model's folder, whose map is applied.",
            show_default=False,
        ),
    ],
    out: Out,
    task: Task = None,
    role: Roles = None,
    api: ApiOptions = NO_API,
    engine: Engine = None,
    json: Json = None,
) -> None:
    """Encode a dataset into a folder of vectors."""
    output = Output(json)
    from embedtune.data import read
    from embedtune.encoders.vectors import write_vectors
    from embedtune.folders import new_folder, refuse_existing
    from embedtune.models import open_model

    refuse_existing(out)
    started = time.perf_counter()
    dataset = read(data, task=task, roles=parse_roles(role))  # type: ignore[arg-type]
    options = api.given()
    model = open_model(base, **engine_options(engine, dataset), **options)
    output.say(
        f"encoding {len(dataset.documents):,} documents and {len(dataset.queries):,} queries with {base}"
    )
    with StageProgress() as progress:
        documents = _documents(model, dataset, progress)
        queries = _queries(model, dataset, progress) if len(dataset.queries) else None
    with new_folder(out) as folder:
        write_vectors(folder, "document", dataset.document_ids, documents)
        if queries is not None:
            write_vectors(folder, "query", dataset.query_ids, queries)
    took = time.perf_counter() - started
    output.say(f"{out}: {documents.shape[1]} dimensions, {model.similarity}, in {duration(took)}")
    output.say(f"next: embedtune tune {data} --base vectors:{out} --out tuned")
    output.write(
        {
            "out": out,
            "model": base,
            "dimension": documents.shape[1],
            "similarity": model.similarity,
            "documents": len(documents),
            "queries": 0 if queries is None else len(queries),
            "seconds": took,
        }
    )


def _documents(model: Tuned, dataset: Dataset, progress: StageProgress) -> Vectors:
    from embedtune.collect.encode import places_of

    watch(model, progress.stage("documents"))
    by_id = model.encoder.content == "id"
    items = dataset.document_ids if by_id else dataset.items("document")
    with places_of(dataset, "document", items):
        return model.encode_documents(items, dataset.document_ids)


def _queries(model: Tuned, dataset: Dataset, progress: StageProgress) -> Vectors:
    from embedtune.collect.encode import places_of

    watch(model, progress.stage("queries"))
    items = dataset.query_ids if model.encoder.content == "id" else dataset.items("query")
    with places_of(dataset, "query", items):
        return model.encode_queries(items)
