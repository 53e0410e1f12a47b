"""Texts without labels, to choose from what to label."""

from __future__ import annotations

from pathlib import Path

from embedtune.data.readers.formats import FORMATS
from embedtune.data.readers.text import lines
from embedtune.data.readers.values import as_text
from embedtune.errors import DataError

COLUMNS = ("text", "query", "question", "sentence", "content")
"""Columns that are looked for, in this order."""


def read_pool(path: str | Path) -> list[str]:
    """Read texts, each once: a ``.txt`` file has one a line, other files a column of :data:`COLUMNS`.

    Raises
    ------
    DataError
        When there is no such file, its ending is not known, or it has no such column or no text.
    """
    path = Path(path).expanduser()
    if not path.is_file():
        raise DataError("there is no such file", where=str(path), fix="check the path")
    ending = path.suffix.lower()
    if ending == ".txt":
        texts = [line.strip() for _, line in lines(path)]
    elif ending in FORMATS:
        texts = []
        for line, row in FORMATS[ending](path):
            names = {name.strip().lower(): name for name in row}
            column = next((names[name] for name in COLUMNS if name in names), None)
            if column is None:
                raise DataError(
                    f"no column of texts; columns seen: {', '.join(row) or 'none'}",
                    where=f"{path}:{line}",
                    fix=f"name it one of {', '.join(COLUMNS)}",
                )
            texts.append(as_text(row[column], column, str(path), line).strip())
    else:
        raise DataError(
            f"the ending {path.suffix!r} is not known",
            where=str(path),
            fix=f"give a file that ends in .txt, {', '.join(FORMATS)}",
        )
    found = list(dict.fromkeys(text for text in texts if text))
    if not found:
        raise DataError("there are no texts", where=str(path), fix="add one a line")
    return found
