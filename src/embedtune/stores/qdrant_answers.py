"""What a Qdrant server says when it gives no result, and waiting for one that is busy."""

from __future__ import annotations

import time
from collections.abc import Callable
from typing import Any

import httpx
from qdrant_client.common.client_exceptions import QdrantException
from qdrant_client.http.exceptions import ApiException, ResponseHandlingException, UnexpectedResponse

from embedtune.stores.aliased import GO_ON

ERRORS: tuple[type[Exception], ...] = (ApiException, QdrantException, RuntimeError, ValueError)
"""What the client raises, with a server and without."""

WAITS = (0.5, 1.0, 2.0, 4.0, 8.0)
"""Seconds before each further try."""

LONGEST = 60.0
"""Seconds that a server can ask for."""

BUSY = (429, 502, 503, 504)


def patient(request: httpx.Request, send: Callable[[httpx.Request], httpx.Response]) -> httpx.Response:
    """Send a request again where the server is busy, or the connection was lost.

    Everything that is sent may be sent twice: points are written by id. ``Retry-After`` is honoured.
    """
    for wait in WAITS:
        try:
            response = send(request)
        except ResponseHandlingException as error:
            if not isinstance(error.source, httpx.TransportError):
                raise
        else:
            if response.status_code not in BUSY:
                return response
            told = response.headers.get("Retry-After", "")
            wait = max(wait, float(told)) if told.isdigit() else wait
        time.sleep(min(wait, LONGEST))
    return send(request)


def explain(error: Exception) -> tuple[str, str]:
    """Say what an error is in one line, and how to mend it."""
    if isinstance(error, ResponseHandlingException):
        source = error.source
        if isinstance(source, httpx.TimeoutException):
            return "Qdrant did not answer in time", GO_ON
        if isinstance(source, httpx.TransportError):
            return f"Qdrant cannot be reached ({source})", GO_ON
        return "what answers is no Qdrant server", "check the URL"
    if isinstance(error, UnexpectedResponse):
        said, status = _said(error), error.status_code
        if status in (401, 403):
            return f"Qdrant refuses the key ({status}: {said})", "set QDRANT_API_KEY to one that may write"
        return f"Qdrant says: {status}, {said}", GO_ON
    text = str(error).strip().splitlines() or [type(error).__name__]
    return f"Qdrant says: {text[0][:300]}", GO_ON


def _said(error: UnexpectedResponse) -> str:
    """Give the message of an answer: JSON with ``status.error``, or plain text."""
    try:
        told: Any = error.structured()["status"]["error"]
    except (ValueError, KeyError, TypeError):
        told = error.content.decode("utf-8", "replace")
    lines = str(told).strip().splitlines()
    return lines[0][:300] if lines else str(error.reason_phrase)
