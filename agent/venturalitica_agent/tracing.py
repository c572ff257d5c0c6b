"""Traces for whoever collects OpenTelemetry: the only file that imports it, and only where an endpoint is set.

The standard variables say where to (`OTEL_EXPORTER_OTLP_ENDPOINT` or `OTEL_EXPORTER_OTLP_TRACES_ENDPOINT`, OTLP over
HTTP) and how. Spans leave in batches from a thread of their own, so a collector that is away delays no audit.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from typing import TYPE_CHECKING

from venturalitica_agent import __version__

if TYPE_CHECKING:
    from opentelemetry.sdk.trace import TracerProvider

_ENDPOINTS = ("OTEL_EXPORTER_OTLP_TRACES_ENDPOINT", "OTEL_EXPORTER_OTLP_ENDPOINT")
_NAME = "venturalitica-agent"
_SEND_SECONDS = 2  # what the last spans may take when the service stops


def tracing_wanted(environ: Mapping[str, str]) -> bool:
    """Whether the environment asks for traces."""
    off = environ.get("OTEL_SDK_DISABLED", "").lower() == "true" or environ.get("OTEL_TRACES_EXPORTER") == "none"
    return not off and any(environ.get(name) for name in _ENDPOINTS)


class Tracing:
    """Hands out spans; where none are wanted that costs nothing.

    Args:
        environ: where the standard variables are looked for; the libraries read the process's own.
    """

    def __init__(self, environ: Mapping[str, str]) -> None:
        self._provider = _provider(environ) if tracing_wanted(environ) else None

    @contextmanager
    def span(self, name: str, attributes: Mapping[str, str] | None = None) -> Iterator[None]:
        """A span around what is done in here; an error ends it as failed and goes on its way."""
        if self._provider is None:
            yield
            return
        from opentelemetry.trace import StatusCode

        told = {f"venturalitica.{key}": value for key, value in (attributes or {}).items()}
        tracer = self._provider.get_tracer(_NAME, __version__)
        # The error's words may hold what a model or a table says, so only its kind goes out.
        with tracer.start_as_current_span(
            name, attributes=told, record_exception=False, set_status_on_exception=False
        ) as span:
            try:
                yield
            except BaseException as error:
                span.set_attribute("error.type", type(error).__name__)
                span.set_status(StatusCode.ERROR)
                raise

    def close(self) -> None:
        """Send what is left, for at most a few seconds."""
        if self._provider is not None:
            self._provider.shutdown()
            self._provider = None


def _provider(environ: Mapping[str, str]) -> TracerProvider:
    """A provider of our own: the global one belongs to the trackers' libraries."""
    from opentelemetry.exporter.otlp.proto.http.trace_exporter import OTLPSpanExporter
    from opentelemetry.sdk.resources import Resource
    from opentelemetry.sdk.trace import TracerProvider
    from opentelemetry.sdk.trace.export import BatchSpanProcessor

    told = {"service.version": __version__}
    if not environ.get("OTEL_SERVICE_NAME"):
        told["service.name"] = _NAME
    provider = TracerProvider(resource=Resource.create(told), shutdown_on_exit=False)
    provider.add_span_processor(BatchSpanProcessor(OTLPSpanExporter(timeout=_SEND_SECONDS)))
    return provider
