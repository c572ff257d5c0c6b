"""One sandbox per test process, models on disk as the fetch stage leaves them, and a check for leftovers."""

from __future__ import annotations

import hashlib
import pickle
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pytest

from venturalitica_agent.domain.subject import FileDigest, ModelSubject
from venturalitica_agent.sandbox.launcher import Limits, Sandbox

SaveModel = Callable[..., ModelSubject]


@pytest.fixture(scope="session")
def sandbox(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Sandbox]:
    with Sandbox(limits=Limits(wall_seconds=20), workdir=tmp_path_factory.mktemp("sandbox")) as made:
        yield made


@pytest.fixture(scope="session")
def frame() -> pd.DataFrame:
    """100 rows: two text columns, an integer, a float with gaps, a boolean."""
    rng = np.random.default_rng(7)
    return pd.DataFrame(
        {
            "housing": rng.choice(["own", "rent", "für nix"], 100),
            "purpose": rng.choice(["car", "tv"], 100),
            "age": rng.integers(18, 80, 100),
            "amount": np.where(rng.random(100) < 0.1, np.nan, rng.normal(3000, 900, 100)),
            "foreign": rng.random(100) < 0.5,
        }
    )


@pytest.fixture(scope="session")
def labels(frame: pd.DataFrame) -> pd.Series:
    return pd.Series(np.where(frame["age"] + (frame["housing"] == "own") * 20 > 55, "good", "bad"))


@pytest.fixture
def save(tmp_path: Path) -> SaveModel:
    """Writes a model (bytes, or an object to pickle) as a model subject."""
    return saver(tmp_path)


def saver(parent: Path) -> SaveModel:
    def write(
        model: Any, *, file: str = "model.pkl", form: str = "pickle", flavor: str = "sklearn", **fields: Any
    ) -> ModelSubject:
        content = model if isinstance(model, bytes) else pickle.dumps(model)
        folder = parent / "model"
        folder.mkdir(exist_ok=True)
        (folder / file).write_bytes(content)
        digest = FileDigest(file, len(content), hashlib.sha256(content).hexdigest())
        return ModelSubject("credit", str(folder), digest.sha256, (digest,), flavor, file, form, **fields)

    return write


class _Attack:
    def __init__(self, code: str) -> None:
        self.code = code

    def __reduce__(self) -> tuple[Any, ...]:
        return exec, (self.code, {})


@pytest.fixture
def attack(save: SaveModel) -> Callable[[str], ModelSubject]:
    """A model whose loading runs the given Python code."""
    return lambda code: save(_Attack(code))


@pytest.fixture(scope="module")
def module_attack(tmp_path_factory: pytest.TempPathFactory) -> Callable[[str], ModelSubject]:
    """Like `attack`, for what the tests of a module share."""
    save = saver(tmp_path_factory.mktemp("attack"))
    return lambda code: save(_Attack(code))


def processes_of(folder: Path) -> list[int]:
    """Ids of the bubblewrap processes whose slot is under `folder`; when they are gone, so is all they contained."""
    found = []
    for path in Path("/proc").glob("[0-9]*/cmdline"):
        try:
            if str(folder).encode() in path.read_bytes() and b"bwrap" in path.read_bytes():
                found.append(int(path.parent.name))
        except OSError:  # it ended while we looked
            continue
    return found


@pytest.fixture
def no_leftovers() -> Callable[[Path], None]:
    """Asserts, within three seconds, that no process and no slot is left under a folder."""

    def check(folder: Path) -> None:
        deadline = time.monotonic() + 3
        while (left := processes_of(folder)) and time.monotonic() < deadline:
            time.sleep(0.02)
        assert left == []
        assert list(folder.rglob("slot-*")) == []

    return check
