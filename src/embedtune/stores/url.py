"""URLs of stores: read, and shown without their secrets."""

from __future__ import annotations

import re
from dataclasses import dataclass, field
from urllib.parse import SplitResult, parse_qsl, quote, unquote, urlencode, urlsplit

from embedtune.errors import StoreError

SECRETS = ("password", "passwd", "api_key", "apikey", "token", "key", "secret")
"""Parameters whose values are never shown."""

MASK = "***"


@dataclass(frozen=True)
class StoreURL:
    """A parsed URL ``scheme://user:password@host:port/path?parameter=value#fragment``.

    Examples
    --------
    >>> url = StoreURL.parse("postgresql://me:hidden@db/shop?table=docs&column=embedding")
    >>> print(url)
    postgresql://me:***@db/shop?table=docs&column=embedding
    >>> url.take("table", "column")
    {'table': 'docs', 'column': 'embedding'}
    """

    text: str = field(repr=False)
    parts: SplitResult = field(repr=False)
    parameters: dict[str, str] = field(repr=False)

    @classmethod
    def parse(cls, text: str) -> StoreURL:
        """Read a URL.

        Raises
        ------
        StoreError
            When it has no scheme.
        """
        try:
            parts = urlsplit(text)
            _ = parts.port
        except ValueError as error:
            raise StoreError(f"this is no URL ({error})", where=masked(text), fix="check it") from None
        if not parts.scheme or "://" not in text:
            raise StoreError(
                f"{masked(text)!r} is no URL of a store", fix="write for example lancedb:///path/to/db#table"
            )
        pairs = parse_qsl(parts.query, keep_blank_values=True)
        return cls(text, parts, dict(pairs))

    @property
    def scheme(self) -> str:
        """What comes before ``://``."""
        return self.parts.scheme

    @property
    def host(self) -> str | None:
        """The machine; None where there is none."""
        return self.parts.hostname

    @property
    def port(self) -> int | None:
        """The port; None where none is given."""
        return self.parts.port

    @property
    def path(self) -> str:
        """The path, unquoted; for a local store also what stands where a host would: ``lancedb://folder``."""
        return unquote(self.parts.path)

    @property
    def local_path(self) -> str:
        """A path on this machine: ``scheme:///absolute`` or ``scheme://relative/path``."""
        return unquote(self.parts.netloc + self.parts.path)

    @property
    def fragment(self) -> str:
        """What comes after ``#``."""
        return unquote(self.parts.fragment)

    def take(self, *names: str) -> dict[str, str]:
        """Give those of the parameters ``names`` that are there."""
        return {name: self.parameters[name] for name in names if name in self.parameters}

    def only(self, *names: str) -> None:
        """Refuse parameters other than ``names``.

        Raises
        ------
        StoreError
            When there is one.
        """
        unknown = sorted(set(self.parameters) - set(names))
        if unknown:
            known = ", ".join(names) or "none"
            raise StoreError(
                f"there is no parameter {unknown[0]!r}", where=str(self), fix=f"choose from {known}"
            )

    def without(self, *names: str) -> str:
        """Give the whole URL, secrets and all, without some parameters and the fragment."""
        left = {name: value for name, value in self.parameters.items() if name not in names}
        return self.parts._replace(query=urlencode(left, quote_via=quote), fragment="").geturl()

    def hide(self, message: str) -> str:
        """Take this URL's secrets out of a message."""
        secrets = [self.parts.password, *(v for k, v in self.parameters.items() if k.lower() in SECRETS)]
        for secret in filter(None, secrets):
            message = message.replace(secret, MASK).replace(unquote(secret), MASK)
        return message

    def __str__(self) -> str:
        return masked(self.text)


def masked(text: str) -> str:
    """Give a URL without password and other secrets.

    >>> masked("qdrant://host:6333/docs?api_key=abc")
    'qdrant://host:6333/docs?api_key=***'
    """
    text = re.sub(r"(://[^/?#@:]*):[^/?#]*@", rf"\1:{MASK}@", text)
    names = "|".join(SECRETS)
    return re.sub(rf"(?i)([?&](?:{names})=)[^&#]*", rf"\1{MASK}", text)
