"""Draw docs/images/demo.svg from docs/demo/run.json: scores by stratum, and one search before and after."""

from __future__ import annotations

import json
from html import escape
from pathlib import Path
from typing import Any

HERE = Path(__file__).parent
WIDTH, HEIGHT = 960, 380
BOTTOM, TOP = 300, 90
STYLE = """
  text { font-family: system-ui, -apple-system, 'Segoe UI', Helvetica, Arial, sans-serif; fill: #1f2430; }
  .card { fill: #ffffff; stroke: #c9ced8; } .soft { fill: #5d6575; } .grid { stroke: #dfe3ea; }
  .base { fill: #9aa3b2; } .tuned { fill: #0f7b6c; } .whisker { stroke: #1f2430; stroke-width: 1.5; }
  .hit { fill: #0f7b6c; font-weight: 600; } .title { font-size: 16px; font-weight: 600; }
  .small { font-size: 12px; } .body { font-size: 13px; }
  @media (prefers-color-scheme: dark) {
    text { fill: #e8ebf1; } .card { fill: #171b22; stroke: #3a4150; } .soft { fill: #a3adbd; }
    .grid { stroke: #2c333f; } .base { fill: #6c7687; } .tuned { fill: #2fb39f; }
    .whisker { stroke: #e8ebf1; } .hit { fill: #4fd1bd; }
  }
"""


def main() -> None:
    """Write the picture."""
    run = json.loads((HERE.parent / "demo/run.json").read_text("utf-8"))
    (HERE / "demo.svg").write_text(picture(run), "utf-8")


def picture(run: dict[str, Any]) -> str:
    """Give the picture of a run of the demo as SVG."""
    title = "embedtune demo: patients' words against clinical terms, before and after tuning"
    return "\n".join(
        [
            f'<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 {WIDTH} {HEIGHT}" role="img" '
            f'aria-label="{escape(title)}">',
            f"<style>{STYLE}</style>",
            f'<rect class="card" x="1" y="1" width="{WIDTH - 2}" height="{HEIGHT - 2}" rx="10"/>',
            *bars(run),
            *search(run),
            "</svg>\n",
        ]
    )


def bars(run: dict[str, Any]) -> list[str]:
    """Base and tuned side by side in each stratum; the whisker is the interval of the gain."""
    parts = [
        text(
            30,
            38,
            f"{run['metric'].replace('ndcg', 'nDCG')} on {run['tuned']['n']:,} held-out queries",
            "title",
        ),
        text(30, 60, "grey: base · green: tuned · whisker: 95 % interval of the gain", "small soft"),
    ]
    for tick in (0.0, 0.25, 0.5, 0.75, 1.0):
        y = level(tick)
        parts.append(f'<line class="grid" x1="62" x2="440" y1="{y}" y2="{y}"/>')
        parts.append(text(54, y + 4, f"{tick:.2f}", "small soft", anchor="end"))
    strata = {
        "overall": (run["ci95"], "all queries", "n"),
        **{name: (gain["ci95"], f"{name} documents", f"n_{name}") for name, gain in run["strata"].items()},
    }
    for i, (name, (interval, label, count)) in enumerate(strata.items()):
        x = 85 + 125 * i
        base, tuned = run["base"][name], run["tuned"][name]
        low, high = level(base + interval[0]), level(base + interval[1])
        parts += [
            bar(x, base, "base"),
            bar(x + 44, tuned, "tuned"),
            f'<line class="whisker" x1="{x + 64}" x2="{x + 64}" y1="{low}" y2="{high}"/>',
            text(x + 20, level(base) - 7, f"{base:.3f}", "small soft", anchor="middle"),
            text(x + 64, high - 7, f"{tuned:.3f}", "small", anchor="middle"),
            text(x + 42, BOTTOM + 20, label, "small", anchor="middle"),
            text(x + 42, BOTTOM + 37, f"{run['tuned'][count]:,} queries", "small soft", anchor="middle"),
        ]
    return parts


def search(run: dict[str, Any]) -> list[str]:
    """The search with the shortest query: its first documents before and after."""
    shown = min(run["searches"]["searches"][:-1], key=lambda one: len(one["query"]))
    parts = [text(490, 38, f"“{shorten(shown['query'], 46)}”", "title")]
    y = 66
    for label, side in (("before", shown["before"]), ("after", shown["after"])):
        parts.append(text(490, y, label, "small soft"))
        for place, (line, right) in enumerate(zip(side["texts"], side["right"], strict=True), 1):
            y += 22
            parts.append(text(490, y, f"{place}  {shorten(line, 46)}", "body hit" if right else "body"))
        if not any(side["right"]):
            y += 18
            parts.append(text(490, y, "⋮", "body soft"))
            y += 20
            parts.append(text(490, y, f"{side['place']:,}  {shorten(shown['answer'], 42)}", "body hit"))
        y += 40
    parts.append(text(490, BOTTOM + 37, "green: the right term, Human Phenotype Ontology", "small soft"))
    return parts


def bar(x: float, score: float, kind: str) -> str:
    """Give one bar."""
    y = level(score)
    return f'<rect class="{kind}" x="{x}" y="{y}" width="40" height="{round(BOTTOM - y, 1)}" rx="3"/>'


def level(score: float) -> float:
    """Give the height of a score from 0 to 1."""
    return round(BOTTOM - score * (BOTTOM - TOP), 1)


def text(x: float, y: float, words: str, kind: str, anchor: str = "start") -> str:
    """Give one line of text."""
    return f'<text x="{x}" y="{y}" class="{kind}" text-anchor="{anchor}">{escape(words)}</text>'


def shorten(words: str, width: int) -> str:
    """Cut a text to a width."""
    return words if len(words) <= width else words[: width - 1].rstrip() + "…"


if __name__ == "__main__":
    main()
