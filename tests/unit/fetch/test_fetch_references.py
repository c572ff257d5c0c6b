"""What agent.yaml calls a W&B artifact, and which file of it is meant."""

from __future__ import annotations

import pytest

from venturalitica_agent.domain.policy import Split
from venturalitica_agent.fetch.problems import Unfit
from venturalitica_agent.fetch.references import Reference, inside, pick
from venturalitica_agent.stores.base import RemoteFile


@pytest.mark.parametrize(
    ("text", "artifact", "path"),
    [
        ("evalset:latest", "evalset:latest", ""),
        ("evalset:v3", "evalset:v3", ""),
        ("evalset:latest/test.csv", "evalset:latest", "test.csv"),
        ("evalset:v3/data/a:b.csv", "evalset:v3", "data/a:b.csv"),
        ("acme/credit/evalset:latest", "acme/credit/evalset:latest", ""),
        ("acme/credit/evalset:latest/data/test.csv", "acme/credit/evalset:latest", "data/test.csv"),
    ],
)
def test_references(text: str, artifact: str, path: str) -> None:
    assert Reference.of(text) == Reference(artifact, path)
    assert inside(text) == (artifact, path)


@pytest.mark.parametrize("text", ["evalset", "evalset:", "evalset/t.csv", ":latest", "acme/credit/:latest", "", ":/x"])
def test_reference_without_a_version_is_refused(text: str) -> None:
    """The remedy shows how it is written."""
    with pytest.raises(Unfit, match="is no W&B artifact") as unfit:
        Reference.of(text)
    assert "evalset:latest" in unfit.value.remedy


def files(*paths: str) -> list[RemoteFile]:
    return [RemoteFile(f"evalset:v4/{path}", 1) for path in paths]


def test_the_only_table_is_meant() -> None:
    for name in ("test.csv", "data/test.parquet", "test.pq", "eval.table.json", "TEST.CSV"):
        there = files("README.md", name, "config.json", "media/images/x.png")
        assert pick(Reference("evalset:latest"), there, Split.EVALUATION).path == f"evalset:v4/{name}"


def test_file_that_is_named_is_meant_exactly() -> None:
    """Not the file of that name in another folder."""
    there = files("a/test.csv", "test.csv", "b.json")
    assert pick(Reference("evalset:latest", "test.csv"), there, Split.EVALUATION).path == "evalset:v4/test.csv"
    assert pick(Reference("evalset:latest", "b.json"), there, Split.EVALUATION).path == "evalset:v4/b.json"
    with pytest.raises(Unfit, match=r"has no file 'b.csv'; its files are 'a/test.csv', 'b.json', 'test.csv'") as unfit:
        pick(Reference("evalset:latest", "b.csv"), there, Split.EVALUATION)
    assert unfit.value.code == "missing"


def test_several_tables_are_listed_with_the_line_to_write() -> None:
    with pytest.raises(Unfit, match=r"2 tables: 'test.csv', 'train.csv'") as unfit:
        pick(Reference("evalset:latest"), files("train.csv", "test.csv"), Split.EVALUATION)
    assert unfit.value.code == "ambiguous"
    assert "evaluation: {wandb: 'evalset:latest/test.csv'}" in unfit.value.remedy


def test_artifact_without_a_table_says_what_is_there() -> None:
    for there in ([], files("model.pkl")):
        with pytest.raises(Unfit, match="no table") as unfit:
            pick(Reference("evalset:latest"), there, Split.TRAINING)
        assert unfit.value.code == "missing"
