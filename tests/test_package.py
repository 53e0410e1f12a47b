"""What ``import embedtune`` gives, and what it does not load."""

from __future__ import annotations

import subprocess
import sys

import pytest

import embedtune


def test_importing_loads_nothing_heavy() -> None:
    code = (
        "import sys, embedtune; "
        "print(sorted({'torch', 'sklearn', 'typer', 'rich', 'transformers', 'scipy', 'pyarrow', 'numpy'}"
        " & set(sys.modules)))"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout.strip() == "[]"


def test_the_flow_without_a_model_loads_no_torch() -> None:
    code = "import sys, embedtune; embedtune.fine_tune, embedtune.load; print('torch' in sys.modules)"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout.strip() == "False"


def test_public_names_are_sorted_and_there() -> None:
    assert sorted(embedtune.__all__) == embedtune.__all__ == dir(embedtune)
    for name in embedtune.__all__:
        assert getattr(embedtune, name) is not None


def test_lazy_names_are_the_things_themselves() -> None:
    from embedtune.api import fine_tune
    from embedtune.artifact.tuned import Tuned

    assert embedtune.fine_tune is fine_tune
    assert embedtune.Tuned is Tuned
    assert embedtune.__version__[0].isdigit()


def test_an_unknown_name_is_an_attribute_error() -> None:
    with pytest.raises(AttributeError, match="module 'embedtune' has no attribute 'train'"):
        embedtune.train  # noqa: B018
