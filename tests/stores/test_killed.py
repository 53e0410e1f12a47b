"""SIGKILL at random moments: the next run makes the same bytes as one that was never broken."""

from __future__ import annotations

import os
import random
import subprocess
import sys
import time
from pathlib import Path

import numpy as np
import pytest

from embedtune import stores

SOURCE = Path(__file__).parents[2] / "src"

RUN = """
import sys
from embedtune import stores
stores.apply(sys.argv[1], sys.argv[2], resume=True, probe=False, batch=15,
             progress=lambda *told: print(*told, flush=True))
print("over", flush=True)
"""


def start(artifact, url):
    return subprocess.Popen(
        [sys.executable, "-c", RUN, str(artifact), url],
        stdout=subprocess.PIPE,
        stderr=subprocess.DEVNULL,
        text=True,
        env={**os.environ, "PYTHONPATH": str(SOURCE)},
    )


@pytest.mark.parametrize("kind", ["pgvector", "lance", "chroma", "chroma_pointer"])
def test_a_killed_run_resumes_to_the_same_bytes(request, kind, artifact, mapped):
    case = request.getfixturevalue(kind)
    old = case.read()
    wanted = mapped(old)
    rng = random.Random(kind)
    told = [40, *sorted(rng.randrange(5, 120) for _ in range(2))]
    killed = []
    for moment in told:
        with start(artifact, case.url) as process:
            line = ""
            for number, line in enumerate(process.stdout):  # noqa: B007
                if number == moment:
                    break
            time.sleep(rng.random() * 0.05)
            process.kill()
        killed.append(line.split(" ")[0].strip())
        found = case.read()
        assert set(found) == set(old)
        versions = {
            name for name, rows in (("old", old), ("new", wanted))
            if all(found[i].tobytes() == rows[i].tobytes() for i in found)
        }  # fmt: skip
        assert len(versions) == 1  # never some of each
    assert "apply" in killed
    result = stores.apply(artifact, case.url, resume=True, probe=False)
    assert result.status == "switched"
    found = case.read()
    assert all(found[i].tobytes() == wanted[i].tobytes() for i in wanted)
    assert set(found) == set(wanted)
    stores.rollback(case.url)
    found = case.read()
    assert all(np.array_equal(found[i], old[i]) for i in old)
