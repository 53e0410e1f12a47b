"""The code blocks of README and docs run, and their links lead somewhere."""

from __future__ import annotations

import re
import shlex
from pathlib import Path

import pytest
from typer.testing import CliRunner

from embedtune.cli.app import app

ROOT = Path(__file__).parents[2]
PAGES = [ROOT / "README.md", *sorted((ROOT / "docs").rglob("*.md"))]
BLOCK = re.compile(r"(?P<above><!-- not run[^\n]*\n)?```(?P<language>python|bash)\n(?P<code>.*?)```", re.S)
LINK = re.compile(r"\]\((?!https?:|#)([^)#]+)[^)]*\)")
MINUTES = ("embedtune demo",)
"""Commands that take minutes; tests/cli runs them on small data."""


def blocks(page: Path) -> list[tuple[str, str]]:
    found = BLOCK.finditer(page.read_text("utf-8"))
    return [(match["language"], match["code"]) for match in found if not match["above"]]


@pytest.mark.parametrize("page", [page for page in PAGES if blocks(page)], ids=lambda page: page.stem)
def test_code_blocks_run_from_top_to_bottom(page, folder_with_data):
    names: dict[str, object] = {"__name__": "page"}
    for language, code in blocks(page):
        if language == "python":
            exec(compile(code, page.name, "exec"), names)
        else:
            for line in code.splitlines():
                run_command(line)


def run_command(line: str) -> None:
    if not line.startswith("embedtune ") or line in MINUTES:
        return  # make, pip and git are the reader's
    done = CliRunner().invoke(app, shlex.split(line)[1:])
    fine = (0, 3) if line == "embedtune doctor" else (0,)  # a machine may well have problems
    assert done.exit_code in fine, f"{line}\n{done.output}"


def test_the_tutorial_shows_the_verdict_that_its_data_gets(folder_with_data):
    from embedtune import fine_tune

    shown = re.search(r"^verdict: (.*)$", (ROOT / "docs/tutorial.md").read_text("utf-8"), re.M)
    assert shown
    tuned = fine_tune(base_model="all-MiniLM-L6-v2", data="pairs.csv")
    assert tuned.verdict.decision == shown[1]


@pytest.mark.parametrize(
    "page", [*PAGES, ROOT / "CONTRIBUTING.md"], ids=lambda page: page.relative_to(ROOT).as_posix()
)
def test_links_lead_somewhere(page):
    broken = [link for link in LINK.findall(page.read_text("utf-8")) if not (page.parent / link).exists()]
    assert not broken
