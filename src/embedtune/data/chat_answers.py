"""Answers of a chat endpoint to queries; what is nonsense is told apart."""

from __future__ import annotations

import re
import time
from email.utils import parsedate_to_datetime
from typing import Any

_NUMBERING = re.compile(r"^\s*(?:[-*•]|\(?\d{1,3}[.):])\s+")


class Unusable(Exception):
    """An answer that holds no queries; the text is left out."""


def json_object(response: Any) -> dict[str, Any]:
    """Give the body of a response.

    Raises
    ------
    Unusable
        When it is no JSON object.
    """
    try:
        answer = response.json()
    except ValueError:
        answer = None
    if not isinstance(answer, dict):
        raise Unusable("the answer is no JSON object")
    return answer


def retry_after(response: Any) -> float | None:
    """Give the seconds that an endpoint asks to wait, at least 0; None where it names none that can be read.

    RFC 9110, section 10.2.3: a number of seconds, or a date.
    """
    said = response.headers.get("Retry-After", "").strip()
    if said.isascii() and said.isdigit():
        return float(said)
    try:
        return max(parsedate_to_datetime(said).timestamp() - time.time(), 0.0)
    except (TypeError, ValueError, OverflowError):
        return None


def queries_of(answer: dict[str, Any], count: int) -> list[str]:
    """Take the queries from an answer: one a line, without numbers and quotes, each once.

    Raises
    ------
    Unusable
        When there is no query in it.
    """
    try:
        choice = answer["choices"][0]
        content = choice["message"]["content"]
    except (KeyError, IndexError, TypeError):
        raise Unusable("the answer has no message") from None
    if not isinstance(content, str) or not content.strip():
        raise Unusable("the message is empty")
    lines = content.strip().splitlines()
    if choice.get("finish_reason") == "length":
        lines = lines[:-1]  # the last one was cut off
    cleaned = [_NUMBERING.sub("", line).strip().strip("\"'“”„`").strip() for line in lines]
    usable = [line for line in dict.fromkeys(cleaned) if _sensible(line)]
    if not usable:
        cut = choice.get("finish_reason") == "length"
        raise Unusable("the answer was cut off" if cut else "the message holds no query")
    return usable[:count]


def _sensible(line: str) -> bool:
    """Whether a line may be a query: has letters, is not long, introduces nothing and is not markup."""
    letters = sum(character.isalpha() for character in line)
    return (
        2 <= letters >= len(line) / 3
        and len(line) <= 200
        and not line.endswith(":")
        and line[0] not in "{[<#"
    )
