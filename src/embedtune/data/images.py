"""Images: named by their paths, opened within bounds, looked through in parallel."""

from __future__ import annotations

import hashlib
import os
import struct
import threading
import warnings
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Any, TypeVar

import numpy as np
from numpy.typing import NDArray

from embedtune.errors import DataError
from embedtune.extras import need
from embedtune.files import sha256_file

if TYPE_CHECKING:
    from PIL.Image import Image

SUFFIXES = frozenset(
    {".jpg", ".jpeg", ".png", ".gif", ".bmp", ".webp", ".tif", ".tiff", ".ppm", ".pgm", ".avif"}
)
"""File name endings of images in folders."""

FORMATS = ("JPEG", "MPO", "PNG", "GIF", "BMP", "WEBP", "TIFF", "PPM", "AVIF")
"""What is opened, whatever the file is called; formats that run other programs (EPS) are not."""

MAX_PIXELS = 80_000_000
"""Width times height of an image at most; below the 89 million from which Pillow suspects an attack."""

LARGE = 10_000_000
"""Images of more pixels than this are decoded one at a time, so that memory stays bounded."""

_DAMAGE = (
    *(OSError, SyntaxError, ValueError, EOFError, LookupError, TypeError, ArithmeticError),
    *(AttributeError, RuntimeError, struct.error, Warning),
)
"""What Pillow's decoders raise at bytes that are not as they must be."""
_ONE_LARGE = threading.Lock()
_SIDE = 64
"""Pixels that looking through an image asks a JPEG for: it is decoded whole, and kept small."""

T = TypeVar("T")


class ImagePath(str):
    """The path of an image where an encoder's items may also be texts."""

    __slots__ = ()


class ImageProblem(ValueError):
    """What is wrong with one image, without its name."""


def open_image(path: str | Path, *, side: int | None = None) -> Image:
    """Decode an image to RGB: upright by its EXIF orientation, transparency on white, first frame.

    Parameters
    ----------
    path : str or pathlib.Path
        The file.
    side : int, optional
        Where given, a JPEG may come reduced to half, a quarter or an eighth, no side below this many
        pixels; that is several times faster.

    Raises
    ------
    ImageProblem
        When it is missing, damaged, no image, or larger than :data:`MAX_PIXELS`.
    MissingExtra
        When Pillow is not installed.
    """
    pillow: Any = need("PIL.Image", extra="images", who="reading images")
    pillow.init()
    formats = [name for name in FORMATS if name in pillow.OPEN]
    try:
        with pillow.open(path, formats=formats) as image:
            width, height = image.size
            if width * height > MAX_PIXELS:
                raise ImageProblem(_too_large(width, height))
            if side is not None:
                image.draft("RGB", (side, side))
            if width * height <= LARGE:
                return _upright(image)
            with _ONE_LARGE:
                return _upright(image)
    except ImageProblem:
        raise
    except FileNotFoundError:
        raise ImageProblem("there is no such file") from None
    except (pillow.DecompressionBombError, pillow.DecompressionBombWarning):
        raise ImageProblem(_too_large(0, 0)) from None
    except pillow.UnidentifiedImageError:
        what = "the file is empty" if Path(path).stat().st_size == 0 else "this is not an image"
        raise ImageProblem(what) from None
    except _DAMAGE as error:
        raise ImageProblem(f"the image is damaged ({str(error).strip() or type(error).__name__})") from None


def _upright(image: Image) -> Image:
    operations: Any = need("PIL.ImageOps", extra="images", who="reading images")
    pillow: Any = need("PIL.Image", extra="images", who="reading images")
    image.load()
    upright: Image = operations.exif_transpose(image)
    if upright.mode.startswith("I;16"):  # sixteen bits of grey, which convert() would clip
        upright = pillow.fromarray((np.asarray(upright) >> 8).astype(np.uint8))
    if "A" in upright.getbands() or "transparency" in upright.info:
        clear = upright.convert("RGBA")
        upright = pillow.new("RGBA", clear.size, "white")
        upright.alpha_composite(clear)
    return upright.convert("RGB")


def _too_large(width: int, height: int) -> str:
    seen = f"{width} x {height} pixels are" if width else "its pixels are"
    return f"{seen} more than the {MAX_PIXELS // 1_000_000} million that are opened"


def in_parallel(work: Callable[[str], T], paths: Sequence[str], *, workers: int | None = None) -> Iterator[T]:
    """Run ``work`` on every path in threads, which Pillow lets run side by side; results in order."""
    with _quiet(), ThreadPoolExecutor(workers or min(os.cpu_count() or 1, 16)) as pool:
        yield from pool.map(work, paths)


@contextmanager
def _quiet() -> Iterator[None]:
    """Keep Pillow from warning of sizes that are refused here anyway, and of damage beside the pixels."""
    with warnings.catch_warnings():
        warnings.filterwarnings("ignore", message="Image size .* exceeds limit")
        warnings.filterwarnings("ignore", module=r"PIL\.")
        yield


def problems_of(paths: Sequence[str], *, workers: int | None = None) -> list[str | None]:
    """Decode every image once; give what is wrong with each, None where nothing is.

    Raises
    ------
    MissingExtra
        When Pillow is not installed.
    """
    need("PIL.Image", extra="images", who="reading images")

    def problem(path: str) -> str | None:
        try:
            open_image(path, side=_SIDE)
        except ImageProblem as found:
            return str(found)
        return None

    return list(in_parallel(problem, paths, workers=workers))


def image_keys(prompt: str, items: Sequence[str]) -> NDArray[np.uint8]:
    """Give the cache's keys of images, uint8 (n, 32): sha256 of the prompt and the file's bytes.

    Raises
    ------
    DataError
        When a file cannot be read.
    """
    start = hashlib.sha256(prompt.encode("utf-8", "surrogatepass") + b"\0image\0")

    def key(path: str) -> bytes:
        digest = start.copy()
        try:
            digest.update(bytes.fromhex(sha256_file(Path(path))))
        except OSError as error:
            what = f"the image cannot be read ({error.strerror or error})"
            raise DataError(what, where=path, fix="check the path") from None
        return digest.digest()

    return np.frombuffer(b"".join(in_parallel(key, items)), np.uint8).reshape(-1, 32)
