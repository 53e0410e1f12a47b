"""The world that teachers are tried in."""

from __future__ import annotations

import pytest
from teacher_world import World, make_world


@pytest.fixture(scope="module")
def world(tmp_path_factory: pytest.TempPathFactory) -> World:
    """Give a folder of which few queries are labelled, and vectors of base and teacher."""
    return make_world(tmp_path_factory.mktemp("world"))
