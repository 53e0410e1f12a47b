"""What a Milvus server says when it gives no result."""

from __future__ import annotations

import grpc
from pymilvus.exceptions import MilvusException

from embedtune.stores.aliased import GO_ON

ERRORS: tuple[type[Exception], ...] = (MilvusException, grpc.RpcError)
"""What the client raises: its own errors, and those of gRPC where it does not try again."""

REFUSED = ("auth check failure", "permission deny", "unauthenticated", "permission_denied")
"""What is said of a wrong token, and of a user who may not do something; in lower case."""


def explain(error: BaseException) -> tuple[str, str]:
    """Say what an error is in one line, and how to mend it."""
    if isinstance(error.__cause__, grpc.Call):  # "fail connecting" hides that a token was refused
        error = error.__cause__
    said, code = _said(error), _code(error)
    if any(one in f"{code} {said}".lower() for one in REFUSED):
        return (
            f"Milvus refuses the token ({said})",
            "set MILVUS_TOKEN, or user and password, to one that may write",
        )
    if "quota exceeded" in said.lower():
        return f"Milvus takes no more ({said})", "raise the quota or wait, then go on with --resume"
    if (
        code in ("unavailable", "deadline_exceeded")
        or "run out of" in said
        or "fail connecting" in said.lower()
    ):
        return f"Milvus cannot be reached ({said})", GO_ON
    return f"Milvus says: {said}", GO_ON


def _said(error: BaseException) -> str:
    text = error.details() if isinstance(error, grpc.Call) else getattr(error, "message", error)
    lines = str(text).strip().splitlines()
    return lines[0][:300] if lines else type(error).__name__


def _code(error: BaseException) -> str:
    code = error.code() if isinstance(error, grpc.Call) else getattr(error, "code", None)
    return code.name.lower() if isinstance(code, grpc.StatusCode) else ""
