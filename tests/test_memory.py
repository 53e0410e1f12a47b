"""A limit on memory: read, told before the work, and kept to."""

from __future__ import annotations

import numpy as np
import pytest

from embedtune import fine_tune, memory
from embedtune.encoders.vectors import VectorsEncoder
from embedtune.errors import UserError
from embedtune.memory import at_most, check_memory, limited, parse_size


class Texts:
    """What the estimate needs to know of a model of texts."""

    name, dimension, similarity, fingerprint, max_tokens, content = "toy", 100, "cosine", "f", None, "text"


@pytest.mark.parametrize("size", ["2 pounds", "0", "-1GB", "", 0, "GB"])
def test_what_is_no_size_is_refused(size):
    with pytest.raises(UserError, match="is no size above zero; write for example '2GB'"):
        parse_size(size)


@limited
def asked(what, *, memory=None):
    return what()


def test_a_limit_makes_blocks_smaller_and_ends_with_the_call():
    assert asked(lambda: at_most(256), memory="1KB") == 125
    assert asked(lambda: at_most(100), memory="1KB") == 100
    with pytest.raises(ZeroDivisionError):
        asked(lambda: 1 / 0, memory="1KB")
    assert asked(lambda: at_most(256)) == at_most(256) == 256


def needs(limit, encoder):
    """Check 1000 documents and 10 queries, of which 500 documents are fitted to."""
    asked(lambda: check_memory(encoder, 1000, 10, pool=500, at_once=5000), memory=limit)


def test_what_is_held_counts_and_what_is_mapped_does_not(monkeypatch):
    monkeypatch.setattr(memory, "resident", lambda: 1_000_000)
    mapped = 1_000_000 + 1000 * 250 + 5000 + (500 + 10) * 400 * 4
    held = mapped + 1000 * 400
    needs(held, Texts())
    with pytest.raises(UserError, match="or read the documents' vectors from a store with --from-store"):
        needs(held - 1, Texts())
    ids = [str(i) for i in range(1000)]
    files = VectorsEncoder.from_arrays({"documents": (ids, np.ones((1000, 100), np.float32))})
    needs(mapped, files)
    with pytest.raises(UserError, match=r"are allowed; allow more$"):
        needs(mapped - 1, files)


def test_a_run_that_would_pass_the_limit_is_refused_before_it_encodes():
    rows = [{"text": f"text {i}", "label": "a" if i % 2 else "b"} for i in range(40)]

    class Never(Texts):
        def encode(self, items, *, kind="document"):
            raise AssertionError("it was encoded")

    with pytest.raises(UserError, match=r"of memory, and 0\.01 GB are allowed"):
        fine_tune(base_model=Never(), data=rows, memory="10MB")
