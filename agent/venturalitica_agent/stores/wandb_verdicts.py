"""Verdicts on runs of W&B: written into summaries and tags that others write too, without undoing what those wrote."""

from __future__ import annotations

import json
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from venturalitica_agent.errors import PermanentError, RetryableError, RunGone
from venturalitica_agent.logging import get_logger
from venturalitica_agent.stores import wandb_facts as facts
from venturalitica_agent.stores import wandb_marks as marks
from venturalitica_agent.stores import wandb_queries as queries
from venturalitica_agent.stores.wandb_http import NotUnderstood, WandbHttp

log = get_logger(__name__)


@dataclass(frozen=True, slots=True)
class _Marks:
    """What of a run others write too: the id by which it is changed, its tags, its summary (JSON text)."""

    id: str
    tags: list[str]
    summary: str

    @property
    def entry(self) -> Any:
        return facts.decoded(self.summary).get(marks.ENTRY)

    @staticmethod
    def of(node: Any) -> _Marks:
        summary = node["summaryMetrics"]
        written = summary if isinstance(summary, str) else json.dumps(summary or {})
        return _Marks(str(node["id"]), [str(tag) for tag in node["tags"] or ()], written)


class Verdicts:
    """The verdicts on the runs of one project.

    Args:
        ask: the answer to `queries.MARKS` for a run id, None when there is no such run.
    """

    def __init__(self, http: WandbHttp, ask: Callable[[str], Any]) -> None:
        self._http = http
        self._ask = ask
        self._can_change_tags: bool | None = None  # unknown until it has worked

    def read(self, run_id: str) -> Mapping[str, str]:
        """The run's tags as pairs, with the verdict if there is a whole one."""
        found = self._marks(run_id)
        said = marks.from_entry(found.entry)
        # The tags are what people filter by: an entry without them, or beside other ones, is not a verdict.
        complete = set(marks.to_tags(said)) == {t for t in found.tags if t.startswith(marks.OURS)}
        return marks.theirs(facts.flat_tags(found.tags)) | (said if complete else {})

    def write(self, run_id: str, tags: Mapping[str, str], remove: Sequence[str] = ()) -> None:
        """Put the verdict into the summary, then into tags. Of both only our part is changed."""
        found = self._marks(run_id)
        verdict = {k: v for k, v in marks.from_entry(found.entry).items() if k not in remove} | dict(tags)
        wanted = marks.to_entry(verdict)
        if wanted != found.entry:
            found = self._set_entry(run_id, found, wanted)
        self._change_tags(run_id, found, marks.to_tags(verdict))

    def _set_entry(self, run_id: str, before: _Marks, entry: Mapping[str, Any]) -> _Marks:
        """W&B replaces a summary as a whole, so it is read at the last moment, and what came of it is looked at."""
        try:
            summary, names = marks.with_entry(before.summary, entry), marks.names_in(before.summary)
        except ValueError as error:
            raise PermanentError(
                "its summary can't be read, so nothing is written to it",
                subject=f"run {run_id}",
                remedy="look at the run's summary in the W&B UI",
            ) from error
        answer = self._http.ask(queries.SET_SUMMARY, {"id": before.id, "summary": summary})
        after = _Marks.of(answer["upsertBucket"]["bucket"])
        if after.entry != entry or not names <= facts.decoded(after.summary).keys():
            raise RetryableError(
                "the summary reads back otherwise than it was written",
                subject=f"run {run_id}",
                remedy="it is written again",
            )
        return after

    def _change_tags(self, run_id: str, found: _Marks, wanted: Sequence[str]) -> None:
        add, drop = marks.changes(found.tags, wanted)
        if not add and not drop:
            return
        if self._can_change_tags is not False:
            try:
                self._http.ask(queries.CHANGE_TAGS, {"ids": [found.id], "add": add, "remove": drop})
            except NotUnderstood:
                self._can_change_tags = False
            except PermanentError as error:
                log.warning("run.tags_not_changed", run=run_id, reason=error.what)
            else:
                if self._can_change_tags:
                    return
        # All tags are replaced, so they are read at the last moment; which also shows whether the above has worked.
        found = self._marks(run_id)
        add, drop = marks.changes(found.tags, wanted)
        if not add and not drop:
            self._can_change_tags = True
            return
        self._http.ask(queries.SET_TAGS, {"id": found.id, "tags": [t for t in found.tags if t not in drop] + add})

    def _marks(self, run_id: str) -> _Marks:
        node = self._ask(run_id)
        if not node:
            raise RunGone("the run is deleted or was never there", subject=f"run {run_id}")
        return _Marks.of(node)
