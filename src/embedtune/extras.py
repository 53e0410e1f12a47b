"""Import guards: which extra a thing needs, and the line that installs it."""

from __future__ import annotations

import importlib
import importlib.util
from types import ModuleType

from embedtune.errors import MissingExtra


def need(module: str, *, extra: str, who: str) -> ModuleType:
    """Import ``module``, or say which extra installs it.

    Parameters
    ----------
    module : str
        The module to import, for example ``"torch"``.
    extra : str
        The extra of embedtune that brings it, for example ``"local"``.
    who : str
        Who asks, for the message: ``"encoder 'transformer'"``.

    Raises
    ------
    MissingExtra
        When the module itself is not installed; an error inside it is passed on.
    """
    try:
        return importlib.import_module(module)
    except ModuleNotFoundError as error:
        if error.name and error.name.split(".")[0] != module.split(".")[0]:
            raise
        raise MissingExtra(who, module, extra) from None


def require(module: str, *, extra: str, who: str) -> None:
    """Say which extra installs ``module``, if it is missing; does not import it, so it costs nothing.

    Raises
    ------
    MissingExtra
        When the module is not installed.
    """
    try:
        found = importlib.util.find_spec(module)
    except ModuleNotFoundError:  # the package around it is not there
        found = None
    if found is None:
        raise MissingExtra(who, module, extra)
