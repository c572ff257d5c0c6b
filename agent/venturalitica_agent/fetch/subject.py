"""From a run to the subject of an audit: the model and the tables that the policy needs, in the cache, described,
compared with the tracker's digests, and bound to roles."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from functools import partial
from pathlib import Path
from typing import TypeVar

from venturalitica_agent.domain.needs import Needs, SplitNeeds
from venturalitica_agent.domain.policy import Split
from venturalitica_agent.domain.run import Run
from venturalitica_agent.domain.subject import (
    ColumnBinding,
    DataPlan,
    DataSubject,
    DigestCheck,
    FileDigest,
    Problem,
    Subject,
)
from venturalitica_agent.errors import PermanentError, RunChanged, RunGone, UntrustedInput
from venturalitica_agent.fetch.binding import bind
from venturalitica_agent.fetch.cache import Cache
from venturalitica_agent.fetch.datasets import Finder, Found
from venturalitica_agent.fetch.declaration import Declaration
from venturalitica_agent.fetch.digests import claim_of, compare, compare_bytes
from venturalitica_agent.fetch.models import fetch_model
from venturalitica_agent.fetch.problems import as_problem, listed
from venturalitica_agent.fetch.sources import Source
from venturalitica_agent.fetch.tables import MAX_FILE, Shape, describe, read_table
from venturalitica_agent.stores.base import Store

T = TypeVar("T")
_FILE = "data"


def fetch_subject(
    store: Store,
    run: Run,
    needs: Needs,
    plan: DataPlan,
    cache: Cache,
    *,
    roots: Sequence[Path],
    declaration: Declaration | None = None,
) -> Subject:
    """Fetch what `needs` asks for and nothing else.

    Args:
        plan: what agent.yaml says of data and columns for this audit.
        roots: folders below which the source of a logged dataset may be read; relative sources are looked for there.
        declaration: what the training code says of what agent.yaml leaves open. Its word on predictions is like a
            column of that name: the next best witness, never preferred to the model.

    Returns:
        The subject. What is wrong with the run's model or data is in its `problems`, by "model", a split, or
        "role:<name>". Its files stay in the cache at least for the cache's grace period; `Cache.use` holds them.

    Raises:
        StoreUnavailable, CacheUnavailable: try again later. RunGone, RunChanged: this audit has no object any more.
    """
    said = declaration or Declaration()
    told = said.under(plan)
    problems: dict[str, Problem] = {}
    data: dict[str, DataSubject] = {}
    finder = Finder(store, run, roots, lambda source: describe(copy_table(source, cache)[0], source.format).columns)
    for split, wanted in sorted(needs.splits.items()):
        table = _or_problem(partial(_fetch_split, finder, run, split, wanted, told, cache), problems, split.value)
        if table is not None:
            data[split.value] = table

    binding = _bind_columns(needs, told, data, problems)
    answered = {role for role in needs.predictions if role in plan.columns}
    binding |= _bind_predictions(answered, needs, plan, data, problems)
    binding |= _bind_scores(needs, plan, data, problems)
    model = None
    if needs.predictions - answered or needs.model:
        model = _or_problem(partial(fetch_model, store, run, cache, said.model), problems, "model")
        if model is None:
            # Without a model a column of that very name is the next best witness; it is never preferred to one.
            named = {r for r in needs.predictions - answered if _everywhere(r, needs, data, _column_name(r, told))}
            binding |= _bind_predictions(named, needs, told, data, problems)
            binding |= _bind_scores(needs, told, data, problems, named=True)
    return Subject(model=model, data=data, binding=binding, problems=problems)


def _or_problem(work: Callable[[], T], problems: dict[str, Problem], key: str) -> T | None:
    try:
        return work()
    except (RunGone, RunChanged):
        raise
    except PermanentError as error:
        problems[key] = as_problem(error)
        return None


# -- data ---------------------------------------------------------------------------------------------------------
def _fetch_split(
    finder: Finder, run: Run, split: Split, wanted: SplitNeeds, plan: DataPlan, cache: Cache
) -> DataSubject:
    ref = plan.data.get(split.value)
    if ref is not None:
        found = finder.declared(split, ref)
    else:
        found = finder.guessed(split, {_column_name(role, plan) for role in wanted.predictions})
    source = found.source
    path, copied = copy_table(source, cache)
    shape = describe(path, source.format)
    targets = {_column_name(role, plan) for role in wanted.targets | {"target"}}
    check, reason, digest = _check_digest(found, path, shape, targets, run)
    return DataSubject(
        name=source.name,
        path=str(path),
        format=source.format,
        origin=source.origin,
        file=FileDigest(source.name, copied.size, copied.sha256),
        columns=shape.columns,
        rows=shape.rows,
        tracker_digest=digest,
        check=check,
        check_reason=reason,
        place=source.again or source.place,
    )


def copy_table(source: Source, cache: Cache) -> tuple[Path, FileDigest]:
    """The source's bytes as one file in the cache."""
    entry = cache.add(lambda folder: source.copy(folder / _FILE), limit=MAX_FILE)
    if [f.name for f in entry.files] != [_FILE]:
        raise UntrustedInput("the store did not deliver one plain file", subject=source.origin)
    return entry.path / _FILE, entry.files[0]


def _column_name(role: str, plan: DataPlan) -> str:
    declared = plan.columns.get(role)
    return declared.column if declared is not None else role


def _check_digest(found: Found, path: Path, shape: Shape, targets: set[str], run: Run) -> tuple[DigestCheck, str, str]:
    """Outcome, reason, and the tracker's digest that they are about."""
    if not found.claims:
        return DigestCheck.UNCHECKABLE, "the run logged no digest for this data", ""
    ended, written = run.ref.end_time, found.source.modified
    outcomes = []
    for dataset in found.claims:
        if dataset.source_type == "wandb":
            check, reason = compare_bytes(dataset, path)
        else:
            check, reason = compare(
                claim_of(dataset),
                shape.columns,
                shape.rows,
                lambda: read_table(path, found.source.format, with_index=True),
                targets=targets,
                lossless=shape.lossless,
                changed=ended is not None and written is not None and written > ended,
            )
        outcomes.append((check, reason, dataset.digest))
    matching = [o for o in outcomes if o[0] is DigestCheck.MATCH]
    if matching:
        return matching[0]
    if found.same and len(outcomes) == 1:
        return outcomes[0]
    names = listed([d.name for d in found.claims])
    reason = f"it is not known to be one of the datasets that the run logged for this purpose ({names})"
    return DigestCheck.UNCHECKABLE, reason, ""


# -- columns ------------------------------------------------------------------------------------------------------
def _bind_columns(
    needs: Needs, plan: DataPlan, data: dict[str, DataSubject], problems: dict[str, Problem]
) -> dict[str, ColumnBinding]:
    roles: frozenset[str] = frozenset().union(*(s.columns for s in needs.splits.values()))
    return _bind(sorted(roles), {k: v.columns for k, v in needs.splits.items()}, plan, data, problems)


def _bind_predictions(
    roles: set[str], needs: Needs, plan: DataPlan, data: dict[str, DataSubject], problems: dict[str, Problem]
) -> dict[str, ColumnBinding]:
    return _bind(sorted(roles), {k: v.predictions for k, v in needs.splits.items()}, plan, data, problems)


def _bind_scores(
    needs: Needs, plan: DataPlan, data: dict[str, DataSubject], problems: dict[str, Problem], *, named: bool = False
) -> dict[str, ColumnBinding]:
    """Score columns that agent.yaml declares, or (`named`) that have the role's own name."""
    wanted = {split: found.scores for split, found in needs.splits.items()}
    roles: frozenset[str] = frozenset().union(*wanted.values())
    tables = [data[split.value].columns for split, scores in wanted.items() if scores and split.value in data]
    meant = {r for r in roles if r in plan.columns or (named and tables and all(r in columns for columns in tables))}
    return _bind(sorted(meant), wanted, plan, data, problems)


def _bind(
    roles: Sequence[str],
    wanted: dict[Split, frozenset[str]],
    plan: DataPlan,
    data: dict[str, DataSubject],
    problems: dict[str, Problem],
) -> dict[str, ColumnBinding]:
    """Bind each role in every table that needs it; it must be the same column in all of them."""
    binding: dict[str, ColumnBinding] = {}
    for role in roles:
        results = [
            bind(role, data[split.value].columns, plan.columns.get(role), auto=plan.auto, where=f"{split} data")
            for split in sorted(wanted)
            if role in wanted[split] and split.value in data
        ]
        wrong = next((r for r in results if isinstance(r, Problem)), None)
        bound = [r for r in results if isinstance(r, ColumnBinding)]
        if wrong is None and len({b.column for b in bound}) > 1:
            wrong = Problem(
                f"role {role!r} is another column in each table: {listed([b.column for b in bound])}",
                "say in agent.yaml which column it is",
                "ambiguous",
            )
        if wrong is not None:
            problems[f"role:{role}"] = wrong
        elif bound:
            binding[role] = bound[0]
    return binding


def _everywhere(role: str, needs: Needs, data: dict[str, DataSubject], column: str) -> bool:
    tables = [data.get(split.value) for split, wanted in needs.splits.items() if role in wanted.predictions]
    return all(table is not None and column in table.columns for table in tables)
