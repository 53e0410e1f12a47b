"""Bad input, through the commands: one line with what, where and how to mend; 2; nothing half-written."""

from __future__ import annotations

import errno
import json
import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from embedtune.artifact.tuned import Tuned
from embedtune.encoders import load_encoder
from embedtune.encoders.vectors import write_vectors
from embedtune.transforms import Linear

ROWS = [
    {
        "query_id": f"q{n}",
        "query": f"question {n}",
        "document_id": f"d{n % 10}",
        "positive": f"answer {n % 10}",
    }
    for n in range(30)
]
QUERIES = [{"_id": row["query_id"], "text": row["query"]} for row in ROWS]
DOCUMENTS = [{"_id": f"d{n}", "text": f"answer {n}"} for n in range(10)]
JUDGED = [f"{row['query_id']}\t{row['document_id']}\t1" for row in ROWS]
HEAD = "query-id\tcorpus-id\tscore"


@pytest.fixture
def place(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """Give the folder that commands run in, with the pairs ``data.jsonl`` and the base ``vectors:v``."""
    monkeypatch.chdir(tmp_path)
    write_lines("data.jsonl", map(json.dumps, ROWS))
    rng = np.random.default_rng(0)
    write_vectors(Path("v"), "document", [f"d{n}" for n in range(10)], rng.standard_normal((10, 6)))
    write_vectors(Path("v"), "query", [f"q{n}" for n in range(30)], rng.standard_normal((30, 6)))
    return tmp_path


def write_lines(path: str, lines: Any) -> None:
    Path(path).write_text("".join(f"{line}\n" for line in lines), "utf-8")


def beir(*, documents: Any = DOCUMENTS, queries: Any = QUERIES, **qrels: list[str]) -> None:
    """Write a BEIR folder ``set``."""
    (Path("set") / "qrels").mkdir(parents=True)
    write_lines("set/corpus.jsonl", map(json.dumps, documents))
    write_lines("set/queries.jsonl", map(json.dumps, queries))
    for split, lines in (qrels or {"train": JUDGED}).items():
        write_lines(f"set/qrels/{split}.tsv", [HEAD, *lines])


def everything(folder: Path) -> dict[str, bytes]:
    return {str(path.relative_to(folder)): path.read_bytes() for path in folder.rglob("*") if path.is_file()}


def refused(run: Callable[..., Any], *command: object, says: list[str]) -> None:
    """Run a command and make sure of the exit code, the line, and that no file was left or changed."""
    before = everything(Path.cwd())
    result = run(*command)
    assert result.exit_code == 2, (result.stdout, result.stderr, result.exception)
    assert result.stderr.startswith("error: ")
    assert result.stderr.count("\n") == 1
    for part in says:
        assert part in result.stderr
    assert everything(Path.cwd()) == before
    assert not Path("out").exists()


def text(name: str, content: bytes) -> Callable[[], None]:
    def make() -> None:
        Path(name).write_bytes(content)

    return make


def split_without_rows() -> None:
    Path("set").mkdir()
    Path("set/train.csv").write_text("query,positive\na,x\n", "utf-8")
    Path("set/test.csv").write_text("query,positive\n", "utf-8")


DATA: dict[str, tuple[Callable[[], object], str, list[str]]] = {
    "missing file": (lambda: None, "nope.csv", ["nope.csv: there is no such file or folder; check the path"]),
    "missing column": (
        text("d.csv", b"query,page\na,1\n"),
        "d.csv",
        ["d.csv:1: no column for 'positive'; columns seen: query, page;", "--role positive=COLUMN"],
    ),
    "broken JSON": (
        text("d.jsonl", b'{"query": "a", "positive": "x"}\n\n{"query": \n'),
        "d.jsonl",
        ["d.jsonl:3: broken JSON at column 11", "; mend the line"],
    ),
    "encoding": (
        text("d.csv", b"query,positive\na,x\nna\xefve,y\n"),
        "d.csv",
        ["d.csv:3: byte 0xef at offset 21 is not UTF-8; convert the file: iconv -f CP1252 -t UTF-8 d.csv"],
    ),
    "unknown document id": (
        lambda: beir(train=[*JUDGED, "q1\td99\t1"]),
        "set",
        ["set/qrels/train.tsv:32: document id 'd99' does not exist; add it to corpus.jsonl, or remove"],
    ),
    "unknown query id": (
        lambda: beir(train=JUDGED, test=["q99\td1\t1"]),
        "set",
        ["set/qrels/test.tsv:2: query id 'q99' does not exist; add it to queries.jsonl, or remove"],
    ),
    "empty qrels": (
        lambda: beir(train=JUDGED, test=[]),
        "set",
        ["set/qrels/test.tsv: split 'test' has no judgements; add lines to it, or remove the file"],
    ),
    "empty split file": (split_without_rows, "set", ["set/test.csv: split 'test' has no rows; add rows"]),
    "document id twice": (
        lambda: beir(documents=[*DOCUMENTS, {"_id": "d3", "text": "other"}]),
        "set",
        ["set/corpus.jsonl:11: document id 'd3' has another text at set/corpus.jsonl:4; give every text"],
    ),
    "query id twice": (
        lambda: write_lines("d.jsonl", map(json.dumps, [*ROWS, {**ROWS[2], "query": "other"}])),
        "d.jsonl",
        ["d.jsonl:31: query id 'q2' has another text at d.jsonl:3; give every text its own id"],
    ),
    "row without positive": (
        text("d.csv", b"query,positive\na,x\nb,\n"),
        "d.csv",
        ["d.csv:3: the query has no positive: column 'positive' is empty; fill it in, or remove the row"],
    ),
    "queries without positive": (
        lambda: beir(train=[*JUDGED[:2], "q2\td2\t0", "q3\td3\t0"]),
        "set",
        ["set/qrels/train.tsv:4: query 'q2' has no positive; judge a document above 0, or remove"],
    ),
}


@pytest.mark.parametrize("case", DATA)
@pytest.mark.usefixtures("place")
def test_bad_data(run, case):
    make, name, says = DATA[case]
    make()
    for command in (
        ("tune", name, "--base", "vectors:v", "--out", "out"),
        ("encode", name, "--base", "vectors:v", "--out", "out"),
        ("evaluate", name, "--model", "vectors:v"),
        ("search", name, "a", "--model", "vectors:v"),
    ):
        refused(run, *command, says=says)


LABELS: dict[str, tuple[list[Any], list[str]]] = {
    "all of one class": (
        ["same"] * 30,
        ["data.jsonl: all 30 items to learn from have the same label, 'same'; add items with other labels"],
    ),
    "several in one text": (
        ["a", "b", "a;b"] * 10,
        ["data.jsonl:3, column 'label': 'a;b' may be one label or 2: 'a' and 'b' are labels of their own"],
    ),
    "a list that is not JSON": (
        ["a", "b", "['a', 'b']"] * 10,
        ["data.jsonl:3, column 'label': \"['a', 'b']\" looks like a list, and is none in JSON; write"],
    ),
}


@pytest.mark.parametrize("case", LABELS)
@pytest.mark.usefixtures("place")
def test_bad_labels(run, case):
    labels, says = LABELS[case]
    rows = [{"id": f"q{n}", "text": f"question {n}", "label": label} for n, label in enumerate(labels)]
    write_lines("data.jsonl", map(json.dumps, rows))
    write_vectors(Path("v"), "document", [f"q{n}" for n in range(30)], np.eye(30, 6) + 1)
    refused(run, "tune", "data.jsonl", "--base", "vectors:v", "--out", "out", says=says)
    refused(run, "evaluate", "data.jsonl", "--model", "vectors:v", says=says)


def picture_of(name: str, make: Callable[[Path], object]) -> None:
    from PIL import Image

    for label in ("red", "blue"):
        (Path("pictures") / label).mkdir(parents=True)
        for n in range(3):
            Image.new("RGB", (8, 8), label).save(f"pictures/{label}/{n}.png")
    make(Path("pictures/red") / name)


def hundred_megapixels(path: Path) -> None:
    from PIL import Image

    Image.new("1", (20_000, 5_000)).save(path)


PICTURES: dict[str, tuple[str, Callable[[Path], object], str]] = {
    "no image": ("x.png", lambda path: path.write_bytes(b"words"), "this is not an image"),
    "empty": ("x.jpg", lambda path: path.touch(), "the file is empty"),
    "a hundred megapixels": ("x.png", hundred_megapixels, "20000 x 5000 pixels are more than the 80 million"),
}


@pytest.mark.parametrize("case", PICTURES)
@pytest.mark.usefixtures("place")
def test_bad_images(run, case):
    pytest.importorskip("PIL")
    name, make, says = PICTURES[case]
    picture_of(name, make)
    refused(run, "tune", "pictures", "--base", "vectors:v", "--out", "out", says=[f"red/{name}: {says}"])


def histories(*times: object, users: str = "uuvv") -> Callable[[], None]:
    lines = [f"{user},i{n},{time}" for n, (user, time) in enumerate(zip(users, times, strict=True))]
    return lambda: write_lines("d.csv", ["user,item,timestamp", *lines])


def scores(*cells: object) -> Callable[[], None]:
    rows = [{"sentence1": f"d{n}", "sentence2": f"d{n + 1}", "score": cell} for n, cell in enumerate(cells)]
    return lambda: write_lines("d.jsonl", map(json.dumps, rows))


OTHER_TASKS: dict[str, tuple[Callable[[], object], str, list[str]]] = {
    "two forms of time": (
        histories(1577836800, "2020-01-01", 3, 4),
        "d.csv",
        ["d.csv:3, column 'timestamp': '2020-01-01' is ISO 8601", "d.csv:2 is seconds since 1970; write all"],
    ),
    "no time": (
        histories(1, 2, "soon", 4),
        "d.csv",
        ["d.csv:4, column 'timestamp': 'soon' is no timestamp; write seconds or milliseconds since 1970"],
    ),
    "a user an interaction": (
        histories(1, 2, 3, 4, users="uvwx"),
        "d.csv",
        ["d.csv: every user has one interaction, so no history says what comes next; give each user's"],
    ),
    "a score that is no number": (
        scores(1, 2, "high", 3),
        "d.jsonl",
        ["d.jsonl:3, column 'score': 'high' is not a number; write the"],
    ),
}


@pytest.mark.parametrize("case", OTHER_TASKS)
@pytest.mark.usefixtures("place")
def test_bad_data_of_other_tasks(run, case):
    make, name, says = OTHER_TASKS[case]
    make()
    refused(run, "tune", name, "--base", "vectors:v", "--out", "out", says=says)
    if case != "a user an interaction":  # it asks for a split of later interactions first
        refused(run, "evaluate", name, "--model", "vectors:v", says=says)


ARRAYS: dict[str, tuple[str, Callable[[np.ndarray], np.ndarray], list[str]]] = {
    "NaN": (
        "documents",
        lambda a: np.where(np.arange(10)[:, None] == 4, np.nan, a),
        ["v/documents.npy: 1 of 10 vectors hold NaN or infinity; the first is row 4, id 'd4'; encode these"],
    ),
    "infinite": (
        "queries",
        lambda a: np.where(np.arange(30)[:, None] >= 28, np.inf, a),
        ["v/queries.npy: 2 of 30 vectors hold NaN or infinity; the first is row 28, id 'q28'; encode these"],
    ),
    "zero": (
        "documents",
        lambda a: np.where(np.arange(10)[:, None] == 4, 0, a),
        ["v/documents.npy: 1 of 10 vectors are zero; the first is row 4, id 'd4'; encode these items again"],
    ),
    "dimensions": (
        "queries",
        lambda a: a[:, :4],
        ["v: dimensions differ: queries have 4, documents have 6; encode both with the same model"],
    ),
    "rows": (
        "documents",
        lambda a: a[:-1],
        ["v/documents.npy: 9 vectors, but 10 ids; give one id for each row"],
    ),
    "no table": (
        "documents",
        lambda a: a[:, 0],
        ["v/documents.npy: an array of shape (10,)", "; save a float"],
    ),
}


@pytest.mark.parametrize("case", ARRAYS)
@pytest.mark.usefixtures("place")
def test_bad_vectors(run, case):
    side, spoil, says = ARRAYS[case]
    path = Path("v") / f"{side}.npy"
    np.save(path, spoil(np.load(path)).astype(np.float32))
    refused(run, "tune", "data.jsonl", "--base", "vectors:v", "--out", "out", says=says)
    refused(run, "encode", "data.jsonl", "--base", "vectors:v", "--out", "out", says=says)
    refused(run, "evaluate", "data.jsonl", "--model", "vectors:v", says=says)


@pytest.mark.usefixtures("place")
def test_models_of_different_dimensions_can_be_compared_and_a_map_on_another_base_cannot(run):
    shutil.copytree("v", "narrow")
    for path in Path("narrow").glob("*.npy"):
        np.save(path, np.load(path)[:, :4])
    compared = run("evaluate", "data.jsonl", "--model", "vectors:v", "--against", "vectors:narrow")
    assert compared.exit_code == 0, compared.stderr
    Tuned(load_encoder("vectors:v"), Linear(query=np.eye(6, dtype=np.float32))).save("tuned")
    shutil.rmtree("v")
    shutil.move("narrow", "v")
    refused(
        run,
        *("search", "data.jsonl", "q1", "--model", "tuned"),
        says=[
            "tuned: base model 'vectors:v' is not the one",
            "4 dimensions, the map takes 6",
            "; use the base",
        ],
    )


@pytest.mark.usefixtures("place")
def test_an_unknown_model(run):
    says = ["there is no model 'no-such-model'", "; check the name or give the path of a model's folder"]
    refused(run, "tune", "data.jsonl", "--base", "no-such-model", "--out", "out", says=says)
    refused(run, "evaluate", "data.jsonl", "--model", "no-such-model", says=says)
    folder = ["nowhere: there is no such folder of vectors; check the path"]
    refused(run, "tune", "data.jsonl", "--base", "vectors:nowhere", "--out", "out", says=folder)


@pytest.mark.usefixtures("place")
def test_a_hub_that_cannot_be_reached(run, monkeypatch):
    hub = pytest.importorskip("huggingface_hub")

    def unreachable(*_: object, **__: object) -> None:
        raise ConnectionError("Name or service not known")

    monkeypatch.setenv("HF_HUB_OFFLINE", "0")
    monkeypatch.setattr(hub.constants, "HF_HUB_OFFLINE", False)
    monkeypatch.setattr(hub.HfApi, "model_info", unreachable)
    says = [
        "'someone/model'",
        "the hub cannot be reached: Name or service not known;",
        "try again with a conn",
    ]
    refused(run, "tune", "data.jsonl", "--base", "someone/model", "--out", "out", says=says)


@pytest.mark.usefixtures("place")
def test_a_disk_that_fills_up(run, monkeypatch):
    from embedtune import files
    from embedtune.artifact import files as artifact_files

    def full(*_: object, **__: object) -> None:
        raise OSError(errno.ENOSPC, "No space left on device")

    for owner, name in ((artifact_files, "write_stock"), (artifact_files.manifests, "write_json")):
        with monkeypatch.context() as patch:
            patch.setattr(owner, name, full)
            command = ("tune", "data.jsonl", "--base", "vectors:v", "--out", "out")
            refused(run, *command, says=["no room left on the disk for out: free some, or choose another"])
    monkeypatch.setattr(files.Path, "replace", full)
    command = ("encode", "data.jsonl", "--base", "vectors:v", "--out", "out")
    refused(run, *command, says=["no room left on the disk for out: free some, or choose another folder"])
    command = ("check", "data.jsonl", "--json", "r.json")
    refused(run, *command, says=["no room left on the disk for r.json: free some"])


@pytest.mark.usefixtures("place")
def test_an_output_that_exists(run):
    Path("there").mkdir()
    Path("there/thesis.tex").write_text("mine", "utf-8")
    tune = ("tune", "data.jsonl", "--base", "vectors:v", "--out", "there")
    refused(run, *tune, says=["there: the output exists already; choose another folder", "--overwrite"])
    refused(run, *tune, "--overwrite", says=["there: this is not an embedtune artifact, so it is not over"])
    encode = ("encode", "data.jsonl", "--base", "vectors:v", "--out", "there")
    refused(run, *encode, says=["there: the output exists already; choose another folder\n"])
    json_in_a_folder = ("check", "data.jsonl", "--json", "there")
    refused(run, *json_in_a_folder, says=["there: this is a folder; give --json a file"])
    refused(
        run, "check", "data.jsonl", "--json", "nowhere/r.json", says=["nowhere/r.json: its folder cannot"]
    )


def wrong_checksum(manifest: dict[str, Any]) -> None:
    manifest["files"]["probes.safetensors"] = "0" * 64


@pytest.mark.parametrize(
    ("change", "says"),
    [
        (
            wrong_checksum,
            ["tuned/probes.safetensors: the file is damaged: its checksum is wrong; save or copy"],
        ),
        (
            lambda m: m["files"].pop("probes.safetensors"),
            ["tuned/manifest.json: the manifest has no checksum"],
        ),
        (lambda m: m.pop("transforms"), ["tuned/manifest.json: the manifest lacks transforms; save or copy"]),
        (lambda m: m.update(format_version=99), ["format version 99, this embedtune reads up to 1; upgrade"]),
        (None, ["tuned/manifest.json: the manifest is not JSON", "; save or copy the artifact again"]),
    ],
    ids=["checksum", "unlisted", "incomplete", "newer", "no JSON"],
)
@pytest.mark.usefixtures("place")
def test_a_damaged_artifact(run, change, says):
    Tuned(load_encoder("vectors:v"), Linear(query=np.eye(6, dtype=np.float32))).save("tuned")
    path = Path("tuned/manifest.json")
    if change is None:
        path.write_text("{", "utf-8")
    else:
        manifest = json.loads(path.read_text("utf-8"))
        change(manifest)
        path.write_text(json.dumps(manifest), "utf-8")
    refused(run, "search", "data.jsonl", "q1", "--model", "tuned", says=says)
    refused(run, "evaluate", "data.jsonl", "--model", "tuned", says=says)
    refused(run, "evaluate", "data.jsonl", "--model", "vectors:v", "--against", "tuned", says=says)
    refused(run, "encode", "data.jsonl", "--base", "tuned", "--out", "out", says=says)


@pytest.mark.usefixtures("place")
def test_a_budget_too_small_to_do_anything_keeps_the_base_and_says_so(run):
    command = (
        "tune",
        "data.jsonl",
        "--base",
        "vectors:v",
        "--out",
        "out",
        "--budget",
        "0.001",
        "--json",
        "r",
    )
    result = run(*command)
    assert result.exit_code == 0, result.stderr
    assert "nothing was tried within the budget of 0.001 s, so the base is kept" in result.stdout
    assert "saved the base as it is" in result.stdout
    assert "too few labels" not in result.stdout
    written = json.loads(Path("r").read_text("utf-8"))
    assert (written["stopped"], written["labels_needed"]) == (True, None)  # nothing is known of the labels
    assert written["reasons"] == ["nothing was tried within the budget of 0.001 s, so the base is kept"]
    assert [one["method"] for one in written["candidates"]] == ["identity"]
    assert json.loads(Path("out/manifest.json").read_text("utf-8"))["transforms"] == []
