"""A tracking server (http), or a database other than SQLite: it must be asked, with the filter moving and never the
page token (page boundaries have been seen to repeat one run and to skip another)."""

from __future__ import annotations

from collections.abc import Iterator

from venturalitica_agent.domain.run import RunRef, RunStatus
from venturalitica_agent.stores.mlflow_client import MlflowAccess

_PAGE = 1000
_UNFINISHED = " AND ".join(f"attributes.status != '{status}'" for status in RunStatus if status.ended)


class MlflowRemoteStore(MlflowAccess):
    """A `PolledStore` over MLflow's search API."""

    def version(self) -> int | None:
        return None

    def scan(self) -> Iterator[RunRef]:
        yield from self._search("", "attributes.start_time DESC", deleted=True)

    def recent(self, since: int) -> Iterator[RunRef]:
        yield from self._ascending(since)
        yield from self._search(_UNFINISHED, "attributes.start_time DESC")

    def _ascending(self, since: int) -> Iterator[RunRef]:
        """Runs by end time; the filter advances to the last one seen, whose instant comes again and is skipped."""
        seen: set[str] = set()
        edge = since - 1
        while True:
            page = self._page(f"attributes.end_time > {edge}", "attributes.end_time ASC")
            fresh = [r for r in page if r.run_id not in seen]
            seen.update(r.run_id for r in fresh)
            yield from fresh
            if len(page) < _PAGE:
                return
            last = max(r.end_time or 0 for r in page) - 1
            if last <= edge:  # a whole page within one millisecond: only tokens can go on
                yield from (
                    r
                    for r in self._search(f"attributes.end_time > {edge}", "attributes.end_time ASC")
                    if r.run_id not in seen
                )
                return
            edge = last

    def _page(self, filter_string: str, order: str) -> list[RunRef]:
        with self._asking(self.uri):
            found = self._client.search_runs(
                list(self.experiments()), filter_string=filter_string, max_results=_PAGE, order_by=[order]
            )
            return [self._ref(run) for run in found]

    def _search(self, filter_string: str, order: str, *, deleted: bool = False) -> Iterator[RunRef]:
        with self._asking(self.uri):
            from venturalitica_agent.stores.mlflow_api import ViewType

            experiments = list(self.experiments())
            token = None
            while True:
                page = self._client.search_runs(
                    experiments,
                    filter_string=filter_string,
                    run_view_type=ViewType.ALL if deleted else ViewType.ACTIVE_ONLY,
                    max_results=_PAGE,
                    order_by=[order],
                    page_token=token,
                )
                yield from [self._ref(run) for run in page]
                token = page.token
                if not token:
                    return
