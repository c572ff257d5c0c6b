"""Withholds an alias of the model registry: it names a version only while the verdict on that version allows it.

Who may be named follows from the verdicts on record alone. Tags of the registry say what somebody wishes, or which
version was named last; whoever edits them gains nothing that the verdicts don't give.
"""

from __future__ import annotations

from collections.abc import Callable, Collection, Sequence
from dataclasses import dataclass
from fnmatch import fnmatchcase

from venturalitica_agent.domain.verdict import Status, worst
from venturalitica_agent.errors import RunGone
from venturalitica_agent.logging import get_logger
from venturalitica_agent.publish.writeback import PREFIX
from venturalitica_agent.settings.model import PromotionRule
from venturalitica_agent.state.records import Records
from venturalitica_agent.stores.mlflow_client import MlflowAccess
from venturalitica_agent.stores.mlflow_registry import MlflowRegistry, ModelVersion, RegisteredModel

log = get_logger(__name__)

_WITHHELD = f"{PREFIX}withheld"


@dataclass(frozen=True, slots=True)
class Move:
    """What happened to an alias: `version` is empty where it names none any more."""

    model: str
    alias: str
    version: str
    withheld: str = ""
    status: str = ""


class Gate:
    """The registry of one store.

    Args:
        note: called with each move after it was made, for the log.
    """

    def __init__(
        self,
        store: MlflowAccess,
        records: Records,
        rules: Sequence[PromotionRule],
        note: Callable[[str, Move], None],
    ) -> None:
        self._store = store
        self._registry: MlflowRegistry = store.registry()
        self._records = records
        self._rules = rules
        self._note = note

    def turn(self) -> list[Move]:
        """Bring every alias that a rule is about to where it belongs; doing it again changes nothing.

        Raises:
            StoreUnavailable: the registry doesn't answer.
        """
        models = [(m, r) for m in self._registry.models() for r in self._rules if fnmatchcase(m.name, r.model)]
        if not models:
            return []
        versions: dict[str, list[ModelVersion]] = {}
        for version in self._registry.versions():
            versions.setdefault(version.name, []).append(version)
        return [move for model, rule in models for move in self._mind(model, rule, versions.get(model.name, []))]

    def _mind(self, model: RegisteredModel, rule: PromotionRule, versions: Sequence[ModelVersion]) -> list[Move]:
        by_number = {version.version: version for version in versions}
        last_named = f"{PREFIX}{rule.alias}"
        holder = by_number.get(model.aliases.get(rule.alias, ""))
        moves = []
        if holder is not None and not self._may(holder, rule.only_if):
            before = by_number.get(model.tags.get(last_named, ""))
            back = before if before is not None and before is not holder and self._may(before, rule.only_if) else None
            status = self.verdict(holder)
            self._registry.tag(holder, {_WITHHELD: rule.alias})  # first: the wish must not be lost
            if back is not None:
                self._registry.set_alias(model.name, rule.alias, back.version)
            else:
                self._registry.remove_alias(model.name, rule.alias)
            told = status.value if status else "no verdict"
            moves.append(Move(model.name, rule.alias, back.version if back else "", holder.version, told))
            holder = back
        waiting = [v for v in versions if v.tags.get(_WITHHELD) == rule.alias and self._may(v, rule.only_if)]
        wanted = max(waiting, key=lambda v: int(v.version), default=None)
        if wanted is not None and (holder is None or int(wanted.version) > int(holder.version)):
            self._registry.set_alias(model.name, rule.alias, wanted.version)
            moves.append(Move(model.name, rule.alias, wanted.version))
            holder = wanted
        if holder is not None and model.tags.get(last_named) != holder.version:
            self._registry.note(model.name, last_named, holder.version)
        for version in waiting:  # each may be named now: what was wished for is given, or overtaken by a later version
            self._registry.untag(version, _WITHHELD)
        for move in moves:
            event = "promotion.withheld" if move.withheld else "promotion.granted"
            about = {"model": move.model, "alias": move.alias, "names": move.version}
            log.info(event, **about, withheld=move.withheld, status=move.status)
            self._note(self._store.id, move)
        return moves

    def _may(self, version: ModelVersion, only_if: Collection[Status]) -> bool:
        return self.verdict(version) in only_if

    def verdict(self, version: ModelVersion) -> Status | None:
        """The worst verdict on the very model that a version is of; None where there is none."""
        run_id = self._registry.run_of(version)
        records = self._records.latest(self._store.id, run_id) if run_id else []
        if not records:
            return None
        try:
            models = self._store.get_run(run_id).models
        except RunGone:
            return None
        audited = {(m.model_id, m.name) for r in records if (m := self._records.decision_of(r).subject.model)}
        made = [m for m in models if (m.model_id, m.name) in audited and self._registry.is_of(version, m, run_id)]
        return worst(Status(record.status) for record in records) if made else None
