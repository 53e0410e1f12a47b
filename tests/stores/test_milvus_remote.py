"""What only a server of Milvus says: refused tokens, refused rights, quotas; over its real protocol."""

from __future__ import annotations

from concurrent.futures import ThreadPoolExecutor

import numpy as np
import pytest

from embedtune import stores
from embedtune.errors import DiskFull, StoreError

grpc = pytest.importorskip("grpc")
pymilvus = pytest.importorskip("pymilvus")

from embedtune.stores.milvus_answers import explain  # noqa: E402 - needs both


class Refusing(grpc.ServerInterceptor):
    """Answers every call with one status."""

    def __init__(self, code, said):
        self.code, self.said = code, said

    def intercept_service(self, continuation, details):
        return grpc.unary_unary_rpc_method_handler(lambda _, context: context.abort(self.code, self.said))


@pytest.fixture
def refusing():
    """Start a server that refuses all that it is asked; give its port."""
    started = []

    def start(code, said):
        server = grpc.server(ThreadPoolExecutor(2), interceptors=[Refusing(code, said)])
        port = server.add_insecure_port("127.0.0.1:0")
        server.start()
        started.append(server)
        return port

    yield start
    for server in started:
        server.stop(None)


@pytest.mark.parametrize(
    ("code", "said"),
    [
        (grpc.StatusCode.UNAUTHENTICATED, "auth check failure, please check api key is correct"),
        (grpc.StatusCode.PERMISSION_DENIED, "PrivilegeShowCollections: permission deny to reader"),
    ],
)
def test_a_refused_token_is_told_in_one_line_and_never_shown(refusing, monkeypatch, code, said):
    monkeypatch.setenv("MILVUS_TOKEN", "reader:the-secret")
    with pytest.raises(StoreError) as caught:
        stores.open_store(f"milvus://127.0.0.1:{refusing(code, said)}/docs")
    told = str(caught.value)
    assert f"Milvus refuses the token ({said}); set MILVUS_TOKEN" in told
    assert "\n" not in told
    assert "the-secret" not in told


class Status(grpc.RpcError, grpc.Call):
    """An error of gRPC as the client passes it on."""

    def code(self):
        return grpc.StatusCode.PERMISSION_DENIED

    def details(self):
        return "PrivilegeUpsert: permission deny to reader"


QUOTA = "quota exceeded[reason=rate type: DMLUpsert]"
DISK = "quota exceeded[reason=disk quota exceeded, please allocate more resources]"


@pytest.mark.parametrize(
    ("code", "said", "told"),
    [
        (1401, "SearchPrivilege", "refuses the token"),
        (grpc.StatusCode.UNAUTHENTICATED, "no", "refuses the token"),
        (3, "node 5 is at 95 %", "takes no more"),
        (8, "too much", "takes no more"),
        (7, "node 5 is at 95 %", "no space left"),
        (2, "not ready", "cannot be reached"),
        (grpc.StatusCode.DEADLINE_EXCEEDED, "waited 10 s", "cannot be reached"),
        (1100, "the field 'quota' has another type", "says: the field"),
        (1, "quota exceeded[reason=rate type: DMLUpsert]", "takes no more"),  # an older server
        (65535, "PrivilegeUpsert: permission deny to reader", "refuses the token"),
        (None, "Fail connecting to server on host:1", "cannot be reached"),
    ],
)
def test_codes_tell_what_an_error_is_and_words_only_where_there_is_none(code, said, told):
    what, fix = explain(pymilvus.MilvusException(code=code, message=f"{said}\nand a trace"))
    assert told in what
    assert said.partition("\n")[0] in what
    assert "trace" not in what
    assert fix


@pytest.mark.parametrize(
    ("error", "kind", "match"),
    [
        (Status(), StoreError, r"refuses the token \(PrivilegeUpsert: permission deny to reader\)"),
        (pymilvus.MilvusException(code=9, message=QUOTA), StoreError, "takes no more .* go on with --resume"),
        (pymilvus.MilvusException(code=9, message=DISK), DiskFull, "no room left on the server's disk"),
    ],
)
def test_a_server_that_takes_no_more_leaves_what_is_live(
    milvus, tuned, mapped, monkeypatch, error, kind, match
):
    old, upsert, calls = milvus.read(), pymilvus.MilvusClient.upsert, []

    def refused(self, *given, **named):
        calls.append(given)
        if len(calls) == 3:
            raise error
        return upsert(self, *given, **named)

    with monkeypatch.context() as patched:
        patched.setattr(pymilvus.MilvusClient, "upsert", refused)
        with pytest.raises(kind, match=match):
            stores.apply(tuned, milvus.url, batch=100)
    assert all(np.array_equal(row, old[name]) for name, row in milvus.read().items())
    assert stores.apply(tuned, milvus.url, batch=100, resume=kind is StoreError).status == "switched"
    wanted = mapped(old)
    assert all(np.allclose(row, wanted[name], atol=2e-6) for name, row in milvus.read().items())
