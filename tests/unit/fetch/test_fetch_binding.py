"""Roles are bound by declaration, by name, or on request by synonym; never to a column that merely exists."""

from __future__ import annotations

from hypothesis import given
from hypothesis import strategies as st

from venturalitica_agent.domain.subject import ColumnBinding, Problem
from venturalitica_agent.fetch.binding import bind

COLUMNS = ("Attribute9", "gender", "age_years", "class")


def test_declared_column_wins_over_the_name() -> None:
    """A declaration is used as it is, with its groups, even where a column has the role's name."""
    declared = ColumnBinding("gender", "Attribute9", "declared", groups={"female": ("A92",)})
    assert bind("gender", COLUMNS, declared) is declared


def test_exact_name_binds_by_name() -> None:
    """A column with the role's own name is the role."""
    assert bind("gender", COLUMNS) == ColumnBinding("gender", "gender", "name")


def test_race_never_binds_to_gender() -> None:
    """The role without a column is a problem that lists the columns, also with `auto`."""
    for auto in (False, True):
        problem = bind("race", COLUMNS, auto=auto, where="evaluation data")
        assert isinstance(problem, Problem)
        assert problem.code == "missing"
        assert "'race'" in problem.what
        assert "evaluation data" in problem.what
        assert all(repr(c) in problem.what for c in COLUMNS)
        assert "columns:" in problem.remedy


def test_declared_column_that_is_absent_names_the_nearest() -> None:
    """A typo in agent.yaml is told with the name that was meant, and nothing else is tried."""
    problem = bind("gender", COLUMNS, ColumnBinding("gender", "Atribute9", "declared"))
    assert isinstance(problem, Problem)
    assert "nearest: 'Attribute9'" in problem.what
    assert "{column: 'Attribute9'}" in problem.remedy


def test_synonyms_only_on_request() -> None:
    """`auto` may use a synonym and says "inferred"; without it the same role has no column."""
    assert isinstance(bind("age", COLUMNS), Problem)
    assert bind("age", COLUMNS, auto=True) == ColumnBinding("age", "age_years", "inferred")
    assert bind("target", COLUMNS, auto=True) == ColumnBinding("target", "class", "inferred")
    assert bind("sex", ("GENDER",), auto=True) == ColumnBinding("sex", "GENDER", "inferred")


def test_two_synonyms_are_ambiguous() -> None:
    """Two columns that could be meant are a problem that names both."""
    problem = bind("target", ("label", "class", "x"), auto=True)
    assert isinstance(problem, Problem)
    assert problem.code == "ambiguous"
    assert "'label'" in problem.what
    assert "'class'" in problem.what
    assert "'x'" not in problem.what


def test_hostile_column_names_are_escaped() -> None:
    """Control characters of a column name don't reach a terminal."""
    problem = bind("race", ("\x1b[31mred",))
    assert isinstance(problem, Problem)
    assert "\x1b" not in problem.what
    assert "\\x1b" in problem.what


@given(st.lists(st.text(min_size=1, max_size=8), unique=True, max_size=6), st.text(min_size=1, max_size=8))
def test_only_ever_binds_to_an_existing_column_of_that_name(columns: list[str], role: str) -> None:
    """Without `auto` a role is bound exactly when a column has its name."""
    bound = bind(role, columns)
    assert isinstance(bound, ColumnBinding) == (role in columns)
    if isinstance(bound, ColumnBinding):
        assert bound.column == role
