"""What a Milvus server says when it gives no result."""

from __future__ import annotations

import grpc
from pymilvus.exceptions import MilvusException

from embedtune.stores.aliased import GO_ON

ERRORS: tuple[type[Exception], ...] = (MilvusException, grpc.RpcError)
"""What the client raises: its own errors, and those of gRPC where it does not try again."""

REFUSED: tuple[object, ...] = (
    grpc.StatusCode.UNAUTHENTICATED,
    grpc.StatusCode.PERMISSION_DENIED,
    *(1400, 1401, 1800),
)
"""Not authenticated, or without the right: codes of gRPC, and those of Milvus (its ``merr/errors.go``)."""

SPENT: tuple[object, ...] = (3, 8, 9)
"""The limit of memory, the rate limit, a quota."""

FULL: tuple[object, ...] = (7,)
"""The limit of disk."""

AWAY: tuple[object, ...] = (grpc.StatusCode.UNAVAILABLE, grpc.StatusCode.DEADLINE_EXCEEDED, 2)
"""Nobody there, or nobody ready; 2 is the client's own code as well."""

SAID = (
    (REFUSED, ("auth check failure", "permission deny")),
    (SPENT, ("quota exceeded",)),
    (AWAY, ("fail connecting",)),
)
"""What stands for those codes, in lower case, where a server gives none: older ones, and Milvus Lite."""


def explain(error: BaseException) -> tuple[str, str]:
    """Say what an error is in one line, and how to mend it."""
    if isinstance(error.__cause__, grpc.Call):  # "fail connecting" hides that a token was refused
        error = error.__cause__
    said, code = _said(error), _code(error)
    if code in REFUSED:
        return (
            f"Milvus refuses the token ({said})",
            "set MILVUS_TOKEN, or user and password, to one that may write",
        )
    if code in FULL:
        return f"Milvus has no space left ({said})", "free some, then begin again"
    if code in SPENT:
        return f"Milvus takes no more ({said})", "raise the quota or wait, then go on with --resume"
    if code in AWAY:
        return f"Milvus cannot be reached ({said})", GO_ON
    return f"Milvus says: {said}", GO_ON


def _said(error: BaseException) -> str:
    text = error.details() if isinstance(error, grpc.Call) else getattr(error, "message", error)
    lines = str(text).strip().splitlines()
    return lines[0][:300] if lines else type(error).__name__


def _code(error: BaseException) -> object:
    """Give the code of gRPC or of the server; what the words stand for where there is none that tells."""
    code: object = error.code() if isinstance(error, grpc.Call) else getattr(error, "code", None)
    if any(code in one for one in (REFUSED, SPENT, FULL, AWAY)):
        return code
    said = _said(error).lower()
    return next((codes[0] for codes, words in SAID if any(word in said for word in words)), code)
