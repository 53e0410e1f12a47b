"""Each provider's protocol, against exchanges written down from its documentation.

The addresses are in the providers' files. What is sent is compared as a whole, so that a change of a field
shows here.
"""

from __future__ import annotations

import base64
import json
import struct
import threading
from collections.abc import Iterator
from dataclasses import dataclass, field
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any

import numpy as np
import pytest

from embedtune.encoders import load_encoder
from embedtune.encoders.api.asking import Asker
from embedtune.encoders.api.providers import PROVIDERS, provider_of
from embedtune.encoders.api.providers.base import model_facts
from embedtune.encoders.api.providers.gemini import Vertex
from embedtune.errors import TextsFailed, UserError

pytest.importorskip("httpx")

KEY = "the-key"


def b64(*numbers: float) -> str:
    return base64.b64encode(struct.pack(f"<{len(numbers)}f", *numbers)).decode()


OPENAI_ANSWER = {
    "object": "list",
    "data": [
        {"object": "embedding", "index": 0, "embedding": b64(3, 4)},
        {"object": "embedding", "index": 1, "embedding": b64(0, 2)},
    ],
    "model": "text-embedding-3-large",
    "usage": {"prompt_tokens": 5, "total_tokens": 5},
}


@dataclass(frozen=True)
class Exchange:
    name: str
    variable: str
    path: str
    header: tuple[str, str]
    sent: Any
    answer: Any
    tokens: int | None
    kind: Any = "document"
    dimensions: int | None = None
    vectors: list[list[float]] = field(default_factory=lambda: [[0.6, 0.8], [0.0, 1.0]])


BEARER = ("authorization", f"Bearer {KEY}")

EXCHANGES = {
    "openai": Exchange(
        "openai:text-embedding-3-large",
        "OPENAI_API_KEY",
        "/v1/embeddings",
        BEARER,
        {
            "model": "text-embedding-3-large",
            "input": ["a", "b"],
            "encoding_format": "base64",
            "dimensions": 2,
        },
        OPENAI_ANSWER,
        5,
        dimensions=2,
    ),
    "azure": Exchange(
        "azure:my-deployment",
        "AZURE_OPENAI_API_KEY",
        "/v1/embeddings",
        ("api-key", KEY),
        {"model": "my-deployment", "input": ["a", "b"], "encoding_format": "base64"},
        {**OPENAI_ANSWER, "data": OPENAI_ANSWER["data"][::-1]},  # the index counts, not the order
        5,
    ),
    "voyage": Exchange(
        "voyage:voyage-3.5",
        "VOYAGE_API_KEY",
        "/v1/embeddings",
        BEARER,
        {
            "model": "voyage-3.5",
            "input": ["a", "b"],
            "input_type": "query",
            "truncation": True,
            "encoding_format": "base64",
            "output_dimension": 2,
        },
        {
            "object": "list",
            "data": [
                {"object": "embedding", "embedding": b64(3, 4), "index": 0},
                {"object": "embedding", "embedding": b64(0, 2), "index": 1},
            ],
            "model": "voyage-3.5",
            "usage": {"total_tokens": 10},
        },
        10,
        kind="query",
        dimensions=2,
    ),
    "cohere": Exchange(
        "cohere:embed-v4.0",
        "CO_API_KEY",
        "/v1/embed",
        BEARER,
        {
            "model": "embed-v4.0",
            "texts": ["a", "b"],
            "input_type": "search_query",
            "embedding_types": ["float"],
            "truncate": "END",
            "output_dimension": 2,
        },
        {
            "id": "da6e531f-54c5-4a73-bf92-f60566d8d753",
            "embeddings": {"float": [[3, 4], [0, 2]]},
            "texts": ["a", "b"],
            "meta": {"api_version": {"version": "2"}, "billed_units": {"input_tokens": 2}},
        },
        2,
        kind="query",
        dimensions=2,
    ),
    "gemini": Exchange(
        "gemini:gemini-embedding-001",
        "GEMINI_API_KEY",
        "/v1/models/gemini-embedding-001:batchEmbedContents",
        ("x-goog-api-key", KEY),
        {
            "requests": [
                {
                    "model": "models/gemini-embedding-001",
                    "taskType": "RETRIEVAL_DOCUMENT",
                    "outputDimensionality": 2,
                    "content": {"parts": [{"text": text}]},
                }
                for text in ("a", "b")
            ]
        },
        {"embeddings": [{"values": [3, 4]}, {"values": [0, 2]}]},
        None,
        dimensions=2,
    ),
    "vertex": Exchange(
        "vertex:text-embedding-005",
        "VERTEX_ACCESS_TOKEN",
        "/v1/publishers/google/models/text-embedding-005:predict",
        BEARER,
        {
            "instances": [
                {"content": "a", "task_type": "RETRIEVAL_QUERY"},
                {"content": "b", "task_type": "RETRIEVAL_QUERY"},
            ],
            "parameters": {"autoTruncate": True, "outputDimensionality": 2},
        },
        {
            "predictions": [
                {"embeddings": {"values": [3, 4], "statistics": {"token_count": 4, "truncated": False}}},
                {"embeddings": {"values": [0, 2], "statistics": {"token_count": 3, "truncated": False}}},
            ]
        },
        7,
        kind="query",
        dimensions=2,
    ),
    "mistral": Exchange(
        "mistral:mistral-embed",
        "MISTRAL_API_KEY",
        "/v1/embeddings",
        BEARER,
        {"model": "mistral-embed", "input": ["a", "b"], "output_dimension": 2},
        {
            "id": "embd-aad6fc62b17349b192ef09225058bc45",
            "object": "list",
            "data": [
                {"object": "embedding", "embedding": [3, 4], "index": 0},
                {"object": "embedding", "embedding": [0, 2], "index": 1},
            ],
            "model": "mistral-embed",
            "usage": {"prompt_tokens": 15, "total_tokens": 15},
        },
        15,
        dimensions=2,
    ),
}


class Recorder:
    """Answers every request with one body, and keeps what came."""

    def __init__(self) -> None:
        self.answer: Any = None
        self.first: list[tuple[int, dict[str, str], Any]] = []
        """Status, headers and body of what is answered before."""
        self.paths: list[str] = []
        self.headers: list[dict[str, str]] = []
        self.bodies: list[Any] = []
        recorder = self

        class Handler(BaseHTTPRequestHandler):
            def do_POST(self) -> None:
                recorder.paths.append(self.path)
                recorder.headers.append({name.lower(): value for name, value in self.headers.items()})
                recorder.bodies.append(json.loads(self.rfile.read(int(self.headers["Content-Length"]))))
                status, headers, answer = 200, {}, recorder.answer
                if recorder.first:
                    status, headers, answer = recorder.first.pop(0)
                content = json.dumps(answer).encode()
                self.send_response(status)
                for name, value in headers.items():
                    self.send_header(name, value)
                self.send_header("Content-Length", str(len(content)))
                self.end_headers()
                self.wfile.write(content)

            def log_message(self, *_: object) -> None:
                pass

        self.server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
        threading.Thread(target=self.server.serve_forever, daemon=True).start()


@pytest.fixture
def recorder() -> Iterator[Recorder]:
    one = Recorder()
    yield one
    one.server.shutdown()
    one.server.server_close()


def test_every_provider_has_an_exchange() -> None:
    assert set(EXCHANGES) == set(PROVIDERS)


@pytest.mark.parametrize("name", EXCHANGES)
def test_what_is_sent_and_read(recorder: Recorder, monkeypatch: pytest.MonkeyPatch, name: str) -> None:
    exchange = EXCHANGES[name]
    monkeypatch.setenv(exchange.variable, KEY)
    recorder.answer = exchange.answer
    base = f"http://127.0.0.1:{recorder.server.server_port}/v1"
    prices = {"my-deployment": 1, "text-embedding-005": 1}  # the table that comes along has the others
    encoder: Any = load_encoder(
        exchange.name, api_base=base, dimensions=exchange.dimensions, dimension=2, prices=prices
    )
    vectors = encoder.encode(["a", "b"], kind=exchange.kind)
    np.testing.assert_allclose(vectors, exchange.vectors, atol=1e-7)
    assert recorder.paths == [exchange.path]
    assert recorder.headers[0][exchange.header[0]] == exchange.header[1]
    assert recorder.headers[0]["content-type"] == "application/json"
    assert recorder.bodies == [exchange.sent]
    assert encoder.provider.tokens(exchange.answer) == exchange.tokens
    worst = 2 + 2 * 16  # bytes and what may be around them, where the answer does not say
    if encoder.price is not None:
        charged = worst if exchange.tokens is None else exchange.tokens
        assert encoder.spending.spent == pytest.approx(encoder.price.price * charged / 1e6)
    encoder.encode(["a", "b"], kind="document" if exchange.kind == "query" else "query")
    assert len(recorder.paths) == 1 + encoder.provider.input_types  # else both kinds share their vectors


def test_addresses_are_those_of_the_documentation(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("GOOGLE_CLOUD_PROJECT", "mine")
    monkeypatch.setenv("GOOGLE_CLOUD_LOCATION", "europe-west1")
    urls = {}
    for name, exchange in EXCHANGES.items():
        provider = provider_of(exchange.name)
        urls[name] = None if provider.base is None else provider.url(provider.base)
    google = "https://europe-west1-aiplatform.googleapis.com/v1/projects/mine/locations/europe-west1"
    assert urls == {
        "openai": "https://api.openai.com/v1/embeddings",
        "azure": None,
        "voyage": "https://api.voyageai.com/v1/embeddings",
        "cohere": "https://api.cohere.com/v2/embed",
        "gemini": "https://generativelanguage.googleapis.com/v1beta/models/gemini-embedding-001"
        ":batchEmbedContents",
        "vertex": f"{google}/publishers/google/models/text-embedding-005:predict",
        "mistral": "https://api.mistral.ai/v1/embeddings",
    }
    monkeypatch.setenv("GOOGLE_CLOUD_LOCATION", "global")
    assert Vertex("m").base == "https://aiplatform.googleapis.com/v1/projects/mine/locations/global"


def test_limits_are_kept(recorder: Recorder, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("VERTEX_ACCESS_TOKEN", KEY)
    recorder.answer = {"predictions": [{"embeddings": {"values": [1, 2]}}]}
    base = f"http://127.0.0.1:{recorder.server.server_port}"
    encoder = load_encoder("vertex:gemini-embedding-001", api_base=base, dimension=2)
    encoder.encode(["a", "b", "c"])
    assert [len(body["instances"]) for body in recorder.bodies] == [1, 1, 1]  # one text a request
    assert Vertex.limits.items == 250


def test_facts_are_of_providers_that_exist() -> None:
    assert set(model_facts()) <= set(PROVIDERS)
    assert provider_of("gemini-embedding-001").facts.dimension == 3072
    assert provider_of("voyage-4-lite").facts.tokens == 1_000_000


def google(code: int, status: str, message: str, **detail: Any) -> dict[str, Any]:
    """Give a google.rpc.Status as JSON."""
    return {"error": {"code": code, "message": message, "status": status, "details": [detail]}}


RPC = "type.googleapis.com/google.rpc."
BAD_KEY = google(
    400,
    "INVALID_ARGUMENT",
    "API key not valid. Please pass a valid API key.",
    **{"@type": f"{RPC}ErrorInfo", "reason": "API_KEY_INVALID", "domain": "googleapis.com"},
)
QUOTA = google(
    429,
    "RESOURCE_EXHAUSTED",
    "You exceeded your current quota, please check your plan and billing details.",
    **{"@type": f"{RPC}RetryInfo", "retryDelay": "36s"},
)

KEYS = {
    "openai": (
        401,
        {
            "error": {
                "message": f"Incorrect API key provided: {KEY}.",
                "type": "invalid_request_error",
                "param": None,
                "code": "invalid_api_key",
            }
        },
        "HTTP 401: Incorrect API key provided: ***.",
    ),
    "azure": (
        401,
        {"error": {"code": "401", "message": "Access denied due to invalid subscription key"}},
        "HTTP 401: Access denied due to invalid subscription key",
    ),
    "voyage": (401, {"detail": "Provided API key is invalid."}, "HTTP 401: Provided API key is invalid."),
    "cohere": (401, {"message": "invalid api token"}, "HTTP 401: invalid api token"),
    "gemini": (400, BAD_KEY, "HTTP 400: API key not valid. Please pass a valid API key."),
    "vertex": (
        401,
        google(401, "UNAUTHENTICATED", "Request had invalid authentication credentials."),
        "HTTP 401: Request had invalid authentication credentials.",
    ),
    "mistral": (401, {"message": "Unauthorized", "request_id": "a0"}, "HTTP 401: Unauthorized"),
}
"""What each says of a wrong key."""

LIMITED = {
    "openai": (
        {"retry-after-ms": "1500", "retry-after": "2"},
        {"error": {"message": "Rate limit", "code": None}},
        1.5,
    ),
    "azure": ({"Retry-After": "3"}, {"error": {"code": "429", "message": "Requests have exceeded"}}, 3.0),
    "voyage": ({}, {"detail": "You have exceeded your rate limit"}, None),
    "cohere": (
        {},
        {"message": "You are using a Trial key, which is limited to 100 API calls / minute"},
        None,
    ),
    "gemini": ({}, QUOTA, 36.0),
    "vertex": ({}, google(429, "RESOURCE_EXHAUSTED", "Quota exceeded for aiplatform.googleapis.com"), None),
    "mistral": ({"Retry-After": "1"}, {"message": "Requests rate limit exceeded"}, 1.0),
}
"""What each says when asked too often: headers, body, and the seconds to wait."""

TOO_MUCH = {
    "openai": (
        400,
        {
            "error": {
                "message": "Requested 375703 tokens, max 300000 tokens per request",
                "type": "max_tokens_per_request",
                "param": None,
                "code": "max_tokens_per_request",
            }
        },
    ),
    "azure": (400, {"error": {"code": "BadRequest", "message": "Too many inputs. The max number is 16."}}),
    "voyage": (400, {"detail": "The max allowed tokens per submitted batch is 120000."}),
    "cohere": (400, {"message": "invalid request: total number of texts must be at most 96"}),
    "gemini": (400, google(400, "INVALID_ARGUMENT", "at most 100 requests can be in one batch")),
    "vertex": (
        400,
        google(400, "INVALID_ARGUMENT", "The input token count is 21000 but the model supports 20000"),
    ),
    "mistral": (
        400,
        {
            "object": "error",
            "message": "Too many tokens overall, split into more batches.",
            "type": "invalid_request_prompt",
            "param": None,
            "code": "3210",
        },
    ),
}
"""What each says of a request that holds too much."""


@pytest.fixture
def waits(monkeypatch: pytest.MonkeyPatch) -> list[float | None]:
    """Keep the seconds that a provider asks for; None is its absence. Nothing is waited for."""
    kept: list[float | None] = []
    monkeypatch.setattr(Asker, "_hold", lambda self, seconds: kept.append(seconds) or 0.0)
    monkeypatch.setattr(Asker, "_back_off", lambda self, attempt: kept.append(None) or 0.0)
    return kept


def opened(recorder: Recorder, monkeypatch: pytest.MonkeyPatch, name: str) -> Any:
    exchange = EXCHANGES[name]
    monkeypatch.setenv(exchange.variable, KEY)
    recorder.answer = exchange.answer
    base = f"http://127.0.0.1:{recorder.server.server_port}/v1"
    return load_encoder(exchange.name, api_base=base, dimension=2)


@pytest.mark.parametrize("name", PROVIDERS)
def test_a_refused_key_is_told_in_its_own_words(
    recorder: Recorder, monkeypatch: pytest.MonkeyPatch, name: str
) -> None:
    status, body, said = KEYS[name]
    encoder = opened(recorder, monkeypatch, name)
    recorder.first = [(status, {}, body)]
    with pytest.raises(UserError) as caught:
        encoder.encode(["a", "b"])
    line = str(caught.value)
    assert f"the provider refuses the key ({said}); set {EXCHANGES[name].variable} to a valid key" in line
    assert KEY not in line
    assert len(recorder.bodies) == 1


@pytest.mark.parametrize("name", PROVIDERS)
def test_a_limited_request_is_made_again_after_the_wait_that_is_asked_for(
    recorder: Recorder, monkeypatch: pytest.MonkeyPatch, waits: list[float | None], name: str
) -> None:
    headers, body, wait = LIMITED[name]
    encoder = opened(recorder, monkeypatch, name)
    recorder.first = [(429, headers, body)]
    encoder.encode(["a", "b"])
    assert waits == [wait]
    assert recorder.bodies[0] == recorder.bodies[1]


@pytest.mark.parametrize("name", PROVIDERS)
def test_a_request_that_holds_too_much_is_sent_in_halves(
    recorder: Recorder, monkeypatch: pytest.MonkeyPatch, waits: list[float | None], name: str
) -> None:
    status, body = TOO_MUCH[name]
    encoder = opened(recorder, monkeypatch, name)
    recorder.first = [(status, {}, body), (status, {}, body), (status, {}, body)]
    with pytest.raises((TextsFailed, UserError)) as caught:
        encoder.encode(["a", "b"])
    assert "HTTP 400" in str(getattr(caught.value, "reasons", caught.value))
    texts = [json.dumps(sent) for sent in recorder.bodies]
    assert [('"a"' in sent, '"b"' in sent) for sent in texts] == [(True, True), (True, False), (False, True)]
    assert waits == []
