"""Who may read the status page, and what keeps it from being served to everyone."""

from __future__ import annotations

import re
import stat
from pathlib import Path

import pytest

from venturalitica_agent.errors import ConfigError
from venturalitica_agent.settings import Settings, load_settings
from venturalitica_agent.web.access import is_loopback, read_access, signing_key, user_line

TOKEN = "t" * 20
PASSWORD = "correct horse"


def settings(folder: Path, web: str, **env: str) -> Settings:
    (folder / "agent.yaml").write_text(f"stores: [{{mlflow: ./mlruns}}]\npolicies: ./p\nweb: {web}\n")
    return load_settings(folder / "agent.yaml", env=env, cwd=folder)


@pytest.mark.parametrize("host", ["127.0.0.1", "127.8.9.1", "::1", "[::1]", "localhost", "LOCALHOST"])
def test_only_this_machine_reaches_loopback(host: str) -> None:
    assert is_loopback(host)


@pytest.mark.parametrize("host", ["0.0.0.0", "::", "10.0.0.1", "status.example.com", "localhost.example.com", ""])
def test_other_machines_may_reach_anything_else(host: str) -> None:
    assert not is_loopback(host)


def test_nobody_is_asked_on_loopback(tmp_path: Path) -> None:
    access = read_access(settings(tmp_path, "{}"))
    assert access.loopback
    assert not access.asks


def test_other_addresses_are_refused_without_a_token_or_users(tmp_path: Path) -> None:
    with pytest.raises(ConfigError, match="without showing who they are") as raised:
        read_access(settings(tmp_path, "{host: 0.0.0.0}"))
    assert "token_file" in raised.value.remedy


def test_a_token_comes_from_a_variable_or_a_file(tmp_path: Path) -> None:
    (tmp_path / "token").write_text(f"{TOKEN}\n")
    by_file = read_access(settings(tmp_path, "{host: 0.0.0.0, token_file: ./token}"))
    by_variable = read_access(settings(tmp_path, "{host: 0.0.0.0}", VENTURALITICA_WEB_TOKEN=TOKEN))
    for access in (by_file, by_variable):
        assert access.is_token(TOKEN)
        assert not any(map(access.is_token, ("", TOKEN[:-1], TOKEN + "t", "ñ")))
        assert TOKEN not in repr(access)


def test_the_token_is_not_read_from_agent_yaml(tmp_path: Path) -> None:
    with pytest.raises(ConfigError, match="unknown key 'token'"):
        settings(tmp_path, f"{{token: {TOKEN}}}")


@pytest.mark.parametrize(
    ("web", "content", "words"),
    [
        ("{token_file: ./f}", "short", "shorter than 16"),
        ("{token_file: ./f}", "", "holds no token"),
        ("{token_file: ./f}", "two words are not one token", "holds no token"),
        ("{token_file: ./missing}", "", "can't be read"),
        ("{users: ./f}", "", "holds no user"),
        ("{users: ./f}", "ana:secret\n", "not a line"),
        ("{users: ./f}", "ana:scrypt$2$8$1$AAAA$AAAA\n", "not a line"),
        ("{users: ./missing}", "", "can't be read"),
    ],
)
def test_a_broken_file_is_named_with_what_to_do(tmp_path: Path, web: str, content: str, words: str) -> None:
    (tmp_path / "f").write_text(content)
    with pytest.raises(ConfigError, match=words) as raised:
        read_access(settings(tmp_path, web))
    assert raised.value.remedy


def test_users_log_in_with_their_own_password_only(tmp_path: Path) -> None:
    (tmp_path / "users").write_text(f"# who reads\n{user_line('ana', PASSWORD)}\n{user_line('eva', 'other words')}\n")
    access = read_access(settings(tmp_path, "{host: 0.0.0.0, users: ./users}"))
    assert access.is_user("ana", PASSWORD)
    for name, password in (("ana", "other words"), ("eva", PASSWORD), ("bob", PASSWORD), ("ana", ""), ("", "")):
        assert not access.is_user(name, password)


def test_a_user_who_stands_twice_is_an_error_with_its_line(tmp_path: Path) -> None:
    (tmp_path / "users").write_text(f"{user_line('ana', PASSWORD)}\n" * 2)
    with pytest.raises(ConfigError, match="stands twice") as raised:
        read_access(settings(tmp_path, "{users: ./users}"))
    assert raised.value.subject == f"{tmp_path}/users:2"


@pytest.mark.parametrize(("name", "password"), [("", PASSWORD), ("a:b", PASSWORD), ("#a", PASSWORD), ("ana", "short")])
def test_a_line_that_could_not_be_read_again_is_not_made(name: str, password: str) -> None:
    with pytest.raises(ConfigError):
        user_line(name, password)


def test_two_lines_of_one_password_are_different_and_hold_it_nowhere() -> None:
    lines = {user_line("ana", PASSWORD) for _ in range(2)}
    assert len(lines) == 2
    assert all(re.fullmatch(r"ana:scrypt\$32768\$8\$1\$[\w+/=]{24}\$[\w+/=]{88}", line) for line in lines)


def test_the_signing_key_is_made_once_for_its_owner_only(tmp_path: Path) -> None:
    given = settings(tmp_path, "{}")
    key = signing_key(given)
    file = tmp_path / ".venturalitica" / "web.key"
    assert signing_key(given) == key == file.read_bytes()
    assert stat.S_IMODE(file.stat().st_mode) == 0o600
    file.write_bytes(b"")
    with pytest.raises(ConfigError, match="not a key"):
        signing_key(given)
