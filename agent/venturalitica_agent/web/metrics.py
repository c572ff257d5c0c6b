"""`/metrics` for Prometheus: read from the state whenever it is asked, so any process that has it open can answer."""

from __future__ import annotations

import time
from collections import Counter
from collections.abc import Iterator, Mapping

from prometheus_client import CollectorRegistry, generate_latest
from prometheus_client.core import (
    CounterMetricFamily,
    GaugeMetricFamily,
    HistogramMetricFamily,
    InfoMetricFamily,
    Metric,
)
from prometheus_client.exposition import CONTENT_TYPE_LATEST
from prometheus_client.registry import Collector
from starlette.requests import Request
from starlette.responses import Response
from starlette.routing import Route

from venturalitica_agent import __version__, telemetry
from venturalitica_agent.state.counters import BOUNDS, Counted, counted_so_far
from venturalitica_agent.state.drift import DriftRecord
from venturalitica_agent.state.notices import channels_now
from venturalitica_agent.web.reader import Reader
from venturalitica_agent.web.reader_integrations import waiting_since

METRICS = {
    "venturalitica_build_info": ("version", "The agent that answers."),
    "venturalitica_runs": ("store, phase", "Runs by where they stand."),
    "venturalitica_runs_ignored": ("store, reason", "Runs that are not audited, by the reason."),
    "venturalitica_verdicts": ("status, policy", "Present verdicts of runs that count."),
    "venturalitica_due": ("", "Runs that ended and have no verdict yet."),
    "venturalitica_due_oldest_seconds": ("", "How long the oldest of them has waited; 0 when none waits."),
    "venturalitica_stuck": ("", "Runs that not even an error could be written back to."),
    "venturalitica_running_too_long": ("", "Runs that are RUNNING for longer than stale_running."),
    "venturalitica_store_up": ("store, uri", "1 when the store answered at the last look, else 0."),
    "venturalitica_store_scanned_seconds": ("store", "Seconds since the last whole look at the store."),
    "venturalitica_store_lag_seconds": ("store", "How long the oldest waiting run of the store has waited."),
    "venturalitica_policy_refused": ("", "Policy folders whose present files can't come into force."),
    "venturalitica_config_refused": ("", "1 while a changed configuration can't come into force, else 0."),
    telemetry.AUDITS: ("policy, status", "Verdicts that were published, each re-audit anew."),
    telemetry.RETRIES: ("error", "Audits that were put off to be tried again, by the kind of error."),
    telemetry.EVIDENCE: ("", "Bytes of evidence that were written."),
    telemetry.POLL_ERRORS: ("store", "How often a store did not answer."),
    telemetry.KILLS: ("limit", "How often the sandbox ended what ran in it, by the limit or the signal."),
    "venturalitica_drift_incidents_total": ("", "How often a run no longer said what was published on it."),
    "venturalitica_notices": ("channel, state", "Notices that wait for a channel to take them, or were given up."),
    telemetry.STALE: ("", "How often the model or the data of a run had changed after its audit."),
    telemetry.STAGES: ("stage", "Histogram: how long each stage of an audit took."),
    telemetry.DELAY: ("", "Histogram: from the end of a run that was watched to its verdict."),
}
"""Name -> its labels and what it tells. A histogram has `_bucket` (with `le`), `_sum` and `_count`."""

_HISTOGRAMS = (telemetry.STAGES, telemetry.DELAY)
_COUNTED = (
    telemetry.AUDITS,
    telemetry.RETRIES,
    telemetry.EVIDENCE,
    telemetry.POLL_ERRORS,
    telemetry.KILLS,
    telemetry.STALE,
)


def metrics_routes(reader: Reader) -> list[Route]:
    registry = CollectorRegistry()
    registry.register(_State(reader))

    def metrics(_request: Request) -> Response:
        return Response(generate_latest(registry), headers={"content-type": CONTENT_TYPE_LATEST})

    return [Route("/metrics", metrics)]


class _State(Collector):
    """The state as metrics. Times are seconds."""

    def __init__(self, reader: Reader) -> None:
        self._reader = reader

    def describe(self) -> list[Metric]:
        return []  # registering must not read the state

    def collect(self) -> Iterator[Metric]:
        now, reading = time.time(), self._reader.reading
        build = InfoMetricFamily("venturalitica_build", METRICS["venturalitica_build_info"][1])
        build.add_metric([], {"version": __version__})
        yield build

        phases: Counter[tuple[str, ...]] = Counter()
        ignored: Counter[tuple[str, ...]] = Counter()
        for store, phase, reason, count in reading.phases():
            phases[store, phase] += count
            if reason:
                ignored[store, reason] += count
        yield _gauge("venturalitica_runs", phases)
        yield _gauge("venturalitica_runs_ignored", ignored)
        verdicts: Counter[tuple[str, ...]] = Counter()
        for tally in reading.tallies(()):
            verdicts[tally.status, tally.policy] += tally.count
        yield _gauge("venturalitica_verdicts", verdicts)

        queues = reading.queues()
        waiting = waiting_since(queues)
        oldest = now - min(waiting.values()) if waiting else 0.0
        yield _gauge("venturalitica_due", {(): sum(queue.count for queue in queues if queue.waits)})
        yield _gauge("venturalitica_due_oldest_seconds", {(): max(0.0, oldest)})
        yield _gauge("venturalitica_stuck", {(): sum(queue.count for queue in queues if not queue.waits)})
        too_long = reading.running_since_before(now - self._reader.settings.stale_running)
        yield _gauge("venturalitica_running_too_long", {(): too_long})

        known = reading.known_stores()
        yield _gauge("venturalitica_store_up", {(store, row["uri"]): int(row["ok"]) for store, row in known.items()})
        scanned: dict[tuple[str, ...], float] = {
            (store,): now - row["scanned_at"] for store, row in known.items() if row["scanned_at"]
        }
        yield _gauge("venturalitica_store_scanned_seconds", scanned)
        lags: dict[tuple[str, ...], float] = {(store,): max(0.0, now - waiting.get(store, now)) for store in known}
        yield _gauge("venturalitica_store_lag_seconds", lags)
        yield _gauge("venturalitica_policy_refused", {(): len(self._reader.refused_policies())})
        yield _gauge("venturalitica_config_refused", {(): int(bool(self._reader.refused_config()))})

        told = channels_now(reading.engine)
        notices: dict[tuple[str, ...], float] = {
            (row["name"], state): row[state] for row in told for state in ("waiting", "given_up")
        }
        yield _gauge("venturalitica_notices", notices)

        so_far = counted_so_far(reading.engine)
        for name in _COUNTED:
            yield _counter(name, so_far.get(name, {}))
        yield _counter("venturalitica_drift_incidents_total", {(): DriftRecord(reading.engine).count()})
        for name in _HISTOGRAMS:
            yield _histogram(name, so_far.get(f"{name}_bucket", {}), so_far.get(f"{name}_sum", {}))


def _gauge(name: str, values: Mapping[tuple[str, ...], float]) -> Metric:
    labels, told = METRICS[name]
    found = GaugeMetricFamily(name, told, labels=labels.split(", ") if labels else [])
    for key in sorted(values):
        found.add_metric(key, values[key])
    return found


def _counter(name: str, values: Counted) -> Metric:
    labels, told = METRICS[name]
    names = labels.split(", ") if labels else []
    found = CounterMetricFamily(name.removesuffix("_total"), told, labels=names)
    for key, value in sorted((values if names else {(): 0.0, **values}).items()):
        found.add_metric([dict(key).get(label, "") for label in names], value)
    return found


def _histogram(name: str, buckets: Counted, sums: Counted) -> Metric:
    """The state holds what is in each bucket; Prometheus wants what is in it and below."""
    labels, told = METRICS[name]
    names = labels.split(", ") if labels else []
    found = HistogramMetricFamily(name, told, labels=names)
    for key, total in sorted(sums.items()):
        below, cumulated = 0.0, []
        for bound in (*(f"{bound:g}" for bound in BOUNDS), "+Inf"):
            below += buckets.get(tuple(sorted((*key, ("le", bound)))), 0.0)
            cumulated.append((bound, below))
        found.add_metric([dict(key)[label] for label in names], cumulated, total)
    return found
