"""Tables, the command line's reference and the demo's figures are up to date: else run docs/refresh.py."""

from __future__ import annotations

import json
import re
import runpy
from pathlib import Path

import pytest

from embedtune.encoders.table import ENCODERS
from embedtune.tuners import TUNERS

ROOT = Path(__file__).parents[2]
REFRESH = runpy.run_path(str(ROOT / "docs/refresh.py"))
GENERATED = REFRESH["generated"]()


@pytest.mark.parametrize("path", GENERATED, ids=lambda path: path.relative_to(ROOT).as_posix())
def test_generated_parts_are_up_to_date(path):
    assert path.read_text("utf-8").split() == GENERATED[path].split(), "run: python docs/refresh.py"


def test_the_picture_is_drawn_from_the_run_that_the_readme_quotes():
    make = runpy.run_path(str(ROOT / "docs/images/make_picture.py"))
    run = json.loads((ROOT / "docs/demo/run.json").read_text("utf-8"))
    assert (ROOT / "docs/images/demo.svg").read_text("utf-8") == make["picture"](run)


def test_output_and_figures_are_of_one_run():
    run = json.loads((ROOT / "docs/demo/run.json").read_text("utf-8"))
    assert run["text"] in (ROOT / "docs/demo/run.txt").read_text("utf-8")
    assert f"{run['tuned']['overall']:.3f}" in (ROOT / "README.md").read_text("utf-8")


@pytest.mark.parametrize("registry", [TUNERS, ENCODERS], ids=lambda registry: registry.kind)
def test_readme_names_every_method_and_every_kind_of_base(registry):
    readme = (ROOT / "README.md").read_text("utf-8")
    part = re.search(rf"<!-- {registry.kind}s -->(.*?)<!-- /", readme, re.S)
    assert part
    assert re.findall(r"^\| `([\w-]+)` \|", part[1], re.M) == list(registry)


def test_nothing_of_the_machine_is_in_the_run():
    run = (ROOT / "docs/demo/run.json").read_text("utf-8") + (ROOT / "docs/demo/run.txt").read_text("utf-8")
    assert not re.search(r"/(tmp|home|root|work|Users)/", run)
