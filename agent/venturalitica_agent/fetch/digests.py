"""The tracker's own digest of a dataset, computed again, to say whether a file is the data that the run declared.

W&B's is a hash of the file's bytes, so it decides. MLflow's is weak (8 hex of MD5 over at most 10,000 rows, text and
numbers only), and it covers the row index and the exact types, which CSV doesn't keep. So equal digests say "match";
unequal digests say "mismatch" only where nothing but other content can explain them, and "uncheckable", with the
reason, everywhere else.
"""

from __future__ import annotations

import base64
import binascii
import importlib.util
import json
import re
from collections.abc import Callable, Collection, Iterator, Sequence
from dataclasses import dataclass
from hashlib import md5
from pathlib import Path
from typing import TYPE_CHECKING, Any

from venturalitica_agent.domain.run import LoggedDataset
from venturalitica_agent.domain.subject import DigestCheck
from venturalitica_agent.fetch.problems import listed
from venturalitica_agent.strict_yaml import shown

if TYPE_CHECKING:
    import pandas as pd

_ROWS = 10_000
_DIGEST = re.compile(r"[0-9a-f]{8}")
_CHUNK = 1 << 20
_MOST_CELLS = 100_000_000  # of a table that is held whole: about a gigabyte
_CSV_LOSES = (
    "the digests differ, but CSV keeps neither a shuffled row index nor dates, float32 or zero-padded text, so this "
    "proves nothing; log the data as parquet to make it provable"
)


@dataclass(frozen=True, slots=True)
class Claim:
    """What the tracker says of a dataset, as far as it can be compared.

    Attributes:
        columns: the column names; None when it doesn't say.
        tabular: False for arrays, whose digest is made in another way.
    """

    name: str
    digest: str
    rows: int | None = None
    columns: tuple[str, ...] | None = None
    tabular: bool = True


def claim_of(dataset: LoggedDataset) -> Claim:
    """Read the tracker's JSON; what can't be read counts as not said."""
    schema, profile = _json_map(dataset.schema), _json_map(dataset.profile)
    columns = schema.get("mlflow_colspec")
    names = [c.get("name") for c in columns if isinstance(c, dict)] if isinstance(columns, list) else []
    rows = profile.get("num_rows")
    return Claim(
        dataset.name,
        dataset.digest,
        rows if isinstance(rows, int) and not isinstance(rows, bool) else None,
        tuple(str(n) for n in names) if names and all(isinstance(n, str) for n in names) else None,
        "mlflow_tensorspec" not in schema,
    )


def pandas_digest(frame: pd.DataFrame, names: Sequence[str] | None = None) -> str:
    """MLflow's digest of a pandas DataFrame, 8 hex.

    Formula: mlflow.data.digest_utils.compute_pandas_digest (3.17).

    Args:
        names: all column names of the dataset, where `frame` leaves out columns that the digest ignores anyway.
    """
    import numpy as np
    import pandas as pd

    text = frame.columns[[_all_text(frame[c]) for c in frame.columns]]
    numbers = frame.head(_ROWS).select_dtypes(include=[np.number]).columns
    hashed = frame.head(_ROWS)[text.union(numbers)]
    digest = md5(usedforsecurity=False)
    digest.update(pd.util.hash_pandas_object(hashed).to_numpy().tobytes())
    digest.update(np.int64(len(frame)).tobytes())
    for name in frame.columns if names is None else names:
        digest.update(str(name).encode())
    return digest.hexdigest()[:8]


def compare(
    claim: Claim,
    columns: Sequence[str],
    rows: int,
    read: Callable[[], pd.DataFrame],
    *,
    targets: Collection[str] = (),
    lossless: bool,
    changed: bool = False,
) -> tuple[DigestCheck, str]:
    """Is this table the dataset of `claim`?

    Args:
        columns, rows: of the table.
        read: gives the table with its row index; called only when the cheaper comparisons decide nothing.
        targets: columns that the logged dataset may have left out (features-only datasets).
        lossless: the file gives back the very table that was written.
        changed: the file was written after the run ended.

    Returns:
        The outcome and the reason in words.
    """
    name = shown(claim.name)
    if not claim.digest:
        return DigestCheck.UNCHECKABLE, f"the tracker has no digest for the dataset {name}"
    if not claim.tabular or not _DIGEST.fullmatch(claim.digest):
        return DigestCheck.UNCHECKABLE, f"the digest of {name} is not the one that MLflow makes of tables"
    if claim.columns is not None and (extra := sorted(set(claim.columns) - set(columns))):
        return DigestCheck.MISMATCH, f"the dataset {name} has columns that this file has not: {listed(extra)}"
    if claim.rows is not None and claim.rows != rows:
        return DigestCheck.MISMATCH, f"the dataset {name} has {claim.rows:,} rows, this file has {rows:,}"

    if rows * len(columns) > _MOST_CELLS:
        return DigestCheck.UNCHECKABLE, f"{rows:,} rows x {len(columns):,} columns are too many for MLflow's digest"
    frame = read()
    for words, chosen in _candidates(claim, columns, targets):
        if pandas_digest(frame[[c for c in chosen if c in frame.columns]], chosen) == claim.digest:
            seen = f"; MLflow's digest looks at the first {_ROWS:,} rows only" if rows > _ROWS else ""
            return DigestCheck.MATCH, f"equal to the digest of {name} over {words}{seen}"
    if lossless:
        return DigestCheck.MISMATCH, f"this file's content is not that of the dataset {name}"
    if changed:
        return DigestCheck.MISMATCH, f"the file was written after the run ended and is not the dataset {name}"
    return DigestCheck.UNCHECKABLE, _CSV_LOSES


def compare_bytes(dataset: LoggedDataset, path: Path) -> tuple[DigestCheck, str]:
    """Is this file the one of W&B's manifest? Its digest there is "md5:" or "xxh128:" and base64 of 16 bytes."""
    name = shown(dataset.name)
    kind, _, text = dataset.digest.partition(":")
    try:
        promised = base64.b64decode(text, validate=True)
    except (binascii.Error, ValueError):
        promised = b""
    if kind not in ("md5", "xxh128") or len(promised) != 16:
        return DigestCheck.UNCHECKABLE, f"the digest of {name} is not one that W&B makes of files"
    if kind == "xxh128" and importlib.util.find_spec("xxhash") is None:
        return DigestCheck.UNCHECKABLE, f"the digest of {name} is an XXH128, and the package xxhash is not installed"
    if _hash_file(kind, path) == promised:
        return DigestCheck.MATCH, f"equal to the {kind.upper()} of {name} in W&B's manifest, over all bytes of the file"
    return DigestCheck.MISMATCH, f"this file's bytes are not those of {name}: W&B's manifest has another {kind.upper()}"


def _hash_file(kind: str, path: Path) -> bytes:
    hasher: Any = md5(usedforsecurity=False)
    if kind == "xxh128":
        import xxhash

        hasher = xxhash.xxh128()
    with path.open("rb") as file:
        while chunk := file.read(_CHUNK):
            hasher.update(chunk)
    return bytes(hasher.digest())


def _candidates(
    claim: Claim, columns: Sequence[str], targets: Collection[str]
) -> Iterator[tuple[str, tuple[str, ...]]]:
    """The sets of columns that the dataset may have had."""
    if claim.columns is not None:
        yield ("all columns" if set(claim.columns) == set(columns) else "its own columns"), claim.columns
        return
    yield "all columns", tuple(columns)
    for target in sorted(set(targets) & set(columns)):
        yield f"all columns but {shown(target)}", tuple(c for c in columns if c != target)


def _all_text(column: pd.Series) -> bool:
    import pandas as pd

    kind = column.dtype
    if len(column) and (pd.api.types.is_numeric_dtype(kind) or pd.api.types.is_datetime64_any_dtype(kind)):
        return False
    return all(type(value) is str for value in column)


def _json_map(text: str) -> dict[str, object]:
    try:
        value = json.loads(text) if text else {}
    except (ValueError, RecursionError):
        return {}
    return value if isinstance(value, dict) else {}
