"""Addresses of APIs: checked, and without their secrets wherever they are shown or saved."""

from __future__ import annotations

from dataclasses import dataclass, field
from urllib.parse import unquote, urlsplit, urlunsplit

from embedtune.errors import UserError

MASK = "***"
"""Stands where a password was."""

_HARMLESS = {"api-version"}
"""What may follow a question mark: anything else may be a key, and addresses are shown and saved."""


@dataclass(frozen=True)
class Address:
    """Where an API is."""

    base: str
    """Without name, password, query and the slash at its end."""
    query: str = ""
    """What follows the question mark."""
    login: tuple[str, str] | None = field(default=None, repr=False)
    """Name and password of HTTP's own authentication."""

    @classmethod
    def of(cls, given: str) -> Address:
        """Read an address.

        Raises
        ------
        UserError
            When it is none of http or https, or carries a key in its query.
        """
        try:
            parts = urlsplit(given.strip())
            host, port = parts.hostname, parts.port
        except ValueError:
            host, port, parts = None, None, urlsplit("")
        if parts.scheme not in ("http", "https") or not host or parts.fragment:
            fix = "give one such as https://api.openai.com/v1 or http://localhost:8000/v1"
            raise UserError(f"{mask(given)!r} is no address of an API", fix=fix)
        names = {piece.partition("=")[0] for piece in parts.query.split("&") if piece}
        if names - _HARMLESS:
            raise UserError(
                f"the address of the API has {min(names - _HARMLESS)!r} in its query, which may be a secret",
                fix="put the key into an environment variable, and name it with --api-key-env",
            )
        place = f"[{host}]" if ":" in host else host
        bare = urlunsplit(
            (parts.scheme, f"{place}:{port}" if port else place, parts.path.rstrip("/"), "", "")
        )
        login = None
        if parts.username is not None or parts.password is not None:
            login = unquote(parts.username or ""), unquote(parts.password or "")
            if login[1] == MASK:
                raise UserError(
                    f"the password of {mask(given)} was not saved with it",
                    fix="give the address again, with its password: --api-base or load_encoder(api_base=…)",
                )
        return cls(bare.removesuffix("/embeddings"), parts.query, login)

    def __str__(self) -> str:
        """Give it as it may be shown and saved."""
        shown = self.base
        if self.login is not None:
            scheme, _, rest = self.base.partition("://")
            shown = f"{scheme}://{self.login[0]}:{MASK}@{rest}"
        return f"{shown}?{self.query}" if self.query else shown


def mask(text: str) -> str:
    """Give a text with the password of an address in it, and the values of its query, put out of sight.

    Examples
    --------
    >>> mask("https://me:secret@example.org/v1?key=abc")
    'https://me:***@example.org/v1?key=***'
    """
    head, at, tail = text.rpartition("@")
    if at:
        scheme, slashes, login = head.rpartition("://")
        name = login.partition(":")[0]
        text = f"{scheme}{slashes}{name}:{MASK}@{tail}"
    start, question, query = text.partition("?")
    if not question:
        return text
    shown = [
        piece if piece.partition("=")[0] in _HARMLESS else f"{piece.partition('=')[0]}={MASK}"
        for piece in query.split("&")
    ]
    return f"{start}?{'&'.join(shown)}"
