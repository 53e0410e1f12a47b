"""``embedtune export``: a model as ONNX or OpenVINO files that run without torch."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from embedtune.cli.options import Json, Out, Seed
from embedtune.cli.output import Output


def export(
    model: Annotated[
        str,
        typer.Argument(
            metavar="DIR_OR_MODEL", help="A tuned model's folder, or a base model.", show_default=False
        ),
    ],
    out: Out,
    format: Annotated[str, typer.Option(metavar="NAME", help="onnx or openvino.")] = "onnx",
    int8: Annotated[
        Path | None,
        typer.Option(
            metavar="TEXTS",
            help="Products in 8-bit integers, calibrated and judged on these texts: a .txt file with one a "
            "line, or a file like DATA. Refused where they lose too much; openvino only.",
        ),
    ] = None,
    seed: Seed = 0,
    json: Json = None,
) -> None:
    """Export a model to files that run without torch and without embedtune.

    A README in the folder shows how. Checked against torch before the folder appears.
    """
    output = Output(json)
    from embedtune.exporting import export_model
    from embedtune.exporting.readme import told
    from embedtune.exporting.texts import read_texts
    from embedtune.folders import refuse_existing

    refuse_existing(out)
    texts = None if int8 is None else read_texts(int8)
    exported = export_model(model, out, format=format, int8=texts, seed=seed)
    size = sum(path.stat().st_size for path in out.iterdir())
    notes = exported.notes
    if "int8" in notes:
        output.say(f"checked on {notes['int8']['texts']} held-out texts: {told(notes['int8'])}")
    else:
        output.say(f"checked: coordinates differ from torch by {notes['largest_difference']:.1g} at most")
    if notes.get("without"):
        output.say(f"not part of the export: {' and '.join(notes['without'])} of the tuned model")
    output.say(f"{out}: {exported.format}, {exported.precision}, {size / 1e6:.0f} MB")
    output.say(f"next: embedtune search DATA --model {out} 'a query', or see {out / 'README.md'}")
    output.write(
        {
            "out": out,
            "model": model,
            "format": exported.format,
            "precision": exported.precision,
            "dimension": exported.dimension,
            "similarity": exported.similarity,
            "bytes": size,
            "notes": notes,
        }
    )
