"""Teachers: what knows more than the base, and labels queries that nobody has labelled."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any

from embedtune.data.readers.formats import FORMATS
from embedtune.errors import ModelNotFound
from embedtune.teachers.base import Teacher

__all__ = ["Teacher", "open_teacher"]

CROSS_ENCODER = "cross-encoder:"
"""How the name of a cross-encoder begins."""


def open_teacher(teacher: Any, **options: Any) -> Teacher:
    """Find a teacher.

    Parameters
    ----------
    teacher : str, pathlib.Path, Encoder, mapping or Teacher
        One of

        - a file of scores, see :class:`~embedtune.teachers.scores_file.ScoresFile`;
        - ``"cross-encoder:NAME"``: a folder, or a name on the hub;
        - whatever :func:`embedtune.encoders.load_encoder` takes: a larger model, one behind an API, or
          vectors that exist already;
        - a teacher, which is given back as it is.
    **options
        Passed to :func:`~embedtune.encoders.load_encoder`.

    Raises
    ------
    UserError
        When there is no such file or model, or a row of the file cannot be used.
    """
    if isinstance(teacher, str | Path):
        name = str(teacher)
        if name.startswith(CROSS_ENCODER):
            from embedtune.teachers.cross_encoder import CrossEncoderTeacher

            return CrossEncoderTeacher(name.removeprefix(CROSS_ENCODER))
        path = Path(name).expanduser()
        if path.is_file() or path.suffix.lower() in FORMATS:
            from embedtune.teachers.scores_file import ScoresFile

            return ScoresFile(path)
        if not name:
            raise ModelNotFound("the name of the teacher is empty", fix="give a model, or a file of scores")
    elif hasattr(teacher, "score") and not isinstance(teacher, Mapping):
        given: Teacher = teacher
        return given
    from embedtune.encoders import load_encoder
    from embedtune.teachers.model import ModelTeacher

    return ModelTeacher(load_encoder(teacher, **options))
