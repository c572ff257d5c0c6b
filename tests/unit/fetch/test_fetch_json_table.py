"""Tables as `wandb.Table` writes them: values keep their types, pictures spoil a column, and half a table is none."""

from __future__ import annotations

import json
import math
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from venturalitica_agent.fetch import json_table
from venturalitica_agent.fetch.problems import Unfit
from venturalitica_agent.fetch.tables import Shape, describe, format_of, read_table

PICTURE = {"_type": "image-file", "path": "media/images/x.png", "format": "png", "height": 4, "width": 4}


def wb(*kinds: str) -> dict[str, Any]:
    return {"wb_type": "union", "params": {"allowed_types": [{"wb_type": "none"}, *({"wb_type": k} for k in kinds)]}}


def table(path: Path, columns: list[Any], data: list[Any], types: Any = None, **more: Any) -> Path:
    """A table as it lies in an artifact, see wandb.Table.to_json."""
    document = {"columns": columns, "data": data, "ncols": len(columns), "nrows": len(data), "log_mode": "IMMUTABLE"}
    document["column_types"] = {"wb_type": "typedDict", "params": {"type_map": types or {}}}
    path = path / "t.table.json"
    path.write_text(json.dumps(document | more))
    return path


def test_formats() -> None:
    assert format_of("evalset:v3/media/eval.table.json") == "wandb-table"
    assert format_of("EVAL.TABLE.JSON") == "wandb-table"
    assert format_of("table.json") == "json-split"


def test_types_stay(tmp_path: Path) -> None:
    """Numbers are numbers, text that looks like one stays text, gaps are gaps, and times are W&B's UTC."""
    columns = ["i", "f", "zip", "b", "when", 7]
    data = [
        [1, 1.5, "01", True, 1767225600000, "x"],
        [2, None, None, False, None, "y"],
        [3, math.nan, "1", True, 0, "z"],
    ]
    path = table(tmp_path, columns, data, {"when": wb("timestamp"), "i": wb("number")})
    assert describe(path, "wandb-table") == Shape(("i", "f", "zip", "b", "when", "7"), 3)
    frame = read_table(path, "wandb-table")
    assert frame["i"].dtype == np.int64
    assert frame["f"].isna().tolist() == [False, True, True]
    assert frame["zip"].tolist()[::2] == ["01", "1"]
    assert frame["b"].dtype == bool
    assert frame["when"][0] == pd.Timestamp("2026-01-01", tz="UTC")
    assert frame["when"].isna().tolist() == [False, True, False]


def test_pictures_and_arrays_spoil_their_column_only(tmp_path: Path) -> None:
    """They are listed, left out, and refused when asked for; a large array leaves nulls, and only its type tells."""
    kinds = {"array": wb("ndarray"), "never": wb("timestamp")}
    data = [["m", PICTURE, [1, 2], None, 1e300, 1 << 70], ["f", None, [3], None, 0, 1]]
    path = table(tmp_path, ["sex", "face", "list", "array", "never", "long"], data, kinds)
    assert describe(path, "wandb-table").columns == ("sex", "face", "list", "array", "never", "long")
    assert list(read_table(path, "wandb-table").columns) == ["sex"]
    for name, words in (
        ("face", "objects"),
        ("list", "lists"),
        ("array", "lists"),
        ("never", "times"),
        ("long", "64 b"),
    ):
        with pytest.raises(Unfit, match=rf"the column '{name}' holds .*{words}"):
            read_table(path, "wandb-table", [name])
    with pytest.raises(Unfit, match="no column 'race'"):
        read_table(path, "wandb-table", ["race"])


@pytest.mark.parametrize(
    ("more", "rows", "words"),
    [
        ({"nrows": 5}, 2, "holds 2 of the table's 5 rows"),
        ({"log_mode": "INCREMENTAL", "increment_num": 0}, 2, "one increment of a table"),
        ({"nrows": None}, 10_000, "exactly 10,000 rows"),
    ],
)
def test_half_a_table_is_refused(tmp_path: Path, more: dict[str, Any], rows: int, words: str) -> None:
    """W&B cuts long tables without a word; what may be cut is not measured."""
    path = table(tmp_path, ["a"], [[1]] * rows, **more)
    with pytest.raises(Unfit, match=words) as unfit:
        describe(path, "wandb-table")
    assert unfit.value.code == "unreadable"
    assert "parquet" in unfit.value.remedy or "IMMUTABLE" in unfit.value.remedy


def test_table_of_a_run_says_nothing_of_itself(tmp_path: Path) -> None:
    """The file under media/table has columns and data, and no more."""
    path = tmp_path / "eval_0_ab.table.json"
    path.write_text('{"columns":["a","b"],"data":[[1,NaN],[2,"Image"]]}')
    assert describe(path, "wandb-table") == Shape(("a", "b"), 2)
    path.write_text('{"columns":["a"],"data":[' + ",".join(["[1]"] * 9_999) + "]}")
    assert describe(path, "wandb-table").rows == 9_999


HOSTILE: dict[str, str] = {
    "deep": "[" * 200_000,
    "deep types": '{"columns": ["a"], "data": [[1]], "column_types": ' + '{"params":' * 50_000 + "1" + "}" * 50_001,
    "not a map": "[]",
    "no data": '{"columns": ["a"]}',
    "column of a float": '{"columns": [1.5], "data": []}',
    "column of a boolean": '{"columns": [true], "data": []}',
    "equal names": '{"columns": ["1", 1], "data": []}',
    "too many columns": json.dumps({"columns": [f"c{i}" for i in range(10_001)], "data": []}),
    "ragged": '{"columns": ["a"], "data": [[1, 2]]}',
    "row of another kind": '{"columns": ["a"], "data": [1]}',
    "broken name": '{"columns": ["\\ud800"], "data": []}',
    "long number": '{"columns": ["a"], "data": [[' + "1" * 5000 + "]]}",
}


@pytest.mark.parametrize("case", HOSTILE)
@pytest.mark.parametrize("format_", ["wandb-table", "json-split"])
def test_hostile_json_is_unreadable(tmp_path: Path, case: str, format_: str) -> None:
    (tmp_path / "t.json").write_text(HOSTILE[case])
    with pytest.raises(Unfit, match="can't be read") as unfit:
        describe(tmp_path / "t.json", format_)
    assert unfit.value.code == "unreadable"


STRANGE_TYPES: list[Any] = [None, 3, [], {}, {"params": 3}]
STRANGE_TYPES += [{"params": {"type_map": {"a": kind}}} for kind in (3, None, [], wb("x"), {"wb_type": []})]
STRANGE_TYPES += [{"params": {"type_map": {"a": {"params": {"allowed_types": [3, {"wb_type": []}, {"wb_type": {}}]}}}}}]


@pytest.mark.parametrize("types", STRANGE_TYPES)
def test_strange_types_say_nothing(tmp_path: Path, types: Any) -> None:
    assert read_table(table(tmp_path, ["a"], [[1]], column_types=types), "wandb-table")["a"].tolist() == [1]


def test_text_that_no_file_can_hold_spoils_its_column(tmp_path: Path) -> None:
    """Half a surrogate pair would stop every report that quotes the value."""
    path = table(tmp_path, ["a", "b"], [["\ud800", "\U0001f600"]])
    assert read_table(path, "wandb-table")["b"].tolist() == ["\U0001f600"]
    with pytest.raises(Unfit, match="not Unicode"):
        read_table(path, "wandb-table", ["a"])
    with pytest.raises(Unfit, match="not Unicode"):
        describe(path, "json-split")


def test_json_that_unpacks_to_gigabytes_is_refused_before_it_is_parsed(tmp_path: Path) -> None:
    """Twelve megabytes of empty lists would be three hundred of objects."""
    import resource

    path = tmp_path / "t.table.json"
    path.write_text('{"columns": ["a"], "data": [' + "[]," * 4_000_000 + "[]]}")
    before = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    with pytest.raises(Unfit, match="more than 20,000,000 values or 3,000,000 rows"):
        describe(path, "wandb-table")
    assert resource.getrusage(resource.RUSAGE_SELF).ru_maxrss - before < 60_000  # KiB


def test_file_that_is_too_large_is_not_read(tmp_path: Path) -> None:
    path = tmp_path / "t.table.json"
    with path.open("wb") as file:
        file.truncate(json_table.MAX_FILE + 1)
    with pytest.raises(Unfit, match="at most"):
        describe(path, "wandb-table")


_CELL = st.one_of(st.none(), st.booleans(), st.integers(-(2**63), 2**63 - 1), st.floats(allow_nan=False), st.text())


@given(st.lists(st.tuples(_CELL, _CELL), max_size=6))
@settings(max_examples=50, deadline=None)
def test_cells_come_back_as_they_were_logged(rows: list[tuple[Any, Any]]) -> None:
    """Against pandas' own reading of the same rows."""
    import tempfile

    with tempfile.TemporaryDirectory() as folder:
        path = table(Path(folder), ["a", "b"], [list(row) for row in rows])
        assert describe(path, "wandb-table") == Shape(("a", "b"), len(rows))
        expected = pd.DataFrame([list(row) for row in rows], columns=["a", "b"])
        got = read_table(path, "wandb-table")
        assert len(got) == len(rows)
        for name in ("a", "b"):
            for mine, theirs in zip(got[name], expected[name], strict=True):
                assert (pd.isna(mine) and pd.isna(theirs)) or mine == theirs


def test_what_wandb_writes_is_read(tmp_path: Path) -> None:
    """The SDK's own table, through the JSON that it puts into an artifact."""
    import wandb

    frame = pd.DataFrame({"age": [20, 30], "sex": ["m", None], "good": [True, False], "x": [0.5, None]})
    logged = wandb.Table(dataframe=frame)
    artifact = wandb.Artifact("evalset", "dataset")
    entry = artifact.add(logged, "eval")
    path = Path(entry.local_path)
    assert describe(path, format_of(entry.path)) == Shape(tuple(frame.columns), 2)
    got = read_table(path, format_of(entry.path))
    assert got["age"].tolist() == [20, 30]
    assert got["sex"].isna().tolist() == [False, True]
    assert got["good"].tolist() == [True, False]
    assert got["x"].isna().tolist() == [False, True]
