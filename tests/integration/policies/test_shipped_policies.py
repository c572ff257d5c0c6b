"""Each shipped policy on real data, through fetching, the sandbox and judging; scikit-learn and fairlearn give the
same numbers. German Credit and Adult are UCI's, the other tables come with scikit-learn."""

from __future__ import annotations

import re
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import mlflow.data
import mlflow.sklearn
import numpy as np
import pandas as pd
import pytest
from fairlearn import metrics as fairness
from sklearn import datasets, metrics
from sklearn.compose import ColumnTransformer
from sklearn.linear_model import LinearRegression, LogisticRegression
from sklearn.model_selection import train_test_split
from sklearn.pipeline import Pipeline, make_pipeline
from sklearn.preprocessing import OneHotEncoder, StandardScaler

from venturalitica_agent.domain.job import AuditTask
from venturalitica_agent.domain.needs import Needs
from venturalitica_agent.domain.run import LoggedDataset, LoggedModel
from venturalitica_agent.domain.subject import ColumnBinding, DataPlan, DataRef, Subject
from venturalitica_agent.domain.verdict import Finding, Status, Verdict
from venturalitica_agent.evaluate.judge import judge
from venturalitica_agent.fetch.cache import Cache
from venturalitica_agent.measuring import measure_run
from venturalitica_agent.policy.load import load_policy
from venturalitica_agent.sandbox.launcher import Limits, Sandbox
from venturalitica_agent.settings import load_settings
from venturalitica_agent.stores.memory import MemoryStore, finished

ROOT = Path(__file__).resolve().parents[3]
pytestmark = [pytest.mark.xdist_group("shipped-policies"), pytest.mark.filterwarnings("ignore:::mlflow")]

NAMES = ("credit-scoring", "hiring", "tabular-baseline", "regression", "data-only")

SEX = {"column": "Attribute9", "groups": {"male": ("A91", "A93", "A94"), "female": ("A92", "A95")}}
GERMAN = {"target": {"column": "class", "positive": 1}, "gender": SEX, "age": {"column": "Attribute13", "bins": (25,)}}
ADULT = {"target": {"column": "income", "positive": ">50K"}, "gender": "sex", "race": "race"}
TUMOURS = {"target": "target", "group": {"column": "mean texture", "bins": (19,)}}
WINES = {"target": "target", "prediction": "answer", "group": {"column": "ash", "bins": (2.35,)}}
DIABETES = {"target": "target", "group": {"column": "sex", "groups": {"one": (1,), "two": (2,)}}}


@dataclass(frozen=True)
class Audited:
    """A verdict, and what an oracle needs: the rows, and the model that answered for them in the sandbox."""

    subject: Subject
    verdict: Verdict
    rows: pd.DataFrame
    model: Pipeline | None

    @property
    def findings(self) -> dict[str, Finding]:
        return {finding.control: finding for finding in self.verdict.findings}

    @property
    def outcomes(self) -> dict[str, str]:
        return {control: finding.status.value for control, finding in self.findings.items()}

    @property
    def values(self) -> dict[str, float]:
        """By control; one that was not measured is absent."""
        measured = {control: finding.measurement for control, finding in self.findings.items()}
        return {control: found.value for control, found in measured.items() if found is not None}


Audit = Callable[..., Audited]


@pytest.fixture(scope="module")
def audit(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Audit]:
    """Audits tables (split -> rows) under a shipped policy, with a fitted model or without one.

    The run starts 2,000 s after the epoch, and the policy is on record since `since`.
    """
    folder = tmp_path_factory.mktemp("shipped")
    store, cache = MemoryStore(), Cache(folder / "cache")
    (folder / "sandbox").mkdir()
    with Sandbox(limits=Limits(wall_seconds=60), workdir=folder / "sandbox") as sandbox:

        def under(
            name: str,
            tables: Mapping[str, pd.DataFrame],
            columns: Mapping[str, Any],
            model: Pipeline | None = None,
            since: float = 1000.0,
        ) -> Audited:
            policy = load_policy(ROOT / "policies" / name / f"{name}.yaml")
            run_id = f"{name}-{len(list(store.scan()))}"
            logged = (LoggedModel("model", "memory:/model", model_id=run_id),) if model else ()
            run = finished(run_id, models=logged, datasets=tuple(dataset(*table) for table in tables.items()))
            run = store.add(
                replace(run, ref=replace(run.ref, start_time=2_000_000)),
                {f"data/{split}.csv": rows.to_csv(index=False).encode() for split, rows in tables.items()},
                {run_id: saved(model, tables["evaluation"], folder / run_id)} if model else None,
            )
            bound = {role: {"column": said} if isinstance(said, str) else said for role, said in columns.items()}
            plan = DataPlan(
                {split: DataRef("artifact", f"data/{split}.csv") for split in tables},
                {role: ColumnBinding(role, how="declared", **said) for role, said in bound.items()},
            )
            task = AuditTask("shipped", policy.digest, plan, since)
            subject, results, _ = measure_run(task, policy, run, store, cache, sandbox, roots=[])
            return Audited(subject, judge(policy, results), next(iter(tables.values())), model)

        yield under


def dataset(split: str, rows: pd.DataFrame) -> LoggedDataset:
    """What MLflow's `log_input` records of a table."""
    told = mlflow.data.from_pandas(rows, source="rows.csv", name=split).to_dict()
    return LoggedDataset(**told, context="eval" if split == "evaluation" else "train")


def saved(model: Pipeline, rows: pd.DataFrame, folder: Path) -> dict[str, bytes]:
    """The files that MLflow writes of a model with a signature."""
    inputs = rows[list(model.feature_names_in_)]
    signature = mlflow.models.infer_signature(inputs, model.predict(inputs))
    mlflow.sklearn.save_model(
        model, folder, signature=signature, pip_requirements=["scikit-learn"], serialization_format="cloudpickle"
    )
    return {path.relative_to(folder).as_posix(): path.read_bytes() for path in folder.rglob("*") if path.is_file()}


def halves(rows: pd.DataFrame, test_size: float, by: str | None = None) -> tuple[pd.DataFrame, pd.DataFrame]:
    """Rows to train and to test on, always the same; `by` names the column whose shares stay as they are."""
    train, test = train_test_split(rows, test_size=test_size, random_state=0, stratify=rows[by] if by else None)
    return train.reset_index(drop=True), test.reset_index(drop=True)


def german() -> tuple[pd.DataFrame, pd.DataFrame]:
    """The 700 and 300 rows that examples/german_credit trains and tests on."""
    rows = pd.read_csv(ROOT / "examples" / "german_credit" / "german_credit.csv")
    return halves(rows, 0.3, by="class")


def german_groups(rows: pd.DataFrame) -> dict[str, pd.Series]:
    """The groups that GERMAN declares, made without the agent."""
    sex = rows["Attribute9"].map({"A91": "male", "A93": "male", "A94": "male", "A92": "female"})
    return {"sex": sex, "age": rows["Attribute13"] > 25}


def fitted(rows: pd.DataFrame, target: str, last: Any, text: tuple[str, ...] = (), drop: tuple[str, ...] = ()) -> Any:
    features = rows.drop(columns=[target, *drop])
    numbers = [c for c in features.columns if c not in text]
    columns = [("text", OneHotEncoder(handle_unknown="ignore"), list(text)), ("numbers", StandardScaler(), numbers)]
    return make_pipeline(ColumnTransformer(columns), last).fit(features, rows[target])


# -- credit-scoring -----------------------------------------------------------------------------------------------
@pytest.fixture(scope="module")
def credit(audit: Audit) -> Audited:
    """A logistic regression on every attribute of German Credit."""
    train, test = german()
    text = tuple(c for c in train.columns if train[c].dtype not in (np.int64, np.float64))
    model = fitted(train, "class", LogisticRegression(max_iter=1000), text)
    return audit("credit-scoring", {"evaluation": test, "training": train}, GERMAN, model)


def test_credit_scoring_decides_little_on_300_applicants(credit: Audited) -> None:
    """Accuracy passes; every gap between groups is inside its requirement as a number and undecided as evidence."""
    assert credit.outcomes == {
        "sex-impact-ratio": "inconclusive",
        "age-impact-ratio": "inconclusive",
        "sex-tpr-gap": "inconclusive",
        "age-tpr-gap": "inconclusive",
        "sex-calibration-gap": "inconclusive",
        "age-calibration-gap": "inconclusive",
        "auc": "inconclusive",
        "accuracy": "pass",
        "noise-flip-rate": "pass",
        "data-completeness": "pass",
        "sex-min-group-n": "pass",
        "age-min-group-n": "pass",
        "evidence-complete": "pass",
        "policy-predates-run": "pass",
    }
    assert credit.verdict.status is Status.INCONCLUSIVE
    assert "22 more rows of group female" in credit.findings["sex-impact-ratio"].sentence


def test_credit_scoring_s_numbers_are_those_of_fairlearn_and_scikit_learn(credit: Audited) -> None:
    features = credit.rows.drop(columns="class")
    good, says = credit.rows["class"] == 1, credit.model.predict(features) == 1
    chance = credit.model.predict_proba(features)[:, list(credit.model.classes_).index(1)]
    expected = {"auc": metrics.roc_auc_score(good, chance), "accuracy": metrics.accuracy_score(good, says)}
    expected |= {"data-completeness": 1.0, "sex-min-group-n": 100, "age-min-group-n": 66}
    expected |= {"evidence-complete": 1.0, "policy-predates-run": 1.0}
    for role, groups in german_groups(credit.rows).items():
        told = {"y_true": good, "y_pred": says, "sensitive_features": groups}
        expected[f"{role}-impact-ratio"] = fairness.demographic_parity_ratio(**told)
        expected[f"{role}-tpr-gap"] = fairness.equal_opportunity_difference(**told)
        errors = [calibration_error(good[groups == g], chance[groups == g]) for g in groups.unique()]
        expected[f"{role}-calibration-gap"] = max(errors) - min(errors)
    flips = credit.values.pop("noise-flip-rate")
    assert 0 <= flips <= 0.02
    assert credit.values == pytest.approx(expected | {"noise-flip-rate": flips}, abs=1e-12)


def calibration_error(good: pd.Series, chance: Any) -> float:
    """Expected calibration error over ten bins of equal width."""
    bins = pd.DataFrame({"good": good, "chance": chance}).groupby(np.minimum(chance * 10, 9).astype(int))
    return float(((bins["good"].mean() - bins["chance"].mean()).abs() * bins.size()).sum() / len(good))


def test_a_policy_that_came_after_the_run_is_told(audit: Audit, hired: Audited) -> None:
    rows = hired.rows.assign(answer=hired.model.predict(hired.rows))
    found = audit("hiring", {"evaluation": rows}, ADULT | {"prediction": "answer"}, since=3000.0)
    assert found.outcomes["policy-predates-run"] == "warn"
    assert {c for c, was in hired.outcomes.items() if was != found.outcomes[c]} == {"policy-predates-run"}


# -- hiring -------------------------------------------------------------------------------------------------------
@pytest.fixture(scope="module")
def hired(audit: Audit) -> Audited:
    """Adult, as a stand-in: a logistic regression of who earns more, which sees neither sex nor race."""
    rows = pd.read_csv(ROOT / "tests" / "support" / "adult" / "adult.csv.gz")
    train, test = halves(rows, 0.5, by="income")
    last = LogisticRegression(max_iter=500)
    model = fitted(train, "income", last, ("workclass", "occupation"), drop=("sex", "race"))
    return audit("hiring", {"evaluation": test}, ADULT, model)


def test_hiring_finds_the_gaps_that_adult_is_known_for(hired: Audited) -> None:
    """Women, and Black people, are selected less than half as often; the model was not told who is who."""
    assert hired.outcomes == {
        "sex-impact-ratio": "fail",
        "race-impact-ratio": "fail",
        "sex-race-impact-ratio": "inconclusive",
        "sex-tpr-gap": "inconclusive",
        "race-tpr-gap": "inconclusive",
        "sex-min-group-n": "pass",
        "race-min-group-n": "pass",
        "data-completeness": "pass",
        "policy-predates-run": "pass",
    }
    assert hired.verdict.status is Status.FAIL
    assert hired.verdict.not_passed == ("sex-impact-ratio", "race-impact-ratio")


def test_hiring_s_numbers_are_those_of_fairlearn(hired: Audited) -> None:
    rows = hired.rows
    told = {"y_true": rows["income"] == ">50K", "y_pred": hired.model.predict(rows) == ">50K"}
    sex, race = rows["sex"], rows["race"]
    big = (sex + race).map((sex + race).value_counts()) >= 30
    expected = {
        "sex-impact-ratio": fairness.demographic_parity_ratio(**told, sensitive_features=sex),
        "race-impact-ratio": fairness.demographic_parity_ratio(**told, sensitive_features=race),
        "sex-race-impact-ratio": fairness.demographic_parity_ratio(
            told["y_true"][big], told["y_pred"][big], sensitive_features=rows.loc[big, ["sex", "race"]]
        ),
        "sex-tpr-gap": fairness.equal_opportunity_difference(**told, sensitive_features=sex),
        "race-tpr-gap": fairness.equal_opportunity_difference(**told, sensitive_features=race),
        "sex-min-group-n": sex.value_counts().min(),
        "race-min-group-n": race.value_counts().min(),
        "data-completeness": 1.0,
        "policy-predates-run": 1.0,
    }
    assert hired.values == pytest.approx(expected, abs=1e-12)


def test_hiring_compares_rare_races_and_lists_intersections_that_are_too_small(hired: Audited) -> None:
    """A race of under 2 % is not left out, and Fisher's exact test stands by where few of its people were suitable."""
    by_race = hired.findings["race-impact-ratio"].measurement
    rare = {group.group: group.n for group in by_race.groups if group.n < 0.02 * len(hired.rows)}
    assert rare == {"Amer-Indian-Eskimo": 71, "Other": 84}
    assert all(group.compared for group in by_race.groups)
    assert any("Fisher" in note for note in hired.findings["race-tpr-gap"].measurement.notes)
    assert hired.findings["sex-race-impact-ratio"].measurement.small_groups == ("Female × Other",)
    assert any("Holm" in note for note in by_race.notes)


def test_hiring_counts_applicants_whose_sex_is_not_on_record(audit: Audit, hired: Audited) -> None:
    rows = hired.rows.assign(answer=hired.model.predict(hired.rows))
    rows.loc[rows.index[:500], "sex"] = None
    found = audit("hiring", {"evaluation": rows}, ADULT | {"prediction": "answer"})
    groups = {group.group: group for group in found.findings["sex-impact-ratio"].measurement.groups}
    assert groups["(missing)"].n == 500
    assert groups["(missing)"].compared
    assert sum(group.n for group in groups.values()) == len(rows)


# -- tabular-baseline ---------------------------------------------------------------------------------------------
@pytest.fixture(scope="module")
def tumours(audit: Audit) -> Audited:
    """scikit-learn's breast cancer data; the groups are tumours of lower and of higher texture."""
    rows = datasets.load_breast_cancer(as_frame=True).frame
    train, test = halves(rows, 0.6, by="target")
    model = fitted(train, "target", LogisticRegression())
    return audit("tabular-baseline", {"evaluation": test, "training": train}, TUMOURS, model)


def recall_gap(truth: pd.Series, says: Any, groups: pd.Series) -> float:
    """The widest gap of the recall of any class, class by class against the rest."""
    gaps = (
        fairness.equal_opportunity_difference(truth == k, says == k, sensitive_features=groups) for k in truth.unique()
    )
    return max(gaps)


def test_tabular_baseline_on_breast_cancer(tumours: Audited) -> None:
    assert tumours.outcomes == {
        "beats-a-constant": "pass",
        "group-recall-gap": "inconclusive",
        "train-test-overlap": "pass",
        "noise-flip-rate": "pass",
        "min-group-n": "pass",
        "data-completeness": "pass",
        "signature-match": "pass",
        "evidence-complete": "pass",
    }
    says = tumours.model.predict(tumours.rows.drop(columns="target"))
    truth, groups = tumours.rows["target"], tumours.rows["mean texture"] > 19
    assert tumours.values == pytest.approx(
        {
            "beats-a-constant": metrics.matthews_corrcoef(truth, says),
            "group-recall-gap": recall_gap(truth, says, groups),
            "train-test-overlap": 0.0,
            "noise-flip-rate": tumours.values["noise-flip-rate"],
            "min-group-n": groups.value_counts().min(),
            "data-completeness": 1.0,
            "signature-match": 1.0,
            "evidence-complete": 1.0,
        },
        abs=1e-12,
    )


def wines(answer: Callable[[pd.DataFrame, pd.DataFrame], Any]) -> dict[str, pd.DataFrame]:
    """scikit-learn's wines of three cultivars, halved; the second half comes with `answer`."""
    rows = datasets.load_wine(as_frame=True).frame
    train, test = halves(rows, 0.5, by="target")
    return {"evaluation": test.assign(answer=answer(train, test)), "training": train}


def test_tabular_baseline_on_three_classes_of_wine(audit: Audit) -> None:
    """With three classes, and with predictions that the run logged in place of a model."""
    tables = wines(lambda train, test: fitted(train, "target", LogisticRegression()).predict(test))
    found = audit("tabular-baseline", tables, WINES)
    rows = tables["evaluation"]
    assert found.subject.model is None
    assert found.outcomes["beats-a-constant"] == "pass"
    assert found.outcomes["group-recall-gap"] == "inconclusive"
    assert found.values["beats-a-constant"] == pytest.approx(metrics.matthews_corrcoef(rows["target"], rows["answer"]))
    expected = recall_gap(rows["target"], rows["answer"], rows["ash"] > 2.35)
    assert found.values["group-recall-gap"] == pytest.approx(expected)


def test_tabular_baseline_finds_training_rows_among_those_that_test(audit: Audit) -> None:
    tables = wines(lambda train, test: test["target"])
    train, test = tables["training"], tables["evaluation"]
    leaked = pd.concat([test, train.head(9).assign(answer=train["target"])], ignore_index=True)
    found = audit("tabular-baseline", {"evaluation": leaked, "training": train}, WINES)
    assert found.values["train-test-overlap"] == pytest.approx(9 / len(leaked))
    assert found.outcomes["train-test-overlap"] == "warn"
    assert "9 of" in " ".join(found.findings["train-test-overlap"].measurement.notes)


def test_tabular_baseline_gives_no_pass_to_a_model_that_guesses(audit: Audit) -> None:
    """The classes in random order have the right frequencies and know nothing."""
    rng = np.random.default_rng(0)
    found = audit("tabular-baseline", wines(lambda train, test: rng.permutation(test["target"])), WINES)
    assert found.outcomes["beats-a-constant"] == "inconclusive"


# -- regression ---------------------------------------------------------------------------------------------------
@pytest.fixture(scope="module")
def diabetes(audit: Audit) -> Audited:
    """scikit-learn's diabetes data, in its own units; the groups are its two sexes, 1 and 2."""
    rows = datasets.load_diabetes(as_frame=True, scaled=False).frame
    train, test = halves(rows, 0.5)
    model = fitted(train, "target", LinearRegression())
    return audit("regression", {"evaluation": test, "training": train}, DIABETES, model)


def test_regression_on_diabetes(diabetes: Audited) -> None:
    assert diabetes.outcomes == {
        "beats-the-mean": "pass",
        "group-error-ratio": "inconclusive",
        "noise-shift": "pass",
        "min-group-n": "pass",
        "data-completeness": "pass",
    }
    truth, sex = diabetes.rows["target"], diabetes.rows["sex"]
    says = diabetes.model.predict(diabetes.rows.drop(columns="target"))
    errors = fairness.MetricFrame(
        metrics=metrics.mean_absolute_error, y_true=truth, y_pred=says, sensitive_features=sex
    )
    assert diabetes.values == pytest.approx(
        {
            "beats-the-mean": metrics.r2_score(truth, says),
            "group-error-ratio": errors.ratio(),
            "noise-shift": diabetes.values["noise-shift"],
            "min-group-n": sex.value_counts().min(),
            "data-completeness": 1.0,
        },
        abs=1e-12,
    )


def test_regression_gives_no_pass_to_the_mean(audit: Audit, diabetes: Audited) -> None:
    rows = diabetes.rows.assign(answer=diabetes.rows["target"].mean())
    found = audit("regression", {"evaluation": rows}, DIABETES | {"prediction": "answer"})
    assert found.values["beats-the-mean"] == pytest.approx(0.0, abs=1e-12)
    assert found.outcomes["beats-the-mean"] in ("fail", "inconclusive")


# -- data-only ----------------------------------------------------------------------------------------------------
def test_data_only_on_german_credit(audit: Audit) -> None:
    """Labels alone: no model is asked for, and the run has none."""
    train, _ = german()
    found = audit("data-only", {"training": train}, GERMAN)
    assert found.subject.model is None
    assert found.outcomes == {
        "sex-label-ratio": "inconclusive",
        "age-label-ratio": "inconclusive",
        "minority-share": "pass",
        "data-completeness": "pass",
        "duplicate-rows": "pass",
        "sex-min-group-n": "pass",
        "age-min-group-n": "pass",
    }
    good = train["class"] == 1
    expected = {"minority-share": 0.3, "data-completeness": 1.0, "duplicate-rows": 0.0}
    for role, groups in german_groups(train).items():
        expected[f"{role}-label-ratio"] = fairness.demographic_parity_ratio(good, good, sensitive_features=groups)
        expected[f"{role}-min-group-n"] = groups.value_counts().min()
    assert found.values == pytest.approx(expected, abs=1e-12)


def test_data_only_on_spoilt_data(audit: Audit) -> None:
    """Two thirds of the good credits of women lost, two columns of 21 emptied, ten rows there twice."""
    train, _ = german()
    women = german_groups(train)["sex"] == "female"
    lost = train[women & (train["class"] == 1)].sample(frac=2 / 3, random_state=0)
    spoilt = train.drop(index=lost.index).assign(Attribute2=None, Attribute3=None)
    spoilt = pd.concat([spoilt, spoilt.head(10)], ignore_index=True)
    found = audit("data-only", {"training": spoilt}, GERMAN)
    assert found.outcomes["sex-label-ratio"] == "fail"
    assert found.outcomes["data-completeness"] == found.outcomes["duplicate-rows"] == "warn"
    assert found.values["data-completeness"] == pytest.approx(19 / 21)
    assert found.values["duplicate-rows"] == pytest.approx(spoilt.duplicated().mean())


# -- what the policies say of themselves --------------------------------------------------------------------------
@pytest.mark.parametrize("name", NAMES)
def test_a_shipped_policy_s_readme_explains_every_control_and_no_other(name: str) -> None:
    policy = load_policy(ROOT / "policies" / name / f"{name}.yaml")
    text = (ROOT / "policies" / name / "README.md").read_text(encoding="utf-8")
    rows = re.findall(r"^\| (`.*)$", text, re.MULTILINE)
    explained = {control: row.split(" | ") for row in rows for control in re.findall(r"`([^`]+)`", row.split(" | ")[0])}
    assert list(explained) == [control.id for control in policy.controls]
    for control in policy.controls:
        _, required, article, source, limit = explained[control.id]
        assert control.article == article
        assert f"**{control.source.kind}**" in source
        assert f"{control.require.threshold:.2f}" in required or f" {control.require.threshold:g}" in required
        assert limit.rstrip(" |")
        assert control.source.ref


@pytest.mark.parametrize("name", NAMES)
def test_the_columns_in_a_shipped_policy_s_readme_are_the_roles_that_it_needs(name: str, tmp_path: Path) -> None:
    text = (ROOT / "policies" / name / "README.md").read_text(encoding="utf-8")
    (said,) = re.findall(r"```yaml\n(.*?)```", text, re.DOTALL)
    audits = f"audits:\n- name: a\n  runs: {{}}\n  policy: {name}\n" + "".join(f"  {s}\n" for s in said.splitlines())
    (tmp_path / "agent.yaml").write_text(f"stores: [{{mlflow: ./mlruns}}]\npolicies: ./p\n{audits}", encoding="utf-8")
    (bound,) = load_settings(None, env={}, cwd=tmp_path).audits
    policy = load_policy(ROOT / "policies" / name / f"{name}.yaml")
    needed = frozenset().union(*(split.columns for split in Needs.of(policy.controls).splits.values()))
    assert set(bound.columns) == needed
    assert set(bound.data) <= {split.value for split in Needs.of(policy.controls).splits}
