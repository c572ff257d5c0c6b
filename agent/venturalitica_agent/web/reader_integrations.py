"""The page of the stores: what each does, when something last came of it, and which credentials there are for it."""

from __future__ import annotations

import os
from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import Any

import sqlalchemy as sa

from venturalitica_agent.domain.ledger import Phase
from venturalitica_agent.errors import StoreUnavailable
from venturalitica_agent.settings import Settings
from venturalitica_agent.state.reading import Queue, Reading
from venturalitica_agent.state.services import holder_of
from venturalitica_agent.stores.wandb_http import DEFAULT_URL, find_key
from venturalitica_agent.web.doctor import Doctor
from venturalitica_agent.web.lights import by_store
from venturalitica_agent.web.model import Credential, Integration, IntegrationsPage
from venturalitica_agent.web.places import Place

_OF_MLFLOW = ("MLFLOW_TRACKING_USERNAME", "MLFLOW_TRACKING_PASSWORD", "MLFLOW_TRACKING_TOKEN")
_OF_S3 = ("AWS_ACCESS_KEY_ID", "AWS_SECRET_ACCESS_KEY")
_SWEEPS_MISSED = 3  # a service on a shared database is taken to be gone after so many
_LEAST_SILENCE = 180.0


class Integrations:
    """Reads what is known of the stores."""

    def __init__(self, settings: Settings, reading: Reading) -> None:
        self._settings = settings
        self._reading = reading
        self._doctor = Doctor(settings)

    def close(self) -> None:
        self._doctor.close()

    def recheck(self) -> None:
        self._doctor.recheck()

    def page(self, places: Mapping[str, Place], now: float) -> IntegrationsPage:
        checks, checked_at = self._doctor.checks()
        known = self._reading.known_stores()
        running, service = self._service(known, now)
        return IntegrationsPage(
            service_running=running,
            service=service,
            stores=self._stores(places, known, now),
            checks=checks,
            checked_at=checked_at,
        )

    def _stores(
        self, places: Mapping[str, Place], known: Mapping[str, Mapping[str, Any]], now: float
    ) -> tuple[Integration, ...]:
        reading = self._reading
        phases, events, faults = reading.phases(), reading.last_events(), reading.faults()
        waiting, latest = waiting_since(reading.queues()), reading.latest_runs()
        found = []
        for place in sorted(places.values(), key=lambda place: place.uri):
            row, fault, newest = known.get(place.id, {}), faults.get(place.id), latest.get(place.id)
            link = place.run(newest.experiment_id, newest.run_id, newest.link) if newest else ""
            found.append(
                Integration(
                    id=place.id,
                    kind=place.kind,
                    uri=place.uri,
                    ok=row.get("ok"),
                    since=row.get("since"),
                    scanned_at=row.get("scanned_at"),
                    last_event=events.get(place.id),
                    last_error=fault.error if fault else row.get("error", ""),
                    last_error_at=fault.at if fault else None,
                    remedy=fault.remedy if fault else row.get("remedy", ""),
                    lag=max(0.0, now - waiting[place.id]) if place.id in waiting else 0.0,
                    phases=by_store(phases, place.id),
                    ignored={why: n for store, phase, why, n in phases if (store, phase) == (place.id, Phase.IGNORED)},
                    credentials=self._credentials(place),
                    experiment_link=place.experiment(newest.experiment_id) if newest else "",
                    latest_run=newest.run_name or newest.run_id if newest else "",
                    latest_run_link=link,
                )
            )
        return tuple(found)

    def _credentials(self, place: Place) -> tuple[Credential, ...]:
        if place.kind in ("wandb", "wandb_offline"):
            return (self._wandb_key(),)
        names = (*(_OF_MLFLOW if place.uri.startswith("http") else ()), *_OF_S3) if place.kind == "mlflow" else ()
        return tuple(Credential(name=name, present=bool(at := self._origin(name)), origin=at) for name in names)

    def _origin(self, name: str) -> str:
        # In the service's process, what .env gives is in the environment too.
        if self._settings.environment.get(name):
            return ".env"
        return "environment" if os.environ.get(name) else ""

    def _wandb_key(self) -> Credential:
        if origin := self._origin("WANDB_API_KEY"):
            return Credential(name="WANDB_API_KEY", present=True, origin=origin)
        env = {**os.environ, **self._settings.environment}
        try:
            key = find_key(env.get("WANDB_BASE_URL") or DEFAULT_URL, env)
        except StoreUnavailable:  # a netrc that can't be read; doctor says why
            key = None
        return Credential(name="WANDB_API_KEY", present=key is not None, origin="netrc" if key else "")

    def _service(self, known: Mapping[str, Mapping[str, Any]], now: float) -> tuple[bool, str]:
        """Whether a process audits what ends, and a sentence on which one."""
        start = "start one with `venturalitica-agent run`"
        url = sa.make_url(self._settings.state)
        if url.get_backend_name() == "sqlite":
            holder = holder_of(Path(url.database or "").with_suffix(".lock"))
            if holder is None:
                return False, f"no process watches the stores now: {start}"
            own = " and serves this page" if holder == os.getpid() else ""
            return True, f"process {holder} watches the stores{own}"
        scanned = max((row["scanned_at"] or 0.0 for row in known.values()), default=0.0)
        silence = max(_SWEEPS_MISSED * self._settings.reconcile, _LEAST_SILENCE)
        if now - scanned > silence:
            return False, f"no service has looked at a store within {silence:.0f} s: {start}"
        return True, f"a service looked at a store {now - scanned:.0f} s ago"


def waiting_since(queues: Iterable[Queue]) -> dict[str, float]:
    """Since when the oldest run of each store waits for its verdict."""
    found: dict[str, float] = {}
    for queue in queues:
        if queue.waits:
            found[queue.store] = min(queue.since, found.get(queue.store, queue.since))
    return found
