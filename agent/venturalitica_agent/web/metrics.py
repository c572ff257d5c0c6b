"""`/metrics` for Prometheus: computed from the state whenever it is asked, so nothing has to be counted meanwhile."""

from __future__ import annotations

import time
from collections import Counter
from collections.abc import Iterator, Mapping

from prometheus_client import CollectorRegistry, generate_latest
from prometheus_client.core import GaugeMetricFamily, InfoMetricFamily, Metric
from prometheus_client.exposition import CONTENT_TYPE_LATEST
from prometheus_client.registry import Collector
from starlette.requests import Request
from starlette.responses import Response
from starlette.routing import Route

from venturalitica_agent import __version__
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
}
"""Name -> its labels and what it tells."""


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


def _gauge(name: str, values: Mapping[tuple[str, ...], float]) -> Metric:
    labels, told = METRICS[name]
    found = GaugeMetricFamily(name, told, labels=labels.split(", ") if labels else [])
    for key in sorted(values):
        found.add_metric(key, values[key])
    return found
