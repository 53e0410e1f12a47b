"""The user's texts to calibrate on: lines of a file, a collection, or a whole dataset."""

from __future__ import annotations

from pathlib import Path

from embedtune.data import read
from embedtune.data.pages import pages
from embedtune.errors import DataError, UserError


def read_texts(path: Path) -> list[str]:
    """Give the texts of a ``.txt`` file (one a line), a file with a column ``text``, or a dataset.

    Raises
    ------
    DataError
        When it cannot be read as any of these.
    """
    if path.suffix.lower() == ".txt":
        try:
            lines = path.read_text("utf-8").splitlines()
        except (OSError, UnicodeDecodeError) as error:
            reason = error.strerror if isinstance(error, OSError) else "not UTF-8"
            raise DataError(f"cannot be read ({reason})", where=str(path), fix="check the path") from None
        return [line.strip() for line in lines if line.strip()]
    try:
        dataset = read(str(path))
    except UserError as first:
        try:
            return [f"{page.title} {page.text}".strip() for page in pages(path)]
        except DataError:
            raise first from None
    if dataset.images:
        raise DataError("there are images in it, and only texts calibrate", where=str(path), fix="give texts")
    return [*dataset.document_texts, *dataset.query_texts]
