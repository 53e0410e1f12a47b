"""Queries written by a model, against a server that the test starts: what it says, and fails to say."""

from __future__ import annotations

import logging
import time
from collections.abc import Iterator
from datetime import UTC, datetime, timedelta
from email.utils import format_datetime
from pathlib import Path
from types import SimpleNamespace

import pytest
from chat_endpoint import KEY, Endpoint, answer

from embedtune.data.chat_answers import retry_after
from embedtune.data.written import QueryWriter
from embedtune.errors import UserError

pytest.importorskip("httpx")

TEXTS = [f"Text number {n} is about the heart." for n in range(8)]


@pytest.fixture
def endpoint(monkeypatch: pytest.MonkeyPatch) -> Iterator[Endpoint]:
    monkeypatch.setenv("OPENAI_API_KEY", KEY)
    served = Endpoint()
    yield served
    served.server.shutdown()
    served.server.server_close()


def writer(endpoint: Endpoint, **options) -> QueryWriter:
    defaults = {"endpoint": endpoint.address, "model": "small", "count": 2, "workers": 1, "wait": 0.0}
    return QueryWriter(**(defaults | options))


def test_queries_become_pairs_that_are_marked_as_made(endpoint: Endpoint) -> None:
    endpoint.reply = lambda body: answer(
        f'1. "first {body["messages"][0]["content"][-30:-27]}"\n2) heart trouble\n3. more'
    )
    written = writer(endpoint).write([{"title": "Heart", "text": TEXTS[0]}])
    assert written.dataset.splits == ("made",)
    assert written.dataset.document_texts == [TEXTS[0]]
    assert len(written.dataset.query_texts) == 2  # as many as asked for
    assert written.dataset.query_texts[1] == "heart trouble"
    assert written.dataset.query_ids[0].startswith("made-written-")
    assert written.failed == []
    assert endpoint.keys == {f"Bearer {KEY}"}
    assert "Heart\nText number 0" in endpoint.asked[0]["messages"][0]["content"]


def test_what_is_known_is_not_asked_again(endpoint: Endpoint, cache_folder_of_its_own: Path) -> None:
    first = writer(endpoint).write(TEXTS[:3])
    again = writer(endpoint).write(TEXTS[:4])
    assert len(endpoint.asked) == 4
    assert first.dataset.query_texts == again.dataset.query_texts
    estimate = writer(endpoint).estimate(TEXTS)
    assert (estimate.known, estimate.texts) == (4, 4)
    writer(endpoint, model="large").write(TEXTS[:1])
    assert len(endpoint.asked) == 5
    kept = [path.read_text("utf-8") for path in cache_folder_of_its_own.rglob("*.json")]
    assert len(kept) == 5
    assert not any(KEY in content for content in kept)


def test_the_estimate_shows_the_prompt_and_sends_nothing(endpoint: Endpoint) -> None:
    asks = writer(endpoint, prompt="{count}: {text}", input_price=4.0, output_price=10.0)
    estimate = asks.estimate(["x" * 37, "y" * 37])
    assert estimate.prompt == "2: " + "x" * 37
    assert estimate.input_tokens == 20  # twice a fourth of 40 characters
    assert estimate.output_tokens == 240  # twice two queries of 60
    assert estimate.cost == pytest.approx((20 * 4 + 240 * 10) / 1e6)
    assert endpoint.asked == []


def test_the_limit_stops_before_it_is_passed(endpoint: Endpoint) -> None:
    endpoint.reply = lambda body: answer(
        "a heart query", usage={"prompt_tokens": 100, "completion_tokens": 20}
    )
    asks = writer(endpoint, input_price=1e4, output_price=1e4)  # each answer costs 1.2
    written = asks.write(TEXTS, max_cost=10.0)
    assert written.stopped
    assert written.cost == pytest.approx(1.2 * len(endpoint.asked))
    assert 0 < written.cost <= 10
    assert len(endpoint.asked) < len(TEXTS)
    rest = asks.write(TEXTS, max_cost=100.0)  # goes on where it stopped
    assert not rest.stopped
    assert len(endpoint.asked) == len(TEXTS)


def test_without_usage_the_worst_is_counted(endpoint: Endpoint) -> None:
    written = writer(endpoint, prompt="{text}", input_price=1e6, output_price=1.0).write(
        ["abcde"], max_cost=1000
    )
    assert written.cost == pytest.approx(105 + 120 / 1e6)  # five bytes and a hundred; two queries of sixty
    with pytest.raises(UserError, match="a limit of cost needs prices"):
        writer(endpoint).write(TEXTS, max_cost=1.0)


@pytest.mark.parametrize(
    ("reply", "reason"),
    [
        ((200, b"<html>busy</html>"), "no JSON object"),
        ((200, b'{"choices": []}'), "has no message"),
        (answer(None), "the message is empty"),
        (answer("{}\n```\n12345\nHere are your queries:"), "holds no query"),
        (answer("a query that never en", finish="length"), "cut off"),
        ((503, b"later"), "the endpoint answers 503: later"),
    ],
)
def test_an_answer_that_is_nonsense_costs_its_text_alone(endpoint: Endpoint, reply, reason: str) -> None:
    endpoint.reply = lambda body: (
        reply if TEXTS[1] in body["messages"][0]["content"] else answer("good query")
    )
    written = writer(endpoint).write(TEXTS[:3])
    assert len(written.dataset.qrels) == 2
    assert len(written.failed) == 1
    assert written.failed[0].startswith("data:2: ")
    assert reason in written.failed[0]


def test_the_last_line_of_a_cut_answer_is_left_out(endpoint: Endpoint) -> None:
    endpoint.reply = lambda body: answer("whole query\nhalf a que", finish="length")
    assert writer(endpoint).write(TEXTS[:1]).dataset.query_texts == ["whole query"]


def test_a_busy_endpoint_is_asked_again(endpoint: Endpoint) -> None:
    endpoint.reply = lambda body: answer("good query") if len(endpoint.asked) == 3 else (429, b"slow down")
    assert writer(endpoint).write(TEXTS[:1]).dataset.query_texts == ["good query"]
    assert len(endpoint.asked) == 3


def test_timeouts_are_told_and_counted(endpoint: Endpoint) -> None:
    def slow(body: dict) -> tuple[int, bytes]:
        time.sleep(0.5 if TEXTS[0] in body["messages"][0]["content"] else 0)
        return answer("good query", usage={"prompt_tokens": 0, "completion_tokens": 0})

    endpoint.reply = slow
    written = writer(endpoint, timeout=0.1, prompt="{text}", input_price=1e6).write(TEXTS[:2])
    assert "no answer within 0.1 s" in written.failed[0]
    assert len(written.dataset.qrels) == 1
    assert written.cost == pytest.approx(
        3 * (len(TEXTS[0]) + 100)
    )  # three tries, each as if it had been paid


def test_an_endpoint_that_gives_nothing_but_nonsense_ends_the_work(endpoint: Endpoint) -> None:
    endpoint.reply = lambda body: answer("")
    with pytest.raises(
        UserError, match="none of the first 5 answers can be used; the last: the message is empty"
    ):
        writer(endpoint).write(TEXTS)
    assert len(endpoint.asked) == 5


def test_a_refused_key_is_said_at_once_and_never_shown(
    endpoint: Endpoint, caplog: pytest.LogCaptureFixture
) -> None:
    endpoint.reply = lambda body: (401, f"no such key: {KEY}".encode())
    with caplog.at_level(logging.DEBUG), pytest.raises(UserError) as caught:
        writer(endpoint).write(TEXTS)
    assert len(endpoint.asked) == 1
    assert "set OPENAI_API_KEY to a valid key" in str(caught.value)
    assert KEY not in str(caught.value)
    assert KEY not in caplog.text


def test_an_endpoint_that_is_not_there_is_named() -> None:
    asks = QueryWriter("http://127.0.0.1:9/v1", "small", wait=0.0, workers=1)
    with pytest.raises(UserError, match="cannot be reached"):
        asks.write(TEXTS)


def test_several_at_a_time_give_the_same(endpoint: Endpoint, tmp_path: Path) -> None:
    endpoint.reply = lambda body: answer("about number " + body["messages"][0]["content"].split()[2])
    one = writer(endpoint, prompt="{text}").write(TEXTS).dataset
    many = writer(endpoint, prompt="{text}", workers=4, cache=tmp_path).write(TEXTS).dataset
    assert len(endpoint.asked) == 2 * len(TEXTS)
    assert one.fingerprint == many.fingerprint
    assert one.query_texts == [f"about number {n}" for n in range(len(TEXTS))]


@pytest.mark.parametrize("options", [{"prompt": "no place"}, {"endpoint": "localhost:8000"}])
def test_settings_that_cannot_work_are_refused(options: dict[str, str]) -> None:
    with pytest.raises(UserError):
        QueryWriter(**{"endpoint": "http://localhost/v1", "model": "small", **options})


@pytest.mark.parametrize(
    ("said", "seconds"),
    [
        ("0", 0),
        ("17", 17),
        ("Thu, 01 Jan 1970 00:00:00 GMT", 0),  # long past
        ("soon", None),
        ("", None),
        ("-5", None),
        ("\u0663", None),
    ],
)
def test_the_time_that_an_endpoint_asks_to_wait(said: str, seconds: float | None) -> None:
    assert retry_after(SimpleNamespace(headers={"Retry-After": said})) == seconds


def test_a_date_to_wait_for_is_one() -> None:
    when = format_datetime(datetime.now(UTC) + timedelta(seconds=100))
    assert retry_after(SimpleNamespace(headers={"Retry-After": when})) == pytest.approx(100, abs=5)


def test_whole_or_not_at_all(endpoint: Endpoint) -> None:
    endpoint.reply = lambda body: answer("")
    with pytest.raises(UserError, match=r"no answer can be used; the last: data:2: the message is empty"):
        writer(endpoint).dataset(TEXTS[:2])
    endpoint.reply = lambda body: answer("good" if TEXTS[2] in body["messages"][0]["content"] else "")
    made = writer(endpoint).dataset(TEXTS[:3])
    assert made.roles["made by"] == "small (1 queries written)"
    assert made.roles["left out"].startswith("2 texts without a usable answer, the first data:1: ")
