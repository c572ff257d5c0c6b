"""Metrics of packages that pip installed: declared and run in the sandbox, refused when they aren't what they say."""

from __future__ import annotations

import json
import subprocess
import sys
import zipfile
from base64 import urlsafe_b64encode
from collections.abc import Callable, Iterator
from hashlib import sha256
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pytest
from typer.testing import CliRunner

from venturalitica_agent.checkup import check_up
from venturalitica_agent.cli import app
from venturalitica_agent.domain.evidence import audit_id
from venturalitica_agent.domain.job import AuditTask
from venturalitica_agent.domain.metric import METRICS
from venturalitica_agent.domain.subject import ColumnBinding, DataPlan, DataRef, Subject
from venturalitica_agent.domain.verdict import Finding, Measurement, Status
from venturalitica_agent.evaluate.judge import judge
from venturalitica_agent.fetch.cache import Cache
from venturalitica_agent.measuring import measure_run
from venturalitica_agent.policy import parse_policy
from venturalitica_agent.sandbox.launcher import Limits, Sandbox
from venturalitica_agent.sandbox.own_metrics import ENLISTED, enlist
from venturalitica_agent.settings import load_settings
from venturalitica_agent.stores.memory import MemoryStore, finished
from venturalitica_agent.strict_yaml import InvalidDocument

PAGE = (Path(__file__).parents[3] / "docs" / "metrics-of-your-own.md").read_text(encoding="utf-8")
EXAMPLE = PAGE.partition("```python\n")[2].partition("```")[0]  # what we tell people to write
ACME = (
    EXAMPLE
    + """
import numpy as np

print("hello from the sandbox")

@metric(title="Gap of approvals", low=0, high=1, better="lower", needs=["predictions", "groups"], positive=True,
        interval=True)
def approval_gap(predictions, groups, positive, level):
    shares = [(predictions[groups == name] == positive).mean() for name in np.unique(groups)]
    gap = max(shares) - min(shares)
    return gap, max(0.0, gap - level / 10), min(1.0, gap + level / 10)

@metric(title="Worst error", low=0, high=float("inf"), better="lower", needs=["truth", "estimates"])
def worst_error(truth, estimates):
    return abs(truth - estimates).max()

@metric(title="Always the same", low=0, high=1, better="higher", needs=["labels"])
def constant(labels):
    return 1.0

@metric(title="Crashes", low=0, high=1, better="higher", needs=["labels"])
def crashes(labels):
    return {}["no such key"]

@metric(title="Leaves", low=0, high=1, better="higher", needs=["labels"])
def leaves(labels):
    import os
    os._exit(0)

@metric(title="Hangs", low=0, high=1, better="higher", needs=["labels"])
def hangs(labels):
    while True:
        pass

@metric(title="Out of range", low=0, high=1, better="higher", needs=["labels"])
def out_of_range(labels):
    return 7.0

@metric(title="No number", low=0, high=1, better="higher", needs=["labels"])
def no_number(labels):
    return float("nan")

@metric(title="Beside itself", low=0, high=1, better="higher", needs=["labels"], interval=True)
def beside(labels, level):
    return 0.5, 0.6, 0.7

@metric(title="Reaches into the agent", low=0, high=1, better="higher", needs=["labels"])
def reaches(labels):
    import venturalitica_agent.settings
"""
)
NAMES = ("expected_cost", "approval_gap", "worst_error", "constant", "crashes", "leaves", "hangs")
NAMES += ("out_of_range", "beside", "no_number", "reaches")
ODD_NAMES = {"undeclared": "undeclared", "accuracy": "accuracy", "backwards": "backwards", "greedy": "greedy"}
ODD_NAMES["Un-named"] = "accuracy"


ODD = """
from venturalitica_agent.api import metric

def undeclared(labels):
    return 1.0

@metric(title="Accuracy", low=0, high=1, better="higher", needs=["labels"])
def accuracy(labels):
    return 1.0

@metric(title="Backwards", low=1, high=0, better="higher", needs=["labels"])
def backwards(labels):
    return 1.0

@metric(title="Rows", low=0, high=1, better="higher", needs=["rows"])
def greedy(rows):
    return 1.0
"""


def wheel(folder: Path, name: str, code: str, entries: dict[str, str]) -> Path:
    """A wheel as build tools write it, with a RECORD of each file's digest."""
    package, info = name.replace("-", "_"), f"{name.replace('-', '_')}-1.2.dist-info"
    points = "\n".join(f"{entry} = {package}:{function}" for entry, function in entries.items())
    files = {
        f"{package}/__init__.py": code,
        f"{info}/METADATA": f"Metadata-Version: 2.1\nName: {name}\nVersion: 1.2\n",
        f"{info}/WHEEL": "Wheel-Version: 1.0\nGenerator: test\nRoot-Is-Purelib: true\nTag: py3-none-any\n",
        f"{info}/entry_points.txt": f"[venturalitica.metrics]\n{points}\n",
    }
    rows = []
    for path, text in files.items():
        digest = urlsafe_b64encode(sha256(text.encode()).digest()).rstrip(b"=").decode()
        rows.append(f"{path},sha256={digest},{len(text.encode())}")
    files[f"{info}/RECORD"] = "\n".join([*rows, f"{info}/RECORD,,"]) + "\n"
    path = folder / f"{package}-1.2-py3-none-any.whl"
    with zipfile.ZipFile(path, "w") as archive:
        for inside, text in files.items():
            archive.writestr(inside, text)
    return path


@pytest.fixture(scope="module")
def site(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder that pip installed both packages into."""
    folder = tmp_path_factory.mktemp("own")
    wheels = [
        wheel(folder, "acme-metrics", ACME, dict(zip(NAMES, NAMES, strict=True))),
        wheel(folder, "odd-metrics", ODD, ODD_NAMES),
    ]
    pip = [sys.executable, "-m", "pip", "--disable-pip-version-check", "install", "--no-index", "--no-deps", "-q"]
    subprocess.run([*pip, "--target", str(folder / "site"), *map(str, wheels)], check=True, capture_output=True)
    return folder / "site"


@pytest.fixture(scope="module")
def installed(site: Path) -> Iterator[dict[str, str]]:
    """What is wrong with which metric, while policies may name those that are well."""
    sys.path.insert(0, str(site))
    try:
        cache = site.parent / "cache"
        yield {error.subject: error.what for error in enlist(cache)}
    finally:
        sys.path.remove(str(site))
        enlist()


@pytest.fixture(scope="module")
def hasty(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Sandbox]:
    with Sandbox(limits=Limits(wall_seconds=3), workdir=tmp_path_factory.mktemp("hasty")) as made:
        yield made


Audit = Callable[..., dict[str, Finding]]
ROWS = 400


@pytest.fixture(scope="module")
def rows() -> pd.DataFrame:
    rng = np.random.default_rng(2)
    y = rng.choice(["good", "bad"], ROWS, p=[0.7, 0.3])
    p = np.where(rng.random(ROWS) < 0.2, "good", y)
    table = pd.DataFrame({"y": y, "p": p, "g": rng.choice(["a", "b", "c"], ROWS)})
    return table.assign(amount=rng.normal(9, 1, ROWS), guess=rng.normal(9, 1, ROWS))


@pytest.fixture
def audit(installed: dict[str, str], hasty: Sandbox, tmp_path: Path) -> Audit:
    """The findings on a table whose model is its prediction column, for some controls."""

    def under(rows: pd.DataFrame, *controls: str) -> dict[str, Finding]:
        text = "policy: own\nversion: 1\ncontrols:\n" + "".join(f"  - {{{keys}}}\n" for keys in controls)
        policy = parse_policy(text.encode(), "own.yaml")
        store = MemoryStore()
        run = store.add(finished("r"), {"test.csv": rows.to_csv(index=False).encode()})
        bound = {"target": "y", "prediction": "p", "group": "g", "amount": "amount", "guess": "guess"}
        columns = {
            role: ColumnBinding(role, c, "declared", positive="good" if c in ("y", "p") else None)
            for role, c in bound.items()
        }
        task = AuditTask("own", policy.digest, DataPlan({"evaluation": DataRef("artifact", "test.csv")}, columns))
        subject, results, _ = measure_run(task, policy, run, store, Cache(tmp_path / "c"), hasty, roots=[])
        under.subject = subject  # type: ignore[attr-defined]
        return {finding.control: finding for finding in judge(policy, results).findings}

    return under


def measured(finding: Finding) -> Measurement:
    assert finding.measurement is not None, finding.sentence
    return finding.measurement


def test_an_installed_package_is_never_imported_by_the_agent(installed: dict[str, str]) -> None:
    assert set(NAMES) <= set(ENLISTED)
    assert "acme_metrics" not in sys.modules
    spec = METRICS["expected_cost"]
    assert (spec.low, spec.high, spec.better, spec.of_counts) == (0.0, 500.0, "lower", True)
    assert spec.title == "Mean cost of a decision, EUR"
    assert spec.source == "500 for each bad loan that is given; credit risk handbook, section 4"


def test_the_record_of_the_package_is_what_the_metric_is_known_by(installed: dict[str, str], site: Path) -> None:
    (record,) = site.glob("acme_metrics-*/RECORD")
    digest = sha256(record.read_bytes()).hexdigest()
    assert METRICS["expected_cost"].origin == f"acme-metrics 1.2 (RECORD sha256:{digest})"


def test_what_is_badly_declared_is_refused_with_its_reason(installed: dict[str, str]) -> None:
    of = {subject.split()[1]: what for subject, what in installed.items()}
    assert set(of) == {"undeclared", "accuracy", "backwards", "greedy", "Un-named"}
    assert "put @metric of venturalitica_agent.api on the function" in of["undeclared"]
    assert of["accuracy"] == "there is a metric of this name already"
    assert of["backwards"] == "`low` must be under `high`"
    assert of["greedy"].startswith("`needs` must name some of labels, predictions")
    assert "small letters" in of["Un-named"]
    assert METRICS["accuracy"].origin == ""


def test_a_policy_is_checked_against_the_declaration(installed: dict[str, str]) -> None:
    def mistakes(keys: str) -> str:
        with pytest.raises(InvalidDocument) as caught:
            parse_policy(f"policy: p\nversion: 1\ncontrols:\n  - {{id: a, {keys}}}\n".encode(), "p.yaml")
        return str(caught.value)

    assert "lower expected_cost is better" in mistakes('metric: expected_cost, require: ">= 5"')
    assert "ranges from 0 to 500" in mistakes('metric: expected_cost, require: "<= 501"')
    assert "name the group role" in mistakes('metric: approval_gap, require: "<= 0.2"')
    assert "did you mean 'expected_cost'" in mistakes('metric: expected_csot, require: "<= 5"')


def test_values_and_intervals_are_those_of_the_function(audit: Audit, rows: pd.DataFrame) -> None:
    """The interval of a mean by resampling is close to Student's; an own interval is taken as it is told."""
    found = audit(
        rows,
        'id: cost, metric: expected_cost, require: "<= 100"',
        'id: gap, metric: approval_gap, role: group, require: "<= 0.9", level: 0.9',
        'id: worst, metric: worst_error, target: amount, prediction: guess, require: "<= 0.9"',
    )
    losses = 500.0 * ((rows.y == "bad") & (rows.p == "good"))
    cost = measured(found["cost"])
    assert cost.value == losses.mean()
    half = 1.96 * losses.std() / ROWS**0.5
    assert cost.interval.low == pytest.approx(losses.mean() - half, abs=half / 4)
    assert cost.interval.high == pytest.approx(losses.mean() + half, abs=half / 4)
    assert cost.interval.method.startswith("percentiles of 1000 resamples, seed ")
    assert cost.notes[0] == f"measured in the sandbox by {METRICS['expected_cost'].origin}"
    shares = (rows.p == "good").groupby(rows.g).mean()
    gap = measured(found["gap"])
    assert gap.value == shares.max() - shares.min()
    ends = gap.interval.low, gap.interval.high
    assert ends == pytest.approx((max(0, gap.value - 0.09), gap.value + 0.09))
    assert [stat.n for stat in gap.groups] == rows.g.value_counts().sort_index().tolist()
    worst = measured(found["worst"])
    assert worst.value == abs(rows.amount - rows.guess).max() == worst.interval.high
    assert (found["gap"].status, found["worst"].status) == (Status.PASS, Status.FAIL)


def test_rows_that_lack_something_and_small_groups_are_told(audit: Audit, rows: pd.DataFrame) -> None:
    holes = rows.copy()
    holes.loc[:9, "p"] = None
    holes.loc[10:14, "g"] = "rare"
    found = audit(
        holes,
        'id: cost, metric: expected_cost, require: "<= 100"',
        'id: gap, metric: approval_gap, role: group, require: "<= 0.99"',
    )
    assert measured(found["cost"]).n == ROWS - 10
    assert "10 of 400 rows have no value" in " ".join(measured(found["cost"]).notes)
    assert found["gap"].status is Status.INCONCLUSIVE
    assert measured(found["gap"]).small_groups == ("rare",)


def test_controls_of_one_family_are_asked_at_holms_levels(audit: Audit, rows: pd.DataFrame) -> None:
    keys = 'metric: approval_gap, role: group, article: "10(2)", require: "<= {}"'
    found = audit(rows, *(f"id: {name}, {keys.format(at)}" for name, at in (("a", 0.07), ("b", 0.08))))
    assert {measured(f).interval.level for f in found.values()} == {0.975}


def test_a_value_that_never_varies_decides_nothing(audit: Audit, rows: pd.DataFrame) -> None:
    found = audit(rows, 'id: c, metric: constant, require: ">= 0.9"')["c"]
    assert found.status is Status.INCONCLUSIVE
    assert "how much it varies is unknown" in " ".join(measured(found).notes)
    few = audit(rows.head(20), 'id: c, metric: expected_cost, require: "<= 400"')["c"]
    assert few.status is Status.INCONCLUSIVE
    assert "20 rows are too few to resample" in " ".join(measured(few).notes)


@pytest.mark.parametrize(
    ("metric", "why"),
    [
        ("crashes", "the metric failed: KeyError: 'no such key'"),
        ("leaves", "its answer can't be read"),
        ("hangs", "the metric took longer than 3 s"),
        ("out_of_range", "7 is outside its declared range, 0 to 1"),
        ("beside", "the interval 0.6 to 0.7 does not hold the value 0.5"),
        ("no_number", "the metric failed: its value is nan"),
        ("reaches", "ModuleNotFoundError: No module named 'venturalitica_agent.settings'"),
    ],
)
def test_what_goes_wrong_in_a_metric_is_an_error(audit: Audit, rows: pd.DataFrame, metric: str, why: str) -> None:
    found = audit(rows, f'id: c, metric: {metric}, require: ">= 0.5"')["c"]
    assert found.status is Status.ERROR
    assert why in found.sentence
    assert "acme-metrics 1.2" in found.remedy


def test_another_package_is_another_audit(audit: Audit, rows: pd.DataFrame) -> None:
    audit(rows, 'id: c, metric: constant, require: ">= 0.9"')
    subject: Subject = audit.subject  # type: ignore[attr-defined]
    assert dict(subject.metrics) == {"constant": METRICS["constant"].origin}
    ids = {audit_id("s", "r", s, "p") for s in (subject, Subject(subject.model, subject.data, subject.binding))}
    assert len(ids) == 2


def test_declarations_are_read_once_for_each_version(installed: dict[str, str], site: Path, monkeypatch: Any) -> None:
    cache = site.parent / "cache"
    assert len(list((cache / "metrics").glob("*.json"))) == 1, "odd-metrics fails, and is asked again"
    (kept,) = (cache / "metrics").glob("*.json")
    told = json.loads(kept.read_text())
    told["constant"]["title"] = "As it was kept"
    before = kept.read_text()
    try:
        kept.write_text(json.dumps(told))
        enlist(cache)
        assert METRICS["constant"].title == "As it was kept"
        kept.write_text('{"constant"')
        enlist(cache)
        assert METRICS["constant"].title == "Always the same", "what the disk has spoilt is asked anew"
    finally:
        kept.write_text(before)
        enlist(cache)
    assert METRICS["constant"].title == "Always the same"


def test_doctor_and_policy_check_know_them(installed: dict[str, str], site: Path, tmp_path: Path) -> None:
    (tmp_path / "p").mkdir()
    policy = tmp_path / "p" / "own.yaml"
    control = '{id: a, metric: expected_cost, require: "<= 5"}'
    policy.write_text(f"policy: own\nversion: 1\napplies_to: {{}}\ncontrols: [{control}]\n")
    (tmp_path / "mlruns").mkdir()
    (tmp_path / "agent.yaml").write_text(
        f"stores: [{{mlflow: ./mlruns}}]\npolicies: ./p\ncache: {{folder: {site.parent / 'cache'}}}\n"
    )
    checks = {c.name: c for c in check_up(load_settings(None, env={}, cwd=tmp_path))}
    assert checks["metric expected_cost"].detail.startswith("acme-metrics 1.2 (RECORD sha256:")
    assert not checks["metric accuracy of odd-metrics 1.2"].ok
    assert checks["policies"].ok
    said = CliRunner().invoke(app, ["policy", "check", str(policy)])
    assert (said.exit_code, "1 controls" in said.output) == (0, True)


def test_a_file_that_was_changed_after_the_installation_does_not_run(
    audit: Audit, rows: pd.DataFrame, site: Path
) -> None:
    file = site / "acme_metrics" / "__init__.py"
    before = file.read_text()
    try:
        file.write_text(before.replace("return 1.0", "return 0.5"))
        found = audit(rows, 'id: c, metric: constant, require: ">= 0.4"')["c"]
    finally:
        file.write_text(before)
    assert found.status is Status.ERROR
    assert "its file acme_metrics/__init__.py is not the one that was installed" in found.sentence


def test_a_working_copy_is_refused(site: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Its files can change under an audit, and no RECORD says what they were."""
    info = tmp_path / "here_metrics-1.dist-info"
    info.mkdir()
    (info / "METADATA").write_text("Metadata-Version: 2.1\nName: here-metrics\nVersion: 1\n")
    (info / "entry_points.txt").write_text("[venturalitica.metrics]\nx = here:x\n")
    (info / "RECORD").write_text("")
    (info / "direct_url.json").write_text('{"dir_info": {"editable": true}, "url": "file:///here"}')
    monkeypatch.syspath_prepend(str(tmp_path))
    (refused,) = [error for error in enlist() if "here-metrics" in error.subject]
    assert "working copy" in refused.what
    assert "x" not in METRICS
