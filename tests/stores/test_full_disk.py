"""A disk that is really full, which takes root to mount a small one, or one that says so: one line."""

from __future__ import annotations

import shutil
import subprocess

import pytest
from typer.testing import CliRunner

from embedtune import stores
from embedtune.cli import app
from embedtune.errors import DiskFull

SIZE = 4_000_000


@pytest.fixture
def small_disk(tmp_path):
    """Mount a small file system where the database of the fixture ``lance`` will lie."""
    folder = tmp_path / "lance"
    folder.mkdir()
    mount = ["mount", "-t", "tmpfs", "-o", f"size={SIZE}", "tmpfs", str(folder)]
    if shutil.which("mount") is None or subprocess.run(mount, capture_output=True).returncode:
        pytest.skip("no small disk can be mounted here")
    yield folder
    subprocess.run(["umount", "-l", str(folder)], check=True)


def fill(folder, left):
    """Take all room but so many bytes; give the file that takes it."""
    path = folder / "filler"
    with path.open("wb") as file:
        file.write(bytes(max(0, shutil.disk_usage(folder).free - left)))
    return path


def to_the_bit(rows):
    return {name: row.tobytes() for name, row in rows.items()}


@pytest.fixture
def full(small_disk, request):
    """Give a database on the small disk, and that disk."""
    return request.getfixturevalue("lance"), small_disk


def test_lance_without_room_for_the_new_version_is_one_line_and_as_it_was(full, artifact):
    case, folder = full
    old, filler = case.read(), fill(folder, 48_000)
    command = ["apply", str(artifact), "--store", case.url, "--no-probe"]
    shown = CliRunner().invoke(app, command)
    assert shown.exit_code == 2, shown.output
    assert shown.stderr == f"error: no room left on the disk for {case.url}: free some\n"
    assert to_the_bit(case.read()) == to_the_bit(old)
    store = stores.open_store(case.url)
    assert store.layout() == stores.Layout()  # the new version is taken away
    filler.unlink()
    assert CliRunner().invoke(app, command).exit_code == 0
    assert len(case.read()) == 600


def test_lance_on_a_disk_that_is_full_to_the_last_byte_goes_on_once_there_is_room(full, tuned, mapped):
    case, folder = full
    old, fillers = case.read(), []

    def meddle(stage, done, total):
        if done >= 120 and not fillers:
            fillers.append(fill(folder, 0))

    with pytest.raises(DiskFull, match=r"free some, then go on with --resume"):
        stores.apply(tuned, case.url, probe=False, batch=60, progress=meddle)
    assert to_the_bit(case.read()) == to_the_bit(old)  # nor was there room to take the new version away
    fillers[0].unlink()
    stores.apply(tuned, case.url, probe=False, batch=60, resume=True)
    assert to_the_bit(case.read()) == to_the_bit(mapped(old))


@pytest.mark.parametrize("kind", [OSError, RuntimeError])
def test_what_lance_says_of_a_full_disk_takes_the_new_version_away(lance, tuned, monkeypatch, kind):
    from lancedb.table import LanceTable

    own, calls, old = LanceTable.merge_insert, [], lance.read()

    def full(self, on):
        calls.append(on)
        if len(calls) == 3:
            raise kind("lance error: LanceError(IO): No space left on device (os error 28), file.rs:1")
        return own(self, on)

    monkeypatch.setattr(LanceTable, "merge_insert", full)
    with pytest.raises(DiskFull) as caught:
        stores.apply(tuned, lance.url, batch=60)
    assert str(caught.value) == f"no room left on the disk for {lance.url}: free some"
    assert to_the_bit(lance.read()) == to_the_bit(old)
    assert stores.open_store(lance.url).layout() == stores.Layout()
    assert stores.apply(tuned, lance.url, batch=60).written == 600
