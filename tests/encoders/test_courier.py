"""Couriers: whatever ends a process, answers under way are kept, and no courier is left behind."""

from __future__ import annotations

import gc
import logging
import os
import signal
import subprocess
import sys
import threading
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest

import embedtune
from embedtune.encoders import CachedEncoder, VectorCache, load_encoder
from embedtune.encoders.api import dispatch
from embedtune.encoders.api.encoder import ApiEncoder
from embedtune.encoders.api.wire import Wire, packed, unpacked
from embedtune.encoders.pace import Pace, Unfinished, paced
from embedtune.errors import TextsFailed, UserError
from embedtune.spending import Spending

pytestmark = pytest.mark.skipif(not Path("/proc/self/environ").exists(), reason="looks processes up in /proc")

KEY = "sk-secret-of-the-test"
TEXTS = [f"text {number}" for number in range(400)]

RUN = """
import os, sys, time
from embedtune.encoders import load_encoder
encoder = load_encoder("model", api_base=sys.argv[1], dimensions=64, batch=20, concurrency=4, wait=0.005)
if sys.argv[2] == "forked":
    encoder.encode(["a", *(f"first {number}" for number in range(20))])
    if not os.fork():
        time.sleep(600)
vectors = encoder.encode([f"text {number}" for number in range(400)])
sys.stdout.buffer.write(vectors.tobytes())
"""


def opened(provider: Any, **options: Any) -> Any:
    return load_encoder(
        "model", **{"api_base": provider.base, "dimensions": 64, "batch": 20, "wait": 0.005, **options}
    )


def start(provider: Any, how: str = "", **more: Any) -> subprocess.Popen[bytes]:
    environment = os.environ | {"PYTHONPATH": str(Path(embedtune.__file__).parents[1])}
    command = [sys.executable, "-c", RUN, provider.base, how]
    return subprocess.Popen(command, stdout=subprocess.PIPE, env=environment, start_new_session=True, **more)


def finished(run: subprocess.Popen[bytes]) -> np.ndarray:
    assert run.stdout is not None
    with run.stdout:
        vectors = np.frombuffer(run.stdout.read(), np.float32).reshape(-1, 64)
    assert run.wait() == 0
    return vectors


def ended(run: subprocess.Popen[bytes]) -> int:
    assert run.stdout is not None
    run.stdout.close()
    return run.wait()


def couriers() -> list[int]:
    """Give the couriers of this test, which has a cache of its own."""
    own = f"EMBEDTUNE_CACHE_DIR={os.environ['EMBEDTUNE_CACHE_DIR']}".encode()
    found = []
    for folder in Path("/proc").glob("[0-9]*"):
        try:
            if b"embedtune.encoders.api.courier" not in (folder / "cmdline").read_bytes().split(b"\0"):
                continue
            if own in (folder / "environ").read_bytes().split(b"\0"):
                found.append(int(folder.name))
        except OSError:  # it has ended
            continue
    return found


def waited(condition: Callable[[], bool]) -> bool:
    """Wait until something is so, or has not come for far too long."""
    end = time.monotonic() + 120.0
    while not condition():
        if time.monotonic() > end:
            return False
        time.sleep(0.01)
    return True


def nobody() -> bool:
    return not couriers()


@pytest.mark.parametrize("how", ["process", "group", "forked"])
def test_a_kill_loses_no_answer(
    serve: Any, monkeypatch: pytest.MonkeyPatch, how: str, tmp_path: Path
) -> None:
    provider = serve("--latency", "0.5")
    more = 21 if how == "forked" else 0
    run = start(provider, how)
    assert waited(lambda: provider.accounts()["texts"] >= 40 + more)  # so the next ones are under way
    (courier,) = couriers()
    assert os.getpgid(courier) != os.getpgid(run.pid)
    children = Path(f"/proc/{run.pid}/task/{run.pid}/children").read_text("ascii").split()
    os.killpg(run.pid, signal.SIGKILL) if how == "group" else run.send_signal(signal.SIGKILL)
    ended(run)
    asked = provider.accounts()["requests"]
    assert asked <= 12  # of 20
    again = start(provider)
    vectors = finished(again)
    accounts = provider.accounts()
    assert accounts["texts"] == accounts["charged"] == 400 + more
    assert accounts["charged_most"] == 1
    assert waited(nobody)
    for child in {int(child) for child in children} - {courier}:
        os.kill(child, signal.SIGKILL)  # it has held the pipes open
    monkeypatch.setenv("EMBEDTUNE_CACHE_DIR", str(tmp_path))
    assert opened(provider).encode(TEXTS).tobytes() == vectors.tobytes()


def test_killed_over_and_over(serve: Any) -> None:
    provider = serve("--latency", "0.2")
    for done in (40, 120, 200, 280):
        run = start(provider)
        assert waited(lambda done=done: provider.accounts()["texts"] >= done)
        run.send_signal(signal.SIGKILL)
        ended(run)
    finished(start(provider))
    assert provider.accounts()["charged"] == provider.accounts()["texts"] == 400
    assert waited(nobody)


def test_ctrl_c_takes_what_is_under_way(serve: Any) -> None:
    provider = serve("--latency", "0.3")
    run = start(provider, stderr=subprocess.PIPE)
    assert waited(lambda: provider.accounts()["texts"] >= 40)
    os.killpg(run.pid, signal.SIGINT)
    assert run.stderr is not None
    with run.stderr:
        assert b"KeyboardInterrupt" in run.stderr.read()
    assert ended(run) != 0
    paid = provider.accounts()["charged"]
    assert 40 <= paid < 400
    assert waited(nobody)
    assert provider.accounts()["requests"] * 20 == paid  # all that was asked for was answered
    finished(start(provider))
    assert provider.accounts()["charged"] == 400


class UntilDone(Pace):
    """A time that ends once so many texts have come."""

    most = 0

    @property
    def left(self) -> float:
        return 0.02 if self.done < self.most else 0.0


@pytest.mark.parametrize("alone", [False, True], ids=["courier", "this process"])
def test_a_time_that_ends_takes_what_is_under_way(
    serve: Any, monkeypatch: pytest.MonkeyPatch, alone: bool
) -> None:
    provider = serve("--latency", "0.1")
    monkeypatch.setattr(dispatch, "LOOK", 0.05)
    if alone:
        monkeypatch.setattr(sys, "executable", "")
    encoder = opened(provider, concurrency=4)
    pace = UntilDone(0.0, "nothing comes of it")
    pace.most = 40
    with pytest.raises(Unfinished), paced(pace):
        encoder.encode(TEXTS)
    accounts = provider.accounts()
    assert 40 <= pace.done == accounts["charged"] < 400  # all that was asked for was answered, and is kept
    assert accounts["requests"] * 20 == accounts["charged"]
    more = opened(provider)
    vectors = more.encode(TEXTS)
    assert provider.accounts()["charged"] == provider.accounts()["texts"] == 400
    assert encoder.encode(TEXTS).tobytes() == vectors.tobytes()  # it can be used again


def test_ctrl_c_twice_leaves_the_rest_to_the_courier(serve: Any) -> None:
    provider = serve("--latency", "3")
    run = start(provider, stderr=subprocess.DEVNULL)
    assert waited(lambda: provider.accounts()["requests"] == 4)
    for _ in range(200):
        os.killpg(run.pid, signal.SIGINT)
        time.sleep(0.05)
        if run.poll() is not None:
            break
    assert ended(run) != 0
    assert provider.accounts()["charged"] == 0
    finished(start(provider))  # waits for it
    assert provider.accounts()["charged"] == provider.accounts()["texts"] == 400


def test_a_courier_that_is_killed_is_followed_by_another(serve: Any, caplog: Any) -> None:
    provider, killed = serve("--latency", "0.02"), []

    def kill(done: int, total: int) -> None:
        if done >= 100 and not killed:
            killed.extend(couriers())
            os.kill(killed[0], signal.SIGKILL)

    encoder = opened(provider, concurrency=1, progress=kill)
    with caplog.at_level(logging.WARNING):
        vectors = encoder.encode(TEXTS)
    lines = [record.getMessage() for record in caplog.records]
    assert lines == [
        "model: the process that made its requests was ended (signal 9); what it had kept is there"
    ]
    assert provider.accounts()["texts"] == 400
    assert provider.accounts()["charged"] <= 440  # two requests at most were under way
    (second,) = couriers()
    assert second != killed[0]
    os.kill(second, signal.SIGKILL)
    assert waited(lambda: not encoder.encoder._dispatch._courier.usable())
    more = [f"more {number}" for number in range(40)]
    assert encoder.encode([*TEXTS, *more])[:400].tobytes() == vectors.tobytes()  # a third one
    assert len(caplog.records) == 1  # nothing was under way


def test_where_no_courier_starts_this_process_asks(
    provider: Any, monkeypatch: pytest.MonkeyPatch, caplog: Any
) -> None:
    monkeypatch.setattr(sys, "executable", "/bin/false")
    encoder = opened(provider)
    with caplog.at_level(logging.WARNING):
        encoder.encode(TEXTS[:200])
        encoder.encode(TEXTS)
    assert [record.getMessage() for record in caplog.records] == [f"model: {dispatch.NO_START}"]
    assert provider.accounts()["charged"] == 400


class Mine(ApiEncoder):
    """Somebody's own."""


def test_a_courier_is_for_what_is_kept_and_more_than_one_request(provider: Any, tmp_path: Path) -> None:
    opened(provider).encode(TEXTS[:20])
    opened(provider, cache=False).encode(TEXTS[:60])
    own = Mine("model", api_base=provider.base, dimensions=64, batch=20)
    CachedEncoder(own, VectorCache(tmp_path)).encode(TEXTS[:60])
    assert nobody()
    encoder = opened(provider)
    encoder.encode(TEXTS[:60])
    (one,) = couriers()
    encoder.encode(TEXTS, kind="query")
    assert couriers() == [one]  # it waits for more, as long as there is its encoder
    del encoder
    gc.collect()
    assert waited(nobody)


def test_no_key_is_in_a_message_or_on_a_command_line(
    serve: Any, monkeypatch: pytest.MonkeyPatch, caplog: Any
) -> None:
    provider = serve()
    said: list[Any] = []

    class Heard(Wire):
        def send(self, message: dict[str, Any], *content: Any) -> None:
            said.append((message, [bytes(one) for one in content]))
            super().send(message, *content)

        def receive(self) -> Any:
            said.append(found := super().receive())
            return found

    monkeypatch.setattr(dispatch, "Wire", Heard)
    monkeypatch.setenv("MY_KEY", KEY)
    address = provider.base.replace("//", "//me:ge%2Fheim@")
    with caplog.at_level(logging.DEBUG):
        encoder = opened(provider, api_base=address, api_key_env="MY_KEY")
        encoder.encode(TEXTS)
    command = Path(f"/proc/{couriers()[0]}/cmdline").read_text("utf-8")
    assert "courier" in command
    assert len(said) > 20
    for secret in (KEY, "heim"):
        assert secret not in command
        assert secret not in str(said)
    variables = Path(f"/proc/{couriers()[0]}/environ").read_text("utf-8")
    assert KEY in variables
    assert "ge/heim" in variables


def test_the_key_and_the_password_arrive(serve: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    provider = serve("--key", KEY)
    monkeypatch.setenv("MY_KEY", KEY)
    encoder = opened(provider, api_key_env="MY_KEY")
    assert encoder.encode(TEXTS).shape == (400, 64)
    monkeypatch.delenv("MY_KEY")
    with pytest.raises(UserError, match="model needs a key, and MY_KEY is not set"):
        encoder.encode([f"new {number}" for number in range(40)])
    monkeypatch.setenv("MY_KEY", "wrong")
    with pytest.raises(UserError, match="the provider refuses the key"):
        opened(provider, api_key_env="MY_KEY").encode([f"new {number}" for number in range(40)])


def test_errors_come_back_as_they_are(provider: Any) -> None:
    encoder, texts = opened(provider, concurrency=1), [*TEXTS[:50], "POISON-400", *TEXTS[50:]]
    encoder.encode(TEXTS[:30])
    with pytest.raises(TextsFailed, match=r"1 of 401 texts have no vector: number 50 \(HTTP 400") as caught:
        encoder.encode(texts)
    assert caught.value.rows == [50]
    assert caught.value.fix == "the others are kept: mend or remove these, or run again"
    provider.faults(_500=1.0)
    with pytest.raises(
        UserError, match=r"HTTP 500.*run again later; what was paid for is kept|run again later"
    ):
        encoder.encode([f"new {number}" for number in range(200)])
    provider.faults()
    assert provider.accounts()["charged"] == 400


def test_one_limit_holds_for_all_who_spend(serve: Any) -> None:
    provider, spending = serve("--latency", "0.02"), Spending(1000.0)
    encoders = [opened(provider, prices={"model": 1e6}, max_cost=spending) for _ in range(2)]
    errors: list[UserError] = []

    def encode(number: int) -> None:
        try:
            encoders[number].encode([f"{number} has {text}" for text in TEXTS])
        except UserError as error:
            errors.append(error)

    threads = [threading.Thread(target=encode, args=(number,)) for number in range(2)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    paid = sum(-(-len(text) // 4) for text in provider.accounts()["each"])
    assert 800 < paid == spending.spent <= 1000
    assert spending.stopped
    assert not spending.in_flight
    assert [str(error).partition(":")[2].partition(":")[0] for error in errors] == [
        " stopped before the limit of 1000 USD"
    ] * 2


def test_the_limit_is_told_with_what_was_spent(provider: Any) -> None:
    encoder = opened(provider, prices={"model": 1e6}, max_cost=500.0)
    with pytest.raises(UserError, match="stopped before the limit of 500 USD") as caught:
        encoder.encode(TEXTS)
    paid = sum(-(-len(text) // 4) for text in provider.accounts()["each"])
    assert f"{provider.accounts()['texts']} of 400 texts were encoded, for {paid};" in str(caught.value)
    assert paid == encoder.spending.spent


def test_what_is_not_settled_counts_at_its_worst(serve: Any) -> None:
    provider, killed = serve("--latency", "0.05"), []

    def kill(done: int, total: int) -> None:
        if done and not killed:
            killed.extend(couriers())
            os.kill(killed[0], signal.SIGKILL)

    encoder = opened(provider, prices={"model": 1e6}, max_cost=1e6, progress=kill, concurrency=2)
    encoder.encode(TEXTS)
    assert not encoder.spending.in_flight
    paid = sum(-(-len(text) // 4) * times for text, times in provider.accounts()["each"].items())
    assert encoder.spending.spent >= paid


def test_what_progress_raises_ends_the_work(serve: Any) -> None:
    provider = serve("--latency", "0.02")

    def stop(done: int, total: int) -> None:
        if done >= 100:
            raise RuntimeError("enough")

    encoder = opened(provider, progress=stop, concurrency=1)
    with pytest.raises(RuntimeError, match="enough"):
        encoder.encode(TEXTS)
    paid = provider.accounts()["charged"]
    assert 100 <= paid < 400
    encoder.progress = None
    encoder.encode(TEXTS)
    assert provider.accounts()["charged"] == 400


def test_progress_may_encode_itself(provider: Any) -> None:
    def more(done: int, total: int) -> None:
        if total == 400 and done == 400:
            encoder.encode([f"more {number}" for number in range(60)])

    encoder = opened(provider, progress=more)
    encoder.encode(TEXTS)
    assert provider.accounts()["charged"] == 460


def test_messages_come_through_as_they_were_sent() -> None:
    source, sink = os.pipe()
    here, there = Wire(sink, sink, gone=lambda: False), Wire(source, source)
    content = os.urandom(3_000_000)  # more than a pipe holds
    heard: list[Any] = []
    thread = threading.Thread(target=lambda: heard.extend(iter(there.receive, None)))
    thread.start()
    here.send({"text": "\ud800 ü"}, content, b"", memoryview(np.arange(3)))
    here.send({"nothing": None})
    os.close(sink)
    thread.join()
    os.close(source)
    assert heard == [
        ({"text": "\ud800 ü"}, bytearray(content + np.arange(3).tobytes())),
        ({"nothing": None}, bytearray()),
    ]


def test_texts_arrive_whatever_is_in_them() -> None:
    texts, keys = ["", "\ud800 ü", "𝒳\0\n", ""], np.arange(128, dtype=np.uint8).reshape(4, 32)
    came, with_them = unpacked(bytearray().join(packed(texts, keys)))
    assert came == texts
    np.testing.assert_array_equal(with_them, keys)
    assert unpacked(bytearray().join(packed([], keys[:0])))[0] == []


def test_nobody_who_reads_is_waited_for_when_all_are_gone() -> None:
    source, sink = os.pipe()
    with pytest.raises(BrokenPipeError):
        Wire(sink, sink, gone=lambda: True).send({}, bytes(3_000_000))
    os.close(source)
    os.close(sink)
