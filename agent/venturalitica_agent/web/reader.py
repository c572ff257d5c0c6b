"""What each page says, read from the state: the one thing that pages, the JSON API and the metrics ask."""

from __future__ import annotations

import time
from collections.abc import Iterable, Mapping, Sequence
from datetime import UTC, datetime, timedelta
from typing import Any

from venturalitica_agent.domain.verdict import Status
from venturalitica_agent.settings import Settings
from venturalitica_agent.state.config import ConfigRecord
from venturalitica_agent.state.listing import BadQuery, Key, Listing, Wanted
from venturalitica_agent.state.reading import Queue, Reading, Tally, open_reading
from venturalitica_agent.web import lights
from venturalitica_agent.web.model import (
    IntegrationsPage,
    Overview,
    PoliciesPage,
    RunFilter,
    RunPage,
    RunRow,
    RunsPage,
    StoreLight,
    Waiting,
)
from venturalitica_agent.web.places import Place, places
from venturalitica_agent.web.reader_integrations import Integrations
from venturalitica_agent.web.reader_policies import PolicyPages
from venturalitica_agent.web.reader_run import read_run

_LETTERS = {letter: status.value for letter, status in zip("pfiwesx", Status, strict=True)}
_LARGEST_PAGE = 500


class Reader:
    """Thread-safe and read-only; has connections of its own, so it never holds up an audit.

    Raises:
        ConfigError: the state can't be opened.
    """

    def __init__(self, settings: Settings) -> None:
        self.settings = settings
        self._engine = open_reading(settings.state)
        self.reading = Reading(self._engine)
        self._listing = Listing(self._engine)
        self._policies = PolicyPages(settings, self._engine)
        self._integrations = Integrations(settings, self.reading)

    def close(self) -> None:
        self._integrations.close()
        self._engine.dispose()

    def places(self) -> Mapping[str, Place]:
        """Every store by id, with where its runs are seen."""
        known = {store: row["uri"] for store, row in self.reading.known_stores().items()}
        return places(self.settings, known, {store: row.link for store, row in self.reading.latest_runs().items()})

    def overview(self) -> Overview:
        now = time.time()
        reading, weeks = self.reading, lights.last_weeks(now)
        tallies, queues = reading.tallies(weeks), reading.queues()
        counts = lights.total(tallies)
        return Overview(
            now=now,
            light=lights.light(counts),
            counts=counts,
            due=_waiting(queue for queue in queues if queue.waits),
            stuck=_waiting(queue for queue in queues if not queue.waits),
            running_too_long=reading.running_since_before(now - self.settings.stale_running),
            stores=self._stores(tallies, weeks),
            notices=(
                *(f"the changed configuration is not in force: {words}" for words in self.refused_config()),
                *self._policies.notices(now),
            ),
        )

    def _stores(self, tallies: Sequence[Tally], weeks: Sequence[float]) -> tuple[StoreLight, ...]:
        known, phases, waiting = self.reading.known_stores(), self.reading.phases(), self.reading.open_experiments()
        found = []
        for place in sorted(self.places().values(), key=lambda place: place.uri):
            row = known.get(place.id, {})
            own = [tally for tally in tallies if tally.store == place.id]
            idle = [experiment for store, experiment in waiting if store == place.id]
            found.append(
                StoreLight(
                    id=place.id,
                    kind=place.kind,
                    uri=place.uri,
                    ok=row.get("ok"),
                    since=row.get("since"),
                    error=row.get("error", ""),
                    remedy=row.get("remedy", ""),
                    light=lights.light(lights.total(own)),
                    phases=lights.by_store(phases, place.id),
                    experiments=lights.experiments(own, idle, weeks, place.experiment),
                )
            )
        return tuple(found)

    def runs(self, wanted: RunFilter, *, after: str = "", before: str = "", size: int = 50) -> RunsPage:
        """One page of the list of runs.

        Raises:
            BadQuery: a day, a place or a size can't be read.
        """
        if not 1 <= size <= _LARGEST_PAGE:
            raise BadQuery(f"a page has 1 to {_LARGEST_PAGE} rows", subject=f"size={size}")
        key_after, key_before = (Key.read(token) if token else None for token in (after, before))
        if key_after and key_before:
            raise BadQuery("a page comes after a row or before one", remedy="leave `after` or `before` out")
        page = self._listing.page(_wanted(wanted), size=size, after=key_after, before=key_before)
        places, choices = self.places(), self._listing.choices()
        return RunsPage(
            filter=wanted,
            rows=tuple(_row(row, places) for row in page.rows),
            total=page.total,
            first=page.skipped + 1 if page.rows else 0,
            after=page.key(-1) if page.skipped + len(page.rows) < page.total and page.rows else "",
            before=page.key(0) if page.skipped and page.rows else "",
            statuses=tuple(choices["status"]),
            policies=tuple(choices["policy"]),
            stores={place.id: place.uri for place in places.values()},
            experiments=tuple(choices["experiment"]),
            controls=tuple(choices["control"]),
        )

    def run(self, store: str, run_id: str) -> RunPage | None:
        """Everything on one run; None where nothing is known of it."""
        return read_run(self.reading, self._policies, self.places(), store, run_id)

    def policies(self) -> PoliciesPage:
        return self._policies.page(self.reading.decided_by(), time.time())

    def refused_config(self) -> tuple[str, ...]:
        """Why a changed configuration is not in force."""
        return ConfigRecord(self._engine).refused()

    def refused_policies(self) -> tuple[str, ...]:
        """Why changed files of policies are not in force."""
        return self._policies.refused()

    def integrations(self) -> IntegrationsPage:
        return self._integrations.page(self.places(), time.time())

    def recheck(self) -> None:
        """Have doctor look again, in the background."""
        self._integrations.recheck()


def _waiting(queues: Iterable[Queue]) -> Waiting:
    found = list(queues)
    return Waiting(count=sum(q.count for q in found), since=min((q.since for q in found), default=None))


def _wanted(given: RunFilter) -> Wanted:
    fields = given.model_dump(exclude={"since", "until"})
    for name, value in given.model_dump().items():
        if "\0" in value:
            raise BadQuery("holds a character that no name holds", subject=name)
    since, until = _day("since", given.since), _day("until", given.until)
    past = until and until + timedelta(days=1)
    return Wanted(**fields, since=_milliseconds(since), until=_milliseconds(past))


def _day(name: str, text: str) -> datetime | None:
    try:
        return datetime.strptime(text, "%Y-%m-%d").replace(tzinfo=UTC) if text else None
    except ValueError as error:
        raise BadQuery("is not a day", subject=f"{name}={text[:40]}", remedy="write it as 2026-11-30") from error


def _milliseconds(moment: datetime | None) -> int | None:
    return None if moment is None else int(moment.timestamp() * 1000)


def _row(row: Mapping[str, Any], places: Mapping[str, Place]) -> RunRow:
    place = places.get(row["store"])
    verdict = row["kind"] == 0
    ended = row["ended"] if verdict else row["end_time"]
    return RunRow(
        store=row["store"],
        run_id=row["run_id"],
        name=row["run_name"],
        experiment=row["experiment"],
        policy=row["policy"],
        version=row["version"],
        status=row["status"],
        failed=tuple(name for name in row["failed"].split("\n") if name) if verdict else (),
        counts=_counts(row["counts"]) if verdict else {},
        ended_at=ended / 1000 if ended else None,
        decided_at=row["decided_at"],
        reason=row["reason"],
        link=place.run(row["experiment_id"], row["run_id"], row["link"] if verdict else "") if place else "",
    )


def _counts(tag: str) -> dict[str, int]:
    """`p6 f1 i0 …` as statuses with how many there are."""
    found = {_LETTERS[word[0]]: int(word[1:]) for word in tag.split()}
    return {status: count for status, count in found.items() if count}
