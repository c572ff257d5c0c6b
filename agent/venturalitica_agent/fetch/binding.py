"""Roles to columns. A role is bound because somebody said so, because the column has its name, or (on request only)
because it is a well-known synonym; never because some other column was at hand."""

from __future__ import annotations

from collections.abc import Sequence

from venturalitica_agent.domain.subject import ColumnBinding, Problem
from venturalitica_agent.fetch.problems import listed
from venturalitica_agent.strict_yaml import nearest, shown

_FAMILIES: tuple[frozenset[str], ...] = tuple(
    frozenset(words.split())
    for words in (
        "gender sex",
        "age age_years age_in_years",
        "race ethnicity ethnic_group race_ethnicity",
        "target label labels class y y_true default outcome ground_truth",
        "prediction predictions predicted y_pred y_hat",
    )
)

_BY = {"declared": " in agent.yaml", "run": " as the training code declares"}


def bind(
    role: str, columns: Sequence[str], declared: ColumnBinding | None = None, *, auto: bool = False, where: str = "data"
) -> ColumnBinding | Problem:
    """The column of `role` among `columns`.

    Args:
        declared: agent.yaml's binding or the training code's; when it is given, nothing else is tried.
        auto: allow synonyms (case apart); the binding then says "inferred".
        where: what the columns belong to, for the message: "evaluation data".
    """
    if declared is not None:
        if declared.column in columns:
            return declared
        return _missing(role, declared.column, columns, where, _BY.get(declared.how, ""))
    if role in columns:
        return ColumnBinding(role, role, "name")
    if auto:
        meant = [c for c in columns if _means(c, role)]
        if len(meant) == 1:
            return ColumnBinding(role, meant[0], "inferred")
        if meant:
            return Problem(
                f"role {shown(role)} could be any of the columns {listed(meant)} of the {where}",
                _remedy(role, meant[0]),
                "ambiguous",
            )
    return _missing(role, role, columns, where)


def _means(column: str, role: str) -> bool:
    word, wanted = (text.casefold().strip().replace(" ", "_").replace("-", "_") for text in (column, role))
    return word == wanted or any(word in family and wanted in family for family in _FAMILIES)


def _missing(role: str, column: str, columns: Sequence[str], where: str, by: str = "") -> Problem:
    close = nearest(column, columns)
    subject = f"role {shown(role)}" if column == role else f"role {shown(role)} (column {shown(column)}{by})"
    return Problem(
        f"{subject} has no column in the {where}; its columns are {listed(columns, 30)}"
        + (f"; nearest: {shown(close)}" if close else ""),
        _remedy(role, close or "<one of them>"),
        "missing",
    )


def _remedy(role: str, column: str) -> str:
    return f"say in agent.yaml which column it is:\n  columns:\n    {shown(role)}: {{column: {shown(column)}}}"
