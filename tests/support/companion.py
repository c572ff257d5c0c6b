"""Training code with `vl.wrap` in a folder of its own, and what its fits leave behind."""

from __future__ import annotations

import json
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pandas as pd

POLICY = """
policy: tiny
version: "1.0"
controls:
  - {id: impact, metric: disparate_impact, role: gender, require: ">= 0.8"}
  - {id: odds, metric: equalized_odds_diff, role: age, require: "<= 0.2"}
"""


@dataclass(frozen=True)
class Left:
    """What a fit left in a folder run."""

    folder: Path

    def file(self, path: str) -> Path:
        return self.folder / "artifacts" / path

    @property
    def declaration(self) -> dict[str, Any]:
        said: dict[str, Any] = json.loads(self.file("venturalitica/declaration.json").read_text())
        return said

    @property
    def table(self) -> pd.DataFrame:
        return pd.read_parquet(self.file("venturalitica_data/audit.parquet"))


@dataclass(frozen=True)
class Workplace:
    folder: Path

    @property
    def runs(self) -> list[Left]:
        return [Left(f) for f in sorted((self.folder / ".venturalitica" / "runs").glob("*"))]

    @property
    def left(self) -> Left:
        (run,) = self.runs
        return run


def people(n: int = 120) -> pd.DataFrame:
    """Rows as people read them: a number, two groups as text and number, and a label in the words of the house."""
    income = [(37 * i) % 101 for i in range(n)]
    return pd.DataFrame(
        {
            "income": [float(v) for v in income],
            "Attribute9": [["A91", "A92", "A93"][i % 3] for i in range(n)],
            "Attribute13": [20 + (7 * i) % 50 for i in range(n)],
            "class": ["good" if v > 40 + 10 * (i % 2) else "bad" for i, v in enumerate(income)],
        }
    )


def encoded(frame: pd.DataFrame) -> pd.DataFrame:
    """The same rows as a model eats them."""
    return pd.get_dummies(frame.drop(columns="class"), dtype=float)
