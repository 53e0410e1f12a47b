"""One request to an API, until it is answered: time limits, back-off and Retry-After.

What can be mended by another try is tried again: timeouts, broken connections and answers, and what
``refusals.py`` says. The wait doubles from try to try, with jitter, unless the provider names one; a wait
that it names holds for all requests. An answer that was charged for and is of no use is tried less often.
"""

from __future__ import annotations

import contextlib
import json
import os
import random
import threading
import time
import weakref
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any, TypeVar

from embedtune.encoders.api.address import Address
from embedtune.encoders.api.batches import byte_lengths, most_tokens
from embedtune.encoders.api.prices import Price
from embedtune.encoders.api.providers.base import Provider, Unusable
from embedtune.encoders.api.refusals import CONTENT, PATIENCE, Again, Answer
from embedtune.errors import UserError
from embedtune.extras import need
from embedtune.spending import Spending
from embedtune.types import Kind

LONGEST_WAIT = 60.0
"""Seconds between two tries at most, where the provider names no wait."""

PAID_ATTEMPTS = 3
"""How often a request is made that is answered, and charged for, with something of no use."""

LARGEST = 512 * 1000**2
"""Bytes of an answer at most."""

CHUNK = 1 << 16

GIVE_WAY = 0.002
"""Seconds after an answer in which its thread does nothing, so that another one can send the next request: to
read an answer takes the interpreter's lock, for which that one would wait."""

T = TypeVar("T")


class Failed(Exception):
    """No try was answered as it should be."""


class Halted(Exception):
    """The work has ended while a request was waiting."""


class OverLimit(Exception):
    """The request could take the cost above its limit."""


@dataclass(frozen=True)
class Manner:
    """How an API is asked."""

    concurrency: int = 8
    """Requests at the same time."""
    timeout: float = 60.0
    """Seconds for one answer, all of it."""
    attempts: int = 8
    """Tries of a request."""
    wait: float = 0.5
    """Seconds before the second try; each further one waits twice as long, up to a minute."""


class Asker:
    """Sends the requests of one encoder, from any number of threads.

    Parameters
    ----------
    provider : Provider
        Who is asked.
    address : Address
        Where.
    key_variable : str
        The environment variable that holds the key. It is read when a connection is made, sent in a header,
        and kept nowhere else.
    manner : Manner
        Times and numbers.
    spending : Spending
        What may be spent.
    price : Price, optional
        What tokens cost.

    Raises
    ------
    MissingExtra
        When httpx is not installed.
    """

    def __init__(
        self,
        provider: Provider,
        address: Address,
        key_variable: str,
        manner: Manner,
        spending: Spending,
        price: Price | None,
    ) -> None:
        self.provider, self.address, self.key_variable = provider, address, key_variable
        self.manner, self.spending, self.price = manner, spending, price
        self.answered = 0
        """Requests that were answered with something of use."""
        self.tokens = 0
        """Tokens that the provider counted."""
        self._httpx: Any = need("httpx", extra="api", who=f"the API model {provider.model!r}")
        self._not_sent = (self._httpx.ConnectError, self._httpx.ConnectTimeout, self._httpx.ProxyError)
        self._slots = threading.BoundedSemaphore(manner.concurrency)
        self._lock = threading.Lock()
        self._resume = 0.0
        self._jitter = random.Random()  # no result depends on it; two clients must not wait in step
        self._base64 = True
        self._client: Any = None
        self._halt = threading.Event()

    def start(self) -> None:
        """Connect, where there is no connection; forget that the work was halted."""
        self._halt.clear()
        if self._client is None:
            key = os.environ.get(self.key_variable, "")
            headers = {"Content-Type": "application/json", **(self.provider.headers(key) if key else {})}
            client = self._httpx.Client(
                headers=headers,
                auth=self.address.login,
                verify=not self.address.base.startswith("http://"),  # without TLS, its set-up is saved
                timeout=self._httpx.Timeout(self.manner.timeout, connect=min(10.0, self.manner.timeout)),
                limits=self._httpx.Limits(max_connections=self.manner.concurrency),
                follow_redirects=False,
            )
            self._client = client
            weakref.finalize(self, client.close)

    def halt(self) -> None:
        """Wake every request that waits for its next try, and let none begin."""
        self._halt.set()

    def hang_up(self) -> None:
        """Close the connections, and with them the requests in flight."""
        if self._client is not None:
            self._client.close()
            self._client = None

    def ask(
        self,
        texts: Sequence[str],
        kind: Kind,
        dimensions: int | None,
        check: Callable[[Any], T],
        attempts: int | None = None,
    ) -> T:
        """Send texts until there is an answer that ``check`` takes; give what it makes of it.

        Parameters
        ----------
        texts : sequence of str
            Of one request.
        kind : {"query", "document"}
            What they are.
        dimensions : int, optional
            What is asked for, where that is not the model's own.
        check : callable
            Gets the parsed answer; raises ``Unusable`` where another try is needed.
        attempts : int, optional
            Tries; as many as the manner says unless given. Tries that the provider puts off with 429 do not
            count, as long as their waits stay below :data:`PATIENCE`.

        Raises
        ------
        Refused, Failed, Halted, OverLimit
            As they say; see ``refusals.py`` for the first.
        UserError
            When no request can be answered: the key is refused, there is no such model, nobody is there.
        """
        tries, useless, put_off, waits = 0, 0, 0.0, 0
        most = most_tokens(byte_lengths(texts)) if self.price else 0
        while True:
            try:
                return self._once(texts, kind, dimensions, most, check)
            except Again as again:
                waits += 1
                delay = self._back_off(waits) if again.wait is None else self._hold(again.wait)
                useless += again.paid
                put_off += delay * again.limited
                tries += not again.limited
                if not self.answered and tries == _LOOKED and str(again).startswith(_UNREACHABLE):
                    fix = "check --api-base, and that it is running"
                    raise UserError(str(again), where=str(self.address), fix=fix) from None
                if (
                    tries >= (attempts or self.manner.attempts)
                    or useless == PAID_ATTEMPTS
                    or put_off > PATIENCE
                ):
                    raise Failed(str(again)) from None
            self._pause(delay)

    def _once(
        self, texts: Sequence[str], kind: Kind, dimensions: int | None, most: int, check: Callable[[Any], T]
    ) -> T:
        body = self.provider.body(texts, kind, dimensions)
        if not self._base64:
            body.pop("encoding_format", None)
        request = self._request(json.dumps(body).encode())  # made before its turn, which is short of time
        worst = self.price.of(most) if self.price else 0.0
        with contextlib.ExitStack() as slot:
            slot.enter_context(self._slots)
            self._pause(self._resume - time.monotonic())
            if not self._reserve(worst):
                raise OverLimit
            cost = worst  # unless the provider says what it was, or that there was none
            try:
                status, headers, got = self._post(*request)
                slot.close()  # the next request need not wait until this answer is read
                time.sleep(GIVE_WAY)
                if status != 200:
                    cost = 0.0
                    raise self._meant(Answer(status, headers, got), "encoding_format" in body)
                answer = _parsed(got)
                cost = self._charged(answer, worst)
            except self._httpx.HTTPError as error:
                cost = 0.0 if isinstance(error, self._not_sent) else worst
                raise Again(self._broken(error)) from None
            finally:
                self.spending.settle(worst, cost)
        try:
            made = check(answer)
        except Unusable as error:
            raise Again(str(error), paid=True) from None
        self.answered += 1
        return made

    def _request(self, content: bytes) -> tuple[Any, Any]:
        """Make a request of a body; give the client that is to send it too."""
        client = self._client
        if client is None or client.is_closed:
            raise Halted
        query = f"?{self.address.query}" if self.address.query else ""
        url = self.provider.url(self.address.base) + query
        return client, client.build_request("POST", url, content=content)

    def _post(self, client: Any, request: Any) -> tuple[int, Any, bytes]:
        """Send a request; give status, headers and all of the answer, within the time for it."""
        if client.is_closed:
            raise Halted
        end, got = time.monotonic() + self.manner.timeout, bytearray()
        with contextlib.closing(client.send(request, stream=True)) as response:
            for chunk in response.iter_bytes(CHUNK):
                got += chunk
                if time.monotonic() > end:
                    raise self._httpx.ReadTimeout("the answer came too slowly")
                if len(got) > LARGEST:
                    raise Again("the answer is too large", paid=True)
            return int(response.status_code), response.headers, bytes(got)

    def _broken(self, error: Exception) -> str:
        """Say what became of a request without an answer."""
        if isinstance(error, self._not_sent):
            return f"{_UNREACHABLE} ({type(error).__name__})"
        if isinstance(error, self._httpx.TimeoutException):
            return f"no answer within {self.manner.timeout:g} s"
        return f"the connection broke ({type(error).__name__})"

    def _meant(self, answer: Answer, base64: bool) -> Exception:
        """Say what an answer that is no result means; from a server that knows no base64, ask without."""
        if base64 and answer.status in CONTENT and "encoding_format" in answer.said(self._secrets()):
            self._base64 = False
            return Again(answer.reason(self._secrets()), wait=0.0)
        return answer.meaning(self.provider, str(self.address), self.key_variable, self._secrets())

    def _secrets(self) -> list[str]:
        """Give what no message may show."""
        return [os.environ.get(self.key_variable, ""), *(self.address.login or ("", ""))[1:]]

    def _charged(self, answer: Any, worst: float) -> float:
        """Give the cost of an answer: by its own count of tokens, else the worst."""
        try:
            tokens = self.provider.tokens(answer)
        except (KeyError, TypeError, ValueError, AttributeError):
            tokens = None
        if not isinstance(tokens, int) or tokens < 0:
            return worst
        with self._lock:
            self.tokens += tokens
        return self.price.of(tokens) if self.price else 0.0

    def _reserve(self, worst: float) -> bool:
        """Set the worst cost aside; wait for requests in flight, which may turn out cheaper."""
        while True:
            others = self.spending.in_flight  # asked first: those that end in between leave room
            if self.spending.try_reserve(worst):
                return True
            if not others:
                return False
            self._pause(0.01)

    def _back_off(self, attempt: int) -> float:
        wait: float = min(LONGEST_WAIT, self.manner.wait * 2.0 ** (attempt - 1))
        with self._lock:
            return wait * self._jitter.uniform(0.5, 1.0)

    def _hold(self, seconds: float) -> float:
        """Let no request begin for so long; give when this one may."""
        with self._lock:
            self._resume = max(self._resume, time.monotonic() + seconds)
            return seconds + self._jitter.uniform(0.0, min(0.1 * seconds, 1.0))

    def _pause(self, seconds: float) -> None:
        if self._halt.wait(seconds) if seconds > 0 else self._halt.is_set():
            raise Halted


_UNREACHABLE = "it cannot be reached"

_LOOKED = 3
"""So many tries without a connection, before anything was answered, and nobody is there."""


def _parsed(got: bytes) -> Any:
    try:
        return json.loads(got)
    except ValueError:
        raise Again("the answer is no JSON", paid=True) from None
