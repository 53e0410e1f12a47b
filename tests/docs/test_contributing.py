"""The recipe for a tuner in CONTRIBUTING.md works, word by word, as a package of its own."""

from __future__ import annotations

import os
import re
import subprocess
import sys
import tomllib
from pathlib import Path

ROOT = Path(__file__).parents[2]

USE = """
import numpy as np
from embedtune import fine_tune
rng = np.random.default_rng(0)
documents = rng.standard_normal((60, 8)).astype(np.float32)
queries = documents * np.array([1, 1, 1, 1, 1, 4, 4, 4], np.float32)  # three dimensions shout
documents, queries = (x / np.linalg.norm(x, axis=1, keepdims=True) for x in (documents, queries))
q, d = ([f"{side}{i}" for i in range(60)] for side in "qd")
rows = [{"query": a, "positive": b, "query_id": a, "document_id": b} for a, b in zip(q, d)]
base = {"queries": (q, queries), "documents": (d, documents)}
tuned = fine_tune(base_model=base, data=rows, method="scale", force=True)
weight = np.diag(tuned.transform.query)
print(tuned.verdict.method, weight[5:].max() < weight[:5].min())
"""


def test_the_recipe_for_a_tuner_works(tmp_path):
    page = (ROOT / "CONTRIBUTING.md").read_text("utf-8")
    code = re.search(r"<!-- tuner: (\S+) -->\n```python\n(.*?)```", page, re.S)
    entry = re.search(r"```toml\n(.*?)```", page, re.S)
    assert code
    assert entry
    (tmp_path / code[1]).write_text(code[2])
    points = tomllib.loads(entry[1])["project"]["entry-points"]["embedtune.tuners"]
    info = tmp_path / "scale_tuner-1.0.dist-info"  # what pip makes of the entry points
    info.mkdir()
    (info / "METADATA").write_text("Metadata-Version: 2.1\nName: scale-tuner\nVersion: 1.0\n")
    listed = "".join(f"{name} = {path}\n" for name, path in points.items())
    (info / "entry_points.txt").write_text(f"[embedtune.tuners]\n{listed}")

    environment = {**os.environ, "PYTHONPATH": os.pathsep.join([str(tmp_path), str(ROOT / "src")])}
    done = subprocess.run(
        [sys.executable, "-c", USE], capture_output=True, text=True, env=environment, check=False
    )
    assert done.returncode == 0, done.stderr
    assert done.stdout.split() == ["scale", "True"]


def test_the_map_names_files_that_exist():
    page = (ROOT / "CONTRIBUTING.md").read_text("utf-8")
    section = page.split("## The map")[1].split("House rules")[0]
    named = re.findall(r"`((?:\w+/)+(?:\w+\.py)?|\w+\.py)`", section)
    missing = [
        name for name in named if not (ROOT / "src/embedtune" / name.removeprefix("src/embedtune/")).exists()
    ]
    assert named
    assert not missing
