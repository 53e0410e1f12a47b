"""Models behind an HTTP API: texts in batches, several requests at a time, each answer kept as it comes.

What is paid for twice, at most: a vector is handed on to be kept as soon as its answer is read, before the
same worker sends anything else. When the process is killed, only answers that were under way or being kept
at that moment are lost: those of at most :data:`WORKERS` times ``concurrency`` requests.
"""

from __future__ import annotations

import hashlib
import json
import logging
import os
import re
import threading
from collections.abc import Callable, Sequence
from concurrent.futures import FIRST_EXCEPTION, Future, ThreadPoolExecutor, wait
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from embedtune.data.spending import Spending
from embedtune.encoders.address import Address
from embedtune.encoders.answers import read_vectors
from embedtune.encoders.asking import Asker, Failed, Halted, Manner, OverLimit, Refused
from embedtune.encoders.batches import batches, byte_lengths, estimated_tokens
from embedtune.encoders.prices import Price, Prices, price_of
from embedtune.encoders.providers import provider_of
from embedtune.encoders.providers.base import Facts
from embedtune.errors import ModelNotFound, TextsFailed, UserError
from embedtune.files import atomic_write
from embedtune.types import Content, Kind, Similarity, Vectors

logger = logging.getLogger(__name__)

Keep = Callable[[NDArray[np.int64], Vectors], None]
"""Gets rows of the texts and their vectors (n, d), from any thread, as soon as they are there."""

BATCH = 256
"""Texts of a request, where the provider allows so many: a kill loses what is under way, so not more."""

WORKERS = 2
"""Threads for each request at a time: while some wait for answers, others read and keep theirs."""

GIVE_UP = 3
"""So many requests in a row that no try could save end the work: the provider is down, or the model wrong."""

FEWER_TRIES = 3
"""Tries of a part of a request, when one is looked for that the provider fails on."""

LAST_CALL = 10.0
"""Seconds that answers under way are waited for when the work is broken off: they are paid for."""

USELESS = "its vector is zero or not finite"

_TOO_LONG = re.compile(r"token|length|long|context|exceed", re.IGNORECASE)


@dataclass(frozen=True)
class Estimate:
    """What encoding texts would cost, before anything is sent."""

    texts: int
    """Texts that would be sent; identical ones, and those that are kept, are not."""
    tokens: int
    """At most, but for unusual texts: a third of their bytes in UTF-8."""
    cost: float | None
    """In the price's currency; None where no price is known."""
    price: Price | None

    def __str__(self) -> str:
        """Give it as a line."""
        line = (
            f"{self.texts:,} {'text' if self.texts == 1 else 'texts'}, at most about {self.tokens:,} tokens"
        )
        if self.price is None or self.cost is None:
            return f"{line}; no price is known"
        return f"{line}, {self.cost:.4g} {self.price.currency} ({self.price})"


class ApiEncoder:
    """A model behind an HTTP API.

    Parameters
    ----------
    name : str
        ``openai:MODEL``, ``voyage:MODEL``, …, or a model's own name where that tells who has it; with
        ``api_base`` the name of any model that an OpenAI-compatible server has.
    api_base : str, optional
        Where the API is, up to and without ``/embeddings``; the provider's own address unless given.
    api_key_env : str, optional
        The environment variable that holds the key; the provider's usual one unless given. The key itself is
        never kept, shown or saved.
    dimensions : int, optional
        Dimensions to ask for, of models that can be shortened.
    dimension : int, optional
        The dimension that vectors must have, where it is known already.
    similarity : {"cosine", "dot"}
        With cosine the vectors have unit length; with dot they are as the API gives them.
    max_cost : float or Spending, optional
        Nothing is sent that could take the cost above it. Needs a price.
    prices : str, pathlib.Path or mapping, optional
        A table of prices that stands before the one that comes along.
    concurrency, timeout, attempts, wait
        See :class:`~embedtune.encoders.asking.Manner`.
    batch : int, optional
        Texts of a request at most; fewer where the provider allows fewer.
    notice : callable, optional
        Called with a line that estimates the cost, before the first request for new texts.

    Raises
    ------
    ModelNotFound
        When the name is none of an API.
    UserError
        When the address, the dimensions or the price are missing or wrong. A key is asked for with the first
        text that is to be encoded.
    MissingExtra
        When httpx is not installed.
    """

    content: Content = "text"
    folder: Path | None = None
    """There is no model that could be shipped."""
    probe_tolerance = 0.01
    """APIs do not give the same numbers every time; two models differ by several times this."""

    def __init__(
        self,
        name: str,
        *,
        api_base: str | None = None,
        api_key_env: str | None = None,
        dimensions: int | None = None,
        dimension: int | None = None,
        similarity: Similarity = "cosine",
        max_cost: float | Spending | None = None,
        prices: Prices | None = None,
        concurrency: int = 8,
        timeout: float = 60.0,
        attempts: int = 8,
        wait: float = 0.5,
        batch: int = BATCH,
        notice: Callable[[str], None] | None = None,
    ) -> None:
        provider = provider_of(name, api_base)
        if provider is None:
            fix = "write openai:MODEL, or give the server's address with --api-base"
            raise ModelNotFound(f"{name!r} is no model of an API that is known here", fix=fix)
        base = api_base or provider.base
        if base is None:
            fix = f"give it with --api-base (see the documentation of {provider.name})"
            raise UserError(f"{name!r} needs the address of its API", fix=fix)
        for what, value in (("dimensions", dimensions), ("concurrency", concurrency), ("batch", batch)):
            if value is not None and value < 1:
                raise UserError(f"{what} is {value}", fix="give a number from 1 on")
        self.name, self.provider, self.similarity = name, provider, similarity
        self.address, self.own_address = Address.of(base), api_base is None
        self.key_variable = api_key_env or provider.key_variable
        self.dimensions, self.notice = dimensions, notice
        facts = provider.facts
        self.price = price_of(provider.model, prices)
        self.spending = max_cost if isinstance(max_cost, Spending) else Spending(max_cost)
        if self.spending.limit is not None:
            self._check_limit(self.spending.limit)
        self.max_tokens = facts.max_tokens
        self._items = min(batch, facts.items or provider.limits.items)
        self._tokens = facts.tokens or provider.limits.tokens
        manner = Manner(concurrency=concurrency, timeout=timeout, attempts=attempts, wait=wait)
        self._asker = Asker(provider, self.address, self.key_variable, manner, self.spending, self.price)
        self.fingerprint = hashlib.sha256(
            json.dumps([provider.name, self.address.base, provider.model, dimensions, similarity]).encode()
        ).hexdigest()
        self._known = dimension or dimensions or self._recorded(facts)
        self.dimension: int = self._known or self._found_out()

    def prompt_key(self, kind: Kind) -> str:
        """Give the kind where the API tells queries and documents apart, else the same key for both."""
        return kind if self.provider.input_types else ""

    def count_tokens(self, texts: Sequence[str]) -> NDArray[np.int64] | None:
        """Give None: only the provider can count its tokens. See :meth:`cost` for an estimate."""
        return None

    def cost(self, items: Sequence[str], *, kind: Kind = "document") -> Estimate:
        """Estimate what encoding texts costs, identical ones once; sends nothing."""
        lengths = byte_lengths([*dict.fromkeys(items)])
        tokens = int(estimated_tokens(lengths).sum())
        return Estimate(len(lengths), tokens, self.price.of(tokens) if self.price else None, self.price)

    def settings(self) -> dict[str, Any]:
        """Give what opens the same encoder again beside its name, for the manifest; no secrets."""
        return {
            "api_base": None if self.own_address else str(self.address),
            "api_key_env": None if self.key_variable == self.provider.key_variable else self.key_variable,
            "dimensions": self.dimensions,
        }

    def encode(self, items: Sequence[str], *, kind: Kind = "document") -> Vectors:
        """Give float32 vectors (n, d) in the order of ``items``; unit length if similarity is cosine.

        Raises
        ------
        TextsFailed, UserError
            See :meth:`encode_batches`.
        """
        vectors = np.empty((len(items), self.dimension), np.float32)

        def keep(rows: NDArray[np.int64], found: Vectors) -> None:
            vectors[rows] = found

        if items:
            _Run(self, items, kind, keep).run()
        return vectors

    def encode_batches(self, items: Sequence[str], *, kind: Kind = "document", keep: Keep) -> None:
        """Encode texts, and hand the vectors on as they come, from several threads and in any order.

        Raises
        ------
        TextsFailed
            When some texts have no vector; all others have been handed on.
        UserError
            When no more can be sent: the key is refused, the limit of cost is reached, nobody is there.
        """
        if not items:
            return
        if self.notice is not None:
            self.notice(f"{self.name}: {self.cost(items)}")
        _Run(self, items, kind, keep).run()

    def _send(
        self, texts: Sequence[str], kind: Kind, attempts: int | None = None
    ) -> tuple[Vectors, NDArray[np.bool_]]:
        """Make one request, with its repetitions; give the vectors and which can be used."""

        def check(answer: Any) -> tuple[Vectors, NDArray[np.bool_]]:
            return read_vectors(self.provider, answer, len(texts), self._known)

        vectors, good = self._asker.ask(texts, kind, self.dimensions, check, attempts)
        if self.similarity == "cosine":
            norms = np.linalg.norm(vectors.astype(np.float64), axis=1, keepdims=True)
            np.divide(vectors, norms, out=vectors, where=good[:, None], casting="same_kind")
        return vectors, good

    def _check_key(self) -> None:
        """Miss a key that the provider will ask for, before any work; a server of one's own may need none."""
        asked_for = self.own_address or self.key_variable != self.provider.key_variable
        if asked_for and not os.environ.get(self.key_variable):
            raise UserError(
                f"{self.name} needs a key, and {self.key_variable} is not set",
                fix=f"export {self.key_variable}=…, or name another variable with --api-key-env",
            )

    def _check_limit(self, limit: float) -> None:
        if not limit >= 0:
            raise UserError(f"the limit of cost is {limit}", fix="give an amount from 0 on")
        if self.price is None:
            raise UserError(
                f"a limit of cost needs a price, and no table has one for {self.provider.model!r}",
                fix="give a table with --prices FILE, or leave out --max-cost",
            )

    def _recorded(self, facts: Facts) -> int | None:
        """Give the dimension as it is documented, or as it was found out before."""
        if self.own_address and facts.dimension:
            return facts.dimension
        try:
            recorded = json.loads(self._record().read_bytes())["dimension"]
        except (OSError, ValueError, KeyError, TypeError):
            return None
        return recorded if isinstance(recorded, int) and recorded > 0 else None

    def _record(self) -> Path:
        from embedtune.encoders.cache import cache_folder

        return cache_folder() / "models" / f"{self.fingerprint[:32]}.json"

    def _found_out(self) -> int:
        """Ask for one short vector, to see its dimension; remember it."""
        found: list[int] = []
        run = _Run(self, ["dimension"], "document", lambda _, vectors: found.append(vectors.shape[1]))
        run.run()
        self._known = found[0]
        try:
            with atomic_write(self._record()) as file:
                file.write(json.dumps({"dimension": found[0]}).encode())
        except OSError as error:
            logger.debug("the dimension of %s is not kept: %s", self.name, error)
        return found[0]


@dataclass
class _Run:
    """The encoding of some texts."""

    encoder: ApiEncoder
    texts: Sequence[str]
    kind: Kind
    keep: Keep
    reasons: dict[int, str] = field(default_factory=dict)
    """Why a text has no vector."""
    fatal: BaseException | None = None
    over: bool = False
    """Whether the limit of cost was reached."""
    cut: list[int] = field(default_factory=list)
    done: int = 0
    row_of_failures: int = 0
    lock: threading.Lock = field(default_factory=threading.Lock)

    def run(self) -> None:
        """Encode everything, or say what is missing."""
        encoder, asker = self.encoder, self.encoder._asker
        encoder._check_key()
        self.texts = [text or " " for text in self.texts]  # APIs refuse empty ones
        tokens = estimated_tokens(byte_lengths(self.texts))
        queue = list(batches(tokens, encoder._items, encoder._tokens))[::-1]
        asker.start()
        threads = min(len(queue), WORKERS * asker.manner.concurrency)
        pool = ThreadPoolExecutor(threads)
        futures = [pool.submit(self._work, queue) for _ in range(threads)]
        try:
            wait(futures, return_when=FIRST_EXCEPTION)
        finally:
            self._end(pool, futures)
        self._tell()

    def _end(self, pool: ThreadPoolExecutor, futures: list[Future[None]]) -> None:
        """End all threads: at once where nothing is under way, else when what is paid for has come."""
        asker = self.encoder._asker
        if any(not future.done() for future in futures):
            self._stop(Halted())  # counts where the caller was interrupted; else there is a reason already
            if wait(futures, timeout=LAST_CALL).not_done:
                asker.hang_up()
        pool.shutdown(wait=True)

    def _work(self, queue: list[NDArray[np.int64]]) -> None:
        """Take one batch after the other."""
        while self.fatal is None and not self.over:
            try:
                rows = queue.pop()
            except IndexError:
                return
            try:
                self._encode(rows)
            except Halted:
                return
            except BaseException as error:
                self._stop(error)
                raise

    def _encode(self, rows: NDArray[np.int64], tries: int = 3) -> None:
        """Encode one batch; in halves where it is refused or too dear, and again what came out useless."""
        if self.fatal is not None or self.over:
            return None
        try:
            vectors, good = self.encoder._send([self.texts[row] for row in rows], self.kind)
        except Refused as error:
            if len(rows) > 1:
                return self._halves(rows, tries)
            return self._refused(int(rows[0]), str(error))
        except OverLimit:
            if len(rows) > 1:
                return self._halves(rows, tries)
            self.over = True
            return None
        except Failed as error:
            return self._narrow(rows, str(error))
        self._keep(rows[good], vectors[good])
        bad = rows[~good]
        if not len(bad):
            return None
        if tries > 1:
            return self._encode(bad, tries - 1)
        return self._failed(bad, USELESS, content=True)

    def _narrow(self, rows: NDArray[np.int64], reason: str) -> None:
        """Look for the one text that the provider fails on, as long as it answers half of a request."""
        while len(rows) > 1 and self.encoder._asker.answered:
            failing = []
            for part in np.array_split(rows, 2):
                try:
                    texts = [self.texts[row] for row in part]
                    vectors, good = self.encoder._send(texts, self.kind, FEWER_TRIES)
                except (Failed, Refused, OverLimit) as error:
                    failing.append(part)
                    reason = str(error) or reason
                else:
                    self._keep(part[good], vectors[good])
                    if not good.all():
                        self._failed(part[~good], USELESS, content=True)
            if not failing:
                return
            if len(failing) == 2:
                break
            rows = failing[0]
        self._failed(rows, reason)

    def _halves(self, rows: NDArray[np.int64], tries: int) -> None:
        middle = len(rows) // 2
        self._encode(rows[:middle], tries)
        self._encode(rows[middle:], tries)

    def _refused(self, row: int, reason: str) -> None:
        """Cut a text that is too long for the model, as the model would; else it has no vector."""
        text, most = self.texts[row], self.encoder.max_tokens or 8192
        for characters in (4 * most, 3 * most, 2 * most, most) if _TOO_LONG.search(reason) else ():
            if characters >= len(text):
                continue
            try:
                vectors, good = self.encoder._send([text[:characters]], self.kind)
            except Refused:
                continue
            except (Failed, OverLimit):
                break
            if good[0]:
                self.cut.append(row)
                self._keep(np.array([row]), vectors)
                return
        self._failed(np.array([row]), reason, content=True)

    def _keep(self, rows: NDArray[np.int64], vectors: Vectors) -> None:
        if not len(rows):
            return
        self.keep(rows, vectors)
        with self.lock:
            self.done += len(rows)
            self.row_of_failures = 0

    def _failed(self, rows: NDArray[np.int64], reason: str, *, content: bool = False) -> None:
        """Note why texts have no vector; end the work where it is not for what is in them (``content``)."""
        with self.lock:
            self.reasons |= dict.fromkeys(rows.tolist(), reason)
            answered = self.encoder._asker.answered > 0
            self.row_of_failures += not (content and answered)
            end = self.row_of_failures >= GIVE_UP or not (content or answered)
        if end:
            fix = "run again later" if answered else "check the model, --dimensions and --api-base"
            kept = "; what was paid for is kept" if self.done else ""
            what = f"no vectors come from {self.encoder.name}: {reason}"
            self._stop(UserError(what, where=str(self.encoder.address), fix=fix + kept))

    def _stop(self, error: BaseException) -> None:
        with self.lock:
            self.fatal = self.fatal or error
        self.encoder._asker.halt()

    def _tell(self) -> None:
        """Say what went wrong, if anything."""
        if self.cut:
            logger.warning("%d texts were too long for %s, and were cut", len(self.cut), self.encoder.name)
        if self.fatal is not None:
            raise self.fatal
        if self.over:
            spending, price = self.encoder.spending, self.encoder.price
            spending.stopped = True
            currency = price.currency if price else ""
            raise UserError(
                f"stopped before the limit of {spending.limit:g} {currency}: {self.done:,} of "
                f"{len(self.texts):,} texts were encoded, for {spending.spent:.4g}",
                where=self.encoder.name,
                fix="what was paid for is kept: run again with a higher --max-cost",
            )
        if self.reasons:
            rows = sorted(self.reasons)
            raise TextsFailed(
                rows,
                [self.reasons[row] for row in rows],
                len(self.texts),
                where=self.encoder.name,
                fix="the others are kept: mend or remove these, or run again",
            )
