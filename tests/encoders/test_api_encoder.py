"""API models against a provider in a process of its own, which fails on demand and keeps accounts."""

from __future__ import annotations

import logging
import os
import runpy
import signal
import subprocess
import sys
import threading
import time
from collections.abc import Iterator
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any

import numpy as np
import pytest

import embedtune
from embedtune.encoders import VectorCache, load_encoder
from embedtune.errors import ModelNotFound, TextsFailed, UserError

TRUE = runpy.run_path(str(Path(__file__).with_name("provider.py")))["vectors"]
KEY = "sk-secret-of-the-test"
TEXTS = [f"text {number} of the test" for number in range(300)]


def expected(texts: list[str], dimension: int = 64) -> np.ndarray:
    found = TRUE([text or " " for text in texts], dimension)
    return found / np.linalg.norm(found, axis=1, keepdims=True)


def opened(provider: Any, name: str = "model", **options: Any) -> Any:
    return load_encoder(name, **{"api_base": provider.base, "wait": 0.005, "batch": 20, **options})


def test_vectors_come_in_order_with_unit_length_and_are_paid_for_once(provider: Any) -> None:
    encoder = opened(provider)
    assert encoder.dimension == 64  # found out with one short text
    texts = [*TEXTS, TEXTS[0], ""]
    np.testing.assert_allclose(encoder.encode(texts), expected(texts), atol=1e-6)
    accounts = provider.accounts()
    assert accounts["charged"] == accounts["texts"] == 302  # 300, the empty one, and that of the dimension
    assert accounts["requests"] == 17
    assert accounts["most_busy"] <= 8
    again = opened(provider)  # neither texts nor dimension are asked for again, whatever they are
    np.testing.assert_array_equal(again.encode(texts, kind="query"), encoder.encode(texts))
    assert provider.accounts()["charged"] == 302


def test_dot_keeps_the_lengths_and_dimensions_are_asked_for(provider: Any) -> None:
    encoder = opened(provider, similarity="dot", dimensions=32)
    np.testing.assert_array_equal(encoder.encode(TEXTS[:3]), TRUE(TEXTS[:3], 32))
    assert provider.accounts()["bodies"] == [
        {"model": "model", "encoding_format": "base64", "dimensions": 32}
    ]  # and no request for a dimension that is known
    assert encoder.fingerprint != opened(provider, similarity="dot", dimensions=16).fingerprint


def test_servers_without_base64_are_asked_for_lists(serve: Any) -> None:
    provider = serve("--lists")
    np.testing.assert_allclose(opened(provider).encode(TEXTS), expected(TEXTS), atol=1e-6)
    assert provider.accounts()["charged"] == 301


@pytest.mark.parametrize("seed", [0, 1])
def test_whatever_goes_wrong_the_vectors_are_right(serve: Any, seed: int) -> None:
    provider = serve("--hang", "0.6", "--latency", "0.005")
    encoder = opened(provider, timeout=0.4, attempts=12, dimensions=64)
    shares = dict.fromkeys(
        ("_429", "_500", "timeout", "truncated", "garbage", "count", "order", "nan", "zero", "dimension"),
        0.05,
    )
    assert encoder.encode(["first"]).shape == (1, 64)  # it is known to work
    provider.faults(seed=seed, drop=0.05, **shares)
    try:
        vectors, missing = encoder.encode(TEXTS), []
    except TextsFailed as error:
        provider.faults()
        vectors, missing = encoder.encode(TEXTS), error.rows
    assert len(missing) < 60
    np.testing.assert_allclose(vectors, expected(TEXTS), atol=1e-6)
    assert sum(provider.accounts()["faults"].values()) > provider.accounts()["faults"]["none"] + 5


def test_retry_after_holds_all_requests(serve: Any) -> None:
    provider = serve("--retry-after", "0.4")
    encoder = opened(provider, dimensions=64, batch=150)
    encoder.encode([f"first {number}" for number in range(151)])  # so that its courier runs
    provider.faults(seed=3, _429=1.0)
    began = time.monotonic()
    threading.Timer(0.2, provider.faults).start()
    encoder.encode(TEXTS)
    assert time.monotonic() - began >= 0.4
    asked = provider.accounts()
    assert asked["faults"]["429"] >= 1
    assert asked["requests"] <= 2 + 4  # the first, two refused, two answered


def test_texts_that_cannot_be_encoded_are_named_and_the_others_kept(provider: Any) -> None:
    encoder = opened(provider, dimensions=64)
    bad = {7: "POISON-400 a", 8: "POISON-400 b", 133: "POISON-500", 250: "POISON-NAN"}
    texts = [bad.get(number, text) for number, text in enumerate([*TEXTS, "POISON-NAN"])]
    with pytest.raises(
        TextsFailed, match=r"4 of|5 of 301 texts have no vector: number 7 \(HTTP 400"
    ) as caught:
        encoder.encode(texts)
    assert caught.value.rows == [7, 8, 133, 250, 300]
    assert "HTTP 500" in caught.value.reasons[2]
    assert "not finite" in caught.value.reasons[3]
    good = [text for text in texts if "POISON" not in text]
    charged = provider.accounts()["charged"]
    np.testing.assert_allclose(encoder.encode(good), expected(good), atol=1e-6)
    assert provider.accounts()["charged"] == charged
    each = provider.accounts()["each"]
    assert {text: times for text, times in each.items() if times > 1}.keys() == {"POISON-NAN"}


def test_a_first_text_that_is_refused_does_not_end_the_work(provider: Any) -> None:
    with pytest.raises(TextsFailed) as caught:
        opened(provider, dimensions=64, concurrency=1).encode(["POISON-400", *TEXTS[:50]])
    assert caught.value.rows == [0]
    assert provider.accounts()["texts"] == 50


def test_texts_too_long_for_the_model_are_cut(serve: Any, caplog: pytest.LogCaptureFixture) -> None:
    provider = serve("--longest", "20000")
    texts = [*TEXTS[:30], "long " * 10_000]
    with caplog.at_level(logging.WARNING):
        vectors = opened(provider, dimensions=64).encode(texts)
    np.testing.assert_allclose(vectors, expected([*TEXTS[:30], texts[-1][:16384]]), atol=1e-6)
    assert "1 texts were too long" in caplog.text


@pytest.mark.parametrize(
    ("options", "served", "error", "line"),
    [
        ({"api_key_env": "OTHER_KEY"}, (), UserError, "needs a key, and OTHER_KEY is not set; export"),
        ({}, ("--key", KEY), UserError, r"refuses the key .*401.*; set OPENAI_API_KEY, which is not set"),
        ({"dimensions": 0}, (), UserError, "dimensions is 0"),
        ({"max_cost": 1.0}, (), UserError, "no table has one for 'model'; give a table with --prices FILE"),
        ({"dimension": 128}, (), UserError, "has vectors of 64 dimensions, not 128"),
        ({"api_base": "ftp://x"}, (), UserError, "'ftp://x' is no address of an API"),
        ({"api_base": "http://me:pw@h/v1?key=abc"}, (), UserError, "has 'key' in its query"),
    ],
)
def test_mistakes_get_one_line(serve: Any, options: Any, served: Any, error: Any, line: str) -> None:
    with pytest.raises(error, match=line) as caught:
        opened(serve(*served), attempts=3, **options).encode(TEXTS)
    assert "\n" not in str(caught.value)
    assert "pw" not in str(caught.value)
    assert "abc" not in str(caught.value)


def test_nobody_there_is_told_soon() -> None:
    with pytest.raises(UserError, match=r"127.0.0.1:9/v1: it cannot be reached .*check --api-base"):
        load_encoder("model", api_base="http://me:pw@127.0.0.1:9/v1", wait=0.001)


def test_a_provider_that_goes_down_ends_the_work_and_keeps_what_is_paid(provider: Any) -> None:
    encoder = opened(provider, dimensions=64, attempts=2, concurrency=1)
    encoder.encode(TEXTS[:100])
    provider.faults(_500=1.0)
    with pytest.raises(UserError, match=r"HTTP 500.*run again later"):
        encoder.encode(TEXTS)
    assert provider.accounts()["requests"] < 40
    provider.faults()
    encoder.encode(TEXTS)
    assert provider.accounts()["charged"] == 300


def test_the_limit_stops_before_it_is_passed_and_what_is_paid_stays(provider: Any) -> None:
    prices = {"model": 1e6}  # a token costs 1; the provider counts a fourth of the characters
    real = sum(-(-len(text) // 4) for text in TEXTS)
    encoder = opened(provider, dimensions=64, prices=prices, max_cost=1000.0)
    with pytest.raises(UserError, match=r"stopped before the limit of 1000 .*raise|higher --max-cost"):
        encoder.encode(TEXTS)
    accounts = provider.accounts()
    assert encoder.spending.spent == sum(-(-len(text) // 4) for text in accounts["each"]) <= 1000
    assert accounts["texts"] > 100  # close to it
    rest = opened(provider, dimensions=64, prices=prices, max_cost=2.0 * real)
    np.testing.assert_allclose(rest.encode(TEXTS), expected(TEXTS), atol=1e-6)
    assert rest.spending.spent == real - encoder.spending.spent
    assert provider.accounts()["charged"] == 300


def test_the_estimate_comes_first_and_counts_what_is_new(provider: Any) -> None:
    said: list[str] = []
    encoder = opened(provider, dimensions=64, prices={"model": 3.0}, notice=said.append)
    encoder.encode(TEXTS[:10])
    estimate = encoder.cost([*TEXTS[:13], TEXTS[12]])
    assert estimate.texts == 3
    assert estimate.tokens == sum(-(-len(text) // 3) + 1 for text in TEXTS[10:13])
    assert estimate.cost == pytest.approx(estimate.tokens * 3e-6)
    assert said == ["model: 10 texts, at most about 70 tokens, 0.00021 USD (3 USD a million tokens)"]
    encoder.encode(TEXTS[:10])
    assert len(said) == 1
    assert provider.accounts()["charged"] == 10


RUN = """
import sys
from embedtune.encoders import load_encoder
encoder = load_encoder("model", api_base=sys.argv[1], dimensions=64, batch=20, concurrency=4)
print("open", flush=True)
encoder.encode([f"text {number}" for number in range(int(sys.argv[2]))])
print("done", flush=True)
"""


def start(provider: Any, texts: int) -> subprocess.Popen[str]:
    command = [sys.executable, "-c", RUN, provider.base, str(texts)]
    environment = os.environ | {"PYTHONPATH": str(Path(embedtune.__file__).parents[1])}
    done = subprocess.Popen(command, stdout=subprocess.PIPE, text=True, env=environment)
    assert done.stdout.readline() == "open\n"
    return done


def test_killed_five_times_each_text_is_paid_for_once(serve: Any) -> None:
    provider, texts = serve("--latency", "0.02"), 4000
    for kill in range(1, 6):
        run = start(provider, texts)
        while provider.accounts()["texts"] < 600 * kill:
            time.sleep(0.01)
        run.send_signal(signal.SIGKILL)
        run.wait()
        run.stdout.close()
    last = start(provider, texts)
    assert last.stdout.read() == "done\n"
    assert last.wait() == 0
    last.stdout.close()
    accounts = provider.accounts()
    assert accounts["texts"] == texts
    lost = 5 * 2 * 4 * 20 if sys.platform == "win32" else 0  # there is no courier: two times four threads
    charged = accounts["charged"]
    assert charged - texts <= lost
    names = [f"text {number}" for number in range(texts)]
    vectors = opened(provider, dimensions=64).encode(names)
    np.testing.assert_allclose(vectors, expected(names), atol=1e-6)
    assert provider.accounts()["charged"] == charged


def test_interrupted_nothing_is_paid_for_twice(serve: Any) -> None:
    provider, texts = serve("--latency", "0.05"), 2000
    run = start(provider, texts)
    while provider.accounts()["texts"] < 400:
        time.sleep(0.01)
    run.send_signal(signal.SIGINT)
    assert run.wait(timeout=20) != 0
    run.stdout.close()
    paid = provider.accounts()["texts"]
    assert paid < texts
    opened(provider, dimensions=64).encode([f"text {number}" for number in range(texts)])
    assert provider.accounts()["charged"] == texts


def test_two_processes_at_once_write_one_cache(serve: Any) -> None:
    provider = serve("--latency", "0.01")
    runs = [start(provider, 2000) for _ in range(2)]
    for run in runs:
        assert run.stdout.read() == "done\n"
        assert run.wait() == 0
        run.stdout.close()
    charged = provider.accounts()["charged"]
    opened(provider, dimensions=64).encode([f"text {number}" for number in range(2000)])
    assert provider.accounts()["charged"] == charged
    assert charged == 2000


def test_paid_vectors_do_not_make_room_for_others(provider: Any, tmp_path: Path) -> None:
    cache = VectorCache(tmp_path, size=1)
    opened(provider, dimensions=64, cache=cache).encode(TEXTS)
    opened(provider, dimensions=64, cache=VectorCache(tmp_path, size=1)).encode(TEXTS)
    assert provider.accounts()["charged"] == 300


def test_the_key_is_sent_and_written_nowhere(
    serve: Any,
    monkeypatch: pytest.MonkeyPatch,
    cache_folder_of_its_own: Path,
    caplog: pytest.LogCaptureFixture,
    capfd: pytest.CaptureFixture[str],
) -> None:
    provider = serve("--key", KEY)
    monkeypatch.setenv("MY_KEY", KEY)
    with caplog.at_level(logging.DEBUG):
        encoder = opened(provider, api_key_env="MY_KEY")
        encoder.encode(TEXTS[:3])
        monkeypatch.setenv("MY_KEY", f"{KEY}-wrong")
        with pytest.raises(UserError, match="refuses the key") as caught:
            opened(provider, "other", api_key_env="MY_KEY")
    said = capfd.readouterr()
    told = [caplog.text, str(caught.value), repr(encoder), repr(vars(encoder.encoder)), said.out, said.err]
    assert not any(KEY in text for text in told)
    written = [path for path in cache_folder_of_its_own.rglob("*") if path.is_file()]
    assert {path.suffix for path in written} == {".safetensors", ".json", ""}
    assert not any(KEY.encode() in path.read_bytes() for path in written)


@pytest.mark.parametrize(
    ("name", "line"),
    [
        ("jina:jina-embeddings-v3", r"--api-base https://api.jina.ai/v1 and --api-key-env NAME"),
        ("openai:", "the name of the model is empty"),
        ("azure:my-deployment", "needs the address of its API; give it with --api-base"),
        ("text-embedding-3-large", r"OPENAI_API_KEY is not set; export OPENAI_API_KEY=…"),
    ],
)
def test_names_that_need_more(name: str, line: str) -> None:
    with pytest.raises(UserError, match=line):
        load_encoder(name).encode(["a text"])


def test_an_estimate_needs_no_key() -> None:
    estimate = load_encoder("text-embedding-3-large").cost(["a text", "another", "a text"])
    assert str(estimate).startswith("2 texts, at most about 7 tokens, 9.1e-07 USD (0.13 USD a million tokens")


def test_options_of_apis_are_for_apis() -> None:
    with pytest.raises(UserError, match="--max-cost is for models that are reached through an API"):
        load_encoder("all-MiniLM-L6-v2", max_cost=1.0)
    with pytest.raises(ModelNotFound, match="no model of an API"):
        load_encoder("api:all-MiniLM-L6-v2")


class Says(BaseHTTPRequestHandler):
    """Answers everything with what ``server.said`` holds: status, headers, body."""

    def do_POST(self) -> None:
        self.rfile.read(int(self.headers["Content-Length"]))
        status, headers, body = self.server.said
        self.server.asked += 1
        self.send_response(status)
        for name, value in {"Content-Length": str(len(body)), **headers}.items():
            self.send_header(name, value)
        self.end_headers()
        self.wfile.write(body.encode())

    def log_message(self, *_: object) -> None:
        pass


@pytest.fixture
def says() -> Iterator[Any]:
    server = ThreadingHTTPServer(("127.0.0.1", 0), Says)
    server.asked = 0
    server.base = f"http://127.0.0.1:{server.server_port}/v1"
    threading.Thread(target=server.serve_forever, daemon=True).start()
    yield server
    server.shutdown()
    server.server_close()


QUOTA = '{"error": {"message": "You exceeded your current quota", "code": "insufficient_quota"}}'


@pytest.mark.parametrize(
    ("said", "line", "asked"),
    [
        ((403, {}, "no"), "refuses the key .HTTP 403: no", 1),
        (
            (404, {}, '{"detail": "gone"}'),
            "no model 'model' .HTTP 404: gone.; check the name",
            1,
        ),
        ((429, {}, QUOTA), "quota is used up .*; look at the account's credit", 1),
        ((429, {"x-should-retry": "false"}, ""), "quota is used up", 1),
        ((503, {"Retry-After": "4000"}, "later"), "asks to wait 4000 s", 1),
        ((301, {"Location": "http://elsewhere"}, ""), "the provider answers HTTP 301", 1),
        ((200, {}, "[]"), "the answer is no JSON object", 3),  # charged for, so not tried more often
        ((500, {}, f"key {KEY} failed"), r"HTTP 500: key \*\*\* failed", 8),
        ((400, {}, "no such dimensions"), "HTTP 400: no such dimensions", 3),  # three texts, each by itself
    ],
)
def test_answers_that_end_the_work(
    says: Any, monkeypatch: pytest.MonkeyPatch, said: Any, line: str, asked: int
) -> None:
    monkeypatch.setenv("OPENAI_API_KEY", KEY)
    says.said = said
    encoder = opened(says, dimensions=64, concurrency=1, batch=1, wait=0.0001)
    with pytest.raises(UserError, match=line) as caught:
        encoder.encode(TEXTS)
    assert says.asked <= 2 * asked  # by two threads
    assert KEY not in str(caught.value)


LIVE = {
    "openai:text-embedding-3-small": "OPENAI",
    "voyage:voyage-3.5-lite": "VOYAGE",
    "cohere:embed-english-v3.0": "CO",
    "gemini:gemini-embedding-001": "GEMINI",
    "mistral:mistral-embed": "MISTRAL",
}
"""A model of each provider, and whose key it needs: given in ``EMBEDTUNE_LIVE_OPENAI`` and so on."""


@pytest.mark.parametrize("name", LIVE)
def test_live(name: str, monkeypatch: pytest.MonkeyPatch) -> None:
    key = os.environ.get(f"EMBEDTUNE_LIVE_{LIVE[name]}")
    if not key:
        pytest.skip("needs a key and the network")
    monkeypatch.setenv(f"{LIVE[name]}_API_KEY", key)
    encoder = load_encoder(name, prices={name.partition(":")[2]: 1.0}, max_cost=0.01)
    near, far = ["a cat on a sofa", "a kitten on a couch"], ["stock exchange in Tokyo"]
    queries, documents = encoder.encode(near[:1], kind="query"), encoder.encode([near[1], *far])
    assert documents.shape == (2, encoder.dimension)
    assert queries[0] @ documents[0] > queries[0] @ documents[1]
