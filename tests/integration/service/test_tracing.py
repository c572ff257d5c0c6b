"""Traces as a collector receives them over HTTP, decoded with the protocol's own definitions."""

from __future__ import annotations

import queue
import subprocess
import sys
import threading
from collections.abc import Iterator
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer

import pytest
from opentelemetry.proto.collector.trace.v1.trace_service_pb2 import ExportTraceServiceRequest
from opentelemetry.proto.trace.v1.trace_pb2 import Span, Status

from venturalitica_agent.telemetry import Telemetry
from venturalitica_agent.tracing import Tracing


class Collector(ThreadingHTTPServer):
    def __init__(self) -> None:
        super().__init__(("127.0.0.1", 0), Receiver)
        self.received: queue.Queue[ExportTraceServiceRequest] = queue.Queue()

    @property
    def url(self) -> str:
        return f"http://127.0.0.1:{self.server_port}"


class Receiver(BaseHTTPRequestHandler):
    server: Collector

    def do_POST(self) -> None:
        assert self.path == "/v1/traces"
        self.server.received.put(
            ExportTraceServiceRequest.FromString(self.rfile.read(int(self.headers["content-length"])))
        )
        self.send_response(200)
        self.end_headers()

    def log_message(self, *_: object) -> None:
        pass


@pytest.fixture
def collector() -> Iterator[Collector]:
    with Collector() as server:
        threading.Thread(target=server.serve_forever, daemon=True).start()
        yield server
        server.shutdown()


def test_a_trace_has_a_span_for_each_stage_and_tells_no_words_of_an_error(
    collector: Collector, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("OTEL_EXPORTER_OTLP_ENDPOINT", collector.url)
    telemetry = Telemetry(tracing=Tracing({"OTEL_EXPORTER_OTLP_ENDPOINT": collector.url}))

    def fail() -> None:
        with telemetry.stage("audit", run_id="r1"):
            with telemetry.stage("fetch"):
                pass
            with telemetry.stage("predict"):
                raise ValueError("a person's income")

    with pytest.raises(ValueError, match="a person's income"):
        fail()
    telemetry.close()
    request = collector.received.get(timeout=30)
    assert b"income" not in request.SerializeToString()
    resource = {item.key: item.value.string_value for item in request.resource_spans[0].resource.attributes}
    assert resource["service.name"] == "venturalitica-agent"
    spans: dict[str, Span] = {span.name: span for span in request.resource_spans[0].scope_spans[0].spans}
    assert set(spans) == {"audit", "fetch", "predict"}
    assert spans["fetch"].parent_span_id == spans["predict"].parent_span_id == spans["audit"].span_id
    assert len({span.trace_id for span in spans.values()}) == 1
    codes = {name: span.status.code for name, span in spans.items()}
    assert codes == {
        "audit": Status.STATUS_CODE_ERROR,
        "predict": Status.STATUS_CODE_ERROR,
        "fetch": Status.STATUS_CODE_UNSET,
    }
    told = {(name, item.key): item.value.string_value for name, span in spans.items() for item in span.attributes}
    assert told == {
        ("audit", "venturalitica.run_id"): "r1",
        ("audit", "error.type"): "ValueError",
        ("predict", "error.type"): "ValueError",
    }


@pytest.mark.parametrize(
    "environ",
    [
        {},
        {"OTEL_EXPORTER_OTLP_ENDPOINT": "http://127.0.0.1:9", "OTEL_SDK_DISABLED": "true"},
        {"OTEL_EXPORTER_OTLP_ENDPOINT": "http://127.0.0.1:9", "OTEL_TRACES_EXPORTER": "none"},
    ],
)
def test_without_an_endpoint_nothing_of_opentelemetry_is_loaded(environ: dict[str, str]) -> None:
    code = (
        "import sys\n"
        "from venturalitica_agent.tracing import Tracing\n"
        f"tracing = Tracing({environ!r})\n"
        "with tracing.span('audit'): pass\n"
        "tracing.close()\n"
        "print(sum(name.startswith('opentelemetry') for name in sys.modules))"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout.strip() == "0"


def test_a_collector_that_is_away_neither_fails_an_audit_nor_keeps_the_service_from_stopping(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setenv("OTEL_EXPORTER_OTLP_ENDPOINT", "http://127.0.0.1:9")
    telemetry = Telemetry(tracing=Tracing({"OTEL_EXPORTER_OTLP_ENDPOINT": "http://127.0.0.1:9"}))
    with telemetry.stage("audit"):
        pass
    closing = threading.Thread(target=telemetry.close)
    closing.start()
    closing.join(timeout=20)  # an exporter that waits for its collector would go on for minutes
    assert not closing.is_alive()
