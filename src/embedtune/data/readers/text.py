"""Lines of a UTF-8 file, one at a time; bytes that are not UTF-8 are named with line and offset."""

from __future__ import annotations

import codecs
from collections.abc import Iterator
from pathlib import Path

from embedtune.errors import DataError


def lines(path: Path) -> Iterator[tuple[int, str]]:
    """Give (number from 1, line with its end) of a text file; a byte-order mark is dropped.

    Raises
    ------
    DataError
        When the file is missing, cannot be opened, is empty, or is not UTF-8.
    """
    offset = number = 0
    try:
        with path.open("rb") as stream:
            for number, raw in enumerate(stream, 1):
                try:
                    text = raw.removeprefix(codecs.BOM_UTF8).decode() if number == 1 else raw.decode()
                except UnicodeDecodeError as error:
                    raise _not_utf8(path, number, offset, raw, error) from None
                yield number, text
                offset += len(raw)
    except FileNotFoundError:
        raise DataError("there is no such file", where=str(path), fix="check the path") from None
    except OSError as error:
        what = f"the file cannot be read: {error.strerror or error}"
        raise DataError(what, where=str(path), fix="check the path and its rights") from None
    if number == 0:
        raise DataError("the file is empty", where=str(path), fix="fill it, or remove it")


def _not_utf8(path: Path, number: int, offset: int, raw: bytes, error: UnicodeDecodeError) -> DataError:
    start = error.start + (len(codecs.BOM_UTF8) if number == 1 and raw.startswith(codecs.BOM_UTF8) else 0)
    utf16 = number == 1 and raw.startswith((codecs.BOM_UTF16_LE, codecs.BOM_UTF16_BE))
    encoding = "UTF-16" if utf16 else "CP1252"
    return DataError(
        f"byte 0x{raw[start]:02x} at offset {offset + start} is not UTF-8",
        where=f"{path}:{number}",
        fix=f"convert the file: iconv -f {encoding} -t UTF-8 {path.name} > utf8-{path.name}",
    )
