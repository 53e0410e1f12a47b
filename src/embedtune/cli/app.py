"""The ``embedtune`` command: its subcommands, each with an example for its help."""

from __future__ import annotations

import os
from collections.abc import Callable
from typing import Annotated

import typer

from embedtune.cli.apply import apply
from embedtune.cli.check import check
from embedtune.cli.demo import demo
from embedtune.cli.doctor import doctor
from embedtune.cli.encode import encode
from embedtune.cli.errors import guarded
from embedtune.cli.evaluate import evaluate
from embedtune.cli.export import export
from embedtune.cli.migrate import migrate
from embedtune.cli.search import search
from embedtune.cli.suggest import suggest
from embedtune.cli.tune import tune

COMMANDS: tuple[tuple[Callable[..., None], str], ...] = (
    (demo, "embedtune demo"),
    (check, "embedtune check pairs.csv --base all-MiniLM-L6-v2"),
    (tune, "embedtune tune pairs.csv --base all-MiniLM-L6-v2 --out tuned"),
    (evaluate, "embedtune evaluate pairs.csv --model tuned --against all-MiniLM-L6-v2"),
    (encode, "embedtune encode pairs.csv --base tuned --out vectors"),
    (search, 'embedtune search pairs.csv --model tuned "heart racing at night" -k 5'),
    (suggest, "embedtune suggest pairs.csv --model tuned -n 20 --out to_label.csv"),
    (migrate, "embedtune migrate pairs.csv --old vectors:stored --new MODEL --out bridge"),
    (export, "embedtune export tuned --format onnx --out exported"),
    (apply, "embedtune apply tuned --store 'postgresql://localhost/shop?table=docs&column=embedding'"),
    (doctor, "embedtune doctor"),
)
"""Each command and the example that its help shows."""

app = typer.Typer(
    name="embedtune",
    add_completion=False,
    no_args_is_help=True,
    rich_markup_mode=None,
    pretty_exceptions_enable=False,
    epilog="Example: embedtune demo",
    context_settings={"max_content_width": 100},
)


def _show_version(asked: bool) -> None:
    if asked:
        from importlib.metadata import version

        typer.echo(f"embedtune {version('embedtune')}")
        raise typer.Exit


@app.callback()
def _embedtune(
    version: Annotated[
        bool,
        typer.Option("--version", callback=_show_version, is_eager=True, help="Show the version and exit."),
    ] = False,
) -> None:
    """Tune pre-trained embeddings to your task, and be told honestly whether it helped.

    Exit codes: 0 done, 1 failed, 2 a mistake in what was given or a full disk, 3 a check failed,
    130 interrupted.
    """


for _command, _example in COMMANDS:
    app.command(epilog=f"Example: {_example}")(guarded(_command))


def main() -> None:
    """Run the command line."""
    os.environ.setdefault("TOKENIZERS_PARALLELISM", "false")  # else a warning when a process forks
    os.environ.setdefault("TRANSFORMERS_VERBOSITY", "error")  # else it reports on the weights it loads
    app()
