"""Tables are read as pandas reads them, after everything that pandas would silently bend was refused."""

from __future__ import annotations

import os
from pathlib import Path

import numpy as np
import pandas as pd
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from venturalitica_agent.fetch import csv_text, parquet, parquet_batches
from venturalitica_agent.fetch.problems import Unfit
from venturalitica_agent.fetch.tables import (
    Shape,
    describe,
    format_of,
    missing_cells,
    read_batches,
    read_table,
    readable_columns,
)


def csv(tmp_path: Path, text: str | bytes) -> Path:
    path = tmp_path / "t.csv"
    path.write_bytes(text if isinstance(text, bytes) else text.encode())
    return path


@pytest.mark.parametrize(
    "text",
    [
        "a,b\n1,x\n2,y\n",
        "a,b\r\n1,x\r\n2,y",
        "\ufeffa,b\n1,x\n",
        'a,b\n1,"x, y"\n2,"two\nlines"\n',
        "a,b\n\n1,x\n   \n2,y\n\n",
        ",a\n0,x\n1,y\n",
        "a\n1\n\n \n2\n",
        "a,b\n",
        'a,b\n1,"say ""hi"""\n',
    ],
)
def test_csv_survey_agrees_with_pandas(tmp_path: Path, text: str) -> None:
    """Names and rows are those of pandas.read_csv."""
    path = csv(tmp_path, text)
    frame = pd.read_csv(path)
    assert describe(path, "csv") == Shape(tuple(frame.columns), len(frame))
    pd.testing.assert_frame_equal(read_table(path, "csv"), frame)


@given(
    st.lists(
        st.tuples(st.text("ab,\"' \n;é", max_size=5), st.integers(), st.text("xyz\n", min_size=1, max_size=3)),
        max_size=8,
    )
)
@settings(max_examples=60, deadline=None)
def test_csv_survey_agrees_with_pandas_on_what_pandas_writes(rows: list[tuple[str, int, str]]) -> None:
    """Whatever text is in the cells, a frame written by pandas is read with its own rows and columns."""
    import tempfile

    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / "t.csv"
        frame = pd.DataFrame(rows, columns=["text", "n", "more, text"])
        frame.to_csv(path, index=False)
        assert describe(path, "csv") == Shape(("text", "n", "more, text"), len(rows))


@pytest.mark.parametrize(
    ("text", "words"),
    [
        ("", "line 1: the file is empty"),
        ("a,b\n1,2\n3\n", "line 3: 1 cells where the header has 2"),
        ("a,b\n1,2,\n3,4,\n", "line 2: 3 cells where the header has 2"),
        ("a,b,a\n1,2,3\n", "line 1: the columns 'a' occur more than once"),
        ('a,b\n1,"x\n', "line 2: unexpected end of data"),
        (b"a,b\n1,\xff\n", "not UTF-8"),
        (b"a,b\n1,\0\n", "line 2: holds a NUL"),
        (b"\x1f\x8b\x08\x00", "not UTF-8"),
    ],
)
def test_broken_csv_is_unreadable_with_its_line(tmp_path: Path, text: str | bytes, words: str) -> None:
    """What pandas would fill, shift or rename is refused, with the line."""
    with pytest.raises(Unfit) as unfit:
        describe(csv(tmp_path, text), "csv")
    assert words in unfit.value.what
    assert unfit.value.code == "unreadable"
    assert unfit.value.remedy


def test_csv_of_a_million_columns_is_refused(tmp_path: Path) -> None:
    """The header is refused before pandas sees it."""
    with pytest.raises(Unfit, match=r"1,000,001 columns"):
        describe(csv(tmp_path, "," * 1_000_000 + "\n"), "csv")


def test_csv_with_an_endless_line_is_refused(tmp_path: Path) -> None:
    """A line is read up to a limit, not to its end."""
    with pytest.raises(Unfit, match=r"line 2: longer than"):
        describe(csv(tmp_path, b"a,b\n" + b"x" * (csv_text.MAX_LINE + 2)), "csv")


def test_csv_with_a_quote_that_never_ends_is_refused(tmp_path: Path) -> None:
    """A cell over many lines is limited too."""
    with pytest.raises(Unfit, match=r"field larger"):
        describe(csv(tmp_path, b'a,b\n1,"' + b"x\n" * 200_000), "csv")


def test_too_many_rows_are_refused(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """The number of rows is limited, with the line where it was passed."""
    monkeypatch.setattr(csv_text, "MAX_ROWS", 3)
    with pytest.raises(Unfit, match=r"line 5: more than 3 rows"):
        describe(csv(tmp_path, "a\n1\n2\n3\n4\n"), "csv")


def test_only_the_asked_columns_in_the_asked_order(tmp_path: Path) -> None:
    """Every format gives the columns asked for, and says which ones exist when one doesn't."""
    frame = pd.DataFrame({"a": [1, 2], "b": ["x", "y"], "c": [1.5, None]})
    frame.to_csv(tmp_path / "t.csv", index=False)
    frame.to_parquet(tmp_path / "t.parquet")
    (tmp_path / "t.json").write_text(frame.to_json(orient="split", index=False))
    for name in ("t.csv", "t.parquet", "t.json"):
        got = read_table(tmp_path / name, format_of(name), ["c", "a"])
        pd.testing.assert_frame_equal(got, frame[["c", "a"]])
        with pytest.raises(Unfit, match=r"no column 'z'; its columns are 'a', 'b', 'c'"):
            read_table(tmp_path / name, format_of(name), ["z"])


def test_no_columns_are_still_all_rows(tmp_path: Path) -> None:
    """A table of which nothing is read has its rows."""
    frame = pd.DataFrame({"a": [1, 2], "b": ["x", None]})
    frame.to_csv(tmp_path / "t.csv", index=False)
    frame.to_parquet(tmp_path / "t.parquet")
    (tmp_path / "t.json").write_text(frame.to_json(orient="split", index=False))
    for name in ("t.csv", "t.parquet", "t.json"):
        assert read_table(tmp_path / name, format_of(name), []).shape == (2, 0)
        assert readable_columns(tmp_path / name, format_of(name)) == ("a", "b")
        assert missing_cells(tmp_path / name, format_of(name)) == (1, 4)


@pytest.fixture
def everything() -> pd.DataFrame:
    """One column of each type that tabular training data has, with a shuffled index."""
    return pd.DataFrame(
        {
            "int": [1, 2, 3],
            "small": np.array([1, 2, 3], dtype="int8"),
            "float": [0.5, None, 1.5],
            "float32": np.array([0.1, 0.2, 0.3], dtype="float32"),
            "bool": [True, False, True],
            "text": ["a", "b", None],
            "padded": ["007", " x ", ""],
            "category": pd.Categorical(["u", "v", "u"]),
            "date": pd.to_datetime(["2020-01-01", "2020-01-02", None]),
            "Int64": pd.array([1, None, 3], dtype="Int64"),
            "boolean": pd.array([True, None, False], dtype="boolean"),
        },
        index=[7, 3, 5],
    )


def test_parquet_comes_back_as_pandas_reads_it(tmp_path: Path, everything: pd.DataFrame) -> None:
    """Every type and the index survive, without pandas' own reading of the metadata."""
    path = tmp_path / "t.parquet"
    everything.to_parquet(path)
    assert describe(path, "parquet") == Shape(tuple(everything.columns), 3, lossless=True)
    pd.testing.assert_frame_equal(read_table(path, "parquet", with_index=True), pd.read_parquet(path))
    pd.testing.assert_frame_equal(read_table(path, "parquet"), pd.read_parquet(path).reset_index(drop=True))


def test_parquet_range_index(tmp_path: Path) -> None:
    """An index that is only described in the metadata comes back."""
    frame = pd.DataFrame({"a": range(4)}, index=pd.RangeIndex(10, 18, 2))
    frame.to_parquet(tmp_path / "t.parquet")
    assert list(read_table(tmp_path / "t.parquet", "parquet", with_index=True).index) == [10, 12, 14, 16]


def test_parquet_without_rows(tmp_path: Path) -> None:
    """An empty table has its columns."""
    pd.DataFrame({"a": pd.Series(dtype="int64"), "t": pd.Series(dtype="str")}).to_parquet(tmp_path / "t.parquet")
    assert describe(tmp_path / "t.parquet", "parquet").rows == 0
    assert list(read_table(tmp_path / "t.parquet", "parquet").columns) == ["a", "t"]


def test_parquet_of_many_row_groups_with_other_dictionaries(tmp_path: Path) -> None:
    """Text that is coded anew in each row group is joined."""
    frame = pd.DataFrame({"t": [f"v{i // 10}" for i in range(100)], "n": range(100)})
    frame.to_parquet(tmp_path / "t.parquet", row_group_size=7)
    pd.testing.assert_frame_equal(read_table(tmp_path / "t.parquet", "parquet"), frame)


def test_parquet_bomb_is_refused_in_little_memory(tmp_path: Path) -> None:
    """One megabyte of text, repeated by reference 10,000 times: 50 kB of file, 10 GB of text, 1 MB by its metadata."""
    import resource

    path = tmp_path / "t.parquet"
    codes = pa.array(np.zeros(10_000, dtype=np.int32))
    pq.write_table(pa.table({"t": pa.DictionaryArray.from_arrays(codes, pa.array(["x" * 1_000_000]))}), path)
    plain = tmp_path / "plain.parquet"
    # The same without the hint that the column was dictionary-coded, as an attacker would write it.
    pq.write_table(pq.read_table(path), plain, store_schema=False)
    assert plain.stat().st_size < 100_000
    before = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    with pytest.raises(Unfit, match="unpacks to more than"):
        read_table(plain, "parquet")
    assert resource.getrusage(resource.RUSAGE_SELF).ru_maxrss - before < 300_000  # KiB


def test_parquet_of_too_many_cells_is_refused(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Rows times the columns that are asked for are limited, by the metadata alone."""
    pd.DataFrame({"a": range(100), "b": range(100)}).to_parquet(tmp_path / "t.parquet")
    monkeypatch.setattr(parquet, "MAX_CELLS", 150)
    assert len(read_table(tmp_path / "t.parquet", "parquet", ["a"])) == 100
    with pytest.raises(Unfit, match="too many cells"):
        read_table(tmp_path / "t.parquet", "parquet")


def test_parquet_with_nested_and_binary_columns(tmp_path: Path) -> None:
    """Columns that hold more than plain values are listed, left out, and refused when asked for."""
    path = tmp_path / "t.parquet"
    pq.write_table(pa.table({"a": [1], "list": [[1, 2]], "raw": [b"\x80\x04."], "struct": [{"x": 1}]}), path)
    assert describe(path, "parquet").columns == ("a", "list", "raw", "struct")
    assert list(read_table(path, "parquet").columns) == ["a"]
    for name in ("list", "raw", "struct"):
        with pytest.raises(Unfit, match="not plain values"):
            read_table(path, "parquet", [name])


@pytest.mark.parametrize(
    "metadata",
    [
        b"not json",
        b"[" * 50_000,
        b"{}",
        b'{"index_columns": ["nope"], "columns": []}',
        b'{"index_columns": [{"kind": "range", "start": 0, "stop": 1, "step": 0}], "columns": []}',
        b'{"index_columns": 3, "columns": []}',
        b'{"index_columns": [], "columns": [{"field_name": "a", "numpy_type": "period[D]"}]}',
    ],
)
def test_hostile_pandas_metadata_is_ignored(tmp_path: Path, metadata: bytes) -> None:
    """What pandas' metadata says is used only where it makes sense."""
    path = tmp_path / "t.parquet"
    pq.write_table(pa.table({"a": [1, 2]}).replace_schema_metadata({b"pandas": metadata}), path)
    assert list(read_table(path, "parquet", with_index=True)["a"]) == [1, 2]


@pytest.mark.parametrize("content", [b"", b"PAR1", b"PAR1" + b"\xff" * 100 + b"PAR1", b"\x1f\x8b"])
def test_broken_parquet_is_unreadable(tmp_path: Path, content: bytes) -> None:
    """Garbage is an Unfit, whatever pyarrow raises."""
    (tmp_path / "t.parquet").write_bytes(content)
    with pytest.raises(Unfit, match="can't be read"):
        describe(tmp_path / "t.parquet", "parquet")


def test_truncated_parquet_page_is_unreadable(tmp_path: Path) -> None:
    """A good footer over damaged pages is noticed on reading."""
    path = tmp_path / "t.parquet"
    pd.DataFrame({"t": [f"value {i}" for i in range(1000)]}).to_parquet(path, compression="zstd")
    content = bytearray(path.read_bytes())
    content[4:2000] = os.urandom(1996)
    path.write_bytes(content)
    with pytest.raises(Unfit, match="can't be read"):
        read_table(path, "parquet")


# -- parquet in batches --------------------------------------------------------------------------------------------
@pytest.mark.parametrize(("group", "rows"), [(1, 2), (2, 1), (3, 3)])
def test_batches_hold_what_the_table_holds(tmp_path: Path, everything: pd.DataFrame, group: int, rows: int) -> None:
    """Every type; the categories are those of the whole table, in its order, and the missing cells are counted."""
    path = tmp_path / "t.parquet"
    everything["kind"] = pd.Categorical(["z", "a", None], categories=["q", "z", "a"])
    everything["few"] = pd.Series([1, None, 3], dtype=object).to_numpy()
    everything.to_parquet(path, row_group_size=group)
    whole = read_table(path, "parquet")
    found = list(read_batches(path, "parquet", list(whole.columns), rows=rows))
    assert all(batch.num_rows <= rows and batch.schema == found[0].schema for batch in found)
    together = pa.Table.from_batches([b.cast(found[0].schema) for b in found]).to_pandas()
    pd.testing.assert_frame_equal(together.astype({"few": object}), whole.astype({"few": object}), check_dtype=True)
    assert missing_cells(path, "parquet") == (whole.isna().to_numpy().sum(), whole.size)


def test_categories_of_later_row_groups_are_added_at_the_end(tmp_path: Path) -> None:
    """A code means the same category in all batches."""
    path = tmp_path / "t.parquet"
    kind = pa.dictionary(pa.int32(), pa.string())
    with pq.ParquetWriter(path, pa.schema([("kind", kind)])) as writer:
        for part in (["b", "a"], ["c", "a", None], ["d", "b"]):
            writer.write_table(pa.table({"kind": pa.array(part).dictionary_encode().cast(kind)}))
    found = list(read_batches(path, "parquet", ["kind"], rows=3))
    assert [v for batch in found for v in batch.column(0).to_pylist()] == ["b", "a", "c", "a", None, "d", "b"]
    assert found[-1].column(0).dictionary.to_pylist() == list(read_table(path, "parquet")["kind"].cat.categories)
    for batch in found:
        known = batch.column(0).dictionary.to_pylist()
        assert known == ["b", "a", "c", "d"][: len(known)]


def test_long_text_makes_smaller_batches(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Bytes are limited as well as rows, also where the file repeats a text by reference."""
    path = tmp_path / "t.parquet"
    pd.DataFrame({"t": ["x" * 1000] * 50}).to_parquet(path)
    monkeypatch.setattr(parquet_batches, "BATCH_BYTES", 10_000)
    sizes = [batch.num_rows for batch in read_batches(path, "parquet", ["t"])]
    assert sum(sizes) == 50
    assert max(sizes) < 10


def test_batches_of_a_bomb_end_at_the_limit(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """What all batches unpack to is limited."""
    path = tmp_path / "t.parquet"
    pd.DataFrame({"t": ["x" * 1000] * 5000}).to_parquet(path)
    monkeypatch.setattr(parquet_batches, "MAX_UNPACKED", 1_000_000)
    with pytest.raises(Unfit, match="unpacks to more than 1,000,000 bytes"):
        list(read_batches(path, "parquet", ["t"], rows=100))


def test_columns_that_are_too_large_together_can_be_read_alone(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """What is read at once is limited by the columns that are asked for, before a page is read."""
    path = tmp_path / "t.parquet"
    pd.DataFrame(np.random.default_rng(0).normal(size=(1000, 5)), columns=list("abcde")).to_parquet(path)
    monkeypatch.setattr(parquet, "MAX_BYTES", 20_000)
    assert read_table(path, "parquet", ["b"]).shape == (1000, 1)
    with pytest.raises(Unfit, match=r"columns to read unpack to .* at most 20,000"):
        read_table(path, "parquet")
    assert sum(b.num_rows for b in read_batches(path, "parquet", list("abcde"))) == 1000


def test_damaged_page_is_unreadable_in_batches(tmp_path: Path) -> None:
    """Damage in the last row group is an Unfit when it is reached."""
    path = tmp_path / "t.parquet"
    pd.DataFrame({"n": np.random.default_rng(0).normal(size=4000)}).to_parquet(path, row_group_size=1000)
    content = bytearray(path.read_bytes())
    start = pq.ParquetFile(path).metadata.row_group(3).column(0).data_page_offset
    content[start : start + 500] = os.urandom(500)
    path.write_bytes(content)
    batches = read_batches(path, "parquet", ["n"], rows=500)
    assert next(batches).num_rows == 500
    with pytest.raises(Unfit, match="can't be read"):
        list(batches)


def test_json_split_as_mlflow_writes_it(tmp_path: Path) -> None:
    """Columns, rows and values of `log_table`'s JSON."""
    path = tmp_path / "t.json"
    path.write_text('{"columns": ["x", "prediction"], "data": [[1, "good"], [NaN, "bad"]]}')
    assert describe(path, "json-split") == Shape(("x", "prediction"), 2)
    assert list(read_table(path, "json-split")["prediction"]) == ["good", "bad"]


@pytest.mark.parametrize(
    "document",
    [
        "[",
        "[" * 100_000,
        "[]",
        '{"columns": ["a"]}',
        '{"columns": ["a", "a"], "data": []}',
        '{"columns": [1], "data": []}',
        '{"columns": ["a"], "data": [[1, 2]]}',
        '{"columns": ["a"], "data": [[{"x": 1}]]}',
        '{"columns": ["a"], "data": [' + "1" * 5000 + "]}",
    ],
)
def test_broken_json_is_unreadable(tmp_path: Path, document: str) -> None:
    """Anything but a table of single values is refused."""
    (tmp_path / "t.json").write_text(document)
    with pytest.raises(Unfit, match="can't be read"):
        describe(tmp_path / "t.json", "json-split")


def test_formats_by_suffix() -> None:
    """Three kinds of table are known; pickles and everything else are not."""
    assert [format_of(n) for n in ("a.csv", "A.CSV", "b.parquet", "c.pq", "d.json")] == [
        "csv",
        "csv",
        "parquet",
        "parquet",
        "json-split",
    ]
    for name in ("a.pkl", "a.feather", "a", "a.csv.gz"):
        with pytest.raises(Unfit, match="not a table that we read"):
            format_of(name)
