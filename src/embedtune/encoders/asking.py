"""One request to an API, until it is answered: time limits, back-off, Retry-After, and what a refusal means.

What can be mended by another try is tried again: timeouts, broken connections and answers, 408, 409, 425,
429 and 5xx. The wait doubles from try to try, with jitter, unless the provider names one; a wait that it
names holds for all requests. An answer that was charged for and is of no use is tried less often.
"""

from __future__ import annotations

import json
import os
import random
import threading
import time
import weakref
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from email.utils import parsedate_to_datetime
from typing import Any, TypeVar

from embedtune.data.spending import Spending
from embedtune.encoders.address import Address
from embedtune.encoders.batches import byte_lengths, most_tokens
from embedtune.encoders.prices import Price
from embedtune.encoders.providers.base import Provider, Unusable
from embedtune.errors import ModelNotFound, UserError
from embedtune.extras import need
from embedtune.types import Kind

AGAIN = {408, 409, 425, 429}
"""Statuses that another try may change, beside those from 500 on."""

CONTENT = {400, 413, 422}
"""Statuses of a request that is refused for what is in it."""

LONGEST_WAIT = 60.0
"""Seconds between two tries at most, where the provider names no wait."""

PATIENCE = 900.0
"""Seconds that a provider may ask to wait; with more, the work ends with what is kept."""

PAID_ATTEMPTS = 3
"""How often a request is made that is answered, and charged for, with something of no use."""

LARGEST = 512 * 1000**2
"""Bytes of an answer at most."""

CHUNK = 1 << 16

T = TypeVar("T")


class Refused(Exception):
    """The provider does not take what is in the request."""


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
            As they say.
        UserError
            When no request can be answered: the key is refused, there is no such model, nobody is there.
        """
        tries, useless, put_off, waits = 0, 0, 0.0, 0
        most = most_tokens(byte_lengths(texts)) if self.price else 0
        while True:
            try:
                return self._once(texts, kind, dimensions, most, check)
            except _Again as again:
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
        content = json.dumps(body).encode()
        worst = self.price.of(most) if self.price else 0.0
        with self._slots:
            self._pause(self._resume - time.monotonic())
            if not self._reserve(worst):
                raise OverLimit
            cost = worst  # unless the provider says what it was, or that there was none
            try:
                status, headers, got = self._post(content)
                if status != 200:
                    cost = 0.0
                    raise self._not_answered(status, headers, got, "encoding_format" in body)
                answer = _parsed(got)
                cost = self._charged(answer, worst)
            except self._httpx.HTTPError as error:
                cost = 0.0 if isinstance(error, self._not_sent) else worst
                raise _Again(self._broken(error)) from None
            finally:
                self.spending.settle(worst, cost)
        try:
            made = check(answer)
        except Unusable as error:
            raise _Again(str(error), paid=True) from None
        self.answered += 1
        return made

    def _post(self, content: bytes) -> tuple[int, Any, bytes]:
        """Send a body; give status, headers and all of the answer, within the time for it."""
        query = f"?{self.address.query}" if self.address.query else ""
        client = self._client
        if client is None or client.is_closed:
            raise Halted
        url = self.provider.url(self.address.base) + query
        end, got = time.monotonic() + self.manner.timeout, bytearray()
        with client.stream("POST", url, content=content) as response:
            for chunk in response.iter_bytes(CHUNK):
                got += chunk
                if time.monotonic() > end:
                    raise self._httpx.ReadTimeout("the answer came too slowly")
                if len(got) > LARGEST:
                    raise _Again("the answer is too large", paid=True)
            return int(response.status_code), response.headers, bytes(got)

    def _broken(self, error: Exception) -> str:
        """Say what became of a request without an answer."""
        if isinstance(error, self._not_sent):
            return f"{_UNREACHABLE} ({type(error).__name__})"
        if isinstance(error, self._httpx.TimeoutException):
            return f"no answer within {self.manner.timeout:g} s"
        return f"the connection broke ({type(error).__name__})"

    def _not_answered(self, status: int, headers: Any, got: bytes, base64: bool) -> Exception:
        """Say what a status means: try again, refused, or the end of all work."""
        said, code = self._said(got)
        reason = f"HTTP {status}" + (f": {said}" if said else "")
        if base64 and status in CONTENT and "encoding_format" in said:
            self._base64 = False  # a server that knows lists of numbers only
            return _Again(reason, wait=0.0)
        if status in CONTENT:
            return Refused(reason)
        where = str(self.address)
        spent = "insufficient_quota" in (code or "") or headers.get("x-should-retry") == "false"
        if (status in AGAIN and not (status == 429 and spent)) or status >= 500:
            wait = retry_after(headers)
            if wait is None or wait <= PATIENCE:
                return _Again(reason, wait=wait, limited=status == 429)
            fix = "run again later; what was paid for is kept"
            return UserError(f"the provider asks to wait {wait:.0f} s ({reason})", where=where, fix=fix)
        if status in (401, 403):
            is_set = os.environ.get(self.key_variable)
            fix = f"set {self.key_variable}" + (" to a valid key" if is_set else ", which is not set")
            return UserError(f"the provider refuses the key ({reason})", where=where, fix=fix)
        if status == 404:
            name = self.provider.model
            return ModelNotFound(
                f"there is no model {name!r} ({reason})", where=where, fix="check the name and --api-base"
            )
        if status == 429:
            fix = "look at the account's credit and limits"
            return UserError(f"the provider's quota is used up ({reason})", where=where, fix=fix)
        return UserError(f"the provider answers {reason}", where=where, fix="check the name and --api-base")

    def _said(self, got: bytes) -> tuple[str, str | None]:
        """Give the message of an error's body, shortened, without the key, and its code."""
        text = got[:4000].decode("utf-8", "replace")
        code = None
        try:
            body = json.loads(got)
            inner = body.get("error", body)
            if isinstance(inner, dict):
                code = str(inner.get("code") or inner.get("type") or "")
                inner = inner.get("message") or inner.get("detail") or inner
            text = inner if isinstance(inner, str) else json.dumps(inner)
        except (ValueError, AttributeError):
            pass
        secrets = [os.environ.get(self.key_variable, ""), *(self.address.login or ("", ""))[1:]]
        for secret in filter(None, secrets):
            text = text.replace(secret, "***")
        text = " ".join(text.split())
        return (text if len(text) <= 200 else f"{text[:200]}…"), code

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
        raise _Again("the answer is no JSON", paid=True) from None


class _Again(Exception):
    """Another try may help."""

    def __init__(
        self, reason: str, *, wait: float | None = None, paid: bool = False, limited: bool = False
    ) -> None:
        super().__init__(reason)
        self.wait, self.paid, self.limited = wait, paid, limited


def retry_after(headers: Any) -> float | None:
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
