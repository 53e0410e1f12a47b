"""A provider of embeddings that speaks OpenAI's protocol, keeps accounts, and fails on demand.

    python provider.py --dimension 64 --latency 0.05

prints its port and serves until it is killed. It is a process of its own, so that what it was asked for
outlives a client that is killed. ``GET /accounts`` gives how often each text was charged for;
``POST /faults`` sets what goes wrong::

    {"seed": 0, "429": 0.1, "500": 0.1, "timeout": 0.1, "truncated": 0.1, "garbage": 0.1, "count": 0.1,
     "order": 0.1, "nan": 0.1, "zero": 0.1, "dimension": 0.1, "drop": 0.1}

Some texts fail whatever is set: those with POISON-500, POISON-400, POISON-NAN in them, and those longer than
``--longest`` characters. A text is charged for whenever it is answered with 200, however broken the answer.
"""

from __future__ import annotations

import argparse
import asyncio
import base64
import contextlib
import hashlib
import json
import random
import sys
import time
from collections import Counter
from typing import Any, NamedTuple

import numpy as np

FAULTS = (
    "429",
    "500",
    "timeout",
    "truncated",
    "garbage",
    "count",
    "order",
    "nan",
    "zero",
    "dimension",
    "drop",
)


def vectors(texts: list[str], dimension: int) -> np.ndarray:
    """Give each text its own vector, float32 (n, dimension): what its sha256 says, repeated."""
    digests = b"".join(hashlib.sha256(text.encode("utf-8", "surrogatepass")).digest() for text in texts)
    rows = np.frombuffer(digests, np.int8).reshape(len(texts), 32).astype(np.float32) + 0.5
    return np.tile(rows, (1, -(-dimension // 32)))[:, :dimension]


class Provider:
    """The state: what was asked, what was charged, what is to go wrong."""

    def __init__(self, options: argparse.Namespace) -> None:
        self.options = options
        self.charged: Counter[str] = Counter()
        self.delivered: Counter[str] = Counter()
        self.told: Counter[str] = Counter()
        self.requests = self.busy = self.most_busy = 0
        self.first = self.last = 0.0
        self.bodies: list[dict[str, Any]] = []
        self.faults: dict[str, float] = {}
        self.random = random.Random(0)

    async def serve(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        with contextlib.suppress(ConnectionError, asyncio.IncompleteReadError):
            while (request := await self.request(reader)) is not None:
                path, headers, body = request
                if path.endswith("/embeddings"):
                    keep = await self.embeddings(headers, json.loads(body), reader, writer)
                else:
                    keep = await self.control(path, body, writer)
                if not keep:
                    break
        writer.close()

    async def request(self, reader: asyncio.StreamReader) -> tuple[str, dict[str, str], bytes] | None:
        try:
            head = (await reader.readuntil(b"\r\n\r\n")).decode("latin-1").split("\r\n")
        except asyncio.IncompleteReadError:
            return None
        pairs = (line.partition(":") for line in head[1:])
        headers = {name.lower(): value.strip() for name, _, value in pairs}
        body = await reader.readexactly(int(headers.get("content-length", "0")))
        return head[0].split(" ")[1], headers, body

    async def answer(
        self, writer: asyncio.StreamWriter, status: int, content: bytes, cut: int | None = None, **more: str
    ) -> bool:
        """Answer; with ``cut``, break off after so many bytes."""
        lines = [f"HTTP/1.1 {status} X", "Content-Type: application/json", f"Content-Length: {len(content)}"]
        lines += [f"{name.replace('_', '-')}: {value}" for name, value in more.items()]
        writer.write(("\r\n".join(lines) + "\r\n\r\n").encode() + content[:cut])
        await writer.drain()
        return cut is None

    async def control(self, path: str, body: bytes, writer: asyncio.StreamWriter) -> bool:
        if path == "/faults":
            self.faults = json.loads(body)
            self.random = random.Random(self.faults.pop("seed", 0))
        if path == "/forget":
            self.charged.clear(), self.delivered.clear(), self.told.clear(), self.bodies.clear()
            self.requests = self.most_busy = 0
            self.first = 0.0
        return await self.answer(writer, 200, json.dumps(self.accounts(full=path == "/texts")).encode())

    def accounts(self, *, full: bool) -> dict[str, Any]:
        twice = [text for text, times in self.charged.items() if times > 1]
        found = {
            "requests": self.requests,
            "charged": self.charged.total(),
            "texts": len(self.charged),
            "charged_twice": len(twice),
            "charged_most": max(self.charged.values(), default=0),
            "delivered_twice": sum(times > 1 for times in self.delivered.values()),
            "most_busy": self.most_busy,
            "seconds": self.last - self.first,
            "faults": dict(self.told),
        }
        return found | ({"each": dict(self.charged), "bodies": self.bodies} if full else {})

    async def embeddings(
        self,
        headers: dict[str, str],
        body: dict[str, Any],
        reader: asyncio.StreamReader,
        writer: asyncio.StreamWriter,
    ) -> bool:
        came = time.monotonic()
        self.requests += 1
        self.first = self.first or came
        self.busy += 1
        self.most_busy = max(self.most_busy, self.busy)
        reply = self.refusal(headers, body) or self.reply(body, self.fault())
        hang = self.options.hang if reply.fault == "timeout" else 0.0
        await asyncio.sleep(max(0.0, came + self.options.latency + hang - time.monotonic()))
        self.busy -= 1
        self.last = time.monotonic()
        if reply.fault == "drop":
            return False
        if reply.status == 200:
            self.charged.update(body["input"])
            if not reader.at_eof() and reply.fault in (None, "order"):
                self.delivered.update(body["input"])
        cut = len(reply.content) // 2 if reply.fault == "truncated" else None
        more = {"Retry_After": str(self.options.retry_after)} if reply.status == 429 else {}
        return await self.answer(writer, reply.status, reply.content, cut=cut, **more)

    def refusal(self, headers: dict[str, str], body: dict[str, Any]) -> Reply | None:
        """Say what is wrong with a request, if anything."""
        texts, key = body["input"], headers.get("authorization", "")
        if len(self.bodies) < 50:
            self.bodies.append({name: value for name, value in body.items() if name != "input"})
        if self.options.key and key != f"Bearer {self.options.key}":
            return refused(401, f"Incorrect API key provided: {key}")
        if len(texts) > self.options.items:
            return refused(400, "too many inputs")
        if any("POISON-400" in text or not text for text in texts):
            return refused(400, "invalid input")
        if any(len(text) > self.options.longest for text in texts):
            return refused(400, "maximum context length exceeded: too many tokens")
        if body.get("encoding_format") == "base64" and self.options.lists:
            return refused(400, "encoding_format base64 is not supported")
        if any("POISON-500" in text for text in texts):
            return refused(500, "internal error")
        return None

    def fault(self) -> str | None:
        """Choose what goes wrong with an answer."""
        point, chosen = self.random.random(), None
        for name in FAULTS:
            point -= self.faults.get(name, 0.0)
            if point < 0:
                chosen = name
                break
        self.told[chosen or "none"] += 1
        return chosen

    def reply(self, body: dict[str, Any], fault: str | None) -> Reply:
        if fault in ("429", "500"):
            return refused(int(fault), "not now")
        texts = body["input"]
        found = vectors(texts, (body.get("dimensions") or self.options.dimension) - (fault == "dimension"))
        found[[row for row, text in enumerate(texts) if "POISON-NAN" in text]] = np.nan
        if fault in ("nan", "zero"):
            found[0] = np.nan if fault == "nan" else 0.0
        if body.get("encoding_format") == "base64":
            rows: list[Any] = [base64.b64encode(row.tobytes()).decode() for row in found]
        else:
            rows = found.tolist()
        data = [{"object": "embedding", "index": row, "embedding": value} for row, value in enumerate(rows)]
        data = data[:-1] if fault == "count" else data[::-1] if fault == "order" else data
        tokens = sum(-(-len(text) // 4) for text in texts)
        usage = {"prompt_tokens": tokens, "total_tokens": tokens}
        answer = {"object": "list", "data": data, "model": body["model"], "usage": usage}
        return Reply(200, b"<html>busy</html>" if fault == "garbage" else json.dumps(answer).encode(), fault)


class Reply(NamedTuple):
    status: int
    content: bytes
    fault: str | None = None


def refused(status: int, said: str) -> Reply:
    return Reply(status, json.dumps({"error": {"message": said, "type": "error", "code": None}}).encode())


async def main() -> None:
    parser = argparse.ArgumentParser()
    parser.add_argument("--dimension", type=int, default=64)
    parser.add_argument("--latency", type=float, default=0.0, help="seconds")
    parser.add_argument("--items", type=int, default=2048, help="texts of a request at most")
    parser.add_argument("--longest", type=int, default=100_000, help="characters of a text at most")
    parser.add_argument("--hang", type=float, default=5.0, help="seconds that a timeout takes")
    parser.add_argument("--retry-after", type=float, default=0.05)
    parser.add_argument("--lists", action="store_true", help="refuse base64")
    parser.add_argument("--key", help="the only key that is taken")
    provider = Provider(parser.parse_args())
    server = await asyncio.start_server(provider.serve, "127.0.0.1", 0, limit=1 << 26)
    sys.stdout.write(f"{server.sockets[0].getsockname()[1]}\n")
    sys.stdout.flush()
    async with server:
        await server.serve_forever()


if __name__ == "__main__":
    asyncio.run(main())
