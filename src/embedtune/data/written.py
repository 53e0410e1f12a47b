"""Queries written by a language model, through any chat endpoint that speaks OpenAI's protocol.

What it costs is estimated before anything is sent, and a limit stops the work before it is passed. Every
answer is kept on disk as it comes, so that work which was broken off goes on where it stopped, at no second
cost. The key is read from the environment, sent in the header, and written nowhere.

References
----------
Bonifacio et al. 2022, InPars: Data Augmentation for Information Retrieval using Large Language Models;
Dai et al. 2023, Promptagator: Few-shot Dense Retrieval From 8 Examples.
"""

from __future__ import annotations

import hashlib
import json
import os
import time
from collections.abc import Callable, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, field, replace
from pathlib import Path
from threading import Lock
from typing import Any
from urllib.parse import urlsplit

from embedtune.data.chat_answers import Unusable, json_object, queries_of, retry_after
from embedtune.data.dataset import Dataset
from embedtune.data.pages import Page, pages
from embedtune.data.pairs import made_dataset
from embedtune.errors import UserError
from embedtune.extras import need
from embedtune.files import atomic_write
from embedtune.spending import Spending

PROMPT = """Below is a text from a collection that people search. Write {count} short queries that \
somebody who needs this text, and has not seen it, would type into the search. Use everyday words rather \
than those of the text. One query a line, nothing else.

{text}"""
"""What is asked; ``{text}`` and ``{count}`` are filled in."""

MOST_CHARACTERS = 8000
"""Characters of a text that are sent; the rest is cut."""

ANSWER_TOKENS = 60
"""Tokens that an answer may have for each query."""

ATTEMPTS = 3
"""How often a request is made that ends in a timeout, in 429 or in 5xx."""

LONGEST_WAIT = 120.0
"""Seconds that an endpoint may ask to wait; with more, the work ends with what is kept."""

GIVE_UP = 5
"""So many texts without one usable answer among them, from the start, end the work."""


@dataclass(frozen=True)
class Estimate:
    """What writing queries would cost, before anything is sent."""

    texts: int
    """Texts that are not in the cache, and would be sent."""
    known: int
    """Texts whose queries are there already."""
    input_tokens: int
    """A fourth of the characters; languages and models differ."""
    output_tokens: int
    """At most."""
    cost: float
    """In the currency of the prices."""
    prompt: str
    """The first request, as it would be sent."""


@dataclass
class Written:
    """What came back."""

    dataset: Dataset | None
    """Queries and their texts, all in the split ``made``; None where there is not one query."""
    cost: float
    """Of this run, by the tokens that the endpoint counted."""
    failed: list[str] = field(default_factory=list)
    """One line for each text without a usable answer."""
    stopped: bool = False
    """Whether ``max_cost`` ended the work before all texts were sent."""
    answered: int = 0
    """Texts that have queries."""
    texts: int = 0
    """Texts in all."""


@dataclass(frozen=True)
class QueryWriter:
    """Writes queries for texts.

    Parameters
    ----------
    endpoint : str
        Up to and without ``/chat/completions``: ``https://api.openai.com/v1``, ``http://localhost:8000/v1``.
    model : str
        What the endpoint calls it.
    count : int
        Queries for each text.
    input_price, output_price : float
        For a million tokens, in any currency; 0 for a model of one's own.
    prompt : str
        With ``{text}``, and ``{count}`` where wanted.
    key_variable : str
        The environment variable that holds the key; where it is not set, none is sent.
    timeout : float
        Seconds for one answer.
    workers : int
        Requests at the same time.
    cache : pathlib.Path, optional
        Where answers are kept; ``written`` in the cache of vectors unless given.
    wait : float
        Seconds before the first repetition; each further one waits twice as long. Where the endpoint names a
        time (``Retry-After``), nothing is sent before it.
    max_cost : float, optional
        The limit of :meth:`write`, unless it is given one.
    """

    endpoint: str
    model: str
    count: int = 3
    input_price: float = 0.0
    output_price: float = 0.0
    prompt: str = PROMPT
    key_variable: str = "OPENAI_API_KEY"
    timeout: float = 60.0
    workers: int = 4
    cache: Path | None = None
    wait: float = 1.0
    max_cost: float | None = None

    def __post_init__(self) -> None:
        if "@" in urlsplit(self.endpoint).netloc:
            fix = f"put the key into {self.key_variable}"
            raise UserError("the endpoint's address holds a password or key", fix=fix)
        if "{text}" not in self.prompt:
            raise UserError("the prompt has no place for the text", fix="write {text} where it belongs")
        if not self.endpoint.startswith(("http://", "https://")):
            fix = "give an address such as http://localhost:8000/v1"
            raise UserError(f"{self.endpoint!r} is no address of an endpoint", fix=fix)

    def estimate(self, source: Any) -> Estimate:
        """Say what :meth:`write` would send and cost; sends nothing."""
        collection = pages(source)
        new = [page for page in collection if self._known(page) is None]
        asked = sum(-(-len(self._asked(page)) // 4) for page in new)
        answered = len(new) * self.count * ANSWER_TOKENS
        first = self._asked(new[0]) if new else self._asked(collection[0])
        cost = self._cost(asked, answered)
        return Estimate(len(new), len(collection) - len(new), asked, answered, cost, first)

    def write(
        self,
        source: Any,
        *,
        max_cost: float | None = None,
        progress: Callable[[int, int], None] | None = None,
    ) -> Written:
        """Ask for queries for every text of a collection.

        Parameters
        ----------
        source
            What :func:`embedtune.data.pages.pages` reads.
        max_cost : float, optional
            Nothing is sent that could take the cost of this run above it, counting each request in flight
            as if every byte of it were a token. Needs prices.
        progress : callable, optional
            Called with (texts done, texts in all).

        Raises
        ------
        UserError
            When the endpoint cannot be reached, refuses the key, or gives nothing usable for the first texts.
        MissingExtra
            When httpx is not installed.
        """
        max_cost = self.max_cost if max_cost is None else max_cost
        if max_cost is not None and not (self.input_price or self.output_price):
            fix = "set input_price and output_price, for a million tokens"
            raise UserError("a limit of cost needs prices", fix=fix)
        httpx: Any = need("httpx", extra="api", who="writing queries")
        collection = pages(source)
        spending = Spending(max_cost)
        key = os.environ.get(self.key_variable, "")
        headers = {"Authorization": f"Bearer {key}"} if key else {}
        with (
            httpx.Client(timeout=self.timeout, headers=headers, follow_redirects=False) as client,
            ThreadPoolExecutor(self.workers) as pool,
        ):
            worker = _Worker(self, client, httpx, spending, key)
            answers = []
            for found in pool.map(worker.queries, collection):
                answers.append(found)
                if progress is not None:
                    progress(len(answers), len(collection))
        if worker.fatal is not None:
            raise worker.fatal
        pairs = [
            ("written", query, page.text or page.title, page)
            for page, queries in zip(collection, answers, strict=True)
            for query in queries or ()
        ]
        dataset = made_dataset(pairs, collection[0].file) if pairs else None
        if dataset is not None:
            roles = {"made by": f"{self.model} ({len(dataset.queries)} queries written)"}
            dataset = replace(dataset, roles=roles)
        answered = sum(bool(queries) for queries in answers)
        return Written(dataset, spending.spent, worker.failed, spending.stopped, answered, len(collection))

    def dataset(self, source: Any, *, progress: Callable[[int, int], None] | None = None) -> Dataset:
        """Give the queries and texts of :meth:`write`, whole or not at all.

        Raises
        ------
        UserError
            When ``max_cost`` was reached, or no answer could be used. What was paid for is kept.
        """
        written = self.write(source, progress=progress)
        if written.stopped:
            raise UserError(
                f"the limit of cost, {self.max_cost:g}, was reached with queries for {written.answered:,} of "
                f"{written.texts:,} texts, for {written.cost:.4g}; they are kept",
                where=self.endpoint,
                fix="raise the limit to go on from there",
            )
        if written.dataset is None:
            raise UserError(
                f"no answer can be used; the last: {written.failed[-1]}",
                where=self.endpoint,
                fix="check the endpoint and the model",
            )
        dataset, failed = written.dataset, written.failed
        if failed:
            lost = f"{len(failed):,} texts without a usable answer, the first {failed[0]}"
            dataset = replace(dataset, roles={**dataset.roles, "left out": lost})
        return dataset

    def _asked(self, page: Page) -> str:
        text = f"{page.title}\n{page.text}".strip()[:MOST_CHARACTERS]
        return self.prompt.replace("{count}", str(self.count)).replace("{text}", text)

    def _cost(self, asked: int, answered: int) -> float:
        return (asked * self.input_price + answered * self.output_price) / 1e6

    def _place(self, page: Page) -> Path:
        from embedtune.cache_place import cache_folder

        parts = [self.endpoint, self.model, str(self.count), self._asked(page)]
        name = hashlib.sha256("\0".join(parts).encode("utf-8", "surrogatepass")).hexdigest()
        return (self.cache or cache_folder() / "written") / name[:2] / f"{name}.json"

    def _known(self, page: Page) -> list[str] | None:
        try:
            kept = json.loads(self._place(page).read_text("utf-8"))
            return [str(query) for query in kept["queries"]]
        except (OSError, ValueError, KeyError, TypeError):
            return None

    def _keep(self, page: Page, queries: Sequence[str]) -> None:
        with atomic_write(self._place(page)) as file:
            file.write(json.dumps({"model": self.model, "queries": list(queries)}).encode())


@dataclass
class _Worker:
    """Asks for one text after the other, in several threads."""

    writer: QueryWriter
    client: Any
    httpx: Any
    spending: Spending
    key: str
    failed: list[str] = field(default_factory=list)
    fatal: UserError | None = None
    usable: int = 0
    resume: float = 0.0
    """``time.monotonic()`` before which nothing is sent, as the endpoint has asked."""
    lock: Lock = field(default_factory=Lock)

    def queries(self, page: Page) -> list[str] | None:
        """Give the queries of a page: kept ones, or new ones; None where there are none."""
        kept = self.writer._known(page)
        if kept is not None:
            self.usable += 1
            return kept
        if self.fatal is not None or self.spending.stopped:
            return None
        try:
            queries = self._ask(page)
        except Unusable as reason:
            place = f"{page.file}:{page.line}" if page.line else page.file
            self.failed.append(f"{place}: {reason}")
            if len(self.failed) >= GIVE_UP and not self.usable:
                self.fatal = UserError(
                    f"none of the first {len(self.failed)} answers can be used; the last: {reason}",
                    where=self.writer.endpoint,
                    fix="check the endpoint and the model",
                )
            return None
        except UserError as error:
            self.fatal = self.fatal or error
            return None
        if queries is not None:
            self.usable += 1
            self.writer._keep(page, queries)
        return queries

    def _ask(self, page: Page) -> list[str] | None:
        writer = self.writer
        asked, most = writer._asked(page), writer.count * ANSWER_TOKENS
        body = {
            "model": writer.model,
            "messages": [{"role": "user", "content": asked}],
            "max_tokens": most,
            "temperature": 0,
        }
        worst = writer._cost(len(asked.encode("utf-8", "replace")) + 100, most)
        for attempt in range(ATTEMPTS):
            if not self.spending.reserve(worst):
                return None
            cost = worst  # unless the endpoint says what it was, or that there was none
            asked_to_wait = None
            try:
                time.sleep(max(self.resume - time.monotonic(), 0.0))
                response = self.client.post(f"{writer.endpoint.rstrip('/')}/chat/completions", json=body)
                if response.status_code == 200:
                    answer = json_object(response)
                    cost = _charged(answer, writer, worst)
                    return queries_of(answer, writer.count)
                cost = 0.0
                reason = self._refused(response)
                asked_to_wait = retry_after(response)
            except self.httpx.TimeoutException:
                reason = f"no answer within {writer.timeout:g} s"
            except self.httpx.TransportError as error:
                cost = 0.0
                reason = f"the endpoint cannot be reached ({type(error).__name__})"
            finally:
                self.spending.settle(worst, cost)
            if asked_to_wait is not None:
                self._hold(asked_to_wait, reason)
            elif attempt < ATTEMPTS - 1:
                time.sleep(writer.wait * 2**attempt)
        raise Unusable(reason)

    def _hold(self, seconds: float, reason: str) -> None:
        """Send nothing for some seconds, from any thread."""
        if seconds > LONGEST_WAIT:
            raise UserError(
                f"{reason}, and asks to wait {seconds:,.0f} s",
                where=self.writer.endpoint,
                fix="run this again later; it goes on where it stopped",
            )
        with self.lock:
            self.resume = max(self.resume, time.monotonic() + seconds)

    def _refused(self, response: Any) -> str:
        """Say what a status means; one that another try cannot change ends the work."""
        said = response.text[:200].replace("\n", " ")
        said = said.replace(self.key, "***") if self.key else said
        reason = f"the endpoint answers {response.status_code}: {said}"
        if response.status_code in (408, 409, 429) or response.status_code >= 500:
            return reason
        fix = "check endpoint and model"
        if response.status_code in (401, 403):
            fix = f"set {self.writer.key_variable} to a valid key"
        raise UserError(reason, where=self.writer.endpoint, fix=fix)


def _charged(answer: dict[str, Any], writer: QueryWriter, worst: float) -> float:
    usage = answer.get("usage")
    try:
        return writer._cost(int(usage["prompt_tokens"]), int(usage["completion_tokens"]))  # type: ignore[index]
    except (TypeError, KeyError, ValueError):
        return worst
