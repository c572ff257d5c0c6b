"""What a message says of what others named."""

from __future__ import annotations

import re

import pytest
from hypothesis import given
from hypothesis import strategies as st

from venturalitica_agent.notify.words import MOST_LINES, body, of_store, of_verdict, plain, title

FACTS = {"kind": "verdict", "status": "fail", "run_id": "f" * 32, "policy": "credit@1.0"}


@given(st.text(max_size=300))
def test_nothing_of_a_name_acts_in_a_chat(name: str) -> None:
    found = plain(name)
    assert len(found) <= 60
    assert not re.search(r"[<>@`*\[\]\x00-\x1f\x7f]|://", found)


@given(st.text(max_size=80), st.text(max_size=80), st.text(max_size=80), st.text("abc\n<@", max_size=80))
def test_a_verdict_is_one_line_whatever_it_is_about(name: str, experiment: str, link: str, failed: str) -> None:
    line = of_verdict(FACTS, {"run_name": name, "experiment": experiment, "link": link, "failed": failed})
    assert len(line.splitlines()) == 1
    assert line.startswith("fail: run ")
    assert "\x1b" not in line
    assert "<" not in line or link.startswith("http")


def test_a_verdict_says_what_did_not_pass_and_where_to_look() -> None:
    names = {"run_name": "loan", "experiment": "e", "link": "http://h/#/x", "failed": "a\nb\nc\nd\ne"}
    assert of_verdict(FACTS, names) == (
        f"fail: run loan in e ({'f' * 32}) under credit＠1.0, not passed: a, b, c and 2 more http://h/#/x"
    )
    assert of_verdict(FACTS, {}) == f"fail: run {'f' * 32} under credit＠1.0"


@pytest.mark.parametrize(
    ("uri", "said"),
    [
        ("https://user:password@mlflow.example/x?token=t", "https at mlflow.example"),
        ("postgresql://u:p@db.example:5432/mlflow", "postgresql at db.example"),
        ("sqlite:////srv/secret/mlflow.db", "mlflow.db"),
        ("/srv/secret/mlruns", "mlruns"),
    ],
)
def test_a_store_is_named_without_what_lets_one_in(uri: str, said: str) -> None:
    assert of_store(uri, answers=False) == f"store: {said.replace('://', ':∕∕')} does not answer"


def test_a_long_message_is_cut_and_says_so() -> None:
    lines = body([f"line {n}" for n in range(100)]).splitlines()
    assert len(lines) == MOST_LINES + 1
    assert lines[-1].startswith("and 70 more")
    assert title(["fail", "error", "fail"]) == "venturalitica: 2 fail, 1 error"
