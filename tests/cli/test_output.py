"""Output, progress and the options that are parsed by hand."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import pytest

from embedtune.cli.options import parse_roles
from embedtune.cli.output import Output, plain, shorten
from embedtune.cli.progress import StageProgress
from embedtune.errors import UserError


def test_json_to_a_file_leaves_the_text_on_stdout(tmp_path, capsys):
    output = Output(str(tmp_path / "r.json"))
    output.say("hello [bold]you[/bold]")
    output.write({"a": 1})
    assert capsys.readouterr() == ("hello [bold]you[/bold]\n", "")
    assert json.loads((tmp_path / "r.json").read_text()) == {"a": 1}
    assert [path.name for path in tmp_path.iterdir()] == ["r.json"]


def test_json_to_stdout_sends_the_text_to_stderr(capsys):
    output = Output("-")
    output.say("hello")
    output.write({"a": 1})
    out, err = capsys.readouterr()
    assert json.loads(out) == {"a": 1}
    assert err == "hello\n"


@pytest.mark.parametrize("name", ["missing/r.json", "."])
def test_json_that_cannot_be_written_is_refused_before_any_work(tmp_path, name):
    with pytest.raises(UserError, match="--json"):
        Output(str(tmp_path / name))


def test_plain_unpacks_numpy_paths_and_nan():
    given = {1: np.float32(0.5), "n": np.int64(3), "a": np.array([1, 2]), "x": float("nan"), "p": Path("d")}
    assert plain(given) == {"1": 0.5, "n": 3, "a": [1, 2], "x": None, "p": "d"}


def test_shorten_counts_the_ellipsis():
    assert shorten("a b\n c", 5) == "a b c"
    assert shorten("abcdef", 5) == "abcd…"


def test_roles_are_parsed():
    assert parse_roles(["query=asked", "score="]) == {"query": "asked", "score": None}
    assert parse_roles(None) == {}


@pytest.mark.parametrize("given", [["query"], ["=x"], ["query=a", "query=b"]])
def test_roles_that_make_no_sense_are_refused(given):
    with pytest.raises(UserError, match="--role"):
        parse_roles(given)


def test_without_a_terminal_progress_is_a_line_every_ten_seconds(monkeypatch, capsys):
    # the clock at construction, then at each call: 0 | 4, 11, 15, 22, 40
    clock = iter([0.0, 4.0, 11.0, 15.0, 22.0, 40.0])
    monkeypatch.setattr("embedtune.cli.progress.time.monotonic", lambda: next(clock))
    with StageProgress() as progress:
        progress("encode", 0, 1000)  # 4 s: too early
        progress("encode", 500, 1000)  # 11 s: a line; 7 s for 500, so 7 s left
        progress("encode", 600, 1000)  # 15 s: 4 s after the last line
        progress("encode", 900, 1000)  # 22 s: a line; 18 s for 900, so 2 s left
        progress("encode", 1000, 1000)  # over
    assert capsys.readouterr().err == (
        "encode: 500 of 1,000, about 7 s left\nencode: 900 of 1,000, about 2 s left\n"
    )


def test_what_was_in_the_cache_took_no_time(monkeypatch, capsys):
    clock = iter([0.0, 0.0, 20.0])
    monkeypatch.setattr("embedtune.cli.progress.time.monotonic", lambda: next(clock))
    with StageProgress() as progress:
        progress("encode", 900, 1000)  # those are in the cache
        progress("encode", 950, 1000)  # 20 s for 50, so 20 s for the other 50
    assert capsys.readouterr().err == "encode: 950 of 1,000, about 20 s left\n"


def test_on_a_terminal_progress_is_a_bar(monkeypatch, capsys):
    monkeypatch.setattr("sys.stderr.isatty", lambda: True)
    monkeypatch.setenv("TERM", "xterm")
    with StageProgress() as progress:
        progress("from the cache", 10, 10)
        progress.stage("encode")(0, 10)
        progress.stage("encode")(10, 10)
    shown = capsys.readouterr()
    assert "10/10" in shown.err
    assert "from the cache" not in shown.err
    assert shown.out == ""
