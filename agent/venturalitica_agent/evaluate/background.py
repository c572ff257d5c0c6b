"""What stands behind the codes of a sample: the table itself, the audit's subject, the other table, what the run said.

Most metrics never look here. Those that do look at values for themselves: rows that repeat, columns that identify.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

import pandas as pd

from venturalitica_agent.domain.needs import Needs
from venturalitica_agent.domain.subject import Problem, Subject
from venturalitica_agent.evaluate.coding import listing
from venturalitica_agent.evaluate.rows import Rows
from venturalitica_agent.evaluate.undefined import Undefined

_NO_TRAINING = Problem("there are no training data", "say in agent.yaml where they are: `data: {training: …}`")


@dataclass(frozen=True, slots=True, eq=False)
class Background:
    """One audit as far as one sample of it may need to know.

    Attributes:
        frame: the table that the sample was made of.
        rows: all rows of that table, also where `frame` has not all of its columns; None where it has.
        training: the rows of the training table, for who compares the two; or why there are none.
        logged: the numbers that the training run logged, by name, each as it was at last.
        needs: what the controls of the policy look at.
        since: when the deciding version of the policy first came into force, seconds since the epoch by our clock.
        started: when the run started, milliseconds since the epoch by its client's clock.
    """

    frame: pd.DataFrame = field(default_factory=pd.DataFrame)
    subject: Subject = field(default_factory=Subject)
    rows: Rows | None = None
    training: Rows | Problem = _NO_TRAINING
    logged: Mapping[str, float] = field(default_factory=dict)
    needs: Needs = field(default_factory=Needs)
    since: float | None = None
    started: int | None = None

    @property
    def table(self) -> Rows:
        """Every row with every column."""
        return self.rows or Rows.of(self.frame)

    def name_of(self, role: str) -> str:
        """The name of the column that a role is bound to.

        Raises:
            Undefined: when it is bound to none.
        """
        binding = self.subject.binding.get(role)
        if binding is None:
            problem = self.subject.problems.get(f"role:{role}") or Problem(
                f"no column is bound to the role {role!r}", f"add {role!r} to `columns:` in agent.yaml"
            )
            raise Undefined(problem.what, remedy=problem.remedy)
        return binding.column

    def column(self, role: str) -> pd.Series[Any]:
        """The values of the column that a role is bound to; of groups and bands that may be declared, nothing.

        Raises:
            Undefined: when there is no such column, or it holds no value.
        """
        name = self.name_of(role)
        if list(self.frame.columns).count(name) != 1:
            raise Undefined(
                f"the data have no column {name!r}, or more than one",
                remedy=f"correct columns.{role} in agent.yaml; the columns are {listing(self.frame.columns, 40)}",
            )
        series = self.frame[name]
        if not series.notna().any():
            raise Undefined(f"column {name!r} holds no value", remedy="audit on data that have values there")
        return series
