"""The documentation tells the truth: what it quotes is what the program says, what it lists is what it knows."""

from __future__ import annotations

import importlib.util
import re
import struct
from dataclasses import asdict, replace
from pathlib import Path
from types import ModuleType
from typing import Any

import numpy as np
import pandas as pd
import pytest

from venturalitica_agent.domain.metric import METRICS, Need
from venturalitica_agent.domain.policy import Control, Op, Outcome, Requirement
from venturalitica_agent.domain.subject import ColumnBinding, ModelSubject, Predictions, Subject
from venturalitica_agent.domain.verdict import Measurement, Status
from venturalitica_agent.evaluate.measure import measure
from venturalitica_agent.evaluate.rows import Rows
from venturalitica_agent.evaluate.sample import build_sample
from venturalitica_agent.evaluate.stress import AskedAgain, disturb, stress_of
from venturalitica_agent.policy.load import load_policies, parse_policy
from venturalitica_agent.policy.own_keys import must_have
from venturalitica_agent.policy.stress_keys import STRESS_KEYS
from venturalitica_agent.settings import Settings, load_settings
from venturalitica_agent.settings.values import duration, size, whole
from venturalitica_agent.strict_yaml import Fields, Scalar, understand

ROOT = Path(__file__).resolve().parents[2]
PAGES = [ROOT / "README.md", ROOT / "CHANGELOG.md", *sorted((ROOT / "docs").rglob("*.md"))]
PAGES += sorted(ROOT.glob("policies/*/README.md")) + sorted(ROOT.glob("examples/*/README.md"))
README = (ROOT / "README.md").read_text(encoding="utf-8")

# Every key of agent.yaml, used once.
EVERYTHING = """
stores:
- {mlflow: ./mlruns, ui: http://localhost, poll: 1s, artifacts: [./data]}
- {wandb: acme/credit}
- {wandb_offline: ./wandb}
policies: ./policies
audits:
- name: all
  runs: {experiment: "*", tags: {team: risk}, status: FINISHED}
  policy: p
  data: {evaluation: {artifact: a.csv}, training: {dataset: train}}
  columns: {gender: {column: g, groups: {a: [x]}}, age: {column: h, bins: [1]}, target: {column: t, positive: 1}}
  auto: false
settle: 1s
reconcile: 1s
stale_running: 1s
concurrency: 1
state: ./a.db
cache: {folder: ./cache, size: 1GiB}
sandbox: {wall: 1s, cpu: 1s, memory: 1GiB, output: 1MiB, warm: 0}
wandb: {audit_runs: false}
drift: {every: 2d, on_change: report, inputs: false}
retention: {jobs: 2d, gone: 3d}
promote:
- {model: "loan*", alias: champion, only_if: [pass, warn]}
notify:
- {name: team, on: [fail], digest: 1d}
signing: {command: sign, public_key: ./a.pub, timestamp: "https://tsa.example", timestamp_ca: ./tsa.pem}
web: {host: localhost, port: 1, serve: true, token_file: ./token, users: ./users}
"""
POLICY = """
policy: p
version: "1"
title: t
law: {text: t, consolidated: 2026-07-27}
applies_to: {experiment: "*", tags: {a: b}, status: FINISHED}
evaluate_with: latest
on_change: {re-audit-since: 30d}
retain: 10 years
controls:
- {id: a, metric: accuracy, require: ">= 0.5", source: {kind: house, ref: r}}
"""


@pytest.fixture(scope="module")
def refresh() -> ModuleType:
    """scripts/refresh_docs.py as a module."""
    spec = importlib.util.spec_from_file_location("refresh_docs", ROOT / "scripts" / "refresh_docs.py")
    assert spec
    assert spec.loader
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


@pytest.fixture
def asked_for(monkeypatch: pytest.MonkeyPatch) -> set[str]:
    """Collects the path of every key that a reader asks a document for, whether it is there or not."""
    paths: set[str] = set()
    real = Fields.__contains__

    def remember(fields: Fields, key: str) -> bool:
        where = re.sub(r"\[\d+\]", "[]", fields.place.path)
        where = re.sub(r"(audits\[\]\.columns)\.\w+", r"\1.<role>", where)
        name = "<group>" if where.endswith(".groups") else key
        paths.add(f"{where}.{name}" if where else name)
        return real(fields, key)

    monkeypatch.setattr(Fields, "__contains__", remember)
    return paths


def first_cells(page: str) -> list[str]:
    """The first cell of each table row that is one piece of code: a documented key."""
    return re.findall(r"^\| `([^`]+)` \|", (ROOT / "docs" / page).read_text(encoding="utf-8"), re.MULTILINE)


def checked_examples() -> list[Any]:
    found = []
    for page in PAGES:
        text = page.read_text(encoding="utf-8")
        blocks = re.findall(r"<!-- checked: [^>]*-->\n```yaml\n(.*?)```", text, re.DOTALL)
        found += [pytest.param(yaml, id=f"{page.name}-{n}") for n, yaml in enumerate(blocks)]
    return found


def prose(page: Path) -> str:
    """A page without what a program printed or reads: code blocks and inline code."""
    return re.sub(r"```.*?```|`[^`\n]*`", "", page.read_text(encoding="utf-8"), flags=re.DOTALL)


# -- what is quoted -----------------------------------------------------------------------------------------------
@pytest.mark.parametrize("page", [p for p in PAGES if p.parent in (ROOT, ROOT / "docs")], ids=lambda p: p.name)
def test_quoted_help_is_the_real_help(page: Path, refresh: ModuleType) -> None:
    """If this fails, run scripts/refresh_docs.py."""
    text = page.read_text(encoding="utf-8")
    assert text == refresh.with_help(text)


def test_the_readme_quotes_the_help_of_the_program_and_of_audit() -> None:
    assert README.count("$ venturalitica-agent --help\nUsage:") == 1
    assert README.count("$ venturalitica-agent audit --help\nUsage:") == 1


def test_the_metrics_page_follows_from_the_declarations(refresh: ModuleType) -> None:
    """If this fails, run scripts/refresh_docs.py."""
    assert (ROOT / "docs" / "metrics.md").read_text(encoding="utf-8") == refresh.metrics_page()


@pytest.mark.parametrize("metric", METRICS)
def test_the_documented_interval_is_the_one_that_is_computed(metric: str, refresh: ModuleType) -> None:
    rng = np.random.default_rng(1)
    y = rng.integers(0, 2, 400)
    frame = pd.DataFrame({"y": y, "p": np.where(rng.random(400) < 0.2, 1 - y, y), "s": (rng.random(400) + y / 2) / 1.5})
    frame["g"] = rng.choice(["a", "b"], 400)
    columns = {"target": "y", "prediction": "p", "score": "s", "group": "g", "g": "g", "p": "p"}
    sample = build_sample(frame, Subject(binding={r: ColumnBinding(r, c, "declared") for r, c in columns.items()}))
    model = ModelSubject("m", "", "", (), "sklearn", "m", "pickle", ("s",), input_kinds=("double",))
    subject = replace(sample.background.subject, model=model)
    behind = replace(sample.background, subject=subject, training=Rows.of(frame), logged={"m": 0.5})
    behind = replace(behind, since=1.0, started=2)
    sample = replace(sample, background=behind)
    role = "group" if Need.GROUPS in METRICS[metric].needs else None
    values: dict[str, Any] = {"columns": ("g",), "sensitive": "p", "shares": {"a": 0.5, "b": 0.5}, "logged": "m"}
    values["of_metric"] = "accuracy"
    own = {key: value for key, value in values.items() if must_have(METRICS[metric], key)}
    own |= {name: 0.1 for name, key in STRESS_KEYS.items() if METRICS[metric].needs & key.needs}
    control = Control("c", metric, Requirement(Op.GE, 0.5), role=role, of=Outcome.PREDICTIONS, **own)
    if stress := stress_of(control):
        answers = (Predictions(400, (0, 1), frame[name].to_numpy()) for name in ("y", "p"))
        sample = replace(sample, asked_again={stress: AskedAgain(disturb(frame, stress), *answers)})
    found = measure(control, sample)
    assert isinstance(found, Measurement), found
    method = re.sub(r", Bonferroni over \d+ (pairs|groups)$", "", found.interval.method)
    assert method == refresh.INTERVALS[metric].partition(";")[0]


# -- what is listed -----------------------------------------------------------------------------------------------
def test_every_key_of_agent_yaml_is_documented_and_no_other(tmp_path: Path, asked_for: set[str]) -> None:
    (tmp_path / "agent.yaml").write_text(EVERYTHING, encoding="utf-8")
    load_settings(None, env={}, cwd=tmp_path)
    documented = [key for key in first_cells("configuration.md") if key != "audits[].columns.<role>"]
    refused = ["notify[].url"]  # known only so that the refusal can say where a URL belongs
    assert sorted(documented + refused) == sorted(asked_for)


def test_documented_variables_and_defaults_are_the_real_ones(tmp_path: Path) -> None:
    """Each row with a VENTURALITICA_ variable: setting it changes that setting, and the default is as written."""
    rows = re.findall(
        r"^\| `([a-z_.]+)` \|.*\| ([^|]*) \| `(VENTURALITICA_\w+)` \|$",
        (ROOT / "docs" / "configuration.md").read_text(encoding="utf-8"),
        re.MULTILINE,
    )
    (tmp_path / "agent.yaml").write_text("stores: [{mlflow: ./mlruns}]\npolicies: ./policies\n", encoding="utf-8")
    plain = load_settings(None, env={}, cwd=tmp_path)
    other = {"VENTURALITICA_WEB_HOST": "0.0.0.0", "VENTURALITICA_WEB_PORT": "1", "VENTURALITICA_CONCURRENCY": "7"}
    other |= {"VENTURALITICA_DRIFT_ON_CHANGE": "report"}
    other |= {"VENTURALITICA_SIGNING_TIMESTAMP": "https://tsa.example"}
    other |= {
        "VENTURALITICA_DRIFT_INPUTS": "false",
        "VENTURALITICA_WANDB_AUDIT_RUNS": "false",
        "VENTURALITICA_WEB_SERVE": "false",
    }
    sizes = {"VENTURALITICA_CACHE_SIZE", "VENTURALITICA_SANDBOX_MEMORY", "VENTURALITICA_SANDBOX_OUTPUT"}
    paths = {"VENTURALITICA_POLICIES", "VENTURALITICA_STATE", "VENTURALITICA_CACHE_FOLDER"}
    for key, default, variable in rows:
        value = "3GiB" if variable in sizes else "./else" if variable in paths else other.get(variable, "9")
        changed = load_settings(None, env={variable: value}, cwd=tmp_path)
        assert setting(changed, key) != setting(plain, key), variable
        assert is_default(default.partition(",")[0].strip("`"), setting(plain, key), tmp_path), (key, default)
    assert len(rows) == 28


def setting(settings: Settings, key: str) -> Any:
    found: Any = settings
    for name in key.split("."):
        found = getattr(found, name)
    return found


def is_default(written: str, value: Any, folder: Path) -> bool:
    scalar = Scalar(written, understand(written)[0])
    if written == "none":
        return value in (None, "")
    if written.startswith("./"):
        return str(value).removeprefix("sqlite:///") == str(folder / written)
    if isinstance(value, bool):
        return scalar.value is value
    if isinstance(value, float):
        return duration(scalar) == value
    if isinstance(value, int):
        return (size(scalar) if written.endswith("B") else whole(scalar, 0, 65_535)) == value
    return written == value


def test_every_key_of_a_policy_is_documented_and_no_other(asked_for: set[str]) -> None:
    parse_policy(POLICY.encode(), "p.yaml")
    kinds = {"source: kind", "law", "guidance", "convention", "house"}
    documented = [key for key in first_cells("policies.md") if key not in kinds]
    documented += ["law"]  # a kind of source, and a key of the file
    oscal = {"component-definition", "catalog", "profile", "assessment-plan"}
    assert sorted(documented) == sorted(asked_for - oscal)


def test_every_tag_and_every_status_is_in_the_readme() -> None:
    from venturalitica_agent.domain.evidence import Decision, EvidenceBundle
    from venturalitica_agent.domain.verdict import Verdict
    from venturalitica_agent.publish.writeback import verdict_tags

    verdict = Verdict("p", "1", "0" * 64, Status.PASS, ())
    written = verdict_tags([(Decision("a", "b", "c", {}, Subject(), verdict, ""), EvidenceBundle("", {}, "", ""))])
    assert set(re.findall(r"^\| `(venturalitica\.\w+)` \|", README, re.MULTILINE)) == set(written)
    told = set(re.findall(r"^\| `([a-z]+)` \|", README, re.MULTILINE))
    assert told == {s.value for s in Status} - {Status.WAIVED.value}


def test_every_shipped_policy_is_named_in_the_readme() -> None:
    for policy in load_policies(ROOT / "policies"):
        assert f"[{policy.id}](policies/{policy.id}/README.md)" in README


# -- what is shown ------------------------------------------------------------------------------------------------
@pytest.mark.parametrize("yaml", checked_examples())
def test_examples_load(yaml: str, tmp_path: Path) -> None:
    if yaml.startswith("policy:"):
        assert parse_policy(yaml.encode(), "example.yaml").controls
    else:
        (tmp_path / "agent.yaml").write_text(yaml, encoding="utf-8")
        found = load_settings(None, env={}, cwd=tmp_path)
        assert found.stores
        assert set(asdict(found.audits[0])["columns"]) == {"target", "gender", "age"}


@pytest.mark.parametrize("page", PAGES, ids=lambda p: str(p.relative_to(ROOT)))
def test_links_lead_somewhere(page: Path) -> None:
    for target in re.findall(r"\]\(([^)\s]+)\)|^\[[^\]]+\]: (\S+)$", page.read_text(encoding="utf-8"), re.MULTILINE):
        path, _, anchor = "".join(target).partition("#")
        if path.startswith(("http://", "https://")):
            continue
        file = (page.parent / path).resolve() if path else page
        assert file.is_file(), f"{page.name} links to {path}"
        assert file.is_relative_to(ROOT)
        if anchor:
            assert anchor in anchors(file), f"{page.name} links to #{anchor} of {file.name}"


def test_every_page_of_the_documentation_is_in_its_index() -> None:
    index = ROOT / "docs" / "README.md"
    linked = {
        (index.parent / path).resolve() for path in re.findall(r"\]\(([^)#\s]+)", index.read_text(encoding="utf-8"))
    }
    missing = sorted(page.name for page in {*(ROOT / "docs").rglob("*.md")} - linked - {index})
    assert not missing, f"docs/README.md does not lead to {missing}"


@pytest.mark.parametrize("page", PAGES, ids=lambda p: str(p.relative_to(ROOT)))
def test_files_of_tests_that_a_page_names_as_its_proof_exist(page: Path) -> None:
    for name in re.findall(r"`(tests/[^`\s]+)`", page.read_text(encoding="utf-8")):
        assert (ROOT / name).is_file(), f"{page.name} names {name}"


def anchors(page: Path) -> set[str]:
    """The anchors that a Markdown reader makes of headings; a line of code that begins with # is none."""
    text = re.sub(r"^```.*?^```", "", page.read_text(encoding="utf-8"), flags=re.DOTALL | re.MULTILINE)
    headings = re.findall(r"^#+ (.*)$", text, re.MULTILINE)
    return {re.sub(r"[^\w\- ]", "", heading.lower()).replace(" ", "-") for heading in headings}


def test_pictures_are_small_pngs_and_shown() -> None:
    pictures = sorted((ROOT / "docs" / "img").iterdir())
    assert pictures
    for picture in pictures:
        content = picture.read_bytes()
        assert content.startswith(b"\x89PNG"), picture.name
        assert len(content) < 300_000, picture.name
        assert struct.unpack(">I", content[16:20])[0] >= 1000, f"{picture.name} is too narrow to read"
        assert any(f"img/{picture.name})" in page.read_text(encoding="utf-8") for page in PAGES), picture.name


# -- what is never said -------------------------------------------------------------------------------------------
@pytest.mark.parametrize("page", PAGES, ids=lambda p: str(p.relative_to(ROOT)))
def test_no_page_claims_compliance(page: Path) -> None:
    claims = r"\b(compliant|certif(?:y|ied|ies|ication)|certifica\w*|conforme a la ley|guarantees? compliance)\b"
    assert not re.findall(claims, prose(page), re.IGNORECASE)
