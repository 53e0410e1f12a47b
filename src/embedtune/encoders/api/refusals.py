"""What an answer of an API means that is no result: try again, refused for its content, or the end."""

from __future__ import annotations

import json
import time
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from email.utils import parsedate_to_datetime
from typing import Any

from embedtune.encoders.api.providers.base import Provider
from embedtune.errors import ModelNotFound, UserError

AGAIN = {408, 409, 425, 429}
"""Statuses that another try may change, beside those from 500 on."""

CONTENT = {400, 413, 422, 498}
"""Statuses of a request that is refused for what is in it."""

PATIENCE = 900.0
"""Seconds that a provider may ask to wait; with more, the work ends with what is kept."""

SHOWN = 200
"""Characters of a provider's message."""


class Refused(Exception):
    """The provider does not take what is in the request."""


class Again(Exception):
    """Another try may help.

    Attributes
    ----------
    wait : float or None
        Seconds that the provider asks for.
    paid : bool
        Whether the answer was charged for.
    limited : bool
        Whether the provider only puts the request off.
    """

    def __init__(
        self, reason: str, *, wait: float | None = None, paid: bool = False, limited: bool = False
    ) -> None:
        super().__init__(reason)
        self.wait, self.paid, self.limited = wait, paid, limited


@dataclass(frozen=True)
class Answer:
    """An answer with another status than 200."""

    status: int
    headers: Mapping[str, str]
    """Asked for in lower case."""
    body: bytes

    def meaning(
        self, provider: Provider, where: str, key_variable: str, secrets: Sequence[str] = ()
    ) -> Exception:
        """Give what is to be raised.

        Parameters
        ----------
        provider : Provider
            Who answered.
        where : str
            Its address, without secrets.
        key_variable : str
            The environment variable of the key.
        secrets : sequence of str
            What no message may show; the first is the key, empty where it is not set.
        """
        status, reason, body = self.status, self.reason(secrets), self._parsed()
        if provider.refuses_key(status, body):
            fix = f"set {key_variable}" + (" to a valid key" if any(secrets[:1]) else ", which is not set")
            return UserError(f"the provider refuses the key ({reason})", where=where, fix=fix)
        if status in CONTENT:
            return Refused(reason)
        _, code = _message(body)
        spent = "insufficient_quota" in code or self.headers.get("x-should-retry") == "false"
        if (status in AGAIN and not (status == 429 and spent)) or status >= 500:
            wait = retry_after(self.headers)
            wait = provider.wait(body) if wait is None else wait
            if wait is None or wait <= PATIENCE:
                return Again(reason, wait=wait, limited=status == 429)
            fix = "run again later; what was paid for is kept"
            return UserError(f"the provider asks to wait {wait:.0f} s ({reason})", where=where, fix=fix)
        if status == 404:
            what = f"there is no model {provider.model!r} ({reason})"
            return ModelNotFound(what, where=where, fix="check the name and --api-base")
        if status == 429:
            fix = "look at the account's credit and limits"
            return UserError(f"the provider's quota is used up ({reason})", where=where, fix=fix)
        return UserError(f"the provider answers {reason}", where=where, fix="check the name and --api-base")

    def reason(self, secrets: Sequence[str] = ()) -> str:
        """Give status and message."""
        said = self.said(secrets)
        return f"HTTP {self.status}" + (f": {said}" if said else "")

    def said(self, secrets: Sequence[str] = ()) -> str:
        """Give the body's message, shortened, without secrets."""
        text, _ = _message(self._parsed())
        text = text or self.body[:4000].decode("utf-8", "replace")
        for secret in filter(None, secrets):
            text = text.replace(secret, "***")
        text = " ".join(text.split())
        return text if len(text) <= SHOWN else f"{text[:SHOWN]}…"

    def _parsed(self) -> Any:
        try:
            return json.loads(self.body)
        except ValueError:
            return None


def _message(body: Any) -> tuple[str, str]:
    """Give the message and the code of an error's body; empty where there are none."""
    if not isinstance(body, dict):
        return "", ""
    inner, code = body.get("error", body), ""
    if isinstance(inner, dict):
        code = str(inner.get("code") or inner.get("type") or "")
        inner = inner.get("message") or inner.get("detail") or inner
    return inner if isinstance(inner, str) else json.dumps(inner), code


def retry_after(headers: Mapping[str, str]) -> float | None:
    """Give the seconds that an answer's headers ask to wait: in milliseconds, seconds, or as a date.

    Examples
    --------
    >>> retry_after({"retry-after": "2"}), retry_after({"retry-after-ms": "250"}), retry_after({})
    (2.0, 0.25, None)
    """
    for name, unit in (("retry-after-ms", 1e-3), ("retry-after", 1.0)):
        given = headers.get(name)
        if given is None:
            continue
        try:
            wait = float(given) * unit
        except ValueError:
            try:
                wait = parsedate_to_datetime(given).timestamp() - time.time()
            except (ValueError, TypeError):
                continue
        if wait == wait and abs(wait) != float("inf"):
            return max(0.0, wait)
    return None
