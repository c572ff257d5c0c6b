"""Where the API key comes from, and that nothing shows it."""

from __future__ import annotations

import traceback
from pathlib import Path

import pytest

from venturalitica_agent.errors import StoreUnavailable
from venturalitica_agent.stores.wandb_http import Key, find_key

URL = "https://wandb.example:8443"
SECRET = "0123456789abcdef0123456789abcdef01234567"


def netrc(folder: Path, text: str) -> dict[str, str]:
    file = folder / "netrc"
    file.write_text(text)
    return {"NETRC": str(file)}


def test_the_environment_goes_before_netrc(tmp_path: Path) -> None:
    env = netrc(tmp_path, f"machine wandb.example:8443 login user password {'9' * 40}\n")
    found = find_key(URL, env | {"WANDB_API_KEY": f" {SECRET}\n"})
    assert found == Key(SECRET, "WANDB_API_KEY")


@pytest.mark.parametrize("blank", ["", "  ", "\n"])
def test_a_blank_variable_is_none(tmp_path: Path, blank: str) -> None:
    env = netrc(tmp_path, f"machine wandb.example:8443 login user password {SECRET}\n")
    assert find_key(URL, env | {"WANDB_API_KEY": blank}) == Key(SECRET, env["NETRC"])


def test_only_the_servers_own_machine_in_netrc_counts(tmp_path: Path) -> None:
    other = "machine wandb.example login user password elsewhere\nmachine other:8443 login user password elsewhere\n"
    assert find_key(URL, netrc(tmp_path, other)) is None
    # somebody's password for all other machines is not for W&B
    assert find_key(URL, netrc(tmp_path, f"{other}default login anonymous password mail@home\n")) is None
    assert find_key(URL, {"NETRC": str(tmp_path / "none")}) is None


def test_the_home_folders_netrc_is_read(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("HOME", str(tmp_path))
    assert find_key(URL, {}) is None
    (tmp_path / "_netrc").write_text(f"machine wandb.example:8443 login user password {SECRET}\n")
    assert find_key("https://user:pass@wandb.example:8443", {}) == Key(SECRET, str(tmp_path / "_netrc"))


def test_a_user_without_a_home_has_no_netrc(monkeypatch: pytest.MonkeyPatch) -> None:
    def homeless(_: Path) -> Path:
        raise RuntimeError("Could not determine home directory.")

    monkeypatch.setattr(Path, "expanduser", homeless)
    assert find_key(URL, {}) is None


@pytest.mark.parametrize("content", [f"machine wandb.example:8443 password {SECRET} {SECRET}", "\udcff\udcfe"])
def test_a_broken_netrc_is_named_and_not_quoted(tmp_path: Path, content: str) -> None:
    file = tmp_path / "netrc"
    file.write_bytes(content.encode("utf-8", "surrogateescape"))
    with pytest.raises(StoreUnavailable) as refused:
        find_key(URL, {"NETRC": str(file)})
    assert refused.value.subject == str(file)
    assert "WANDB_API_KEY" in refused.value.remedy
    assert SECRET not in "".join(traceback.format_exception(refused.value))


def test_a_key_is_not_shown() -> None:
    key = Key(SECRET, "WANDB_API_KEY")
    assert SECRET not in f"{key} {key!r} {[key]}"
