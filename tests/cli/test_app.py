"""The command line as a whole: help, version, exit codes, and what starting it costs."""

from __future__ import annotations

import errno
import importlib.metadata
import os
import subprocess
import sys
from pathlib import Path

import pytest
import typer
from typer.testing import CliRunner

from embedtune.cli.app import COMMANDS
from embedtune.cli.errors import guarded
from embedtune.errors import DiskFull, MissingExtra, UserError


def test_version_is_the_one_of_the_package(run):
    result = run("--version")
    assert result.exit_code == 0
    assert result.stdout == f"embedtune {importlib.metadata.version('embedtune')}\n"


@pytest.mark.parametrize(
    ("command", "example"), COMMANDS, ids=[example.split()[1] for _, example in COMMANDS]
)
def test_every_command_has_help_with_an_example_and_takes_json(run, command, example):
    result = run(command.__name__, "--help")
    assert result.exit_code == 0
    assert f"Example: {example}" in " ".join(result.stdout.split())
    assert "--json FILE" in result.stdout


def test_help_lists_every_command(run):
    shown = run("--help").stdout
    for command in ("demo", "check", "tune", "evaluate", "encode", "search", "doctor"):
        assert f"\n  {command} " in shown


def test_help_imports_nothing_heavy():
    code = (
        "import sys; from typer.testing import CliRunner; from embedtune.cli import app; "
        "done = CliRunner().invoke(app, ['--help']); "
        "heavy = {'torch', 'transformers', 'scipy', 'pyarrow', 'sklearn', 'numpy'} & set(sys.modules); "
        "print(done.exit_code, sorted(heavy))"
    )
    shown = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True).stdout
    assert shown == "0 []\n"


def test_an_unknown_option_is_the_users_mistake(run):
    assert run("doctor", "--no-such-option").exit_code == 2


def raising(error: BaseException):
    """Run a command that does nothing but raise ``error``."""
    app = typer.Typer(pretty_exceptions_enable=False)

    def boom() -> None:
        raise error

    app.command()(guarded(boom))
    return CliRunner().invoke(app, [])


@pytest.mark.parametrize(
    ("error", "code", "line"),
    [
        (UserError("no", where="a.csv:3", fix="mend it"), 2, "error: a.csv:3: no; mend it\n"),
        (UserError("two\nlines"), 2, "error: two lines\n"),
        (MissingExtra("x", "torch", "local"), 2, "error: x needs torch: pip install 'embedtune[local]'\n"),
        (DiskFull("no room"), 2, "error: no room\n"),
        (OSError(errno.ENOSPC, "x"), 2, "error: no room left on the disk: free some\n"),
        (OSError(errno.EDQUOT, "x", "a.csv"), 2, "error: no room left on the disk for a.csv: free some\n"),
        (KeyboardInterrupt(), 130, "interrupted: boom was stopped; vectors encoded so far are kept\n"),
    ],
    ids=["user", "one line", "missing extra", "disk full", "full", "quota", "interrupted"],
)
def test_exceptions_become_one_line_and_an_exit_code(error, code, line):
    result = raising(error)
    assert (result.exit_code, result.stderr, result.stdout) == (code, line, "")


def test_debug_shows_the_traceback_too(monkeypatch):
    monkeypatch.setenv("EMBEDTUNE_DEBUG", "1")
    result = raising(UserError("no"))
    assert result.exit_code == 2
    assert "Traceback" in result.stderr
    assert result.stderr.endswith("error: no\n")


@pytest.mark.parametrize("error", [ZeroDivisionError("ours"), OSError(errno.EIO, "broken")])
def test_a_defect_is_passed_on(error):
    result = raising(error)
    assert result.exit_code == 1
    assert result.exception is error


@pytest.mark.skipif(not Path("/dev/full").exists(), reason="needs a device that is always full")
@pytest.mark.parametrize("flags", [[], ["--json", "-"]], ids=["text", "JSON"])
def test_a_full_standard_output_is_one_line_and_2(pairs, flags):
    command = [sys.executable, "-m", "embedtune", "check", str(pairs), *flags]
    with Path("/dev/full").open("w") as full:
        done = subprocess.run(command, stdout=full, stderr=subprocess.PIPE, text=True, check=False)
    assert done.returncode == 2
    assert done.stderr.splitlines()[-1] == "error: no room left on the disk: free some"
    assert "Traceback" not in done.stderr
    assert "Exception" not in done.stderr


STOP = "import os, signal; os.kill(os.getpid(), signal.SIGINT)"


def test_ctrl_c_while_it_starts_is_130():
    code = f"""
import builtins
from embedtune.__main__ import main
load = builtins.__import__
def stopped(name, *rest):
    if name == "typer":
        {STOP}
    return load(name, *rest)
builtins.__import__ = stopped
main()
"""
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=False)
    assert (done.returncode, done.stdout, done.stderr) == (130, "", "interrupted: nothing was begun\n")


def test_ctrl_c_in_code_given_as_text_is_130_too(tmp_path):
    code = f"""
import embedtune.cli.doctor, sys
from embedtune.__main__ import main
embedtune.cli.doctor.Output = lambda *_: exec({STOP!r})
sys.argv = ["embedtune", "doctor"]
main()
"""
    (tmp_path / "stopped.py").write_text(code, "utf-8")
    path = os.pathsep.join([str(tmp_path), *filter(None, sys.path)])
    done = subprocess.run(
        [sys.executable, "-m", "stopped"],  # what python -m makes of it is what goes wrong otherwise
        capture_output=True,
        text=True,
        check=False,
        env={**os.environ, "PYTHONPATH": path},
    )
    assert done.returncode == 130
    assert done.stderr == "interrupted: doctor was stopped; vectors encoded so far are kept\n"
