"""A chat endpoint that a test starts: it gives what it was told to, and remembers what it was asked."""

from __future__ import annotations

import json
import threading
from collections.abc import Callable
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer

KEY = "sk-secret-of-the-test"


def answer(
    content: object, *, finish: str = "stop", usage: dict[str, int] | None = None
) -> tuple[int, bytes]:
    body = {"choices": [{"message": {"content": content}, "finish_reason": finish}]}
    return 200, json.dumps(body | ({"usage": usage} if usage else {})).encode()


class Endpoint:
    """A server that gives what ``reply`` makes of a request's body."""

    def __init__(self) -> None:
        self.asked: list[dict] = []
        self.keys: set[str | None] = set()
        self.reply: Callable[[dict], tuple[int, bytes] | tuple[int, bytes, dict[str, str]]]
        self.reply = lambda body: answer("is my heart well?")
        endpoint = self

        class Handler(BaseHTTPRequestHandler):
            def do_POST(self) -> None:
                body = json.loads(self.rfile.read(int(self.headers["Content-Length"])))
                endpoint.asked.append(body)
                endpoint.keys.add(self.headers.get("Authorization"))
                status, content, *more = endpoint.reply(body)
                try:
                    self.send_response(status)
                    for name, value in (more[0] if more else {}).items():
                        self.send_header(name, value)
                    self.send_header("Content-Length", str(len(content)))
                    self.end_headers()
                    self.wfile.write(content)
                except OSError:  # whoever asked has gone
                    pass

            def log_message(self, *_: object) -> None:
                pass

        self.server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
        self.server.daemon_threads = True
        threading.Thread(target=self.server.serve_forever, daemon=True).start()

    @property
    def address(self) -> str:
        return f"http://127.0.0.1:{self.server.server_port}/v1"
