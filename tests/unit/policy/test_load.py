"""Finding policy files: everything that lies there is a policy, or an error that says what to do."""

from __future__ import annotations

from pathlib import Path

import pytest

from venturalitica_agent.domain.metric import METRICS
from venturalitica_agent.domain.policy import DecideOn, Op, Outcome
from venturalitica_agent.errors import ConfigError
from venturalitica_agent.policy import load_one_policy, load_policies, load_policy

SHIPPED = Path(__file__).parents[3] / "policies"


def policy_text(name: str) -> str:
    return f'policy: {name}\nversion: 1\ncontrols: [{{id: a, metric: accuracy, require: ">= 0.8"}}]\n'


def test_a_folder_and_one_level_below_are_read(tmp_path: Path) -> None:
    (tmp_path / "b").mkdir()
    (tmp_path / "b/deep").mkdir()
    (tmp_path / ".git").mkdir()
    (tmp_path / "a.yaml").write_text(policy_text("one"))
    (tmp_path / "b/policy.YML").write_text(policy_text("two"))
    (tmp_path / "c.json").write_text(
        '{"policy":"three","version":"1","controls":[{"id":"a","metric":"f1","require":">= 0.5"}]}'
    )
    for ignored in (
        "waivers.yaml",
        "b/waivers.yml",
        "README.md",
        "b/notes.txt",
        ".a.yaml",
        ".git/x.yaml",
        "b/deep/d.yaml",
    ):
        (tmp_path / ignored).write_text("not a policy: at all")
    assert [policy.id for policy in load_policies(tmp_path)] == ["one", "two", "three"]
    assert [policy.file_name for policy in load_policies(tmp_path)] == ["a.yaml", "policy.YML", "c.json"]


def test_one_file_is_a_collection_of_one(tmp_path: Path) -> None:
    (tmp_path / "model_policy.yaml").write_text(policy_text("one"))
    assert [policy.id for policy in load_policies(tmp_path / "model_policy.yaml")] == ["one"]


def test_where_one_policy_is_meant_several_are_an_error(tmp_path: Path) -> None:
    (tmp_path / "a.yaml").write_text(policy_text("one"))
    assert load_one_policy(tmp_path).id == load_one_policy(tmp_path / "a.yaml").id == "one"
    (tmp_path / "b.yaml").write_text(policy_text("two"))
    with pytest.raises(ConfigError, match=r"2 policies: a\.yaml, b\.yaml"):
        load_one_policy(tmp_path)


def test_a_missing_file_is_an_error_not_an_empty_policy(tmp_path: Path) -> None:
    for read in (load_policy, load_policies):
        with pytest.raises(ConfigError, match="no such file") as caught:
            read(tmp_path / "gone.yaml")
        assert caught.value.remedy


def test_a_broken_file_is_an_error_that_names_its_path(tmp_path: Path) -> None:
    (tmp_path / "p.yaml").write_text("policy: [1, 2\n")
    with pytest.raises(ConfigError) as caught:
        load_policies(tmp_path)
    assert f"{tmp_path}/p.yaml:2:1: not YAML" in str(caught.value)


def test_all_broken_files_are_told_at_once(tmp_path: Path) -> None:
    (tmp_path / "a.yaml").write_text("polcy: x\n")
    (tmp_path / "b.yaml").write_text("- NO\n")
    (tmp_path / "c.yaml").write_text(policy_text("fine"))
    with pytest.raises(ConfigError) as caught:
        load_policies(tmp_path)
    told = str(caught.value)
    assert "2 files" in told
    assert f"{tmp_path}/a.yaml:1:1: " in told
    assert f"{tmp_path}/b.yaml:1:3: " in told
    assert "c.yaml" not in told


def test_a_file_that_is_no_policy_is_an_error(tmp_path: Path) -> None:
    (tmp_path / "a.yaml").write_text(policy_text("one"))
    (tmp_path / "values.yaml").write_text("image: nginx\n")
    with pytest.raises(ConfigError, match="unknown key 'image'"):
        load_policies(tmp_path)


def test_two_policies_with_one_id_name_both_files(tmp_path: Path) -> None:
    for name in ("a.yaml", "b.yaml"):
        (tmp_path / name).write_text(policy_text("same"))
    with pytest.raises(ConfigError) as caught:
        load_policies(tmp_path)
    assert all(str(tmp_path / name) in str(caught.value) for name in ("a.yaml", "b.yaml"))
    assert caught.value.remedy


def test_an_empty_folder_is_an_error(tmp_path: Path) -> None:
    (tmp_path / "README.md").touch()
    with pytest.raises(ConfigError, match="holds no policy file") as caught:
        load_policies(tmp_path)
    assert "venturalitica-agent init" in caught.value.remedy


def test_a_policy_larger_than_a_mebibyte_is_refused(tmp_path: Path) -> None:
    (tmp_path / "p.yaml").write_text(policy_text("one") + "#" * (1 << 20))
    with pytest.raises(ConfigError, match="larger than"):
        load_policies(tmp_path)


def test_the_shipped_policies_load_together() -> None:
    """They bind to nothing by themselves: agent.yaml says which runs they are for."""
    policies = {policy.id: policy for policy in load_policies(SHIPPED)}
    assert set(policies) >= {"credit-scoring", "german-credit-interval", "german-credit-sdk"}
    for policy in policies.values():
        assert policy.applies_to is None
        assert all(control.metric in METRICS and control.article for control in policy.controls)


def test_the_shipped_credit_policy_pins_the_law_and_its_sources() -> None:
    policy = load_policy(SHIPPED / "credit-scoring/credit-scoring.yaml")
    assert policy.law["consolidated"] == "2026-07-27"
    assert all(control.source.ref for control in policy.controls)
    assert {control.decide_on for control in policy.controls} == {DecideOn.INTERVAL}
    explained = (SHIPPED / "credit-scoring/README.md").read_text()
    assert all(f"`{control.id}`" in explained for control in policy.controls)


def test_the_german_credit_policies_ask_the_same_by_point_and_by_interval() -> None:
    sdk = load_policy(SHIPPED / "german-credit-sdk/german-credit-sdk.yaml")
    interval = load_policy(SHIPPED / "german-credit-interval/german-credit-interval.yaml")
    assert sdk.shape == "component-definition"
    assert {c.decide_on for c in sdk.controls} == {DecideOn.POINT}
    assert {c.decide_on for c in interval.controls} == {DecideOn.INTERVAL}
    for one, other in zip(sdk.controls, interval.controls, strict=True):
        assert (one.id, one.metric, one.require, one.role, one.target, one.of, one.min_group) == (
            other.id, other.metric, other.require, other.role, other.target, other.of, other.min_group,
        )  # fmt: skip
        assert (one.require.op, one.of, one.target) == (Op.GT, Outcome.LABELS, "class")
