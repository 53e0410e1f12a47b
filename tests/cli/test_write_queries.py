"""``embedtune tune --write-queries`` against a server that the test starts: what it shows and survives."""

from __future__ import annotations

import json
import os
import pty
import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from chat_endpoint import KEY, Endpoint, answer

import embedtune

pytest.importorskip("httpx")

PARTS = ("heart", "lung", "liver", "kidney", "skin", "eye", "ear", "nose", "head", "stomach", "bone", "blood")
KINDS = ("pain", "failure", "rash", "fever")
PRICES = ("--price-in", "1000", "--price-out", "1000")


@pytest.fixture
def endpoint(monkeypatch: pytest.MonkeyPatch) -> Iterator[Endpoint]:
    monkeypatch.setenv("OPENAI_API_KEY", KEY)
    served = Endpoint()
    served.reply = lambda body: answer(f"about {body['messages'][0]['content'].split(chr(10))[-1]}")
    yield served
    served.server.shutdown()
    served.server.server_close()


@pytest.fixture
def pages(tmp_path: Path) -> Path:
    """Give a file of 48 texts without labels."""
    path = tmp_path / "pages.jsonl"
    texts = [f"the {part} and its {kind}" for part in PARTS for kind in KINDS]
    path.write_text("".join(json.dumps({"text": text}) + "\n" for text in texts), "utf-8")
    return path


@pytest.fixture
def command(pages: Path, endpoint: Endpoint, tiny_model: Path, tmp_path: Path) -> list[Any]:
    out = ("--base", tiny_model, "--out", tmp_path / "tuned")
    return ["tune", pages, *out, "--unlabelled", "--write-queries", "small", "--api-base", endpoint.address]


def test_written_labels_train_are_marked_and_judge_nothing(run, command, endpoint, tmp_path):
    result = run(*command, "--yes", "--json", tmp_path / "r.json", *PRICES, "--per-document", 1)
    assert result.exit_code == 0, result.stderr
    shown = " ".join(result.stdout.split())
    assert f"queries that small writes at {endpoint.address}: 1 a text" in shown
    assert "48 texts to be sent" in shown
    assert "Write 1 short queries" in shown
    assert "the heart and its pain" in shown  # the prompt, with its text
    assert "at most, at 1000 and 1000 a million" in shown
    assert "made by: small (48 queries written)" in shown
    assert len(endpoint.asked) == 48
    assert endpoint.keys == {f"Bearer {KEY}"}
    written = json.loads((tmp_path / "r.json").read_text())
    assert written["verdict"] == "do not tune: too few labels to tell"
    assert written["made"] == {"labels": 48, "of": 48, "by": "small (48 queries written)"}
    assert written["reasons"] == [
        "all labels were made from the collection, by small (48 queries written): "
        "label some real queries to judge"
    ]
    saved = embedtune.load(tmp_path / "tuned")
    assert saved.transform.kind == "identity"
    assert saved.manifest["data"]["made"] == written["made"]
    card = (tmp_path / "tuned/README.md").read_text()
    assert "labels: 48 of 48 were made, by small (48 queries written)" in card
    everything = (
        result.stdout
        + result.stderr
        + "".join(path.read_text("utf-8", "ignore") for path in (tmp_path / "tuned").glob("*.*"))
    )
    assert KEY not in everything
    assert "sk-" not in everything


def test_real_queries_judge_where_there_are_any(run, command, tmp_path):
    real = tmp_path / "real.jsonl"
    rows = [
        {"query": f"my {part} has {kind}", "positive": f"the {part} and its {kind}"}
        for part in PARTS
        for kind in KINDS
    ]
    real.write_text("".join(json.dumps(row) + "\n" for row in rows), "utf-8")
    result = run(*command, "--yes", "--json", tmp_path / "r.json", "--test", real)
    assert result.exit_code == 0, result.stderr
    written = json.loads((tmp_path / "r.json").read_text())
    assert written["judged_on"] == "test"
    assert written["base"]["n"] == 48
    assert written["labels"] == 48
    assert written["reasons"][-1] == (
        "48 labels were made, by small (48 queries written); they train, and real ones judge"
    )


def test_nothing_is_sent_where_nobody_can_be_asked(run, command, endpoint, tmp_path):
    result = run(*command)
    assert result.exit_code == 2
    assert result.stderr == (
        "error: 48 texts would be sent, and nobody is here to be asked; nothing was sent; "
        "say --yes to send them\n"
    )
    assert "what they cost is not known" in result.stdout
    assert endpoint.asked == []
    assert not (tmp_path / "tuned").exists()


@pytest.mark.parametrize("said", ["n", "y"])
def test_on_a_terminal_it_asks(command, endpoint, tmp_path, said):
    control, terminal = pty.openpty()
    with subprocess.Popen(
        [sys.executable, "-m", "embedtune", *map(str, command)],
        stdin=terminal, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True, env={**os.environ},
    ) as process:  # fmt: skip
        os.write(control, f"{said}\n".encode())
        _, err = process.communicate(timeout=300)
    os.close(control)
    os.close(terminal)
    assert "send them? [y/N]" in err
    assert process.returncode == (0 if said == "y" else 2), err
    assert len(endpoint.asked) == (48 if said == "y" else 0)
    assert ("nothing was sent, as you said" in err) == (said == "n")
    assert (tmp_path / "tuned").exists() == (said == "y")


def test_a_kill_loses_nothing_that_was_answered(start, command, endpoint):
    def slow(body):
        time.sleep(0.05)
        return answer("a query")

    endpoint.reply = slow
    process = start(*command, "--yes")
    while len(endpoint.asked) < 12:
        assert process.poll() is None, process.stderr.read()
        time.sleep(0.01)
    process.kill()
    process.communicate()
    time.sleep(0.2)  # what was on its way has come
    before = len(endpoint.asked)
    endpoint.reply = lambda body: answer("a query")
    process = start(*command, "--yes")
    out, err = process.communicate(timeout=300)
    assert process.returncode == 0, err
    assert "more are known from earlier runs" in out
    again = len(endpoint.asked) - before
    assert 48 - 12 <= again + 4 < 48  # all but those that were answered; up to four were in flight


@pytest.mark.parametrize(
    ("reply", "flags", "said"),
    [
        ((200, b"<html>busy</html>"), (), "the last: the answer is no JSON object; check the endpoint"),
        (answer("{}\n```"), (), "the last: the message holds no query; check the endpoint and the model"),
        ((500, b"oh"), ("--retry",), "the last: the endpoint answers 500: oh; check the endpoint"),
        ((401, f"no {KEY}".encode()), (), "answers 401: no ***; set OPENAI_API_KEY to a valid key"),
        (
            (429, b"slow down", {"Retry-After": "3600"}),
            (),
            "answers 429: slow down, and asks to wait 3,600 s; run this again later",
        ),
        (None, ("--api-timeout", "0.1"), "the last: no answer within 0.1 s; check the endpoint"),
    ],
    ids=["html", "markup", "500", "401", "429", "timeout"],
)
def test_an_endpoint_that_fails_is_one_line_and_2(
    run, command, endpoint, tmp_path, monkeypatch, reply, flags, said
):
    from embedtune.data import written

    monkeypatch.setattr(written, "ATTEMPTS", 1)  # no waiting between tries: they are tested elsewhere

    def answered(body):
        if reply is None:
            time.sleep(0.4)
        return reply or answer("too late")

    endpoint.reply = answered
    result = run(*command, "--yes", *(flag for flag in flags if flag != "--retry"))
    assert result.exit_code == 2
    assert result.stderr.count("\n") == 1, result.stderr
    assert said in result.stderr
    assert KEY not in result.stderr + result.stdout
    assert not (tmp_path / "tuned").exists()


def test_a_wait_that_the_endpoint_names_is_kept_by_all(run, command, endpoint):
    times: list[float] = []

    def busy(body):
        times.append(time.monotonic())
        if len(times) == 1:
            return 429, b"slow down", {"Retry-After": "2"}
        time.sleep(max(times[0] + 1 - time.monotonic(), 0))  # those on their way come back at half time
        return answer("a query")

    endpoint.reply = busy
    assert run(*command, "--yes").exit_code == 0
    assert len(times) == 49  # one was asked twice
    assert sum(one < times[0] + 2 for one in times) <= 4  # what four threads had on their way, and no more


def test_more_than_max_cost_is_refused_before_or_stops_the_work(run, command, endpoint):
    refused = run(*command, "--yes", *PRICES, "--max-cost", "0.5")
    assert refused.exit_code == 2
    assert "above --max-cost 0.5; nothing was sent" in refused.stderr
    assert endpoint.asked == []
    endpoint.reply = lambda body: answer("a query", usage={"prompt_tokens": 390, "completion_tokens": 60})
    stopped = run(*command, "--yes", *PRICES, "--max-cost", "10", "--per-document", 1)
    assert stopped.exit_code == 2
    assert stopped.stderr.count("\n") == 1
    paid = len(endpoint.asked)
    assert 15 <= paid <= 10 / 0.45
    said = f"reached with queries for {paid} of 48 texts, for {0.45 * paid:.4g}; they are kept"
    assert said in stopped.stderr
    assert run(*command, "--yes", *PRICES, "--per-document", 1).exit_code == 0
    assert len(endpoint.asked) == 48  # what was paid for is not asked again


def test_texts_without_a_usable_answer_are_left_out_and_named(run, command, endpoint):
    endpoint.reply = lambda body: answer(
        "" if "heart and its pain" in body["messages"][0]["content"] else "a query"
    )
    result = run(*command, "--yes")
    assert result.exit_code == 0
    assert "left out: 1 texts without a usable answer, the first" in result.stdout
    assert "pages.jsonl:1: the message is empty" in " ".join(result.stdout.split())


@pytest.mark.parametrize(
    ("flags", "said"),
    [
        (["--write-queries", "m"], "--write-queries is for texts without labels; add --unlabelled"),
        (["--unlabelled", "--write-queries", "m"], "--write-queries needs the address of its model"),
        (
            ["--unlabelled", "--write-queries", "m", "--api-base", "http://x/v1", "--max-cost", "1"],
            "--max-cost needs prices; give --price-in and --price-out",
        ),
        (
            ["--unlabelled", "--write-queries", "m", "--api-base", "http://x/v1", "--api-key-env", "sk-a"],
            "--api-key-env takes the name of a variable, not a key",
        ),
        (
            ["--unlabelled", "--write-queries", "m", "--api-base", "http://x/v1", "--api-key-env", "NO_SUCH"],
            "the variable NO_SUCH is not set",
        ),
        (
            ["--unlabelled", "--write-queries", "m", "--api-base", "http://sk-a@x/v1"],
            "the endpoint's address holds a password or key",
        ),
    ],
)
def test_what_cannot_work_is_refused_and_no_key_is_shown(run, pages, tiny_model, tmp_path, flags, said):
    result = run("tune", pages, "--base", tiny_model, "--out", tmp_path / "tuned", *flags)
    assert result.exit_code == 2
    assert said in result.stderr
    assert result.stderr.count("\n") == 1
    assert "sk-a" not in result.stderr


def test_in_python_a_writer_does_the_same(pages, endpoint, tiny_model):
    from embedtune.data.written import QueryWriter

    writer = QueryWriter(endpoint.address, "small")
    tuned = embedtune.fine_tune(base_model=tiny_model, data=pages, unlabelled=True, writer=writer)
    assert tuned.data["made"]["by"] == "small (48 queries written)"
    assert tuned.verdict.made == tuned.data["made"]
    with pytest.raises(embedtune.errors.UserError, match="pass unlabelled=True too"):
        embedtune.fine_tune(base_model=tiny_model, data=pages, writer=writer)
