"""A working folder with a policy in it, where nothing is audited: what is looked at is what the fit leaves behind."""

from __future__ import annotations

from pathlib import Path

import pytest
from support.companion import POLICY, Workplace


@pytest.fixture
def workplace(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Workplace:
    (tmp_path / "work").mkdir()
    monkeypatch.chdir(tmp_path / "work")
    monkeypatch.setenv("VENTURALITICA_AUDIT", "off")
    (tmp_path / "work" / "model_policy.yaml").write_text(POLICY)
    return Workplace(tmp_path / "work")
