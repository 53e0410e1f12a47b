"""Models behind an HTTP API: a provider, its address, a price, and the encoder that they make."""

from __future__ import annotations

import hashlib
import json
import logging
import os
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

from embedtune.encoders.api.address import Address
from embedtune.encoders.api.answers import read_vectors
from embedtune.encoders.api.asking import Asker, Manner
from embedtune.encoders.api.batches import batches, byte_lengths, estimated_tokens
from embedtune.encoders.api.dispatch import Dispatch
from embedtune.encoders.api.prices import Price, Prices, price_of
from embedtune.encoders.api.providers import provider_of
from embedtune.encoders.api.providers.base import Facts
from embedtune.encoders.api.run import Keep, Run
from embedtune.errors import ModelNotFound, UserError
from embedtune.files import atomic_write
from embedtune.spending import Spending
from embedtune.types import Content, Kind, Similarity, Vectors

if TYPE_CHECKING:
    from embedtune.encoders.cache import VectorCache

logger = logging.getLogger(__name__)

BATCH = 256
"""Texts of a request, where the provider allows so many: a kill loses what is under way, so not more."""


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
        See :class:`~embedtune.encoders.api.asking.Manner`.
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
        prices: Prices | Price | None = None,
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
        self._dispatch = Dispatch()
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

    def courier_for(self, items: Sequence[str], cache: VectorCache) -> Callable[..., None] | None:
        """Give what encodes texts in a process of its own, and keeps them; None where this one is to.

        What is of one request is asked for here, as it would not be worth the start of a process.
        """
        if type(self) is not ApiEncoder or not self._dispatch.possible():
            return None  # of a class of somebody else's there is no recipe
        requests = batches(estimated_tokens(byte_lengths(items)), self._items, self._tokens)
        if next(requests, None) is None or next(requests, None) is None:
            return None
        return partial(self._dispatch.encode, self, cache)

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
            Run(self, items, kind, keep).run()
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
        Run(self, items, kind, keep).run()

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
        from embedtune.cache_place import cache_folder

        return cache_folder() / "models" / f"{self.fingerprint[:32]}.json"

    def _found_out(self) -> int:
        """Ask for one short vector, to see its dimension; remember it."""
        found: list[int] = []
        run = Run(self, ["dimension"], "document", lambda _, vectors: found.append(vectors.shape[1]))
        run.run()
        self._known = found[0]
        try:
            with atomic_write(self._record()) as file:
                file.write(json.dumps({"dimension": found[0]}).encode())
        except OSError as error:
            logger.debug("the dimension of %s is not kept: %s", self.name, error)
        return found[0]
