"""Every version of every policy that was ever in force: its bytes, when, and from where. Nothing is ever removed."""

from __future__ import annotations

from collections.abc import Collection, Iterable, Mapping, Sequence
from typing import Any

import sqlalchemy as sa

from venturalitica_agent.domain.history import Term
from venturalitica_agent.domain.policy import EvaluateWith, Policy
from venturalitica_agent.state.dialects import insert_of
from venturalitica_agent.state.tables import policies, policy_mistakes, policy_terms


class PolicyRecord:
    """Reads and writes what is known of policies. Times are seconds since the epoch by our clock."""

    def __init__(self, engine: sa.Engine) -> None:
        self._engine = engine
        self._insert = insert_of(engine)

    def other_bytes(self, policy: Policy) -> str | None:
        """The digest that is on record for the same id and version, where these bytes aren't."""
        with self._engine.connect() as db:
            found = db.execute(
                sa.select(policies.c.digest)
                .where(policies.c.id == policy.id, policies.c.version == policy.version)
                .order_by(policies.c.first_seen)
            ).scalars()
            known = list(found)
        return known[-1] if known and policy.digest not in known else None

    def source(self, digest: str) -> tuple[str, bytes] | None:
        """(file name, bytes) of a version by digest."""
        with self._engine.connect() as db:
            row = db.execute(
                sa.select(policies.c.file_name, policies.c.content).where(policies.c.digest == digest)
            ).first()
        return (row[0], row[1]) if row else None

    def history(self, policy: str | None = None) -> dict[str, tuple[Term, ...]]:
        """The terms of every policy (or of one) by its id, in the order of time."""
        query = sa.select(policy_terms).order_by(policy_terms.c.policy, policy_terms.c.since, policy_terms.c.number)
        if policy is not None:
            query = query.where(policy_terms.c.policy == policy)
        found: dict[str, tuple[Term, ...]] = {}
        with self._engine.connect() as db:
            for row in db.execute(query).mappings():
                found[row["policy"]] = (*found.get(row["policy"], ()), _term(row))
        return found

    def put_in_force(
        self,
        versions: Iterable[tuple[Policy, str, bool | None]],
        *,
        folder: str,
        now: float,
        gone: Collection[str] = (),
    ) -> None:
        """Keep the bytes of these versions for ever, and note that they take the place of others from now on.

        Args:
            versions: each policy with the commit that it was read from and whether its file was changed since.
            folder: where they were read from.
            gone: ids of policies that are in force no longer.
        """
        with self._engine.begin() as db:
            # Writing first: it makes whoever does the same at the same time wait, so that both see one order.
            db.execute(_ended(policy_terms.c.policy.in_(list(gone)), now))
            for policy, commit, dirty in versions:
                db.execute(_ended((policy_terms.c.policy == policy.id) & (policy_terms.c.digest != policy.digest), now))
                db.execute(self._insert(policies).values(**_bytes(policy), first_seen=now).on_conflict_do_nothing())
                term = _row(policy) | {"since": now, "folder": folder, "commit": commit, "dirty": dirty}
                db.execute(self._insert(policy_terms).values(**term).on_conflict_do_nothing())

    # -- mistakes -------------------------------------------------------------------------------------------
    def note_mistake(self, folder: str, words: str, *, now: float) -> None:
        """Note why what lies in a folder of policies can't come into force."""
        statement = self._insert(policy_mistakes).values(folder=folder, words=words, since=now)
        with self._engine.begin() as db:
            db.execute(statement.on_conflict_do_update(index_elements=["folder"], set_={"words": words, "since": now}))

    def clear_mistake(self, folder: str) -> None:
        with self._engine.begin() as db:
            db.execute(policy_mistakes.delete().where(policy_mistakes.c.folder == folder))

    def mistakes(self) -> Sequence[Mapping[str, Any]]:
        """`folder`, `words` and `since` of each mistake that stands."""
        with self._engine.connect() as db:
            return [dict(row) for row in db.execute(sa.select(policy_mistakes)).mappings()]


def _ended(which: sa.ColumnElement[bool], now: float) -> sa.Update:
    return policy_terms.update().where(which, policy_terms.c.until.is_(None)).values(until=now)


def _bytes(policy: Policy) -> dict[str, Any]:
    return {
        "digest": policy.digest,
        "id": policy.id,
        "version": policy.version,
        "file_name": policy.file_name,
        "content": policy.content,
    }


def _row(policy: Policy) -> dict[str, Any]:
    return {
        "policy": policy.id,
        "version": policy.version,
        "digest": policy.digest,
        "file_name": policy.file_name,
        "until": None,
        "evaluate_with": policy.evaluate_with.value,
        "reaches_back": policy.reaches_back,
    }


def _term(row: sa.RowMapping) -> Term:
    return Term(
        policy=row["policy"],
        version=row["version"],
        digest=row["digest"],
        file_name=row["file_name"],
        since=row["since"],
        until=row["until"],
        evaluate_with=EvaluateWith(row["evaluate_with"]),
        reaches_back=row["reaches_back"],
        folder=row["folder"],
        commit=row["commit"],
        dirty=row["dirty"],
    )
