"""Our digest is MLflow's; "mismatch" is only said where nothing but other content can explain it."""

from __future__ import annotations

import base64
import importlib.util
import json
from hashlib import md5
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from mlflow.data.digest_utils import compute_pandas_digest  # the oracle; this module alone doesn't import all of mlflow

from venturalitica_agent.domain.run import LoggedDataset
from venturalitica_agent.domain.subject import DigestCheck
from venturalitica_agent.fetch.digests import Claim, claim_of, compare, compare_bytes, pandas_digest
from venturalitica_agent.fetch.tables import describe, format_of, read_table

_COLUMN = st.one_of(
    st.lists(st.integers(-(2**62), 2**62), min_size=6, max_size=6),
    st.lists(st.floats(), min_size=6, max_size=6),
    st.lists(st.booleans(), min_size=6, max_size=6),
    st.lists(st.text(max_size=3), min_size=6, max_size=6),
    st.lists(st.one_of(st.none(), st.text(max_size=3)), min_size=6, max_size=6),
    st.lists(st.one_of(st.integers(0, 9), st.text(max_size=3)), min_size=6, max_size=6),
    st.lists(st.sampled_from(["a", "b"]), min_size=6, max_size=6).map(pd.Categorical),
    st.lists(st.one_of(st.none(), st.integers(0, 9)), min_size=6, max_size=6).map(lambda v: pd.array(v, dtype="Int64")),
    st.lists(st.datetimes(), min_size=6, max_size=6),
)


@st.composite
def frames(draw: st.DrawFn) -> pd.DataFrame:
    names = draw(st.lists(st.text(min_size=1, max_size=3), min_size=1, max_size=5, unique=True))
    rows = draw(st.integers(1, 6))  # MLflow itself fails on text columns without rows
    index = draw(st.permutations(range(6)))
    frame = pd.DataFrame({name: draw(_COLUMN) for name in names})
    return frame.set_axis(pd.Index(index)).head(rows)


@given(frames())
@settings(max_examples=100, deadline=None)
def test_equal_to_mlflow(frame: pd.DataFrame) -> None:
    """Over every kind of column, with shuffled indexes and short frames."""
    assert pandas_digest(frame) == compute_pandas_digest(frame)


def test_equal_to_mlflow_over_many_rows() -> None:
    """Only the first 10,000 rows count, but whether a column is all text is asked of every row."""
    frame = pd.DataFrame({"n": np.arange(12_000), "t": ["x"] * 12_000, "late": ["x"] * 11_000 + [None] * 1_000})
    assert pandas_digest(frame) == compute_pandas_digest(frame)
    other = frame.assign(n=np.where(np.arange(12_000) < 11_000, frame["n"], -1))
    assert pandas_digest(other) == pandas_digest(frame)


def frame_of(seed: int = 1, rows: int = 50) -> pd.DataFrame:
    random = np.random.default_rng(seed)
    return pd.DataFrame(
        {
            "income": random.normal(size=rows),
            "age": random.integers(18, 80, size=rows),
            "job": random.choice(["A171", "A172"], size=rows),
            "class": random.integers(1, 3, size=rows),
        }
    )


def logged(frame: pd.DataFrame, **more: str) -> Claim:
    """What MLflow would have logged of the frame."""
    schema = json.dumps({"mlflow_colspec": [{"type": "long", "name": c, "required": True} for c in frame.columns]})
    profile = json.dumps({"num_rows": len(frame), "num_elements": frame.size})
    given_ = {"schema": schema, "profile": profile, "digest": compute_pandas_digest(frame), **more}
    return claim_of(LoggedDataset(name="eval", context="eval", source_type="local", source="{}", **given_))


def check(path: Path, claim: Claim, *, changed: bool = False, targets: tuple[str, ...] = ()) -> tuple[DigestCheck, str]:
    """Compare a file as `fetch_subject` does."""
    format_ = format_of(path.name)
    shape = describe(path, format_)
    return compare(
        claim,
        shape.columns,
        shape.rows,
        lambda: read_table(path, format_, with_index=True),
        targets=targets,
        lossless=shape.lossless,
        changed=changed,
    )


@pytest.mark.parametrize("name", ["t.csv", "t.parquet"])
def test_the_same_file_matches(tmp_path: Path, name: str) -> None:
    """A frame with a plain index matches through either format."""
    frame = frame_of()
    path = tmp_path / name
    frame.to_csv(path, index=False) if name == "t.csv" else frame.to_parquet(path)
    assert check(path, logged(frame)) == (DigestCheck.MATCH, "equal to the digest of 'eval' over all columns")


def test_features_only_matches(tmp_path: Path) -> None:
    """Autolog's features-only digest is found by the schema, and without one by leaving out the target."""
    frame = frame_of()
    frame.to_parquet(tmp_path / "t.parquet")
    features = frame.drop(columns="class")
    assert check(tmp_path / "t.parquet", logged(features))[0] is DigestCheck.MATCH
    no_schema = logged(features, schema="")
    assert check(tmp_path / "t.parquet", no_schema)[0] is not DigestCheck.MATCH
    found, reason = check(tmp_path / "t.parquet", no_schema, targets=("class",))
    assert found is DigestCheck.MATCH
    assert reason.endswith("all columns but 'class'")


def test_shuffled_index(tmp_path: Path) -> None:
    """Parquet keeps the index of train_test_split; CSV doesn't, which proves nothing."""
    frame = frame_of().sample(frac=0.5, random_state=1)
    frame.to_parquet(tmp_path / "t.parquet")
    frame.to_csv(tmp_path / "t.csv", index=False)
    assert check(tmp_path / "t.parquet", logged(frame))[0] is DigestCheck.MATCH
    found, reason = check(tmp_path / "t.csv", logged(frame))
    assert found is DigestCheck.UNCHECKABLE
    assert "shuffled row index" in reason


def test_other_content_is_a_mismatch_where_it_can_be_proved(tmp_path: Path) -> None:
    """In parquet always; in CSV by rows, by columns, or because the file was written after the run."""
    frame = frame_of()
    other = frame.assign(age=frame["age"] + 1)
    other.to_parquet(tmp_path / "t.parquet")
    other.to_csv(tmp_path / "t.csv", index=False)
    assert check(tmp_path / "t.parquet", logged(frame))[0] is DigestCheck.MISMATCH
    assert check(tmp_path / "t.csv", logged(frame))[0] is DigestCheck.UNCHECKABLE
    assert check(tmp_path / "t.csv", logged(frame), changed=True)[0] is DigestCheck.MISMATCH
    assert check(tmp_path / "t.csv", logged(frame.head(20))) == (
        DigestCheck.MISMATCH,
        "the dataset 'eval' has 20 rows, this file has 50",
    )
    renamed = check(tmp_path / "t.csv", logged(frame.rename(columns={"job": "work"})))
    assert renamed == (DigestCheck.MISMATCH, "the dataset 'eval' has columns that this file has not: 'work'")


def test_one_flipped_cell_in_row_one_is_seen(tmp_path: Path) -> None:
    """The digest covers single cells of the first rows."""
    frame = frame_of()
    other = frame.copy()
    other.loc[0, "class"] = 3 - other.loc[0, "class"]
    other.to_parquet(tmp_path / "t.parquet")
    assert check(tmp_path / "t.parquet", logged(frame))[0] is DigestCheck.MISMATCH


@pytest.mark.parametrize(
    ("changes", "words"),
    [
        ({"digest": ""}, "no digest"),
        ({"digest": "v1"}, "not the one that MLflow makes"),
        ({"schema": '{"mlflow_tensorspec": {"features": "[]"}}'}, "not the one that MLflow makes"),
    ],
)
def test_uncheckable_with_the_reason(tmp_path: Path, changes: dict[str, str], words: str) -> None:
    """No digest, a digest of somebody's own, an array's digest."""
    frame = frame_of()
    frame.to_parquet(tmp_path / "t.parquet")
    found, reason = check(tmp_path / "t.parquet", logged(frame, **changes))
    assert found is DigestCheck.UNCHECKABLE
    assert words in reason


@pytest.mark.parametrize("text", ["not json", "[" * 100_000, "[]", '{"mlflow_colspec": 3, "num_rows": "x"}', "3"])
def test_hostile_schema_and_profile_count_as_unsaid(text: str) -> None:
    """Unreadable claims claim nothing."""
    claim = logged(frame_of(), schema=text, profile=text)
    assert (claim.columns, claim.rows, claim.tabular) == (None, None, True)


def test_nested_columns_count_by_name_only(tmp_path: Path) -> None:
    """A column of lists is not hashed by MLflow, but its name is."""
    frame = frame_of().assign(tags=[["a", "b"]] * 50)
    frame.to_parquet(tmp_path / "t.parquet")
    assert check(tmp_path / "t.parquet", logged(frame))[0] is DigestCheck.MATCH


# -- W&B ------------------------------------------------------------------------------------------------------------


def in_wandb(digest: str) -> LoggedDataset:
    return LoggedDataset(name="evalset", digest=digest, context="test", source_type="wandb", source="{}")


@given(st.binary(max_size=2000))
@settings(max_examples=20, deadline=None)
def test_equal_to_what_wandb_puts_into_a_manifest(content: bytes) -> None:
    """Both of its hashes, by its own functions; one more byte is a proven mismatch."""
    import tempfile

    from wandb.sdk.lib.hashutil import md5_file_b64, xxh128_file_b64

    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / "test.csv"
        path.write_bytes(content)
        digests = [f"md5:{md5_file_b64(path)}", f"xxh128:{xxh128_file_b64(path)}"]
        assert [compare_bytes(in_wandb(d), path)[0] for d in digests] == [DigestCheck.MATCH] * 2
        path.write_bytes(content + b"x")
        for digest in digests:
            found, reason = compare_bytes(in_wandb(digest), path)
            assert found is DigestCheck.MISMATCH
            assert "bytes are not those of 'evalset'" in reason


@pytest.mark.parametrize(
    "digest",
    [
        "",
        "md5:",
        "md5:!!!!",
        "md5:" + "A" * 24,
        "sha256:" + "A" * 43 + "=",
        "md5:é",
        "MD5:" + "A" * 22 + "==",
        "0" * 32,
    ],
)
def test_digest_that_wandb_never_writes_proves_nothing(tmp_path: Path, digest: str) -> None:
    """Above all it is no mismatch."""
    (tmp_path / "t.csv").write_bytes(b"x")
    found, reason = compare_bytes(in_wandb(digest), tmp_path / "t.csv")
    assert found is DigestCheck.UNCHECKABLE
    assert "not one that W&B makes" in reason


def test_hash_that_is_not_installed_proves_nothing(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Without xxhash its digests can't be checked; MD5 still can."""
    monkeypatch.setattr(importlib.util, "find_spec", lambda name: None)
    (tmp_path / "t.csv").write_bytes(b"x")
    promised = base64.b64encode(md5(b"x").digest()).decode()
    assert compare_bytes(in_wandb(f"md5:{promised}"), tmp_path / "t.csv")[0] is DigestCheck.MATCH
    found, reason = compare_bytes(in_wandb(f"xxh128:{promised}"), tmp_path / "t.csv")
    assert found is DigestCheck.UNCHECKABLE
    assert "xxhash is not installed" in reason
