"""From a model's folder and the name of an engine to its encoder."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any

from embedtune.encoders.engines.choose import chosen_engine
from embedtune.encoders.engines.encoder import EngineEncoder, ExportEncoder
from embedtune.encoders.engines.exported import is_export, read_export
from embedtune.encoders.engines.table import AUTO, TORCH, check_engine, offered
from embedtune.encoders.model_folder import ModelFolder
from embedtune.encoders.transformer import TransformerEncoder
from embedtune.errors import UserError


def open_with_engine(
    folder: Path, engine: str, texts: Sequence[str], options: dict[str, Any]
) -> TransformerEncoder:
    """Give the encoder of a sentence-transformers folder or of an export, run by ``engine``.

    Parameters
    ----------
    folder : pathlib.Path
        The model's, or the export's.
    engine : str
        A name of :data:`~embedtune.encoders.engines.table.ENGINES`, or ``"auto"``.
    texts : sequence of str
        What ``"auto"`` tries the engines on.
    options : dict
        For the encoder.

    Raises
    ------
    MissingExtra, ModelNotFound, ArtifactError, UserError
        As :class:`~embedtune.encoders.engines.encoder.EngineEncoder` does.
    """
    check_engine(engine)
    exported = read_export(folder) if is_export(folder) else None
    if exported is not None and engine == TORCH:
        raise UserError(
            "this is an export, which torch does not run",
            where=str(folder),
            fix=f"choose from {', '.join(exported.engines)}, or name the model that it was made from",
        )

    def opened(name: str) -> TransformerEncoder:
        if exported is not None:
            return ExportEncoder(folder, engine=name, **options)
        if name == TORCH:
            return TransformerEncoder(folder, **options)
        return EngineEncoder(folder, engine=name, **options)

    if engine != AUTO:
        return opened(engine)
    there = offered()
    runs = [name for name in there if exported is None or name in exported.engines]
    content = exported.content_hash() if exported is not None else ModelFolder.read(folder).content_hash()
    if not runs:  # says what to install
        return opened(exported.engines[0] if exported is not None else TORCH)
    return opened(chosen_engine(content, texts, runs, opened))
